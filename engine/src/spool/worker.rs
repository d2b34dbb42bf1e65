//! The threads that run a log's jobs, because an executor must never wait for a disk: one for commits, so that nothing
//! delays a group, and one for the rest. It decides nothing.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam::channel::{Receiver, Sender, bounded};
use fairlead_spool::{Batch, Commit, Committed, Kept, Read, ReadError, Upkeep, disk::Disk};

use crate::{ring::Doorbell, shard::clock};

/// Jobs of the second thread that may be under way: one of upkeep and one read.
const JOBS: usize = 2;

/// What the second thread runs.
#[derive(Debug)]
enum Job<D: Disk> {
    Upkeep(Upkeep<D>),
    Read(Read<D>),
}

/// What it took to make a group durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Bytes of the group's records; 0 for a mark.
    pub bytes: usize,
    /// Time of the store and the fdatasync.
    pub took: Duration,
}

/// What a thread has done.
#[derive(Debug)]
pub enum Done<D: Disk> {
    /// A group, and what it took.
    Commit(Committed<D>, Synced),
    /// A piece of upkeep.
    Upkeep(Kept<D>),
    /// A read.
    Read(Result<Batch, ReadError>),
}

/// Whoever runs a log's jobs: one commit, one piece of upkeep and one read at a time.
pub trait Jobs<D: Disk> {
    /// Takes a commit.
    fn commit(&mut self, commit: Commit<D>);

    /// Takes upkeep.
    fn upkeep(&mut self, upkeep: Upkeep<D>);

    /// Takes a read.
    fn read(&mut self, read: Read<D>);

    /// The next thing that is done.
    fn poll(&mut self) -> Option<Done<D>>;
}

/// Two threads and the ways to and from them.
#[derive(Debug)]
pub struct Worker<D: Disk> {
    commits: Option<Sender<Commit<D>>>,
    jobs: Option<Sender<Job<D>>>,
    done: Receiver<Done<D>>,
    threads: Vec<JoinHandle<()>>,
}

impl<D: Disk> Worker<D> {
    /// Starts the threads for a log of shard `shard`. They ring its doorbell when something is done.
    ///
    /// # Errors
    /// The operating system has no more threads.
    pub fn start(log: &str, shard: usize, doorbells: &Arc<[Doorbell]>) -> io::Result<Worker<D>> {
        let (commits, to_commit) = bounded::<Commit<D>>(1);
        let (jobs, to_do) = bounded::<Job<D>>(JOBS);
        // Each job that is under way has its place here, so a thread never waits for one.
        let (finished, done) = bounded(1 + JOBS);
        let committer =
            spawn(format!("{log}-sync-{shard}"), to_commit, finished.clone(), doorbells, shard, |commit| {
                let bytes = if commit.records() > 0 { commit.bytes() } else { 0 };
                let start = clock::now();
                let committed = commit.run();
                Done::Commit(committed, Synced { bytes, took: clock::now() - start })
            })?;
        let other = spawn(format!("{log}-{shard}"), to_do, finished, doorbells, shard, |job| match job {
            Job::Upkeep(upkeep) => Done::Upkeep(upkeep.run()),
            Job::Read(read) => Done::Read(read.run()),
        })?;
        Ok(Worker { commits: Some(commits), jobs: Some(jobs), done, threads: vec![committer, other] })
    }
}

impl<D: Disk> Jobs<D> for Worker<D> {
    fn commit(&mut self, commit: Commit<D>) {
        send(self.commits.as_ref(), commit);
    }

    fn upkeep(&mut self, upkeep: Upkeep<D>) {
        send(self.jobs.as_ref(), Job::Upkeep(upkeep));
    }

    fn read(&mut self, read: Read<D>) {
        send(self.jobs.as_ref(), Job::Read(read));
    }

    fn poll(&mut self) -> Option<Done<D>> {
        self.done.try_recv().ok()
    }
}

impl<D: Disk> Drop for Worker<D> {
    /// Waits for what is under way: a log is not closed while one of its files is written.
    fn drop(&mut self) {
        self.commits = None;
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn send<T>(sender: Option<&Sender<T>>, job: T) {
    let sent = sender.is_some_and(|sender| sender.try_send(job).is_ok());
    assert!(sent, "the log has at most one job of a kind under way, and the thread lives as long as the worker");
}

fn spawn<T: Send + 'static, D: Disk>(
    name: String,
    jobs: Receiver<T>,
    finished: Sender<Done<D>>,
    doorbells: &Arc<[Doorbell]>,
    shard: usize,
    run: impl Fn(T) -> Done<D> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let doorbells = doorbells.clone();
    thread::Builder::new().name(name).spawn(move || {
        for job in jobs {
            if finished.send(run(job)).is_err() {
                return;
            }
            doorbells[shard].ring();
        }
    })
}
