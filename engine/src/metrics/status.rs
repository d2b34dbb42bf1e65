//! The status board: what shards and Kafka clients say about themselves when it changes. Low rate, so a mutex.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fairlead_spool::State;

use super::{Health, LIVE_WITHIN, Layout, shorten};
use crate::logging::printable;

/// Most Kafka topics on the board. When it is full, a topic on hold displaces a healthy one, and what finds no place
/// is counted.
pub const MAX_TOPICS: usize = 1024;
/// The control plane's place among the shards that tell about topics: it speaks for all of them.
pub const CONTROL: usize = usize::MAX;
/// Longest reason or address on the board, bytes.
const MAX_TEXT: usize = 256;

/// Where a session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionState {
    /// The TCP connection or the CONNACK is awaited.
    #[default]
    Connecting,
    /// Accepted; the SUBACK is awaited.
    Connected,
    /// Everything is subscribed: messages may come.
    Subscribed,
    /// The broker refused the CONNECT or a SUBSCRIBE; it is tried again.
    Refused,
    /// Waiting before the next attempt.
    Backoff,
    /// The broker has forgotten it, as it was meant to.
    Ended,
}

impl SessionState {
    /// The name in `/status`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            SessionState::Connecting => "connecting",
            SessionState::Connected => "connected",
            SessionState::Subscribed => "subscribed",
            SessionState::Refused => "refused",
            SessionState::Backoff => "backoff",
            SessionState::Ended => "ended",
        }
    }
}

/// What a session says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStatus {
    /// Where it stands; changed through [`SessionStatus::enter`].
    pub state: SessionState,
    /// When it came to stand there; `None` before the first report.
    pub since: Option<Instant>,
    /// The broker of the current or last attempt.
    pub url: String,
    /// The MQTT version spoken: `5.0` or `3.1.1`; `None` before the first CONNACK.
    pub version: Option<&'static str>,
    /// Why it is not subscribed, as the broker or the system put it.
    pub reason: Option<String>,
    /// PUBLISHes that are not acknowledged.
    pub in_flight: u32,
    /// Most of them: the receive maximum.
    pub window: u32,
    /// Messages the broker dropped, from its `$SYS` topics; `None` where it does not tell.
    pub broker_dropped: Option<u64>,
}

impl SessionStatus {
    /// Enters `state` at `now`; `since` stays if it already is there.
    pub fn enter(&mut self, state: SessionState, reason: Option<String>, now: Instant) {
        if self.state != state || self.since.is_none() {
            self.since = Some(now);
        }
        (self.state, self.reason) = (state, reason);
    }
}

/// What one shard's Kafka client says about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicState {
    /// It has this many partitions.
    Available {
        /// Partitions; at least 1.
        partitions: u32,
    },
    /// Nothing can be produced to it for now.
    Hold {
        /// Why: missing, no leader, not authorised…
        reason: String,
    },
}

/// A Kafka topic as all shards see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicStatus {
    /// Partitions, as last heard; `None` where no shard could tell.
    pub partitions: Option<u32>,
    /// The reason of each shard that holds it.
    pub holds: BTreeMap<usize, String>,
    /// The loss of one Kafka broker can lose what was confirmed.
    pub fragile: bool,
}

/// Whether a shard's Kafka client reaches a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaStatus {
    /// At least one broker answers.
    pub reachable: bool,
    /// Since when it has been so; `None` before the first report.
    pub since: Option<Instant>,
    /// Why not; `None` before the first attempt ended.
    pub reason: Option<String>,
}

impl KafkaStatus {
    /// It was tried, and does not answer.
    pub(super) fn is_away(&self) -> bool {
        !self.reachable && self.reason.is_some()
    }
}

/// What a shard's spool says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// How full it is.
    pub state: State,
    /// It takes nothing any more, since its disk failed.
    pub fenced: bool,
    /// Seconds for which its disk has not answered; 0 while that is no longer than disks take.
    pub silent: u64,
    /// Everything goes through it (`ack = "spool"`), and not only what Kafka does not take in time.
    pub always: bool,
    /// Something that was durable is damaged or gone.
    pub damaged: bool,
    /// Records that were durable and are damaged or gone.
    pub corrupt: u64,
    /// Segments set aside since the start.
    pub quarantined: u64,
    /// Partitions that take nothing while others do.
    pub parked: u64,
    /// Records that wait for them.
    pub parked_records: u64,
    /// Dead letters that wait for a dead-letter log that takes nothing.
    pub stuck_dead_letters: u64,
}

impl SpoolStatus {
    /// Whether it takes messages while Kafka does not.
    #[must_use]
    pub fn takes(&self) -> bool {
        !self.fenced && self.silent == 0 && self.state != State::Full
    }
}

/// The board as it stands.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Sessions, in the order of [`Layout::sessions`].
    pub sessions: Vec<SessionStatus>,
    /// Kafka topics by name; at most [`MAX_TOPICS`].
    pub topics: BTreeMap<String, TopicStatus>,
    /// Reports on topics that found no place.
    pub topics_omitted: u64,
    /// Each shard's Kafka client.
    pub kafka: Vec<KafkaStatus>,
    /// Each shard's spool; `None` where there is none.
    pub spools: Vec<Option<SpoolStatus>>,
    /// Each shard's core; `None` before it said so.
    pub cores: Vec<Option<usize>>,
}

/// A shard's heartbeat as the control thread sees it: the turn counter, and since when it stands there.
type Pulse = Option<(u64, Instant)>;

/// The board, its labels and the shards' heartbeats.
pub struct Status {
    /// `source/client id` of each session, for reasons.
    names: Vec<String>,
    board: Mutex<Board>,
    pulses: Mutex<Vec<Pulse>>,
}

impl Status {
    pub(super) fn new(layout: &Layout) -> Status {
        let name = |source: &str, client_id: &str| shorten(&printable(&format!("{source}/{client_id}")), MAX_TEXT);
        Status {
            names: layout.sessions.iter().map(|label| name(&label.source, &label.client_id)).collect(),
            board: Mutex::new(Board {
                sessions: vec![SessionStatus::default(); layout.sessions.len()],
                kafka: vec![KafkaStatus::default(); layout.shards],
                spools: vec![None; layout.shards],
                cores: vec![None; layout.shards],
                ..Board::default()
            }),
            pulses: Mutex::new(vec![None; layout.shards]),
        }
    }

    /// Changes what session `index` (its position in [`Layout::sessions`]) says. Reason and address are cut at 256
    /// bytes and stripped of control characters.
    ///
    /// # Panics
    /// If there is no such session.
    pub fn session(&self, index: usize, update: impl FnOnce(&mut SessionStatus)) {
        let mut board = lock(&self.board);
        let session = &mut board.sessions[index];
        update(session);
        session.url = tidy(&session.url);
        session.reason = session.reason.as_deref().map(tidy);
    }

    /// What session `index` says.
    ///
    /// # Panics
    /// If there is no such session.
    #[must_use]
    pub fn session_status(&self, index: usize) -> SessionStatus {
        lock(&self.board).sessions[index].clone()
    }

    /// What the Kafka client of `shard` says about topic `name`; both texts are cut and stripped as above.
    pub fn topic(&self, shard: usize, name: &str, state: TopicState) {
        let name = tidy(name);
        let mut board = lock(&self.board);
        if !board.topics.contains_key(&name) && !board.make_room(matches!(state, TopicState::Hold { .. })) {
            board.topics_omitted += 1;
            return;
        }
        let topic = board.topics.entry(name).or_default();
        match state {
            TopicState::Available { partitions } => {
                topic.partitions = Some(partitions);
                topic.holds.remove(&shard);
            }
            TopicState::Hold { reason } => {
                topic.holds.insert(shard, tidy(&reason));
            }
        }
    }

    /// The loss of one Kafka broker can lose what was confirmed of topic `name`.
    pub fn fragile(&self, name: &str) {
        if let Some(topic) = lock(&self.board).topics.get_mut(&tidy(name)) {
            topic.fragile = true;
        }
    }

    /// Whether the Kafka client of `shard` reaches a broker at `now`, or why not.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn kafka(&self, shard: usize, reachable: Result<(), &str>, now: Instant) {
        let kafka = &mut lock(&self.board).kafka[shard];
        if kafka.reachable != reachable.is_ok() || kafka.since.is_none() {
            kafka.since = Some(now);
        }
        kafka.reachable = reachable.is_ok();
        kafka.reason = reachable.err().map(tidy);
    }

    /// What the spool of `shard` says.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn spool(&self, shard: usize, status: SpoolStatus) {
        lock(&self.board).spools[shard] = Some(status);
    }

    /// The core that `shard` runs on.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn core(&self, shard: usize, core: usize) {
        lock(&self.board).cores[shard] = Some(core);
    }

    /// A copy of the board.
    #[must_use]
    pub fn board(&self) -> Board {
        lock(&self.board).clone()
    }

    /// Whether messages are taken, see [`Health`].
    #[must_use]
    pub fn health(&self, now: Instant) -> Health {
        Health::of(&lock(&self.board), &self.names, now)
    }

    /// Looks at each shard's turn counter. To be called every second or so: what moved since the last look counts as
    /// moved at `now`.
    pub(super) fn observe(&self, turns: impl Iterator<Item = u64>, now: Instant) {
        for (pulse, turns) in lock(&self.pulses).iter_mut().zip(turns) {
            match pulse {
                Some((seen, _)) if *seen == turns => {}
                _ => *pulse = Some((turns, now)),
            }
        }
    }

    /// How long each shard's heartbeat has stood still at `now`.
    pub(super) fn still(&self, now: Instant) -> Vec<Duration> {
        let still = |pulse: &Pulse| pulse.map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(at));
        lock(&self.pulses).iter().map(still).collect()
    }
}

impl super::Metrics {
    /// Looks at the heartbeats and says whether every executor turns: each moved within [`LIVE_WITHIN`]. A caller
    /// that wants to know looks every second, because a shard counts as moved when the move is seen.
    ///
    /// # Errors
    /// Every shard that stands still, one line each.
    pub fn live(&self, now: Instant) -> Result<(), Vec<String>> {
        self.status().observe(self.shards().map(|shard| shard.counter(super::Counter::Turns)), now);
        let still = self.status().still(now).into_iter().enumerate();
        let reasons: Vec<String> = still
            .filter(|(_, still)| *still > LIVE_WITHIN)
            .map(|(shard, still)| format!("shard {shard}: no turn for {} s", still.as_secs()))
            .collect();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// Whether messages are taken, see [`Health`].
    #[must_use]
    pub fn health(&self, now: Instant) -> Health {
        self.status().health(now)
    }
}

impl Board {
    /// Whether one more topic finds a place; a hold may displace a topic that is well.
    fn make_room(&mut self, hold: bool) -> bool {
        if self.topics.len() < MAX_TOPICS {
            return true;
        }
        let well = self.topics.iter().find(|(_, topic)| topic.holds.is_empty());
        let Some(name) = well.map(|(name, _)| name.clone()).filter(|_| hold) else {
            return false;
        };
        self.topics_omitted += 1;
        self.topics.remove(&name).is_some()
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("names", &self.names).finish_non_exhaustive()
    }
}

/// A panicking writer leaves whole values behind, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One line of bounded length.
fn tidy(text: &str) -> String {
    shorten(&printable(text), MAX_TEXT)
}
