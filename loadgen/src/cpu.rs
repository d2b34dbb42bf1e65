//! CPU and memory of processes: our own, and those that are measured.

use crate::clock::MILLISECOND;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

/// CPU seconds (user and system, all threads) that this process has used.
#[expect(clippy::cast_precision_loss, reason = "exact to the microsecond for centuries")]
pub fn own_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// Which process to sample: a number, or `@FILE` with a file that holds the number and may change when it is restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessRef {
    /// A process id.
    Pid(u32),
    /// A file with a process id in it, read at each sample.
    File(PathBuf),
}

impl FromStr for ProcessRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix('@') {
            return Ok(Self::File(PathBuf::from(path)));
        }
        text.parse().map(Self::Pid).map_err(|_| format!("`{text}` is neither a process id nor @FILE"))
    }
}

/// A process to sample, and the name under which it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedProcess {
    /// The name in the report.
    pub name: String,
    /// Where its id comes from.
    pub process: ProcessRef,
}

impl FromStr for NamedProcess {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, process) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=PID or NAME=@FILE"))?;
        Ok(Self { name: name.to_owned(), process: process.parse()? })
    }
}

/// What a sampled process used between the first and the last sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// The name it was given.
    pub name: String,
    /// CPU seconds (user and system), summed over restarts.
    pub cpu_seconds: f64,
    /// The greatest anonymous resident memory seen, in bytes.
    pub rss_anon_peak_bytes: u64,
    /// How many processes were seen under this name: more than one after restarts, 0 if it was never found.
    pub processes: u32,
    /// How often the kernel took one of its threads off a core, or put it back: of the threads that lived until the last sample.
    pub context_switches: u64,
}

/// The share of one core above which a generator has measured itself and not the bridge.
pub const GENERATOR_BOUND: f64 = 0.8;

/// What a run cost; part of a result file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// CPU seconds of the generator, all threads, during the run.
    pub generator_cpu_seconds: f64,
    /// The same in cores: seconds of CPU for each second of the run.
    #[serde(default)]
    pub generator_share: f64,
    /// Whether that is more than [`GENERATOR_BOUND`]: a faster generator could have shown more.
    #[serde(default)]
    pub generator_bound: bool,
    /// What the sampled processes used during the run.
    #[serde(default)]
    pub processes: Vec<ProcessUsage>,
}

impl Cost {
    /// The cost of a run of so many seconds.
    pub fn new((generator_cpu_seconds, processes): (f64, Vec<ProcessUsage>), seconds: f64) -> Self {
        let generator_share = if seconds > 0.0 { generator_cpu_seconds / seconds } else { 0.0 };
        let generator_bound = generator_share > GENERATOR_BOUND;
        Self { generator_cpu_seconds, generator_share, generator_bound, processes }
    }
}

/// Samples one process.
#[derive(Debug)]
pub struct ProcessWatch {
    target: NamedProcess,
    /// The process seen last, with its CPU seconds then.
    last: Option<(u32, f64)>,
    switches_at_first: u64,
    usage: ProcessUsage,
}

impl ProcessWatch {
    /// Starts to watch; the first [`ProcessWatch::sample`] sets the base line.
    pub fn new(target: NamedProcess) -> Self {
        let usage = ProcessUsage {
            name: target.name.clone(),
            cpu_seconds: 0.0,
            rss_anon_peak_bytes: 0,
            processes: 0,
            context_switches: 0,
        };
        Self { target, last: None, switches_at_first: 0, usage }
    }

    /// Reads `/proc` once. A process that is gone adds nothing; a new one under the same name counts from its start.
    pub fn sample(&mut self) {
        let pid = match &self.target.process {
            ProcessRef::Pid(pid) => Some(*pid),
            ProcessRef::File(path) => fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()),
        };
        let Some((pid, seconds)) = pid.and_then(|pid| Some((pid, cpu_seconds(pid)?))) else {
            return;
        };
        match self.last {
            Some((before, earlier)) if before == pid => self.usage.cpu_seconds += seconds - earlier,
            before => {
                self.usage.cpu_seconds += before.map_or(0.0, |_| seconds);
                self.usage.processes += 1;
                self.switches_at_first = if before.is_some() { 0 } else { context_switches(pid) };
            }
        }
        self.last = Some((pid, seconds));
        let rss = rss_anon_bytes(pid).unwrap_or(0);
        self.usage.rss_anon_peak_bytes = self.usage.rss_anon_peak_bytes.max(rss);
    }

    /// What was used until the last sample.
    pub fn finish(mut self) -> ProcessUsage {
        if let Some((pid, _)) = self.last {
            self.usage.context_switches = context_switches(pid).saturating_sub(self.switches_at_first);
        }
        self.usage
    }
}

/// Between two samples.
const SAMPLE_NS: i64 = 100 * MILLISECOND;

/// What a run cost: ourselves, and the processes that are watched.
#[derive(Debug)]
pub struct Meter {
    own_at_start: f64,
    watches: Vec<ProcessWatch>,
    next_ns: i64,
}

impl Meter {
    /// The run begins.
    pub fn start(processes: &[NamedProcess], now: i64) -> Self {
        let mut watches: Vec<_> = processes.iter().cloned().map(ProcessWatch::new).collect();
        watches.iter_mut().for_each(ProcessWatch::sample);
        Self { own_at_start: own_seconds(), watches, next_ns: now + SAMPLE_NS }
    }

    /// Samples where it is time to.
    pub fn tick(&mut self, now: i64) {
        if now >= self.next_ns {
            self.next_ns = now + SAMPLE_NS;
            self.watches.iter_mut().for_each(ProcessWatch::sample);
        }
    }

    /// The run ends: our own CPU seconds, and what the watched processes used.
    pub fn finish(mut self) -> (f64, Vec<ProcessUsage>) {
        self.watches.iter_mut().for_each(ProcessWatch::sample);
        (own_seconds() - self.own_at_start, self.watches.into_iter().map(ProcessWatch::finish).collect())
    }
}

/// utime + stime of `/proc/PID/stat`: fields 14 and 15, the 12th and 13th after the name in parentheses.
#[expect(clippy::cast_precision_loss, reason = "clock ticks of centuries fit an f64 exactly")]
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut times = after_name.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Voluntary and other context switches of all threads.
fn context_switches(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    let of = |text: &str| {
        let lines = text.lines().filter(|line| line.contains("ctxt_switches:"));
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>()
    };
    texts.map(|text| of(&text)).sum()
}

fn rss_anon_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_a_process_by_number_and_by_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        fs::write(&file, format!("{}\n", std::process::id())).unwrap();
        for target in [format!("me={}", std::process::id()), format!("me=@{}", file.display())] {
            let mut watch = ProcessWatch::new(target.parse().unwrap());
            watch.sample();
            let before = own_seconds();
            while own_seconds() < before + 0.05 {
                std::hint::black_box(0);
            }
            watch.sample();
            std::thread::yield_now();
            let usage = watch.finish();
            assert_eq!((usage.name.as_str(), usage.processes), ("me", 1));
            assert!(usage.cpu_seconds >= 0.03, "{usage:?}");
            assert!(usage.rss_anon_peak_bytes > 4096, "{usage:?}");
        }
    }

    #[test]
    fn a_generator_that_used_its_core_says_so() {
        let bound = |used, seconds| Cost::new((used, Vec::new()), seconds).generator_bound;
        assert!(bound(8.1, 10.0) && !bound(7.9, 10.0) && !bound(0.0, 0.0));
    }

    #[test]
    fn a_missing_process_is_reported_as_not_found() {
        let mut watch = ProcessWatch::new("gone=@/nowhere/pid".parse().unwrap());
        watch.sample();
        assert_eq!(watch.finish().processes, 0);
        assert!("x".parse::<NamedProcess>().is_err());
        assert!("x=y".parse::<NamedProcess>().is_err());
    }
}
