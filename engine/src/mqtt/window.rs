//! The window of a session: which messages have been handed out and are not safe yet, and which acknowledgements
//! are owed to the broker, in the order of its PUBLISHes (MQTT 5.0 §4.6).
//!
//! These are two queues, because a connection may be lost while its messages live on. The *places* are one for
//! each message handed out, QoS 0 too, at consecutive positions; they go when the message and all before it are
//! safe, whatever becomes of the connection. The *debts* are one for each PUBLISH of QoS 1 or 2 on the current
//! connection; each waits for a position. When the connection is lost the debts are struck out and remembered by
//! packet identifier: the broker still holds those messages and sends them again. A PUBLISH that comes again incurs
//! a new debt on the old position and is not handed out a second time.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use crate::message::Qos;

/// Places beyond the receive maximum: messages of QoS 0, which the protocol does not bound.
pub const QOS_0_PLACES: usize = 65_536;

/// The smallest window that brokers keep by themselves: mosquitto's on 3.1.1.
const LEAST_WINDOW: usize = 20;

/// Stalls in a row below the estimate after which the estimate follows.
const STALLS_TO_LOWER: u32 = 8;

/// Set in a [`Place`] once its message is safe. Packets are shorter than 2²⁸ bytes, so the bit is free.
const SAFE: u32 = 1 << 31;

/// One message handed out: the bytes of its packet, and [`SAFE`].
type Place = u32;

/// One acknowledgement owed.
#[derive(Clone, Copy, Debug)]
struct Debt {
    position: Position,
    wire: u32,
    packet_id: u16,
    qos: Qos,
}
const _: () = assert!(size_of::<Debt>() == 16);

/// Position of a message in the session, counted without wrapping; a ticket carries its lower half.
pub(super) type Position = u64;

/// The position of a message of an earlier process. It is safe.
pub(super) const EARLIER: Position = Position::MAX;

/// The window of a session.
#[derive(Debug)]
pub(super) struct Window {
    places: VecDeque<Place>,
    /// Position of the first place.
    base: Position,
    bytes: u64,
    debts: VecDeque<Debt>,
    /// Debts at QoS 1 of connections that are gone: position and bytes, by packet identifier.
    detached: HashMap<u16, (Position, u32), FixedState>,
    receive_maximum: usize,
    saturation: Saturation,
}

impl Window {
    /// An empty window for at most `receive_maximum` messages of QoS 1 and 2, and [`QOS_0_PLACES`] of QoS 0.
    pub(super) fn new(receive_maximum: u16) -> Window {
        Window {
            places: VecDeque::new(),
            base: 0,
            bytes: 0,
            debts: VecDeque::new(),
            detached: HashMap::with_hasher(FixedState::default()),
            receive_maximum: usize::from(receive_maximum.max(1)),
            saturation: Saturation::default(),
        }
    }

    /// Takes a place for a message of `wire` bytes and returns its position. At QoS 1 and 2 its acknowledgement is
    /// owed from now on.
    #[inline]
    pub(super) fn push(&mut self, packet_id: u16, qos: Qos, wire: u32) -> Position {
        let position = self.base + self.places.len() as u64;
        self.places.push_back(wire & !SAFE);
        self.bytes += u64::from(wire);
        if qos != Qos::AtMostOnce {
            self.owe(packet_id, qos, position, wire);
        }
        position
    }

    /// Owes an acknowledgement for a message that has its position already.
    #[inline]
    pub(super) fn owe(&mut self, packet_id: u16, qos: Qos, position: Position, wire: u32) {
        self.debts.push_back(Debt { position, wire, packet_id, qos });
        self.saturation.arrived(self.debts.len());
    }

    /// Marks the message of a ticket's position as safe. False if there is none, or it was safe already.
    #[inline]
    pub(super) fn resolve(&mut self, position: u32) -> bool {
        let index = position.wrapping_sub(self.base as u32) as usize;
        match self.places.get_mut(index) {
            Some(place) if *place & SAFE == 0 => *place |= SAFE,
            _ => return false,
        }
        if index == 0 {
            self.drop_safe_prefix();
        }
        true
    }

    fn drop_safe_prefix(&mut self) {
        while let Some(&place) = self.places.front() {
            if place & SAFE == 0 {
                return;
            }
            self.bytes -= u64::from(place & !SAFE);
            self.base += 1;
            self.places.pop_front();
        }
    }

    /// Pays what is due, oldest first: every debt before the first whose message is not safe, or that `pay` does not
    /// pay yet.
    #[inline]
    pub(super) fn release(&mut self, mut pay: impl FnMut(u16, Qos) -> bool) {
        while let Some(&debt) = self.debts.front() {
            if !self.is_safe(debt.position) || !pay(debt.packet_id, debt.qos) {
                return;
            }
            self.debts.pop_front();
        }
    }

    /// Whether the message at this position is safe.
    #[inline]
    pub(super) fn is_safe(&self, position: Position) -> bool {
        match position.checked_sub(self.base) {
            Some(index) => self.places.get(index as usize).is_none_or(|place| place & SAFE != 0),
            None => true,
        }
    }

    /// The connection is gone and the session may go on: debts at QoS 1 are remembered by packet identifier. (At
    /// QoS 2 the open identifiers are remembered anyway.)
    pub(super) fn detach(&mut self) {
        for debt in self.debts.drain(..) {
            if debt.qos == Qos::AtLeastOnce {
                self.detached.insert(debt.packet_id, (debt.position, debt.wire));
            }
        }
        self.saturation = Saturation::default();
    }

    /// Owes the acknowledgement of a PUBLISH at QoS 1 again if it is one that a lost connection brought, and says
    /// whether it is. `dup` is its DUP flag: without it the packet identifier has been given to a new message.
    ///
    /// A packet of another length is another message as well, whatever the standard says about the identifier:
    /// better twice than lost.
    #[inline]
    pub(super) fn reattach(&mut self, packet_id: u16, dup: bool, wire: u32) -> bool {
        if self.detached.is_empty() {
            return false;
        }
        match self.detached.remove(&packet_id) {
            Some((position, length)) if dup && length == wire => {
                self.owe(packet_id, Qos::AtLeastOnce, position, wire);
                true
            }
            _ => false,
        }
    }

    /// The session is gone: nothing is owed any more, and receipts find nothing. Positions go on.
    pub(super) fn clear(&mut self) {
        self.base += self.places.len() as u64;
        self.places.clear();
        self.bytes = 0;
        self.debts.clear();
        self.detached.clear();
        self.saturation = Saturation::default();
    }

    /// Whether no further message fits.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.places.len() >= self.receive_maximum + QOS_0_PLACES
    }

    /// Messages of QoS 1 and 2 of the current connection that are not acknowledged.
    #[inline]
    pub(super) fn in_flight(&self) -> usize {
        self.debts.len()
    }

    /// Messages handed out that are not safe, and safe ones behind them.
    pub(super) fn unacknowledged(&self) -> usize {
        self.places.len()
    }

    /// Whether every message handed out is safe and every acknowledgement released.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.debts.is_empty()
    }

    /// Bytes received from the oldest message that is not safe until now: what may be pinned.
    #[inline]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing more can come before an acknowledgement leaves.
    #[inline]
    pub(super) fn saturated(&self) -> bool {
        let in_flight = self.debts.len();
        in_flight > 0 && in_flight >= self.saturation.estimate.unwrap_or(usize::MAX).min(self.receive_maximum)
    }

    /// The same where nothing has come for a while: a broker lets more be in flight at one time than at another
    /// (mosquitto loses count), so that the estimate may be too high.
    pub(super) fn may_be_saturated(&self) -> bool {
        self.debts.len() >= LEAST_WINDOW || self.saturated()
    }

    /// A whole linger has passed without anything new.
    pub(super) fn stalled(&mut self) {
        self.saturation.stalled(self.debts.len());
    }
}

/// How many messages the broker keeps in flight before it waits, learned: brokers have limits of their own (20 in
/// mosquitto on 3.1.1, 32 in EMQX) below the receive maximum, and a batch that waits for more than can come costs
/// a linger for each window.
///
/// The estimate is the highest number in flight at which a whole linger passed without anything new. More in flight
/// raises it at once; eight stalls in a row below it lower it to the highest of these, so that a broker that has
/// less to send is not waited for either. Nothing is known on a fresh connection: then only a full receive maximum
/// counts as saturated.
#[derive(Clone, Copy, Debug, Default)]
struct Saturation {
    estimate: Option<usize>,
    /// Stalls in a row below the estimate, and the highest number in flight among them.
    below: u32,
    highest_below: usize,
}

impl Saturation {
    #[inline]
    fn arrived(&mut self, in_flight: usize) {
        if let Some(estimate) = self.estimate
            && in_flight >= estimate
        {
            *self = Saturation { estimate: Some(in_flight), ..Saturation::default() };
        }
    }

    fn stalled(&mut self, in_flight: usize) {
        if in_flight == 0 {
            return;
        }
        let known = self.estimate.unwrap_or(0);
        if in_flight >= known {
            *self = Saturation { estimate: Some(in_flight), ..Saturation::default() };
            return;
        }
        self.below += 1;
        self.highest_below = self.highest_below.max(in_flight);
        if self.below >= STALLS_TO_LOWER {
            *self = Saturation { estimate: Some(self.highest_below), ..Saturation::default() };
        }
    }
}

#[cfg(test)]
mod tests;
