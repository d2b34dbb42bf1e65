//! A running bridge: in its own process group, its id in a file for the generator's samples.

use crate::wait::Stop;
use anyhow::{Context, Result, bail};
use fairlead_tests::Process;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest end in good order; then SIGKILL.
const STOP: Duration = Duration::from_secs(60);

/// Lines of its output that an error shows.
const TAIL: usize = 15;

/// A bridge that can be killed and started again.
#[derive(Debug)]
pub(crate) struct Bridge {
    command: Vec<String>,
    log: PathBuf,
    id_file: PathBuf,
    process: Option<Process>,
}

impl Bridge {
    /// Starts it; its output and its id go to files in `folder`.
    pub(crate) fn start(command: Vec<String>, folder: &Path) -> Result<Self> {
        let (log, id_file) = (folder.join("bridge.log"), folder.join("bridge.pid"));
        let mut bridge = Self { command, log, id_file, process: None };
        // What earlier runs of this bridge said is no part of this one's errors.
        let _ = fs::remove_file(&bridge.log);
        bridge.restart()?;
        Ok(bridge)
    }

    pub(crate) fn restart(&mut self) -> Result<()> {
        let [program, arguments @ ..] = &self.command[..] else { bail!("an empty command") };
        let mut command = Process::command(program);
        command.args(arguments);
        let process = Process::spawn("bridge", command, &self.log);
        let written = fs::write(&self.id_file, process.id().to_string());
        written.with_context(|| format!("cannot write {}", self.id_file.display()))?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL to all of it.
    pub(crate) fn kill(&mut self) {
        // Dropping a process kills its group.
        self.process = None;
    }

    /// CPU time so far; none once it has ended.
    pub(crate) fn cpu(&mut self) -> Option<Duration> {
        let process = self.process.as_mut()?;
        if process.ended().is_some() { None } else { Some(process.cpu()) }
    }

    /// The process group.
    pub(crate) fn group(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::id)
    }

    /// Fails with the end of its output where it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match process.ended() {
            None => Ok(()),
            Some(status) => bail!("the bridge has ended ({status}):\n{}", tail(&process.log())),
        }
    }

    /// Whether it has ended by itself, as it should; an error where it has failed.
    pub(crate) fn is_over(&mut self) -> Result<bool> {
        match self.process.as_mut().and_then(Process::ended) {
            Some(status) if status.success() => Ok(true),
            _ => self.check().map(|()| false),
        }
    }

    /// Ends it in good order, and hard where it does not end.
    pub(crate) fn stop(mut self, stop: &Stop) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let group = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        // All of the group: the program may be a wrapper that keeps the signal to itself.
        let is_sent = group.is_some_and(|group| kill_process_group(group, Signal::TERM).is_ok());
        if is_sent && stop.wait_for(STOP, "the bridge ends", || Ok(process.ended())).is_err() {
            eprintln!("warning: the bridge did not end within {} s of SIGTERM", STOP.as_secs());
        }
        Ok(())
    }
}

/// The last lines.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
