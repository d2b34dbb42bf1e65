//! The files from one start to the next.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::settings::Settings;

/// A source with one session, these filters and further lines.
fn settings(folder: &Path, filters: &[&str], lines: &str) -> Settings {
    let routes: String =
        filters.iter().map(|filter| format!("[[route]]\nfrom = \"{filter}\"\ntopic = \"t\"\n")).collect();
    Settings::of(&format!(
        "[[source]]\nname = \"pier\"\nurl = [\"mqtt://a\", \"mqtt://b\"]\n{lines}\n[kafka]\nbrokers = \"k:1\"\n{routes}\
         [engine]\nstate = {folder:?}\n"
    ))
}

/// One start of the process.
fn open(settings: &Settings) -> (Store, Recalled) {
    let (store, mut recalled) = Store::open(settings);
    (store, recalled.remove(0))
}

/// One start, up to the moment when everything is subscribed at the first broker.
fn run(settings: &Settings) -> (Store, Recalled) {
    let (mut store, recalled) = open(settings);
    store.handle(vec![(0, Word::Subscribed(settings.sources[0].urls[0].clone()))]);
    (store, recalled)
}

fn path(folder: &Path) -> PathBuf {
    file::path(folder, "fairlead-pier-0", "mqtt://a:1883")
}

fn stored(folder: &Path) -> Vec<String> {
    let record = file::read(&path(folder)).unwrap().unwrap();
    record.filters.into_iter().map(|one| one.filter).collect()
}

fn granted(recalled: &Recalled) -> Option<Vec<&str>> {
    recalled.granted.as_ref().map(|(_, filters)| filters.iter().map(String::as_str).collect())
}

#[test]
fn what_is_no_longer_configured_is_retired_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = &folder.path().join("made/here");
    assert_eq!(run(&settings(folder, &["a", "b"], "")).1, Recalled::default());
    assert_eq!(stored(folder), ["a", "b"]);

    // Each start until it is gone, whatever ends the process before.
    let without_a = settings(folder, &["b", "c"], "");
    for _ in 0..2 {
        assert_eq!(open(&without_a).1.retired, ["a"]);
        assert_eq!(stored(folder), ["b", "c", "a"]);
    }
    assert_eq!(run(&without_a).1.retired, ["a"]);
    assert_eq!(stored(folder), ["b", "c"]);
    assert_eq!(open(&without_a).1.retired, [""; 0]);
}

#[test]
fn what_a_broker_granted_is_remembered_while_it_is_certain() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ab = settings(folder, &["a", "b"], "");
    run(&ab);
    let (_, recalled) = open(&ab);
    assert_eq!(recalled.granted.as_ref().unwrap().0, ab.sources[0].urls[0]);
    assert_eq!(granted(&recalled), Some(vec!["a", "b"]));
    assert_eq!(granted(&open(&ab).1), None, "the last run had nothing granted");

    let (mut store, _) = run(&ab);
    store.handle(vec![(0, Word::Lost)]);
    assert_eq!(granted(&open(&ab).1), None, "the last run had lost its broker");

    run(&ab);
    assert_eq!(granted(&open(&settings(folder, &["b", "c"], "")).1), Some(vec!["b"]), "c is new");
    run(&ab);
    assert_eq!(granted(&open(&settings(folder, &["a", "b"], "qos = 2")).1), Some(vec![]), "another QoS");
}

#[test]
fn another_identifier_is_another_subscription() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(&settings(folder, &["z", "a/+/c", "a/b/+"], ""));
    // The identifiers follow the order of the routes.
    let reordered = settings(folder, &["z", "a/b/+", "a/+/c"], "");
    assert_eq!(granted(&open(&reordered).1), Some(vec!["z"]));
}

#[test]
fn a_lost_connection_does_not_make_retired_filters_gone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(&settings(folder, &["a", "b"], ""));
    let only_b = settings(folder, &["b"], "");
    let (mut store, _) = open(&only_b);
    store.handle(vec![(0, Word::Lost)]);
    assert_eq!(open(&only_b).1.retired, ["a"]);
}

#[test]
fn another_client_id_or_broker_is_another_session() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(&settings(folder, &["a"], ""));
    assert_eq!(open(&settings(folder, &["b"], "client_id = \"other\"")).1, Recalled::default());
    let mut elsewhere = settings(folder, &["b"], "");
    elsewhere.sources[0].urls.swap(0, 1);
    assert_eq!(open(&elsewhere).1, Recalled::default());
    assert_eq!(open(&settings(folder, &["b"], "")).1.retired, ["a"], "and the first is untouched");
}

#[test]
fn a_damaged_file_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let settings = settings(folder, &["a"], "");
    run(&settings);
    let whole = fs::read_to_string(path(folder)).unwrap();
    let other = whole.replace("fairlead-pier-0", "fairlead-pier-1");
    for damaged in ["", "{", "[]", &whole[..whole.len() / 2], &other, "\0\0\0"] {
        fs::write(path(folder), damaged).unwrap();
        assert_eq!(run(&settings).1, Recalled::default(), "{damaged:?}");
        assert_eq!(fs::read_to_string(path(folder)).unwrap(), whole);
    }
    // What a crash left of a write does not count.
    fs::write(path(folder).with_extension("new"), "{").unwrap();
    assert_eq!(granted(&open(&settings).1), Some(vec!["a"]));
}

#[test]
fn without_a_folder_the_bridge_goes_on_and_believes_no_grant() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(run(&settings(&file, &["a"], "")).1, Recalled::default());
    assert_eq!(run(&settings(Path::new("/proc/nowhere"), &["a"], "")).1, Recalled::default());

    // A file that can be read and not be replaced: its folder is where the new file would be.
    let state = folder.path().join("state");
    run(&settings(&state, &["a", "b"], ""));
    fs::create_dir(path(&state).with_extension("new")).unwrap();
    let (mut store, recalled) = open(&settings(&state, &["a"], ""));
    assert_eq!((recalled.retired, recalled.granted), (vec!["b".to_owned()], None));
    // When it can be written again, the next word is.
    fs::remove_dir(path(&state).with_extension("new")).unwrap();
    store.handle(vec![(0, Word::Subscribed(settings(&state, &["a"], "").sources[0].urls[0].clone()))]);
    assert_eq!(stored(&state), ["a"]);
}

/// Whether packet identifiers were kept: only what is known in the spool counts, and a process that keeps none ends it.
#[test]
fn it_is_told_whether_packet_identifiers_were_kept() {
    let state = tempfile::tempdir().unwrap();
    let mut durable = settings(state.path(), &["a"], "qos = 2");
    durable.engine.ack = crate::settings::Ack::Durable;
    let not_kept = settings(state.path(), &["a"], "qos = 1");
    assert_eq!(open(&durable).1.ids_kept, None, "an upgrade");
    assert_eq!(run(&durable).1.ids_kept, None, "killed before the session was known in the spool");
    assert_eq!(open(&durable).1.ids_kept, Some(true));
    assert_eq!(open(&durable).1.ids_kept, Some(true), "whatever ends the process before");
    assert_eq!(open(&not_kept).1.ids_kept, Some(true), "what the last process left");
    assert_eq!(open(&durable).1.ids_kept, Some(false));
    assert_eq!(run(&durable).1.ids_kept, Some(false), "until the session is known again");
    assert_eq!(open(&durable).1.ids_kept, Some(true));
}

/// A session that is ended leaves nothing.
#[test]
fn the_file_of_an_ended_session_is_gone() {
    let state = tempfile::tempdir().unwrap();
    let settings = settings(state.path(), &["a"], "");
    let (mut store, _) = run(&settings);
    assert_eq!(stored(state.path()), ["a"]);
    store.handle(vec![(0, Word::Ended)]);
    assert!(!path(state.path()).exists());
    assert_eq!(open(&settings).1, Recalled::default());
}

#[test]
fn nothing_is_remembered_where_it_is_off() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), &["a"], "");
    settings.engine.state = None;
    for _ in 0..2 {
        let nothing = Recalled { ids_kept: Some(false), ..Recalled::default() };
        assert_eq!(run(&settings).1, nothing, "a process that kept no packet ids could not have said so");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn names_of_files_are_safe_and_differ() {
    let folder = Path::new("state");
    let of = |client_id: &str, url: &str| file::path(folder, client_id, url);
    assert_eq!(of("fairlead-pier-0", "mqtt://a:1883"), folder.join("fairlead-pier-0@mqtt%3A%2F%2Fa%3A1883.json"));
    let long = "x".repeat(1000);
    let pairs = [
        ("a", "b"),
        ("a@b", ""),
        ("", "a@b"),
        ("../../etc", "b"),
        ("%2E", "b"),
        (".", "b"),
        ("Ä", "b"),
        ("a\0", "b"),
        (&long, "b"),
        (&long[..999], "xb"),
    ];
    let mut paths: Vec<PathBuf> = pairs.iter().map(|(client_id, url)| of(client_id, url)).collect();
    for path in &paths {
        let parts: Vec<_> = path.strip_prefix(folder).unwrap().components().collect();
        assert!(parts.iter().all(|part| matches!(part, std::path::Component::Normal(_))), "{path:?}");
        assert!(parts.iter().all(|part| part.as_os_str().len() <= 255), "{path:?}");
    }
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), pairs.len());
    // And a long one can be used.
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), &["a"], &format!("client_id = \"{long}\""));
    run(&settings);
    assert_eq!(granted(&open(&settings).1), Some(vec!["a"]));
}

#[test]
fn the_newest_word_of_a_session_counts() {
    let url = || Address { host: "a".into(), port: 1 };
    let subscriptions = Subscriptions::new(vec![Recalled::default(); 3]);
    subscriptions.tell(2, Word::Subscribed(url()));
    subscriptions.tell(0, Word::Lost);
    subscriptions.tell(2, Word::Lost);
    subscriptions.tell(0, Word::Subscribed(url()));
    assert_eq!(subscriptions.take(), [(0, Word::Subscribed(url())), (2, Word::Lost)]);
    assert_eq!(subscriptions.take(), []);
}
