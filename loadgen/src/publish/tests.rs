use super::*;
use crate::mqtt::broker::{Connect, FromClient, put_connack, read};
use crate::mqtt::{DUP, Fields, frame, kind, put_ack};
use crate::pace::Rate;
use crate::sequences::Sequences;
use crate::stamp::Stamp;
use crate::traffic::Fleet;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

/// A broker that does what the test says, packet by packet.
struct Broker {
    listener: TcpListener,
}

struct Peer {
    socket: TcpStream,
    version: Version,
    kept: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Publish {
    is_duplicate: bool,
    qos: u8,
    packet_id: u16,
    topic: String,
    stamp: Stamp,
}

#[derive(Debug, PartialEq, Eq)]
enum Packet {
    Publish(Publish),
    Pubrel(u16),
    Other(FromClient),
    End,
}

fn at(rate: f64) -> Load {
    Load { rate: Rate::PerSecond(rate), ..Load::new(5) }
}

impl Broker {
    fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn config(&self) -> Config {
        Config {
            url: BrokerUrl {
                host: "127.0.0.1".to_owned(),
                port: self.listener.local_addr().unwrap().port(),
                login: None,
            },
            version: Version::V5,
            traffic: Traffic::Fleet(Fleet { vessels: 3, seed: 1 }),
            format: Format::Json,
            qos: Qos::AtLeastOnce,
            clients: 1,
            in_flight: 10,
            messages: Some(200),
            storm: None,
            ahead: None,
            persistent: true,
            patience: Duration::from_secs(20),
            load: Load::new(5),
        }
    }

    fn accept(&self) -> (Peer, Connect) {
        let (socket, _) = self.listener.accept().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut peer = Peer { socket, version: Version::V5, kept: Vec::new() };
        match peer.next() {
            Packet::Other(FromClient::Connect(connect)) => {
                peer.version = connect.version;
                (peer, connect)
            }
            other => panic!("{other:?} instead of CONNECT"),
        }
    }

    fn greet(&self, session_present: bool) -> Peer {
        let (mut peer, connect) = self.accept();
        let mut connack = Vec::new();
        put_connack(&mut connack, connect.version, session_present);
        peer.send(&connack);
        peer
    }
}

impl Peer {
    fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    fn ack(&mut self, header: u8, packet_id: u16) {
        let mut packet = Vec::new();
        put_ack(&mut packet, header, packet_id);
        self.send(&packet);
    }

    fn cut(self) {
        self.socket.shutdown(Shutdown::Both).unwrap();
    }

    fn next(&mut self) -> Packet {
        loop {
            if let Some(found) = frame(&self.kept).unwrap() {
                let length = found.length;
                let packet = match found.kind() {
                    kind::PUBLISH => Packet::Publish(self.decode(found)),
                    kind::PUBREL => {
                        assert_eq!(found.header, 0x62);
                        Packet::Pubrel(Fields(found.body).u16().unwrap())
                    }
                    _ => Packet::Other(read(found).unwrap()),
                };
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

    fn decode(&self, found: crate::mqtt::Frame<'_>) -> Publish {
        let qos = (found.header >> 1) & 3;
        let mut fields = Fields(found.body);
        let topic = fields.text().unwrap().to_owned();
        let packet_id = if qos == 0 { 0 } else { fields.u16().unwrap() };
        if self.version == Version::V5 {
            assert!(fields.properties().unwrap().is_empty());
        }
        Publish {
            is_duplicate: found.header & DUP != 0,
            qos,
            packet_id,
            topic,
            stamp: Stamp::find(fields.0, 0).unwrap().0,
        }
    }

    fn publish(&mut self) -> Publish {
        match self.next() {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?} instead of PUBLISH"),
        }
    }

    /// Acknowledges all until the client says goodbye.
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
                Packet::Other(FromClient::Disconnect(_)) | Packet::End => return found,
                Packet::Other(other) => panic!("{other:?}"),
            }
        }
    }
}

fn start(config: Config) -> (Publisher, Arc<Progress>) {
    let progress = Arc::new(Progress::default());
    (Publisher::spawn(config, Arc::clone(&progress)).unwrap(), progress)
}

/// First occurrences rise by one in each topic, up to what the report says was sent.
fn assert_nothing_skipped<'a>(messages: impl IntoIterator<Item = &'a Publish>, report: &Report) {
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    for publish in messages {
        assert_eq!(publish.topic, report.expected.topics[publish.stamp.publisher as usize]);
        let expected = next.entry(publish.stamp.publisher).or_default();
        assert!(publish.stamp.sequence <= *expected, "skipped: {publish:?}");
        *expected = (*expected).max(publish.stamp.sequence + 1);
    }
    for (publisher, &sent) in (0..).zip(&report.expected.sent) {
        assert_eq!(next.get(&publisher).copied().unwrap_or(0), sent);
    }
}

#[test]
fn publishes_all_at_every_quality_of_service() {
    for (version, qos) in [
        (Version::V311, Qos::AtMostOnce),
        (Version::V311, Qos::AtLeastOnce),
        (Version::V5, Qos::AtLeastOnce),
        (Version::V5, Qos::ExactlyOnce),
    ] {
        let broker = Broker::start();
        let (publisher, progress) = start(Config { version, qos, ..broker.config() });
        let messages = broker.greet(false).take_all();
        let report = publisher.join().unwrap();
        assert!(messages.iter().all(|publish| publish.qos == u8::from(qos) && !publish.is_duplicate));
        assert_nothing_skipped(&messages, &report);
        assert!(report.complete, "{report:?}");
        assert_eq!((messages.len(), report.sent, report.resent), (200, 200, 0));
        let acknowledged = if qos == Qos::AtMostOnce { 0 } else { 200 };
        assert_eq!((report.acknowledged, report.latency.count), (acknowledged, acknowledged));
        assert_eq!((progress.snapshot().sent, progress.snapshot().acknowledged), (200, acknowledged));
    }
}

#[test]
fn a_lost_connection_skips_nothing() {
    for (persistent, version) in [(true, Version::V5), (true, Version::V311), (false, Version::V5)] {
        let broker = Broker::start();
        let folder = tempfile::tempdir().unwrap();
        let ack_log = folder.path().join("acks.json");
        let (publisher, _) = start(Config {
            persistent,
            version,
            load: Load { ack_log: Some(ack_log.clone()), ..Load::new(5) },
            ..broker.config()
        });
        let (mut peer, connect) = broker.accept();
        assert_eq!((connect.persistent, connect.clean_start), (persistent, !persistent));
        let mut connack = Vec::new();
        put_connack(&mut connack, version, false);
        peer.send(&connack);
        let first: Vec<_> = (0..10).map(|_| peer.publish()).collect();
        for number in [7, 0, 1, 2, 3, 4] {
            peer.ack(kind::PUBACK, first[number].packet_id);
        }
        // Five new messages show that the acknowledgements have arrived: the eighth still holds its place.
        let later: Vec<_> = (0..5).map(|_| peer.publish()).collect();
        peer.cut();

        let mut peer = broker.greet(persistent);
        let rest = peer.take_all();
        let report = publisher.join().unwrap();
        let open: Vec<_> = first[5..7].iter().chain(&first[8..]).chain(&later).collect();
        for (again, lost) in rest.iter().zip(&open) {
            let expected = Publish { is_duplicate: persistent, ..(*lost).clone() };
            assert_eq!(*again, expected);
        }
        assert!(rest[open.len()..].iter().all(|publish| !publish.is_duplicate));
        assert_nothing_skipped(first.iter().chain(&later).chain(&rest), &report);
        assert!(report.complete, "{report:?}");
        assert_eq!((report.resent, report.connections_lost, report.acknowledged), (9, 1, 200));
        let log = AckLog::load(&ack_log).unwrap();
        let expected: Vec<_> = report.expected.sent.iter().map(|&sent| Sequences::below(sent)).collect();
        assert_eq!(log.acknowledged, expected);
    }
}

#[test]
fn a_half_done_exactly_once_message_goes_on_where_it_stood() {
    for session_present in [true, false] {
        let broker = Broker::start();
        let (publisher, _) = start(Config { qos: Qos::ExactlyOnce, messages: Some(2), ..broker.config() });
        let mut peer = broker.greet(false);
        let (first, second) = (peer.publish(), peer.publish());
        peer.ack(kind::PUBREC, first.packet_id);
        assert_eq!(peer.next(), Packet::Pubrel(first.packet_id));
        peer.cut();

        let mut peer = broker.greet(session_present);
        if session_present {
            assert_eq!(peer.next(), Packet::Pubrel(first.packet_id));
            peer.ack(kind::PUBCOMP, first.packet_id);
        } else {
            // The broker may have forgotten the message with the session.
            let again = peer.publish();
            assert_eq!(again, first);
            peer.ack(kind::PUBREC, again.packet_id);
        }
        let rest = peer.take_all();
        assert_eq!(rest.len(), 1);
        assert_eq!((rest[0].stamp, rest[0].is_duplicate), (second.stamp, session_present));
        let report = publisher.join().unwrap();
        assert_eq!((report.acknowledged, report.complete), (2, true));
        assert_eq!(report.sessions_lost, u64::from(!session_present));
    }
}

#[test]
fn the_window_is_kept() {
    let broker = Broker::start();
    let (publisher, progress) = start(broker.config());
    // A broker with Receive Maximum 4.
    let (mut peer, _) = broker.accept();
    peer.send(&[kind::CONNACK, 6, 0, 0, 3, 0x21, 0, 4]);
    let first: Vec<_> = (0..4).map(|_| peer.publish()).collect();
    assert_eq!(progress.snapshot().sent, 4);
    // It is filled again by halves.
    peer.ack(kind::PUBACK, first[0].packet_id);
    peer.ack(kind::PUBACK, first[1].packet_id);
    let second = [peer.publish(), peer.publish()];
    assert_eq!(progress.snapshot().sent, 6);
    peer.ack(kind::PUBACK, first[2].packet_id);
    publisher.stop();
    // One is left open, so that it comes back.
    for publish in first[3..].iter().chain(&second[..1]) {
        peer.ack(kind::PUBACK, publish.packet_id);
    }
    peer.cut();
    let report = {
        let mut peer = broker.greet(true);
        peer.take_all();
        publisher.join().unwrap()
    };
    assert!(report.sent < 200 && !report.complete, "{report:?}");
    assert_eq!(report.acknowledged, report.sent);
}

#[test]
fn waits_for_what_has_been_verified() {
    let broker = Broker::start();
    let (publisher, progress) = start(Config { ahead: Some(1_000), in_flight: 1_000, ..broker.config() });
    let mut peer = broker.greet(false);
    let mut received = 0;
    let mut highest = 0;
    while received < 200 {
        let publish = peer.publish();
        received += 1;
        peer.ack(kind::PUBACK, publish.packet_id);
        highest = highest.max(progress.bytes_ahead());
        if progress.bytes_ahead() >= 1_000 {
            // The receiver has found all that has come so far.
            let sent = progress.snapshot().sent;
            while received < sent {
                let publish = peer.publish();
                received += 1;
                peer.ack(kind::PUBACK, publish.packet_id);
            }
            assert_eq!(progress.snapshot().sent, sent, "sent with the gate closed");
            progress.note_verified(received, progress.snapshot().sent_bytes);
        }
    }
    peer.take_all();
    assert!(publisher.join().unwrap().complete);
    assert!((1_000..1_300).contains(&highest), "{highest} bytes ahead");
}

#[test]
fn a_rate_is_kept_over_an_outage() {
    let broker = Broker::start();
    let (publisher, _) = start(Config { load: at(1_000.0), ..broker.config() });
    let mut peer = broker.greet(false);
    let first = peer.publish();
    peer.cut();
    let messages = broker.greet(true).take_all();
    let report = publisher.join().unwrap();
    assert_nothing_skipped(&messages, &report);
    let mut times: Vec<_> = messages.iter().map(|publish| publish.stamp.sent_ns).collect();
    times.sort_unstable();
    times.dedup();
    for (number, time) in (0..).zip(&times) {
        assert!((time - first.stamp.sent_ns - number * 1_000_000).abs() < 10_000, "{number}");
    }
    assert!(report.latency.max_ms >= 50.0, "the backoff of 100 ms counts: {:?}", report.latency);
}

#[test]
fn a_refused_message_is_no_success() {
    let broker = Broker::start();
    let (publisher, _) = start(Config { messages: Some(2), ..broker.config() });
    let mut peer = broker.greet(false);
    let id = peer.publish().packet_id.to_be_bytes();
    peer.send(&[kind::PUBACK, 3, id[0], id[1], 0x97]);
    peer.take_all();
    let report = publisher.join().unwrap();
    assert_eq!((report.refused, report.acknowledged, report.complete), (1, 1, false));
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let broker = Broker::start();
    let mut config = broker.config();
    config.url.port = free;
    config.patience = Duration::from_millis(300);
    let error = start(config).0.join().unwrap_err().to_string();
    assert!(error.contains(&format!("mqtt://127.0.0.1:{free}")) && error.contains("refused"), "{error}");
}

#[test]
fn a_broker_that_refuses_is_not_asked_again() {
    let broker = Broker::start();
    let mut config = broker.config();
    config.url.login = Some(("me".to_owned(), "secret".to_owned()));
    let (publisher, _) = start(config);
    let (mut peer, _) = broker.accept();
    peer.send(&[kind::CONNACK, 3, 0, 0x86, 0]);
    let error = publisher.join().unwrap_err().to_string();
    assert!(error.contains("0x86") && !error.contains("secret"), "{error}");
}

#[test]
fn topics_are_dealt_to_the_clients() {
    let broker = Broker::start();
    let (publisher, _) = start(Config { clients: 3, ..broker.config() });
    let peers: Vec<_> = (0..3)
        .map(|_| {
            let mut peer = broker.greet(false);
            std::thread::spawn(move || peer.take_all())
        })
        .collect();
    let shares: Vec<_> = peers.into_iter().map(|peer| peer.join().unwrap()).collect();
    let report = publisher.join().unwrap();
    assert_nothing_skipped(shares.iter().flatten(), &report);
    for share in &shares {
        let ships: std::collections::BTreeSet<_> = share.iter().map(|publish| &publish.topic[..13]).collect();
        assert_eq!(ships.len(), 1, "{ships:?}");
    }
}

#[test]
fn recorded_sentences_are_published_with_their_counts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.nmea");
    let position = "!AIVDM,1,1,,B,15M67FC000G?ufbE`FepT@3n00Sa,0*5C";
    std::fs::write(&file, format!("$PGHP,1*00\n{position}\n{position}x\n")).unwrap();
    let broker = Broker::start();
    let (publisher, _) = start(Config { traffic: Traffic::Recorded(vec![file]), messages: Some(3), ..broker.config() });
    let messages = broker.greet(false).take_all();
    assert!(messages.iter().all(|publish| publish.topic == "ais/366053209/position"));
    let report = publisher.join().unwrap();
    let counts = report.nmea.clone().unwrap();
    assert_eq!((counts.messages, counts.malformed, counts.other_lines), (1, 1, 1));
    assert_nothing_skipped(&messages, &report);
}

#[test]
fn impossible_settings_are_named() {
    let broker = Broker::start();
    let config = || broker.config();
    let fleet = Traffic::Fleet(Fleet { vessels: 0, seed: 1 });
    let cases = [
        (Config { clients: 0, ..config() }, "0 clients"),
        (Config { in_flight: 0, ..config() }, "in flight"),
        (Config { load: at(-1.0), ..config() }, "rate"),
        (Config { traffic: fleet, ..config() }, "fleet of 0"),
        (Config { qos: Qos::ExactlyOnce, persistent: false, ..config() }, "persistent"),
    ];
    for (config, word) in cases {
        let error = Publisher::spawn(config, Arc::default()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
