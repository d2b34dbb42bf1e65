//! `fairlead-loadgen publish`.

use super::{Error, Exit, parse_rate, parse_seconds, print_line, stop_on_signal, summary};
use fairlead_loadgen::output::write_json;
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
    /// Messages a second in all, open loop: latency counts from the intended send time; or `max`
    #[arg(long, default_value = "max", value_parser = parse_rate)]
    rate: super::Rate,
    /// Let the broker keep the sessions while the clients are away (always so at QoS 2)
    #[arg(long)]
    persistent: bool,
    /// Seconds for which the broker may be away
    #[arg(long, default_value = "60", value_parser = parse_seconds)]
    patience: Duration,
    /// Run id in the stamps
    #[arg(long, default_value_t = 1)]
    run_id: u32,
    /// Write the result as JSON, with what `verify --expect` needs
    #[arg(long, value_name = "FILE")]
    result: Option<PathBuf>,
    /// Keep the log of acknowledgements here, rewritten every second
    #[arg(long, value_name = "FILE")]
    ack_log: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let stop = stop_on_signal()?;
        let result = self.result.clone();
        let report = run(self.config(), Arc::new(Progress::default()), &stop)?;
        if let Some(path) = result {
            write_json(&path, &report)?;
        }
        print_line(&summary(&report))?;
        Ok(if report.complete { Exit::Ok } else { Exit::Incomplete })
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
            rate: self.rate,
            ahead: None,
            persistent: self.persistent || self.qos == Qos::ExactlyOnce,
            run_id: self.run_id,
            patience: self.patience,
            ack_log: self.ack_log,
        }
    }
}
