//! The disk of the process, and whoever runs the jobs of its logs: of each log one commit, one piece of upkeep and one read
//! at a time, each after a while.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, sync::Arc};

use fairlead_spool::{Commit, Name, OpenError, Options, Read, Spool, Upkeep, disk::Memory};

use super::{
    checker::{Spooled, identify},
    context::{Context, Event},
    plan::Bug,
};
use crate::spool::{Done, Generations, Jobs, Logs, Older, Synced};

/// A job, or what came of it.
#[derive(Debug)]
enum Job {
    Commit(Commit<Memory>),
    Upkeep(Upkeep<Memory>),
    Read(Read<Memory>),
    Done(Done<Memory>),
}

/// The jobs under way, each at the place of its kind.
#[derive(Debug, Default)]
pub(super) struct Runner {
    jobs: [Option<Job>; KINDS],
    /// Kinds of jobs that were started and have no event yet.
    started: Vec<usize>,
    /// What came of jobs and was not taken yet.
    done: VecDeque<Done<Memory>>,
}

/// Whoever runs the jobs of one log: the log asks, and the world does.
#[derive(Clone, Debug, Default)]
pub(super) struct Desk(Rc<RefCell<Runner>>);

/// The desks of a process: one for each of [`LOGS`]. Their jobs are numbered together.
#[derive(Debug, Default)]
pub(super) struct Desks([Desk; LOGS.len()]);

/// The logs of a process, in the order in which their records go to Kafka: nothing may overtake what is parked.
const LOGS: [Name; 2] = [Name::Parked(0), Name::Shard(0)];
/// Kinds of jobs.
const KINDS: usize = 3;

impl Desks {
    /// Those of the spool and of the parked partitions.
    pub(super) fn of_logs(&self) -> (Desk, Desk) {
        let [parked, spool] = &self.0;
        (spool.clone(), parked.clone())
    }

    /// Jobs that were started will be run.
    pub(super) fn schedule(&self, cx: &mut Context, life: u32, latency: u64) {
        for (log, desk) in self.0.iter().enumerate() {
            for kind in desk.0.borrow_mut().started.drain(..) {
                let pause = cx.micros(latency / 2, latency * 2);
                cx.after(pause, Event::Run { life, job: log * KINDS + kind });
            }
        }
    }

    /// Runs a job; its result comes later.
    pub(super) fn run(&self, cx: &mut Context, life: u32, job: usize) {
        self.0[job / KINDS].0.borrow_mut().run(cx, job % KINDS);
        let pause = cx.micros(1, 100);
        cx.after(pause, Event::Done { life, job });
    }

    /// The result of a job comes back.
    pub(super) fn finish(&self, job: usize) {
        self.0[job / KINDS].0.borrow_mut().finish(job % KINDS);
    }

    /// The process ends and waits for its jobs.
    pub(super) fn finish_all(&self) {
        self.0.iter().for_each(|desk| desk.0.borrow_mut().finish_all());
    }

    /// The process dies: a job that was not run yet may be in the middle.
    pub(super) fn interrupt(&self, cx: &mut Context, disk: &Memory) {
        self.0.iter().for_each(|desk| desk.0.borrow_mut().interrupt(cx, disk));
    }
}

impl Runner {
    fn start(&mut self, kind: usize, job: Job) {
        assert!(self.jobs[kind].replace(job).is_none(), "the log has at most one job of a kind under way");
        self.started.push(kind);
    }

    fn run(&mut self, cx: &mut Context, kind: usize) {
        let done = match self.jobs[kind].take() {
            Some(Job::Commit(commit)) => Done::Commit(commit.run(), Synced::default()),
            Some(Job::Upkeep(upkeep)) => Done::Upkeep(upkeep.run()),
            Some(Job::Read(read)) => Done::Read(read.run()),
            Some(Job::Done(_)) | None => unreachable!("a job is run once"),
        };
        if let Done::Commit(committed, _) = &done {
            cx.tell(|| format!("disk: commit {}", if committed.is_ok() { "synced" } else { "failed" }));
        }
        self.jobs[kind] = Some(Job::Done(done));
    }

    fn finish(&mut self, kind: usize) {
        match self.jobs[kind].take() {
            Some(Job::Done(done)) => self.done.push_back(done),
            _ => unreachable!("a result comes back once"),
        }
    }

    fn finish_all(&mut self) {
        for job in self.jobs.iter_mut().filter_map(Option::take) {
            match job {
                Job::Commit(commit) => drop(commit.run()),
                Job::Upkeep(upkeep) => drop(upkeep.run()),
                Job::Read(_) | Job::Done(_) => {}
            }
        }
    }

    fn interrupt(&mut self, cx: &mut Context, disk: &Memory) {
        for job in &mut self.jobs {
            if cx.chance(0.5) {
                continue;
            }
            disk.stop_after(cx.number(0, 6) as u64);
            match job.take() {
                Some(Job::Commit(commit)) => drop(commit.run()),
                Some(Job::Upkeep(upkeep)) => drop(upkeep.run()),
                Some(Job::Read(_) | Job::Done(_)) | None => {}
            }
        }
    }
}

impl Jobs<Memory> for Desk {
    fn commit(&mut self, commit: Commit<Memory>) {
        self.0.borrow_mut().start(0, Job::Commit(commit));
    }

    fn upkeep(&mut self, upkeep: Upkeep<Memory>) {
        self.0.borrow_mut().start(1, Job::Upkeep(upkeep));
    }

    fn read(&mut self, read: Read<Memory>) {
        self.0.borrow_mut().start(2, Job::Read(read));
    }

    fn poll(&mut self) -> Option<Done<Memory>> {
        self.0.borrow_mut().done.pop_front()
    }
}

/// A new disk.
pub(super) fn new(bug: Option<Bug>) -> Memory {
    let disk = Memory::new();
    if bug == Some(Bug::LyingDisk) {
        disk.lie();
    }
    disk
}

/// Opens the logs of a process; an error where one cannot be read.
pub(super) fn open(disk: &Memory, options: Options) -> Result<Logs<Memory>, String> {
    let open = || {
        let (spool, _) = Spool::open(disk.clone(), FOLDER, options)?;
        let [parked, spool] = [spool.log(LOGS[0])?, spool.log(LOGS[1])?];
        let older = Older { logs: VecDeque::new(), generations: Arc::new(Generations::new([])) };
        Ok(Logs { spool, parked, older })
    };
    open().map_err(|error: OpenError| error.to_string())
}

/// What a process would find in its logs, read from a copy of the disk; `None` if one is damaged.
pub(super) fn spooled(disk: &Memory, options: Options) -> Option<Spooled> {
    let (spool, _) = Spool::open(disk.kill(), FOLDER, options).ok()?;
    let (parked, parked_complete) = messages(&spool, LOGS[0])?;
    let (spooled, complete) = messages(&spool, LOGS[1])?;
    Some(Spooled { parked: parked.len(), messages: [parked, spooled].concat(), complete: complete && parked_complete })
}

/// The messages in a log, and whether these are all.
fn messages(spool: &Spool<Memory>, log: Name) -> Option<(Vec<u32>, bool)> {
    let now = crate::shard::clock::now();
    let (mut log, recovery) = spool.log(log).ok()?;
    if !recovery.gaps.is_empty() {
        return None;
    }
    while log.synced() < log.appended() {
        while let Some(upkeep) = log.poll_upkeep(now) {
            log.handle_upkeep(now, upkeep.run()).ok()?;
        }
        // Without a segment to follow, the last group waits until something is delivered.
        let Some(commit) = log.poll_commit(now) else { break };
        log.handle_committed(now, commit.run()).ok()?;
    }
    let (mut messages, mut position) = (Vec::new(), recovery.start);
    while let Some(read) = log.read(position, 1 << 20) {
        let batch = read.run().ok()?;
        let payloads = batch.records.iter().filter_map(|record| record.payload.clone());
        messages.extend(payloads.filter_map(|payload| identify(&batch.buffer[payload])));
        position = batch.next;
    }
    Some((messages, log.synced() == log.appended()))
}

/// Where the spool lies.
const FOLDER: &str = "/spool";
