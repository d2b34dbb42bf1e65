//! A run over a real mosquitto: publishers, proxy P1, mosquitto, proxy P2 with the tap, Fairlead, Kafka.

use std::time::Duration;

use fairlead_tests::{Client, Config, Fairlead, Loadgen, Mosquitto, Proxy, Watch, metric, now, wait_until};

use crate::{
    check::{Checker, Evidence},
    dice::Dice,
    outcome::{LIVENESS, Outcome},
    stage::{LIMIT, PARTITIONS, Stage},
};

/// Longest time in which everything that is on its way comes to rest.
const REST: Duration = Duration::from_secs(120);
/// Run id in the stamps.
const RUN_ID: u32 = 1;
/// The bridge's client identifier.
pub(crate) const CLIENT: &str = "campaign-bridge";

/// How the fleet is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Messages a second.
    pub(crate) rate: u64,
    pub(crate) qos: u8,
    /// `version` of the source.
    pub(crate) version: &'static str,
    /// Further lines of `[[source]]`.
    pub(crate) source: &'static str,
    /// Properties of the Kafka topic.
    pub(crate) properties: &'static [(&'static str, &'static str)],
    /// Messages that are published and retained before the bridge starts.
    pub(crate) retained: u64,
}

impl Plan {
    /// QoS and version by chance.
    pub(crate) fn thrown(dice: &mut Dice) -> Plan {
        let (qos, version) = (dice.pick(&[1, 1, 2]), dice.pick(&["5", "5", "3.1.1"]));
        Plan { rate: 2000, qos, version, source: "", properties: &[], retained: 0 }
    }

    pub(crate) fn qos(self, qos: u8) -> Plan {
        Plan { qos, ..self }
    }
}

/// A fleet under way.
#[derive(Debug)]
pub(crate) struct Fleet {
    // Ends before the bridge does.
    watch: Watch,
    pub(crate) bridge: Fairlead,
    pub(crate) publisher: Loadgen,
    pub(crate) p1: Proxy,
    pub(crate) p2: Proxy,
    pub(crate) mosquitto: Mosquitto,
    topic: String,
    probes: String,
    plan: Plan,
    sent_probes: u64,
    crashes: u64,
    liveness: Duration,
    /// The broker has lost what it had taken over.
    pub(crate) broker_lost: bool,
}

impl Fleet {
    pub(crate) fn start(stage: &Stage, plan: Plan) -> Fleet {
        let topic = stage.topic(PARTITIONS, plan.properties);
        let probes = stage.topic(1, &[]);
        let mosquitto = Mosquitto::start();
        let (p1, p2) = (Proxy::plain(mosquitto.port()), Proxy::tapped(mosquitto.port(), RUN_ID));
        let mut harbour = Client::connect(mosquitto.port(), "harbour");
        for n in 0..plan.retained {
            const RETAIN: u8 = 1;
            harbour.publish_with(format!("ais/retained/{n}").as_bytes(), 1 << 1 | RETAIN, &[], b"retained");
        }
        let mut bridge = Fairlead::ready(&config(stage, &p2, &topic, &probes, &plan));
        let watch = Watch::start(bridge.admin(), bridge.process().id());
        let (rate, qos, run_id) = (plan.rate.to_string(), plan.qos.to_string(), RUN_ID.to_string());
        let load = ["--fleet", "500", "--rate", &rate, "--qos", &qos, "--run-id", &run_id];
        let publisher = Loadgen::publish(&p1.url(), &load);
        Fleet {
            watch,
            bridge,
            publisher,
            p1,
            p2,
            mosquitto,
            topic,
            probes,
            plan,
            sent_probes: 0,
            crashes: 0,
            liveness: Duration::ZERO,
            broker_lost: false,
        }
    }

    /// Waits until messages flow.
    pub(crate) fn full_flow(&self) {
        self.bridge.wait_metric(metric::DELIVERED, &[], self.plan.rate as f64 / 2.0, LIMIT);
    }

    /// SIGKILL and restart.
    pub(crate) fn crash(&mut self) {
        self.bridge.process().kill();
        self.restart();
    }

    /// Starts the bridge again after its end.
    pub(crate) fn restart(&mut self) {
        self.crashes += 1;
        self.bridge.restart();
        self.watch.follow(self.bridge.process().id());
    }

    /// The last fault is over: waits for a message that is published now.
    pub(crate) fn live(&mut self, stage: &Stage) {
        let start = now();
        self.probe(stage, LIVENESS * 6);
        self.liveness = now() - start;
    }

    /// Publishes a message and waits until it is in Kafka. mosquitto has one queue for the session, so everything that
    /// it held before has been handed over then.
    fn probe(&mut self, stage: &Stage, limit: Duration) {
        self.sent_probes += 1;
        let mut client = Client::connect(self.mosquitto.port(), "probe");
        client.publish("probe/fresh", 1, b"fresh");
        wait_until(limit, "a fresh message is in Kafka", || stage.kafka.count(&self.probes) >= self.sent_probes);
    }

    /// Ends the load, waits for what is on its way, ends the bridge and judges.
    pub(crate) fn finish(mut self, stage: &Stage) -> Outcome {
        let result = self.publisher.stop(LIMIT);
        self.probe(stage, REST);
        wait_until(REST, "everything comes to rest", || self.bridge.is_at_rest() && self.p2.tap().is_at_rest());
        let code = self.bridge.stop(LIMIT);
        let tap = self.p2.tap();
        let sent = self.publisher.sent();
        let mut checker = Checker::new(RUN_ID, &sent.topics);
        checker.read(&stage.kafka, &self.topic);
        let exchanges = format!(
            "delivered {}, redelivered {}, disordered {}, PUBACK {}, PUBREC {}, PUBREL {}, PUBCOMP {}",
            tap.delivered, tap.redelivered, tap.disordered, tap.pubacks, tap.pubrecs, tap.pubrels, tap.pubcomps
        );
        let lost = (self.p2.connections() as u64).saturating_sub(1);
        let mut outcome = checker.judge(&Evidence {
            sent,
            acknowledged: tap.acknowledged,
            taken_over: (!self.broker_lost).then(|| self.publisher.acknowledged()),
            bound: tap.redelivered + self.crashes * stage.ack.replayed(),
            reruns: None,
            disordered: tap.disordered,
            unstamped: self.plan.retained,
            damage_reported: false,
        });
        outcome.keep_log(&format!("{}{:?}\n{exchanges}", self.bridge.log(), self.plan));
        outcome.judge_process(&self.watch.seen());
        outcome.judge_liveness(self.liveness);
        outcome.counts.crashes = self.crashes;
        outcome.counts.connections_lost = lost;
        outcome.none("acknowledgements out of order", tap.out_of_order);
        outcome.none("acknowledgements of nothing", tap.unknown);
        outcome.demand(code == 0, || format!("exit code {code}"));
        outcome.demand(result["sent"].as_u64() > Some(0), || "nothing was published".to_owned());
        for topic in [&self.topic, &self.probes] {
            stage.kafka.delete_topic(topic);
        }
        outcome
    }
}

fn config(stage: &Stage, p2: &Proxy, topic: &str, probes: &str, plan: &Plan) -> Config {
    let Plan { qos, version, source, .. } = plan;
    let lines = format!("client_id = \"{CLIENT}\"\nqos = {qos}\nversion = \"{version}\"\n{source}");
    let second = format!("[[route]]\nfrom = \"probe/#\"\ntopic = \"{probes}\"");
    stage.config(&p2.url(), topic, None, "").source(&lines).route(&second)
}
