use super::*;
use crate::mqtt::client::{ConnectOptions, FromBroker, put_connect, put_disconnect, put_ping, read};
use crate::mqtt::{DUP, Fields, Version, frame, kind, put_ack, put_packet, put_text};
use crate::pace::Rate;
use crate::progress::Progress;
use crate::sequences::Sequences;
use crate::stamp::Stamp;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

fn config() -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        messages: Some(1_000),
        seconds: None,
        drain: Duration::from_secs(5),
        plain: plain(),
        window: 50,
        qos: Qos::ExactlyOnce,
        storm: None,
        sessions: 1,
        load: Load::new(9),
    }
}

fn at(rate: f64) -> Load {
    Load { rate: Rate::PerSecond(rate), ..Load::new(9) }
}

fn plain() -> Plain {
    Plain { size: 100, topics: 7, pattern: "fire/{n}".to_owned() }
}

/// A firehose on its own thread.
struct Running {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Report, FirehoseError>>,
}

impl Running {
    fn start(config: Config) -> Self {
        let firehose = Firehose::bind(config).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        Self {
            address: firehose.local_addr().unwrap(),
            stop,
            thread: std::thread::spawn(move || firehose.run(&Progress::default(), &flag)),
        }
    }

    fn finish(self) -> Report {
        self.thread.join().unwrap().unwrap()
    }

    fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Packet {
    Publish(Publish),
    Pubrel(u16),
    Suback(Vec<u8>),
    Unsuback,
    Pong,
    Disconnect(u8),
    Connack(bool),
    /// The connection was closed.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Publish {
    is_duplicate: bool,
    qos: u8,
    packet_id: u16,
    topic: String,
    stamp: Stamp,
}

/// The smallest subscriber that can be told what to do packet by packet.
struct Subscriber {
    socket: TcpStream,
    version: Version,
    kept: Vec<u8>,
}

impl Subscriber {
    /// Connects and returns whether the broker had a session.
    fn connect(address: SocketAddr, version: Version, id: &str, clean: bool) -> (Self, bool) {
        let mut packet = Vec::new();
        put_connect(
            &mut packet,
            &ConnectOptions {
                version,
                client_id: id.to_owned(),
                clean_start: clean,
                keep_alive: 30,
                receive_maximum: None,
                login: None,
            },
        );
        Self::connect_with(address, version, &packet)
    }

    fn connect_with(address: SocketAddr, version: Version, packet: &[u8]) -> (Self, bool) {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut subscriber = Self { socket, version, kept: Vec::new() };
        subscriber.send(packet);
        match subscriber.next() {
            Packet::Connack(present) => (subscriber, present),
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        assert_eq!(self.ask(filter, qos), Packet::Suback(vec![qos]));
    }

    fn ask(&mut self, filter: &str, qos: u8) -> Packet {
        let mut body = vec![0, 1];
        if self.version == Version::V5 {
            body.push(0);
        }
        put_text(&mut body, filter);
        body.push(qos);
        let mut packet = Vec::new();
        put_packet(&mut packet, kind::SUBSCRIBE | 0x02, &body);
        self.send(&packet);
        self.next()
    }

    fn ack(&mut self, header: u8, packet_id: u16) {
        let mut packet = Vec::new();
        put_ack(&mut packet, header, packet_id);
        self.send(&packet);
    }

    fn next(&mut self) -> Packet {
        loop {
            if let Some(found) = frame(&self.kept).unwrap() {
                let packet = Self::decode(self.version, found);
                let length = found.length;
                self.kept.drain(..length);
                return packet;
            }
            let mut chunk = [0; 8_192];
            match self.socket.read(&mut chunk) {
                Ok(0) => return Packet::End,
                Ok(count) => self.kept.extend(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Packet::End,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    fn decode(version: Version, found: crate::mqtt::Frame<'_>) -> Packet {
        match found.kind() {
            kind::PUBLISH => {
                let qos = (found.header >> 1) & 3;
                let mut fields = Fields(found.body);
                let topic = fields.text().unwrap().to_owned();
                let packet_id = if qos == 0 { 0 } else { fields.u16().unwrap() };
                if version == Version::V5 {
                    assert!(fields.properties().unwrap().is_empty());
                }
                Packet::Publish(Publish {
                    is_duplicate: found.header & DUP != 0,
                    qos,
                    packet_id,
                    topic,
                    stamp: Stamp::find(fields.0, 0).unwrap().0,
                })
            }
            kind::PUBREL => Packet::Pubrel(Fields(found.body).u16().unwrap()),
            kind::SUBACK => {
                let codes = if version == Version::V5 { 3 } else { 2 };
                Packet::Suback(found.body[codes..].to_vec())
            }
            kind::UNSUBACK => Packet::Unsuback,
            _ => match read(found, version).unwrap() {
                FromBroker::Connack(connack) => {
                    assert_eq!(connack.code, 0);
                    Packet::Connack(connack.session_present)
                }
                FromBroker::Pong => Packet::Pong,
                FromBroker::Disconnect(reason) => Packet::Disconnect(reason),
                other => panic!("{other:?}"),
            },
        }
    }

    fn publish(&mut self) -> Publish {
        match self.next() {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?} instead of PUBLISH"),
        }
    }

    /// The PUBLISHes that come before the answer to a PINGREQ.
    fn publishes_before_pong(&mut self) -> Vec<Publish> {
        let mut ping = Vec::new();
        put_ping(&mut ping);
        self.send(&ping);
        let mut found = Vec::new();
        loop {
            match self.next() {
                Packet::Publish(publish) => found.push(publish),
                Packet::Pong => return found,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Acknowledges everything until the firehose closes; returns all messages.
    fn take_all(&mut self) -> Vec<Publish> {
        let mut found = Vec::new();
        loop {
            match self.next() {
                Packet::Publish(publish) => {
                    match publish.qos {
                        1 => self.ack(kind::PUBACK, publish.packet_id),
                        2 => self.ack(kind::PUBREC, publish.packet_id),
                        _ => {}
                    }
                    found.push(publish);
                }
                Packet::Pubrel(id) => self.ack(kind::PUBCOMP, id),
                Packet::Disconnect(_) | Packet::End => return found,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Each topic's sequences rise by one from 0, and the counts are those of the report.
fn assert_whole_and_in_order<'a>(messages: impl IntoIterator<Item = &'a Publish>, report: &Report) {
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    for publish in messages {
        let expected = next.entry(publish.stamp.publisher).or_default();
        assert_eq!(publish.stamp.sequence, *expected, "{publish:?}");
        assert_eq!(publish.topic, report.expected.topics[publish.stamp.publisher as usize]);
        assert_eq!(publish.stamp.run, report.expected.run_id);
        *expected += 1;
    }
    for (publisher, &sent) in (0..).zip(&report.expected.sent) {
        assert_eq!(next.get(&publisher).copied().unwrap_or(0), sent, "topic {publisher}");
    }
}

#[test]
fn floods_until_everything_is_acknowledged() {
    for (version, qos) in [(Version::V311, 0), (Version::V311, 1), (Version::V5, 1), (Version::V5, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let ack_log = folder.path().join("acks.json");
        let firehose =
            Running::start(Config { load: Load { ack_log: Some(ack_log.clone()), ..Load::new(9) }, ..config() });
        let (mut subscriber, present) = Subscriber::connect(firehose.address, version, "bridge", false);
        assert!(!present);
        subscriber.subscribe("fire/#", qos);
        let messages = subscriber.take_all();
        let report = firehose.finish();
        assert_whole_and_in_order(&messages, &report);
        assert!(report.complete, "{report:?}");
        assert_eq!((report.sent, report.expected.total()), (1_000, 1_000));
        assert_eq!(report.acknowledged, if qos == 0 { 0 } else { 1_000 });
        assert_eq!(report.latency.count, report.acknowledged);
        assert_eq!((report.acks_out_of_order, report.acks_unknown, report.redelivered), (0, 0, 0));
        let log = crate::ledger::AckLog::load(&ack_log).unwrap();
        let expected = report.expected.sent.iter();
        let expected: Vec<_> = expected.map(|&sent| Sequences::below(if qos == 0 { 0 } else { sent })).collect();
        assert_eq!(log.acknowledged, expected);
    }
}

#[test]
fn what_was_not_acknowledged_comes_again_in_order() {
    for version in [Version::V311, Version::V5] {
        let firehose = Running::start(config());
        let (mut subscriber, _) = Subscriber::connect(firehose.address, version, "bridge", false);
        subscriber.subscribe("fire/#", 1);
        let first: Vec<_> = (0..50).map(|_| subscriber.publish()).collect();
        for publish in first.iter().take(4).chain([&first[10]]) {
            subscriber.ack(kind::PUBACK, publish.packet_id);
        }
        // Five new messages show that the acknowledgements have arrived.
        let later: Vec<_> = (0..5).map(|_| subscriber.publish()).collect();
        subscriber.socket.shutdown(Shutdown::Both).unwrap();

        let (mut subscriber, present) = Subscriber::connect(firehose.address, version, "bridge", false);
        assert!(present);
        let open = first[4..10].iter().chain(&first[11..]).chain(&later);
        for lost in open.clone() {
            let expected = Publish { is_duplicate: true, ..lost.clone() };
            assert_eq!(subscriber.publish(), expected);
            subscriber.ack(kind::PUBACK, lost.packet_id);
        }
        let rest = subscriber.take_all();
        assert!(rest.iter().all(|publish| !publish.is_duplicate));
        let report = firehose.finish();
        assert_whole_and_in_order(first.iter().chain(&later).chain(&rest), &report);
        assert!(report.complete, "{report:?}");
        assert_eq!((report.redelivered, report.connections), (50, 2));
        assert_eq!((report.acknowledged, report.acks_out_of_order), (1_000, 1));
    }
}

#[test]
fn a_half_done_exactly_once_delivery_goes_on_with_pubrel() {
    let firehose = Running::start(Config { messages: Some(3), ..config() });
    let (mut subscriber, _) = Subscriber::connect(firehose.address, Version::V5, "bridge", false);
    subscriber.subscribe("fire/#", 2);
    let all: Vec<_> = (0..3).map(|_| subscriber.publish()).collect();
    subscriber.ack(kind::PUBREC, all[0].packet_id);
    assert_eq!(subscriber.next(), Packet::Pubrel(all[0].packet_id));
    subscriber.socket.shutdown(Shutdown::Both).unwrap();

    let (mut subscriber, present) = Subscriber::connect(firehose.address, Version::V5, "bridge", false);
    assert!(present);
    assert_eq!(subscriber.next(), Packet::Pubrel(all[0].packet_id));
    subscriber.ack(kind::PUBCOMP, all[0].packet_id);
    let again = subscriber.take_all();
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|publish| publish.is_duplicate));
    let report = firehose.finish();
    assert_eq!((report.acknowledged, report.redelivered, report.complete), (3, 3, true));
}

#[test]
fn a_clean_start_gives_up_what_was_in_flight() {
    let firehose = Running::start(config());
    let (mut subscriber, _) = Subscriber::connect(firehose.address, Version::V5, "bridge", false);
    subscriber.subscribe("fire/#", 1);
    let lost: Vec<_> = (0..50).map(|_| subscriber.publish()).collect();
    subscriber.socket.shutdown(Shutdown::Both).unwrap();
    let (mut subscriber, present) = Subscriber::connect(firehose.address, Version::V5, "bridge", true);
    assert!(!present);
    subscriber.subscribe("fire/#", 1);
    let rest = subscriber.take_all();
    let report = firehose.finish();
    assert_whole_and_in_order(lost.iter().chain(&rest), &report);
    assert_eq!((report.discarded, report.acknowledged, report.complete), (50, 950, false));
}

#[test]
fn a_group_shares_the_messages() {
    let firehose = Running::start(Config { sessions: 2, ..config() });
    let members: Vec<_> = ["a", "b"]
        .map(|id| {
            let (mut member, _) = Subscriber::connect(firehose.address, Version::V5, id, false);
            member.subscribe("$share/bridge/fire/#", 1);
            std::thread::spawn(move || member.take_all())
        })
        .into_iter()
        .collect();
    let mut messages: Vec<_> = members.into_iter().map(|member| member.join().unwrap()).collect();
    let report = firehose.finish();
    assert!(messages.iter().all(|share| !share.is_empty()), "one member got nothing");
    let mut all = messages.concat();
    all.sort_by_key(|publish| (publish.stamp.publisher, publish.stamp.sequence));
    assert_whole_and_in_order(&all, &report);
    for share in &mut messages {
        let order: Vec<_> = share.iter().map(|publish| (publish.stamp.publisher, publish.stamp.sequence)).collect();
        let mut last = BTreeMap::new();
        for (publisher, sequence) in order {
            assert!(last.insert(publisher, sequence) < Some(sequence), "a member's share is out of order");
        }
    }
    assert!(report.complete);
}

#[test]
fn sessions_get_the_topics_that_their_filters_match() {
    let firehose = Running::start(Config { sessions: 2, ..config() });
    let subscribers = ["fire/1", "fire/2"].map(|filter| {
        let (mut subscriber, _) = Subscriber::connect(firehose.address, Version::V311, filter, false);
        subscriber.subscribe(filter, 1);
        std::thread::spawn(move || (filter, subscriber.take_all()))
    });
    let mut all = Vec::new();
    for subscriber in subscribers {
        let (filter, messages) = subscriber.join().unwrap();
        assert!(messages.iter().all(|publish| publish.topic == filter));
        all.extend(messages);
    }
    let report = firehose.finish();
    assert_whole_and_in_order(&all, &report);
    assert_eq!((report.topics_without_subscriber, report.sent), (5, 2 * 143));
    assert!(report.complete);
}

#[test]
fn receive_maximum_bounds_what_is_unacknowledged() {
    let firehose = Running::start(config());
    // CONNECT of version 5 with Session Expiry 1 and Receive Maximum 5.
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 0, 8, 0x11, 0, 0, 0, 1, 0x21, 0, 5];
    put_text(&mut body, "bridge");
    let mut packet = Vec::new();
    put_packet(&mut packet, kind::CONNECT, &body);
    let (mut subscriber, _) = Subscriber::connect_with(firehose.address, Version::V5, &packet);
    subscriber.subscribe("fire/#", 1);
    let first: Vec<_> = (0..5).map(|_| subscriber.publish()).collect();
    assert_eq!(subscriber.publishes_before_pong(), []);
    subscriber.ack(kind::PUBACK, first[0].packet_id);
    subscriber.publish();
    assert_eq!(subscriber.publishes_before_pong(), []);
    let report = firehose.stop();
    assert_eq!((report.sent, report.acknowledged, report.complete), (6, 1, false));
}

#[test]
fn a_refused_message_is_not_acknowledged() {
    let firehose = Running::start(Config { messages: Some(2), ..config() });
    let (mut subscriber, _) = Subscriber::connect(firehose.address, Version::V5, "bridge", false);
    subscriber.subscribe("fire/#", 1);
    let first = subscriber.publish();
    let id = first.packet_id.to_be_bytes();
    subscriber.send(&[kind::PUBACK, 4, id[0], id[1], 0x97, 0]);
    // An acknowledgement of nothing.
    subscriber.ack(kind::PUBACK, 77);
    subscriber.take_all();
    let report = firehose.finish();
    assert_eq!((report.refused, report.acknowledged, report.acks_unknown), (1, 1, 1));
    assert!(!report.complete);
}

#[test]
fn a_rate_is_kept_and_latency_counts_from_the_intended_time() {
    let firehose = Running::start(Config { messages: Some(200), load: at(1_000.0), window: 1, ..config() });
    let (mut subscriber, _) = Subscriber::connect(firehose.address, Version::V311, "bridge", false);
    subscriber.subscribe("fire/#", 1);
    let held = subscriber.publish();
    // The first acknowledgement comes when half the messages should have left: all of them have waited.
    let clock = crate::clock::Clock::start();
    while clock.now() < held.stamp.sent_ns + 100_000_000 {
        std::thread::yield_now();
    }
    subscriber.ack(kind::PUBACK, held.packet_id);
    let messages = subscriber.take_all();
    let report = firehose.finish();
    for (number, publish) in (1..).zip(&messages) {
        let expected = held.stamp.sent_ns + number * 1_000_000;
        assert!((publish.stamp.sent_ns - expected).abs() < 10_000, "{number}: {publish:?}");
    }
    assert!(report.latency.max_ms >= 100.0, "{:?}", report.latency);
    assert!(report.latency.p50_ms < report.latency.max_ms, "those that came later waited less: {:?}", report.latency);
    assert!(report.complete);
}

#[test]
fn ends_after_the_given_time() {
    let firehose = Running::start(Config { messages: None, seconds: Some(Duration::from_millis(300)), ..config() });
    let (mut subscriber, _) = Subscriber::connect(firehose.address, Version::V311, "bridge", false);
    subscriber.subscribe("fire/#", 1);
    let messages = subscriber.take_all();
    let report = firehose.finish();
    assert_whole_and_in_order(&messages, &report);
    assert!(report.complete && report.acknowledged > 0, "{report:?}");
}

#[test]
fn gives_up_waiting_for_acknowledgements_that_do_not_come() {
    let firehose = Running::start(Config {
        seconds: Some(Duration::from_millis(100)),
        drain: Duration::from_millis(100),
        ..config()
    });
    let (mut subscriber, _) = Subscriber::connect(firehose.address, Version::V311, "bridge", false);
    subscriber.subscribe("fire/#", 1);
    let report = firehose.finish();
    assert_eq!((report.sent, report.acknowledged, report.complete), (50, 0, false));
}

#[test]
fn a_second_connection_takes_the_session_over() {
    let firehose = Running::start(config());
    let (mut old, _) = Subscriber::connect(firehose.address, Version::V5, "bridge", false);
    let (mut new, present) = Subscriber::connect(firehose.address, Version::V5, "bridge", false);
    assert!(present);
    assert_eq!(old.next(), Packet::Disconnect(0x8e));
    assert_eq!(old.next(), Packet::End);
    new.subscribe("fire/#", 1);
    assert_eq!(new.take_all().len(), 1_000);
    assert!(firehose.finish().complete);
}

#[test]
fn a_session_ends_with_its_connection_where_the_client_says_so() {
    let firehose = Running::start(config());
    let (mut subscriber, _) = Subscriber::connect(firehose.address, Version::V311, "bridge", true);
    let mut goodbye = Vec::new();
    put_disconnect(&mut goodbye, Version::V311);
    subscriber.send(&goodbye);
    assert_eq!(subscriber.next(), Packet::End);
    let (_subscriber, present) = Subscriber::connect(firehose.address, Version::V311, "bridge", false);
    assert!(!present);
    firehose.stop();
}

#[test]
fn violations_close_only_their_own_connection() {
    let firehose = Running::start(config());
    let (mut good, _) = Subscriber::connect(firehose.address, Version::V5, "good", false);
    for bytes in [&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01][..], &[0xc0, 0], &[0x10, 3, 0, 9, 1]] {
        let mut bad = TcpStream::connect(firehose.address).unwrap();
        bad.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        bad.write_all(bytes).unwrap();
        assert_eq!(bad.read(&mut [0; 8]).unwrap_or(0), 0, "{bytes:?} was not refused");
    }
    good.subscribe("fire/#", 1);
    assert_eq!(good.take_all().len(), 1_000);
    let report = firehose.finish();
    assert_eq!((report.violations, report.complete), (3, true));
}

#[test]
fn unsubscribing_stops_the_flow() {
    let firehose = Running::start(config());
    let (mut subscriber, _) = Subscriber::connect(firehose.address, Version::V311, "bridge", false);
    subscriber.subscribe("fire/#", 1);
    let first: Vec<_> = (0..50).map(|_| subscriber.publish()).collect();
    let mut body = vec![0, 2];
    put_text(&mut body, "fire/#");
    let mut packet = Vec::new();
    put_packet(&mut packet, kind::UNSUBSCRIBE | 0x02, &body);
    subscriber.send(&packet);
    assert_eq!(subscriber.next(), Packet::Unsuback);
    for publish in &first {
        subscriber.ack(kind::PUBACK, publish.packet_id);
    }
    assert_eq!(subscriber.publishes_before_pong(), []);
    assert_eq!(firehose.stop().acknowledged, 50);
}

#[test]
fn subscribing_to_nothing_of_the_run_is_an_error() {
    let firehose = Running::start(config());
    let (mut subscriber, _) = Subscriber::connect(firehose.address, Version::V311, "bridge", false);
    subscriber.subscribe("water/#", 1);
    let error = firehose.thread.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("water/#") && error.contains("fire/0"), "{error}");
}

#[test]
fn who_watches_the_broker_is_refused_and_not_waited_for() {
    let firehose = Running::start(Config { sessions: 2, ..config() });
    let (mut watch, _) = Subscriber::connect(firehose.address, Version::V5, "bridge-sys", true);
    assert_eq!(watch.ask("$SYS/broker/publish/messages/dropped", 0), Packet::Suback(vec![0x80]));
    let (mut first, _) = Subscriber::connect(firehose.address, Version::V5, "first", false);
    first.subscribe("fire/0", 1);
    assert_eq!(first.publishes_before_pong(), [], "the second session is waited for");
    let (mut second, _) = Subscriber::connect(firehose.address, Version::V5, "second", false);
    second.subscribe("fire/1", 1);
    let first = std::thread::spawn(move || first.take_all());
    assert!(!second.take_all().is_empty() && !first.join().unwrap().is_empty());
    assert!(firehose.finish().complete);
}

#[test]
fn impossible_settings_are_named() {
    let cases = [
        (Config { plain: Plain { size: 15, ..plain() }, ..config() }, "15 bytes"),
        (Config { plain: Plain { topics: 0, ..plain() }, ..config() }, "0 topics"),
        (Config { messages: None, ..config() }, "--messages"),
        (Config { window: 0, ..config() }, "window"),
        (Config { load: at(0.0), ..config() }, "rate"),
        (Config { plain: Plain { pattern: "fire".to_owned(), ..plain() }, ..config() }, "{n}"),
        (Config { plain: Plain { pattern: "fire/#/{n}".to_owned(), ..plain() }, ..config() }, "wildcards"),
    ];
    for (config, word) in cases {
        let error = Firehose::bind(config).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let error = Firehose::bind(Config { listen, ..config() }).unwrap_err().to_string();
    assert!(error.contains(&listen.to_string()) && error.contains("another address"), "{error}");
}
