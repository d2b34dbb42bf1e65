//! The folder of the spool and the disk below it: not to be trusted, too small by decree, or one that never answers.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    time::Duration,
};

use fairlead_tests::{
    Config, Fairlead, Finished, Image, Mount, Record, Scratch, fairlead, free_port, metric, now, wait_until, wire,
};

use crate::{
    load::MEMORY,
    scene::{LIMIT, Scene, TOPIC},
};

/// The disk did not answer (`EX_IOERR`).
const DISK: i32 = 74;
/// The configuration or the system does not allow it (`EX_CONFIG`).
const CONFIG: i32 = 78;

/// Segments that a small disk can hold.
const SMALL: &str = "segment = \"1MiB\"\nmax = \"64MiB\"\nmin_free = \"1MiB\"";

/// A spool in this folder.
fn spool_in(config: Config, dir: &Path) -> Config {
    config.spool(&format!("dir = {dir:?}\n{SMALL}")).source("max_packet = \"256KiB\"")
}

/// A bridge to servers that are not there, with its spool in this folder.
fn nowhere(dir: &Path) -> Config {
    let mqtt = format!("mqtt://127.0.0.1:{}", free_port());
    spool_in(Config::new(&mqtt, &format!("127.0.0.1:{}", free_port()), TOPIC), dir)
}

/// `fairlead COMMAND` to its end.
fn finished(command: &str, dir: &Path) -> Finished {
    let folder = Scratch::new("config");
    let file = folder.write("fairlead.toml", &nowhere(dir).toml(free_port()));
    fairlead(&[command, "-c", file.to_str().unwrap()], |_| ())
}

/// Both `check` and `run` refuse the folder with these words, and leave it as it was.
#[track_caller]
fn assert_refused(dir: &Path, words: &str) {
    for command in ["check", "run"] {
        let refused = finished(command, dir);
        assert!(refused.output.contains(words), "{words:?} is missing in:\n{}", refused.output);
        assert!(refused.output.contains("set [spool] dir to"), "what to do is missing in:\n{}", refused.output);
        assert_eq!(refused.code, CONFIG, "{}", refused.output);
    }
    assert!(!dir.join("LOCK").exists(), "nothing is made there");
}

/// It starts in this folder, and says these words.
#[track_caller]
fn assert_warned(dir: &Path, words: &str) {
    assert!(finished("check", dir).output.contains(words), "`check` says {words:?}");
    let mut bridge = Fairlead::start(&nowhere(dir));
    bridge.wait_log(words, LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
    assert!(dir.join("LOCK").exists(), "it is used");
}

#[test]
fn a_folder_that_is_not_ours_alone_is_refused_or_warned_about() {
    let scratch = Scratch::new("folders");
    let folder = |name: &str| {
        let path = scratch.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let link = scratch.path().join("link");
    symlink(folder("target"), &link).unwrap();
    assert_refused(&link, "is a symbolic link");
    // Who is not root finds one of root's.
    let foreign = folder("foreign");
    let ours = chown(&foreign, Some(65534), None).is_err();
    assert_refused(if ours { Path::new("/usr") } else { &foreign }, "is another user's");
    let open = folder("open");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    assert_warned(&open, "can be entered by other users; chmod 700 it");
    // What is made anew is for nobody else.
    let new = scratch.path().join("deep/new");
    assert!(!finished("check", &new).output.contains("chmod"));
    let mut bridge = Fairlead::start(&nowhere(&new));
    wait_until(LIMIT, "the spool is there", || new.join("META").exists());
    assert_eq!(bridge.stop(LIMIT), 0);
    assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!bridge.log().contains("chmod"), "{}", bridge.log());
}

/// Mounts file systems: fails without root.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_file_system_that_forgets_is_warned_about() {
    let tmpfs = Mount::tmpfs(128);
    assert_warned(&tmpfs.path().join("spool"), "does not survive a restart of the machine; set [spool] dir to a disk");
    let overlay = Mount::overlay();
    assert_warned(&overlay.path().join("spool"), "does not survive the container; set [spool] dir to a volume");
}

/// A limit on the size of files is no more than a full disk, and `SIGXFSZ` no end.
#[test]
fn files_that_may_not_grow_are_a_full_disk() {
    let mut scene = Scene::under(&["prlimit", "--fsize=524288:unlimited"], |config| {
        config.engine("cpus = [0]\nack = \"durable\"").source("max_packet = \"256KiB\"").spool(SMALL)
    });
    let mut session = scene.take_kafka_down();
    for id in 2..20 {
        session.publish("ais/1", 1, id, format!("{id:02}").as_bytes());
    }
    scene.bridge.wait_unready("the spool is full", LIMIT);
    session.expect_silence(Duration::from_millis(500));
    scene.bridge.wait_log("no space for another segment", LIMIT);
    scene.bridge.process().limit("--fsize=unlimited:unlimited");
    (2..20).for_each(|id| session.expect_id(wire::PUBACK, id));
    scene.kafka.come_up();
    let expected: Vec<String> = (2..20).map(|id| format!("{id:02}")).chain(["first".to_owned()]).collect();
    assert_eq!(scene.values(19), expected);
    scene.bridge.wait_ready(LIMIT);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
}

/// The disk hangs while Kafka is away: nothing is acknowledged, readiness says why, memory is bounded, and the end comes all
/// the same. Mounts a file system: fails without root.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_disk_that_never_answers_is_told_and_does_not_hold_up_the_end() {
    let image = Image::mount(128);
    let (mut scene, mut session) = Scene::with_kafka_down(|config| {
        spool_in(config, &image.path().join("spool")).engine("cpus = [0]\nack = \"durable\"\ndrain = \"1s\"")
    });
    session.publish("ais/1", 1, 2, b"safe");
    session.expect_id(wire::PUBACK, 2);
    image.freeze();
    session.publish("ais/1", 1, 3, b"waits");
    scene.bridge.wait_unready("its disk, which has not answered for", LIMIT);
    // Whatever the broker has is not read into memory for ever.
    let packet = wire::publish(session.level, "ais/2", 0, 0, &[b'x'; 1000]);
    session.flood(&packet, Duration::from_secs(2), 1 << 30);
    assert!(scene.bridge.process().rss_anon() < MEMORY, "{} MiB", scene.bridge.process().rss_anon() >> 20);
    assert_eq!(scene.bridge.get("/livez").status, 200, "the executors turn");
    let start = now();
    scene.bridge.process().terminate();
    wait_until(LIMIT, "the bridge ends without its disk", || scene.bridge.process().is_ending());
    assert!(now() - start < Duration::from_secs(15), "the end took {:?}", now() - start);
    // The kernel lets a thread that waits for the disk go with the disk alone.
    image.thaw();
    assert_eq!(scene.bridge.process().wait(LIMIT), DISK);
    assert!(scene.bridge.log().contains("does not answer: ending without it"), "{}", scene.bridge.log());
    drop(session);
    scene.bridge.restart();
    let mut session = scene.resumed();
    session.send(&wire::publish_with(session.level, b"ais/1", 2 | wire::DUP, 3, &[], b"waits"));
    session.expect_id(wire::PUBACK, 3);
    scene.kafka.come_up();
    scene.bridge.wait_metric_down(metric::SPOOL_RECORDS, &[], 0.0, LIMIT);
    let values: Vec<String> = scene.kafka.consume(TOPIC).iter().map(Record::text).collect();
    assert!(["first", "safe", "waits"].iter().all(|sent| values.iter().any(|value| value == sent)), "{values:?}");
    assert_eq!(scene.bridge.stop(LIMIT), 0);
}
