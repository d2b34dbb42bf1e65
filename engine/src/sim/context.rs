//! Virtual time, the events to come, chance, and the trace: what every part of the world is handed.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::plan::Fault;

/// Lines of the trace that are kept.
const LINES: usize = 100_000;

/// Something that happens at its time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Publishers send the messages of a burst.
    Publish(usize),
    /// A fault begins.
    Strike(Fault),
    /// A fault that lasts is over.
    Mend(Fault),
    /// A TCP connection that the process asked for opens, or does not.
    Dialled { life: u32, slot: usize },
    /// Bytes reach the broker.
    ToBroker { connection: usize, bytes: Vec<u8> },
    /// Bytes reach the process.
    ToProcess { connection: usize, bytes: Vec<u8> },
    /// The broker learns that a connection is gone.
    BrokerLost { connection: usize },
    /// The process learns it.
    ProcessLost { connection: usize },
    /// Kafka and librdkafka go on with a partition.
    Serve { producer: u32, partition: usize },
    /// A disk job is run.
    Run { life: u32, job: usize },
    /// Its result comes back.
    Done { life: u32, job: usize },
    /// The process is started.
    Start,
    /// The Kafka topic is known to the process.
    TopicKnown { life: u32 },
    /// The time for a graceful stop is over.
    StopDeadline { life: u32 },
}

#[derive(Debug)]
struct Scheduled {
    at: Duration,
    serial: u64,
    event: Event,
}

impl Ord for Scheduled {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Scheduled {}

/// Time, chance, what is to come, and what was.
#[derive(Debug)]
pub(super) struct Context {
    /// Since the world began.
    pub(super) now: Duration,
    origin: Instant,
    events: BinaryHeap<Scheduled>,
    serial: u64,
    pub(super) random: SmallRng,
    /// The last lines; `None` where nobody reads them.
    trace: Option<VecDeque<String>>,
    /// What is wrong, the first of it.
    pub(super) failure: Option<String>,
    /// When the process is polled next because something happened.
    wake_at: Option<Duration>,
}

impl Context {
    pub(super) fn new(seed: u64, traced: bool) -> Context {
        Context {
            now: Duration::ZERO,
            origin: crate::shard::clock::now(),
            events: BinaryHeap::new(),
            serial: 0,
            random: SmallRng::seed_from_u64(seed ^ 0x5eed),
            trace: traced.then(VecDeque::new),
            failure: None,
            wake_at: None,
        }
    }

    /// This moment as the product sees it.
    pub(super) fn instant(&self) -> Instant {
        self.origin + self.now
    }

    /// A moment of the product as the world sees it.
    pub(super) fn since_origin(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.origin)
    }

    pub(super) fn at(&mut self, at: Duration, event: Event) {
        self.serial += 1;
        self.events.push(Scheduled { at: at.max(self.now), serial: self.serial, event });
    }

    pub(super) fn after(&mut self, pause: Duration, event: Event) {
        self.at(self.now + pause, event);
    }

    /// When the next event is due.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.events.peek().map(|next| next.at)
    }

    /// The next event, and time moves to it.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let next = self.events.pop()?;
        self.now = self.now.max(next.at);
        Some(next.event)
    }

    /// The process has something to do, a moment from now.
    pub(super) fn wake(&mut self) {
        let at = self.now + self.micros(1, 60);
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }

    pub(super) fn wake_at(&self) -> Option<Duration> {
        self.wake_at
    }

    pub(super) fn awake(&mut self) {
        self.wake_at = None;
    }

    /// A time between two numbers of microseconds.
    pub(super) fn micros(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_micros(self.random.random_range(least..=most.max(least)))
    }

    /// A number between two.
    pub(super) fn number(&mut self, least: usize, most: usize) -> usize {
        self.random.random_range(least..=most.max(least))
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    /// Adds a line to the trace.
    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        let Some(trace) = &mut self.trace else { return };
        if trace.len() == LINES {
            trace.pop_front();
        }
        trace.push_back(format!("{:>12.6}  {}", self.now.as_secs_f64(), line()));
    }

    /// A promise is broken.
    pub(super) fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.failure.is_none() {
            let what = what();
            self.tell(|| format!("!! {what}"));
            self.failure = Some(what);
        }
    }

    /// The trace.
    pub(super) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().into_iter().flatten().collect()
    }
}
