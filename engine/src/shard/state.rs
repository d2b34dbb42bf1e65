//! What the tasks of one shard share.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{
    bell::Bell,
    ids::Keeper,
    intake::{Intake, Stalled},
    reach::Reach,
    said::Said,
    tally::Tally,
};
use crate::{
    kafka::Topics,
    lane::{Driver, Turn},
    message::TopicId,
    metrics::{Metrics, ShardMetrics},
    mqtt::Session,
    settings::{Ack, Settings},
    spool::SessionKey,
    subscriptions::Subscriptions,
};

/// The word from the control plane to all shards, and back.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// Sessions stop reading, acknowledge what is in flight, and disconnect.
    draining: AtomicBool,
    /// The wait is over: sessions disconnect with what they have.
    deadline: AtomicBool,
    /// Sessions of all shards that are not finished.
    sessions: AtomicUsize,
}

impl Control {
    pub(super) fn new(sessions: usize) -> Control {
        Control { sessions: AtomicUsize::new(sessions), ..Control::default() }
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(super) fn end_drain(&self) {
        self.deadline.store(true, Ordering::Release);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(super) fn is_past_deadline(&self) -> bool {
        self.deadline.load(Ordering::Acquire)
    }

    pub(super) fn session_finished(&self) {
        self.sessions.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Acquire)
    }
}

/// One session of the shard.
pub(super) struct Slot {
    /// Index of its source.
    pub(super) source: usize,
    /// Index among all sessions of the process, for the status board.
    pub(super) board: usize,
    pub(super) session: RefCell<Session>,
    /// The session's name in the log of packet identifiers, where these are kept.
    pub(super) keeps_ids: Option<SessionKey>,
    /// Wakes the session's task.
    pub(super) bell: Bell,
    /// The oldest receipt whose PUBACK has not been written.
    pub(super) confirmed_at: Cell<Option<Instant>>,
    /// When bytes last came.
    pub(super) read_at: Cell<Instant>,
    /// Bytes that its connection has ready and the socket has not taken.
    pub(super) unwritten: Cell<usize>,
    /// Whether it offered records since the lane's last batch.
    pub(super) offered: Cell<bool>,
    /// What waits for the lane, a ring or a topic. It outlives the connection, because the session's window counts
    /// on its receipt.
    pub(super) stalled: RefCell<Option<Stalled>>,
}

/// One shard.
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) settings: Arc<Settings>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) control: Arc<Control>,
    pub(super) slots: Vec<Slot>,
    pub(super) intake: RefCell<Intake>,
    pub(super) driver: RefCell<Driver>,
    pub(super) turn: RefCell<Turn>,
    /// Whether the spool has a place for what the first message brings. A broker sends at line rate at once, and making a
    /// segment takes seconds on a slow disk: no session connects before.
    pub(super) prepared: Cell<bool>,
    /// The packet identifiers of QoS 2, where they are kept.
    pub(super) keeper: Option<RefCell<Keeper>>,
    /// Wakes the lane's task.
    pub(super) bell: Bell,
    pub(super) reach: RefCell<Reach>,
    /// What librdkafka has logged of late.
    pub(super) said: RefCell<Said>,
    /// Kafka topics that were said to be on hold.
    pub(super) holds: RefCell<Vec<TopicId>>,
    pub(super) topics: Arc<Topics>,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) tally: RefCell<Tally>,
}

impl Shard {
    pub(super) fn metrics(&self) -> &ShardMetrics {
        self.metrics.shard(self.index)
    }

    /// A session's share of the memory budget, bytes.
    pub(super) fn share(&self) -> usize {
        self.settings.engine.memory / self.slots.len().max(1)
    }

    /// Whether the session may be acknowledged as soon as the lane has the record.
    pub(super) fn acknowledges_at_once(&self) -> bool {
        self.settings.engine.ack == Ack::Memory
    }
}
