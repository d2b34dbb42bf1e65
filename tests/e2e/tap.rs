//! The harness of the campaigns: what it says was acknowledged decides over everything else.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use fairlead_loadgen::stamp::{LONG, Stamp};
use fairlead_tests::{Direction, Image, Metrics, Proxy, Shutdown, Tapped, during, now, wait_until, wire};

const LIMIT: Duration = Duration::from_secs(10);

/// Run id in the stamps.
const RUN: u32 = 7;

/// A bridge and a broker with a tap between them.
struct Line {
    proxy: Proxy,
    listener: TcpListener,
}

impl Line {
    fn new() -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Line { proxy: Proxy::tapped(listener.local_addr().unwrap().port(), RUN), listener }
    }

    /// A connection of the client `bridge`: its end and the broker's.
    fn connect(&self, level: u8) -> (TcpStream, TcpStream) {
        let mut bridge = TcpStream::connect(("127.0.0.1", self.proxy.port())).unwrap();
        bridge.write_all(&wire::connect(level, "bridge", None)).unwrap();
        let (mut broker, _) = self.listener.accept().unwrap();
        broker.set_read_timeout(Some(LIMIT)).unwrap();
        bridge.set_read_timeout(Some(LIMIT)).unwrap();
        assert_eq!(wire::read_frame(&mut broker, &mut Vec::new()).unwrap().kind(), wire::CONNECT);
        (bridge, broker)
    }

    /// Waits for what the tap must know.
    #[track_caller]
    fn wait(&self, what: &str, fact: impl Fn(&Tapped) -> bool) -> Tapped {
        wait_until(LIMIT, what, || fact(&self.proxy.tap()));
        self.proxy.tap()
    }
}

fn message(level: u8, qos: u8, id: u16, sequence: u64) -> Vec<u8> {
    let mut payload = vec![b'.'; LONG + 20];
    Stamp { run: RUN, publisher: 3, sequence, sent_ns: 1 }.write(&mut payload, 5);
    wire::publish(level, "ais/3", qos, id, &payload)
}

/// The acknowledged sequences of publisher 3.
fn acknowledged(tapped: &Tapped) -> Vec<(u64, u64)> {
    tapped.acknowledged.acknowledged.get(3).map(|set| set.ranges().collect()).unwrap_or_default()
}

#[test]
fn tap_knows_which_message_an_acknowledgement_is_for() {
    for level in [wire::V311, wire::V5] {
        let line = Line::new();
        let (mut bridge, mut broker) = line.connect(level);
        for (id, sequence) in [(10, 0), (11, 1), (12, 2)] {
            broker.write_all(&message(level, 1, id, sequence)).unwrap();
        }
        bridge.read_exact(&mut [0; 200]).unwrap();
        bridge.write_all(&wire::acknowledge(wire::PUBACK, 10)).unwrap();
        let tapped = line.wait("a PUBACK", |t| t.pubacks == 1);
        assert_eq!((acknowledged(&tapped), tapped.open, tapped.out_of_order), (vec![(0, 1)], 2, 0));
        // Out of order, and for nothing.
        bridge.write_all(&wire::acknowledge(wire::PUBACK, 12)).unwrap();
        bridge.write_all(&wire::acknowledge(wire::PUBACK, 99)).unwrap();
        let tapped = line.wait("two more", |t| t.pubacks == 3);
        assert_eq!(acknowledged(&tapped), [(0, 1), (2, 3)]);
        assert_eq!((tapped.delivered, tapped.out_of_order, tapped.unknown), (3, 1, 1));
        assert!(!tapped.is_at_rest());
    }
}

#[test]
fn tap_follows_a_session_over_connections() {
    let line = Line::new();
    let (bridge, mut broker) = line.connect(wire::V5);
    broker.write_all(&message(wire::V5, 2, 5, 0)).unwrap();
    line.wait("a PUBLISH", |t| t.open == 1);
    drop((bridge, broker));
    line.wait("the end of the connection", |t| t.open == 0);
    let (mut bridge, mut broker) = line.connect(wire::V5);
    broker.write_all(&message(wire::V5, 2, 5, 0)).unwrap();
    let tapped = line.wait("the redelivery", |t| t.redelivered == 1);
    assert_eq!((tapped.delivered, tapped.repeated, acknowledged(&tapped)), (1, 0, vec![]));
    bridge.write_all(&wire::acknowledge(wire::PUBREC, 5)).unwrap();
    assert_eq!(acknowledged(&line.wait("PUBREC", |t| t.pubrecs == 1)), [(0, 1)]);
    broker.write_all(&message(wire::V5, 2, 5, 0)).unwrap();
    assert_eq!(line.wait("a repetition", |t| t.redelivered == 2).repeated, 1);
    bridge.write_all(&wire::acknowledge(wire::PUBREC, 5)).unwrap();
    broker.write_all(&wire::acknowledge(wire::PUBREL, 5)).unwrap();
    assert!(!line.wait("PUBREL", |t| t.pubrels == 1).is_at_rest());
    bridge.write_all(&wire::acknowledge(wire::PUBCOMP, 5)).unwrap();
    assert!(line.wait("PUBCOMP", |t| t.pubcomps == 1).is_at_rest());
    broker.write_all(&message(wire::V5, 2, 5, 0)).unwrap();
    assert_eq!(line.wait("another message", |t| t.redelivered == 3).repeated, 1, "after PUBREL it is none");
}

#[test]
fn tap_believes_no_foreign_payload() {
    let line = Line::new();
    let (mut bridge, mut broker) = line.connect(wire::V5);
    broker.write_all(&wire::publish(wire::V5, "ais/3", 1, 1, b"no stamp")).unwrap();
    let mut changed = message(wire::V5, 1, 2, 0);
    *changed.last_mut().unwrap() ^= 1;
    broker.write_all(&changed).unwrap();
    line.wait("both", |t| t.open == 2);
    for id in [1, 2] {
        bridge.write_all(&wire::acknowledge(wire::PUBACK, id)).unwrap();
    }
    let tapped = line.wait("PUBACKs", |t| t.pubacks == 2);
    assert_eq!((tapped.delivered, acknowledged(&tapped), tapped.unknown), (0, vec![], 0));
}

#[test]
fn proxy_delays_without_holding_up_what_follows() {
    const DELAY: Duration = Duration::from_millis(200);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::plain(listener.local_addr().unwrap().port());
    proxy.delay(Direction::ToClient, DELAY);
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let start = now();
    // More than one chunk: a delay for each of them would take seconds.
    server.write_all(&vec![1; 2 << 20]).unwrap();
    client.read_exact(&mut vec![0; 2 << 20]).unwrap();
    let took = now() - start;
    assert!(took >= DELAY && took < DELAY * 10, "{took:?} for a delay of {DELAY:?}");
}

#[test]
fn proxy_resets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::plain(listener.local_addr().unwrap().port());
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    proxy.reset_all();
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn imbalance_of_a_ledger_is_found() {
    let scrape = |delivered: u32, balanced: u32| {
        let series = |name: &str, value: u32| format!("fairlead_{name}{{route=\"ais/#\"}} {value}\n");
        let text = ["dead_lettered_messages_total", "dropped_messages_total", "suppressed_messages_total"]
            .map(|n| series(n, 0));
        let flow = [series("received_messages_total", 9), series("delivered_messages_total", delivered)];
        let rest = [series("pending_messages", 2), format!("fairlead_ledger_balanced {balanced}\n")];
        Metrics::parse(&[text.concat(), flow.concat(), rest.concat()].concat())
    };
    assert_eq!(scrape(7, 1).imbalance(), None);
    assert!(scrape(6, 1).imbalance().is_some_and(|text| text.contains("ais/#")));
    assert!(scrape(7, 0).imbalance().is_some());
}

/// The faults of a disk that a process goes on under.
#[test]
#[ignore = "real brokers: tests/run"]
fn disk_image_is_filled_frozen_and_forbidden() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: no disk image can be mounted");
        return;
    }
    let image = Image::mount(32);
    let path = image.path().join("file");
    image.fill(0);
    let full = std::fs::write(&path, vec![0; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    image.make_room();
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    image.freeze();
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::write(path, b"late")
    });
    during(Duration::from_millis(200), || assert!(!writer.is_finished(), "a write goes through a frozen disk"));
    image.thaw();
    writer.join().unwrap().unwrap();
    image.forbid_writes();
    assert!(std::fs::write(&path, b"x").is_err(), "a write to a read-only disk");
}

/// Needs root, which `tests/run` may not be.
#[test]
#[ignore = "real brokers: tests/run"]
fn disk_image_forgets_what_was_not_synced() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: no disk image can be mounted");
        return;
    }
    let mut image = Image::mount(32);
    let (kept, lost) = (image.path().join("kept"), image.path().join("lost"));
    let file = std::fs::File::create(&kept).unwrap();
    (&file).write_all(b"synced").unwrap();
    file.sync_all().unwrap();
    std::fs::File::open(image.path()).unwrap().sync_all().unwrap();
    std::fs::write(&lost, b"not synced").unwrap();
    drop(file);
    image.shut_down(Shutdown::NoLogFlush);
    assert!(std::fs::write(image.path().join("late"), b"x").is_err(), "the disk is gone");
    image.remount();
    assert_eq!(std::fs::read(&kept).unwrap(), b"synced");
    assert!(!lost.exists(), "what was not synced is gone");
}
