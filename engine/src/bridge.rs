//! The composition root: settings in, a running bridge out.

use crate::{
    cli::{Exit, Found},
    settings::Settings,
};

/// How the bridge is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// End at once when a broker or Kafka cannot be reached, instead of waiting for it.
    pub fail_fast: bool,
}

/// Runs the bridge until a signal ends it.
pub fn run(settings: Settings, options: Options) -> Exit {
    let _ = (settings, options);
    Exit::Unavailable
}

/// Connects to both sides once, and says what it found.
pub fn probe(settings: &Settings) -> Found {
    let _ = settings;
    let missing = || Err("not connected".to_owned());
    Found { brokers: settings.sources.iter().map(|_| missing()).collect(), kafka: Err("not connected".to_owned()) }
}
