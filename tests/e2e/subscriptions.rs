//! What is subscribed, over restarts of the bridge; and what the broker drops.

use fairlead_tests::{
    Client, Config, Connection, Fairlead, Kafka, Mosquitto, Scratch, metric, unique, wait_until, wire,
};

use crate::scene::{LIMIT, Scene, TOPIC};

/// The configuration of a scene with another filter.
fn config(scene: &Scene, from: &str, lines: &str) -> Config {
    Config { from: from.to_owned(), ..Config::new(&scene.broker.url(), scene.kafka.brokers(), TOPIC) }.source(lines)
}

/// The next connection, with the session that the broker kept, up to CONNACK. Nothing is answered without the test.
#[track_caller]
fn resumed(scene: &Scene) -> Connection {
    let mut connection = scene.broker.accept(LIMIT);
    connection.send(&wire::connack(connection.level, true, 0));
    connection
}

fn version(version: &str) -> String {
    format!("version = \"{version}\"")
}

#[test]
fn a_restart_subscribes_what_is_new_and_unsubscribes_what_is_gone() {
    for lines in ["5", "3.1.1"].map(version) {
        let mut scene = Scene::new(&lines);
        let session = scene.session();
        scene.bridge.wait_ready(LIMIT);
        assert_eq!(scene.bridge.stop(LIMIT), 0);
        drop(session);

        // Killed before UNSUBACK, it tries again after the next start.
        let ships = config(&scene, "ships/#", &lines);
        for _ in 0..2 {
            scene.bridge.restart_with(&ships);
            let mut session = resumed(&scene);
            let subscribe = session.expect(wire::SUBSCRIBE);
            assert_eq!(wire::filters(session.level, &subscribe)[0].0, "ships/#");
            session.grant(&subscribe);
            session.expect(wire::UNSUBSCRIBE);
            scene.bridge.process().kill();
        }
        scene.bridge.restart();
        let mut session = resumed(&scene);
        let subscribe = session.expect(wire::SUBSCRIBE);
        session.grant(&subscribe);
        let unsubscribe = session.expect(wire::UNSUBSCRIBE);
        assert!(String::from_utf8_lossy(&unsubscribe.body).contains("ais/#"));
        session.give_up(&unsubscribe);
        scene.bridge.wait_ready(LIMIT);
        assert_eq!(scene.bridge.stop(LIMIT), 0);
        drop(session);

        // Nothing is new and nothing is gone: the PUBLISH is the next thing that is answered.
        scene.bridge.restart();
        let mut session = resumed(&scene);
        session.publish("ships/1", 1, 7, b"remembered");
        session.expect_id(wire::PUBACK, 7);
        scene.bridge.wait_ready(LIMIT);
        assert_eq!(scene.values(1), ["remembered"]);
    }
}

#[test]
fn a_state_folder_that_cannot_be_used_is_one_warning() {
    let folder = Scratch::new("state");
    let file = folder.write("no-folder", "");
    let engine = format!("ack = \"kafka\"\nstate = {file:?}");
    let mut scene = Scene::with(|config| config.engine(&engine));
    let mut session = scene.session();
    scene.bridge.wait_ready(LIMIT);
    session.publish("ais/1", 1, 1, b"all the same");
    session.expect_id(wire::PUBACK, 1);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
    let log = scene.bridge.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("cannot be remembered")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains(file.to_str().unwrap()), "{log}");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn what_mosquitto_holds_no_longer_is_what_was_configured() {
    let kafka = Kafka::shared();
    let topic = unique("subscriptions");
    kafka.create_topic(&topic, 3, &[]);
    let mosquitto = Mosquitto::start();
    let ais = Config::new(&mosquitto.url(), kafka.brokers(), &topic);
    let ships = Config { from: "ships/#".to_owned(), ..ais.clone() };
    let mut bridge = Fairlead::ready(&ais);
    assert_eq!(bridge.stop(LIMIT), 0);
    bridge.restart_with(&ships);
    bridge.wait_ready(LIMIT);
    let mut client = Client::connect(mosquitto.port(), "vessel");
    client.publish("ais/1", 1, b"gone");
    client.publish("ships/1", 1, b"new");
    let records = kafka.records(&topic, 1, LIMIT);
    assert_eq!(records.iter().map(fairlead_tests::Record::text).collect::<Vec<_>>(), ["new"]);
    assert_eq!(bridge.metric(metric::DROPPED, &[]), 0.0, "a message without a route");
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn what_mosquitto_drops_is_shown() {
    let kafka = Kafka::shared();
    let topic = unique("dropped");
    kafka.create_topic(&topic, 3, &[]);
    // Without a queue, what a sleeping session misses is dropped.
    let mosquitto = Mosquitto::start_with("allow_anonymous true\nmax_queued_messages 1\nsys_interval 1\n");
    let config = Config::new(&mosquitto.url(), kafka.brokers(), &topic);
    let mut sleeper = Fairlead::ready(&config.clone().source("client_id = \"sleeper\""));
    assert_eq!(sleeper.stop(LIMIT), 0);
    let mut bridge = Fairlead::ready(&config.source("sys = true"));
    let mut client = Client::connect(mosquitto.port(), "vessel");
    (0..50).for_each(|_| client.publish("ais/1", 1, b"missed"));
    bridge.wait_metric(metric::BROKER_DROPPED, &[("source", "harbour")], 1.0, LIMIT);
    let status = || -> serde_json::Value { serde_json::from_str(&bridge.get("/status").body).expect("JSON") };
    wait_until(LIMIT, "/status shows it", || status().to_string().contains("\"broker_dropped\":"));
    assert!(mosquitto.log().contains("fairlead-harbour-0-sys"), "a connection of its own");
    assert_eq!(bridge.metric(metric::SUBSCRIBED, &[]), 1.0);
    assert_eq!(bridge.stop(LIMIT), 0);
}
