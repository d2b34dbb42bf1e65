//! Faults of a real mosquitto and of the network before it.

use std::{collections::HashMap, time::Duration};

use fairlead_tests::{
    Client, Config, Direction, Fairlead, Kafka, Loadgen, Mosquitto, Packet, Proxy, Record, during, fairlead, free_port,
    metric, pause, unique, wait_until, wire,
};

use crate::scene::LIMIT;

/// A topic of the shared Kafka.
fn topic() -> (&'static Kafka, String) {
    let kafka = Kafka::shared();
    let topic = unique("mqtt");
    kafka.create_topic(&topic, 3, &[]);
    (kafka, topic)
}

/// First occurrences by key, in order.
fn first_occurrences(records: &[Record]) -> HashMap<String, Vec<u32>> {
    let mut by_key: HashMap<String, Vec<u32>> = HashMap::new();
    for record in records {
        let values = by_key.entry(record.key_text()).or_default();
        let value = record.text().parse().expect("a number");
        if !values.contains(&value) {
            values.push(value);
        }
    }
    by_key
}

/// Publishes numbers to five topics in turn.
fn publish(client: &mut Client, qos: u8, numbers: std::ops::Range<u32>) {
    for n in numbers {
        client.publish(&format!("ais/{}", n % 5), qos, n.to_string().as_bytes());
    }
}

/// Waits until all numbers below `count` are in Kafka, in order for each topic on first occurrence.
#[track_caller]
fn assert_all_in_order(kafka: &Kafka, topic: &str, count: u32) -> usize {
    let mut records = Vec::new();
    wait_until(LIMIT * 2, "everything is in Kafka", || {
        records = kafka.records(topic, count.into(), LIMIT * 2);
        first_occurrences(&records).values().map(Vec::len).sum::<usize>() == count as usize
    });
    for (key, values) in first_occurrences(&records) {
        assert!(values.is_sorted(), "order of {key}: {values:?}");
    }
    records.len()
}

/// For each connection, the acknowledgements that the bridge sent are in the order of the PUBLISHes they answer.
#[track_caller]
fn assert_acknowledged_in_order(packets: &[Packet]) {
    let connections = packets.iter().map(|p| p.connection).max().unwrap_or(0);
    for connection in 0..=connections {
        let ids = |kind| -> Vec<u16> {
            packets.iter().filter(|p| p.connection == connection && p.kind == kind).map(|p| p.id).collect()
        };
        let (published, acknowledged) = (ids(wire::PUBLISH), ids(wire::PUBACK));
        assert_eq!(acknowledged, published[..acknowledged.len()], "PUBACKs of connection {connection}");
    }
}

#[test]
#[ignore = "real brokers: tests/run"]
fn killed_broker_is_met_again() {
    let (kafka, topic) = topic();
    let mut mosquitto = Mosquitto::start();
    let mut bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), &topic));
    publish(&mut Client::connect(mosquitto.port(), "vessel"), 1, 0..1000);
    assert_all_in_order(kafka, &topic, 1000);
    mosquitto.kill();
    bridge.wait_unready("harbour", LIMIT);
    mosquitto.restart();
    bridge.wait_ready(LIMIT);
    publish(&mut Client::connect(mosquitto.port(), "vessel"), 1, 1000..2000);
    assert_all_in_order(kafka, &topic, 2000);
    assert_eq!(bridge.metric("fairlead_mqtt_connects_total", &[]), 2.0, "connected once more");

    // And with nothing left of the session.
    let lost = bridge.metric(metric::SESSION_LOST, &[]);
    mosquitto.stop();
    mosquitto.forget();
    mosquitto.restart();
    bridge.wait_metric(metric::SESSION_LOST, &[], lost + 1.0, LIMIT);
    bridge.wait_ready(LIMIT);
    publish(&mut Client::connect(mosquitto.port(), "vessel"), 1, 2000..3000);
    assert_all_in_order(kafka, &topic, 3000);
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn restarted_broker_redelivers_and_qos_2_stays_exactly_once() {
    for version in ["5", "3.1.1"] {
        // Not the shared one: were it left frozen by a failure, every other test would fail as well.
        let (kafka, topic) = (Kafka::start(), "ais");
        kafka.create_topic(topic, 3, &[]);
        let mut mosquitto = Mosquitto::start();
        let config = Config::new(&mosquitto.url(), kafka.brokers(), topic);
        let source = format!("qos = 2\nversion = \"{version}\"");
        // Nothing is acknowledged while Kafka stands still: of more than 20 messages in flight, mosquitto 2.0 forgets over a
        // restart which had their PUBREC, and sends them again.
        let mut bridge = Fairlead::ready(&config.source(&source).engine("ack = \"kafka\""));
        kafka.freeze();
        let mut client = Client::connect(mosquitto.port(), "vessel");
        publish(&mut client, 2, 0..500);
        bridge.wait_metric(metric::PENDING, &[], 1.0, LIMIT);
        mosquitto.stop();
        mosquitto.restart();
        bridge.wait_metric(metric::DUP, &[], 1.0, LIMIT);
        kafka.thaw();
        publish(&mut Client::connect(mosquitto.port(), "vessel"), 2, 500..1000);
        assert_eq!(assert_all_in_order(&kafka, topic, 1000), 1000, "duplicates at QoS 2");
        assert_eq!(bridge.stop(LIMIT), 0);
        assert_eq!(kafka.count(topic), 1000);
    }
}

#[test]
#[ignore = "real brokers: tests/run"]
fn cut_connections_lose_nothing() {
    let (kafka, topic) = topic();
    let mosquitto = Mosquitto::start();
    let proxy = Proxy::start(mosquitto.port());
    // The connections end in CONNACK, in SUBACK, at the start of the flow and ever deeper in it.
    for bytes in [1, 7, 20, 333, 4444] {
        proxy.cut_next(Direction::ToClient, bytes);
    }
    for bytes in [20, 100_000, 100_000, 100_000, 300] {
        proxy.cut_next(Direction::ToServer, bytes);
    }
    let mut bridge = Fairlead::start(&Config::new(&proxy.url(), kafka.brokers(), &topic).source("version = \"5\""));
    bridge.wait_metric(metric::SUBSCRIBED, &[], 1.0, LIMIT);
    publish(&mut Client::connect(mosquitto.port(), "vessel"), 1, 0..3000);
    assert_all_in_order(kafka, &topic, 3000);
    assert_eq!(proxy.cuts_left(), 0, "every cut took place");
    assert_acknowledged_in_order(&proxy.packets());
    bridge.wait_ready(LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn slow_links_deliver_the_same() {
    let (kafka, topic) = topic();
    let mosquitto = Mosquitto::start();
    let proxy = Proxy::start(mosquitto.port());
    let mut bridge = Fairlead::ready(&Config::new(&proxy.url(), kafka.brokers(), &topic));
    let mut client = Client::connect(mosquitto.port(), "vessel");
    proxy.slice(Direction::ToClient, true);
    publish(&mut client, 1, 0..500);
    assert_all_in_order(kafka, &topic, 500);
    proxy.slice(Direction::ToClient, false);
    proxy.delay(Direction::ToServer, Duration::from_millis(50));
    proxy.bandwidth(Direction::ToClient, 50_000);
    publish(&mut client, 1, 500..1500);
    assert_all_in_order(kafka, &topic, 1500);
    assert_eq!(proxy.connections(), 1);
    assert_acknowledged_in_order(&proxy.packets());
    assert_eq!(bridge.stop(LIMIT), 0);
    assert_eq!(kafka.count(&topic), 1500, "no duplicates over one connection");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn login_decides() {
    let (kafka, topic) = topic();
    let mosquitto = Mosquitto::start_with_login("fleet", "anchor");
    let config = Config::new(&mosquitto.url(), kafka.brokers(), &topic);
    let login = |password: &str| format!("username = \"fleet\"\npassword = \"{password}\"");
    let mut refused = Fairlead::start(&config.clone().source(&login("wrong-canary")));
    refused.wait_unready("harbour", LIMIT);
    refused.wait_log("refused", LIMIT);
    assert!(!refused.log().contains("wrong-canary"), "a password in the log");
    assert_eq!(refused.stop(LIMIT), 0);
    let mut bridge = Fairlead::ready(&config.source(&login("anchor")));
    assert_eq!(bridge.stop(LIMIT), 0);
}

/// mosquitto 2.0 sends more than the Receive Maximum allows when its queue drains after a pause: 9,700 were seen on the
/// wire where 8,192 were announced. It is too common a broker for closing the session each time.
#[test]
#[ignore = "real brokers: tests/run"]
fn overrun_of_the_receive_maximum_is_borne() {
    const MESSAGES: u64 = 60_000;
    let kafka = Kafka::start();
    kafka.create_topic("ais", 3, &[]);
    let mosquitto = Mosquitto::start();
    let config = Config::new(&mosquitto.url(), kafka.brokers(), "ais").engine("ack = \"kafka\"");
    let mut bridge = Fairlead::ready(&config);
    let messages = MESSAGES.to_string();
    let mut fleet = Loadgen::publish(&mosquitto.url(), &["--fleet", "500", "--rate", "5000", "--messages", &messages]);
    bridge.wait_metric(metric::DELIVERED, &[], 10_000.0, LIMIT);
    kafka.freeze();
    bridge.wait_metric(metric::WINDOW, &[], 8192.0, LIMIT);
    // The queue grows in mosquitto now; the span is the fault.
    pause(Duration::from_secs(4));
    kafka.thaw();
    fleet.succeed(LIMIT * 2);
    bridge.wait_metric(metric::DELIVERED, &[], 60_000.0, LIMIT * 2);
    assert_eq!(bridge.metric(metric::RECONNECTS, &[]), 0.0);
    fleet.verify(&kafka, "ais", 0);
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn two_bridges_with_one_client_id_make_no_storm() {
    let (kafka, topic) = topic();
    let mosquitto = Mosquitto::start();
    let config = Config::new(&mosquitto.url(), kafka.brokers(), &topic);
    let first = Fairlead::ready(&config);
    let second = Fairlead::ready(&config);
    // This mosquitto closes the older connection without a word, so both come back, ever more rarely.
    let connects = || mosquitto.log().matches("as fairlead-harbour").count();
    during(Duration::from_secs(15), || assert!(connects() <= 25, "a storm of {} connections", connects()));
    let before = connects();
    during(Duration::from_secs(5), || assert!(connects() <= before + 4, "the storm does not calm down"));
    drop((first, second));
}

#[test]
#[ignore = "real brokers: tests/run"]
fn shared_subscription_takes_every_message_once() {
    let (kafka, topic) = topic();
    let mosquitto = Mosquitto::start();
    let config = Config::new(&mosquitto.url(), kafka.brokers(), &topic);
    let mut bridge = Fairlead::ready(&config.source("sessions = 4\nshare = \"pier\""));
    publish(&mut Client::connect(mosquitto.port(), "vessel"), 1, 0..2000);
    let mut values: Vec<u32> = kafka.records(&topic, 2000, LIMIT).iter().map(|r| r.text().parse().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, (0..2000).collect::<Vec<u32>>());
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn check_connect_describes_both_sides() {
    let (kafka, topic) = topic();
    let mosquitto = Mosquitto::start();
    let toml = Config::new(&mosquitto.url(), kafka.brokers(), &topic).toml(free_port());
    let folder = fairlead_tests::Scratch::new("check");
    let path = folder.write("fairlead.toml", &toml);
    let finished = fairlead(&["check", "-c", path.to_str().unwrap(), "--connect"], |_| ());
    assert_eq!(finished.code, 0, "{}", finished.output);
    // The window divided by the round trip is the ceiling of a session.
    for text in ["msg/s", "ms", &topic, "3", "min.insync.replicas"] {
        assert!(finished.output.contains(text), "{text:?} is missing in:\n{}", finished.output);
    }
    // Another user's session of the same name is not disturbed by a check.
    assert_eq!(kafka.count(&topic), 0);
}
