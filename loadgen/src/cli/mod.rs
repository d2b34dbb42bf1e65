//! The command line: flags in, tables, JSON and exit codes out.

mod firehose;

use clap::{Parser, Subcommand};
use fairlead_loadgen::firehose::FirehoseError;
use fairlead_loadgen::output::OutputError;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const EXIT_CODES: &str = "\
Exit codes:
   0  all well
   1  could not run: broker, Kafka, a file or the disk (the message says which)
   2  wrong use of the command line
   3  incomplete: stopped before everything was acknowledged";

#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_CODES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play the MQTT broker and flood its subscribers, so that a bridge and not a broker is measured
    #[command(after_help = EXIT_CODES)]
    Firehose(firehose::Args),
}

/// How a command ended, beside errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Ok = 0,
    CannotRun = 1,
    Incomplete = 3,
}

/// Why a command could not run.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Firehose(#[from] FirehoseError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
    #[error("cannot write to the standard output: {0}")]
    Stdout(io::Error),
}

pub(crate) fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Firehose(args) => args.run(),
    };
    let exit = outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        Exit::CannotRun
    });
    ExitCode::from(exit as u8)
}

/// Set by SIGTERM and SIGINT; a second signal ends the process at once.
fn stop_on_signal() -> Result<Arc<AtomicBool>, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(Error::Signals)?;
    }
    Ok(stop)
}

/// Prints a line for machines and people who read the standard output.
fn print_line(line: &str) -> Result<(), Error> {
    use io::Write;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(Error::Stdout)
}
