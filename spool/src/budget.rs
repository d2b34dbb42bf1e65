//! The bytes all logs share, and how full they are.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

/// From here on the spool warns.
const HIGH_PERCENT: u64 = 80;

/// A full spool takes records again when no more than this is in use.
const OK_PERCENT: u64 = 70;

/// Bytes that all logs of a spool share. Relaxed: the numbers order nothing but themselves.
#[derive(Debug)]
pub(crate) struct Budget {
    max: u64,
    /// Of all segments and spares, or reserved for them.
    taken: AtomicU64,
    /// Of the segments that hold records.
    live: AtomicU64,
}

/// How full a spool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Less than 80 % in use.
    #[default]
    Ok,
    /// 80 % or more.
    High,
    /// A segment was needed and none was to be had; OK again at 70 %.
    Full,
}

/// What a log, or all logs together, hold and have met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the segments that hold records.
    pub bytes: u64,
    /// Not yet delivered.
    pub records: u64,
    /// That hold records.
    pub segments: u64,
    /// When the oldest record of the oldest segment was received: milliseconds since 1970.
    pub oldest: Option<u64>,
    /// How full.
    pub state: State,
    /// Something that was durable is damaged or gone.
    pub degraded: bool,
    /// Takes nothing more.
    pub fenced: bool,
    /// Since when the disk has not answered; `None` where nothing is asked of it.
    pub waits_since: Option<Instant>,
    /// What has happened since the start.
    pub counters: Counts,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What has happened since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        /// The same, counted by jobs as well.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64,)* }

        impl Counters {
            pub(crate) fn counts(&self) -> Counts {
                Counts { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl Counts {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Groups made durable.
    groups,
    /// Records in them.
    appended,
    /// Marks made durable.
    marks,
    /// Syncs of a group that failed.
    failed_syncs,
    /// Torn tails cut at start.
    torn_tails,
    /// Records that had been durable and cannot be read.
    corrupt_records,
    /// Cursors made durable.
    cursors,
    /// Segments made from a delivered one.
    recycled,
    /// Damaged segments kept aside.
    quarantined,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Self { max, taken: AtomicU64::new(0), live: AtomicU64::new(0) }
    }

    /// Takes what exists already, or is reserved.
    pub(crate) fn occupy(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Relaxed);
    }

    /// Takes `bytes` if they are to be had.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        self.taken
            .fetch_update(Relaxed, Relaxed, |taken| taken.checked_add(bytes).filter(|&sum| sum <= self.max))
            .is_ok()
    }

    pub(crate) fn give(&self, bytes: u64) {
        let before = self.taken.fetch_sub(bytes, Relaxed);
        assert!(before >= bytes, "more bytes given back than taken");
    }

    /// A log's live segments went from `before` to `after` bytes.
    pub(crate) fn moved(&self, before: u64, after: u64) {
        self.live.fetch_add(after.wrapping_sub(before), Relaxed);
    }

    pub(crate) fn is_high(&self) -> bool {
        self.live.load(Relaxed) >= self.max / 100 * HIGH_PERCENT
    }

    pub(crate) fn has_drained(&self) -> bool {
        self.live.load(Relaxed) <= self.max / 100 * OK_PERCENT
    }
}

impl Usage {
    /// Adds another log's.
    pub fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.records += other.records;
        self.segments += other.segments;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self.state = self.state.max(other.state);
        self.degraded |= other.degraded;
        self.fenced |= other.fenced;
        self.waits_since = self.waits_since.into_iter().chain(other.waits_since).min();
        self.counters.add(&other.counters);
    }
}
