//! What is said about valid configurations.

use super::{LEAST, one, problems, with};

/// The notes of a configuration, as they are printed.
fn notes(text: &str) -> Vec<String> {
    let loaded = one(text);
    assert_eq!(problems(&loaded), [""; 0]);
    loaded.notes.iter().map(ToString::to_string).collect()
}

/// On one core, so that there is a session for each shard.
fn on_one_core(text: &str) -> String {
    text.replace("[kafka]", "[engine]\ncpus = [0]\n[kafka]")
}

#[test]
fn the_least_on_one_core_has_nothing_to_say() {
    assert_eq!(notes(&on_one_core(LEAST)), [""; 0]);
    let expected =
        "configuration: engine.cpus: 2 shards for 1 session(s): the others only produce; more sessions use more cores";
    assert_eq!(notes(LEAST), [expected]);
}

#[test]
fn each_fact_is_said_with_its_place() {
    let cases = [
        (
            "qos = 0",
            "7: source.0.qos: nothing is acknowledged at QoS 0: what the broker sends while the connection or Fairlead is down is lost",
        ),
        (
            "clean_start = true",
            "15: source.0.clean_start: every start of the process discards the session at the broker, with what it holds for us: what was published meanwhile is lost",
        ),
        (
            "session_expiry = \"0s\"",
            "18: source.0.session_expiry: the broker forgets the session with its connection (MQTT 5.0 §3.1.2.11.2): what is published during a reconnect is lost",
        ),
        (
            "version = \"3.1.1\"\nsession_expiry = \"1h\"",
            "18: source.0.session_expiry: MQTT 3.1.1 has no session expiry: the broker's own limit holds",
        ),
        ("share = \"g\"", "9: source.0.share: a shared subscription has no order (MQTT 5.0 §4.8.2)"),
        (
            "version = \"3.1.1\"\nshare = \"g\"",
            "9: source.0.share: a shared subscription has no order, and MQTT 3.1.1 does not know it: some brokers allow it",
        ),
        (
            "keep_alive = \"0s\"",
            "14: source.0.keep_alive: without pings a dead connection is found by TCP alone, which can take minutes",
        ),
        (
            "announce_max_packet = true",
            "23: source.0.announce_max_packet: a broker drops what exceeds an announced maximum, and tells nobody",
        ),
    ];
    for (lines, expected) in cases {
        let (text, first) = with("[[source]]", lines);
        let number = first + lines.matches('\n').count();
        assert_eq!(notes(&on_one_core(&text)), [format!("1.toml:{number}:{expected}")]);
    }
}

#[test]
fn memory_is_said_to_lose_on_a_crash() {
    let (text, number) = with("[engine]", "cpus = [0]\nack = \"memory\"");
    let expected = "7: engine.ack: a message is acknowledged before Kafka has it: what is in flight is lost on a crash; \"kafka\" loses nothing";
    assert_eq!(notes(&text), [format!("1.toml:{}:{expected}", number + 1)]);
}

#[test]
fn sessions_that_wait_for_each_others_memory_are_said() {
    let (text, _) = with("[[source]]", "sessions = 5\nshare = \"g\"");
    let expected = "configuration: source.0.max_packet: 5 sessions on a shard that each receive a largest packet need 80.0 MiB, and engine.memory is 64.0 MiB: they would wait for each other";
    assert!(notes(&on_one_core(&text)).contains(&expected.to_owned()));
}

#[test]
fn a_route_behind_a_wider_one_and_the_need_for_version_5_are_said() {
    let text = on_one_core(LEAST)
        + "[[route]]\nfrom = \"ais/{mmsi}\"\ntopic = \"x\"\n[[route]]\nfrom = \"+/1\"\ntopic = \"x\"\n";
    let expected = [
        "1.toml:12:8: route.1.from: no message comes here, because `ais/#` of the route at 1.toml:9:8 takes all of `ais/{mmsi}`, and the first match wins; put the narrower first",
        "configuration: source.0.version: filters of the routes overlap, which needs the subscription identifiers of MQTT 5.0: 3.1.1 is not tried",
    ];
    assert_eq!(notes(&text), expected);
}

#[test]
fn packet_ids_that_do_not_survive_a_restart_are_said() {
    let said = |engine: &str| {
        let (text, _) = with("[[source]]", "qos = 2");
        let notes = notes(&text.replace("[kafka]", &format!("[engine]\ncpus = [0]\n{engine}\n[kafka]")));
        notes.into_iter().find(|note| note.contains("source.0.qos"))
    };
    assert_eq!(said(""), None, "they are in the spool");
    assert!(
        said("ack = \"kafka\"").unwrap().contains("with ack = \"kafka\" the packet ids of QoS 2 are kept in memory")
    );
    assert!(
        said("state = \"off\"").unwrap().contains("without engine.state the packet ids in the spool are not believed")
    );
}
