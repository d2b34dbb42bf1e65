//! A run in which the load generator plays the MQTT broker: its log of acknowledgements is the set A.

use std::{path::PathBuf, time::Duration};

use fairlead_tests::{Fairlead, Loadgen, Metrics, Watch, get, metric, now, wait_until};

use crate::{
    check::{Checker, Evidence},
    outcome::{LIVENESS, Outcome},
    stage::{LIMIT, PARTITIONS, Stage},
};

/// Longest time in which everything that is on its way comes to rest.
const REST: Duration = Duration::from_secs(120);
/// Longest flood.
const SECONDS: &str = "900";

/// How the flood is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Messages a second.
    pub(crate) rate: f64,
    /// Receive Maximum of the session.
    pub(crate) window: u64,
    /// MQTT topics.
    pub(crate) topics: u32,
    /// Further lines of `[[source]]`.
    pub(crate) source: &'static str,
    /// Further lines of `[engine]`.
    pub(crate) engine: &'static str,
    /// Where the spool lies.
    pub(crate) spool: Option<PathBuf>,
}

/// The run id of the stamps.
const RUN_ID: u32 = 1;

/// How the log tells of what is damaged.
const DAMAGE: [&str; 3] = ["quarantine", "are damaged or gone", "cannot be read any more"];

/// The largest packet: what the segments of a small disk can hold.
pub(crate) const PACKET: &str = "max_packet = \"64KiB\"";

/// A flood under way.
#[derive(Debug)]
pub(crate) struct Flood {
    // Ends before the bridge does.
    watch: Watch,
    pub(crate) bridge: Fairlead,
    pub(crate) firehose: Loadgen,
    pub(crate) topic: String,
    pub(crate) checker: Checker,
    plan: Plan,
    crashes: u64,
    liveness: Duration,
    /// The faults leave the order of re-runs to chance: requests of two lives of the bridge may mix in Kafka.
    pub(crate) mixed: bool,
    /// What the spool held was damaged: what that takes must be in the log.
    pub(crate) damaged: bool,
}

impl Flood {
    /// Starts load and bridge on a new Kafka topic.
    pub(crate) fn start(stage: &Stage, plan: Plan) -> Flood {
        let topic = stage.topic(PARTITIONS, &[]);
        Flood::start_on(stage, plan, topic)
    }

    /// The same on a Kafka topic that exists, or will.
    pub(crate) fn start_on(stage: &Stage, plan: Plan, topic: String) -> Flood {
        let (rate, topics) = (format!("{:.0}", plan.rate), plan.topics.to_string());
        let run_id = RUN_ID.to_string();
        let load = ["--seconds", SECONDS, "--rate", &rate, "--topics", &topics, "--run-id", &run_id];
        let firehose = Loadgen::firehose(&load);
        let config = stage.config(firehose.url(), &topic, plan.spool.as_deref(), plan.engine);
        let mut bridge =
            Fairlead::start(&config.source(&format!("receive_maximum = {}\n{PACKET}\n{}", plan.window, plan.source)));
        let watch = Watch::start(bridge.admin(), bridge.process().id());
        let names: Vec<String> = (0..plan.topics).map(|n| format!("ais/{n}")).collect();
        let checker = Checker::new(RUN_ID, &names);
        let (crashes, liveness) = (0, Duration::ZERO);
        Flood { watch, bridge, firehose, topic, checker, plan, crashes, liveness, mixed: false, damaged: false }
    }

    /// Waits until messages flow in full.
    pub(crate) fn full_flow(&mut self) {
        let least = (self.plan.window as f64 * 2.0).min(self.plan.rate / 2.0);
        wait_until(LIMIT, "messages flow in full", || {
            assert!(self.bridge.process().ended().is_none(), "the bridge has ended");
            let metrics = get(self.bridge.admin(), "/metrics").map(|answer| Metrics::parse(&answer.body));
            metrics.and_then(|m| m.sum(metric::DELIVERED, &[])).is_some_and(|delivered| delivered >= least)
        });
    }

    /// SIGKILL and restart.
    pub(crate) fn crash(&mut self) {
        self.bridge.process().kill();
        self.restart();
    }

    /// Starts the bridge again after a crash.
    pub(crate) fn restart(&mut self) {
        self.crashes += 1;
        self.bridge.restart();
        self.watch.follow(self.bridge.process().id());
    }

    /// The last fault is over: waits for a message that was sent after it. More than two windows must arrive, since one
    /// may have been on its way already and, after a crash, is sent again.
    pub(crate) fn live(&mut self, stage: &Stage) {
        let start = now();
        // A process that has just been started says nothing of its spool before it is connected.
        self.bridge.wait_metric(metric::RECEIVED, &[], 1.0, LIVENESS * 6);
        let before = stage.kafka.count(&self.topic);
        let fresh = before + 2 * self.plan.window + 1;
        let reached = || stage.kafka.count(&self.topic) >= fresh;
        wait_until(LIVENESS * 6, "fresh messages arrive after the last fault", reached);
        self.liveness = now() - start;
    }

    /// Ends the load, waits for what is on its way, ends the bridge and judges.
    pub(crate) fn finish(mut self, stage: &Stage) -> Outcome {
        let result = self.firehose.stop(LIMIT);
        wait_until(REST, "everything comes to rest", || self.bridge.is_at_rest());
        let code = self.bridge.stop(LIMIT);
        self.checker.read(&stage.kafka, &self.topic);
        let number = |key: &str| result[key].as_u64().unwrap_or(0);
        let lost = number("connections").saturating_sub(1);
        let log = self.bridge.log();
        let mut outcome = self.checker.judge(&self.evidence(stage, lost, number("redelivered"), &log));
        outcome.demand(!log.contains("panicked"), || "a panic".to_owned());
        outcome.keep_log(&log);
        outcome.judge_process(&self.watch.seen());
        outcome.judge_liveness(self.liveness);
        outcome.counts.crashes = self.crashes;
        outcome.counts.connections_lost = lost;
        outcome.at_most("lost MQTT connections", lost, self.crashes);
        outcome.none("keep-alive timeouts", number("keep_alive_timeouts"));
        outcome.none("violations of the protocol", number("violations"));
        outcome.none("acknowledgements out of order", number("acks_out_of_order"));
        outcome.none("acknowledgements of nothing", number("acks_unknown"));
        outcome.demand(code == 0, || format!("exit code {code}"));
        stage.kafka.delete_topic(&self.topic);
        outcome
    }

    fn evidence(&self, stage: &Stage, lost: u64, redelivered: u64, log: &str) -> Evidence {
        Evidence {
            sent: self.firehose.sent(),
            acknowledged: self.firehose.acknowledged(),
            taken_over: None,
            bound: (lost * self.plan.window).min(redelivered) + self.crashes * stage.ack.replayed(),
            disordered: 0,
            reruns: (!self.mixed).then_some(lost * stage.ack.reruns()),
            unstamped: 0,
            damage_reported: self.damaged && DAMAGE.iter().any(|words| log.contains(words)),
        }
    }
}
