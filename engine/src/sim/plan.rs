//! What a seed decides before anything happens: the configuration, what is published and when, and the faults.

use std::{sync::OnceLock, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::{
    kafka::HoldReason,
    message::Qos,
    mqtt::Protocol,
    settings::{Ack, SessionPlan, Settings, Subscription, Version},
};

/// Something that goes wrong. What lasts is mended after its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// A TCP connection is cut; the broker and the process learn it after so many milliseconds.
    Cut { session: usize, broker: u64, process: u64 },
    /// The MQTT broker is down; it keeps its sessions or loses them.
    Broker { lasting: u64, keeps: bool },
    /// Kafka answers nothing.
    Freeze { lasting: u64 },
    /// One partition answers nothing.
    Block { partition: usize, lasting: u64 },
    /// One partition takes a hundred times as long.
    Slow { partition: usize, lasting: u64 },
    /// Partitions refuse what comes: one, or all.
    Refuse { partition: Option<usize>, lasting: u64, reason: HoldReason },
    /// The producer fails for good.
    Fatal,
    /// librdkafka takes nothing more now and then.
    QueueFull { lasting: u64 },
    /// Disk jobs take so much longer.
    SlowDisk { lasting: u64, factor: u32 },
    /// After some syncs so many fail.
    SyncFails { after: u64, times: u64 },
    /// Reads or writes fail so often.
    DiskFails { operation: fairlead_spool::disk::Operation, times: u64 },
    /// No further file fits.
    NoSpace { lasting: u64 },
    /// The process stands still.
    Pause { lasting: u64 },
    /// kill -9, and a start after so many milliseconds.
    Kill { restart: u64 },
    /// The machine loses power.
    PowerCut { restart: u64 },
    /// SIGTERM, with so much time to end.
    Stop { deadline: u64 },
}

/// A bug that the harness brings into the world, to show that the checker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A record that waits for its sync is acknowledged.
    ReceiptBeforeSync,
    /// A spooled record counts as ended when it is handed over.
    CursorAhead,
    /// Replay does not wait for what is still inside librdkafka.
    ReplayOverShadows,
    /// The report of a shadow is forgotten.
    ShadowTwice,
    /// A PUBLISH with DUP whose packet identifier was acknowledged before is taken for the old message.
    DupSuppressed,
    /// The disk says that it has synced, and has not.
    LyingDisk,
}

/// Messages that are published at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    pub(super) at: Duration,
    pub(super) count: usize,
}

/// Everything that a seed decides beforehand.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) bug: Option<Bug>,
    pub(super) ack: Ack,
    pub(super) protocol: Protocol,
    pub(super) qos: Qos,
    pub(super) sessions: usize,
    /// MQTT topics of each session.
    pub(super) topics: usize,
    pub(super) partitions: u32,
    /// The MQTT topic is the key; otherwise there is none.
    pub(super) keyed: bool,
    pub(super) receive_maximum: u16,
    /// Most messages that the broker has in flight.
    pub(super) broker_window: usize,
    /// The broker takes the lowest free packet identifier instead of the next.
    pub(super) lowest_id: bool,
    pub(super) keep_alive: u16,
    pub(super) linger: Duration,
    pub(super) stuck: Duration,
    pub(super) memory: usize,
    pub(super) drain_rate: Option<u64>,
    pub(super) spool: fairlead_spool::Options,
    /// One way over the network, of a disk job, and of a request to Kafka: microseconds.
    pub(super) network: u64,
    pub(super) disk: u64,
    pub(super) kafka: u64,
    /// Of a thousand messages so many are refused by Kafka for good.
    pub(super) poison: u32,
    /// Longest filling of a payload.
    pub(super) filling: usize,
    pub(super) bursts: Vec<Burst>,
    pub(super) faults: Vec<(Duration, Fault)>,
    /// When the last fault is mended.
    pub(super) healed: Duration,
}

impl Plan {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Plan {
        let random = &mut SmallRng::seed_from_u64(seed);
        let protocol = pick(random, &[Protocol::V5, Protocol::V311]);
        let segment = pick(random, &[16_u64, 32, 64]) << 10;
        let sessions = random.random_range(1..=2);
        let partitions = random.random_range(1..=4);
        let healed = Duration::from_millis(random.random_range(2_000..12_000));
        let ack = pick(random, &[Ack::Durable, Ack::Durable, Ack::Durable, Ack::Spool, Ack::Spool, Ack::Kafka]);
        let segments = random.random_range(6..24);
        let mut plan = Plan {
            seed,
            bug,
            ack: if bug.is_some() && ack == Ack::Kafka { Ack::Durable } else { ack },
            protocol,
            qos: pick(random, &[Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::AtMostOnce]),
            sessions,
            topics: random.random_range(1..=5),
            partitions,
            keyed: random.random(),
            receive_maximum: pick(random, &[1, 4, 20, 32, 100, 1000]),
            broker_window: pick(random, &[2, 20, 20, 64, 1000]),
            lowest_id: random.random(),
            keep_alive: pick(random, &[0, 1, 5, 30]),
            linger: Duration::from_micros(pick(random, &[0, 200, 1000, 5000])),
            stuck: Duration::from_millis(pick(random, &[50, 300, 1_000, 30_000])),
            memory: pick(random, &[24 << 10, 256 << 10, 8 << 20]),
            drain_rate: pick(random, &[None, None, None, Some(5_000)]),
            spool: fairlead_spool::Options {
                max: segments * segment,
                min_free: 0,
                segment,
                group: pick(random, &[1 << 10, 2 << 10]),
                record: 1500,
                shards: 1,
            },
            network: pick(random, &[50, 500, 5_000]),
            disk: pick(random, &[50, 300, 3_000]),
            kafka: pick(random, &[300, 2_000, 20_000]),
            poison: pick(random, &[0, 0, 0, 20]),
            filling: pick(random, &[8, 100, 900]),
            bursts: Vec::new(),
            faults: Vec::new(),
            healed,
        };
        plan.bursts = bursts(random, healed);
        plan.faults = faults(random, &plan);
        plan
    }

    /// The settings of the process.
    pub(super) fn settings(&self) -> Settings {
        static BASE: OnceLock<Settings> = OnceLock::new();
        let text = "[[source]]\nname = \"sim\"\nurl = \"mqtt://127.0.0.1:1883\"\n\
                    [kafka]\nbrokers = \"127.0.0.1:9092\"\n[[route]]\nfrom = \"#\"\ntopic = \"sim\"\n";
        let mut settings = BASE.get_or_init(|| Settings::of(text)).clone();
        settings.engine.ack = self.ack;
        settings.engine.memory = self.memory;
        settings.kafka.linger = self.linger;
        settings.kafka.stuck = self.stuck;
        if let Some(spool) = &mut settings.spool {
            spool.drain_rate = self.drain_rate;
        }
        let source = &mut settings.sources[0];
        source.qos = self.qos;
        source.version = if self.protocol == Protocol::V5 { Version::V5 } else { Version::V311 };
        source.receive_maximum = self.receive_maximum;
        source.keep_alive = self.keep_alive;
        source.sessions = (0..self.sessions)
            .map(|session| SessionPlan {
                client_id: format!("sim-{session}"),
                subscriptions: vec![Subscription { filter: format!("{session}/#"), id: None }],
                retire: None,
            })
            .collect();
        settings
    }
}

fn pick<T: Clone>(random: &mut SmallRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())].clone()
}

fn bursts(random: &mut SmallRng, until: Duration) -> Vec<Burst> {
    let total = random.random_range(20..400);
    let size = pick(random, &[1, 5, 40]);
    let mut bursts = Vec::new();
    let mut sent = 0;
    while sent < total {
        let count = random.random_range(1..=size);
        bursts.push(Burst { at: until.mul_f64(random.random_range(0.0..0.95)), count });
        sent += count;
    }
    bursts
}

fn faults(random: &mut SmallRng, plan: &Plan) -> Vec<(Duration, Fault)> {
    // A world knows some kinds of faults, so that each comes often somewhere and is missing somewhere.
    let kinds: Vec<u32> = (0..random.random_range(1..5)).map(|_| random.random_range(0..KINDS)).collect();
    let count = random.random_range(0..14);
    let mut faults: Vec<(Duration, Fault)> = (0..count)
        .map(|_| {
            let at = plan.healed.mul_f64(random.random_range(0.0..0.9));
            let kind = pick(random, &kinds);
            (at, fault(random, kind, plan))
        })
        .collect();
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// Kinds of faults that [`fault`] knows.
const KINDS: u32 = 20;

fn fault(random: &mut SmallRng, kind: u32, plan: &Plan) -> Fault {
    use fairlead_spool::disk::Operation;
    let lasting = pick(random, &[20, 100, 400, 1_500, 4_000]);
    let lasting = random.random_range(lasting / 2..lasting * 2);
    // A partition without a leader for so long is parked, if others confirm meanwhile.
    let longer = 2 * (plan.stuck.as_millis() as u64).min(1_000);
    let notice = |random: &mut SmallRng| pick(random, &[0, 5, 200, 3_000]);
    let restart = pick(random, &[1, 50, 500, 3_000]);
    let partition = random.random_range(0..plan.partitions as usize);
    let session = random.random_range(0..plan.sessions);
    let reason = pick(random, &[HoldReason::Unavailable, HoldReason::UnknownTopic, HoldReason::Unauthorized]);
    match kind {
        0..=2 => Fault::Cut { session, broker: notice(random), process: notice(random) },
        3 => Fault::Broker { lasting, keeps: random.random_bool(0.7) },
        4 | 5 => Fault::Freeze { lasting },
        6 => Fault::Block { partition, lasting },
        7 => Fault::Refuse { partition: random.random_bool(0.5).then_some(partition), lasting, reason },
        8 => Fault::Fatal,
        9 => Fault::QueueFull { lasting },
        10 => Fault::SlowDisk { lasting, factor: pick(random, &[10, 100, 1000]) },
        11 => Fault::SyncFails { after: random.random_range(0..5), times: pick(random, &[1, 1, 1, 2, 3]) },
        12 => {
            let operations =
                [Operation::Create, Operation::Allocate, Operation::Read, Operation::Write, Operation::Rename];
            let operation = pick(random, &[&operations[..], &[Operation::SyncFolder]].concat());
            Fault::DiskFails { operation, times: random.random_range(1..4) }
        }
        13 => Fault::NoSpace { lasting },
        14 => Fault::Pause { lasting: lasting.min(2_000) },
        15 => pick(random, &[Fault::Kill { restart }, Fault::PowerCut { restart }]),
        16 => Fault::Stop { deadline: pick(random, &[5, 500, 5_000]) },
        17 => Fault::Slow { partition, lasting },
        18 => Fault::Block { partition, lasting: lasting + longer },
        _ => Fault::Refuse { partition: Some(partition), lasting: lasting + longer, reason },
    }
}

impl Fault {
    /// How long it lasts, where it has an end of its own.
    pub(super) fn lasting(self) -> Option<Duration> {
        match self {
            Fault::Broker { lasting, .. }
            | Fault::Freeze { lasting }
            | Fault::Block { lasting, .. }
            | Fault::Slow { lasting, .. }
            | Fault::Refuse { lasting, .. }
            | Fault::QueueFull { lasting }
            | Fault::SlowDisk { lasting, .. }
            | Fault::NoSpace { lasting }
            | Fault::Pause { lasting } => Some(Duration::from_millis(lasting)),
            _ => None,
        }
    }
}
