//! `fairlead-loadgen firehose`.

use super::bar::Bar;
use super::load::{Load, tell};
use super::traffic::Topics;
use super::{Error, Exit, parse_seconds, print_line, stop_on_signal};
use fairlead_loadgen::Qos;
use fairlead_loadgen::firehose::{Config, Firehose, FirehoseError};
use fairlead_loadgen::progress::Progress;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 takes a free one. The address is printed as the first line
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Messages in all, dealt to the topics in turn
    #[arg(long, required_unless_present = "seconds")]
    messages: Option<u64>,
    /// Send nothing new after this many seconds of flood
    #[arg(long, value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Seconds to wait for the last acknowledgements after --seconds
    #[arg(long, default_value = "10", value_parser = parse_seconds)]
    drain: Duration,
    /// Payload bytes, at least 16
    #[arg(long, default_value_t = 100)]
    size: usize,
    #[command(flatten)]
    topics: Topics,
    /// Unacknowledged messages of a session at most; a smaller Receive Maximum of the client rules
    #[arg(long, default_value_t = 20_000)]
    window: u16,
    /// QoS of the messages, unless the subscriber asks for a lower one
    #[arg(long, default_value = "1")]
    qos: Qos,
    /// Sessions that must have subscribed before the flood starts
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    #[command(flatten)]
    load: Load,
    /// Cut all connections each time that so many seconds have passed
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    storm: Option<Duration>,
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, Error> {
        self.load.check()?;
        let stop = stop_on_signal()?;
        let (result, messages) = (self.load.result.clone(), self.messages);
        let firehose = Firehose::bind(self.config())?;
        let address = firehose.local_addr().map_err(FirehoseError::System)?;
        print_line(&format!("listening on mqtt://{address}"))?;
        let progress = Arc::new(Progress::default());
        let bar = Bar::show(&progress, messages);
        let report = firehose.run(&progress, &stop)?;
        drop(bar);
        tell(result.as_deref(), &report, report.complete)
    }

    fn config(self) -> Config {
        Config {
            listen: self.listen,
            messages: self.messages,
            seconds: self.seconds,
            drain: self.drain,
            plain: self.topics.plain(self.size),
            window: self.window,
            qos: self.qos,
            storm: self.storm,
            sessions: self.sessions,
            load: self.load.load(),
        }
    }
}
