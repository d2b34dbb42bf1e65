//! What a turn adds to the ledger, summed up here and published between turns, so that a reader of the metrics never
//! sees half a turn.

use crate::{
    message::{DropReason, Outcome, RouteId},
    metrics::{Entry, ShardMetrics},
    spool::Movement,
};

/// One route's sums since the last publication, and what is on its way.
#[derive(Clone, Debug, Default)]
struct Row {
    received: u64,
    delivered: u64,
    dead_lettered: u64,
    suppressed: u64,
    dropped: [u64; DropReason::ALL.len()],
    outstanding: u64,
    /// The spool of another lane, or ours, answers for so many of our messages since the last publication.
    handed: u64,
    /// Our spool answers for so many more since the last publication, and so many were found in it.
    taken: u64,
    recovered: u64,
    /// Our spool answers for so many.
    spooled: u64,
    touched: bool,
}

/// The ledger's hand in one shard.
#[derive(Debug)]
pub(crate) struct Tally {
    /// One for each route; the last is for messages of no route.
    rows: Vec<Row>,
    touched: bool,
}

impl Tally {
    pub(crate) fn new(routes: usize) -> Tally {
        Tally { rows: vec![Row::default(); routes + 1], touched: false }
    }

    /// A message came and is on its way; a receipt follows.
    pub(crate) fn sent(&mut self, route: RouteId) {
        let row = self.row(route);
        row.received += 1;
        row.outstanding += 1;
    }

    /// A message came and ended at once.
    pub(crate) fn dropped(&mut self, route: RouteId, reason: DropReason) {
        let row = self.row(route);
        row.received += 1;
        row.dropped[reason as usize] += 1;
    }

    /// A message came, and another copy of it counts.
    pub(crate) fn suppressed(&mut self) {
        let row = self.row(RouteId::NONE);
        row.received += 1;
        row.suppressed += 1;
    }

    /// The receipt of a message that was on its way.
    pub(crate) fn settled(&mut self, route: RouteId, outcome: Outcome) {
        let row = self.row(route);
        match outcome {
            Outcome::Delivered => row.delivered += 1,
            Outcome::DeadLettered(_) => row.dead_lettered += 1,
            Outcome::Spooled => row.handed += 1,
            Outcome::Dropped(reason) => row.dropped[reason as usize] += 1,
        }
        row.outstanding = row.outstanding.checked_sub(1).expect("one receipt for each record");
    }

    /// Something happened in our spool.
    pub(crate) fn moved(&mut self, route: RouteId, movement: Movement) {
        let row = self.row(route);
        match movement {
            Movement::Taken => row.taken += 1,
            Movement::Recovered => row.recovered += 1,
            Movement::Ended(Outcome::Dropped(reason)) => row.dropped[reason as usize] += 1,
            Movement::Ended(Outcome::DeadLettered(_)) => row.dead_lettered += 1,
            Movement::Ended(_) => row.delivered += 1,
            Movement::Gone(recovered, taken) => {
                row.recovered += recovered;
                row.dropped[DropReason::Corrupt as usize] += recovered;
                return self.gone(taken);
            }
        }
        match movement {
            Movement::Taken | Movement::Recovered => row.spooled += 1,
            Movement::Ended(_) => {
                row.spooled = row.spooled.checked_sub(1).expect("only what the spool answers for ends there");
            }
            Movement::Gone(..) => {}
        }
    }

    /// Our spool has lost so many for which it answered. Their routes are not known: the first that have any bear them.
    fn gone(&mut self, mut count: u64) {
        for row in &mut self.rows {
            let part = row.spooled.min(count);
            row.spooled -= part;
            row.dropped[DropReason::Corrupt as usize] += part;
            row.touched |= part > 0;
            count -= part;
        }
        assert_eq!(count, 0, "only what the spool answers for is lost there");
    }

    /// Whatever is on its way is lost.
    pub(crate) fn give_up(&mut self) {
        for row in &mut self.rows {
            row.dropped[DropReason::Shutdown as usize] += std::mem::take(&mut row.outstanding);
            row.touched = true;
        }
        self.touched = true;
    }

    /// Messages on their way.
    pub(crate) fn outstanding(&self) -> u64 {
        self.rows.iter().map(|row| row.outstanding).sum()
    }

    /// Moves the sums into the metrics.
    pub(crate) fn publish(&mut self, metrics: &ShardMetrics) {
        if !std::mem::take(&mut self.touched) {
            return;
        }
        let none = self.rows.len() - 1;
        metrics.begin_turn();
        for (index, row) in self.rows.iter_mut().enumerate().filter(|(_, row)| row.touched) {
            let route = if index == none { RouteId::NONE } else { RouteId(index as u16) };
            metrics.ledger(route, Entry::Received, row.received);
            metrics.ledger(route, Entry::Delivered, row.delivered);
            metrics.ledger(route, Entry::DeadLettered, row.dead_lettered);
            metrics.ledger(route, Entry::Suppressed, row.suppressed);
            metrics.ledger(route, Entry::Recovered, row.recovered);
            metrics.ledger(route, Entry::Taken, row.taken);
            metrics.ledger(route, Entry::Handed, row.handed);
            for reason in DropReason::ALL {
                metrics.ledger(route, Entry::Dropped(reason), row.dropped[reason as usize]);
            }
            metrics.set_pending(route, row.outstanding + row.spooled);
            *row = Row { outstanding: row.outstanding, spooled: row.spooled, ..Row::default() };
        }
        metrics.end_turn();
    }

    fn row(&mut self, route: RouteId) -> &mut Row {
        self.touched = true;
        let place = usize::from(route.0).min(self.rows.len() - 1);
        let row = &mut self.rows[place];
        row.touched = true;
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Layout, Ledger, Metrics};

    #[test]
    fn every_message_is_in_the_ledger_once() {
        let metrics = Metrics::new(Layout { shards: 1, routes: vec!["a".to_owned()], sessions: Vec::new() });
        let mut tally = Tally::new(1);
        (0..5).for_each(|_| tally.sent(RouteId(0)));
        tally.settled(RouteId(0), Outcome::Delivered);
        tally.settled(RouteId(0), Outcome::Dropped(DropReason::TooLarge));
        tally.dropped(RouteId::NONE, DropReason::NoRoute);
        tally.suppressed();
        tally.publish(metrics.shard(0));
        let ledger = Ledger::of(&metrics);
        assert!(ledger.imbalance().is_none());
        let total = ledger.total;
        assert_eq!((total.received, total.delivered, total.dropped(), total.suppressed), (7, 1, 2, 1));
        assert_eq!((total.pending, tally.outstanding()), (3, 3));
        tally.give_up();
        tally.publish(metrics.shard(0));
        let total = Ledger::of(&metrics).total;
        assert_eq!((total.received, total.dropped(), total.pending), (7, 5, 0));
        assert!(Ledger::of(&metrics).imbalance().is_none());
    }
}
