//! Precedence, addressing and origins.

use std::ffi::OsString;

use super::{Given, LEAST, host, problems};
use crate::{
    message::Qos,
    settings::{Layers, Loaded, load},
};

/// Value and origin of a key.
fn shown(loaded: &Loaded, key: &str) -> (String, String) {
    assert_eq!(problems(loaded), [""; 0]);
    let shown = loaded.values.iter().find(|shown| shown.key == key).unwrap();
    (shown.value.clone(), shown.origin.to_string())
}

fn pair(value: &str, origin: &str) -> (String, String) {
    (value.to_owned(), origin.to_owned())
}

const MIB: usize = 1 << 20;

#[test]
fn a_later_layer_wins_and_every_value_says_where_it_is_from() {
    let files =
        [LEAST, "[engine]\nmemory = \"48MiB\"\n\n[kafka]\n  linger = \"2ms\"\n", "[engine]\nmemory = \"40MiB\"\n"];
    let environment = [("FAIRLEAD__ENGINE__MEMORY", "56MiB"), ("FAIRLEAD_LOG", "debug"), ("HOME", "/")];
    let flags = [("engine.memory", "1MiB"), ("engine.memory", "72MiB")];
    let steps: [(usize, usize, usize, usize, &str); 5] = [
        (1, 0, 0, 64, "default"),
        (2, 0, 0, 48, "2.toml:2:10"),
        (3, 0, 0, 40, "3.toml:2:10"),
        (3, 3, 0, 56, "environment FAIRLEAD__ENGINE__MEMORY"),
        (3, 3, 2, 72, "--set engine.memory"),
    ];
    for (file, variable, flag, memory, origin) in steps {
        let given = Given { files: &files[..file], environment: &environment[..variable], flags: &flags[..flag] };
        let loaded = given.load();
        assert_eq!(shown(&loaded, "engine.memory").1, origin);
        assert_eq!(loaded.settings.as_ref().unwrap().engine.memory, memory * MIB);
        assert_eq!(shown(&loaded, "kafka.brokers"), pair("\"kafka:9092\"", "1.toml:5:11"));
        let linger = if file > 1 { pair("\"2ms\"", "2.toml:5:12") } else { pair("\"5ms\"", "default") };
        assert_eq!(shown(&loaded, "kafka.linger"), linger);
    }
}

/// As one of a later file would.
#[test]
fn a_table_of_the_environment_is_laid_over_the_one_below() {
    let file = format!("{LEAST}[engine]\nmemory = \"48MiB\"\n");
    for (table, ack) in [("{}", "durable"), ("{ ack = \"kafka\" }", "kafka")] {
        let environment = [("FAIRLEAD__ENGINE", table), ("FAIRLEAD__SPOOL", "{}")];
        let loaded = Given { files: &[&file], environment: &environment, ..Given::default() }.load();
        assert_eq!(shown(&loaded, "engine.ack").0, format!("\"{ack}\""));
        assert_eq!(shown(&loaded, "engine.memory"), pair("\"48MiB\"", "1.toml:10:10"));
        assert_eq!(shown(&loaded, "engine.drain").1, "default");
        assert!(loaded.settings.is_some());
    }
}

#[test]
fn lists_of_the_environment_take_the_defaults_of_their_elements() {
    let source = "[{ name = \"pier\", url = \"mqtt://b\" }]";
    let loaded = Given { files: &[LEAST], flags: &[("source", source)], ..Given::default() }.load();
    assert_eq!(shown(&loaded, "source.0.qos"), pair("1", "default"));
    assert_eq!(loaded.settings.unwrap().sources[0].name, "pier");
}

#[test]
fn lists_of_a_later_file_take_the_place_of_the_earlier() {
    let second = "[[source]]\nname = \"pier\"\nurl = \"mqtt://b\"\n";
    let loaded = Given { files: &[LEAST, second], ..Given::default() }.load();
    let settings = loaded.settings.unwrap();
    assert_eq!(settings.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["pier"]);
    assert_eq!(settings.routes.len(), 1);
}

#[test]
fn elements_are_addressed_by_their_number() {
    let environment = [
        ("FAIRLEAD__SOURCE__0__QOS", "2"),
        ("FAIRLEAD__SOURCE__0__PASSWORD", "123"),
        ("FAIRLEAD__SOURCE__0__USERNAME", "true"),
        ("FAIRLEAD__SOURCE__0__CLEAN_START", "true"),
        ("FAIRLEAD__SOURCE__0__URL", "[\"mqtt://x\", \"mqtt://y\"]"),
        ("FAIRLEAD__ENGINE__CPUS", "[1, 2]"),
        ("FAIRLEAD__KAFKA__CREATE", "{ partitions = 3, replication = 1 }"),
    ];
    let flags = [("source.0.url.1", "mqtt://z"), ("kafka.create.partitions", "6")];
    let loaded = Given { files: &[LEAST], environment: &environment, flags: &flags }.load();
    let settings = loaded.settings.unwrap();
    let source = &settings.sources[0];
    assert_eq!((source.qos, source.clean_start), (Qos::ExactlyOnce, true));
    assert_eq!(source.password.as_ref().unwrap().expose(), "123");
    assert_eq!(source.username.as_ref().unwrap().expose(), "true");
    assert_eq!(source.urls.iter().map(ToString::to_string).collect::<Vec<_>>(), ["mqtt://x:1883", "mqtt://z:1883"]);
    assert_eq!(settings.engine.cpus, [1, 2]);
    let create = settings.kafka.create.unwrap();
    assert_eq!((create.partitions, create.replication), (6, 1));
}

#[test]
fn a_whole_configuration_may_come_from_the_environment() {
    let mut environment: Vec<(String, String)> = (0..12)
        .flat_map(|number| {
            let name = |key: &str| format!("FAIRLEAD__SOURCE__{number}__{key}");
            [(name("NAME"), format!("s{number}")), (name("URL"), "mqtt://b".to_owned())]
        })
        .collect();
    environment.push(("FAIRLEAD__ROUTE__0__FROM".to_owned(), "#".to_owned()));
    environment.push(("FAIRLEAD__ROUTE__0__TOPIC".to_owned(), "t".to_owned()));
    environment.push(("FAIRLEAD__KAFKA__BROKERS".to_owned(), "k".to_owned()));
    environment.push(("FAIRLEAD__KAFKA__PROPERTIES__COMPRESSION_TYPE".to_owned(), "lz4".to_owned()));
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let flags = [("kafka.properties.batch.num.messages", "100")];
    let loaded = Given { environment: &environment, flags: &flags, ..Given::default() }.load();
    assert_eq!(problems(&loaded), [""; 0]);
    let settings = loaded.settings.unwrap();
    assert_eq!(settings.sources.len(), 12);
    assert_eq!(settings.sources[11].name, "s11");
    let properties: Vec<(&str, &str)> =
        settings.kafka.properties.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
    assert_eq!(properties, [("batch.num.messages", "100"), ("compression.type", "lz4")]);
}

#[test]
fn addresses_that_lead_nowhere_are_told() {
    let deep = "a.".repeat(100_000) + "a";
    let flags = [
        ("source.2.qos", "1"),
        ("source.qos", "1"),
        ("kafka.brokers.0", "a"),
        ("kafka.brokers.host", "a"),
        ("kafka..brokers", "a"),
        (deep.as_str(), "a"),
        ("kafka.broker", "a"),
    ];
    let found = problems(&Given { files: &[LEAST], flags: &flags, ..Given::default() }.load());
    let no_key = "names no key; write it as `FAIRLEAD__KAFKA__BROKERS` or `--set kafka.brokers=…`";
    let mut expected = vec![
        "--set source.2.qos: source.2.qos: there are 1 here, so the next is number 1; elements are counted from 0".to_owned(),
        "--set source.qos: source.qos: lies within a value that is no table; put the number of the element before the key, as in `source.0.qos`".to_owned(),
        "--set kafka.brokers.0: kafka.brokers.0: lies within a value that is no list; set the whole value instead".to_owned(),
        "--set kafka.brokers.host: kafka.brokers.host: lies within a value that is no table; set the whole value instead".to_owned(),
        format!("--set kafka..brokers: kafka..brokers: {no_key}"),
        format!("--set {deep}: {deep}: {no_key}"),
        "--set kafka.broker: kafka.broker: unknown key; did you mean `brokers`?".to_owned(),
    ];
    expected.sort();
    let mut found = found;
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn an_environment_that_is_no_text_is_told() {
    use std::os::unix::ffi::OsStringExt;
    let environment = vec![
        (OsString::from("FAIRLEAD__KAFKA__BROKERS"), OsString::from_vec(vec![0xff])),
        (OsString::from("OTHER"), OsString::from_vec(vec![0xff])),
        (OsString::from("FAIRLEAD__"), OsString::from("x")),
    ];
    let loaded = load(&Layers { environment, ..Layers::default() }, &host());
    let found = problems(&loaded);
    assert!(
        found.contains(&"environment FAIRLEAD__KAFKA__BROKERS: kafka.brokers: is not UTF-8; set it to text".to_owned())
    );
    assert!(found.iter().any(|problem| problem.starts_with("environment FAIRLEAD__: names no key")), "{found:?}");
    assert_eq!(found.iter().filter(|problem| problem.contains("UTF-8")).count(), 1);
}
