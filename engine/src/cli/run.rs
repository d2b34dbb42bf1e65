//! `fairlead run`: the bridge itself.

use clap::Args;

use super::{Configuration, Exit};
use crate::{
    bridge::{self, Options},
    settings::Host,
};

#[derive(Args, Debug)]
pub(super) struct Run {
    #[command(flatten)]
    configuration: Configuration,
    /// End at once where a broker or Kafka cannot be reached, instead of waiting for it.
    #[arg(long)]
    fail_fast: bool,
}

impl Run {
    pub(super) fn run(self, host: &Host) -> Exit {
        let loaded = self.configuration.load(host);
        for note in &loaded.notes {
            eprintln!("note: {note}");
        }
        for problem in &loaded.problems {
            eprintln!("error: {problem}");
        }
        match loaded.settings {
            Some(settings) => bridge::run(settings, Options { fail_fast: self.fail_fast }),
            None => Exit::Config,
        }
    }
}
