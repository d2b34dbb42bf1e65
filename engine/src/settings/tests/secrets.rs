//! Secrets come in by reference and never come out.

use std::{fs, io::Write};

use super::{Given, one, problems, with};
use crate::settings::Loaded;

/// Everything of a loaded configuration that is ever printed, and what `{:?}` shows.
fn outputs(loaded: &Loaded) -> String {
    let mut text = format!("{:?} {:?} {:?}", loaded.settings, loaded.values, loaded.notes);
    for problem in &loaded.problems {
        text.push_str(&problem.to_string());
    }
    text
}

#[test]
fn references_are_put_in_place_in_any_text() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"from-file\n").unwrap();
    let (text, _) =
        with("[[source]]", &format!("username = \"me\"\npassword = \"${{file:{}}}\"", file.path().display()));
    let text = text.replace("kafka:9092", "${env:KAFKA_HOST}:9092").replace("\"ais\"", "\"$${env}\"");
    let environment = [("KAFKA_HOST", "quay"), ("OTHER", "x")];
    let flags = [("source.0.share", "a-${env:OTHER}-b"), ("route.0.topic", "t")];
    let loaded = Given { files: &[&text], environment: &environment, flags: &flags }.load();
    assert_eq!(problems(&loaded), [""; 0]);
    let settings = loaded.settings.unwrap();
    assert_eq!(settings.kafka.brokers, "quay:9092");
    assert_eq!(settings.sources[0].password.as_ref().unwrap().expose(), "from-file");
    assert_eq!(settings.sources[0].share.as_deref(), Some("a-x-b"));
}

#[test]
fn a_doubled_dollar_is_a_literal_one() {
    let (text, _) = with("[[source]]", r#"share = "$${env:A}-$b""#);
    assert_eq!(one(&text).settings.unwrap().sources[0].share.as_deref(), Some("${env:A}-$b"));
}

#[test]
fn references_that_lead_nowhere_are_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let (big, binary) = (folder.path().join("big"), folder.path().join("binary"));
    fs::write(&big, "x".repeat(100_000)).unwrap();
    fs::write(&binary, [0xff]).unwrap();
    let (big, binary) = (big.display(), binary.display());
    let cases = [
        ("${env:NONE}".to_owned(), "the environment variable `NONE` is not set; set it, or write the value here".to_owned()),
        ("${vault:x}".to_owned(), "`${vault:x}` is not known; write `${env:NAME}` or `${file:/path}`, or `$${` for the characters themselves".to_owned()),
        ("${NONE}".to_owned(), "`${NONE}` is not known; write `${env:NAME}` or `${file:/path}`, or `$${` for the characters themselves".to_owned()),
        ("a${env:A".to_owned(), "`${` is not closed; write `${env:NAME}` or `${file:/path}`, or `$${` for the characters themselves".to_owned()),
        ("${file:/none/x}".to_owned(), "the secret file `/none/x` cannot be read: No such file or directory (os error 2); check the path and the permissions".to_owned()),
        (format!("${{file:{big}}}"), format!("the secret file `{big}` is not text of at most 64.0 KiB; check that this is the right file")),
        (format!("${{file:{binary}}}"), format!("the secret file `{binary}` is not text of at most 64.0 KiB; check that this is the right file")),
    ];
    for (value, expected) in cases {
        for key in ["name", "url", "client_id", "session_expiry", "version", "qos"] {
            let (text, number) = with("[[source]]", &format!("{key} = \"{value}\""));
            let place = format!("1.toml:{number}:{}: source.0.{key}: ", key.len() + 4);
            assert_eq!(problems(&one(&text)), [format!("{place}{expected}")]);
        }
    }
}

#[test]
fn no_output_shows_a_secret() {
    let environment = [("SECRET", "hunter2"), ("NUMBER", "424242")];
    let keys = [
        "name",
        "url",
        "version",
        "client_id",
        "sessions",
        "share",
        "qos",
        "clean_start",
        "session_expiry",
        "max_packet",
        "announce_max_packet",
        "skip_oversized",
        "keep_alive",
        "receive_maximum",
        "username",
        "password",
    ];
    let lines = keys
        .map(|key| ("[[source]]", key))
        .into_iter()
        .chain(["brokers", "create", "linger", "properties"].map(|key| ("[kafka]", key)))
        .chain(["source", "from", "topic", "key", "owner", "empty", "headers"].map(|key| ("[[route]]", key)))
        .chain(["cpus", "ack", "memory", "kafka_cpus", "drain"].map(|key| ("[engine]", key)))
        .chain([("[admin]", "listen")]);
    for (section, key) in lines {
        for value in
            ["${env:SECRET}", "${env:NUMBER}", "a\\\"{${env:SECRET}", "mqtt://u:${env:SECRET}@h", "${env:SECRET} #/x"]
        {
            let (text, _) = with(section, &format!("{key} = \"{value}\""));
            let loaded = Given { files: &[&text], environment: &environment, ..Given::default() }.load();
            let visible =
                [loaded.values.iter().map(|shown| shown.value.clone()).collect::<String>(), problems(&loaded).concat()]
                    .concat();
            assert!(
                !visible.contains("hunter2") && !visible.contains("424242"),
                "{section} {key} = {value}: {visible}"
            );
        }
    }
}

#[test]
fn credentials_are_hidden_however_they_are_written() {
    let (text, _) =
        with("[[source]]", "username = \"captain\"\npassword = \"h\\\"unter2\"\nclient_id = \"h\\\"unter2{session}\"");
    let properties = "properties = { \"sasl.password\" = \"hunter3\", \"sasl.username\" = \"captain\", \"ssl.key.pem\" = \"hunter4\", \"client.id\" = \"shown\" }\n[[route]]";
    let text = text.replace("[[route]]", properties);
    let flags = [("source.0.qos", "h\"unter2")];
    let good = one(&text);
    let bad = Given { files: &[&text], flags: &flags, ..Given::default() }.load();
    for loaded in [&good, &bad] {
        let mut text = outputs(loaded);
        // The rendered client id is the user's own choice of a place for it; printing goes through `redact`.
        if let Some(settings) = &loaded.settings {
            let client_id = &settings.sources[0].sessions[0].client_id;
            assert_eq!(loaded.secrets.redact(client_id), "***0");
            text = text.replace(&format!("{client_id:?}"), "");
        }
        for secret in ["unter2", "hunter3", "hunter4", "captain"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert!(good.values.iter().any(|shown| shown.value == "\"shown\""));
    assert!(good.values.iter().any(|shown| shown.key == "source.0.username" && shown.value == "***"));
}
