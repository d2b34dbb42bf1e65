//! The command line. Only here is anything printed to standard output.

mod check;
mod connect;
mod dead_letter;
#[cfg(feature = "demo")]
mod demo;
mod disk;
mod exit;
mod plan;
mod retire;
mod run;
mod sample;
mod spool;

use std::{
    io::{self, Write},
    panic,
    path::PathBuf,
    process::{self, ExitCode},
};

use clap::{Args, Parser, Subcommand};

pub use connect::{Broker, Cluster, Found};
pub use exit::Exit;

use crate::settings::{self, Host, Layers, Loaded};

/// Moves MQTT messages into Apache Kafka; nothing acknowledged is lost.
#[derive(Debug, Parser)]
#[command(name = "fairlead", version, after_help = Exit::table())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge until SIGTERM or SIGINT.
    Run(run::Run),
    /// Print the plan, where each value comes from, and everything that is wrong.
    Check(check::Check),
    /// Look at the spool, also while the bridge runs; send its records again; repair it.
    #[command(after_help = Exit::table())]
    Spool(spool::Spool),
    /// Drain and end a session that the configuration no longer uses.
    ///
    /// It connects with the client id, unsubscribes all that is known of it, moves what the broker still holds for it to
    /// Kafka, and then lets the broker forget it. A bridge may run beside it. No spool is used: a message is acknowledged
    /// when Kafka has confirmed it.
    #[command(after_help = Exit::table())]
    Retire(retire::Retire),
    /// Look at records that Kafka refused, also while the bridge runs; send them again; remove them.
    #[command(after_help = Exit::table())]
    DeadLetter(dead_letter::DeadLetter),
    /// Print a commented configuration with every key and default.
    Sample,
    /// Play everything in one process: MQTT broker, Kafka, a fleet, the bridge and a consumer that checks.
    #[cfg(feature = "demo")]
    #[command(after_help = Exit::table())]
    Demo(demo::Demo),
}

/// Where the configuration comes from.
#[derive(Args, Debug)]
struct Configuration {
    /// A configuration file; of several a later one wins. The environment (FAIRLEAD__KAFKA__BROKERS,
    /// FAIRLEAD__SOURCE__0__QOS) goes over the files.
    #[arg(short, long = "config", value_name = "FILE")]
    config: Vec<PathBuf>,
    /// A single value over files and environment, such as kafka.brokers=10.0.0.1:9092 or source.0.qos=2.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

impl Configuration {
    /// Reads the configuration.
    fn load(self, host: &Host) -> Loaded {
        let environment = std::env::vars_os().collect();
        settings::load(&Layers { files: self.config, environment, flags: self.set, ..Layers::default() }, host)
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as kafka.brokers=127.0.0.1:9092".to_owned()),
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    end_with_panics();
    let exit = match Cli::parse().command {
        Command::Run(run) => with_host(|host| run.run(host)),
        Command::Check(check) => with_host(|host| check.run(host)),
        Command::Spool(spool) => with_host(|host| spool.run(host)),
        Command::Retire(retire) => with_host(|host| retire.run(host)),
        Command::DeadLetter(dead_letter) => with_host(|host| dead_letter.run(host)),
        Command::Sample => sample::run(),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => with_host(|host| demo.run(host)),
    };
    exit.into()
}

/// A bridge that goes on without one of its threads would acknowledge what nobody delivers: a panic in any of them ends the
/// process, whatever it was built with.
fn end_with_panics() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        tell(info);
        process::abort();
    }));
}

fn with_host(command: impl FnOnce(&Host) -> Exit) -> Exit {
    match Host::detect() {
        Ok(host) => command(&host),
        Err(error) => {
            eprintln!("fairlead: the system does not say which cores may be used: {error}");
            Exit::Config
        }
    }
}

/// A report as indented JSON.
fn json(report: &impl serde::Serialize) -> String {
    match serde_json::to_string_pretty(report) {
        Ok(json) => json + "\n",
        Err(error) => format!("{{\"ok\": false, \"error\": \"{error}\"}}\n"),
    }
}

/// Writes to standard output. A reader that has seen enough and is gone is no failure.
fn print(text: &str, exit: Exit) -> Exit {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("fairlead: standard output cannot be written: {error}");
            Exit::Unavailable
        }
        _ => exit,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_shows_every_exit_code() {
        let help = Cli::command().render_help().to_string();
        assert!(help.contains(&Exit::table()), "{help}");
    }

    #[test]
    fn a_pair_needs_a_key_and_an_equals_sign() {
        assert_eq!(key_and_value("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert_eq!(key_and_value("a="), Ok(("a".to_owned(), String::new())));
        assert!(key_and_value("a").is_err());
        assert!(key_and_value("=a").is_err());
    }
}
