//! `fairlead-loadgen subscribe`.

use super::bar::Bar;
use super::load::tell;
use super::{Error, Exit, parse_seconds, stop_on_signal};
use fairlead_loadgen::cpu::NamedProcess;
use fairlead_loadgen::output::check;
use fairlead_loadgen::progress::Progress;
use fairlead_loadgen::subscribe::{Config, run};
use fairlead_loadgen::{BrokerUrl, Qos, Version};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The broker: mqtt://[user:password@]host[:port]
    #[arg(long, default_value = "mqtt://127.0.0.1:1883")]
    url: BrokerUrl,
    /// What to subscribe to; $share/GROUP/FILTER shares it among several
    #[arg(long, default_value = "#")]
    filter: String,
    /// QoS to ask for; a broker that grants less is an error
    #[arg(long, default_value = "1")]
    qos: Qos,
    /// Protocol version: 5 or 3.1.1
    #[arg(long, default_value = "5")]
    version: Version,
    /// Unacknowledged messages at most (Receive Maximum, version 5)
    #[arg(long, default_value_t = 1_000)]
    in_flight: u16,
    /// End once so many messages have come
    #[arg(long)]
    messages: Option<u64>,
    /// End when nothing has come for so many seconds after the first message
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    idle: Option<Duration>,
    /// Let the broker keep the session while the connection is down (version 5)
    #[arg(long)]
    persistent: bool,
    /// Seconds for which the broker may be away; ten at most before the first subscription
    #[arg(long, default_value = "60", value_parser = parse_seconds)]
    patience: Duration,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    result: Option<PathBuf>,
    /// Processes whose CPU and memory are sampled from the first message on; @FILE holds the id and is read at each sample
    #[arg(long, value_name = "NAME=PID|@FILE", value_delimiter = ',')]
    sample_pids: Vec<NamedProcess>,
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, Error> {
        self.result.as_deref().map_or(Ok(()), check)?;
        let stop = stop_on_signal()?;
        let result = self.result.clone();
        let progress = Arc::new(Progress::default());
        let bar = Bar::show(&progress, self.messages);
        let report = run(&self.config(), &progress, &stop)?;
        drop(bar);
        tell(result.as_deref(), &report, report.complete)
    }

    fn config(self) -> Config {
        Config {
            url: self.url,
            version: self.version,
            filter: self.filter,
            qos: self.qos,
            in_flight: self.in_flight,
            persistent: self.persistent,
            messages: self.messages,
            idle: self.idle,
            patience: self.patience,
            processes: self.sample_pids,
        }
    }
}
