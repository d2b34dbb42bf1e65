//! The command line: flags in, tables, JSON and exit codes out.

mod ais;
mod bar;
mod firehose;
mod kafka;
mod load;
mod nmea;
mod payload;
mod publish;
mod report;
mod subscribe;
mod traffic;
mod verify;

use clap::{Parser, Subcommand};
use fairlead_loadgen::ais::nmea::NmeaError;
use fairlead_loadgen::firehose::FirehoseError;
use fairlead_loadgen::output::OutputError;
use fairlead_loadgen::produce::ProduceError;
use fairlead_loadgen::publish::PublishError;
use fairlead_loadgen::report::ReportError;
use fairlead_loadgen::subscribe::SubscribeError;
use fairlead_loadgen::verify::KafkaError;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
   0  all well
   1  could not run: broker, Kafka, a file or the disk (the message says which)
   2  wrong use of the command line
   3  incomplete (ais, publish, firehose, kafka): stopped before everything was acknowledged
      incomplete (subscribe): --messages have not come
      inconclusive (verify): messages are missing, but Kafka has trimmed records that may have held them
   4  verify: sent messages are missing
   5  verify: acknowledged messages are missing
   6  verify: payloads were changed
   7  verify: messages of a topic are out of order
   8  verify: more duplicates than allowed
   9  verify: messages that were never sent
  10  verify: wrong keys, or keys that changed their partition
The worst finding decides: 6, 9, 3, 5, 4, 7, 10, 8.";

#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_CODES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The published AIS benchmark: position reports as Avro through a broker, one in flight for each of 64 workers
    #[command(after_help = EXIT_CODES)]
    Ais(ais::Args),
    /// Play the MQTT broker and flood its subscribers, so that a bridge and not a broker is measured
    #[command(after_help = EXIT_CODES)]
    Firehose(firehose::Args),
    /// Produce straight into Kafka, without MQTT and bridge: the ceiling
    #[command(after_help = EXIT_CODES)]
    Kafka(kafka::Args),
    /// Publish recorded or synthetic AIS, or payloads of one size, through a broker
    #[command(after_help = EXIT_CODES)]
    Publish(publish::Args),
    /// Acknowledge what a broker delivers and throw it away: the ceiling of the broker
    #[command(after_help = EXIT_CODES)]
    Subscribe(subscribe::Args),
    /// Read Kafka topics to their end and account for every message
    #[command(after_help = EXIT_CODES)]
    Verify(verify::Args),
    /// Make one page of HTML from result files: a table to compare them, and plots
    Report(report::Args),
    /// Count what is in files of recorded AIS sentences
    #[command(after_help = EXIT_CODES)]
    Nmea(nmea::Args),
}

/// How a command ended, beside errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Ok = 0,
    CannotRun = 1,
    Incomplete = 3,
    Lost = 4,
    AcknowledgedLost = 5,
    Corrupt = 6,
    OutOfOrder = 7,
    Duplicates = 8,
    Phantom = 9,
    Key = 10,
}

/// Why a command could not run.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Firehose(#[from] FirehoseError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    #[error(transparent)]
    Nmea(#[from] NmeaError),
    #[error(transparent)]
    Produce(#[from] ProduceError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
    #[error("cannot write to the standard output: {0}")]
    Stdout(io::Error),
}

pub(crate) fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Ais(args) => args.run(),
        Command::Firehose(args) => args.run(),
        Command::Kafka(args) => args.run(),
        Command::Publish(args) => args.run(),
        Command::Subscribe(args) => args.run(),
        Command::Report(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Nmea(args) => args.run(),
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
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(Error::Stdout)
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "a number of seconds".to_owned())
}

/// A report as one line of JSON without its long lists, and with the number of topics in place of theirs.
fn summary(report: &impl Serialize) -> String {
    let mut value = serde_json::to_value(report).expect("a report is plain data");
    if let Some(fields) = value.as_object_mut() {
        for list in ["sent_by_topic", "latency_curve", "acknowledged_each_second"] {
            fields.remove(list);
        }
        if let Some(topics) = fields.get_mut("topics") {
            *topics = topics.as_array().map_or(0, Vec::len).into();
        }
    }
    value.to_string()
}
