//! The harness itself: what it says of servers, connections and processes must be true before it may judge the bridge.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use fairlead_tests::{
    Client, Direction, EvilBroker, Kafka, KafkaClient, Metrics, MockKafka, Mosquitto, Process, Proxy, Scratch, during,
    free_port, now, unique, wait_until, wire,
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};

const LIMIT: Duration = Duration::from_secs(30);

/// A proxy with one connection through it: the client's end and the server's end.
fn connected(proxy: &Proxy, server: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let (accepted, _) = server.accept().unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    accepted.set_read_timeout(Some(LIMIT)).unwrap();
    (client, accepted)
}

fn proxied() -> (Proxy, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(server.local_addr().unwrap().port());
    (proxy, server)
}

#[test]
fn proxy_passes_both_ways() {
    let (proxy, listener) = proxied();
    let (mut client, mut server) = connected(&proxy, &listener);
    client.write_all(b"ahoy").unwrap();
    let mut four = [0; 4];
    server.read_exact(&mut four).unwrap();
    assert_eq!(&four, b"ahoy");
    server.write_all(b"aye!").unwrap();
    client.read_exact(&mut four).unwrap();
    assert_eq!(&four, b"aye!");
    drop(server);
    assert_eq!(client.read(&mut four).unwrap(), 0, "the server's FIN arrives");
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn proxy_cuts_after_so_many_bytes_and_once() {
    let (proxy, listener) = proxied();
    proxy.cut_next(Direction::ToClient, 3);
    let (mut client, mut server) = connected(&proxy, &listener);
    server.write_all(b"abcdef").unwrap();
    let mut text = Vec::new();
    client.read_to_end(&mut text).unwrap();
    assert_eq!(text, b"abc");
    assert_eq!(proxy.cuts_left(), 0);
    let (mut client, mut server) = connected(&proxy, &listener);
    server.write_all(b"abcdef").unwrap();
    let mut six = [0; 6];
    client.read_exact(&mut six).unwrap();
}

#[test]
fn proxy_slices() {
    let (proxy, listener) = proxied();
    proxy.slice(Direction::ToServer, true);
    let (mut client, mut server) = connected(&proxy, &listener);
    client.write_all(&[7; 1000]).unwrap();
    let mut reads = 0;
    let mut have = 0;
    while have < 1000 {
        have += server.read(&mut [0; 1000]).unwrap();
        reads += 1;
    }
    assert!(reads > 10, "1000 bytes came in {reads} pieces");
}

#[test]
fn proxy_holds_back_and_lets_go() {
    let (proxy, listener) = proxied();
    proxy.black_hole(Direction::ToClient, true);
    let (mut client, mut server) = connected(&proxy, &listener);
    server.write_all(b"x").unwrap();
    client.set_nonblocking(true).unwrap();
    during(Duration::from_millis(200), || {
        assert!(client.read(&mut [0; 1]).is_err(), "nothing passes");
    });
    client.set_nonblocking(false).unwrap();
    proxy.black_hole(Direction::ToClient, false);
    client.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn proxy_delays_and_throttles() {
    let (proxy, listener) = proxied();
    proxy.delay(Direction::ToClient, Duration::from_millis(100));
    let (mut client, mut server) = connected(&proxy, &listener);
    let start = now();
    server.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    assert!(now() - start >= Duration::from_millis(100));
    proxy.bandwidth(Direction::ToServer, 10_000);
    let start = now();
    client.write_all(&[0; 2000]).unwrap();
    server.read_exact(&mut [0; 2000]).unwrap();
    assert!(now() - start >= Duration::from_millis(150));
}

#[test]
fn proxy_closes_by_halves_and_whole() {
    let (proxy, listener) = proxied();
    let (mut client, mut server) = connected(&proxy, &listener);
    // Both ends are known to the proxy once something has passed.
    server.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    proxy.half_close(Direction::ToClient);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    client.write_all(b"still here").unwrap();
    server.read_exact(&mut [0; 10]).unwrap();
    proxy.cut_all();
    assert!(matches!(server.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn proxy_notes_packets() {
    let (proxy, listener) = proxied();
    let (mut client, mut server) = connected(&proxy, &listener);
    let publish = wire::publish_with(wire::V5, b"a/b", wire::DUP | 2, 7, &[], b"payload");
    // In two parts, and with a PUBLISH of QoS 0, which has no packet id and is not noted.
    server.write_all(&wire::publish(wire::V5, "a/b", 0, 0, b"")).unwrap();
    server.write_all(&publish[..5]).unwrap();
    server.write_all(&publish[5..]).unwrap();
    client.write_all(&wire::acknowledge(wire::PUBACK, 7)).unwrap();
    proxy.wait_for_packets(wire::PUBACK, 1, LIMIT);
    proxy.wait_for_packets(wire::PUBLISH, 1, LIMIT);
    let packets = proxy.packets();
    assert_eq!(packets.len(), 2);
    let publish = packets.iter().find(|p| p.kind == wire::PUBLISH).unwrap();
    assert_eq!((publish.id, publish.dup, publish.direction), (7, true, Direction::ToClient));
    let puback = packets.iter().find(|p| p.kind == wire::PUBACK).unwrap();
    assert_eq!((puback.id, puback.dup, puback.direction), (7, false, Direction::ToServer));
}

#[test]
fn scripted_broker_and_client_speak_mqtt() {
    for level in [wire::V311, wire::V5] {
        let broker = EvilBroker::start();
        let address = broker.url();
        let mut client = TcpStream::connect(address.strip_prefix("mqtt://").unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        client.write_all(&wire::connect(level, "someone", None)).unwrap();
        client.write_all(&wire::subscribe(level, 9, "a/#", 1)).unwrap();
        let mut session = broker.accept_session(false, LIMIT);
        assert_eq!((session.level, session.connect.client_id().as_str()), (level, "someone"));
        assert_eq!(session.filters, [("a/#".to_owned(), 1)]);
        session.publish("a/b", 1, 5, b"payload");
        client.write_all(&wire::acknowledge(wire::PUBACK, 5)).unwrap();
        session.expect_id(wire::PUBACK, 5);
        session.expect_silence(Duration::from_millis(50));
        client.write_all(&wire::disconnect(level, 0)).unwrap();
        drop(client);
        assert_eq!(session.expect_close(), Some(0));
    }
}

#[test]
fn metrics_are_read() {
    let metrics = Metrics::parse("# TYPE a counter\na_total{x=\"1\",y=\"b c\"} 2\na_total{x=\"2\"} 3.5\nb 1e3\n");
    assert_eq!(metrics.sum("a_total", &[]), Some(5.5));
    assert_eq!(metrics.sum("a_total", &[("y", "b c")]), Some(2.0));
    assert_eq!(metrics.sum("b", &[]), Some(1000.0));
    assert_eq!(metrics.sum("c", &[]), None);
}

#[test]
fn processes_are_seen_and_stopped() {
    let folder = Scratch::new("process");
    let mut command = Process::command("sh");
    command.args(["-c", "echo begun; while :; do :; done"]);
    let mut process = Process::spawn("sh", command, &folder.path().join("log"));
    wait_until(LIMIT, "output", || process.log() == "begun\n");
    wait_until(LIMIT, "CPU time", || process.cpu() >= Duration::from_millis(50));
    assert!(process.rss_anon() > 10_000 && process.threads() == 1);
    process.freeze();
    let cpu = process.cpu();
    during(Duration::from_millis(100), || assert!(process.cpu() <= cpu + Duration::from_millis(20), "frozen"));
    process.thaw();
    process.terminate();
    assert_eq!(process.wait(LIMIT), -15);
}

#[test]
fn ports_differ() {
    assert_ne!(free_port(), free_port());
}

#[test]
#[ignore = "real brokers: tests/run"]
fn mosquitto_keeps_messages_over_a_restart() {
    let mut broker = Mosquitto::start();
    let mut client = Client::connect(broker.port(), "publisher");
    // Retained, because the test's client has no persistent session.
    client.publish_with(b"a/b", 3, &[], b"kept");
    broker.stop();
    broker.restart();
    let mut client = Client::connect(broker.port(), "reader");
    client.subscribe("a/#", 0);
    let frame = client.read().unwrap();
    assert!(frame.kind() == wire::PUBLISH && frame.body.ends_with(b"kept"));
    broker.stop();
    broker.forget();
    broker.restart();
    broker.kill();
}

#[test]
#[ignore = "real brokers: tests/run"]
fn mosquitto_asks_for_the_login() {
    let broker = Mosquitto::start_with_login("fleet", "anchor");
    assert!(Client::try_connect(broker.port(), "a", Some(("fleet", "anchor"))).is_ok());
    assert!(Client::try_connect(broker.port(), "a", Some(("fleet", "wrong"))).is_err());
    assert!(Client::try_connect(broker.port(), "a", None).is_err());
}

fn produce(kafka: &KafkaClient, topic: &str, count: u64) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka.brokers()).set("linger.ms", "0").create().unwrap();
    for i in 0..count {
        producer.send(BaseRecord::to(topic).key(&format!("{i}")).payload("value")).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

#[test]
fn embedded_kafka_takes_and_gives_records() {
    let kafka = MockKafka::start(1);
    kafka.create("harness", 3);
    produce(&kafka, "harness", 100);
    let records = kafka.records("harness", 100, LIMIT);
    assert_eq!(records.len(), 100);
    assert!(records.iter().all(|r| r.text() == "value"));
    assert_eq!(kafka.partitions("another"), None, "nothing is created by asking for it");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn kafka_takes_and_gives_records() {
    let start = now();
    let kafka = Kafka::shared();
    println!("Kafka started in {:?}", now() - start);
    let topic = unique("harness");
    assert_eq!(kafka.partitions(&topic), None);
    kafka.create_topic(&topic, 3, &[("max.message.bytes", "2000")]);
    assert!(kafka.consume(&topic).is_empty());
    produce(kafka, &topic, 100);
    let records = kafka.records(&topic, 100, LIMIT);
    assert_eq!((records.len(), kafka.count(&topic)), (100, 100));
    let mut keys: Vec<u32> = records.iter().map(|r| r.key_text().parse().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..100).collect::<Vec<u32>>());
    assert!(records.iter().all(|r| r.text() == "value" && r.timestamp.is_some()));
    kafka.alter_topic(&topic, "max.message.bytes", "3000");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn kafka_stops_and_comes_back_with_its_data() {
    let mut kafka = Kafka::start();
    let topic = unique("harness");
    kafka.create_topic(&topic, 1, &[]);
    produce(&kafka, &topic, 10);
    let start = now();
    kafka.stop();
    let stopped = now();
    kafka.restart();
    println!("Kafka stopped in {:?} and was back in {:?}", stopped - start, now() - stopped);
    assert_eq!(kafka.records(&topic, 10, LIMIT).len(), 10);
    kafka.freeze();
    kafka.thaw();
    produce(&kafka, &topic, 10);
    kafka.kill();
    let killed = now();
    kafka.restart();
    println!("Kafka was back after SIGKILL in {:?}", now() - killed);
    assert_eq!(kafka.records(&topic, 20, LIMIT).len(), 20);
}
