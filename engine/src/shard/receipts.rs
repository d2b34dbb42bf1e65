//! The ledger's hand in the shard: what a session offers, and what the lane says of it.

use std::time::Instant;

use super::{
    intake::{Offered, Stalled},
    state::Shard,
};
use crate::{
    message::{DropReason, Outcome, Receipt, RouteId, Ticket},
    metrics::{Counter, Entry},
    mqtt::Session,
};

impl Shard {
    /// Counts what became of a PUBLISH, and acknowledges what ends here. What stalls comes back.
    pub(super) fn account(&self, session: &mut Session, ticket: Ticket, offered: Offered) -> Option<Stalled> {
        let (route, end) = match offered {
            Offered::Stalled(stalled) => return Some(stalled),
            Offered::Sent(route) => (route, None),
            Offered::Dropped(route, reason) => (route, Some(Entry::Dropped(reason))),
            Offered::Suppressed => (RouteId::NONE, Some(Entry::Suppressed)),
        };
        self.metrics().ledger(route, Entry::Received, 1);
        if let Some(end) = end {
            self.metrics().ledger(route, end, 1);
            session.handle_receipt(ticket);
        } else {
            self.add_outstanding(route, 1);
            if self.acknowledges_at_once() {
                session.handle_receipt(ticket);
            }
        }
        None
    }

    /// Counts a packet above `max_packet` that was skipped.
    pub(super) fn account_oversized(&self) {
        self.metrics().ledger(RouteId::NONE, Entry::Received, 1);
        self.metrics().ledger(RouteId::NONE, Entry::Dropped(DropReason::Oversized), 1);
    }

    /// Takes receipts to their sessions and wakes these.
    pub(super) fn distribute(&self, now: Instant, receipts: &mut Vec<Receipt>) {
        self.metrics().begin_turn();
        let mut receipts = receipts.drain(..).peekable();
        while let Some(slot) = receipts.peek().map(|receipt| receipt.ticket.slot()) {
            let slot = &self.slots[slot];
            let mut session = slot.session.borrow_mut();
            while let Some(receipt) = receipts.next_if(|next| std::ptr::eq(&self.slots[next.ticket.slot()], slot)) {
                self.settle(&mut session, receipt);
            }
            if slot.confirmed_at.get().is_none() {
                slot.confirmed_at.set(Some(now));
            }
            slot.bell.ring();
        }
        self.metrics().end_turn();
    }

    fn settle(&self, session: &mut Session, receipt: Receipt) {
        let entry = match receipt.outcome {
            Outcome::Delivered => Entry::Delivered,
            Outcome::Dropped(reason) => Entry::Dropped(reason),
        };
        self.metrics().ledger(receipt.route, entry, 1);
        self.add_outstanding(receipt.route, -1);
        if !session.handle_receipt(receipt.ticket) && !self.acknowledges_at_once() {
            self.metrics().add(Counter::ReceiptsGone, 1);
        }
    }

    /// At the end: what was acknowledged before Kafka had it, and is still pending, is lost.
    pub(super) fn give_up_acknowledged(&self) {
        if !self.acknowledges_at_once() {
            return;
        }
        self.metrics().begin_turn();
        for (index, pending) in self.outstanding.borrow_mut().iter_mut().enumerate() {
            let none = index == self.settings.routes.len();
            let route = if none { RouteId::NONE } else { RouteId(index as u16) };
            self.metrics().ledger(route, Entry::Dropped(DropReason::Shutdown), std::mem::take(pending));
            self.metrics().set_pending(route, 0);
        }
        self.metrics().end_turn();
    }

    fn add_outstanding(&self, route: RouteId, change: i64) {
        let mut outstanding = self.outstanding.borrow_mut();
        let last = outstanding.len() - 1;
        let place = usize::from(route.0).min(last);
        outstanding[place] = outstanding[place].checked_add_signed(change).expect("a receipt for each record, once");
        self.metrics().set_pending(route, outstanding[place]);
    }
}
