use super::*;
use crate::firehose::{self, Firehose};
use crate::load::Load;
use crate::traffic::Plain;
use std::io::Read;
use std::net::TcpListener;

const MESSAGES: u64 = 3_000;

fn firehose() -> Firehose {
    let plain = Plain { size: 100, topics: 10, pattern: "fire/{n}".to_owned() };
    let config = firehose::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        messages: Some(MESSAGES),
        seconds: None,
        drain: Duration::from_secs(10),
        plain,
        window: 1_000,
        qos: Qos::ExactlyOnce,
        storm: None,
        sessions: 1,
        load: Load::new(5),
    };
    Firehose::bind(config).unwrap()
}

fn config(address: SocketAddr) -> Config {
    Config {
        url: format!("mqtt://{address}").parse().unwrap(),
        version: Version::V5,
        filter: "fire/#".to_owned(),
        qos: Qos::AtLeastOnce,
        in_flight: 100,
        persistent: false,
        messages: Some(MESSAGES),
        idle: None,
        patience: Duration::from_secs(10),
        processes: Vec::new(),
    }
}

/// What the subscriber and the firehose say of a run; a firehose that waits for more is stopped.
fn flood(change: impl Fn(Config) -> Config) -> (Report, firehose::Report) {
    let firehose = firehose();
    let config = change(config(firehose.local_addr().unwrap()));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let broker = scope.spawn(|| firehose.run(&Progress::default(), &over).unwrap());
        let report = run(&config, &Progress::default(), &AtomicBool::new(false));
        over.store(
            report.is_err() || report.as_ref().is_ok_and(|report| report.received < MESSAGES),
            Ordering::Relaxed,
        );
        (report.unwrap(), broker.join().unwrap())
    })
}

fn error_of(config: &Config) -> String {
    run(config, &Progress::default(), &AtomicBool::new(false)).unwrap_err().to_string()
}

#[test]
fn every_message_is_received_and_acknowledged() {
    for version in [Version::V311, Version::V5] {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let (report, sent) = flood(|config| Config { version, qos, ..config });
            assert_eq!(
                (report.complete, report.received, report.redelivered),
                (true, MESSAGES, 0),
                "{version} {qos:?}"
            );
            assert_eq!((report.payload_bytes, report.connections_lost), (MESSAGES * 100, 0));
            assert!(sent.complete, "{version} {qos:?}: the last handshake was cut short: {sent:?}");
            assert_eq!((sent.acks_unknown, sent.violations), (0, 0), "{version} {qos:?}");
        }
    }
}

#[test]
fn it_ends_once_enough_has_come_or_nothing_comes() {
    let (report, _) = flood(|config| Config { messages: Some(MESSAGES / 10), ..config });
    assert!(report.complete && (MESSAGES / 10..MESSAGES).contains(&report.received), "{report:?}");
    let idle = Some(Duration::from_millis(200));
    let (report, sent) = flood(|config| Config { messages: None, idle, ..config });
    assert!(report.complete && report.received == sent.acknowledged, "{report:?} {sent:?}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = config(listener.local_addr().unwrap());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let run = scope.spawn(|| run(&config, &Progress::default(), &stop).unwrap());
        let mut socket = accept(&listener, [0x20, 3, 0, 0, 0]);
        socket.write_all(&[0x90, 4, 0, 1, 0, 1]).unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(!run.join().unwrap().complete);
    });
}

/// A connection whose CONNECT was answered.
fn accept(listener: &TcpListener, connack: [u8; 5]) -> TcpStream {
    let (mut socket, _) = listener.accept().unwrap();
    assert_eq!(take(&mut socket)[0], 0x10, "CONNECT");
    socket.write_all(&connack).unwrap();
    socket
}

/// A packet of less than 128 bytes.
fn take(socket: &mut TcpStream) -> Vec<u8> {
    let mut packet = vec![0; 2];
    socket.read_exact(&mut packet).unwrap();
    packet.resize(2 + usize::from(packet[1]), 0);
    socket.read_exact(&mut packet[2..]).unwrap();
    packet
}

#[test]
fn a_lost_connection_is_opened_again() {
    for present in [0, 1] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config { persistent: true, messages: Some(2), ..config(listener.local_addr().unwrap()) };
        let broker = thread::spawn(move || {
            for round in 0..2 {
                let mut socket = accept(&listener, [0x20, 3, round * present, 0, 0]);
                assert_eq!(take(&mut socket)[0], 0x82, "SUBSCRIBE");
                // What waits in a session may come before the SUBACK; in the second round with DUP.
                socket.write_all(&[0x32 | (round << 3), 8, 0, 1, b'a', 0, 7, 0, b'x', b'y']).unwrap();
                socket.write_all(&[0x90, 4, 0, 1, 0, 1]).unwrap();
                assert_eq!(take(&mut socket), [0x40, 2, 0, 7]);
            }
        });
        let report = run(&config, &Progress::default(), &AtomicBool::new(false)).unwrap();
        broker.join().unwrap();
        assert_eq!((report.received, report.redelivered, report.payload_bytes), (2, 1, 4));
        assert_eq!((report.connections_lost, report.sessions_lost), (1, u64::from(present == 0)));
    }
}

#[test]
fn a_broker_that_never_grants_the_subscription_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config { patience: Duration::ZERO, ..config(listener.local_addr().unwrap()) };
    let broker = thread::spawn(move || drop(accept(&listener, [0x20, 3, 0, 0, 0])));
    let error = error_of(&config);
    assert!(error.contains("closed the connection") || error.contains("reset"), "{error}");
    broker.join().unwrap();
}

/// A client whose subscription was granted at time 0.
fn subscribed(qos: Qos) -> (Client, Counts) {
    let options = ConnectOptions {
        version: Version::V5,
        client_id: String::new(),
        clean_start: true,
        keep_alive: KEEP_ALIVE_SECONDS,
        receive_maximum: None,
        login: None,
    };
    let mut client = Client::new(options, "#".to_owned(), qos);
    let (mut out, mut counts) = (Vec::new(), Counts::default());
    client.handle_open(&mut out, 0);
    let answers = [0x20, 3, 0, 0, 0, 0x90, 4, 0, 1, 0, qos.into()];
    assert_eq!(client.handle(&answers, &mut out, &mut counts, 0), Ok(answers.len()));
    assert!(client.is_up() && counts.subscriptions == 1);
    (client, counts)
}

#[test]
fn a_broker_that_falls_silent_is_asked_and_then_lost() {
    let (mut client, _) = subscribed(Qos::AtLeastOnce);
    let mut out = Vec::new();
    let second = |seconds: i64| seconds * crate::clock::SECOND;
    client.poll_keep_alive(&mut out, second(15)).unwrap();
    assert!(out.is_empty());
    client.poll_keep_alive(&mut out, second(16)).unwrap();
    assert_eq!(out, [0xc0, 0], "PINGREQ");
    assert_eq!(client.poll_keep_alive(&mut out, second(46)), Err(Lost::Silent));
}

#[test]
fn a_message_of_qos_2_counts_once_until_its_release() {
    let publish = [0x34, 7, 0, 1, b'a', 0, 7, 0, b'x'];
    let (mut client, mut counts) = subscribed(Qos::ExactlyOnce);
    let mut handle = |client: &mut Client, input: &[u8]| {
        client.handle(input, &mut Vec::new(), &mut counts, 0).unwrap();
        (counts.received, client.is_settled())
    };
    assert_eq!(handle(&mut client, &publish), (1, false));
    assert_eq!(handle(&mut client, &publish), (1, false));
    assert_eq!(handle(&mut client, &[0x62, 2, 0, 7]), (1, true));
    assert_eq!(handle(&mut client, &publish), (2, false));
}

#[test]
fn what_a_broker_refuses_is_named() {
    for (connack, suback, words) in [
        ([0x20, 3, 0, 0x87, 0], 1, "refused the connection with code 0x87"),
        ([0x20, 3, 0, 0, 0], 0x87, "refused the subscription with code 0x87"),
        ([0x20, 3, 0, 0, 0], 0, "no more than QoS 0"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = config(listener.local_addr().unwrap());
        let broker = thread::spawn(move || {
            let mut socket = accept(&listener, connack);
            socket.write_all(&[0x90, 4, 0, 1, 0, suback]).unwrap();
            socket
        });
        let error = error_of(&config);
        assert!(error.contains(words), "{error}");
        drop(broker.join().unwrap());
    }
}

#[test]
fn a_broker_that_is_not_there_and_impossible_settings_are_named() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = error_of(&Config { patience: Duration::ZERO, ..config(gone) });
    assert!(error.contains("no connection to the MQTT broker") && error.contains("refused"), "{error}");
    assert!(error_of(&Config { in_flight: 0, ..config(gone) }).contains("in flight"));
    assert!(error_of(&Config { filter: "a#".to_owned(), ..config(gone) }).contains("`a#` is no topic filter"));
    let old = Config { version: Version::V311, persistent: true, ..config(gone) };
    assert!(error_of(&old).contains("use version 5"));
}
