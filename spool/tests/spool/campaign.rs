//! Seeded lives of a spool on a disk in memory: a few operations, a crash at any moment, recovery, perhaps a crash in
//! that, and so on; after each the checker compares what is left with a model of ten lines.

use std::time::Duration;

use fairlead_spool::{
    AppendError, Entry, Kind, Options,
    disk::{Memory, Operation},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::rig::{Rig, Seen};

/// What must be true of the log: the one thing all these tests rely on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// What was appended, by sequence from 1.
    pub(crate) contents: Vec<u64>,
    pub(crate) synced: u64,
    pub(crate) released: u64,
    next: u64,
}

impl Model {
    /// Something new to append.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// After a reopen: everything synced and not released is there in order, nothing invented, nothing changed.
    pub(crate) fn check(&mut self, rig: &mut Rig<Memory>) -> Result<(), String> {
        let recovery = &rig.recovery;
        if recovery.degraded || !recovery.gaps.is_empty() || !recovery.warnings.is_empty() {
            return Err(format!("a crash is not damage: {recovery:?}"));
        }
        if rig.log.appended() < self.synced {
            return Err(format!("durable was {}, now {}", self.synced, rig.log.appended()));
        }
        if rig.log.appended() > self.contents.len() as u64 {
            return Err(format!("appended were {}, now {}", self.contents.len(), rig.log.appended()));
        }
        let start = rig.recovery.appended - rig.recovery.backlog + 1;
        if start > self.released + 1 {
            return Err(format!("delivered were {}, the log starts at {start}", self.released));
        }
        self.contents.truncate(usize::try_from(rig.log.appended()).expect("small"));
        self.released = start - 1;
        self.synced = rig.log.synced();
        self.check_records(rig)?;
        // What was not surely durable is written again; a full spool needs deliveries for that.
        rig.upkeep();
        rig.commit();
        if rig.log.synced() < rig.log.appended() {
            self.released = self.synced;
            rig.log.release(self.released);
            rig.pass(Duration::from_millis(500));
            rig.upkeep();
            rig.commit();
        }
        if rig.log.synced() != rig.log.appended() {
            return Err(format!("only {} of {} became durable again", rig.log.synced(), rig.log.appended()));
        }
        self.synced = rig.log.synced();
        self.check_records(rig)
    }

    /// What can be read is what was appended.
    pub(crate) fn check_records(&self, rig: &Rig<Memory>) -> Result<(), String> {
        let (seen, gaps) = rig.read_all();
        if !gaps.is_empty() {
            return Err(format!("gaps {gaps:?}"));
        }
        let expected: Vec<Seen> = (self.released + 1..=self.synced).map(|sequence| self.seen(sequence)).collect();
        if seen != expected {
            let at = seen.iter().zip(&expected).take_while(|(seen, expected)| seen == expected).count();
            return Err(format!(
                "{} records instead of {}; the first difference: {:?} instead of {:?}",
                seen.len(),
                expected.len(),
                seen.get(at),
                expected.get(at)
            ));
        }
        Ok(())
    }

    fn seen(&self, sequence: u64) -> Seen {
        Content::new(self.contents[usize::try_from(sequence - 1).expect("small")]).seen(sequence)
    }
}

/// A record, all of it derived from one number.
pub(crate) struct Content {
    kind: Kind,
    meta: Vec<u8>,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
}

impl Content {
    pub(crate) fn new(number: u64) -> Self {
        let mut random = StdRng::seed_from_u64(number);
        let kind = [Kind::Data, Kind::Data, Kind::Open, Kind::Closed][random.random_range(0..4)];
        let mut bytes = |most: usize| {
            let length = random.random_range(0..=most);
            let mut bytes = vec![0; length];
            random.fill(&mut bytes[..]);
            bytes
        };
        let key = number.is_multiple_of(3).then(|| bytes(20));
        let most = if number.is_multiple_of(17) { 1900 } else { 300 };
        let payload = (!number.is_multiple_of(5)).then(|| bytes(most));
        Self { kind, meta: number.to_le_bytes().to_vec(), key, payload }
    }

    pub(crate) fn entry(&self) -> Entry<'_> {
        Entry {
            kind: self.kind,
            session: 3,
            packet_id: 4,
            time: 5,
            meta: &self.meta,
            key: self.key.as_deref(),
            payload: self.payload.as_deref(),
        }
    }

    fn seen(self, sequence: u64) -> Seen {
        Seen { sequence, kind: self.kind, meta: self.meta, key: self.key, payload: self.payload }
    }
}

/// What a life consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Append(u8),
    Commit,
    /// The sync of the next commit fails.
    FailedCommit,
    /// Whatever upkeep is due; the operation may be made to fail.
    Upkeep,
    FailedUpkeep(u8),
    /// Releases this many hundredths of what could be.
    Release(u8),
    Pass(u8),
    Read,
    /// The process ends, the machine goes on.
    Kill,
    /// A power cut before the nth change from here on.
    Crash(u8),
    /// The same, and once more while the spool is opened.
    CrashTwice(u8, u8),
}

/// A spool, its model, and the randomness of its crashes.
pub(crate) struct Life {
    disk: Memory,
    rig: Option<Rig<Memory>>,
    model: Model,
    random: StdRng,
    options: Options,
    /// Torn tails found.
    pub(crate) torn: u64,
    pub(crate) recycled: u64,
}

/// Four groups to a segment.
pub(crate) const TINY: Options =
    Options { max: 12 * (24 << 10), min_free: 0, segment: 24 << 10, group: 2 << 10, record: 2 << 10, shards: 1 };

impl Life {
    pub(crate) fn new(disk: Memory, random: StdRng) -> Self {
        let mut life = Self { disk, rig: None, model: Model::default(), random, options: TINY, torn: 0, recycled: 0 };
        life.reopen().expect("an empty spool");
        life
    }

    fn reopen(&mut self) -> Result<(), String> {
        let mut rig = Rig::open(self.disk.clone(), "/spool", self.options).map_err(|error| error.to_string())?;
        self.torn += u64::from(rig.recovery.torn);
        self.model.check(&mut rig)?;
        self.rig = Some(rig);
        Ok(())
    }

    fn rig(&mut self) -> &mut Rig<Memory> {
        self.rig.as_mut().expect("open between steps")
    }

    pub(crate) fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Append(count) => (0..count).for_each(|_| self.append()),
            Step::Commit => self.commit(),
            Step::FailedCommit => {
                self.disk.fail(Operation::Sync, 0, 1, libc::EIO);
                self.commit();
                self.disk.heal();
            }
            Step::Upkeep => self.upkeep(),
            Step::FailedUpkeep(after) => {
                let operations = [Operation::Sync, Operation::Write, Operation::Create, Operation::Rename];
                let operation = operations[usize::from(after) % operations.len()];
                self.disk.fail(operation, u64::from(after) % 3, 1, libc::ENOSPC);
                self.upkeep();
                self.disk.heal();
            }
            Step::Release(hundredths) => {
                let (from, to) = (self.model.released, self.model.synced);
                self.model.released = from + (to - from) * u64::from(hundredths) / 100;
                let released = self.model.released;
                self.rig().log.release(released);
            }
            Step::Pass(ms) => self.rig().pass(Duration::from_millis(ms.into())),
            Step::Read => self.model.check_records(self.rig.as_ref().expect("open between steps"))?,
            Step::Kill => {
                self.end();
                self.disk = self.disk.kill();
                self.reopen()?;
            }
            Step::Crash(after) => {
                self.crash(after);
                self.reopen()?;
            }
            Step::CrashTwice(after, again) => {
                self.crash(after);
                self.disk.stop_after(again.into());
                // Opening may fail, or succeed before the moment has come.
                drop(Rig::open(self.disk.clone(), "/spool", self.options));
                self.disk = self.disk.crash(&mut self.random);
                self.reopen()?;
            }
        }
        Ok(())
    }

    /// Everything goes on until the machine stops somewhere in it.
    fn crash(&mut self, after: u8) {
        self.disk.stop_after(after.into());
        self.append();
        self.commit();
        self.rig().pass(Duration::from_millis(150));
        self.upkeep();
        self.append();
        self.commit();
        self.commit();
        self.upkeep();
        self.end();
        self.disk = self.disk.crash(&mut self.random);
    }

    fn end(&mut self) {
        let rig = self.rig.take().expect("open between steps");
        self.recycled += rig.log.usage().counters.recycled;
    }

    fn append(&mut self) {
        let number = self.model.fresh();
        let taken = self.rig().log.append(&Content::new(number).entry());
        match taken {
            Ok(sequence) => {
                self.model.contents.push(number);
                assert_eq!(sequence, self.model.contents.len() as u64, "sequences are +1 each");
            }
            Err(AppendError::Busy | AppendError::Full | AppendError::Fenced) => {}
            Err(AppendError::TooLarge) => panic!("no record of the test is too large"),
        }
    }

    fn commit(&mut self) {
        let rig = self.rig.as_mut().expect("open between steps");
        let Some(commit) = rig.log.poll_commit(rig.now) else { return };
        // What the log calls durable while the job is still running.
        self.model.synced = rig.log.synced();
        if let Ok(synced) = rig.log.handle_committed(rig.now, commit.run()) {
            self.model.synced = synced;
        }
    }

    fn upkeep(&mut self) {
        self.rig().upkeep();
    }
}

fn random_step(random: &mut StdRng) -> Step {
    match random.random_range(0..100) {
        0..30 => Step::Append(random.random_range(1..12)),
        30..52 => Step::Commit,
        52..54 => Step::FailedCommit,
        54..70 => Step::Upkeep,
        70..72 => Step::FailedUpkeep(random.random()),
        72..80 => Step::Release(random.random_range(0..=100)),
        80..88 => Step::Pass(random.random_range(0..200)),
        88..90 => Step::Read,
        90..92 => Step::Kill,
        92..97 => Step::Crash(random.random_range(0..24)),
        _ => Step::CrashTwice(random.random_range(0..24), random.random_range(0..12)),
    }
}

/// One image: the life with this seed.
fn live(seed: u64, disk: Memory) -> Result<Life, String> {
    let mut random = StdRng::seed_from_u64(seed);
    if random.random_bool(0.3) {
        disk.garble();
    }
    let steps = random.random_range(20..80);
    let mut life = Life::new(disk, StdRng::seed_from_u64(!seed));
    life.step(Step::Upkeep)?;
    for number in 0..steps {
        let step = random_step(&mut random);
        life.step(step).map_err(|error| format!("seed {seed}, step {number}, {step:?}: {error}"))?;
    }
    life.step(Step::Crash(24)).map_err(|error| format!("seed {seed}, last crash: {error}"))?;
    Ok(life)
}

pub(crate) fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// `FAIRLEAD_IMAGES` says how many, `FAIRLEAD_SEED` the first one's seed.
#[test]
fn no_crash_image_loses_or_invents_a_record() {
    let (images, first) = (from_environment("FAIRLEAD_IMAGES", 4000), from_environment("FAIRLEAD_SEED", 0));
    let (mut torn, mut recycled) = (0, 0);
    for seed in first..first + images {
        let life = live(seed, Memory::new()).unwrap_or_else(|error| panic!("{error}"));
        torn += life.torn;
        recycled += life.recycled;
    }
    println!("{images} images from seed {first}: {torn} torn tails, {recycled} segments recycled");
    assert!(images < 100 || (torn > 0 && recycled > 0), "the images contain what they are made for");
}

/// Counterexamples of long ago, by what they found.
#[test]
fn a_crash_while_a_torn_tail_is_wiped_out_costs_nothing_durable() {
    live(1_015_482, Memory::new()).unwrap_or_else(|error| panic!("{error}"));
}

/// The negative control: on a disk that does not flush the checker must find losses.
#[test]
fn the_checker_finds_what_a_lying_disk_loses() {
    let lost = (0..200).filter(|&seed| {
        let disk = Memory::new();
        disk.lie();
        std::panic::catch_unwind(|| live(seed, disk).is_err()).unwrap_or(true)
    });
    assert!(lost.count() > 100);
}
