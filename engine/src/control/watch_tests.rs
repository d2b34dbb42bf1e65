//! The watch against a scripted broker.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

use tokio::sync::watch;

use super::*;
use crate::metrics::{Layout, SessionLabel};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// The watch of a source with two sessions, on a thread of its own, and its broker.
struct World {
    broker: TcpListener,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// A connection of the watch, after its CONNECT.
struct Connection {
    stream: TcpStream,
    connect: Vec<u8>,
}

impl World {
    fn new() -> World {
        let broker = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = settings(broker.local_addr().unwrap().port(), "");
        let label = |client_id: &str| SessionLabel { source: "pier".into(), client_id: client_id.into(), shard: 0 };
        let sessions = vec![label("c-0"), label("c-1")];
        let metrics = Metrics::new(Layout { shards: 1, routes: vec!["a".into(), "b".into()], sessions });
        let (stop, stopped) = watch::channel(false);
        let watch = Watch::new(&settings, 0, metrics.clone()).unwrap();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(watch.run(stopped));
        });
        World { broker, metrics, stop, thread }
    }

    fn enter(&self, session: usize, state: SessionState) {
        let url = format!("mqtt://{}", self.broker.local_addr().unwrap());
        self.metrics.status().session(session, |status| {
            (status.url, status.version) = (url, Some("5.0"));
            status.enter(state, None, clock::now());
        });
    }

    fn accept(&self) -> Connection {
        let (stream, _) = self.broker.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut connection = Connection { stream, connect: Vec::new() };
        connection.connect = connection.packet(0x10);
        connection.stream.write_all(&[0x20, 3, 0, 0, 0]).unwrap();
        connection
    }

    fn wait_dropped(&self, expected: Option<u64>) {
        let deadline = clock::now() + LIMIT;
        let dropped = || [0, 1].map(|number| self.metrics.status().session_status(number).broker_dropped);
        while dropped() != [expected; 2] {
            assert!(clock::now() < deadline, "{:?} instead of {expected:?}", dropped());
            thread::yield_now();
        }
    }

    fn end(self) {
        self.stop.send_replace(true);
        self.thread.join().unwrap();
    }
}

impl Connection {
    /// The body of the next packet, which must begin with this byte. All are short.
    fn packet(&mut self, first: u8) -> Vec<u8> {
        let mut header = [0; 2];
        self.stream.read_exact(&mut header).unwrap();
        assert_eq!(header[0], first);
        let mut length = usize::from(header[1] & 0x7f);
        if header[1] & 0x80 != 0 {
            let mut more = [0];
            self.stream.read_exact(&mut more).unwrap();
            length += usize::from(more[0]) << 7;
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        body
    }

    /// Reads SUBSCRIBE and answers with these codes.
    fn subscribed(&mut self, codes: &[u8]) -> String {
        let body = self.packet(0x82);
        let mut answer = vec![0x90, 3 + codes.len() as u8, body[0], body[1], 0];
        answer.extend(codes);
        self.stream.write_all(&answer).unwrap();
        String::from_utf8_lossy(&body).into_owned()
    }

    fn publish(&mut self, topic: &str, payload: &str) {
        let mut packet = vec![0x30, (3 + topic.len() + payload.len()) as u8, 0, topic.len() as u8];
        packet.extend(topic.bytes().chain([0]).chain(payload.bytes()));
        self.stream.write_all(&packet).unwrap();
    }
}

fn settings(port: u16, line: &str) -> Settings {
    let routes = ["a", "b"].map(|from| format!("[[route]]\nfrom = \"{from}\"\ntopic = \"t\"\n")).concat();
    Settings::of(&format!(
        "[[source]]\nname = \"pier\"\nurl = \"mqtt://127.0.0.1:{port}\"\nclient_id = \"c-{{session}}\"\nsessions = 2\n\
         {line}\n[kafka]\nbrokers = \"127.0.0.1:9092\"\n{routes}"
    ))
}

#[test]
fn shows_what_the_broker_tells_for_all_sessions_of_the_source() {
    let world = World::new();
    world.enter(0, SessionState::Subscribed);
    world.enter(1, SessionState::Connected);
    world.broker.set_nonblocking(true).unwrap();
    assert!(world.broker.accept().is_err(), "one session is not subscribed yet");
    world.broker.set_nonblocking(false).unwrap();
    world.enter(1, SessionState::Subscribed);
    let mut connection = world.accept();
    assert!(connection.connect.ends_with(b"\0\x07c-0-sys"), "{:?}", connection.connect);
    assert_eq!(connection.connect[7] & 2, 2, "clean start");
    let asked = connection.subscribed(&[0, 0]);
    assert!(FILTERS.iter().all(|filter| asked.contains(filter)), "{asked:?}");
    connection.publish("$SYS/broker/publish/messages/dropped", "42");
    world.wait_dropped(Some(42));
    connection.publish("$SYS/broker/publish/messages/dropped", "no number");
    connection.publish("$SYS/broker/publish/messages/dropped", "43\n");
    world.wait_dropped(Some(43));
    drop(connection);
    world.wait_dropped(None);
    world.end();
}

#[test]
fn the_nodes_of_a_broker_add_up_and_their_number_is_bounded() {
    let world = World::new();
    (0..2).for_each(|session| world.enter(session, SessionState::Subscribed));
    let mut connection = world.accept();
    connection.subscribed(&[0, 0]);
    for node in 0..=MAX_NODES {
        connection.publish(&format!("$SYS/brokers/emqx@{node}/metrics/messages/dropped"), "1");
    }
    world.wait_dropped(Some(MAX_NODES as u64));
    connection.publish("$SYS/brokers/emqx@0/metrics/messages/dropped", "11");
    world.wait_dropped(Some(MAX_NODES as u64 + 10));
    world.end();
}

#[test]
fn a_refused_filter_is_left_out_and_the_end_is_said() {
    let world = World::new();
    (0..2).for_each(|session| world.enter(session, SessionState::Subscribed));
    let mut connection = world.accept();
    connection.subscribed(&[0x87, 0]);
    connection.packet(0xe0);
    let mut connection = world.accept();
    let asked = connection.subscribed(&[0]);
    assert!(!asked.contains(FILTERS[0]) && asked.contains(FILTERS[1]), "{asked:?}");
    world.stop.send_replace(true);
    connection.packet(0xe0);
    world.end();
}

#[test]
fn it_may_be_switched_off() {
    let metrics = Metrics::new(Layout { shards: 1, routes: Vec::new(), sessions: Vec::new() });
    assert!(Watch::new(&settings(1, "sys = false"), 0, metrics).is_none());
}
