//! The disk of the process, and whoever runs the log's jobs: one commit, one piece of upkeep and one read at a time, each
//! after a while.

use std::collections::VecDeque;

use fairlead_spool::{Commit, Name, Options, Read, Spool, Upkeep, disk::Memory};

use super::{
    checker::{Spooled, identify},
    context::{Context, Event},
    plan::Bug,
};
use crate::spool::{Done, Jobs, Synced};

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
    jobs: [Option<Job>; 3],
    /// Kinds of jobs that were started and have no event yet.
    started: Vec<usize>,
    /// What came of jobs and was not taken yet.
    pub(super) done: VecDeque<Done<Memory>>,
}

impl Runner {
    fn start(&mut self, kind: usize, job: Job) {
        assert!(self.jobs[kind].replace(job).is_none(), "the log has at most one job of a kind under way");
        self.started.push(kind);
    }

    /// Jobs that were started will be run.
    pub(super) fn schedule(&mut self, cx: &mut Context, life: u32, latency: u64) {
        for job in self.started.drain(..) {
            let pause = cx.micros(latency / 2, latency * 2);
            cx.after(pause, Event::Run { life, job });
        }
    }

    /// Runs a job; its result comes later.
    pub(super) fn run(&mut self, cx: &mut Context, life: u32, kind: usize) {
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
        let pause = cx.micros(1, 100);
        cx.after(pause, Event::Done { life, job: kind });
    }

    /// What came of a job.
    pub(super) fn take(&mut self, kind: usize) -> Done<Memory> {
        match self.jobs[kind].take() {
            Some(Job::Done(done)) => done,
            _ => unreachable!("a result comes back once"),
        }
    }

    /// The process ends and waits for its jobs.
    pub(super) fn finish(&mut self) {
        for job in self.jobs.iter_mut().filter_map(Option::take) {
            match job {
                Job::Commit(commit) => drop(commit.run()),
                Job::Upkeep(upkeep) => drop(upkeep.run()),
                Job::Read(_) | Job::Done(_) => {}
            }
        }
    }

    /// The process dies: a job that was not run yet may be in the middle.
    pub(super) fn interrupt(&mut self, cx: &mut Context, disk: &Memory) {
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

impl Jobs<Memory> for Runner {
    fn commit(&mut self, commit: Commit<Memory>) {
        self.start(0, Job::Commit(commit));
    }

    fn upkeep(&mut self, upkeep: Upkeep<Memory>) {
        self.start(1, Job::Upkeep(upkeep));
    }

    fn read(&mut self, read: Read<Memory>) {
        self.start(2, Job::Read(read));
    }

    fn poll(&mut self) -> Option<Done<Memory>> {
        self.done.pop_front()
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

/// What a process would find in the spool, read from a copy of the disk; `None` if it is damaged.
pub(super) fn spooled(disk: &Memory, options: Options) -> Option<Spooled> {
    let now = crate::shard::clock::now();
    let (spool, _) = Spool::open(disk.kill(), FOLDER, options).ok()?;
    let (mut log, recovery) = spool.log(Name::Shard(0)).ok()?;
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
    Some(Spooled { messages, complete: log.synced() == log.appended() })
}

/// Where the spool lies.
pub(super) const FOLDER: &str = "/spool";
