//! The two ends: the fleet that publishes, and the consumer that checks. The fleet waits for the consumer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use fairlead_loadgen::{
    BrokerUrl, Qos, Version,
    ais::payload::Format,
    load::Load,
    progress::{Progress, Snapshot},
    publish::{self, PublishError, Publisher},
    traffic::{Fleet, Traffic},
    verify::{self, KafkaError, Verifier, Wrap},
};

use super::{DemoError, Plan, kafka};

/// Payload bytes that the fleet may be ahead of the consumer, at most. Less than the mock cluster keeps of a single
/// partition, so that nothing is trimmed however the vessels fall on the partitions; far less than rumqttd keeps. It
/// is also what the latency is made of: a longer queue would only wait longer.
pub(super) const AHEAD: u64 = 128 << 10;
const _: () = assert!(2 * AHEAD <= kafka::KEPT);

/// Connections of the fleet.
const CLIENTS: u32 = 4;
/// Messages of one of them that wait for their PUBACK.
const IN_FLIGHT: u16 = 100;
/// How long the embedded broker may be away.
const PATIENCE: Duration = Duration::from_secs(10);
/// When nothing new came for so long after the fleet has ended, nothing will.
const IDLE: Duration = Duration::from_secs(10);

/// Fleet and consumer at work.
pub(super) struct Line {
    progress: Arc<Progress>,
    fleet: Publisher,
    checker: JoinHandle<Result<Verifier, KafkaError>>,
    stop_checker: Arc<AtomicBool>,
}

impl Line {
    /// Starts both. The bridge is subscribed.
    pub(super) fn start(plan: &Plan, mqtt: BrokerUrl, brokers: String) -> Result<Line, DemoError> {
        let progress = Arc::new(Progress::default());
        // Another load generator may publish to the same broker: its run must not be taken for ours.
        let run_id = rand::random();
        let stop_checker = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(&progress), Arc::clone(&stop_checker));
        let checker = thread::Builder::new()
            .name("checker".to_owned())
            .spawn(move || {
                let mut verifier = Verifier::new(Some(run_id));
                verify::read(&consumer(brokers), &mut verifier, &shared, &stop).map(|()| verifier)
            })
            .map_err(DemoError::Thread)?;
        let fleet = Publisher::spawn(fleet(plan, mqtt, run_id), Arc::clone(&progress))?;
        Ok(Line { progress, fleet, checker, stop_checker })
    }

    /// What was done so far.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.progress.snapshot()
    }

    /// Whether one of the two has ended: the fleet has sent everything, or something failed.
    pub(super) fn ended(&self) -> bool {
        self.fleet.is_finished() || self.checker.is_finished()
    }

    /// Ends the fleet and waits for its last acknowledgements.
    pub(super) fn end_fleet(self) -> Result<Tail, PublishError> {
        self.fleet.stop();
        let published = self.fleet.join()?;
        self.progress.set_target(published.sent);
        Ok(Tail { progress: self.progress, checker: self.checker, stop_checker: self.stop_checker, published })
    }
}

/// The fleet has ended; the consumer may still find messages.
pub(super) struct Tail {
    progress: Arc<Progress>,
    checker: JoinHandle<Result<Verifier, KafkaError>>,
    stop_checker: Arc<AtomicBool>,
    published: publish::Report,
}

impl Tail {
    /// What was done so far.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.progress.snapshot()
    }

    /// Whether the consumer has ended: it has found everything, or nothing more came.
    pub(super) fn ended(&self) -> bool {
        self.checker.is_finished()
    }

    /// Ends the consumer and says what both ends have seen.
    pub(super) fn end(self) -> Result<(publish::Report, verify::Report), KafkaError> {
        self.stop_checker.store(true, Ordering::Relaxed);
        let verifier = match self.checker.join() {
            Ok(outcome) => outcome?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let found = verifier.report(Some(&self.published.expected), Some(&self.published.ack_log));
        Ok((self.published, found))
    }
}

fn fleet(plan: &Plan, url: BrokerUrl, run_id: u32) -> publish::Config {
    publish::Config {
        url,
        version: Version::V311,
        traffic: Traffic::Fleet(Fleet { vessels: plan.vessels, seed: plan.seed }),
        format: Format::Json,
        qos: Qos::AtLeastOnce,
        clients: CLIENTS,
        in_flight: IN_FLIGHT,
        messages: plan.messages,
        storm: None,
        ahead: Some(AHEAD),
        persistent: false,
        patience: PATIENCE,
        load: Load::new(run_id),
    }
}

fn consumer(brokers: String) -> verify::Config {
    verify::Config {
        brokers,
        topics: vec![kafka::TOPIC.to_owned()],
        idle: IDLE,
        follow: true,
        // The mock cluster does not wake a consumer that waits for data: it looks again when the wait is over.
        properties: vec![("fetch.wait.max.ms".to_owned(), "1".to_owned())],
        wrap: Wrap::None,
    }
}
