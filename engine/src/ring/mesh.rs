//! The rings of all ordered pairs of shards.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{Doorbell, Reader, Writer, ring};
use crate::message::{Receipt, Record};

/// Slots of the record ring of one pair: about a turn's worth of small messages.
pub(crate) const RECORD_SLOTS: usize = 4096;
/// Records that may be outstanding (no receipt taken yet) on one pair, and so the slots of its receipts ring.
pub(crate) const OUTSTANDING: usize = 65_536;
const _: () = assert!(OUTSTANDING >= RECORD_SLOTS);

/// Everything shards share; taken apart into one [`Port`] for each.
#[derive(Debug)]
pub struct Mesh(Vec<Port>);

/// One pair, seen from the shard that sends records and takes receipts.
#[derive(Debug)]
struct Outgoing {
    records: Writer<Record>,
    receipts: Reader<Receipt>,
    /// Set when the records sent must not wait for more.
    saturated: Arc<AtomicBool>,
    outstanding: usize,
    rung: bool,
}

/// One pair, seen from the shard that takes records and sends receipts.
#[derive(Debug)]
struct Incoming {
    records: Reader<Record>,
    receipts: Writer<Receipt>,
    saturated: Arc<AtomicBool>,
    rung: bool,
}

/// A shard's ends of its rings, and all doorbells.
#[derive(Debug)]
pub struct Port {
    shard: usize,
    outgoing: Vec<Option<Outgoing>>,
    incoming: Vec<Option<Incoming>>,
    doorbells: Arc<[Doorbell]>,
    traffic: Traffic,
}

/// What went over a shard's rings to other shards. The counts only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Records sent.
    pub records: u64,
    /// Receipts sent.
    pub receipts: u64,
    /// Times a record came back: its ring was full, or `OUTSTANDING` records of its pair had no receipt.
    pub full: u64,
}

impl Mesh {
    /// The rings of `shards` shards.
    #[must_use]
    pub fn new(shards: usize) -> Mesh {
        let doorbells: Arc<[Doorbell]> = (0..shards).map(|_| Doorbell::default()).collect();
        let mut ports: Vec<Port> = (0..shards)
            .map(|shard| Port {
                shard,
                outgoing: (0..shards).map(|_| None).collect(),
                incoming: (0..shards).map(|_| None).collect(),
                doorbells: doorbells.clone(),
                traffic: Traffic::default(),
            })
            .collect();
        for from in 0..shards {
            for to in (0..shards).filter(|to| *to != from) {
                let (record_writer, record_reader) = ring(RECORD_SLOTS);
                let (receipt_writer, receipt_reader) = ring(OUTSTANDING);
                let saturated = Arc::new(AtomicBool::new(false));
                ports[from].outgoing[to] = Some(Outgoing {
                    records: record_writer,
                    receipts: receipt_reader,
                    saturated: saturated.clone(),
                    outstanding: 0,
                    rung: true,
                });
                ports[to].incoming[from] =
                    Some(Incoming { records: record_reader, receipts: receipt_writer, saturated, rung: true });
            }
        }
        Mesh(ports)
    }

    /// The ports, in the order of the shards.
    #[must_use]
    pub fn into_ports(self) -> Vec<Port> {
        self.0
    }
}

impl Port {
    /// This shard's index.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.doorbells.len()
    }

    /// All doorbells, in the order of the shards.
    #[must_use]
    pub fn doorbells(&self) -> &Arc<[Doorbell]> {
        &self.doorbells
    }

    /// Sends a record to the lane of another shard; [`Port::ring`] tells that shard.
    ///
    /// # Errors
    /// Gives the record back when the ring is full or `OUTSTANDING` records of this pair wait for their receipt.
    pub fn send(&mut self, to: usize, record: Record) -> Result<(), Record> {
        let Some(pair) = self.outgoing[to].as_mut() else {
            return Err(record);
        };
        if pair.outstanding == OUTSTANDING {
            self.traffic.full += 1;
            return Err(record);
        }
        pair.records.push(record).inspect_err(|_| self.traffic.full += 1)?;
        self.traffic.records += 1;
        pair.outstanding += 1;
        pair.rung = false;
        Ok(())
    }

    /// Sends a receipt back to the shard of the session.
    pub fn send_receipt(&mut self, receipt: Receipt) {
        let to = receipt.ticket.shard();
        let pair = self.incoming[to].as_mut().expect("a receipt goes back over the pair its record came from");
        let full = pair.receipts.push(receipt).is_err();
        assert!(!full, "a receipts ring has a slot for each outstanding record");
        self.traffic.receipts += 1;
        pair.rung = false;
    }

    /// Rings the doorbell of every shard that something was sent to since the last call: once a chunk.
    pub fn ring(&mut self) {
        for (shard, bell) in self.doorbells.iter().enumerate() {
            let sent_records =
                self.outgoing[shard].as_mut().is_some_and(|pair| !std::mem::replace(&mut pair.rung, true));
            let sent_receipts =
                self.incoming[shard].as_mut().is_some_and(|pair| !std::mem::replace(&mut pair.rung, true));
            if sent_records || sent_receipts {
                bell.ring();
            }
        }
    }

    /// A session has all in flight that it may: the records just sent must not wait for more.
    pub fn send_saturated(&mut self) {
        for pair in self.outgoing.iter().flatten().filter(|pair| !pair.rung) {
            pair.saturated.store(true, Ordering::Release);
        }
    }

    /// A session may have all in flight that it may, and stands still: no shard that owes a receipt is to wait for more,
    /// although it was rung for the records.
    pub fn send_silent(&mut self) {
        for pair in self.outgoing.iter_mut().flatten().filter(|pair| pair.outstanding > 0) {
            pair.saturated.store(true, Ordering::Release);
            pair.rung = false;
        }
    }

    /// Whether another shard's records must not wait for more; asked after [`Port::take_records`].
    pub fn take_saturated(&mut self) -> bool {
        self.incoming.iter().flatten().fold(false, |any, pair| pair.saturated.swap(false, Ordering::Acquire) | any)
    }

    /// Takes up to `most` records that other shards sent here.
    pub fn take_records(&mut self, most: usize, mut each: impl FnMut(Record)) -> usize {
        let mut left = most;
        for pair in self.incoming.iter_mut().flatten() {
            left -= pair.records.take(left, &mut each);
        }
        most - left
    }

    /// Takes all receipts for sessions of this shard.
    pub fn take_receipts(&mut self, mut each: impl FnMut(Receipt)) -> usize {
        let mut taken = 0;
        for pair in self.outgoing.iter_mut().flatten() {
            let count = pair.receipts.take(OUTSTANDING, &mut each);
            pair.outstanding -= count;
            taken += count;
        }
        taken
    }

    /// What went to other shards so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Records that wait in this shard's incoming rings.
    #[must_use]
    pub fn waiting_records(&self) -> usize {
        self.incoming.iter().flatten().map(|pair| pair.records.len()).sum()
    }

    /// Most records that may be outstanding, all pairs of this shard.
    #[must_use]
    pub fn outstanding_limit(&self) -> usize {
        self.outgoing.iter().flatten().count() * OUTSTANDING
    }

    /// Records sent to other shards whose receipt has not been taken.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outgoing.iter().flatten().map(|pair| pair.outstanding).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Outcome, RouteId, Ticket, TopicId};

    fn record(position: u32) -> Record {
        let ticket = Ticket::new(0, 0, 0, position);
        Record {
            ticket,
            topic: TopicId(0),
            route: RouteId(0),
            partition: 0,
            key: None,
            value: None,
            mqtt_topic: None,
            extra: None,
        }
    }

    fn receipt(record: &Record) -> Receipt {
        Receipt { ticket: record.ticket, route: record.route, outcome: Outcome::Delivered }
    }

    #[test]
    fn a_full_pair_gives_records_back_until_receipts_are_taken() {
        let mut ports = Mesh::new(2).into_ports();
        let (mut one, mut zero) = (ports.pop().unwrap(), ports.pop().unwrap());
        let mut sent = 0;
        while sent < OUTSTANDING {
            if zero.send(1, record(sent as u32)).is_ok() {
                sent += 1;
                continue;
            }
            let mut taken = Vec::new();
            assert_eq!(one.take_records(usize::MAX, |record| taken.push(record)), RECORD_SLOTS);
            taken.iter().for_each(|record| one.send_receipt(receipt(record)));
        }
        let full = zero.traffic().full;
        assert!(full > 0, "the ring is smaller than what may be outstanding");
        assert!(zero.send(1, record(0)).is_err(), "no more than OUTSTANDING without a receipt taken");
        assert_eq!(zero.traffic(), Traffic { records: OUTSTANDING as u64, receipts: 0, full: full + 1 });
        assert_eq!(one.traffic(), Traffic { records: 0, receipts: (OUTSTANDING - RECORD_SLOTS) as u64, full: 0 });
        let mut next = 0;
        let taken = zero.take_receipts(|receipt| {
            assert_eq!(receipt.ticket.position(), next);
            next += 1;
        });
        assert_eq!(zero.outstanding(), OUTSTANDING - taken);
        one.take_records(usize::MAX, |_| ());
        assert!(zero.send(1, record(0)).is_ok());
    }

    #[test]
    fn a_shard_that_was_rung_for_its_records_hears_of_silence_all_the_same() {
        let mut ports = Mesh::new(2).into_ports();
        let (mut one, mut zero) = (ports.pop().unwrap(), ports.pop().unwrap());
        zero.send_saturated();
        assert!(!one.take_saturated(), "nothing was sent");
        zero.send(1, record(0)).unwrap();
        zero.send_saturated();
        zero.ring();
        assert_eq!((one.take_saturated(), one.take_saturated()), (true, false));
        zero.send_saturated();
        assert!(!one.take_saturated(), "its records were handed over before");
        zero.send_silent();
        assert!(one.take_saturated());
    }
}
