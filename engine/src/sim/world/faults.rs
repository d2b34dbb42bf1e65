//! What goes wrong, and how it is mended.

use std::time::Duration;

use fairlead_spool::disk::Operation;

use super::{
    super::{context::Event, plan::Fault},
    World,
};
use crate::settings::Ack;

impl World {
    pub(super) fn strike(&mut self, fault: Fault) {
        self.cx.tell(|| format!("fault: {fault:?}"));
        self.checker.sums.faults += 1;
        let milliseconds = Duration::from_millis;
        match fault {
            Fault::Cut { session, broker, process } => {
                if let Some(connection) = self.broker.cut(&mut self.cx, session) {
                    self.cx.after(milliseconds(broker), Event::BrokerLost { connection });
                    self.cx.after(milliseconds(process), Event::ProcessLost { connection });
                }
            }
            Fault::Broker { keeps, .. } => self.broker.stop(&mut self.cx, keeps),
            Fault::Freeze { .. } => self.cluster.frozen += 1,
            Fault::Block { partition, .. } => self.cluster.blocked[partition] += 1,
            Fault::Slow { partition, .. } => self.cluster.slow[partition] += 1,
            Fault::Refuse { partition, reason, .. } => self.cluster.refuse(partition, reason),
            Fault::Fatal => {
                if let Some(process) = &mut self.process {
                    process.line.fail(&mut self.cx, &self.cluster, &mut self.checker);
                }
            }
            Fault::QueueFull { .. } => self.cluster.full += 1,
            Fault::SlowDisk { factor, .. } => self.disk_latency = (self.plan.disk * u64::from(factor)).min(2_000_000),
            Fault::SyncFails { after, times } => {
                self.disk.fail(Operation::Sync, after, times, rustix::io::Errno::IO.raw_os_error());
            }
            Fault::DiskFails { operation, times } => {
                self.disk.fail(operation, 0, times, rustix::io::Errno::IO.raw_os_error())
            }
            Fault::NoSpace { .. } => self.disk.limit_space(Some(0)),
            Fault::Pause { lasting } => self.paused = self.paused.max(self.cx.now + milliseconds(lasting)),
            Fault::Kill { restart } => self.crash(false, milliseconds(restart)),
            Fault::PowerCut { restart } => self.crash(true, milliseconds(restart)),
            Fault::Stop { deadline } => {
                if let Some(process) = self.process.as_mut() {
                    process.stop(&mut self.cx, false);
                    self.cx.after(milliseconds(deadline), Event::StopDeadline { life: process.life });
                }
            }
        }
        if let Some(lasting) = fault.lasting() {
            self.cx.after(lasting, Event::Mend(fault));
        }
    }

    pub(super) fn mend(&mut self, fault: Fault) {
        if self.healed {
            return;
        }
        self.cx.tell(|| format!("over: {fault:?}"));
        match fault {
            Fault::Broker { .. } => self.broker.down -= 1,
            Fault::Freeze { .. } => self.cluster.frozen -= 1,
            Fault::Block { partition, .. } => self.cluster.blocked[partition] -= 1,
            Fault::Slow { partition, .. } => self.cluster.slow[partition] -= 1,
            Fault::Refuse { partition, .. } => self.cluster.relent(partition),
            Fault::QueueFull { .. } => self.cluster.full -= 1,
            Fault::SlowDisk { .. } => self.disk_latency = self.plan.disk,
            Fault::NoSpace { .. } => self.disk.limit_space(None),
            _ => {}
        }
        self.go_on();
    }

    /// Kafka may have something to do again.
    fn go_on(&mut self) {
        if let Some(process) = &mut self.process {
            process.line.producer.schedule_all(&mut self.cx, &self.cluster);
        }
    }

    /// The last fault is over.
    pub(super) fn heal(&mut self) {
        self.cx.tell(|| "everything is healed".to_owned());
        self.healed = true;
        self.cluster.heal();
        self.broker.down = 0;
        self.paused = self.cx.now;
        self.disk.heal();
        self.disk.limit_space(None);
        self.disk_latency = self.plan.disk;
        self.go_on();
        // A log that is fenced says so, and waits for somebody to start the process anew where nothing may go without it.
        if self.plan.ack == Ack::Spool && self.process.as_ref().is_some_and(|process| process.line.is_fenced()) {
            self.crash(false, Duration::from_millis(1));
        }
    }
}
