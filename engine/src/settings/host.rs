//! What the configuration needs to know about the machine and the process.

use std::{io, thread};

use rustix::{system::uname, thread::sched_getaffinity};

/// The machine and what of it this process may use.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name of the machine, for `{host}` in client ids.
    pub name: String,
    /// Numbers of the cores that the affinity allows, rising; at least one.
    pub cores: Vec<usize>,
    /// How many cores the affinity and the quota of the control group come to; at least 1.
    pub parallelism: usize,
}

impl Host {
    /// Asks the system.
    ///
    /// # Errors
    /// Where the system does not tell the affinity.
    pub fn detect() -> io::Result<Host> {
        let affinity = sched_getaffinity(None)?;
        let cores = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| affinity.is_set(core)).collect();
        let name = uname().nodename().to_string_lossy().into_owned();
        // It counts what the affinity allows and the quota of the control group (v1 and v2), rounded down.
        let parallelism = thread::available_parallelism()?.get();
        Ok(Host { name, cores, parallelism })
    }

    /// The cores for `cpus = "auto"`.
    pub(super) fn auto(&self) -> Vec<usize> {
        self.cores.iter().copied().take(self.parallelism).collect()
    }
}
