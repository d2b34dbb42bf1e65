//! Keeps the packet identifiers of a shard's sessions: takes what they want kept to the log of identifiers, and the word
//! that it is durable back. What becomes durable in one turn becomes so together.

use std::{
    io,
    sync::Arc,
    time::{Instant, UNIX_EPOCH},
};

use fairlead_spool::{Usage, disk::Real};

use super::{clock, state::Shard};
use crate::{
    mqtt::{Former, Session},
    ring::Doorbell,
    spool::{Done, Ids, Jobs, SessionKey, Worker},
};

/// The log of identifiers and the threads that run its jobs.
pub(super) struct Keeper {
    // Before the log, because its end waits for the jobs under way.
    worker: Worker<Real>,
    ids: Ids<Real>,
}

impl Keeper {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system has no more threads.
    pub(super) fn start(ids: Ids<Real>, shard: usize, doorbells: &Arc<[Doorbell]>) -> io::Result<Keeper> {
        Ok(Keeper { worker: Worker::start("ids", shard, doorbells)?, ids })
    }

    /// Tells a session to keep its identifiers, and which are open. `kept` is what is remembered of the session beside the
    /// spool: whether its identifiers were kept to the last. Ids that were not are old: a message under one that only looks
    /// open would be lost.
    pub(super) fn hand_to(&self, session: &mut Session, key: SessionKey, kept: Option<bool>) {
        session.keep_ids(match (kept, self.ids.open(key)) {
            (Some(false), _) | (None, None) => Former::Unknown,
            (Some(true), None) => Former::Lost,
            (_, Some(open)) => Former::Open(open.iter().map(|(&id, &content)| (id, content)).collect()),
        });
    }

    /// Whether the log has a segment ready, as far as the disk allows.
    pub(super) fn is_prepared(&self) -> bool {
        self.ids.is_prepared()
    }

    /// What the log holds and has met.
    pub(super) fn usage(&self) -> Usage {
        self.ids.usage()
    }

    fn take_done(&mut self, now: Instant) {
        while let Some(done) = self.worker.poll() {
            let failed = match done {
                Done::Commit(done, _) => self.ids.handle_committed(now, done).err().map(|error| error.to_string()),
                Done::Upkeep(done) => self.ids.handle_upkeep(now, done).err().map(|error| error.to_string()),
                Done::Read(_) => None,
            };
            if let Some(error) = failed {
                tracing::error!("packet ids: {error}");
            }
        }
    }

    fn start_jobs(&mut self, now: Instant) {
        if let Some(commit) = self.ids.poll_commit(now) {
            self.worker.commit(commit);
        }
        if let Some(upkeep) = self.ids.poll_upkeep(now) {
            self.worker.upkeep(upkeep);
        }
    }
}

impl Shard {
    /// One turn of the log of identifiers, after the receipts of the turn.
    pub(super) fn keep_ids(&self, now: Instant) {
        let Some(keeper) = &self.keeper else { return };
        let mut keeper = keeper.borrow_mut();
        keeper.take_done(now);
        while let Some(slot) = keeper.ids.poll_durable() {
            let slot = &self.slots[slot];
            slot.session.borrow_mut().handle_id_durable();
            slot.bell.ring();
        }
        let time = clock::wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        keeper.ids.poll(time);
        'slots: for (index, slot) in self.slots.iter().enumerate() {
            let Some(key) = slot.keeps_ids else { continue };
            let mut session = slot.session.borrow_mut();
            while let Some(record) = session.poll_id() {
                if keeper.ids.append(index, key, record, time).is_err() {
                    // There is room after the next commit or upkeep, which ring.
                    break 'slots;
                }
                session.handle_id_taken();
            }
        }
        keeper.start_jobs(now);
    }

    /// When the log of identifiers is to be looked at although nothing came.
    pub(super) fn ids_timeout(&self) -> Option<Instant> {
        self.keeper.as_ref().and_then(|keeper| keeper.borrow().ids.poll_timeout())
    }
}
