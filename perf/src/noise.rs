//! How much of the machine others used during a run: CPU time from `/proc`, no clock.

use anyhow::{Context, Result};
use std::fs;

/// CPU time so far, in the kernel's ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    /// All cores, idle or not.
    total: u64,
    /// User, system and stolen time of all cores.
    busy: u64,
    /// What the processes of the run have used.
    run: u64,
}

impl Ticks {
    /// Reads `/proc`. The run is this process with what it has waited for, and the process groups `groups`.
    pub(crate) fn read(groups: &[u32]) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let (total, busy) = machine(&stat).context("/proc/stat is not as expected")?;
        let own = std::process::id();
        let mut run = 0;
        for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
            // A process may end at any time.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some(process) = Process::parse(&stat) else { continue };
            if process.id == own || groups.contains(&process.group) {
                run += process.ticks;
            }
        }
        Ok(Self { total, busy, run })
    }

    /// The share of the machine (all cores) that others used from `self` to `end`.
    #[expect(clippy::cast_precision_loss, reason = "ticks of centuries fit an f64 exactly")]
    pub(crate) fn foreign_until(self, end: Self) -> f64 {
        let total = end.total.saturating_sub(self.total);
        let others = end.busy.saturating_sub(self.busy).saturating_sub(end.run.saturating_sub(self.run));
        if total == 0 { 0.0 } else { others as f64 / total as f64 }
    }
}

/// All ticks and the busy ones. Time in interrupts is not counted as busy: the kernel gives it to whom it interrupts,
/// and the loopback traffic of the run causes most of it.
fn machine(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|ticks| ticks.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what follows is part of user and nice (proc_stat(5)).
    let [user, nice, system, _, _, _, _, steal] = *ticks.first_chunk::<8>()?;
    Some((ticks[..8].iter().sum(), user + nice + system + steal))
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    id: u32,
    group: u32,
    /// User and system time, with that of the children it has waited for.
    ticks: u64,
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        let id = stat.split(' ').next()?.parse().ok()?;
        // The name may hold anything; from the last bracket on: state, parent, group (proc_pid_stat(5)).
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let group = fields.get(2)?.parse().ok()?;
        let ticks = fields.get(11..15)?.iter().map_while(|ticks| ticks.parse::<u64>().ok()).sum();
        Some(Self { id, group, ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_machine() {
        let stat = "cpu  100 20 30 1000 5 6 7 8 50 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(machine(stat), Some((1176, 158)));
        assert_eq!(machine("cpu  1 2\n"), None);
    }

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "42 (a) (b c) S 1 40 40 0 -1 4194560 1 2 3 4 500 60 7 8 20 0 3 0 99";
        assert_eq!(Process::parse(stat), Some(Process { id: 42, group: 40, ticks: 575 }));
    }

    #[test]
    fn what_the_run_did_not_use_is_foreign() {
        let start = Ticks { total: 1000, busy: 100, run: 50 };
        let end = Ticks { total: 2000, busy: 700, run: 600 };
        assert!((start.foreign_until(end) - 0.05).abs() < 1e-9);
        // Ticks are sampled, so that the run may seem to have used more than the machine.
        assert!(start.foreign_until(Ticks { total: 2000, busy: 200, run: 900 }).abs() < 1e-9);
        assert!(start.foreign_until(start).abs() < 1e-9);
    }

    #[test]
    fn this_machine_can_be_read() {
        let ticks = Ticks::read(&[]).unwrap();
        assert!(ticks.total > ticks.busy && ticks.busy > 0, "{ticks:?}");
    }
}
