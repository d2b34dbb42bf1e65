//! Receipts on their way back to the sessions, and what is counted on the way.

use std::time::Instant;

use super::{
    intake::{Offered, Stalled},
    state::Shard,
    tally::Tally,
};
use crate::{
    message::{Receipt, Ticket},
    metrics::Counter,
    mqtt::Session,
};

impl Shard {
    /// Counts what became of a PUBLISH, and acknowledges what ends here. What stalls comes back.
    pub(super) fn account(
        &self,
        tally: &mut Tally,
        session: &mut Session,
        ticket: Ticket,
        offered: Offered,
    ) -> Option<Stalled> {
        let ends = match offered {
            Offered::Stalled(stalled) => return Some(stalled),
            Offered::Sent(route) => {
                tally.sent(route);
                self.acknowledges_at_once()
            }
            Offered::Dropped(route, reason) => {
                tally.dropped(route, reason);
                true
            }
            Offered::Suppressed => {
                tally.suppressed();
                true
            }
        };
        if ends {
            session.handle_receipt(ticket);
        }
        None
    }

    /// Takes receipts to their sessions and wakes these.
    pub(super) fn distribute(&self, now: Instant, receipts: &mut Vec<Receipt>) {
        let mut tally = self.tally.borrow_mut();
        let mut gone = 0;
        let mut receipts = receipts.drain(..).peekable();
        while let Some(slot) = receipts.peek().map(|receipt| receipt.ticket.slot()) {
            let slot = &self.slots[slot];
            let mut session = slot.session.borrow_mut();
            while let Some(receipt) = receipts.next_if(|next| std::ptr::eq(&self.slots[next.ticket.slot()], slot)) {
                tally.settled(receipt.route, receipt.outcome);
                let known = session.handle_receipt(receipt.ticket);
                gone += u64::from(!known && !self.acknowledges_at_once());
            }
            if slot.confirmed_at.get().is_none() {
                slot.confirmed_at.set(Some(now));
            }
            slot.bell.ring();
        }
        tally.publish(self.metrics());
        self.metrics().add(Counter::ReceiptsGone, gone);
    }
}
