//! `fairlead run`: the bridge itself.

use std::{io, process};

use clap::Args;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use super::{Configuration, Exit, print};
use crate::{
    bridge::{Bridge, Hung, Options, StartError, Summary},
    logging,
    settings::{Host, Settings},
    shard::clock,
    slice,
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
            Some(settings) => bridge(settings, Options { fail_fast: self.fail_fast }),
            None => Exit::Config,
        }
    }
}

/// What a bridge needs around it: the log, and a runtime that hears signals.
pub(super) fn prepare() -> Result<(logging::Logging, Runtime, Signals), Exit> {
    let fail = |text: String| {
        eprintln!("error: {text}");
        Exit::Config
    };
    // Before the first thread is started, so that all have it.
    let shortened = slice::shorten();
    let logging = logging::init(clock::now).map_err(|error| fail(error.to_string()))?;
    if let Err(error) = shortened {
        tracing::debug!(%error, "the kernel grants no short slices");
    }
    let signals = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        let signals = runtime.block_on(async { Signals::new() })?;
        Ok((runtime, signals))
    });
    let (runtime, signals) = signals.map_err(|error| {
        fail(format!("signals cannot be handled: {error}; raise the limit on open files (ulimit -n)"))
    })?;
    Ok((logging, runtime, signals))
}

fn bridge(settings: Settings, options: Options) -> Exit {
    let (logging, runtime, mut signals) = match prepare() {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let bridge = match Bridge::start(settings, options, logging.stats()) {
        Ok(bridge) => bridge,
        Err(error) => {
            logging.flush();
            eprintln!("error: {error}");
            return exit_of(&error);
        }
    };
    runtime.block_on(signals.next());
    tracing::info!("stopping: reading ends, what is in flight is acknowledged; a second signal ends at once");
    let stopping = std::thread::spawn(move || bridge.stop());
    std::thread::spawn(move || {
        runtime.block_on(signals.next());
        process::exit(i32::from(Exit::Interrupted.code()));
    });
    let ended = stopping.join();
    logging.flush();
    match ended {
        Ok(Ok(summary)) => {
            let (text, exit) = verdict(&summary);
            print(&text, exit)
        }
        Ok(Err(hung)) => tell_hung(hung),
        Err(_) => Exit::Lost,
    }
}

pub(super) fn tell_hung(hung: Hung) -> Exit {
    eprintln!("error: {hung}");
    Exit::Disk
}

/// The signals that end the bridge.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(super) fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Admin(crate::admin::AdminError::Taken { .. }) => Exit::Taken,
        StartError::Kafka(crate::kafka::ClientError::Unreachable { .. }) | StartError::Mqtt { .. } => Exit::Unavailable,
        StartError::Spool(fairlead_spool::OpenError::Locked(_)) => Exit::Taken,
        StartError::Spool(_) | StartError::Shard(_) | StartError::Admin(_) | StartError::Kafka(_) => Exit::Config,
    }
}

/// The ledger and what follows from it.
pub(super) fn verdict(summary: &Summary) -> (String, Exit) {
    let mut text = summary.ledger.table();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if summary.unacknowledged > 0 {
        text += &format!(
            "{} messages were not confirmed in time and are not acknowledged: the brokers send them again\n",
            summary.unacknowledged
        );
    }
    if summary.spooled > 0 {
        text += &format!("{} messages lie in the spool: the next start sends them to Kafka\n", summary.spooled);
    }
    if summary.lost > 0 {
        text += &format!("{} messages were acknowledged under ack = \"memory\" and are lost\n", summary.lost);
    }
    for imbalance in &summary.imbalance {
        text += &format!("{imbalance}\n");
    }
    let failed = summary.lost > 0 || !summary.imbalance.is_empty();
    (text, if failed { Exit::Lost } else { Exit::Success })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Layout, Ledger, Metrics};

    #[test]
    fn only_what_is_lost_or_does_not_add_up_is_a_failure() {
        let metrics = Metrics::new(Layout { shards: 1, routes: Vec::new(), sessions: Vec::new() });
        let good =
            Summary { ledger: Ledger::of(&metrics), unacknowledged: 5, spooled: 7, lost: 0, imbalance: Vec::new() };
        let (text, exit) = verdict(&good);
        assert_eq!(exit, Exit::Success, "what is not acknowledged comes again");
        assert!(text.contains("5 messages were not confirmed"), "{text}");
        assert!(text.contains("7 messages lie in the spool"), "{text}");
        let (text, exit) = verdict(&Summary { lost: 2, ..good.clone() });
        assert_eq!(exit, Exit::Lost);
        assert!(text.contains("2 messages were acknowledged"), "{text}");
        let (text, exit) = verdict(&Summary { imbalance: vec!["one is missing".to_owned()], ..good });
        assert_eq!(exit, Exit::Lost);
        assert!(text.ends_with("\none is missing\n"), "{text}");
    }
}
