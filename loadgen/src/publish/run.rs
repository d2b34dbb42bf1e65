//! What the clients of a run share: pace, gate, counts.

use crate::latency::Latency;
use crate::ledger::AckLog;
use crate::mqtt::Qos;
use crate::pace::Pace;
use crate::progress::Progress;
use crate::traffic::Place;
use std::sync::Arc;

/// Buffers kept for later packets; more are given back.
const MAX_SPARE: usize = 1_024;

/// What all clients of a run share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) qos: Qos,
    pub(crate) pace: Pace,
    pub(crate) started_ns: i64,
    pub(crate) progress: Arc<Progress>,
    /// The most payload bytes that may be sent and not verified.
    pub(crate) ahead: Option<u64>,
    /// Messages sent, by publisher.
    pub(crate) sent: Vec<u64>,
    pub(crate) ack_log: AckLog,
    pub(crate) latency: Latency,
    pub(crate) counts: Counts,
    /// First and last acknowledgement, or write at QoS 0.
    pub(crate) span_ns: Option<(i64, i64)>,
    /// Nothing new is sent any more.
    pub(crate) is_stopping: bool,
    /// Buffers of packets that are acknowledged, and of the payload that is being made.
    pub(super) spare: Vec<Vec<u8>>,
    pub(super) payload: Vec<u8>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) resent: u64,
    pub(crate) refused: u64,
    pub(crate) acks_unknown: u64,
    pub(crate) sessions_lost: u64,
}

impl Run {
    pub(crate) fn new(
        qos: Qos,
        (pace, started_ns): (Pace, i64),
        progress: Arc<Progress>,
        ahead: Option<u64>,
        run_id: u32,
        topics: usize,
    ) -> Self {
        Self {
            qos,
            pace,
            started_ns,
            progress,
            ahead,
            sent: vec![0; topics],
            ack_log: AckLog::new(run_id, topics),
            latency: Latency::new(),
            counts: Counts::default(),
            span_ns: None,
            is_stopping: false,
            spare: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// When a message is meant to be sent; as fast as possible: now.
    pub(crate) fn intended_ns(&self, place: Place, now: i64) -> i64 {
        self.pace.offset_ns(place.number, place.at_ns).map_or(now, |offset| self.started_ns + offset)
    }

    /// Whether something new may be sent: not after a stop, and not when the receiving end is too far behind.
    pub(crate) fn is_gate_open(&self) -> bool {
        !self.is_stopping && self.ahead.is_none_or(|limit| self.progress.bytes_ahead() < limit)
    }

    pub(super) fn note_time(&mut self, now: i64) {
        let first = self.span_ns.map_or(now, |span| span.0);
        self.span_ns = Some((first, now));
    }

    pub(super) fn give_back(&mut self, packet: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(packet);
        }
    }
}
