//! A full spool over a change of the program: what an earlier build left is delivered byte for byte, and what a later one
//! left is not touched. `FAIRLEAD_GOLDEN=write` makes the files of `tests/golden` again, after a change of the format.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use fairlead_tests::{Config, EvilBroker, Fairlead, MockKafka, Record, Scratch, metric, wire};

use crate::scene::{LIMIT, Scene, TOPIC};

/// The configuration or the system does not allow it (`EX_CONFIG`).
const CONFIG: i32 = 78;
/// Bytes of META, of a header, of a footer; the last four are their checksum.
const SECTOR: usize = 512;
/// When the golden files were written, milliseconds since 1970.
const WRITTEN: i64 = 1_795_314_065_000;

/// A message as it was published, and what it is in Kafka.
struct Message {
    topic: &'static str,
    properties: Vec<u8>,
    payload: Vec<u8>,
    value: Option<Vec<u8>>,
    headers: Vec<(&'static str, &'static str)>,
}

fn plain(topic: &'static str, payload: Vec<u8>) -> Message {
    Message { topic, properties: Vec::new(), value: Some(payload.clone()), payload, headers: Vec::new() }
}

/// What lies in the golden spool.
fn messages() -> Vec<Message> {
    let mut messages = vec![
        plain("ais/1", b"a few bytes".to_vec()),
        plain("ais/2", (0..=255).collect()),
        plain("ais/3", vec![b'x'; 10_000]),
        Message { value: None, ..plain("ais/1", Vec::new()) },
    ];
    let property =
        |name: &str, value: &str| [vec![0x26], wire::field(name.as_bytes()), wire::field(value.as_bytes())].concat();
    messages.push(Message {
        properties: [property("unit", "kn"), property("unit", "km/h")].concat(),
        headers: vec![("unit", "kn"), ("unit", "km/h")],
        ..plain("ais/Ærø", b"ship".to_vec())
    });
    messages.extend((0..40).map(|n| plain("ais/1", format!("{n:02}").into_bytes())));
    messages
}

fn config(config: Config) -> Config {
    let config = config.source("version = \"5\"\nmax_packet = \"16KiB\"").route("empty = \"null\"");
    config.engine("cpus = [0]\nack = \"durable\"").spool("segment = \"1MiB\"\nmax = \"64MiB\"")
}

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

/// Every file below a folder, by its path there.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false => drop(found.insert(entry.strip_prefix(folder).unwrap().to_owned(), fs::read(&entry).unwrap())),
            }
        }
    }
    found
}

fn write(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Where a bridge finds its spool in its folder.
fn spool(folder: &Path) -> PathBuf {
    folder.join("fairlead/spool")
}

/// A bridge's folder with these files in its spool.
fn with_spool(files: &BTreeMap<PathBuf, Vec<u8>>) -> Scratch {
    let folder = Scratch::new("upgrade");
    write(&spool(folder.path()), files);
    fs::set_permissions(spool(folder.path()), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

/// What this build leaves where Kafka is away.
fn written_today() -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut scene, mut session) = Scene::with_kafka_down(config);
    for (id, message) in (2..).zip(messages()) {
        let topic = message.topic.as_bytes();
        session.send(&wire::publish_with(wire::V5, topic, 2, id, &message.properties, &message.payload));
        session.expect_id(wire::PUBACK, id);
    }
    assert_eq!(scene.bridge.stop(LIMIT), 0);
    let mut files = files(&spool(scene.bridge.folder()));
    files.retain(|path, _| path == Path::new("META") || path.starts_with("shard-00"));
    files.retain(|path, _| !path.file_name().unwrap().to_string_lossy().starts_with("free-"));
    files
}

#[test]
fn what_an_earlier_build_left_is_delivered_byte_for_byte() {
    if std::env::var("FAIRLEAD_GOLDEN").is_ok_and(|what| what == "write") {
        write(&golden(), &written_today());
        println!("WRITTEN is {}", fairlead_tests::wall());
    }
    let (broker, kafka) = (EvilBroker::start(), MockKafka::start(1));
    kafka.create(TOPIC, 1);
    let folder = with_spool(&files(&golden()));
    let mut bridge = Fairlead::start_in(folder, &[], &config(Config::new(&broker.url(), kafka.brokers(), TOPIC)));
    let expected = messages();
    let mut session = broker.accept_session(false, LIMIT);
    let records = kafka.records(TOPIC, expected.len() as u64, LIMIT);
    assert_eq!(records.len(), expected.len());
    for (record, message) in records.iter().zip(&expected) {
        let Record { key, value, headers, timestamp, .. } = record;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let sent: Vec<_> = message.headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        assert_eq!((key.as_deref(), value, headers), (Some(message.topic.as_bytes()), &message.value, sent));
        assert!((timestamp.unwrap() - WRITTEN).abs() < 60_000, "when it came, and not when it was sent: {timestamp:?}");
    }
    // The ledger knows the route of each by what it is, and goes on behind them.
    bridge.wait_metric(metric::RECOVERED, &[("route", "ais/#")], expected.len() as f64, LIMIT);
    session.publish("ais/1", 1, 1, b"new");
    session.expect_id(wire::PUBACK, 1);
    assert_eq!(kafka.records(TOPIC, expected.len() as u64 + 1, LIMIT).last().unwrap().text(), "new");
    assert_eq!(bridge.stop(LIMIT), 0);
}

/// Makes a sector that of a later format, as that one would write it.
fn of_a_later_version(sector: &mut [u8]) {
    sector[8..10].copy_from_slice(&2_u16.to_le_bytes());
    let checksum = crc32c::crc32c(&sector[..SECTOR - 4]).rotate_right(15).wrapping_add(0xa282_ead8);
    sector[SECTOR - 4..SECTOR].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn what_a_later_build_left_is_refused_and_not_touched() {
    for name in ["META", "seg-"] {
        let mut left = files(&golden());
        let changed = left.iter_mut().find(|(path, _)| path.file_name().unwrap().to_string_lossy().starts_with(name));
        let (path, bytes) = changed.expect("a golden file");
        of_a_later_version(&mut bytes[..SECTOR]);
        if name == "seg-" {
            // A header has a second place, from when its first record came.
            of_a_later_version(&mut bytes[2048..2048 + SECTOR]);
        }
        let path = path.display().to_string();
        let folder = with_spool(&left);
        let (broker, kafka) = (EvilBroker::start(), MockKafka::start(1));
        let mut bridge = Fairlead::start_in(folder, &[], &config(Config::new(&broker.url(), kafka.brokers(), TOPIC)));
        assert_eq!(bridge.process().wait(LIMIT), CONFIG, "{}", bridge.log());
        assert!(bridge.log().contains(&path) && bridge.log().contains("use the one that wrote it"), "{}", bridge.log());
        for command in [&["spool", "verify"][..], &["spool", "repair"]] {
            let refused = bridge.command(command);
            assert_eq!(refused.code, CONFIG, "{command:?}: {}", refused.output);
        }
        let now = files(&spool(bridge.folder()));
        for (path, bytes) in &left {
            assert!(now.get(path) == Some(bytes), "{} was touched", path.display());
        }
    }
}
