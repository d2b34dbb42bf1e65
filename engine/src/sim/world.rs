//! The world of one seed: events in the order of their time, faults, lives of the process, and the end.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use fairlead_spool::disk::Memory;

use super::{
    broker::Broker,
    checker::{Checker, Sums},
    context::{Context, Event},
    disk,
    kafka::Cluster,
    plan::{Bug, Plan},
    process::{Process, left_behind},
    slot::Outside,
};
use crate::message::Qos;

mod faults;

/// Longest time from the end of the last fault until everything is where it belongs: a pause of an MQTT session and one
/// of a partition at their longest, twice, and time to drain.
const SETTLE: Duration = Duration::from_secs(120);
/// Time that is left after the last fault in any case.
const REST: Duration = Duration::from_secs(1);
/// Longest time until a fresh message is in Kafka and acknowledged then.
const FRESH: Duration = Duration::from_secs(10);
/// Turns in a row, without an event and without time passing, that are taken for spinning.
const SPIN: u32 = 200;
/// Longest virtual time without anything, in which turns do not count as spinning.
const INSTANT: Duration = Duration::from_millis(1);

/// What came of a world.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) failure: Option<String>,
    pub(super) trace: Vec<String>,
    pub(super) sums: Sums,
    pub(super) fingerprint: u64,
}

#[derive(Debug)]
struct World {
    plan: Plan,
    cx: Context,
    broker: Broker,
    cluster: Cluster,
    checker: Checker,
    disk: Memory,
    disk_latency: u64,
    process: Option<Process>,
    lives: u32,
    /// What the spool held may come again: the last process did not end in good order.
    crashed: bool,
    /// The process stands still until then.
    paused: Duration,
    /// The last fault is over.
    healed: bool,
    spun: (Duration, u32),
}

/// Runs the world of a seed; a panic of the product is a failure like any other.
pub(super) fn run(seed: u64, bug: Option<Bug>, traced: bool) -> Outcome {
    let mut world = World::new(Plan::new(seed, bug), traced);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.play())) {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.cx.fail(|| format!("panic: {}", text.unwrap_or_default()));
    }
    let World { mut cx, mut checker, process, .. } = world;
    process.iter().for_each(|process| checker.sums.count(&process.line));
    let (failure, fingerprint) = (cx.failure.take(), checker.fingerprint());
    Outcome { failure, trace: cx.take_trace(), sums: checker.sums, fingerprint }
}

impl World {
    fn new(plan: Plan, traced: bool) -> World {
        let mut cx = Context::new(plan.seed, traced);
        cx.tell(|| format!("{plan:?}"));
        cx.at(Duration::ZERO, Event::Start);
        for (index, burst) in plan.bursts.iter().enumerate() {
            cx.at(burst.at, Event::Publish(index));
        }
        for &(at, fault) in &plan.faults {
            cx.at(at, Event::Strike(fault));
        }
        World {
            broker: Broker::new(&plan),
            cluster: Cluster::new(plan.partitions, plan.kafka),
            checker: Checker::new(&plan),
            disk: disk::new(plan.bug),
            disk_latency: plan.disk,
            process: None,
            lives: 0,
            crashed: false,
            paused: Duration::ZERO,
            healed: false,
            spun: (Duration::ZERO, 0),
            plan,
            cx,
        }
    }

    fn play(&mut self) {
        self.run_until(self.plan.healed, |_| false);
        self.heal();
        // Whoever stood still learns first what it has missed.
        self.run_until(self.cx.now + REST, |_| false);
        let settled = self.run_until(self.cx.now + SETTLE, World::is_idle);
        if !settled {
            self.fail_liveness("what was sent does not come to its end");
        }
        let fresh: Vec<u32> = (0..self.checker.topics()).filter_map(|topic| self.publish(topic)).collect();
        let arrived =
            |world: &World| fresh.iter().all(|id| world.checker.messages[*id as usize].copies > 0) && world.is_idle();
        let all = fresh.len() == self.checker.topics();
        if !self.run_until(self.cx.now + FRESH, arrived) || !all {
            self.fail_liveness("a fresh message does not arrive");
        }
        if let Some(process) = &mut self.process {
            process.check_ledger(&mut self.cx);
        }
        self.checker.finished(&mut self.cx, self.lives);
    }

    fn fail_liveness(&mut self, what: &str) {
        let process = self.process.as_ref().map_or_else(String::new, |process| {
            let sessions = process.slots.iter().map(|slot| format!("{:?}", slot.session));
            format!("{}; {}", process.line.describe(), sessions.collect::<Vec<_>>().join(", "))
        });
        let broker = &self.broker;
        self.cx.fail(|| format!("liveness: {what}: {process}; broker idle {}", broker.is_idle()));
    }

    fn is_idle(&self) -> bool {
        self.broker.is_idle() && self.process.as_ref().is_some_and(Process::is_idle)
    }

    /// Lets time pass until a moment, or until something is so.
    fn run_until(&mut self, end: Duration, done: impl Fn(&World) -> bool) -> bool {
        while self.cx.failure.is_none() {
            if done(self) {
                return true;
            }
            let timeout = self.process.as_ref().map(|process| process.poll_timeout(&self.cx));
            let wake = timeout.into_iter().chain(self.cx.wake_at()).min().filter(|_| self.process.is_some());
            let wake = wake.map(|at| at.max(self.paused));
            let event = self.cx.next_at();
            if wake.into_iter().chain(event).min().is_none_or(|next| next > end) {
                self.cx.now = self.cx.now.max(end);
                return false;
            }
            if event.is_some_and(|event| wake.is_none_or(|wake| event <= wake)) {
                if let Some(event) = self.cx.pop() {
                    self.handle(event);
                    self.spun.1 = 0;
                }
            } else {
                self.cx.now = self.cx.now.max(wake.unwrap_or_default());
                self.turn();
            }
        }
        false
    }

    fn turn(&mut self) {
        let Some(process) = &mut self.process else { return };
        if self.cx.now > self.spun.0 + INSTANT {
            self.spun = (self.cx.now, 0);
        }
        self.spun.1 += 1;
        if self.spun.1 > SPIN {
            let line = process.line.describe();
            self.cx.fail(|| format!("the process spins: {line}"));
        }
        self.cx.awake();
        let mut out = Outside {
            broker: &mut self.broker,
            cluster: &self.cluster,
            checker: &mut self.checker,
            life: 0,
            share: 0,
            bug: None,
            disk_latency: self.disk_latency,
        };
        process.turn(&mut self.cx, &self.plan, &mut out);
        process.check(&mut self.cx, &self.plan);
        // A turn takes its time.
        self.cx.now += Duration::from_micros(1);
        if let Some(settled) = process.is_finished() {
            self.exit(settled);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Publish(burst) => self.burst(burst),
            Event::Strike(fault) => self.strike(fault),
            Event::Mend(fault) => self.mend(fault),
            Event::Dialled { life, slot } => {
                let Some(process) = self.process.as_mut().filter(|process| process.life == life) else { return };
                let connection = self.broker.accept(slot, life);
                process.slots[slot].dialled(&mut self.cx, slot, connection);
                self.cx.wake();
            }
            Event::ToBroker { connection, bytes } => {
                self.broker.received(&mut self.cx, &mut self.checker, connection, &bytes);
            }
            Event::ToProcess { connection, bytes } => {
                if self.broker.connections[connection].alive {
                    self.with_slot(connection, |slot| slot.receive(&bytes));
                }
            }
            Event::ProcessLost { connection } => self.with_slot(connection, super::slot::Slot::end),
            Event::BrokerLost { connection } => self.broker.lost(connection),
            Event::Serve { producer, partition } => {
                if let Some(process) = &mut self.process
                    && process.line.producer.id() == producer
                {
                    process.line.producer.serve(&mut self.cx, &self.cluster, &mut self.checker, partition);
                }
            }
            Event::Run { life, job } => {
                if let Some(process) = self.process.as_mut().filter(|process| process.life == life) {
                    process.line.desks.run(&mut self.cx, life, job);
                }
            }
            Event::Done { life, job } => {
                if let Some(process) = self.process.as_mut().filter(|process| process.life == life) {
                    process.line.desks.finish(job);
                    self.cx.wake();
                }
            }
            Event::Start => self.start(),
            Event::TopicKnown { life } => {
                if let Some(process) = self.process.as_mut().filter(|process| process.life == life) {
                    process.line.publish_topic(false);
                    self.cx.wake();
                }
            }
            Event::StopDeadline { life } => {
                if let Some(process) = self.process.as_mut().filter(|process| process.life == life) {
                    process.stop(&mut self.cx, true);
                }
            }
        }
    }

    fn with_slot(&mut self, connection: usize, act: impl FnOnce(&mut super::slot::Slot)) {
        let mut slots = self.process.iter_mut().flat_map(|process| &mut process.slots);
        if let Some(slot) = slots.find(|slot| slot.connection == Some(connection)) {
            act(slot);
            self.cx.wake();
        }
    }

    fn burst(&mut self, burst: usize) {
        for _ in 0..self.plan.bursts[burst].count {
            let topic = self.cx.number(0, self.checker.topics() - 1);
            self.publish(topic);
        }
    }

    /// A publisher sends a message; `None` where the broker does not take it over.
    fn publish(&mut self, topic: usize) -> Option<u32> {
        let session = self.checker.session_of(topic);
        // One topic has one QoS: the standard orders messages of one QoS only.
        let qos = if topic % 4 == 3 { Qos::AtMostOnce } else { self.plan.qos };
        if !self.broker.takes(session, qos) {
            return None;
        }
        let poison = !self.healed && self.cx.number(0, 999) < self.plan.poison as usize;
        let filling = self.cx.number(0, self.plan.filling);
        let message = self.checker.publish(topic, qos, poison, filling);
        if poison {
            self.cluster.poison.insert(message);
        }
        self.broker.publish(&mut self.cx, &mut self.checker, session, message);
        Some(message)
    }

    fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let life = self.lives + 1;
        if self.crashed && !self.healed && self.cx.chance(0.2) {
            // It may die in its recovery too.
            self.disk.stop_after(self.cx.number(0, 12) as u64);
        }
        let spooled = left_behind(&mut self.cx, &self.plan, &self.disk);
        match Process::start(&mut self.cx, &self.plan, &self.disk, life) {
            Err(error) => {
                self.cx.tell(|| format!("no start: {error}"));
                self.disk = if self.cx.chance(0.5) { self.disk.crash(&mut self.cx.random) } else { self.disk.kill() };
                let pause = self.cx.micros(1_000, 300_000);
                self.cx.after(pause, Event::Start);
            }
            Ok(process) => {
                self.disk.heal();
                self.lives = life;
                self.broker.life = life;
                self.checker.recovered(&mut self.cx, &spooled);
                if mem::take(&mut self.crashed) {
                    self.checker.allow_rerun_of(&spooled, life - 1);
                } else {
                    self.checker.allow_ahead(&spooled, life - 1);
                }
                self.process = Some(process);
            }
        }
    }

    /// The process dies, and with the power also what was not synced.
    fn crash(&mut self, power: bool, restart: Duration) {
        let Some(mut process) = self.process.take() else { return };
        self.checker.sums.crashes += 1;
        self.checker.sums.count(&process.line);
        self.crashed = true;
        process.line.producer.abandon(&mut self.cx, &self.cluster, &mut self.checker);
        self.broker.allow_redelivery(&mut self.checker, process.life);
        self.checker.allow_reruns(None, 2);
        self.hang_up(&process, power);
        process.die(&mut self.cx, &self.disk);
        self.disk = if power { self.disk.crash(&mut self.cx.random) } else { self.disk.kill() };
        self.cx.tell(|| format!("the process is dead, power cut {power}"));
        self.cx.after(restart, Event::Start);
    }

    fn hang_up(&mut self, process: &Process, power: bool) {
        for connection in process.slots.iter().filter_map(|slot| slot.connection) {
            if power {
                self.broker.connections[connection].alive = false;
                let pause = self.cx.micros(0, 3_000_000);
                self.cx.after(pause, Event::BrokerLost { connection });
            } else {
                self.broker.closed(&mut self.cx, connection);
            }
        }
    }

    /// The process has ended in good order.
    fn exit(&mut self, settled: bool) {
        let Some(mut process) = self.process.take() else { return };
        self.cx.tell(|| format!("the process has stopped, settled {settled}"));
        self.checker.sums.count(&process.line);
        process.check_ledger(&mut self.cx);
        // Nobody knows what becomes of what is inside librdkafka.
        process.line.producer.messages().for_each(|id| self.checker.allow(id));
        process.line.producer.abandon(&mut self.cx, &self.cluster, &mut self.checker);
        self.checker.allow_reruns(None, 2);
        // A failed disk may not have taken the cursor.
        self.crashed |= !settled || process.line.is_fenced();
        // A session that was not connected, or whose time was over, ends with what it has.
        self.broker.allow_redelivery(&mut self.checker, process.life);
        self.hang_up(&process, false);
        process.exit();
        self.disk = self.disk.kill();
        let pause = self.cx.micros(1_000, 1_000_000);
        self.cx.after(pause, Event::Start);
    }
}
