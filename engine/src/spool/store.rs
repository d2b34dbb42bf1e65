//! One shard's log and what is known of its records: which wait to be synced, which have ended, how far replay is.
//! Sans-IO: what blocks is in the jobs that the log hands out.

use std::{collections::VecDeque, time::Instant};

use fairlead_spool::{
    AppendError, Batch, Commit, CommitError, Committed, Gap, Kept, Kind, Log, Position, Read, Recovery, Sequence,
    Upkeep, UpkeepError, Usage, disk::Disk,
};

use super::{
    entry::{self, Decoded},
    progress::{Progress, SPAN},
};
use crate::{
    message::{Outcome, Receipt, Record, RouteId, Ticket},
    mqtt::Payload,
};

/// Bytes that one read of the replay asks for.
const READ: usize = 1 << 20;

/// A record that was appended and is not synced.
#[derive(Debug)]
struct Waiting {
    /// Where its receipt goes.
    ticket: Ticket,
    route: RouteId,
    /// It has ended before it was synced, and its receipt has left.
    ended: bool,
}

/// What the ledger has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// The spool answers for a record from now on.
    Taken,
    /// A record of an earlier process was found.
    Recovered,
    /// A record that the spool answered for has ended.
    Ended(Outcome),
    /// Records that cannot be read any more, and whose routes are not known therefore: so many of an earlier process that
    /// were not found yet, and so many that the spool answered for.
    Gone(u64, u64),
}

/// A record that was read for replay.
#[derive(Debug)]
pub struct Replayed {
    /// Its number in the log.
    pub sequence: Sequence,
    /// When the message was received, in milliseconds since 1970.
    pub time: u64,
    /// What it is; `None` where this version cannot read it.
    pub record: Option<Decoded>,
}

/// A read that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// What it brings comes next.
    Next,
    /// Replay was rewound meanwhile: what it brings does not count.
    Stale,
}

/// One shard's log.
#[derive(Debug)]
pub struct Store<D: Disk> {
    log: Log<D>,
    meta: Vec<u8>,
    /// Consecutive, from the first record that is not synced, or whose receipt has not left.
    waiting: VecDeque<Waiting>,
    first_waiting: Sequence,
    /// Those of them that have ended.
    ended: u64,
    progress: Progress,
    /// Where replay reads on.
    position: Position,
    reading: Option<Reading>,
}

impl<D: Disk> Store<D> {
    /// A store on a log that was just opened.
    #[must_use]
    pub fn new(log: Log<D>, recovery: &Recovery) -> Store<D> {
        Store {
            meta: Vec::new(),
            waiting: VecDeque::new(),
            first_waiting: recovery.appended + 1,
            ended: 0,
            progress: Progress::new(recovery.start.sequence),
            position: recovery.start,
            reading: None,
            log,
        }
    }

    /// Copies a record into the group that is being filled. Its receipt follows when it is synced.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(
        &mut self,
        record: &Record,
        kafka_topic: &str,
        route: u32,
        time: u64,
    ) -> Result<Sequence, AppendError> {
        let mut meta = std::mem::take(&mut self.meta);
        entry::encode(record, kafka_topic, route, &mut meta);
        let appended = self.log.append(&entry::entry(record, &meta, time));
        self.meta = meta;
        let sequence = appended?;
        debug_assert_eq!(sequence, self.first_waiting + self.waiting.len() as u64);
        self.waiting.push_back(Waiting { ticket: record.ticket, route: record.route, ended: false });
        Ok(sequence)
    }

    /// The next group to be made durable.
    pub fn poll_commit(&mut self, now: Instant) -> Option<Commit<D>> {
        self.log.poll_commit(now)
    }

    /// Takes a group back. [`Store::poll_receipt`] has the receipts.
    ///
    /// # Errors
    /// See [`CommitError`]; the records stay and are written again.
    pub fn handle_committed(&mut self, now: Instant, done: Committed<D>) -> Result<(), CommitError> {
        let committed = self.log.handle_committed(now, done);
        self.release();
        committed.map(drop)
    }

    /// The receipt of the next record that is synced, with what the ledger has to know.
    pub fn poll_receipt(&mut self) -> Option<Receipt> {
        while self.first_waiting <= self.log.synced() {
            let Waiting { ticket, route, ended } = self.waiting.pop_front()?;
            let sequence = self.first_waiting;
            self.first_waiting += 1;
            if !ended {
                return Some(Receipt { ticket, route, outcome: Outcome::Spooled });
            }
            self.ended -= 1;
            self.end(sequence);
        }
        None
    }

    /// A record has ended. The receipt, where the session has none yet; otherwise the spool answered for the record.
    pub fn handle_ended(&mut self, sequence: Sequence, outcome: Outcome) -> Option<Receipt> {
        let Some(place) = sequence.checked_sub(self.first_waiting) else {
            self.end(sequence);
            return None;
        };
        let waiting = self.waiting.get_mut(place as usize)?;
        self.ended += u64::from(!std::mem::replace(&mut waiting.ended, true));
        Some(Receipt { ticket: waiting.ticket, route: waiting.route, outcome })
    }

    fn end(&mut self, sequence: Sequence) {
        let base = self.progress.base();
        self.progress.end(sequence);
        if self.progress.base() > base {
            self.release();
        }
    }

    /// Tells the log what has ended. The last records of an earlier process may have to be made durable again, and may end
    /// before.
    fn release(&mut self) {
        self.log.release((self.progress.base() - 1).min(self.log.synced()));
    }

    /// Whether the record has ended.
    #[must_use]
    pub fn has_ended(&self, sequence: Sequence) -> bool {
        match sequence.checked_sub(self.first_waiting) {
            Some(place) => self.waiting.get(place as usize).is_some_and(|waiting| waiting.ended),
            None => self.progress.has_ended(sequence),
        }
    }

    /// Replay begins again at the oldest record that has not ended.
    pub fn rewind(&mut self) {
        self.position = self.log.start();
        self.reading = self.reading.map(|_| Reading::Stale);
    }

    /// The next read of the replay. `None` while one is under way, when everything synced was read, or when the
    /// oldest record that has not ended is too far behind.
    pub fn poll_read(&mut self) -> Option<Read<D>> {
        if self.reading.is_some() || self.position.sequence.saturating_sub(self.progress.base()) >= SPAN {
            return None;
        }
        let read = self.log.read(self.position, READ)?;
        self.reading = Some(Reading::Next);
        Some(read)
    }

    /// What is left to read of a log whose disk is full or has failed: what it has in memory.
    pub fn poll_unsynced(&mut self) -> Option<Batch> {
        if self.reading.is_some() {
            return None;
        }
        // What has ended before replay came to it need not be read.
        let batch = self.log.unsynced(self.position.sequence.max(self.progress.base()))?;
        self.reading = Some(Reading::Next);
        Some(batch)
    }

    /// A read could not be done; it is asked for again.
    pub fn handle_read_failed(&mut self) {
        self.reading = None;
    }

    /// Takes what was read, and hands out what has not ended. What cannot be read any more comes back; `lost` gets each
    /// record of it that had not ended.
    pub fn handle_read(
        &mut self,
        batch: Batch,
        mut replay: impl FnMut(Replayed),
        mut lost: impl FnMut(Sequence),
    ) -> Vec<Gap> {
        if self.reading.take() == Some(Reading::Stale) {
            return Vec::new();
        }
        let Batch { buffer, records, next, gaps } = batch;
        let buffer = Payload::from(buffer);
        for stored in records {
            if !self.has_ended(stored.sequence) {
                let record = if stored.kind == Kind::Data { entry::decode(&buffer, &stored) } else { None };
                replay(Replayed { sequence: stored.sequence, time: stored.time, record });
            }
        }
        for gap in &gaps {
            for sequence in gap.first..=gap.last {
                if self.progress.has_ended(sequence) {
                    continue;
                }
                lost(sequence);
                self.end(sequence);
            }
        }
        self.position = next;
        gaps
    }

    /// Records that replay has not read. What has ended before it came to them need not be.
    #[must_use]
    pub fn unread(&self) -> u64 {
        (self.log.appended() + 1).saturating_sub(self.position.sequence.max(self.progress.base()))
    }

    /// Whether everything was read that can be now.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.reading.is_none() && self.log.read(self.position, READ).is_none()
    }

    /// Whether a segment is ready for what comes, as far as the disk allows.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.log.is_prepared()
    }

    /// The next piece of upkeep.
    pub fn poll_upkeep(&mut self, now: Instant) -> Option<Upkeep<D>> {
        self.log.poll_upkeep(now)
    }

    /// Takes upkeep back.
    ///
    /// # Errors
    /// See [`UpkeepError`].
    pub fn handle_upkeep(&mut self, now: Instant, done: Kept<D>) -> Result<(), UpkeepError> {
        self.log.handle_upkeep(now, done)
    }

    /// When to poll again although nothing came.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.log.poll_timeout()
    }

    /// Records that wait to be synced and whose sessions have no receipt.
    #[must_use]
    pub fn unreceipted(&self) -> usize {
        self.waiting.iter().filter(|waiting| !waiting.ended && !waiting.ticket.is_stored()).count()
    }

    /// Records that wait to be synced and that lie in another log until then.
    #[must_use]
    pub fn arriving(&self) -> usize {
        self.waiting.iter().filter(|waiting| !waiting.ended && waiting.ticket.is_stored()).count()
    }

    /// Records of the log that have not ended, synced or not.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        (self.log.appended() + 1).saturating_sub(self.progress.base() + self.ended)
    }

    /// Asks for the cursor to be written without waiting for its turn.
    pub fn stop(&mut self) {
        self.log.request_cursor();
    }

    /// Whether nobody waits and the durable cursor says all that it can, as far as a failed disk takes it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let (ended, fenced) = (self.progress.base() - 1, self.log.is_fenced());
        // What an earlier process left and no witness called durable ends like anything else, but lies in its file: before
        // it is synced in another the cursor cannot pass it, and it would come again. Where [spool] max leaves no segment for
        // that, there is one when the cursor lets another go.
        let moves = !fenced && !self.log.is_refused();
        let known = if moves { ended } else { ended.min(self.log.synced()) };
        let written = self.log.delivered() >= known || fenced && self.log.is_resting();
        // What a full or failed log does not take is in Kafka when it has ended, and need not be synced.
        let stuck = fenced || self.log.is_full();
        written && if stuck { self.unreceipted() == 0 } else { self.waiting.is_empty() }
    }

    /// Whether nothing more is taken until the next start, because the disk failed.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.log.is_fenced()
    }

    /// Whether there is no room for a record.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.log.is_full()
    }

    /// Whether there is a segment to append to.
    #[must_use]
    pub fn has_segment(&self) -> bool {
        self.log.has_segment()
    }

    /// Whether no job is under way: the log may be closed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.reading.is_none() && self.log.is_idle()
    }

    /// What the log holds and has met.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.log.usage()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fairlead_spool::{
        Name, Options, Spool,
        disk::{Memory, Operation},
    };

    use super::*;
    use crate::{message::TopicId, shard::clock};

    const OPTIONS: Options =
        Options { max: 8 << 16, min_free: 0, segment: 1 << 16, group: 8 << 10, record: 16 << 10, shards: 1 };

    fn record() -> Record {
        let (ticket, route, topic) = (Ticket::new(0, 0, 0, 0), RouteId(0), TopicId(0));
        Record { ticket, topic, route, partition: 0, key: None, value: None, mqtt_topic: None, extra: None }
    }

    /// A spool in memory with so many records that are synced and have their receipts.
    fn synced(records: u64) -> (Memory, Store<Memory>) {
        let disk = Memory::new();
        let (spool, _) = Spool::open(disk.clone(), "/spool", OPTIONS).unwrap();
        let (log, recovery) = spool.log(Name::Shard(0)).unwrap();
        let (mut store, now) = (Store::new(log, &recovery), clock::now());
        upkeep(&mut store, now);
        for sequence in 1..=records {
            assert_eq!(store.append(&record(), "topic", 0, 0), Ok(sequence));
        }
        let commit = store.poll_commit(now).unwrap();
        store.handle_committed(now, commit.run()).unwrap();
        while store.poll_receipt().is_some() {}
        (disk, store)
    }

    /// The records up to here are in Kafka.
    fn end(store: &mut Store<Memory>, last: Sequence) {
        for sequence in 1..=last {
            store.handle_ended(sequence, Outcome::Delivered);
        }
    }

    /// Does what upkeep is due, and says whether all of it could be done.
    fn upkeep(store: &mut Store<Memory>, now: Instant) -> bool {
        let mut done = true;
        while let Some(upkeep) = store.poll_upkeep(now) {
            done &= store.handle_upkeep(now, upkeep.run()).is_ok();
        }
        done
    }

    /// Shadows may be delivered before replay comes to them: it would wait for what nobody reads.
    #[test]
    fn what_has_ended_need_not_be_read() {
        let (_, mut store) = synced(3);
        assert_eq!(store.unread(), 3);
        assert!(store.handle_ended(1, Outcome::Delivered).is_none());
        assert_eq!(store.unread(), 2);
        assert!(store.handle_ended(3, Outcome::Delivered).is_none());
        assert_eq!(store.unread(), 2, "the second stands before it");
        assert!(store.handle_ended(2, Outcome::Delivered).is_none());
        assert!(store.poll_read().is_none());
        assert_eq!(store.unread(), 0);
    }

    /// It would come again at the next start.
    #[test]
    fn a_failed_log_is_settled_when_its_cursor_was_written_or_the_disk_refuses_it() {
        for refuses in [false, true] {
            let (disk, mut store) = synced(3);
            let mut now = clock::now();
            disk.fail(Operation::Sync, 0, u64::MAX, libc::EIO);
            assert_eq!(store.append(&record(), "topic", 0, 0), Ok(4));
            while !store.is_fenced() {
                upkeep(&mut store, now);
                if let Some(commit) = store.poll_commit(now) {
                    assert!(store.handle_committed(now, commit.run()).is_err());
                }
                now += Duration::from_millis(300);
            }
            assert!(!store.is_settled(), "one waits for its receipt");
            end(&mut store, 4);
            store.stop();
            assert!(!store.is_settled(), "the cursor was not tried");
            if !refuses {
                disk.heal();
            }
            assert_eq!(upkeep(&mut store, now), !refuses);
            assert!(store.is_settled());
        }
    }

    /// Nothing would ever end the wait.
    #[test]
    fn a_full_log_is_settled_although_what_has_ended_cannot_be_synced() {
        let (disk, mut store) = synced(1);
        let mut now = clock::now();
        disk.limit_space(Some(0));
        let mut appended = 1;
        // What a file does not take goes into the next one, until there is none.
        while !store.is_full() {
            now += Duration::from_millis(300);
            upkeep(&mut store, now);
            appended += u64::from(store.append(&record(), "topic", 0, 0).is_ok());
            disk.fail(Operation::Sync, 0, 1, libc::EIO);
            for failed in [true, false] {
                if let Some(commit) = store.poll_commit(now) {
                    assert_eq!(store.handle_committed(now, commit.run()).is_err(), failed);
                }
            }
        }
        while store.poll_receipt().is_some() {}
        assert!(store.unreceipted() > 0 && !store.is_settled());
        end(&mut store, appended);
        store.stop();
        assert!(!store.is_settled(), "the cursor was not written");
        upkeep(&mut store, now + Duration::from_millis(300));
        assert!(store.is_settled());
    }

    /// The next process would send it again: the cursor cannot pass what is not synced.
    #[test]
    fn is_not_settled_before_what_an_earlier_process_left_is_synced_where_the_disk_takes_it() {
        for refuses in [false, true] {
            let disk = synced(3).0.kill();
            let (spool, _) = Spool::open(disk.clone(), "/spool", OPTIONS).unwrap();
            let (log, recovery) = spool.log(Name::Shard(0)).unwrap();
            assert_eq!((recovery.synced, recovery.appended), (0, 3), "nothing behind them says that they are durable");
            let (mut store, now) = (Store::new(log, &recovery), clock::now());
            end(&mut store, 3);
            store.stop();
            assert!(!store.is_settled());
            if refuses {
                disk.fail(Operation::Rename, 0, u64::MAX, libc::ENOSPC);
            }
            assert_eq!(upkeep(&mut store, now), !refuses);
            assert_eq!(store.is_settled(), refuses);
            if let Some(commit) = store.poll_commit(now) {
                store.handle_committed(now, commit.run()).unwrap();
                assert!(!store.is_settled(), "the cursor was not written");
                upkeep(&mut store, now);
            }
            assert!(store.is_settled());
            drop(store);
            let (spool, _) = Spool::open(disk.kill(), "/spool", OPTIONS).unwrap();
            let backlog = spool.log(Name::Shard(0)).unwrap().1.backlog;
            assert_eq!(backlog, if refuses { 3 } else { 0 });
        }
    }
}
