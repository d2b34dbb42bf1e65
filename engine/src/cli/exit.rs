//! Exit codes.

use std::process::ExitCode;

/// How the process ends. The numbers from 64 on are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Success = 0,
    /// A message was lost, or the ledger does not balance. Of `spool verify`: a torn tail and nothing worse.
    Lost = 1,
    /// The command line cannot be understood; clap ends with this too. Of `spool verify`: corruption.
    Usage = 2,
    /// The demo could not tell, because an embedded broker discarded messages. Of `spool`: a file cannot be read.
    Inconclusive = 3,
    /// With `--fail-fast`, `check --connect` or a replay: a broker or Kafka cannot be reached, or refuses.
    Unavailable = 69,
    /// The disk below the spool did not answer, and the bridge ended without it.
    Disk = 74,
    /// Another process has what is needed, such as the admin port.
    Taken = 75,
    /// The configuration or the host does not allow to start, or the spool is of a later version.
    Config = 78,
    /// A second signal ended it at once.
    Interrupted = 130,
}

impl Exit {
    /// Every code, in order.
    pub const ALL: [Exit; 9] = [
        Exit::Success,
        Exit::Lost,
        Exit::Usage,
        Exit::Inconclusive,
        Exit::Unavailable,
        Exit::Disk,
        Exit::Taken,
        Exit::Config,
        Exit::Interrupted,
    ];

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means.
    fn meaning(self) -> &'static str {
        match self {
            Exit::Success => "all is well",
            Exit::Lost => {
                "a message was lost, or the ledger does not balance; spool verify: a torn tail, nothing worse"
            }
            Exit::Usage => "the command line cannot be understood; spool verify: corruption",
            Exit::Inconclusive => {
                "demo: no verdict, an embedded broker discarded messages; spool: a file cannot be read"
            }
            Exit::Unavailable => {
                "--fail-fast, check --connect, a replay: a broker or Kafka cannot be reached, or refuses"
            }
            Exit::Disk => "the disk below the spool did not answer, and the bridge ended without it",
            Exit::Taken => "another process has what is needed (the port of [admin], the folder of [spool])",
            Exit::Config => "the configuration, the host (cores, open files) or the spool's version does not allow it",
            Exit::Interrupted => "a second signal ended it at once",
        }
    }

    /// The table for `--help`.
    pub(super) fn table() -> String {
        let lines: Vec<String> =
            Exit::ALL.iter().map(|exit| format!("  {:>3}  {}", exit.code(), exit.meaning())).collect();
        format!("Exit codes:\n{}", lines.join("\n"))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_table_once() {
        let table = Exit::table();
        for exit in Exit::ALL {
            let lines = table.lines().filter(|line| line.trim_start().starts_with(&format!("{}  ", exit.code())));
            assert_eq!(lines.count(), 1, "{exit:?}");
        }
    }
}
