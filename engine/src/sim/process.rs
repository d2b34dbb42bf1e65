//! One life of a Fairlead process: its sessions and its line, from the start to the end, whatever ends it.

use std::time::Duration;

use fairlead_spool::disk::Memory;

use super::{
    checker::Spooled,
    context::{Context, Event},
    disk,
    kafka::Producer,
    line::Line,
    plan::Plan,
    slot::{Outside, Slot},
};
use crate::mqtt::SILENT;

/// How often a shard that has nothing to do looks around.
const HEARTBEAT: Duration = Duration::from_secs(1);

fn may_be_saturated(slot: &Slot) -> bool {
    slot.session.may_be_saturated()
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) life: u32,
    pub(super) slots: Vec<Slot>,
    pub(super) line: Line,
    /// SIGTERM came; the time to end may be over.
    stopping: Option<bool>,
    beat_at: Duration,
    /// A session's share of the memory.
    share: usize,
}

impl Process {
    /// Starts a process on what the last one left.
    pub(super) fn start(cx: &mut Context, plan: &Plan, disk: &Memory, life: u32) -> Result<Process, String> {
        let settings = plan.settings();
        let logs = if plan.ack.spools() { Some(disk::open(disk, plan.spool)?) } else { None };
        for (_, recovery) in logs.iter().flat_map(|logs| [&logs.parked, &logs.spool]) {
            cx.tell(|| format!("start of life {life}: {recovery:?}"));
            if !recovery.gaps.is_empty() {
                cx.fail(|| format!("lost: the spool has gaps: {:?}", recovery.gaps));
            }
        }
        // Each life's producers have numbers of their own.
        let line = Line::new(cx, plan, &settings, logs, Producer::new(life << 16, plan.partitions));
        if cx.chance(0.7) {
            line.publish_topic(cx.chance(0.5));
        } else {
            if cx.chance(0.5) {
                line.miss_topic();
            }
            let pause = cx.micros(100, 2_000_000);
            cx.after(pause, Event::TopicKnown { life });
        }
        let now = cx.instant();
        let slots = (0..plan.sessions).map(|index| Slot::new(plan, &settings, index, life, now)).collect();
        cx.wake();
        let share = plan.memory / plan.sessions;
        Ok(Process { life, slots, line, stopping: None, beat_at: cx.now + HEARTBEAT, share })
    }

    /// When it wants a turn although nothing came.
    pub(super) fn poll_timeout(&self, cx: &Context) -> Duration {
        let slots = self.slots.iter().filter_map(Slot::poll_timeout).map(|at| cx.since_origin(at));
        slots.chain(self.line.poll_timeout(cx)).fold(self.beat_at, Duration::min)
    }

    /// One turn of every task, in any order.
    pub(super) fn turn(&mut self, cx: &mut Context, plan: &Plan, out: &mut Outside<'_>) {
        (out.life, out.share, out.bug) = (self.life, self.share, plan.bug);
        let idle = cx.now >= self.beat_at;
        let next = cx.now + if self.slots.iter().any(may_be_saturated) { SILENT } else { HEARTBEAT };
        self.beat_at = if idle { next } else { self.beat_at.min(next) };
        let tasks = self.slots.len() + 1;
        let first = cx.number(0, tasks - 1);
        let mut again = false;
        for task in (first..first + tasks).map(|task| task % tasks) {
            again |= match self.slots.get_mut(task) {
                Some(slot) => slot.turn(cx, task, &mut self.line, out),
                None => self.turn_line(cx, plan, idle, out),
            };
        }
        self.line.desks.schedule(cx, self.life, out.disk_latency);
        if again {
            cx.wake();
        }
    }

    fn turn_line(&mut self, cx: &mut Context, plan: &Plan, idle: bool, out: &mut Outside<'_>) -> bool {
        let now = cx.instant();
        if self.line.poll_timeout(cx).is_some_and(|at| cx.now >= at) {
            for slot in &mut self.slots {
                let offered = std::mem::take(&mut slot.offered);
                if offered && now.saturating_duration_since(slot.read_at) >= plan.linger {
                    slot.session.handle_stalled();
                }
            }
        }
        let receipts = self.line.turn(cx, out);
        let silent = |slot: &&Slot| now.saturating_duration_since(slot.read_at) >= SILENT;
        if idle && self.slots.iter().filter(silent).any(may_be_saturated) {
            self.line.saturated(now);
            self.line.flush(cx, out.cluster);
        }
        for receipt in &receipts {
            cx.tell(|| format!("receipt {:?}", receipt));
            let slot = &mut self.slots[receipt.ticket.slot()];
            slot.session.handle_receipt(receipt.ticket);
            slot.rung = true;
        }
        !receipts.is_empty()
    }

    /// SIGTERM, and later the end of its patience.
    pub(super) fn stop(&mut self, cx: &mut Context, past_deadline: bool) {
        self.stopping = Some(past_deadline);
        self.line.stop();
        self.slots.iter_mut().for_each(|slot| slot.stop(cx, past_deadline));
        cx.wake();
    }

    /// Whether a stop is complete, and whether everything was settled then.
    pub(super) fn is_finished(&self) -> Option<bool> {
        let past_deadline = self.stopping?;
        let closed = self.slots.iter().all(|slot| slot.session.is_closed());
        let settled = self.line.is_settled();
        (closed && (settled || past_deadline)).then_some(settled)
    }

    /// Whether there is nothing left to do and everything is as it should be.
    pub(super) fn is_idle(&self) -> bool {
        let ready = self.slots.iter().all(|slot| slot.session.is_ready() && slot.session.is_idle());
        self.stopping.is_none() && ready && self.line.is_idle()
    }

    /// The bounds that hold at every moment.
    pub(super) fn check(&mut self, cx: &mut Context, plan: &Plan) {
        for slot in &self.slots {
            let in_flight = slot.session.in_flight();
            if in_flight > usize::from(plan.receive_maximum) {
                cx.fail(|| format!("bound: {in_flight} messages in flight, {} at most", plan.receive_maximum));
            }
        }
        for usage in self.line.usages() {
            if usage.bytes > plan.spool.max {
                cx.fail(|| format!("bound: a log has {} bytes, {} at most", usage.bytes, plan.spool.max));
            }
        }
        if cx.chance(0.05) {
            self.check_ledger(cx);
        }
    }

    pub(super) fn check_ledger(&mut self, cx: &mut Context) {
        if let Some(imbalance) = self.line.imbalance() {
            cx.fail(|| imbalance);
        }
    }

    /// The process ends in the middle of whatever it does.
    pub(super) fn die(self, cx: &mut Context, disk: &Memory) {
        self.line.desks.interrupt(cx, disk);
    }

    /// The process ends in good order: the jobs under way are waited for.
    pub(super) fn exit(self) {
        self.line.desks.finish_all();
    }
}

/// What the spool holds for the next process; a failure where it cannot be read.
pub(super) fn left_behind(cx: &mut Context, plan: &Plan, disk: &Memory) -> Spooled {
    if !plan.ack.spools() {
        return Spooled { complete: true, ..Spooled::default() };
    }
    disk::spooled(disk, plan.spool).unwrap_or_else(|| {
        cx.fail(|| "lost: the spool cannot be read, or has gaps".to_owned());
        Spooled::default()
    })
}
