//! `fairlead-loadgen publish`.

use super::load::{Load, tell};
use super::{Error, Exit, parse_seconds, stop_on_signal};
use fairlead_loadgen::progress::Progress;
use fairlead_loadgen::publish::{BrokerUrl, Config, Traffic, run};
use fairlead_loadgen::{Qos, Version};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The broker: mqtt://[user:password@]host[:port]
    #[arg(long, default_value = "mqtt://127.0.0.1:1883")]
    url: BrokerUrl,
    /// Publish the AIS sentences recorded in these files, over and over
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "fleet", conflicts_with = "fleet")]
    nmea: Vec<PathBuf>,
    /// Publish the reports of this many synthetic vessels
    #[arg(long, value_name = "VESSELS")]
    fleet: Option<u32>,
    /// The same seed gives the same fleet
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// QoS of every message
    #[arg(long, default_value = "1")]
    qos: Qos,
    /// Protocol version: 5 or 3.1.1
    #[arg(long, default_value = "5")]
    version: Version,
    /// Connections; each topic has one of them
    #[arg(long, default_value_t = 4)]
    clients: u32,
    /// Unacknowledged messages of a client at most
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
    #[command(flatten)]
    load: Load,
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let stop = stop_on_signal()?;
        let result = self.load.result.clone();
        let report = run(self.config(), Arc::new(Progress::default()), &stop)?;
        tell(result.as_deref(), &report, report.complete)
    }

    fn config(self) -> Config {
        let traffic = match self.fleet {
            Some(vessels) => Traffic::Fleet { vessels, seed: self.seed },
            None => Traffic::Recorded(self.nmea),
        };
        Config {
            url: self.url,
            version: self.version,
            traffic,
            qos: self.qos,
            clients: self.clients,
            in_flight: self.in_flight,
            messages: self.messages,
            rate: self.load.rate,
            ahead: None,
            persistent: self.persistent || self.qos == Qos::ExactlyOnce,
            run_id: self.load.run_id,
            patience: self.patience,
            ack_log: self.load.ack_log,
        }
    }
}
