//! `fairlead check`: the folder of the spool, the disk below it, and how long both last.

use std::{fs, io, os::unix::fs::FileExt, path::Path, time::Duration};

use bytesize::ByteSize;
use fairlead_spool::{
    OpenError, Warning,
    disk::{Disk as _, FileSystem, Real},
};
use serde::Serialize;

use super::Exit;
use crate::{
    settings::{Secrets, Spool},
    shard::clock,
};

/// Writes that are measured.
const WRITES: u64 = 64;
/// Bytes of each: the least that the spool writes.
const BLOCK: u64 = 4096;
/// A slow disk is not measured longer.
const ENOUGH: Duration = Duration::from_secs(2);
/// Bytes of a record besides its payload: header, topics, key, filling, and its share of the group's last block.
const AROUND: u64 = 120;
/// Segments that a shard needs before it takes a record.
const FIRST_SEGMENTS: u64 = 2;

/// The load that the spool is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Messages a second.
    pub(super) rate: u64,
    /// Bytes of a payload.
    pub(super) size: u64,
}

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Disk {
    dir: String,
    /// Type and device of the file system.
    file_system: Option<String>,
    free_bytes: Option<u64>,
    fdatasync: Option<Fdatasync>,
    rate_per_s: u64,
    message_bytes: u64,
    /// How long the limit lasts at that load while Kafka is away.
    lasts_s: u64,
    /// Why the spool cannot be used, and what to do.
    pub(super) problems: Vec<String>,
    notes: Vec<String>,
    /// What `run` would end with.
    #[serde(skip)]
    pub(super) exit: Exit,
}

/// 4 KiB written and synced, again and again, in blocks that were written before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Fdatasync {
    writes: usize,
    median_ms: f64,
    p99_ms: f64,
}

impl Disk {
    /// Looks at the folder, or where it is not there yet at the one that it will be made in, and measures the disk with a
    /// file that has no name.
    pub(super) fn look(spool: &Spool, shards: usize, load: Load, secrets: &Secrets) -> Disk {
        let mut disk = Disk {
            dir: spool.dir.display().to_string(),
            file_system: None,
            free_bytes: None,
            fdatasync: None,
            rate_per_s: load.rate,
            message_bytes: load.size,
            lasts_s: spool.max / (load.rate * (load.size + AROUND)).max(1),
            problems: Vec::new(),
            notes: Vec::new(),
            exit: Exit::Success,
        };
        let there = spool.dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        disk.file_system = file_system(there);
        disk.examine(spool, there);
        disk.measure(there);
        disk.judge_space(spool, there, shards);
        disk.dir = secrets.redact(&disk.dir);
        let texts = disk.problems.iter_mut().chain(&mut disk.notes);
        texts.for_each(|text| *text = secrets.redact(text));
        disk
    }

    fn problem(&mut self, exit: Exit, text: String) {
        self.problems.push(text);
        self.exit = exit;
    }

    /// Whom it belongs to, what it lies on, and who has it.
    fn examine(&mut self, spool: &Spool, there: &Path) {
        let dir = || spool.dir.clone();
        let found = match Real.examine(there) {
            Ok(found) => found,
            Err(error) => return self.unusable("examined", there, &error),
        };
        match found.file_system {
            FileSystem::Network => self.problem(Exit::Config, OpenError::Network(dir()).to_string()),
            FileSystem::Memory => self.notes.push(Warning::InMemory(dir()).to_string()),
            FileSystem::Layer => self.notes.push(Warning::InContainer(dir()).to_string()),
            FileSystem::Local => {}
        }
        if there != spool.dir {
            return;
        }
        let untrusted = |what| OpenError::Untrusted { path: dir(), what }.to_string();
        if found.link {
            self.problem(Exit::Config, untrusted("a symbolic link"));
        } else if found.foreign {
            self.problem(Exit::Config, untrusted("another user's"));
        }
        if found.open_to_others {
            self.notes.push(Warning::OpenToOthers(dir()).to_string());
        }
        let lock = spool.dir.join("LOCK");
        // Only one that exists: looking leaves nothing behind.
        if lock.is_file() && matches!(Real.lock(&lock), Ok(None)) {
            self.problem(Exit::Taken, OpenError::Locked(dir()).to_string());
        }
    }

    fn unusable(&mut self, what: &str, there: &Path, error: &io::Error) {
        let text = format!(
            "the folder {} cannot be {what}: {error}; set [spool] dir to a folder on a local disk that this user may write",
            there.display()
        );
        self.problem(Exit::Config, text);
    }

    fn measure(&mut self, there: &Path) {
        match fdatasync(there) {
            Ok(measured) => self.fdatasync = Some(measured),
            Err(error) => self.unusable("written", there, &error),
        }
    }

    fn judge_space(&mut self, spool: &Spool, there: &Path, shards: usize) {
        let Ok(free) = Real.free_space(there) else { return };
        self.free_bytes = Some(free);
        let usable = free.saturating_sub(spool.min_free);
        let first = FIRST_SEGMENTS * spool.segment * shards as u64;
        // What an existing spool has, it need not ask for again.
        if there != spool.dir && usable < first {
            let text = format!(
                "{} are free on the disk of the spool {}, and its first segments need {} above min_free ({}): it would take \
                 nothing; free some, or lower [spool] segment or min_free",
                ByteSize::b(free),
                spool.dir.display(),
                ByteSize::b(first),
                ByteSize::b(spool.min_free)
            );
            self.problem(Exit::Config, text);
        } else if usable < spool.max {
            self.notes.push(format!(
                "[spool] max is {}, and above min_free {} are free now: the disk may be full first",
                ByteSize::b(spool.max),
                ByteSize::b(usable)
            ));
        }
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let file_system = self.file_system.as_deref().unwrap_or("an unknown file system");
        let free = self.free_bytes.map_or_else(String::new, |free| format!(", {} free", ByteSize::b(free)));
        let measured = self.fdatasync.map_or_else(String::new, |fdatasync| {
            let Fdatasync { writes, median_ms, p99_ms } = fdatasync;
            format!("; 4 KiB and fdatasync take {median_ms:.3} ms (median of {writes}), {p99_ms:.3} ms (p99)")
        });
        let lasts = humantime::format_duration(Duration::from_secs(self.lasts_s));
        let mut lines = vec![
            format!("spool: {} on {file_system}{free}{measured}", self.dir),
            format!(
                "spool: at {} msg/s of {} bytes, [spool] max lasts about {lasts} without Kafka",
                self.rate_per_s, self.message_bytes
            ),
        ];
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.extend(self.problems.iter().map(|problem| format!("error: {problem}")));
        lines
    }
}

/// Times of writes of one block that was written before, as in a segment.
fn fdatasync(folder: &Path) -> io::Result<Fdatasync> {
    let file = tempfile::tempfile_in(folder)?;
    let block = [0; BLOCK as usize];
    (0..WRITES).try_for_each(|number| file.write_all_at(&block, number * BLOCK))?;
    file.sync_all()?;
    let (start, mut times) = (clock::now(), Vec::new());
    for number in 0..WRITES {
        let before = clock::now();
        file.write_all_at(&block, number * BLOCK)?;
        file.sync_data()?;
        let after = clock::now();
        times.push(after - before);
        if after - start >= ENOUGH {
            break;
        }
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    Ok(Fdatasync { writes: times.len(), median_ms: at(50), p99_ms: at(99) })
}

/// Type and device of the file system that a folder lies on.
fn file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    mounted(&fs::read_to_string("/proc/self/mountinfo").ok()?, &folder)
}

/// The last mount point among the longest that hold `folder`, of lines as proc_pid_mountinfo(5) has them.
fn mounted(mounts: &str, folder: &Path) -> Option<String> {
    let parse = |line: &str| {
        let (mount, device) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        let mut device = device.split(' ');
        let (kind, source) = (device.next()?, device.next()?);
        folder.starts_with(&point).then(|| (Path::new(&point).components().count(), format!("{kind} ({source})")))
    };
    mounts.lines().filter_map(parse).max_by_key(|(depth, _)| *depth).map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::settings::Qos0;

    const LOAD: Load = Load { rate: 10_000, size: 100 };

    fn spool(dir: &Path) -> Spool {
        let (max, segment) = (22_000_000_000, 1 << 20);
        Spool { dir: dir.to_owned(), max, min_free: 0, segment, qos0: Qos0::Spool, drain_rate: None }
    }

    fn look(spool: &Spool) -> Disk {
        Disk::look(spool, 1, LOAD, &Secrets::default())
    }

    #[test]
    fn a_sound_folder_is_measured_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        for dir in [folder.path().to_owned(), folder.path().join("not/there/yet")] {
            let disk = look(&spool(&dir));
            assert_eq!((disk.problems.as_slice(), disk.exit), (&[][..], Exit::Success));
            let measured = disk.fdatasync.unwrap();
            assert!(measured.writes > 0 && measured.median_ms > 0.0 && measured.p99_ms >= measured.median_ms);
            assert!(disk.file_system.is_some() && disk.free_bytes > Some(0), "{disk:?}");
            assert_eq!(disk.lasts_s, 10_000, "22 GB at 10,000 records of 220 bytes a second");
            let text = disk.lines().join("\n");
            assert!(text.contains(&dir.display().to_string()) && text.contains("lasts about 2h 46m 40s"), "{text}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_keeps_the_spool_from_opening_is_told_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink(folder.path(), &link).unwrap();
        let taken = folder.path().join("taken");
        let limits = fairlead_spool::Options {
            min_free: 0,
            segment: 1 << 20,
            group: 4096,
            record: 4096,
            ..fairlead_spool::Options::default()
        };
        let _open = fairlead_spool::Spool::open(Real, &taken, limits).unwrap();
        let greedy = Spool { min_free: u64::MAX, ..spool(&folder.path().join("new")) };
        for (spool, exit, words) in [
            (spool(&link), Exit::Config, "a symbolic link; set [spool] dir"),
            (spool(&taken), Exit::Taken, "in use by another process; end it, or set another [spool] dir"),
            (greedy, Exit::Config, "it would take nothing; free some, or lower"),
            (spool(Path::new("/proc/spool")), Exit::Config, "set [spool] dir to a folder on a local disk"),
        ] {
            let disk = look(&spool);
            assert_eq!(disk.exit, exit, "{disk:?}");
            assert!(disk.lines().iter().any(|line| line.starts_with("error: ") && line.contains(words)), "{disk:?}");
        }
    }

    #[test]
    fn what_is_only_unwise_is_a_note() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let disk = look(&Spool { max: u64::MAX, ..spool(folder.path()) });
        assert_eq!(disk.exit, Exit::Success);
        for words in ["chmod 700", "the disk may be full first"] {
            assert!(disk.lines().iter().any(|line| line.starts_with("note: ") && line.contains(words)), "{disk:?}");
        }
    }

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /data\\040x rw shared:1 - tmpfs none rw\n\
                      3 1 8:2 / /data\\040x/in rw - xfs /dev/b rw\n";
        let at = |folder: &str| mounted(mounts, Path::new(folder));
        assert_eq!(at("/home").as_deref(), Some("ext4 (/dev/a)"));
        assert_eq!(at("/data x/y").as_deref(), Some("tmpfs (none)"));
        assert_eq!(at("/data x/in/y").as_deref(), Some("xfs (/dev/b)"));
        assert_eq!(at("/data xyz").as_deref(), Some("ext4 (/dev/a)"));
    }
}
