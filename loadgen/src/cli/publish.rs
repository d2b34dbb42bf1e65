//! `fairlead-loadgen publish`.

use super::bar::Bar;
use super::load::{Load, tell};
use super::payload::Payload;
use super::traffic::Traffic;
use super::{Error, Exit, parse_seconds, stop_on_signal};
use fairlead_loadgen::ais::payload::Format;
use fairlead_loadgen::progress::Progress;
use fairlead_loadgen::publish::{Config, run};
use fairlead_loadgen::{BrokerUrl, Qos, Version};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The broker: mqtt://[user:password@]host[:port]
    #[arg(long, default_value = "mqtt://127.0.0.1:1883")]
    url: BrokerUrl,
    #[command(flatten)]
    traffic: Traffic,
    /// QoS of every message
    #[arg(long, default_value = "1")]
    qos: Qos,
    /// Protocol version: 5 or 3.1.1
    #[arg(long, default_value = "5")]
    version: Version,
    /// Connections; each topic has one of them
    #[arg(long, default_value_t = 4)]
    clients: u32,
    /// Unacknowledged messages of a client at most; without --rate it sends again at half of them
    #[arg(long, default_value_t = 100)]
    in_flight: u16,
    /// Messages in all; without it until the program is stopped
    #[arg(long)]
    messages: Option<u64>,
    /// Let the broker keep the sessions while the clients are away (always so at QoS 2)
    #[arg(long)]
    persistent: bool,
    /// Seconds for which the broker may be away
    #[arg(long, default_value = "60", value_parser = parse_seconds)]
    patience: Duration,
    /// Cut all connections each time that so many seconds have passed
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    storm: Option<Duration>,
    #[command(flatten)]
    payload: Payload,
    #[command(flatten)]
    load: Load,
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, Error> {
        self.load.check()?;
        let stop = stop_on_signal()?;
        let result = self.load.result.clone();
        let progress = Arc::new(Progress::default());
        let bar = Bar::show(&progress, self.messages);
        let report = run(self.config(), progress, &stop)?;
        drop(bar);
        tell(result.as_deref(), &report, report.complete)
    }

    fn config(self) -> Config {
        Config {
            url: self.url,
            version: self.version,
            traffic: self.traffic.traffic(),
            format: self.payload.format(Format::Json),
            qos: self.qos,
            clients: self.clients,
            in_flight: self.in_flight,
            messages: self.messages,
            storm: self.storm,
            ahead: None,
            persistent: self.persistent || self.qos == Qos::ExactlyOnce,
            patience: self.patience,
            load: self.load.load(),
        }
    }
}
