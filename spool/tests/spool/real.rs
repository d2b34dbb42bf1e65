//! The same on a real disk, and what operators and other processes do to it.

use std::{
    fs,
    os::unix::{
        fs::{FileExt, PermissionsExt, symlink},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use fairlead_spool::{
    AppendError, CommitError, Name, OpenError, Options, Spool, Warning,
    disk::{Disk, File, Map, Real},
    inspect::{Class, verify},
};
use tempfile::TempDir;

use crate::rig::{Rig, SMALL, append_up_to, data, expected, payload};

fn real(path: &Path) -> Rig<Real> {
    Rig::open(Real, path, SMALL).expect("a disk that works")
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("spool");
    (folder, path)
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path.join("shard-00")).expect("the log's folder");
    let files = files.map(|file| file.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| path.to_string_lossy().contains("/seg-")).collect();
    files.sort();
    files
}

#[test]
fn a_spool_on_disk_survives_reopening() {
    let (_folder, path) = folder();
    let mut rig = real(&path);
    append_up_to(&mut rig, 3000);
    rig.settle();
    rig.log.release(1000);
    rig.pass(Duration::from_millis(100));
    rig.upkeep();
    drop(rig);
    let mut rig = real(&path);
    assert_eq!((rig.recovery.synced, rig.recovery.backlog, rig.recovery.degraded), (3000, 2000, false));
    assert_eq!(rig.read_all(), ((1001..=3000).map(expected).collect(), vec![]));
    append_up_to(&mut rig, 3500);
    rig.settle();
    assert_eq!(verify(&Real, &path, true).expect("readable").class, Class::Clean);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&segments(&path)[0])), (0o700, 0o600));
}

#[test]
fn a_second_process_is_kept_out() {
    let (_folder, path) = folder();
    let rig = real(&path);
    assert!(matches!(Spool::open(Real, &path, SMALL), Err(OpenError::Locked(_))));
    let other = Command::new("flock").arg("--nonblock").arg(path.join("LOCK")).arg("true").status();
    assert!(!other.expect("flock of util-linux").success(), "another process sees the lock");
    drop(rig);
    real(&path);
}

#[test]
fn a_folder_that_cannot_be_trusted_is_refused_or_warned_about() {
    let (folder, path) = folder();
    fs::create_dir(&path).expect("a new folder");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("ours");
    let (spool, warnings) = Spool::open(Real, &path, SMALL).expect("it opens");
    assert!(warnings.contains(&Warning::OpenToOthers(path.clone())));
    drop(spool);
    let link = folder.path().join("link");
    symlink(&path, &link).expect("a new link");
    assert!(matches!(Spool::open(Real, &link, SMALL), Err(OpenError::Untrusted { what: "a symbolic link", .. })));
    if Path::new("/dev/shm").is_dir() {
        let shm = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let path = shm.path().join("spool");
        let (_, warnings) = Spool::open(Real, &path, SMALL).expect("it opens");
        assert!(warnings.contains(&Warning::InMemory(path)));
    }
}

/// A commit looks before it stores: nothing is acknowledged, the process lives, the rest can be drained.
#[test]
fn a_segment_cut_under_a_running_log_fences_it() {
    let (_folder, path) = folder();
    let mut rig = real(&path);
    append_up_to(&mut rig, 500);
    rig.settle();
    let active = segments(&path).into_iter().rev().nth(1).expect("one before the one that is ready");
    fs::File::options().write(true).open(active).expect("ours").set_len(8192).expect("ours");
    append_up_to(&mut rig, 510);
    let error = rig.commit().expect("a group").expect_err("the file was cut");
    assert!(matches!(error, CommitError::Fenced { .. }), "{error}");
    assert_eq!(rig.log.append(&data(b"", b"")), Err(AppendError::Fenced));
    assert_eq!(rig.log.synced(), 500);
    let (seen, gaps) = rig.read_all();
    assert!(gaps.len() == 1 && gaps[0].last == 500);
    seen.iter().for_each(|seen| assert_eq!(*seen, expected(seen.sequence)));
    assert!(rig.log.usage().degraded && rig.log.usage().counters.corrupt_records > 0);
}

#[test]
fn a_segment_removed_under_a_running_log_is_noticed_within_a_second() {
    let (_folder, path) = folder();
    let mut rig = real(&path);
    append_up_to(&mut rig, 1000);
    rig.settle();
    fs::remove_file(&segments(&path)[0]).expect("ours");
    rig.pass(Duration::from_secs(1));
    let errors = rig.upkeep();
    assert!(errors.len() == 1 && errors[0].contains("was removed or cut"), "{errors:?}");
    assert_eq!(rig.log.append(&data(b"", b"")), Err(AppendError::Fenced));
}

#[test]
fn the_folder_removed_under_a_running_log_stops_it_at_the_next_group() {
    let (_folder, path) = folder();
    let mut rig = real(&path);
    append_up_to(&mut rig, 10);
    rig.settle();
    fs::remove_dir_all(&path).expect("ours");
    append_up_to(&mut rig, 20);
    assert!(matches!(rig.commit(), Some(Err(CommitError::Fenced { .. }))));
    assert_eq!(rig.log.synced(), 10);
}

#[test]
fn a_bit_flipped_under_a_running_log_is_a_gap_and_its_segment_is_kept_aside() {
    let (_folder, path) = folder();
    let mut rig = real(&path);
    append_up_to(&mut rig, 2000);
    rig.settle();
    let file = fs::File::options().read(true).write(true).open(&segments(&path)[0]).expect("ours");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 4096 * 3 + 60).expect("inside");
    file.write_all_at(&[byte[0] ^ 4], 4096 * 3 + 60).expect("inside");
    let (seen, gaps) = rig.read_all();
    assert_eq!((seen.len(), gaps.len()), (1999, 1));
    assert_eq!(rig.log.usage().counters.corrupt_records, 1);
    rig.log.release(2000);
    rig.upkeep();
    assert_eq!(rig.log.usage().counters.quarantined, 1);
    let kept = fs::read_dir(path.join("quarantine/shard-00")).expect("the quarantine").count();
    assert_eq!(kept, 1);
    drop(rig);
    assert_eq!(real(&path).recovery.backlog, 0);
}

/// Bytes of pages that this thread has dirtied so far (`proc_pid_io(5)`), if the kernel counts them.
fn dirtied() -> Option<u64> {
    let io = fs::read_to_string("/proc/thread-self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

/// The kernel writes whole folios, which are as large as the writes that made the file.
#[test]
fn a_small_group_writes_no_more_than_its_blocks() {
    const GROUPS: u64 = 100;
    let (_folder, path) = folder();
    let options = Options { max: 1 << 30, segment: 8 << 20, ..SMALL };
    let mut rig = Rig::open(Real, &path, options).expect("it opens");
    assert_eq!(rig.upkeep(), Vec::<String>::new());
    let before = dirtied();
    for number in 1..=GROUPS {
        append_up_to(&mut rig, number);
        rig.commit().expect("a record").expect("a disk that works");
    }
    match before.zip(dirtied()) {
        Some((before, after)) if after > before => {
            let each = (after - before) / GROUPS;
            // Two of the largest pages that a kernel may have.
            assert!(each <= 2 * (64 << 10), "{each} bytes for each group of one small record");
        }
        _ => println!("SKIPPED: the kernel does not count what is written to this file system"),
    }
}

/// Fills a spool on a disk that runs out of space, and empties it again.
fn on_a_small_disk(path: &Path) {
    let options = Options { max: 1 << 30, segment: 1 << 20, ..SMALL };
    let mut rig = Rig::open(Real, path, options).expect("it opens");
    let mut errors = rig.upkeep();
    // More than fits eight MiB.
    for number in 1..100_000_u64 {
        match rig.append(&data(&number.to_le_bytes(), &payload(number))) {
            Ok(_) => {}
            Err(AppendError::Full) => break,
            Err(AppendError::Busy) => {
                rig.pass(Duration::from_millis(250));
                errors.extend(rig.upkeep());
            }
            Err(refused) => panic!("{refused}"),
        }
    }
    assert_eq!(rig.log.append(&data(b"", b"")), Err(AppendError::Full));
    assert!(errors.iter().any(|error| error.contains("no space")), "{errors:?}");
    let last = rig.log.appended();
    assert!(last > 10_000, "{last}");
    while rig.log.synced() < last {
        rig.commit().expect("what was taken has its place").expect("a disk that works");
    }
    rig.log.release(last);
    for _ in 0..10 {
        rig.pass(Duration::from_millis(250));
        rig.upkeep();
    }
    assert!(rig.log.append(&data(b"", b"")).is_ok(), "{:?}", rig.log.usage());
    rig.settle();
}

/// Unmounts at the end, whatever happens.
struct Mount(TempDir);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_runs_out_of_space() {
    let mount = Mount(tempfile::tempdir().expect("a temporary folder"));
    let arguments = ["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs"];
    let mounted = Command::new("mount").args(arguments).arg(mount.0.path()).output().expect("mount of util-linux");
    if mounted.status.success() {
        on_a_small_disk(&mount.0.path().join("spool"));
    } else {
        println!("SKIPPED: only root can mount: {}", String::from_utf8_lossy(&mounted.stderr));
    }
}

const CHILD: &str = "FAIRLEAD_SPOOL_CHILD";

/// The body of the next test, in a process of its own.
#[test]
fn child_with_a_limit_on_file_sizes() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let options = Options { segment: 1 << 20, max: 1 << 30, ..SMALL };
    let (spool, _) = Spool::open(Real, path, options).expect("small files can be made");
    let (mut log, _) = spool.log(Name::Shard(0)).expect("small files can be made");
    let upkeep = log.poll_upkeep(crate::rig::origin()).expect("a segment to prepare");
    let error = log.handle_upkeep(crate::rig::origin(), upkeep.run()).expect_err("a segment is too large");
    assert!(error.to_string().contains("no space"), "{error}");
    assert_eq!(log.append(&data(b"", b"")), Err(AppendError::Full));
    println!("the limit was met");
}

/// Runs one of these tests in a process of its own, behind a shell's commands.
fn child(test: &str, commands: &str, path: &Path) -> Output {
    let script = format!("{commands}; exec \"$0\" --exact real::{test} --nocapture");
    let this = std::env::current_exe().expect("this test");
    Command::new("sh").arg("-c").arg(script).arg(this).env(CHILD, path).output().expect("a shell")
}

/// SIGXFSZ, which would end the process, is ignored.
#[test]
fn a_limit_on_file_sizes_is_a_full_spool() {
    let (_folder, path) = folder();
    let child = child("child_with_a_limit_on_file_sizes", "ulimit -f 1024", &path);
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("the limit was met"), "{:?}: {output}", child.status);
}

/// The body of the next test, in a process of its own: a file that is cut between the look at it and the store.
#[test]
fn child_that_stores_into_a_file_that_was_cut() {
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let (_spool, _) = Spool::open(Real, &path, SMALL).expect("an empty disk");
    let path = path.join("file");
    let file = Real.create(&path).expect("a new file");
    file.allocate(8192).expect("there is space");
    let mut map = file.map(8192).expect("a file of that length");
    map.store(4096, b"before");
    fs::File::options().write(true).open(path).expect("ours").set_len(0).expect("ours");
    map.store(4096, b"after");
    println!("the process lives");
}

#[test]
fn a_store_into_a_file_that_was_cut_ends_the_process_with_a_message() {
    let (_folder, path) = folder();
    let child = child("child_that_stores_into_a_file_that_was_cut", "ulimit -c 0", &path);
    assert_eq!(child.status.signal(), Some(libc::SIGBUS), "{:?}", child.status);
    let said = String::from_utf8_lossy(&child.stderr);
    assert_eq!(said.matches("SIGBUS: a segment of the spool was cut").count(), 1, "{said}");
}
