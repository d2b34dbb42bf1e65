//! The ledger: what came in and how it ended, for each route.
//!
//! `received + recovered = delivered + dead-lettered + dropped{reason} + suppressed + pending`. A shard keeps it for
//! the messages of its own sessions and the records of its own spool, so each shard balances alone whenever it is between
//! two turns. When a spool takes a message over, the session's shard counts it as handed and the spool's as taken; with
//! several shards the one may be seen before the other, and pending is corrected by the difference.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Metrics, NO_ROUTE, names::Entry, shard::Cells};
use crate::message::DropReason;

/// The messages of one route, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Read from a broker.
    pub received: u64,
    /// Found in the spool at start; counted when it is read, since only then the route is known.
    pub recovered: u64,
    /// Confirmed by Kafka.
    pub delivered: u64,
    /// Written to the dead letters.
    pub dead_lettered: u64,
    /// Given up, by reason, in the order of [`DropReason::ALL`].
    #[serde(serialize_with = "by_reason")]
    pub dropped: [u64; DropReason::ALL.len()],
    /// Second copies, acknowledged and not produced.
    pub suppressed: u64,
    /// On their way.
    pub pending: u64,
}

impl Account {
    fn of(cells: &Cells) -> Account {
        let cell = |entry: Entry| cells[entry.cell()];
        Account {
            received: cell(Entry::Received),
            recovered: cell(Entry::Recovered),
            delivered: cell(Entry::Delivered),
            dead_lettered: cell(Entry::DeadLettered),
            dropped: DropReason::ALL.map(|reason| cell(Entry::Dropped(reason))),
            suppressed: cell(Entry::Suppressed),
            pending: (cells[Entry::PENDING] + cell(Entry::Handed)).saturating_sub(cell(Entry::Taken)),
        }
    }

    /// What came in: received and recovered.
    #[must_use]
    pub fn came_in(&self) -> u64 {
        self.received.saturating_add(self.recovered)
    }

    /// What is accounted for: every end, and what is pending.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        let ends = [self.delivered, self.dead_lettered, self.dropped(), self.suppressed, self.pending];
        ends.into_iter().fold(0, u64::saturating_add)
    }

    /// Given up, for any reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.into_iter().fold(0, u64::saturating_add)
    }

    fn plus(mut self, other: &Account) -> Account {
        let dropped = self.dropped.iter_mut().zip(&other.dropped);
        let others = [
            (&mut self.received, &other.received),
            (&mut self.recovered, &other.recovered),
            (&mut self.delivered, &other.delivered),
            (&mut self.dead_lettered, &other.dead_lettered),
            (&mut self.suppressed, &other.suppressed),
            (&mut self.pending, &other.pending),
        ];
        for (sum, more) in dropped.chain(others) {
            *sum = sum.saturating_add(*more);
        }
        self
    }
}

/// The ledger of all shards at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// A shard was in the middle of a turn at every attempt: the sums need not balance, and nothing follows from it.
    pub approximate: bool,
    /// All routes together.
    pub total: Account,
    /// Each route's label and account, in order, and [`NO_ROUTE`] at the end.
    pub routes: Vec<(String, Account)>,
}

/// Attempts at a view that is had without waiting.
const ATTEMPTS: usize = 16;

/// A ledger in the making: each shard is read until it was read between two turns, and those that were are not read
/// again. It never waits, and the writers never notice.
#[derive(Debug)]
pub struct Snapshot<'a> {
    metrics: &'a Metrics,
    /// What was read of each shard, if it was consistent.
    shards: Vec<Option<Vec<Cells>>>,
}

impl<'a> Snapshot<'a> {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(metrics: &'a Metrics) -> Snapshot<'a> {
        Snapshot { metrics, shards: vec![None; metrics.shards().len()] }
    }

    /// Reads the shards that are missing; true if now none is.
    pub fn attempt(&mut self) -> bool {
        for (shard, read) in self.metrics.shards().zip(&mut self.shards).filter(|(_, read)| read.is_none()) {
            let (cells, consistent) = shard.read_ledger();
            *read = consistent.then_some(cells);
        }
        self.shards.iter().all(Option::is_some)
    }

    /// The ledger; approximate if a shard is still missing.
    #[must_use]
    pub fn finish(self) -> Ledger {
        let layout = self.metrics.layout();
        let mut sums = vec![Cells::default(); layout.routes.len() + 1];
        let mut approximate = false;
        for (shard, read) in self.metrics.shards().zip(self.shards) {
            approximate |= read.is_none();
            let cells = read.unwrap_or_else(|| shard.read_ledger().0);
            for (sum, cell) in sums.iter_mut().flatten().zip(cells.iter().flatten()) {
                *sum = sum.saturating_add(*cell);
            }
        }
        // Taken before it was seen to be read: the shards were read too far apart.
        let taken = |cells: &Cells| cells[Entry::PENDING] + cells[Entry::Handed.cell()] < cells[Entry::Taken.cell()];
        approximate |= sums.iter().any(taken);
        let accounts: Vec<Account> = sums.iter().map(Account::of).collect();
        let labels = layout.routes.iter().map(String::as_str).chain([NO_ROUTE]);
        Ledger {
            approximate,
            total: accounts.iter().fold(Account::default(), Account::plus),
            routes: labels.map(str::to_owned).zip(accounts).collect(),
        }
    }
}

/// A route whose sums do not balance: a bug of Fairlead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// The route's label.
    pub route: String,
    /// Its account.
    pub account: Account,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { received, recovered, delivered, dead_lettered, suppressed, pending, .. } = self.account;
        write!(
            f,
            "the ledger of route `{}` does not balance, which is a bug: received {received} + recovered {recovered} \
             is not delivered {delivered} + dead-lettered {dead_lettered} + dropped {} + suppressed {suppressed} + \
             pending {pending}",
            self.route.escape_debug(),
            self.account.dropped(),
        )
    }
}

impl Ledger {
    /// Reads every shard's ledger at once, each between two of its turns where that can be had without waiting.
    #[must_use]
    pub fn of(metrics: &Metrics) -> Ledger {
        let mut snapshot = Snapshot::new(metrics);
        for _ in 0..ATTEMPTS {
            if snapshot.attempt() {
                break;
            }
            std::hint::spin_loop();
        }
        snapshot.finish()
    }

    /// The first route that does not balance. `None` where all do, and on an approximate view, which proves nothing.
    #[must_use]
    pub fn imbalance(&self) -> Option<Imbalance> {
        let unbalanced = |account: &Account| account.came_in() != account.accounted();
        let (route, account) = self.routes.iter().find(|(_, account)| !self.approximate && unbalanced(account))?;
        Some(Imbalance { route: route.clone(), account: *account })
    }

    /// The ledger as a table for people: routes that saw a message, and the total.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header([
            "route",
            "received",
            "recovered",
            "delivered",
            "dead-lettered",
            "dropped",
            "suppressed",
            "pending",
        ]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let busy = self.routes.iter().filter(|(_, account)| account.came_in() + account.accounted() > 0);
        for (route, account) in busy.map(|(route, account)| (route.as_str(), account)).chain([("total", &self.total)]) {
            table.add_row([
                route.escape_debug().to_string(),
                account.received.to_string(),
                account.recovered.to_string(),
                account.delivered.to_string(),
                account.dead_lettered.to_string(),
                reasons(account),
                account.suppressed.to_string(),
                account.pending.to_string(),
            ]);
        }
        table.to_string()
    }
}

/// `5 (empty 2, too_large 3)`.
fn reasons(account: &Account) -> String {
    let counted = DropReason::ALL.iter().zip(account.dropped).filter(|(_, n)| *n > 0);
    let reasons: Vec<String> = counted.map(|(reason, n)| format!("{} {n}", reason.label())).collect();
    if reasons.is_empty() {
        return "0".to_owned();
    }
    format!("{} ({})", account.dropped(), reasons.join(", "))
}

fn by_reason<S: Serializer>(dropped: &[u64; DropReason::ALL.len()], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(dropped.len()))?;
    for (reason, n) in DropReason::ALL.iter().zip(dropped) {
        map.serialize_entry(reason.label(), n)?;
    }
    map.end()
}
