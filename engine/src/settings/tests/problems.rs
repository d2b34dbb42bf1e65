//! Mistakes that lie between keys, in the text as a whole, or in files that are none.

use super::{Given, LEAST, one, problems, with};
use crate::settings::MAX_PROBLEMS;

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_text() {
    let text = r#"
[[source]]
name = "a"
qos = 7
[[source]]
name = "a"
url = "mqtt://b"
keep_alive = 1
[kafak]
[[route]]
from = "x"
sauce = "a"
"#;
    let given = Given { files: &[text], environment: &[("FAIRLEAD__ENGINE__ACK", "never")], flags: &[("a", "1")] };
    let expected = [
        "1.toml:1:1: kafka.brokers: is missing; write brokers = \"host:9092\" into [kafka]",
        "1.toml:2:1: source.0.url: is missing; write the broker, such as url = \"mqtt://127.0.0.1:1883\"",
        "1.toml:4:7: source.0.qos: 7 is out of range; write an integer from 0 to 2",
        "1.toml:6:8: source.1.name: the name `a` is taken by the source at 1.toml:3:8; give each source its own name",
        "1.toml:8:14: source.1.keep_alive: the time 1 has no unit; write \"1s\", or a time such as \"7d\"",
        "1.toml:9:2: kafak: unknown key; did you mean `kafka`?",
        "1.toml:10:1: route.0.topic: is missing; write the Kafka topic, such as topic = \"ais\"",
        "1.toml:12:1: route.0.sauce: unknown key; did you mean `source`?",
        "environment FAIRLEAD__ENGINE__ACK: engine.ack: \"never\" is no kind of acknowledgement; write \"durable\" or \"spool\" or \"kafka\" or \"memory\"",
        "--set a: a: unknown key; known here: `source`, `kafka`, `route`, `engine`, `spool`, `dead_letter`, `admin`",
    ];
    assert_eq!(problems(&given.load()), expected);
}

#[test]
fn nothing_at_all_says_what_is_needed() {
    let expected = [
        "configuration: kafka.brokers: is missing; write brokers = \"host:9092\" into [kafka]",
        "configuration: source: is missing; write at least one [[source]] with `name` and `url`; `fairlead sample` shows all",
        "configuration: route: is missing; write at least one [[route]] with `from` and `topic`; `fairlead sample` shows all",
    ];
    assert_eq!(problems(&Given::default().load()), expected);
}

#[test]
fn empty_lists_and_wrong_sections_are_told() {
    let text = LEAST.replace("[[source]]", "[source]");
    let expected =
        "1.toml:1:1: source: found a table; write a list, which for tables is `[[source]]` with two brackets";
    assert_eq!(problems(&one(&text)), [expected]);
    let text = "source = []\nroute = 1\nkafka = [1]\n";
    let expected = [
        "1.toml:1:10: source: is missing; write at least one [[source]] with `name` and `url`; `fairlead sample` shows all",
        "1.toml:2:9: route: found 1; write a list",
        "1.toml:3:9: kafka: found a list; write a table, such as `[kafka]`",
    ];
    assert_eq!(problems(&one(text)), expected);
}

#[test]
fn every_managed_property_says_what_to_do_instead() {
    let managed = "bootstrap.servers metadata.broker.list acks request.required.acks enable.idempotence \
         max.in.flight max.in.flight.requests.per.connection enable.gapless.guarantee message.timeout.ms \
         delivery.timeout.ms retries message.send.max.retries linger.ms queue.buffering.max.ms \
         queue.buffering.max.messages queue.buffering.max.kbytes message.max.bytes message.copy.max.bytes \
         allow.auto.create.topics partitioner statistics.interval.ms log.queue dr_cb dr_msg_cb transactional.id \
         delivery.report.only.error topic.metadata.refresh.interval.ms";
    for key in managed.split_whitespace() {
        let (text, number) = with("[kafka]", &format!("properties = {{ \"{key}\" = 1 }}"));
        let found = problems(&one(&text));
        let place =
            format!("1.toml:{number}:{}: kafka.properties.{key}: Fairlead manages this property; ", 21 + key.len());
        assert!(found.len() == 1 && found[0].starts_with(&place), "{found:?}, {place}");
    }
}

#[test]
fn librdkafka_is_asked_about_the_rest() {
    let (text, _) = with(
        "[kafka]",
        r#"properties = { "compresion.type" = "lz4", "compression.type" = "brotli", "batch.size" = 100000 }"#,
    );
    let found = problems(&one(&text));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("1.toml:6:36: kafka.properties.compresion.type: librdkafka refuses"), "{found:?}");
    assert!(found[1].starts_with("1.toml:6:64: kafka.properties.compression.type: librdkafka refuses"), "{found:?}");
}

#[test]
fn filters_that_overlap_in_part_are_an_error_of_both_routes_on_3_1_1() {
    let overlapping = |version: &str| {
        let (text, _) = with("[[source]]", &format!("version = \"{version}\""));
        text.replace("ais/#", "ais/+/position")
            + "[[route]]\nfrom = \"ais/{mmsi}\"\ntopic = \"a\"\n[[route]]\nfrom = \"ais/244/+\"\ntopic = \"b\"\n"
    };
    let expected = "1.toml:14:8: route.2.from: `ais/244/+` and `ais/+/position` of the route at 1.toml:8:8 match some topics in common, \
         and the broker may send those twice, which MQTT 3.1.1 cannot tell apart; use `ais/+/+` for both, or version = \"5\"";
    assert_eq!(problems(&one(&overlapping("3.1.1"))), [expected]);
    assert_eq!(problems(&one(&overlapping("5"))), [""; 0]);
    assert_eq!(problems(&one(&overlapping("auto"))), [""; 0]);
}

#[test]
fn client_ids_that_collide_are_told() {
    let two = |first: &str, second: &str, url: &str| {
        LEAST.replace("[kafka]", &format!("client_id = \"{first}\"\n[[source]]\nname = \"pier\"\nurl = [\"mqtt://other\", \"{url}\"]\nclient_id = \"{second}\"\n[kafka]"))
    };
    let expected = "1.toml:8:13: source.1.client_id: the client id `x` is also that of the source `harbour` at the same broker, \
         and they would throw each other out; put {source} into it";
    assert_eq!(problems(&one(&two("x", "x", "mqtt://broker:1883"))), [expected]);
    assert_eq!(problems(&one(&two("x", "x", "mqtt://broker:1884"))), [""; 0]);
    assert_eq!(problems(&one(&two("x", "{source}", "mqtt://broker"))), [""; 0]);
    let (text, _) = with("[[source]]", "client_id = \"{host}\"\nsessions = 2\nshare = \"g\"");
    let expected = "1.toml:4:13: source.0.client_id: 2 sessions would share the client id `quay` and throw each other out; put {session} into it";
    assert_eq!(problems(&one(&text)), [expected]);
}

#[test]
fn a_source_without_filters_is_told_unless_a_route_is_broken() {
    let text =
        LEAST.replace("[kafka]", "[[source]]\nname = \"pier\"\nurl = \"mqtt://b\"\n[kafka]") + "source = \"harbour\"\n";
    let expected = "1.toml:4:1: source.1: no route takes from this source; add a [[route]], or remove the source";
    assert_eq!(problems(&one(&text)), [expected]);
    let broken = text.replace("source = \"harbour\"", "source = \"harbor\"");
    assert_eq!(problems(&one(&broken)).len(), 1);
}

#[test]
fn every_mistake_of_syntax_is_told() {
    let text = format!("foo\n{LEAST}owner = = 1\n");
    let expected = [
        "1.toml:1:4: TOML: key with no value, expected `=`",
        "1.toml:10:9: TOML: extra `=`, expected nothing",
        "1.toml:10:11: TOML: unexpected key or value, expected newline, `#`",
    ];
    assert_eq!(problems(&one(&text)), expected);
    let text = format!("{LEAST}key = \"a\"\nkey = \"b\"\n");
    assert_eq!(problems(&one(&text)), ["1.toml:10:1: TOML: duplicate key"]);
    let text = format!("{LEAST}[engine]\nmemory = 9223372036854775808\n");
    assert_eq!(problems(&one(&text)), ["1.toml:10:10: the integer does not fit 64 bits; write a smaller one"]);
}

#[test]
fn files_that_are_none_are_told() {
    let big = "# not a configuration\n".repeat(10 << 20 >> 4);
    let expected = "1.toml:1:1: has more than 1.0 MiB; a configuration is smaller, check that this is the right file";
    assert_eq!(problems(&one(&big))[0], expected);
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(problems(&one(&deep))[0].starts_with("1.toml:1:"), "{:?}", problems(&one(&deep))[0]);
    let deep = format!("{}a = 1", "[a]\n".repeat(10) + &"a.".repeat(100_000));
    assert!(problems(&one(&deep))[0].starts_with("1.toml:"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("latin1.toml");
    std::fs::write(&file, b"# caf\xe9\n").unwrap();
    let layers = |file| super::Layers { files: vec![file], ..Default::default() };
    let loaded = super::load(&layers(file.clone()), &super::host());
    assert_eq!(
        loaded.problems[0].to_string(),
        format!("{}:1:6: is not UTF-8 here; save the file as UTF-8", file.display())
    );
    for unreadable in [folder.path().join("none.toml"), folder.path().to_owned()] {
        let loaded = super::load(&layers(unreadable.clone()), &super::host());
        let text = loaded.problems[0].to_string();
        assert!(text.starts_with(&format!("{}:1:1: cannot be read: ", unreadable.display())), "{text}");
    }
}

#[test]
fn problems_are_bounded_and_counted() {
    let lines: String = (0..5_000).map(|number| format!("key{number} = 1\n")).collect();
    let loaded = one(&format!("{lines}{LEAST}"));
    assert_eq!(loaded.problems.len(), MAX_PROBLEMS + 1);
    assert_eq!(loaded.problems[MAX_PROBLEMS].to_string(), "configuration: 4900 more problems; mend these first");
    let routes = "[[route]]\nfrom = \"a\"\ntopic = \"a\"\n".repeat(1_100);
    let expected = "1.toml:6:1: route: there are 1101, and at most 1024 are allowed; start several instances for more";
    assert_eq!(problems(&one(&format!("{LEAST}{routes}"))), [expected]);
}

#[test]
fn a_text_of_the_file_cannot_write_to_a_terminal() {
    let (text, _) = with("[[source]]", r#"version = "\u001b[2J\n""#);
    assert_eq!(problems(&one(&text))[0].chars().filter(|c| c.is_control()).count(), 0);
    let loaded = one(&text);
    assert!(loaded.values.iter().all(|shown| !shown.value.contains('\u{1b}')));
}
