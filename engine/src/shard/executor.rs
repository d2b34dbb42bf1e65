//! Starts the shards: one pinned thread and one executor each.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use fairlead_spool::disk::Real;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    task::spawn_local,
};

use super::{
    bell::Bell,
    clock, connection,
    ids::Keeper,
    intake::Intake,
    pump,
    state::{Control, Shard, Slot},
    tally::Tally,
};
use crate::{
    kafka::{ProducerError, Topics},
    lane::{Driver, Turn},
    message::Qos,
    metrics::Metrics,
    mqtt::Session,
    ring::{Doorbell, Mesh, Port},
    settings::{Planned, Settings},
    spool::{Ids, ShardLogs, session_key},
    subscriptions::Subscriptions,
};

/// Connections that a shard opens at a time; a broker that does not answer keeps one busy.
const DIALS: usize = 4;
/// Why the shards did not start.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// The core is not to be had.
    #[error("shard {shard} cannot run on core {cpu}: {why}; list cores in [engine] cpus that this process may use")]
    Core {
        /// The shard.
        shard: usize,
        /// Its core.
        cpu: usize,
        /// The kernel's words.
        why: String,
    },
    /// The executor did not start: usually no file descriptors left.
    #[error("shard {shard} has no executor: {why}; raise the limit on open files (ulimit -n)")]
    Executor {
        /// The shard.
        shard: usize,
        /// The kernel's words.
        why: String,
    },
    /// The Kafka producer did not start.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// No thread.
    #[error("shard {shard}: no thread: {why}; raise the limit of processes (ulimit -u)")]
    Thread {
        /// The shard.
        shard: usize,
        /// The kernel's words.
        why: String,
    },
}

/// What is left in a shard at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Records without a receipt, by the count kept where sessions are.
    pub outstanding: u64,
    /// Records without a receipt that lie in the lane, counted one by one.
    pub in_lane: u64,
    /// Records that lie in the spool and have not ended.
    pub spooled: u64,
}

/// The running shards.
pub struct Shards {
    threads: Vec<JoinHandle<Remains>>,
    control: Arc<Control>,
    doorbells: Arc<[Doorbell]>,
    /// Disconnected when every shard has ended.
    alive: mpsc::Receiver<()>,
}

/// What one shard is made of.
struct Start {
    index: usize,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    topics: Arc<Topics>,
    subscriptions: Arc<Subscriptions>,
    control: Arc<Control>,
    port: Port,
    logs: Option<ShardLogs<Real>>,
    ids: Option<Ids<Real>>,
    _alive: mpsc::SyncSender<()>,
}

impl Shards {
    /// Starts one executor on each configured core, with its log of the spool where there is one. Returns when each has its ring and its producer.
    ///
    /// # Errors
    /// See [`ShardError`]; the caller ends the process.
    pub fn start(
        settings: &Arc<Settings>,
        metrics: &Arc<Metrics>,
        topics: &Arc<Topics>,
        subscriptions: &Arc<Subscriptions>,
        (logs, ids): (Vec<ShardLogs<Real>>, Vec<Ids<Real>>),
    ) -> Result<Shards, ShardError> {
        let (mut logs, mut ids) = (logs.into_iter(), ids.into_iter());
        let sessions = settings.plan().count();
        let control = Arc::new(Control::new(sessions));
        let ports = Mesh::new(settings.engine.cpus.len()).into_ports();
        let doorbells = ports[0].doorbells().clone();
        let (sender, alive) = mpsc::sync_channel(0);
        let mut threads = Vec::with_capacity(ports.len());
        for (index, port) in ports.into_iter().enumerate() {
            let start = Start {
                index,
                settings: settings.clone(),
                metrics: metrics.clone(),
                topics: topics.clone(),
                subscriptions: subscriptions.clone(),
                control: control.clone(),
                port,
                logs: logs.next(),
                ids: ids.next(),
                _alive: sender.clone(),
            };
            threads.push(spawn(start)?);
        }
        Ok(Shards { threads, control, doorbells, alive })
    }

    /// The doorbells, to be rung after something was published for the shards.
    #[must_use]
    pub fn doorbells(&self) -> &Arc<[Doorbell]> {
        &self.doorbells
    }

    /// Sessions stop reading, acknowledge what is in flight and disconnect; then the shards end.
    pub fn drain(&self) {
        self.control.drain();
        self.ring();
    }

    /// The wait is over: sessions disconnect with what they have, and the shards end.
    pub fn end_drain(&self) {
        self.control.end_drain();
        self.ring();
    }

    /// Waits for the shards' end, at most `time`. Returns whether all have ended.
    #[must_use]
    pub fn wait(&self, time: Duration) -> bool {
        matches!(self.alive.recv_timeout(time), Err(mpsc::RecvTimeoutError::Disconnected))
    }

    /// Waits for the shards' end.
    #[must_use]
    pub fn join(self) -> Vec<Remains> {
        self.threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    }

    fn ring(&self) {
        self.doorbells.iter().for_each(Doorbell::ring);
    }
}

fn spawn(start: Start) -> Result<JoinHandle<Remains>, ShardError> {
    let shard = start.index;
    let (ready, started) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(format!("shard-{shard}"))
        .spawn(move || start.run(&ready))
        .map_err(|error| ShardError::Thread { shard, why: error.to_string() })?;
    match started.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ShardError::Thread { shard, why: "it ended at its start".to_owned() }),
    }
}

impl Start {
    fn run(self, ready: &mpsc::SyncSender<Result<(), ShardError>>) -> Remains {
        let (index, cpu) = (self.index, self.settings.engine.cpus[self.index]);
        let executor = match executor(index, cpu) {
            Ok(executor) => executor,
            Err(error) => {
                drop(ready.send(Err(error)));
                return Remains::default();
            }
        };
        let doorbells = self.port.doorbells().clone();
        let driver = match Driver::new(
            self.settings.clone(),
            self.topics.clone(),
            self.port,
            self.logs,
            (clock::now(), clock::wall()),
        ) {
            Ok(driver) => driver,
            Err(error) => {
                drop(ready.send(Err(error.into())));
                return Remains::default();
            }
        };
        let keeper = match self.ids.map(|ids| Keeper::start(ids, index, &doorbells)).transpose() {
            Ok(keeper) => keeper,
            Err(error) => {
                drop(ready.send(Err(ShardError::Thread { shard: index, why: error.to_string() })));
                return Remains::default();
            }
        };
        let shard = Shard {
            index,
            slots: slots(&self.settings, &self.subscriptions, keeper.as_ref(), index),
            keeper: keeper.map(RefCell::new),
            intake: RefCell::new(Intake::new(self.settings.clone(), self.topics.clone(), self.metrics.clone())),
            reach: RefCell::default(),
            said: RefCell::default(),
            holds: RefCell::default(),
            topics: self.topics,
            subscriptions: self.subscriptions,
            driver: RefCell::new(driver),
            turn: RefCell::new(Turn::default()),
            bell: Bell::default(),
            prepared: Cell::new(false),
            tally: RefCell::new(Tally::new(self.settings.routes.len())),
            settings: self.settings,
            metrics: self.metrics,
            control: self.control,
        };
        shard.metrics.status().core(index, cpu);
        // Before the first heartbeat nobody is told of an empty spool, or of a limit of 0.
        shard.publish(clock::now());
        drop(ready.send(Ok(())));
        let remains = executor.block_on(run(Rc::new(shard)));
        // A dial that is under way must not hold up the end.
        executor.shutdown_background();
        remains
    }
}

/// Pins this thread to its core and makes its executor.
fn executor(shard: usize, cpu: usize) -> Result<LocalRuntime, ShardError> {
    let mut core = CpuSet::new();
    core.set(cpu);
    sched_setaffinity(None, &core).map_err(|error| ShardError::Core { shard, cpu, why: error.to_string() })?;
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(DIALS)
        .build_local(LocalOptions::default())
        .map_err(|error| ShardError::Executor { shard, why: error.to_string() })
}

fn slots(settings: &Settings, subscriptions: &Subscriptions, keeper: Option<&Keeper>, shard: usize) -> Vec<Slot> {
    let planned = settings.plan().filter(|planned| planned.shard == shard);
    planned
        .map(|planned| {
            let source = &settings.sources[planned.source];
            let plan = &source.sessions[planned.session];
            let mut session = Session::new(source, plan, shard, planned.slot, rand::random());
            let recalled = subscriptions.recalled(planned.number);
            recalled.hand_to(&mut session);
            let keeper = keeper.filter(|_| source.qos == Qos::ExactlyOnce);
            let keeps_ids = keeper.map(|keeper| {
                let key = session_key(&plan.client_id, &source.urls[0].to_string());
                keeper.hand_to(&mut session, key, recalled.ids_kept);
                key
            });
            (planned, session, keeps_ids)
        })
        .map(|(Planned { source, number, .. }, session, keeps_ids)| Slot {
            source,
            board: number,
            session: RefCell::new(session),
            keeps_ids,
            bell: Bell::default(),
            confirmed_at: Cell::new(None),
            read_at: Cell::new(clock::now()),
            unwritten: Cell::new(0),
            offered: Cell::new(false),
            stalled: RefCell::new(None),
        })
        .collect()
}

async fn run(shard: Rc<Shard>) -> Remains {
    for slot in 0..shard.slots.len() {
        spawn_local(connection::run(shard.clone(), slot));
    }
    // A task as the sessions are: the executor wakes what it waits for itself by a system call.
    if let Err(error) = spawn_local(pump::run(shard.clone())).await {
        std::panic::resume_unwind(error.into_panic());
    }
    let mut tally = shard.tally.borrow_mut();
    let outstanding = tally.outstanding();
    if shard.acknowledges_at_once() {
        tally.give_up();
    }
    tally.publish(shard.metrics());
    let driver = shard.driver.borrow();
    let in_lane = driver.unreceipted() as u64;
    let spooled = driver.backlog();
    Remains { outstanding, in_lane, spooled }
}
