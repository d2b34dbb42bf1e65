//! The task of a shard's lane: takes what comes from rings and from librdkafka, and hands on receipts.

use std::{
    pin::pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use futures_lite::future::{poll_fn, yield_now};

use super::{
    alarm::Alarm,
    clock,
    state::{Shard, Slot},
};
use crate::{
    lane::{Driver, Siding},
    metrics::Stage,
    mqtt::SILENT,
};

/// How often a shard that has nothing to do shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How far the shard is with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Phase {
    Running,
    Draining,
    PastDeadline,
}

/// Runs until every session of every shard is finished and the lane is empty, or the drain's deadline is over.
pub(super) async fn run(shard: Rc<Shard>) {
    let doorbells = shard.driver.borrow().port().doorbells().clone();
    let (mut alarm, mut phase, mut topics) = (Alarm::default(), Phase::Running, (0, false));
    let mut published = clock::now();
    // The first turn prepares the spool.
    shard.bell.ring();
    while !shard.is_finished() {
        let idle = poll_fn(|cx| {
            let rung = pin!(doorbells[shard.index].wait()).poll(cx).is_ready();
            let rung = shard.bell.poll(cx).is_ready() || rung;
            if rung {
                return Poll::Ready(false);
            }
            let next = clock::now() + if shard.slots.iter().any(may_be_saturated) { SILENT } else { HEARTBEAT };
            let wanted = shard.driver.borrow().poll_timeout().into_iter().chain(shard.ids_timeout()).min();
            let deadline = wanted.map_or(next, |deadline| deadline.min(next));
            alarm.poll(cx, Some(deadline)).map(|()| true)
        })
        .await;
        let now = clock::now();
        shard.metrics().heartbeat();
        let progress = shard.turn(now);
        if idle {
            shard.tell_silent(now);
        }
        let known = shard.intake.borrow().known_topics();
        // A session that waits tries again when there is room or a topic more, and now and then.
        if progress || idle || std::mem::replace(&mut topics, known) != known {
            shard.wake_stalled();
        }
        if now.saturating_duration_since(published) >= HEARTBEAT {
            published = now;
            shard.driver.borrow_mut().set_clock(now, clock::wall());
            shard.publish(now);
        }
        shard.proceed(&mut phase);
        // Everything a shard does comes in batches; between two of them the sessions have their turn.
        yield_now().await;
    }
}

fn may_be_saturated(slot: &Slot) -> bool {
    slot.session.borrow().may_be_saturated()
}

impl Shard {
    /// One turn of the lane. Returns whether there is more room in it or in a ring.
    fn turn(&self, now: Instant) -> bool {
        let mut turn = self.turn.borrow_mut();
        let mut driver = self.driver.borrow_mut();
        if driver.poll_timeout().is_some_and(|deadline| now >= deadline) {
            self.tell_stalled(now);
        }
        driver.poll(now, &mut turn);
        self.record_hold_time(&mut driver);
        let confirm = driver.take_confirm_time();
        drop(driver);
        let (confirmed, receipts) = (std::mem::take(&mut turn.confirmed), turn.receipts.len());
        if confirmed > 0 {
            self.metrics().record(Stage::Confirm, confirm.as_micros() as u64, confirmed);
            self.tell_confirmed(now);
        }
        if receipts > 0 {
            self.distribute(now, &mut turn.receipts);
        }
        self.tell_synced(&mut turn.synced);
        self.keep_ids(now);
        self.let_connect();
        if !turn.ledger.is_empty() {
            self.tell_drained(&turn.ledger);
            let mut tally = self.tally.borrow_mut();
            turn.ledger.drain(..).for_each(|(route, movement)| tally.moved(route, movement));
            tally.publish(self.metrics());
        }
        self.tell_kafka(now, &mut turn);
        self.count_mode(turn.mode.take());
        confirmed > 0 || receipts > 0
    }

    /// Lets the sessions connect once the spool is prepared.
    fn let_connect(&self) {
        if self.prepared.get() {
            return;
        }
        let ids = self.keeper.as_ref().is_none_or(|keeper| keeper.borrow().is_prepared());
        if ids && self.driver.borrow().siding().is_none_or(Siding::is_prepared) {
            self.prepared.set(true);
            self.slots.iter().for_each(|slot| slot.bell.ring());
        }
    }

    /// How long the batches that went since the last call were held.
    pub(super) fn record_hold_time(&self, driver: &mut Driver) {
        if let Some(time) = driver.take_hold_time() {
            self.metrics().record(Stage::Produce, time.as_micros() as u64, 1);
        }
    }

    /// A linger passed: what a session has in flight after it sent nothing for so long is all that it may have.
    fn tell_stalled(&self, now: Instant) {
        let linger = self.settings.kafka.linger;
        for slot in self.slots.iter().filter(|slot| slot.offered.take()) {
            if now.saturating_duration_since(slot.read_at.get()) >= linger {
                slot.session.borrow_mut().handle_stalled();
            }
        }
    }

    /// Tells the lanes that a session has been silent for [`SILENT`] and may be full.
    fn tell_silent(&self, now: Instant) {
        let silent = |slot: &&Slot| now.saturating_duration_since(slot.read_at.get()) >= SILENT;
        if self.slots.iter().filter(silent).any(may_be_saturated) {
            self.driver.borrow_mut().silent(now, &mut self.turn.borrow_mut());
            self.bell.ring();
        }
    }

    fn wake_stalled(&self) {
        self.slots.iter().filter(|slot| slot.stalled.borrow().is_some()).for_each(|slot| slot.bell.ring());
    }

    /// Follows the control plane to the shard's end.
    fn proceed(&self, phase: &mut Phase) {
        let next = match (self.control.is_draining(), self.control.is_past_deadline()) {
            (_, true) => Phase::PastDeadline,
            (true, false) => Phase::Draining,
            (false, false) => Phase::Running,
        };
        if next <= *phase {
            return;
        }
        *phase = next;
        self.driver.borrow_mut().stop();
        for slot in &self.slots {
            let mut session = slot.session.borrow_mut();
            session.handle_shutdown();
            if next == Phase::PastDeadline {
                session.handle_shutdown_deadline();
            }
            slot.bell.ring();
        }
    }

    fn is_finished(&self) -> bool {
        let driver = self.driver.borrow();
        self.control.sessions() == 0 && (driver.is_settled() || self.control.is_past_deadline())
    }
}
