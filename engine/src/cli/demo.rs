//! `fairlead demo`: everything in one process, with a verdict.

use std::{
    io::{self, IsTerminal as _},
    process, thread,
    time::Duration,
};

use clap::Args;
use crossbeam::channel::{Receiver, bounded};

use super::{
    Exit, print,
    run::{Signals, exit_of},
};
use crate::{
    demo::{DemoError, Discards, LOG_FILTER, Plan, Scene, Second, Verdict},
    logging,
    settings::Host,
    shard::clock,
};

/// Seconds where neither seconds nor messages are asked for.
const DEFAULT_SECONDS: u64 = 10;

#[derive(Args, Debug)]
pub(super) struct Demo {
    /// How long the fleet sails; 10 where nothing else is asked for.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Ends after so many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "seconds")]
    messages: Option<u64>,
    /// Goes on until Ctrl-C or SIGTERM.
    #[arg(long, conflicts_with_all = ["seconds", "messages"])]
    forever: bool,
    /// The same seed gives the same fleet.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Vessels of the fleet.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    fleet: u32,
}

impl Demo {
    pub(super) fn run(self, host: &Host) -> Exit {
        let discards = Discards::default();
        let logging = match logging::init_with(clock::now, LOG_FILTER, discards.clone()) {
            Ok(logging) => logging,
            Err(error) => return fail(&error, Exit::Config),
        };
        let stop = match stop_on_signal() {
            Ok(stop) => stop,
            Err(error) => return fail(&error, Exit::Config),
        };
        let played = Scene::start(host, logging.stats(), discards, &stop).and_then(|scene| {
            let Some(scene) = scene else { return Ok(None) };
            print(&scene.introduction(), Exit::Success);
            scene.play(&self.plan(), &stop, show).map(Some)
        });
        logging.flush();
        match played {
            Ok(Some(outcome)) => {
                let exit = match outcome.verdict() {
                    Verdict::Clean => Exit::Success,
                    Verdict::Inconclusive(_) => Exit::Inconclusive,
                    Verdict::Failed(_) => Exit::Lost,
                };
                print(&(end_of_progress().to_owned() + &outcome.table()), exit)
            }
            Ok(None) => print("stopped before anything was sent\n", Exit::Inconclusive),
            Err(DemoError::Bridge(error)) => fail(&error, exit_of(&error)),
            Err(error) => fail(&error, Exit::Config),
        }
    }

    fn plan(&self) -> Plan {
        let seconds = self.seconds.or((self.messages.is_none() && !self.forever).then_some(DEFAULT_SECONDS));
        Plan { messages: self.messages, time: seconds.map(Duration::from_secs), seed: self.seed, vessels: self.fleet }
    }
}

fn fail(error: &dyn std::error::Error, exit: Exit) -> Exit {
    eprintln!("error: {error}");
    exit
}

/// The first signal is handed over; the second ends the process at once.
fn stop_on_signal() -> io::Result<Receiver<()>> {
    let (sender, stop) = bounded(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = runtime.block_on(async { Signals::new() })?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(signals.next());
        // The receiver is there as long as there is something to stop.
        let _ = sender.send(());
        runtime.block_on(signals.next());
        process::exit(i32::from(Exit::Interrupted.code()));
    })?;
    Ok(stop)
}

/// One line that changes on a terminal, one line a second elsewhere.
fn show(second: &Second) {
    let text = if io::stdout().is_terminal() { format!("\r{second}\x1b[K") } else { format!("{second}\n") };
    print(&text, Exit::Success);
    // A terminal takes what is written when the line ends.
    let _ = io::Write::flush(&mut io::stdout());
}

/// Ends the line that changes.
fn end_of_progress() -> &'static str {
    if io::stdout().is_terminal() { "\n" } else { "" }
}
