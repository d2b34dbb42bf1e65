//! The load generator as the program that users run: its command lines, and what its result files say.

use crate::bridge::tail;
use crate::scenario::Case;
use crate::wait::Stop;
use anyhow::{Result, bail};
use fairlead_tests::Process;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

/// Longest start, and longest warm-up.
pub(crate) const PROMPT: Duration = Duration::from_secs(120);

/// Exit code: not all was acknowledged, or too little is known to say whether all arrived.
const INCOMPLETE: i32 = 3;

/// The last exit code of `verify` that is a finding.
const LAST_FINDING: i32 = 10;

/// The flags of a case, with the number of messages and the rate that were asked for in place of its own.
pub(crate) fn flags(case: &Case, messages: Option<u64>, rate: Option<f64>) -> Vec<String> {
    let mut flags = case.generator.clone();
    let mut set = |name: &str, value: String| {
        if let Some(place) = flags.iter().position(|flag| flag == name) {
            flags.drain(place..(place + 2).min(flags.len()));
        }
        flags.extend([name.to_owned(), value]);
    };
    if let Some(messages) = messages {
        set("--messages", messages.to_string());
    }
    if let Some(rate) = rate {
        set("--rate", format!("{rate:.0}"));
    }
    flags
}

/// A run of the program.
#[derive(Debug)]
pub(crate) struct Generator(Process);

impl Generator {
    pub(crate) fn start<S: AsRef<OsStr>>(program: &Path, flags: &[S], log: &Path) -> Self {
        let mut command = Process::command(program);
        command.args(flags);
        Self(Process::spawn("fairlead-loadgen", command, log))
    }

    pub(crate) fn log(&self) -> String {
        self.0.log()
    }

    /// Whether it has ended with a result; an error where it could not work.
    pub(crate) fn is_over(&mut self) -> Result<bool> {
        let Some(status) = self.0.ended() else { return Ok(false) };
        match status.code() {
            Some(0 | INCOMPLETE..=LAST_FINDING) => Ok(true),
            _ => bail!("the load generator has failed:\n{}", tail(&self.0.log())),
        }
    }

    /// Waits until it has ended with a result.
    pub(crate) fn finish(mut self, stop: &Stop, limit: Duration, what: &str) -> Result<()> {
        stop.wait_for(limit, what, || Ok(self.is_over()?.then_some(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_takes_the_place_of_the_cases_own() {
        let text = "name = \"a\"\ngenerator = [\"firehose\", \"--messages\", \"5\", \"--size\", \"100\"]";
        let case: Case = toml::from_str(text).unwrap();
        assert_eq!(flags(&case, None, None), case.generator);
        let changed = flags(&case, Some(7), Some(1234.5));
        assert_eq!(changed, ["firehose", "--size", "100", "--messages", "7", "--rate", "1234"]);
    }
}
