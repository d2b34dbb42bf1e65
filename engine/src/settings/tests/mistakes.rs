//! Each mistake in each key: the exact place and text.

use std::collections::BTreeSet;

use super::{one, problems, sample::known, with};

/// A section, a line in it, and the only problem: column and what follows.
type Case = (&'static str, &'static str, &'static str);

const SOURCE: &[Case] = &[
    ("[[source]]", "name = 5", r#"8: source.0.name: found 5 without quotes; write "5""#),
    (
        "[[source]]",
        r#"name = """#,
        "8: source.0.name: `` is no name; use 1 to 64 of the letters a-z and A-Z, digits, `.`, `_` and `-`",
    ),
    (
        "[[source]]",
        r#"name = "a/b""#,
        "8: source.0.name: `a/b` is no name; use 1 to 64 of the letters a-z and A-Z, digits, `.`, `_` and `-`",
    ),
    ("[[source]]", "url = 1", "7: source.0.url: found 1; write text in quotes, or a list of such"),
    ("[[source]]", "url = []", r#"7: source.0.url: no URL; write at least one, such as `"mqtt://127.0.0.1:1883"`"#),
    ("[[source]]", r#"url = ["mqtt://a", 2]"#, r#"20: source.0.url.1: found 2 without quotes; write "2""#),
    (
        "[[source]]",
        r#"url = "mqtts://a""#,
        "7: source.0.url: the scheme `mqtts` is not supported yet, TLS and WebSocket come later; write `mqtt://host:port`",
    ),
    (
        "[[source]]",
        r#"url = ["mqtt://a", "wss://a/mqtt"]"#,
        "20: source.0.url.1: the scheme `wss` is not supported yet, TLS and WebSocket come later; write `mqtt://host:port`",
    ),
    ("[[source]]", r#"url = "tcp://a""#, "7: source.0.url: the scheme `tcp` is not known; write `mqtt://host:port`"),
    (
        "[[source]]",
        r#"url = "broker:1883""#,
        "7: source.0.url: is not a URL (there is no scheme); write it as `mqtt://host:port`",
    ),
    (
        "[[source]]",
        r#"url = "mqtt://""#,
        "7: source.0.url: is not a URL (empty string); write it as `mqtt://host:port`",
    ),
    (
        "[[source]]",
        r#"url = "mqtt://:1883""#,
        "7: source.0.url: is not a URL (there is no host); write it as `mqtt://host:port`",
    ),
    (
        "[[source]]",
        r#"url = "mqtt://a b""#,
        "7: source.0.url: is not a URL (invalid uri character); write it as `mqtt://host:port`",
    ),
    (
        "[[source]]",
        r#"url = "mqtt://a:0""#,
        "7: source.0.url: the port is not a number from 1 to 65535; write it as in `mqtt://host:1883`",
    ),
    (
        "[[source]]",
        r#"url = "mqtt://a:65536""#,
        "7: source.0.url: the port is not a number from 1 to 65535; write it as in `mqtt://host:1883`",
    ),
    ("[[source]]", r#"url = "mqtt://a/b""#, "7: source.0.url: a URL of MQTT has no path; end it after the port"),
    (
        "[[source]]",
        r#"url = "mqtt://me:pw@a""#,
        "7: source.0.url: user name and password do not belong into the URL; set `username` and `password` of the source",
    ),
    ("[[source]]", "version = 5", r#"11: source.0.version: found 5 without quotes; write "5""#),
    (
        "[[source]]",
        r#"version = "4""#,
        r#"11: source.0.version: "4" is no version of MQTT; write "auto" or "5" or "3.1.1""#,
    ),
    ("[[source]]", "client_id = 1", r#"13: source.0.client_id: found 1 without quotes; write "1""#),
    (
        "[[source]]",
        r#"client_id = """#,
        "13: source.0.client_id: the client id is empty, and a broker resumes no session without one; write a name",
    ),
    (
        "[[source]]",
        r#"client_id = "{sorce}""#,
        "13: source.0.client_id: `{sorce}` is no placeholder; a client id may use {source}, {session} and {host}",
    ),
    (
        "[[source]]",
        r#"client_id = "a{source""#,
        "13: source.0.client_id: a brace is not closed; placeholders are {source}, {session} and {host}",
    ),
    (
        "[[source]]",
        r#"client_id = "a}""#,
        "13: source.0.client_id: a brace is not closed; placeholders are {source}, {session} and {host}",
    ),
    (
        "[[source]]",
        r#"client_id = "a\tb""#,
        "13: source.0.client_id: the client id contains a control character, which MQTT does not allow; remove it",
    ),
    ("[[source]]", "sessions = 0", "12: source.0.sessions: 0 is out of range; write an integer from 1 to 4096"),
    ("[[source]]", "sessions = 4097", "12: source.0.sessions: 4097 is out of range; write an integer from 1 to 4096"),
    ("[[source]]", r#"sessions = "2""#, r#"12: source.0.sessions: found "2"; write an integer from 1 to 4096"#),
    (
        "[[source]]",
        "sessions = 3",
        "12: source.0.sessions: there are 3 sessions for 1 filter(s), those that overlap counted as one, so 2 would have nothing to read; write sessions = 1, split the filters of the routes, or set `share` (which gives up order)",
    ),
    ("[[source]]", "share = true", r#"9: source.0.share: found true without quotes; write "true""#),
    (
        "[[source]]",
        r#"share = """#,
        "9: source.0.share: `` is no group; use text without `/`, `+`, `#` and control characters (MQTT 5.0 §4.8.2)",
    ),
    (
        "[[source]]",
        r#"share = "a/b""#,
        "9: source.0.share: `a/b` is no group; use text without `/`, `+`, `#` and control characters (MQTT 5.0 §4.8.2)",
    ),
    ("[[source]]", "qos = 3", "7: source.0.qos: 3 is out of range; write an integer from 0 to 2"),
    ("[[source]]", "qos = -1", "7: source.0.qos: -1 is out of range; write an integer from 0 to 2"),
    ("[[source]]", "qos = 1.0", "7: source.0.qos: found 1; write an integer from 0 to 2"),
    ("[[source]]", "clean_start = 1", "15: source.0.clean_start: found 1; write true or false"),
    ("[[source]]", r#"sys = "off""#, r#"7: source.0.sys: found "off"; write true or false"#),
    (
        "[[source]]",
        r#"session_expiry = "137y""#,
        r#"18: source.0.session_expiry: "137y" is out of range; write a time from 0s to 136years 1month 5days 19h 54m 39s"#,
    ),
    (
        "[[source]]",
        "session_expiry = 7",
        r#"18: source.0.session_expiry: the time 7 has no unit; write "7s", or a time such as "7d""#,
    ),
    (
        "[[source]]",
        r#"session_expiry = "7 days of rest""#,
        r#"18: source.0.session_expiry: "7 days of rest" is no time; write a number and ms, s, m, h or d, such as "30s""#,
    ),
    (
        "[[source]]",
        r#"session_expiry = "1500ms""#,
        r#"18: source.0.session_expiry: "1s 500ms" has a fraction, and MQTT counts whole seconds; write "1s""#,
    ),
    (
        "[[source]]",
        "max_packet = 1048576",
        r#"14: source.0.max_packet: the size 1048576 has no unit; write "1048576B", or a size such as "64MiB""#,
    ),
    (
        "[[source]]",
        r#"max_packet = "1048576""#,
        r#"14: source.0.max_packet: the size 1048576 has no unit; write "1048576B", or a size such as "64MiB""#,
    ),
    (
        "[[source]]",
        r#"max_packet = "16MX""#,
        r#"14: source.0.max_packet: "16MX" is no size; write a number and B, KiB, MiB or GiB, such as "64MiB""#,
    ),
    (
        "[[source]]",
        r#"max_packet = "1023B""#,
        r#"14: source.0.max_packet: "1023B" is out of range; write a size from 1.0 KiB to 256.0 MiB"#,
    ),
    (
        "[[source]]",
        r#"max_packet = "257MiB""#,
        r#"14: source.0.max_packet: "257MiB" is out of range; write a size from 1.0 KiB to 256.0 MiB"#,
    ),
    (
        "[[source]]",
        r#"max_packet = "33MiB""#,
        "14: source.0.max_packet: a packet of 33.0 MiB does not fit 64.0 MiB of memory twice; lower max_packet, or raise engine.memory to at least 66.0 MiB",
    ),
    (
        "[[source]]",
        r#"announce_max_packet = "yes""#,
        r#"23: source.0.announce_max_packet: found "yes"; write true or false"#,
    ),
    ("[[source]]", "skip_oversized = 0", "18: source.0.skip_oversized: found 0; write true or false"),
    (
        "[[source]]",
        "keep_alive = 30",
        r#"14: source.0.keep_alive: the time 30 has no unit; write "30s", or a time such as "7d""#,
    ),
    (
        "[[source]]",
        r#"keep_alive = "65536s""#,
        r#"14: source.0.keep_alive: "65536s" is out of range; write a time from 0s to 18h 12m 15s"#,
    ),
    (
        "[[source]]",
        "receive_maximum = 0",
        "19: source.0.receive_maximum: 0 is out of range; write an integer from 1 to 65535",
    ),
    (
        "[[source]]",
        "receive_maximum = 65536",
        "19: source.0.receive_maximum: 65536 is out of range; write an integer from 1 to 65535",
    ),
    ("[[source]]", "username = 5", "12: source.0.username: found a value without quotes; put it in quotes"),
    ("[[source]]", "password = 5", "12: source.0.password: found a value without quotes; put it in quotes"),
    (
        "[[source]]",
        r#"password = "pw""#,
        "12: source.0.password: a password without a user name is possible with version = \"5\" only; set `username`",
    ),
    ("[[source]]", "urls = 1", "1: source.0.urls: unknown key; did you mean `url`?"),
    ("[[source]]", "recieve_maximum = 1", "1: source.0.recieve_maximum: unknown key; did you mean `receive_maximum`?"),
];

const KAFKA: &[Case] = &[
    ("[kafka]", "brokers = 9092", r#"11: kafka.brokers: found 9092 without quotes; write "9092""#),
    (
        "[kafka]",
        r#"brokers = " , ""#,
        r#"11: kafka.brokers: no broker; write at least one, such as `"127.0.0.1:9092"`"#,
    ),
    (
        "[kafka]",
        r#"brokers = "a:1, b:x""#,
        "11: kafka.brokers: `b:x` is no broker; write `host:port`, several with commas between",
    ),
    (
        "[kafka]",
        r#"brokers = "PLAINTEXT://a:1""#,
        "11: kafka.brokers: `PLAINTEXT://a:1` is no broker; write `host:port`, several with commas between",
    ),
    ("[kafka]", "broker = 1", "1: kafka.broker: unknown key; did you mean `brokers`?"),
    ("[kafka]", "properties = 1", "14: kafka.properties: found 1; write a table"),
    (
        "[kafka]",
        r#"properties = { "batch.size" = [1] }"#,
        "31: kafka.properties.batch.size: found a list; write text in quotes, a number, true or false",
    ),
    (
        "[kafka]",
        r#"properties = { "linger.ms" = 5 }"#,
        "30: kafka.properties.linger.ms: Fairlead manages this property; set `kafka.linger`",
    ),
    (
        "[kafka]",
        r#"create = { partitions = 0, replication = 1 }"#,
        "25: kafka.create.partitions: 0 is out of range; write an integer from 1 to 10000",
    ),
    (
        "[kafka]",
        r#"create = { partitions = 9 }"#,
        "10: kafka.create.replication: is missing; write a number, such as replication = 3",
    ),
    (
        "[kafka]",
        r#"create = { replication = 1 }"#,
        "10: kafka.create.partitions: is missing; write a number, such as partitions = 9",
    ),
    (
        "[kafka]",
        r#"create = { partition = 9, partitions = 9, replication = 1 }"#,
        "12: kafka.create.partition: unknown key; did you mean `partitions`?",
    ),
    ("[kafka]", "create = true", "10: kafka.create: found true; write a table, such as `[kafka.create]`"),
    ("[kafka]", "linger = 1", r#"10: kafka.linger: the time 1 has no unit; write "1s", or a time such as "7d""#),
    (
        "[kafka]",
        r#"hold_for = "10ms""#,
        r#"12: kafka.hold_for: "10ms" is out of range; write a time from 1s to 30days"#,
    ),
    ("[kafka]", r#"stuck = "10ms""#, r#"9: kafka.stuck: "10ms" is out of range; write a time from 1s to 1h"#),
    ("[kafka]", r#"linger = "101ms""#, r#"10: kafka.linger: "101ms" is out of range; write a time from 0s to 100ms"#),
];

const ROUTE: &[Case] = &[
    ("[[route]]", "source = 1", r#"10: route.0.source: found 1 without quotes; write "1""#),
    ("[[route]]", r#"source = "harbor""#, "10: route.0.source: there is no source `harbor`; did you mean `harbour`?"),
    ("[[route]]", r#"source = "x""#, "10: route.0.source: there is no source `x`; known here: `harbour`"),
    ("[[route]]", "from = 1", r#"8: route.0.from: found 1 without quotes; write "1""#),
    (
        "[[route]]",
        r#"from = """#,
        "8: route.0.from: the filter is empty; write at least one level, or `#` for every topic",
    ),
    (
        "[[route]]",
        r##"from = "a/#/b""##,
        "8: route.0.from: `#` takes all the levels that are left and must be the last; use `+` or `{name}` for one level",
    ),
    ("[[route]]", r#"topic = 1"#, r#"9: route.0.topic: found 1 without quotes; write "1""#),
    (
        "[[route]]",
        r#"topic = "a b""#,
        "9: route.0.topic: `a b` can never be the name of a Kafka topic; use the letters a-z and A-Z, digits, `.`, `_` and `-`, at least one and at most 249, and neither `.` nor `..` alone",
    ),
    (
        "[[route]]",
        r#"key = "{topic}/{topic}""#,
        "7: route.0.key: a key holds each part of the MQTT topic at most once, and at most 4096 bytes of text besides",
    ),
    (
        "[[route]]",
        r#"topic = "a}b""#,
        "9: route.0.topic: the braces of `a}b` do not pair; write `{name}`, and a literal brace twice",
    ),
    ("[[route]]", "key = 1", r#"7: route.0.key: found 1 without quotes; write "1""#),
    (
        "[[route]]",
        r#"key = "{""#,
        "7: route.0.key: the braces of `{` do not pair; write `{name}`, and a literal brace twice",
    ),
    ("[[route]]", r#"owner = "shard""#, r#"9: route.0.owner: "shard" is no owner; write "partition" or "session""#),
    (
        "[[route]]",
        r#"empty = "drop""#,
        r#"9: route.0.empty: "drop" is no treatment of an empty payload; write "value" or "null" or "skip""#,
    ),
    ("[[route]]", r#"headers = "all""#, r#"11: route.0.headers: "all" is no set of headers; write "user" or "mqtt""#),
    (
        "[[route]]",
        r#"to = "ais""#,
        "1: route.0.to: unknown key; known here: `source`, `from`, `topic`, `key`, `owner`, `empty`, `headers`",
    ),
];

const REST: &[Case] = &[
    ("[engine]", r#"cpus = "all""#, r#"8: engine.cpus: found "all"; write "auto", or a list of cores, such as [0, 1]"#),
    ("[engine]", "cpus = 2", r#"8: engine.cpus: found 2; write "auto", or a list of cores, such as [0, 1]"#),
    ("[engine]", "cpus = []", r#"8: engine.cpus: the list is empty; write "auto" or at least one core, such as [0]"#),
    ("[engine]", "cpus = [0, 3]", "12: engine.cpus.1: core 3 may not be used by this process; these may: [0, 1, 2]"),
    ("[engine]", "cpus = [0, 0]", "12: engine.cpus.1: core 0 is in the list twice; one shard has a core for itself"),
    ("[engine]", "cpus = [-1]", "9: engine.cpus.0: -1 is out of range; write an integer from 0 to 4095"),
    ("[engine]", "kafka_cpus = 3", "14: engine.kafka_cpus: found 3; write a list"),
    (
        "[engine]",
        "kafka_cpus = [3]",
        "15: engine.kafka_cpus.0: core 3 may not be used by this process; these may: [0, 1, 2]",
    ),
    ("[engine]", "state = 5", r#"9: engine.state: found 5 without quotes; write "5""#),
    (
        "[engine]",
        r#"state = "  ""#,
        r#"9: engine.state: found "  "; write "auto", "off", or the path of a folder, such as "/var/lib/fairlead""#,
    ),
    (
        "[engine]",
        r#"ack = "all""#,
        r#"7: engine.ack: "all" is no kind of acknowledgement; write "durable" or "spool" or "kafka" or "memory""#,
    ),
    (
        "[engine]",
        "memory = 64",
        r#"10: engine.memory: the size 64 has no unit; write "64B", or a size such as "64MiB""#,
    ),
    (
        "[engine]",
        r#"memory = "1KiB""#,
        r#"10: engine.memory: "1KiB" is out of range; write a size from 2.0 KiB to 1.0 TiB"#,
    ),
    (
        "[engine]",
        r#"memory = "8MiB""#,
        "10: engine.memory: a packet of 16.0 MiB does not fit 8.0 MiB of memory twice; lower max_packet, or raise engine.memory to at least 32.0 MiB",
    ),
    ("[engine]", "drain = 30", r#"9: engine.drain: the time 30 has no unit; write "30s", or a time such as "7d""#),
    ("[engine]", r#"drain = "61m""#, r#"9: engine.drain: "61m" is out of range; write a time from 0s to 1h"#),
    (
        "[engine]",
        "shards = 1",
        "1: engine.shards: unknown key; known here: `cpus`, `ack`, `memory`, `kafka_cpus`, `state`, `drain`",
    ),
    (
        "[spool]",
        r#"dir = "off""#,
        r#"7: spool.dir: a spool cannot be off; write "auto" or the path of a folder, or engine.ack = "kafka""#,
    ),
    (
        "[spool]",
        r#"max = "256MiB""#,
        r#"7: spool.max: 2 shard(s) with segments of 64.0 MiB need at least 768.0 MiB; write at least "768.0 MiB", or lower spool.segment"#,
    ),
    (
        "[spool]",
        r#"segment = "31MiB""#,
        r#"11: spool.segment: a segment must hold at least two packets of 16.0 MiB (max_packet); write at least "32.5 MiB", or lower max_packet"#,
    ),
    ("[spool]", "min_free = 5", r#"12: spool.min_free: the size 5 has no unit; write "5B", or a size such as "64MiB""#),
    ("[spool]", r#"on_full = "drop""#, r#"11: spool.on_full: "drop" is no answer to a full spool; write "block""#),
    ("[spool]", "qos0 = 0", r#"8: spool.qos0: found 0 without quotes; write "0""#),
    ("[spool]", "drain_rate = 0", "14: spool.drain_rate: 0 is out of range; write an integer from 1 to 1000000000"),
    (
        "[dead_letter]",
        r#"topic = "a b""#,
        "9: dead_letter.topic: `a b` can never be the name of a Kafka topic; use the letters a-z and A-Z, digits, `.`, `_` and `-`, at least one and at most 249, and neither `.` nor `..` alone",
    ),
    (
        "[dead_letter]",
        r#"topic = "ais""#,
        "9: dead_letter.topic: `ais` is also the topic of a route, and its messages could not be told from dead letters; write another",
    ),
    ("[admin]", "listen = 9464", r#"10: admin.listen: found 9464 without quotes; write "9464""#),
    (
        "[admin]",
        r#"listen = "localhost:9464""#,
        r#"10: admin.listen: "localhost:9464" is no address; write an IP address and a port, such as "127.0.0.1:9464", or "off""#,
    ),
    ("[admin]", "listen = 1979-05-27", "10: admin.listen: found a date; write text in quotes"),
];

#[test]
fn each_mistake_is_told_with_its_place() {
    let mut wrong = Vec::new();
    for (section, line, expected) in [SOURCE, KAFKA, ROUTE, REST].concat() {
        let (text, number) = with(section, line);
        let found = problems(&one(&text));
        if found != [format!("1.toml:{number}:{expected}")] {
            wrong.push(format!("{line}\n  expected {expected}\n  found    {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_spool_with_packet_ids_needs_more() {
    let (text, number) = with("[spool]", r#"max = "768MiB""#);
    assert_eq!(problems(&one(&text)), Vec::<String>::new());
    let found = problems(&one(&text.replace("[kafka]", "qos = 2\n[kafka]")));
    let expected = format!(
        r#"1.toml:{}:7: spool.max: 2 shard(s) with segments of 64.0 MiB need at least 784.0 MiB; write at least "784.0 MiB", or lower spool.segment"#,
        number + 1
    );
    assert_eq!(found, [expected]);
}

#[test]
fn every_key_has_a_mistake() {
    let cases = [SOURCE, KAFKA, ROUTE, REST].concat();
    let key = |expected: &str| expected.split(": ").nth(1).unwrap_or_default().replace(".0", "");
    let tried: BTreeSet<String> = cases.iter().map(|(.., expected)| key(expected)).collect();
    let missing: Vec<String> = known().into_iter().filter(|key| !tried.contains(key)).collect();
    assert_eq!(missing, Vec::<String>::new());
}
