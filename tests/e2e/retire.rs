//! `fairlead retire` against mosquitto: what a session that is gone still holds.

use fairlead_tests::{Client, Config, Fairlead, Kafka, Mosquitto, Scratch, fairlead, unique};

use crate::scene::LIMIT;

/// Runs `fairlead retire` with the state that `bridge` left.
fn retire(bridge: &Fairlead, config: &Config, args: &[&str]) -> (i32, String) {
    let folder = Scratch::new("retire");
    let file = folder.write("retire.toml", &config.toml(bridge.admin()));
    let fixed = ["retire", "--quiet", "1s", "-c", file.to_str().unwrap()];
    let finished = fairlead(&[&fixed[..], args].concat(), |command| {
        command.env("XDG_STATE_HOME", bridge.folder());
    });
    (finished.code, finished.output)
}

/// Two sessions become one; a bridge runs on with the one.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_session_that_is_gone_is_emptied_and_ended() {
    let kafka = Kafka::shared();
    for (version, source) in [("5", ""), ("3.1.1", ""), ("5", "share = \"pier\"")] {
        let topic = unique("retire");
        kafka.create_topic(&topic, 3, &[]);
        let mosquitto = Mosquitto::start();
        let second = format!("[[route]]\nfrom = \"ships/#\"\ntopic = \"{topic}\"");
        let config = |sessions: u32| {
            let lines = format!("sessions = {sessions}\nversion = \"{version}\"\n{source}");
            Config::new(&mosquitto.url(), kafka.brokers(), &topic).source(&lines).route(&second)
        };
        let mut bridge = Fairlead::ready(&config(2));
        assert_eq!(bridge.stop(LIMIT), 0);
        let mut client = Client::connect(mosquitto.port(), "vessel");
        for n in 0..50 {
            client.publish("ais/1", 1, format!("ais {n}").as_bytes());
            client.publish("ships/1", 1, format!("ships {n}").as_bytes());
        }
        bridge.restart_with(&config(1));
        bridge.wait_ready(LIMIT);

        let (code, output) = retire(&bridge, &config(1), &["--client-id", "fairlead-harbour-1"]);
        assert_eq!(code, 0, "{output}");
        assert!(output.contains("messages were moved to Kafka; the session is ended"), "{output}");
        let texts = |count| {
            let mut texts: Vec<String> =
                kafka.records(&topic, count, LIMIT).iter().map(|record| record.text()).collect();
            texts.sort_unstable();
            texts.dedup();
            texts.len()
        };
        assert_eq!(texts(100), 100, "{version} {source}: nothing is left behind");

        // It is gone, and what is published now is the other session's.
        let (code, output) = retire(&bridge, &config(1), &["--client-id", "fairlead-harbour-1"]);
        assert_eq!(code, 0, "{output}");
        assert!(output.contains("the broker had no such session"), "{output}");
        client.publish("ais/1", 1, b"ais 50");
        assert_eq!(texts(101), 101);
        assert_eq!(bridge.stop(LIMIT), 0);
    }
}

#[test]
#[ignore = "real brokers: tests/run"]
fn a_session_in_use_and_a_broker_that_is_not_there_are_refused() {
    let kafka = Kafka::shared();
    let topic = unique("retire");
    kafka.create_topic(&topic, 3, &[]);
    let mut mosquitto = Mosquitto::start();
    let config = Config::new(&mosquitto.url(), kafka.brokers(), &topic);
    let mut bridge = Fairlead::ready(&config);
    let (code, output) = retire(&bridge, &config, &["--client-id", "fairlead-harbour-0"]);
    assert_eq!(code, 78, "{output}");
    assert!(output.contains("take it out of the configuration"), "{output}");
    let (code, output) = retire(&bridge, &config, &["--client-id", "x", "--source", "quay"]);
    assert_eq!(code, 78, "{output}");
    assert!(output.contains("no source `quay`"), "{output}");
    assert_eq!(bridge.stop(LIMIT), 0);
    mosquitto.stop();
    let (code, output) = retire(&bridge, &config, &["--client-id", "x"]);
    assert_eq!(code, 69, "{output}");
    assert!(output.contains("no MQTT broker answers"), "{output}");
}
