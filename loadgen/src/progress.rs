//! What a run has done so far, shared by publisher, verifier and whoever shows it.

use crate::latency::Percentiles;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// No target is known yet.
const UNKNOWN: u64 = u64::MAX;

/// Counters that one side writes and the others read; none of them guards other memory.
#[derive(Debug)]
pub struct Progress {
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    acknowledged: AtomicU64,
    verified: AtomicU64,
    verified_bytes: AtomicU64,
    target: AtomicU64,
    to_ack: Mutex<Percentiles>,
    end_to_end: Mutex<Percentiles>,
}

/// All numbers of a [`Progress`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Snapshot {
    /// Messages sent, each counted once.
    pub sent: u64,
    /// Their payload bytes.
    pub sent_bytes: u64,
    /// Messages that the broker acknowledged.
    pub acknowledged: u64,
    /// Messages found in Kafka, each counted once.
    pub verified: u64,
    /// Sent and not yet found in Kafka.
    pub in_flight: u64,
    /// From sending to the broker's acknowledgement.
    pub to_ack: Percentiles,
    /// From sending to the record in Kafka.
    pub end_to_end: Percentiles,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            sent: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            verified_bytes: AtomicU64::new(0),
            target: AtomicU64::new(UNKNOWN),
            to_ack: Mutex::new(Percentiles::default()),
            end_to_end: Mutex::new(Percentiles::default()),
        }
    }
}

impl Progress {
    /// The publisher's side: one message of `bytes` payload bytes.
    pub(crate) fn note_sent(&self, bytes: u64) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The same for a sender that counts by itself: totals.
    pub(crate) fn note_all_sent(&self, messages: u64, bytes: u64) {
        self.sent.store(messages, Ordering::Relaxed);
        self.sent_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn note_acknowledged(&self, total: u64, to_ack: Percentiles) {
        self.acknowledged.store(total, Ordering::Relaxed);
        *self.to_ack.lock().unwrap_or_else(PoisonError::into_inner) = to_ack;
    }

    /// The verifier's side: `total` distinct messages of `bytes` payload bytes were found so far.
    pub(crate) fn note_verified(&self, total: u64, bytes: u64) {
        self.verified.store(total, Ordering::Relaxed);
        self.verified_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn note_end_to_end(&self, end_to_end: Percentiles) {
        *self.end_to_end.lock().unwrap_or_else(PoisonError::into_inner) = end_to_end;
    }

    /// Payload bytes that were sent and not found in Kafka yet.
    pub fn bytes_ahead(&self) -> u64 {
        let verified = self.verified_bytes.load(Ordering::Relaxed);
        self.sent_bytes.load(Ordering::Relaxed).saturating_sub(verified)
    }

    /// Nothing more will be sent than what was sent: a verifier that follows may end when it has found all of it.
    pub fn set_target(&self, messages: u64) {
        self.target.store(messages, Ordering::Relaxed);
    }

    /// How many messages there are to find, once that is known.
    pub fn target(&self) -> Option<u64> {
        let target = self.target.load(Ordering::Relaxed);
        (target != UNKNOWN).then_some(target)
    }

    /// All numbers now. They are read one after the other, so they may differ by what happened in between.
    pub fn snapshot(&self) -> Snapshot {
        let verified = self.verified.load(Ordering::Relaxed);
        let sent = self.sent.load(Ordering::Relaxed);
        Snapshot {
            sent,
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            verified,
            in_flight: sent.saturating_sub(verified),
            to_ack: *self.to_ack.lock().unwrap_or_else(PoisonError::into_inner),
            end_to_end: *self.end_to_end.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}
