//! What the configuration needs to know about the machine and the process.

use std::{env, ffi::OsString, io, path::PathBuf, thread};

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
    /// The folder for `state = "auto"`.
    pub state: PathBuf,
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
        let state = state(env::var_os("XDG_STATE_HOME"), env::var_os("HOME"));
        Ok(Host { name, cores, parallelism, state })
    }

    /// The cores for `cpus = "auto"`.
    pub(super) fn auto(&self) -> Vec<usize> {
        self.cores.iter().copied().take(self.parallelism).collect()
    }
}

/// Where programs of this user keep what outlives them (XDG Base Directory Specification), or where a service does.
fn state(state_home: Option<OsString>, home: Option<OsString>) -> PathBuf {
    // The specification has relative paths ignored.
    let absolute = |variable: Option<OsString>| variable.map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(state_home).or_else(|| absolute(home).map(|home| home.join(".local/state")));
    base.unwrap_or_else(|| PathBuf::from("/var/lib")).join("fairlead")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_kept_where_the_user_keeps_it_or_the_service() {
        let of = |state_home: Option<&str>, home: Option<&str>| state(state_home.map(Into::into), home.map(Into::into));
        assert_eq!(of(Some("/xdg"), Some("/home/me")), PathBuf::from("/xdg/fairlead"));
        assert_eq!(of(None, Some("/home/me")), PathBuf::from("/home/me/.local/state/fairlead"));
        assert_eq!(of(Some("relative"), Some("/home/me")), PathBuf::from("/home/me/.local/state/fairlead"));
        assert_eq!(of(Some(""), None), PathBuf::from("/var/lib/fairlead"));
        assert_eq!(of(None, Some("")), PathBuf::from("/var/lib/fairlead"));
    }
}
