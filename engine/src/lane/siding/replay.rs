//! Out of the log: what is read goes to the lane, as much as that wants.

use std::time::{Duration, Instant};

use fairlead_spool::{Batch, ReadError, disk::Disk};

use super::{Movements, Siding};
use crate::{
    lane::{Inside, Lane, passage::Step},
    message::{DropReason, Extra, Outcome, Record, RouteId, Ticket},
    route::partition::partition,
    spool::{Decoded, Jobs, Movement, Replayed},
};

/// Pause before a read is tried again that failed.
const READ_PAUSE: Duration = Duration::from_secs(1);

impl<D: Disk> Siding<D> {
    /// Follows what is parked.
    pub(super) fn poll_passage(&mut self, now: Instant, lane: &mut Lane, inside: &impl Inside) {
        let Some(passage) = &mut self.passage else { return };
        let mut opened = false;
        if !passage.complete && self.replayed.is_empty() && self.store.is_read() {
            opened = passage.handle_read(self.store.unread() == 0);
        }
        if self.store.backlog() == 0 && lane.is_empty() {
            passage.clear();
        }
        let expired = self.hold_for.is_some_and(|hold_for| passage.expire(now, hold_for, lane, inside));
        if passage.poll(now, lane) || opened || expired {
            self.rewind();
        }
    }

    /// What the log of parked partitions does not take, because its disk has failed or is full, follows what it has.
    /// Nothing is appended from then on until the lane is empty: after a crash what is in the log comes first.
    pub(super) fn leave_log(&self, now: Instant, lane: &mut Lane) {
        let Some(passage) = &self.passage else { return };
        let (fenced, full) = (self.store.is_fenced(), self.store.is_full());
        let mut left = lane.closed && !lane.is_empty();
        let is_read = self.store.unread() == 0 && self.replayed.is_empty() && passage.complete;
        if is_read && (fenced || full || left) {
            left |= lane.leave_log(now);
        }
        lane.set_log(fenced || left, full);
    }

    /// Takes what was read.
    pub(super) fn handle_read(&mut self, now: Instant, read: Result<Batch, ReadError>, moves: &mut Movements) {
        let batch = match read {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!("{error}");
                self.read_at = Some(now + READ_PAUSE);
                return self.store.handle_read_failed();
            }
        };
        let replayed = &mut self.replayed;
        let (mut recovered, mut taken, unknown) = (0, 0, self.counted + 1..=self.recovered);
        let lost = |sequence| if unknown.contains(&sequence) { recovered += 1 } else { taken += 1 };
        let gaps = self.store.handle_read(batch, |record| replayed.push_back(record), lost);
        for gap in &gaps {
            tracing::error!("records {} to {} of the spool cannot be read any more", gap.first, gap.last);
        }
        if !gaps.is_empty() {
            moves.ledger.push((RouteId::NONE, Movement::Gone(recovered, taken)));
        }
    }

    /// What was read goes to the lane, and more is read if the lane wants it.
    pub(super) fn replay(&mut self, now: Instant, lane: &mut Lane, jobs: &mut impl Jobs<D>, moves: &mut Movements) {
        self.resumes_at = None;
        while let Some(replayed) = self.replayed.front() {
            self.resumes_at = self.pace.as_ref().and_then(|pace| pace.rest(now));
            if self.resumes_at.is_some() {
                return;
            }
            let Some(decoded) = &replayed.record else {
                self.give_up(moves);
                continue;
            };
            let found = self.directory.find(&decoded.kafka_topic);
            let Some((topic, partitions)) = found else { return };
            let sequence = replayed.sequence;
            let place = (topic, partition(decoded.key.as_deref().unwrap_or(decoded.mqtt_topic()), partitions));
            let ended = self.store.has_ended(sequence) || self.moved.contains(&sequence);
            let step = match &mut self.passage {
                Some(passage) if !ended => passage.step(now, lane, place, sequence),
                _ => Step::Take,
            };
            if step == Step::Wait {
                return;
            }
            let Some(Replayed { time, record: Some(decoded), .. }) = self.replayed.pop_front() else { return };
            let route = self.routes.iter().position(|route| *route == decoded.route);
            let route = route.map_or(RouteId::NONE, |route| RouteId(route as u16));
            if sequence <= self.recovered && sequence > self.counted {
                self.counted = sequence;
                moves.ledger.push((route, Movement::Recovered));
                self.passage.iter_mut().filter(|_| !ended).for_each(|passage| passage.begin(place, 1));
            }
            if ended || step == Step::Pass {
                continue;
            }
            let Decoded { key, value, mqtt_topic, headers, dead, .. } = decoded;
            // A clock that was ahead and has been set leaves times that Kafka would refuse for as long.
            let time = Some(time.min(self.time(now)));
            let extra = Some(Box::new(Extra { headers, time, dead }));
            let ticket = Ticket::stored(self.log, sequence);
            let record = Record { ticket, topic, route, partition: place.1, key, value, mqtt_topic, extra };
            if let (Some(passage), Step::Expire) = (&mut self.passage, step) {
                passage.expired(place, sequence);
                moves.expired.push(record);
                continue;
            }
            lane.handle_replayed(now, record);
            if let Some(passage) = &mut self.passage {
                passage.taken(place, sequence);
            }
            if let Some(pace) = &mut self.pace {
                pace.spend(now);
            }
        }
        if !lane.wants_replay() {
            return;
        }
        if self.read_at.is_some_and(|at| now < at) {
            return;
        }
        self.read_at = None;
        if let Some(read) = self.store.poll_read() {
            jobs.read(read);
        } else if let Some(batch) = self.store.poll_unsynced() {
            self.handle_read(now, Ok(batch), moves);
        }
    }

    /// A record that this version cannot read.
    fn give_up(&mut self, moves: &mut Movements) {
        let Some(replayed) = self.replayed.pop_front() else { return };
        let outcome = Outcome::Dropped(DropReason::Corrupt);
        tracing::error!("record {} of the spool is of a format that this version does not know", replayed.sequence);
        moves.ledger.extend([(RouteId::NONE, Movement::Recovered), (RouteId::NONE, Movement::Ended(outcome))]);
        let _ = self.store.handle_ended(replayed.sequence, outcome);
    }
}
