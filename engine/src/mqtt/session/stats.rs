//! What a session counts.

/// Counts of what happens too often for an [`Event`](super::Event). They only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// PUBLISHes at QoS 0, 1 and 2.
    pub publishes: [u64; 3],
    /// PUBLISHes with the RETAIN flag.
    pub retained: u64,
    /// PUBLISHes with the DUP flag.
    pub dup: u64,
    /// PUBLISHes that came again after a lost connection and were attached to the message handed out before.
    pub attached: u64,
    /// PUBLISHes at QoS 2 whose packet identifier was still open, and which were not handed out again.
    pub repeated: u64,
    /// Receipts for messages that are gone.
    pub stale_receipts: u64,
    /// PUBLISHes that came during a shutdown and were left to the broker.
    pub declined: u64,
    /// Events dropped because [`EVENTS`](super::EVENTS) waited.
    pub events_dropped: u64,
    /// PUBACKs appended to the output.
    pub pubacks: u64,
    /// PUBRECs appended to the output.
    pub pubrecs: u64,
    /// PUBCOMPs appended to the output.
    pub pubcomps: u64,
    /// PINGREQs appended to the output.
    pub pings: u64,
}

impl Stats {
    /// The counts of two sessions together.
    #[must_use]
    pub fn plus(self, other: Stats) -> Stats {
        Stats {
            publishes: std::array::from_fn(|qos| self.publishes[qos] + other.publishes[qos]),
            retained: self.retained + other.retained,
            dup: self.dup + other.dup,
            attached: self.attached + other.attached,
            repeated: self.repeated + other.repeated,
            stale_receipts: self.stale_receipts + other.stale_receipts,
            declined: self.declined + other.declined,
            events_dropped: self.events_dropped + other.events_dropped,
            pubacks: self.pubacks + other.pubacks,
            pubrecs: self.pubrecs + other.pubrecs,
            pubcomps: self.pubcomps + other.pubcomps,
            pings: self.pings + other.pings,
        }
    }
}
