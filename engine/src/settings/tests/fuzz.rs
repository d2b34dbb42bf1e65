//! Whatever is written: no panic, and problems or settings, never both and never neither.

use proptest::{collection::vec, prelude::*};

use super::{LEAST, host};
use crate::settings::{Layers, document, load, problem::Log};

/// Scraps of configurations, some of them wrong.
fn scrap() -> impl Strategy<Value = String> {
    let words = "[ ] [[ ]] { } = , . \" ' # \n \n \n source kafka route engine admin name url version client_id sessions \
        share qos session_expiry max_packet keep_alive receive_maximum username password brokers properties create \
        linger from topic key owner empty headers cpus ack memory kafka_cpus drain listen partitions replication \
        \"mqtt://a\" \"5\" \"3.1.1\" \"auto\" \"a/#\" \"a/{x}/+\" \"{x...}\" \"{session}\" \"${env:A}\" \"${\" 0 1 -1 99999999999999999999 1.5 nan \
        1979-05-27 true \"1s\" \"64MiB\" \"7d\" \"kafka\" [0] [] {} \"\\u0000\" é 🚢";
    let words: Vec<String> = words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    prop_oneof![3 => prop::sample::select(words), 1 => ".{0,8}"]
}

/// A document of a section and keys with any values.
fn table() -> impl Strategy<Value = String> {
    let section =
        prop::sample::select(vec!["[[source]]", "[kafka]", "[[route]]", "[engine]", "[admin]", "[source]", "[x]"]);
    let key = prop::sample::select(LEAST_KEYS.split(' ').collect::<Vec<_>>());
    let line = (key, scrap(), scrap()).prop_map(|(key, a, b)| format!("{key} = {a}{b}\n"));
    (section, vec(line, 0..6)).prop_map(|(section, lines)| format!("{section}\n{}", lines.concat()))
}

const LEAST_KEYS: &str = "name url version client_id sessions share qos clean_start session_expiry max_packet keep_alive \
    receive_maximum brokers properties create linger from topic key owner empty cpus ack memory kafka_cpus drain listen";

/// Loads text through every step, files aside.
fn check(text: &str, environment: &[(String, String)], flags: Vec<(String, String)>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("any.toml");
    std::fs::write(&file, text).unwrap();
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let loaded = load(&Layers { files: vec![file], environment, flags, ..Layers::default() }, &host());
    assert_eq!(loaded.settings.is_some(), loaded.problems.is_empty(), "{:?}", loaded.problems);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_settings_or_problems(text in ".*") {
        check(&text, &[], Vec::new());
    }

    #[test]
    fn any_scraps_are_settings_or_problems(scraps in vec(scrap(), 0..40)) {
        check(&scraps.join(" "), &[], Vec::new());
    }

    #[test]
    fn any_tables_are_settings_or_problems(tables in vec(table(), 0..6)) {
        check(&format!("{LEAST}{}", tables.concat()), &[], Vec::new());
        check(&tables.concat(), &[], Vec::new());
    }

    #[test]
    fn any_address_is_settings_or_problems(
        names in vec(("(SOURCE|KAFKA|ROUTE|ENGINE|[A-Z_0-9]{0,4})(__[A-Z0-9_]{0,6}){0,4}", scrap()), 0..4),
        flags in vec(("[a-z0-9.]{0,12}", scrap()), 0..4),
    ) {
        let environment: Vec<_> = names.into_iter().map(|(name, value)| (format!("FAIRLEAD__{name}"), value.replace('\0', ""))).collect();
        check(LEAST, &environment, flags);
    }

    #[test]
    fn any_bytes_of_a_value_are_read(text in "[\\[{].{0,60}") {
        let _ = document::value(&text, &crate::settings::Origin::Default);
        let _ = document::parse(&"x".into(), &text, &Log::default());
    }
}
