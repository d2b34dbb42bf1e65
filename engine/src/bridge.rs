//! The composition root: settings in, a running bridge out.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    admin::{self, AdminError},
    control,
    kafka::{ClientError, Resolver, Topics},
    logging::LogStats,
    metrics::{Imbalance, Layout, Ledger, Metrics, SessionLabel},
    settings::{Ack, Owner, Planned, Settings},
    shard::{Remains, ShardError, Shards, clock, dial},
    spool::{self, Contents},
    subscriptions::{Store, Subscriptions},
};

/// How the bridge is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// End at once when a broker or Kafka cannot be reached, instead of waiting for it.
    pub fail_fast: bool,
}

/// Why the bridge did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin endpoint's address cannot be had.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] fairlead_spool::OpenError),
    /// A shard did not start.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The Kafka client did not start, or with `fail_fast` no broker answers.
    #[error(transparent)]
    Kafka(#[from] ClientError),
    /// With `fail_fast`: no MQTT broker of a source answers.
    #[error("source `{source_name}`: no MQTT broker answers: {why}")]
    Mqtt {
        /// The source.
        source_name: String,
        /// Each address and what happened there.
        why: String,
    },
}

/// Longest wait for the shards after the end of the drain: all they may still do is a last write.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// Longest wait for the control thread, whose own last write has a limit. The end of librdkafka's client waits by the wall
/// clock, and for an hour more where that was set back by one.
const CONTROL_END: Duration = Duration::from_secs(10);

/// A disk that does not answer keeps the shards from ending.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the disk below [spool] dir does not answer: ending without it. Nothing that was acknowledged is lost; what lies in the \
     spool is sent by the next start, when the disk is back"
)]
pub struct Hung;

/// How the bridge ended.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The final ledger.
    pub ledger: Ledger,
    /// Records that Fairlead had not acknowledged: the broker sends them again.
    pub unacknowledged: u64,
    /// Records that lie in the spool: the next process sends them.
    pub spooled: u64,
    /// Records acknowledged under `ack = "memory"` and lost at this exit.
    pub lost: u64,
    /// What does not add up, at the end or at any time during the run; empty is good.
    pub imbalance: Vec<String>,
}

/// A running bridge.
pub struct Bridge {
    shards: Shards,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    state: Arc<admin::State>,
    /// Disconnected when the control thread has ended.
    control: mpsc::Receiver<()>,
    stop: watch::Sender<bool>,
}

impl Bridge {
    /// Starts everything: the admin endpoint, the control thread, the shards. `logs` is what the log tells of itself.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running but what ends with the process.
    pub fn start(settings: Settings, options: Options, logs: Arc<LogStats>) -> Result<Bridge, StartError> {
        let settings = Arc::new(settings);
        let resolver = Arc::new(Resolver::new(&settings)?);
        if options.fail_fast {
            reach(&settings, &resolver)?;
        }
        let listener = settings.admin.map(admin::bind).transpose()?;
        let metrics = Metrics::new(layout(&settings));
        let topics = Arc::new(Topics::default());
        let (store, recalled) = Store::open(&settings);
        let subscriptions = Arc::new(Subscriptions::new(recalled));
        let Contents { logs: spools, ids, backlog, placement } = spool::open(&settings)?.unwrap_or_default();
        // Before any shard looks for a topic: those that are noted are dealt as they were.
        for (name, partitions) in placement.noted() {
            topics.publish(&name, partitions, Owner::Partition);
        }
        // What comes lies behind the backlog in any case, so that it need not wait for Kafka to be asked.
        topics.set_away(backlog);
        let shards = Shards::start(&settings, &metrics, &topics, &subscriptions, (spools, ids))?;
        let state = admin::State::new(metrics.clone(), logs, clock::now);
        let (stop, stopped) = watch::channel(false);
        let control = control::Control {
            settings: settings.clone(),
            metrics: metrics.clone(),
            topics,
            doorbells: shards.doorbells().clone(),
            resolver,
            placement: Arc::new(placement),
            subscriptions,
            store,
            listener,
            state: state.clone(),
            stopped,
        };
        let (alive, ended) = mpsc::sync_channel::<()>(0);
        let run = move || {
            control.run();
            drop(alive);
        };
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(run)
            .map_err(|error| ShardError::Thread { shard: 0, why: error.to_string() })?;
        Ok(Bridge { shards, settings, metrics, state, control: ended, stop })
    }

    /// The metrics, which go on after the bridge has ended.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Waits until every session has ended by itself, at most `time`. Returns whether they have.
    #[must_use]
    pub fn wait(&self, time: Duration) -> bool {
        self.shards.wait(time)
    }

    /// Stops reading, waits for what is in flight, at most `[engine] drain`, acknowledges it and disconnects.
    ///
    /// # Errors
    /// See [`Hung`]; threads are left, which only the end of the process ends.
    pub fn stop(self) -> Result<Summary, Hung> {
        self.shards.drain();
        let drained = self.shards.wait(self.settings.engine.drain);
        self.shards.end_drain();
        if !self.shards.wait(LAST_WRITE) {
            return Err(Hung);
        }
        let remains = self.shards.join();
        self.stop.send_replace(true);
        let _ = self.control.recv_timeout(CONTROL_END);
        Ok(summarize(&self.settings, &self.metrics, &remains, drained, self.state.unbalanced()))
    }
}

fn layout(settings: &Settings) -> Layout {
    let session = |planned: Planned| {
        let source = &settings.sources[planned.source];
        let client_id = source.sessions[planned.session].client_id.clone();
        SessionLabel { source: source.name.clone(), client_id, shard: planned.shard }
    };
    Layout {
        shards: settings.engine.cpus.len(),
        routes: settings.routes.iter().map(|route| route.from.as_mqtt()).collect(),
        sessions: settings.plan().map(session).collect(),
    }
}

/// The last look at the ledger. `seen` is an imbalance during the run: that it is gone by now excuses nothing.
fn summarize(
    settings: &Settings,
    metrics: &Metrics,
    remains: &[Remains],
    drained: bool,
    seen: Option<&Imbalance>,
) -> Summary {
    let (outstanding, in_lanes) =
        remains.iter().fold((0, 0), |sums, shard| (sums.0 + shard.outstanding, sums.1 + shard.in_lane));
    let memory = settings.engine.ack == Ack::Memory;
    let ledger = Ledger::of(metrics);
    let last = ledger.imbalance();
    let mut imbalance: Vec<String> = last.iter().map(ToString::to_string).collect();
    if let Some(seen) = seen.filter(|seen| last.as_ref() != Some(*seen)) {
        imbalance.push(format!("during the run, {seen}"));
    }
    if drained && outstanding != in_lanes {
        let differ = format!("{outstanding} records have no receipt, but the lanes hold {in_lanes}, which is a bug");
        imbalance.push(differ);
    }
    let (unacknowledged, lost) = if memory { (0, outstanding) } else { (outstanding, 0) };
    let spooled = remains.iter().map(|shard| shard.spooled).sum();
    Summary { ledger, unacknowledged, spooled, lost, imbalance }
}

/// With `fail_fast`: whether both sides answer now.
fn reach(settings: &Settings, resolver: &Resolver) -> Result<(), StartError> {
    for source in &settings.sources {
        let mut failed = Vec::new();
        for address in &source.urls {
            match dial(address) {
                Ok(_) => break,
                Err(error) => failed.push(format!("{address}: {error}")),
            }
        }
        if failed.len() == source.urls.len() {
            return Err(StartError::Mqtt { source_name: source.name.clone(), why: failed.join("; ") });
        }
    }
    resolver.cluster()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        logging::LogStats,
        message::RouteId,
        metrics::Entry,
        settings::{Host, Layers, load},
    };

    /// A bridge to servers that are not there.
    fn bridge(folder: &std::path::Path) -> Bridge {
        let file = folder.join("fairlead.toml");
        let text = "[[source]]\nname = \"a\"\nurl = \"mqtt://127.0.0.1:1\"\n[kafka]\nbrokers = \"127.0.0.1:1\"\n\
                    [[route]]\nfrom = \"a\"\ntopic = \"a\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
        std::fs::write(&file, text).unwrap();
        let host = Host { state: folder.to_owned(), ..Host::detect().unwrap() };
        let loaded = load(&Layers { files: vec![file], ..Layers::default() }, &host);
        let settings = loaded.settings.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        Bridge::start(settings, Options::default(), Arc::new(LogStats::default())).unwrap()
    }

    #[test]
    fn an_imbalance_during_the_run_is_told_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let sound = bridge(folder.path());
        sound.state.sample();
        assert_eq!(sound.stop().unwrap().imbalance, Vec::<String>::new());

        let broken = bridge(folder.path());
        // The shard has nothing to enter, so this thread is the only writer.
        let enter = |entry| broken.metrics.shard(0).ledger(RouteId(0), entry, 1);
        enter(Entry::Received);
        broken.state.sample();
        enter(Entry::Delivered);
        let summary = broken.stop().unwrap();
        assert_eq!(summary.ledger.imbalance(), None, "by now it balances");
        let [imbalance] = summary.imbalance.as_slice() else { panic!("{:?}", summary.imbalance) };
        assert!(imbalance.starts_with("during the run, the ledger of route `a`"), "{imbalance}");
    }
}
