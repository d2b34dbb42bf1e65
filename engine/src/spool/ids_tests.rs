//! The log of identifiers on a disk in memory: every job is run inline.

use fairlead_spool::{Name, Options, Spool, disk::Memory};
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::SmallRng};

use super::*;
use crate::shard::clock;

/// A session, and another.
const PIER: SessionKey = 1;
const QUAY: SessionKey = 2;

/// A process with one log.
struct World {
    ids: Ids<Memory>,
    now: Instant,
}

impl World {
    /// Opens log `shard` as a process that keeps all that it finds.
    fn open(disk: &Memory, shard: u16) -> World {
        let spool = open(disk);
        let (mut log, recovery) = spool.log(Name::Ids(shard)).unwrap();
        let found = Found::read(&mut log, &recovery, clock::now()).unwrap();
        World::on(log, found)
    }

    /// On log 0, with what all logs say.
    fn with(disk: &Memory, found: Found) -> World {
        World::on(open(disk).log(Name::Ids(0)).unwrap().0, found)
    }

    fn on(log: Log<Memory>, mut found: Found) -> World {
        let process = found.next_process();
        let keys: Vec<SessionKey> = found.keys().collect();
        let sessions = keys.into_iter().filter_map(|key| Some((key, found.remove(key)?))).collect();
        World { ids: Ids::new(log, process, sessions), now: clock::now() }
    }

    /// Everything that can be done; returns who got how many words.
    fn turn(&mut self) -> Vec<usize> {
        let mut durable = Vec::new();
        loop {
            self.ids.poll(0);
            durable.extend(std::iter::from_fn(|| self.ids.poll_durable()));
            let upkeep = self.ids.poll_upkeep(self.now);
            let kept = upkeep.is_some();
            upkeep.into_iter().for_each(|upkeep| self.ids.handle_upkeep(self.now, upkeep.run()).unwrap());
            let commit = self.ids.poll_commit(self.now);
            if commit.is_none() && !kept {
                return durable;
            }
            commit.into_iter().for_each(|commit| self.ids.handle_committed(self.now, commit.run()).unwrap());
        }
    }

    fn keep(&mut self, key: SessionKey, record: IdRecord) {
        self.turn();
        self.ids.append(7, key, record, 0).unwrap();
    }

    fn found(&self, key: SessionKey) -> Option<Vec<u16>> {
        self.ids.open(key).map(|open| {
            open.iter().for_each(|(&id, &content)| assert_eq!(content, content_of(id)));
            open.keys().copied().collect()
        })
    }
}

fn content_of(id: u16) -> Content {
    0xc0de_0000 + u32::from(id)
}

fn opened(id: u16) -> IdRecord {
    IdRecord::Open(id, content_of(id))
}

/// These are open.
fn these<const COUNT: usize>(ids: [u16; COUNT]) -> Option<OpenIds> {
    Some(ids.into_iter().map(|id| (id, content_of(id))).collect())
}

fn open(disk: &Memory) -> Spool<Memory> {
    Spool::open(disk.clone(), "/spool", Options::default()).unwrap().0
}

fn read_log(spool: &Spool<Memory>, name: Name) -> Found {
    let (mut log, recovery) = spool.log(name).unwrap();
    Found::read(&mut log, &recovery, clock::now()).unwrap()
}

fn read(disk: &Memory) -> Found {
    let spool = open(disk);
    let names = spool.names().iter().copied().filter(|name| matches!(name, Name::Ids(_)));
    names.map(|name| read_log(&spool, name)).fold(Found::default(), Found::and)
}

#[test]
fn what_is_durable_comes_back_and_what_is_not_was_not_said() {
    let disk = Memory::new();
    let mut world = World::open(&disk, 0);
    assert_eq!(world.found(PIER), None, "a new spool knows no session");
    world.keep(PIER, IdRecord::Cleared);
    assert_eq!(world.turn(), [7]);
    for record in [opened(5), opened(6), IdRecord::Closed(5)] {
        world.ids.append(7, PIER, record, 0).unwrap();
    }
    assert_eq!(world.turn(), [7, 7, 7], "one group, one word for each");
    world.ids.append(7, PIER, opened(9), 0).unwrap();
    assert!(world.ids.poll_durable().is_none());
    drop(world);
    let world = World::open(&disk.crash(&mut SmallRng::seed_from_u64(1)), 0);
    assert_eq!(world.found(PIER), Some(vec![6]));
    assert_eq!(world.found(QUAY), None);
}

#[test]
fn a_session_that_begins_anew_has_nothing_open() {
    let disk = Memory::new();
    let mut world = World::open(&disk, 0);
    for record in [IdRecord::Cleared, opened(5), IdRecord::Cleared] {
        world.keep(PIER, record);
    }
    world.turn();
    drop(world);
    assert_eq!(World::open(&disk, 0).found(PIER), Some(Vec::new()));
}

/// The session moves from one log to another and back; the old log still says what it said.
#[test]
fn the_last_process_is_right_whichever_log_it_wrote() {
    let disk = Memory::new();
    let mut world = World::open(&disk, 1);
    for record in [IdRecord::Cleared, opened(5), opened(6)] {
        world.keep(PIER, record);
    }
    world.turn();
    drop(world);
    let found = read(&disk);
    let mut world = World::with(&disk, found);
    assert_eq!(world.found(PIER), Some(vec![5, 6]));
    world.keep(PIER, IdRecord::Closed(5));
    world.turn();
    drop(world);
    assert_eq!(read(&disk).remove(PIER), these([6]));
    let all = read(&disk);
    let spool = open(&disk);
    assert!(read_log(&spool, Name::Ids(1)).is_superseded_by(&all));
    assert!(!read_log(&spool, Name::Ids(0)).is_superseded_by(&all));
}

/// Killed before the session is written in its new log, it is found in the old one.
#[test]
fn a_session_is_not_taken_before_its_beginning_is_written() {
    let disk = Memory::new();
    let mut world = World::open(&disk, 1);
    world.keep(PIER, IdRecord::Cleared);
    world.keep(PIER, opened(5));
    world.turn();
    drop(world);
    let mut world = World::with(&disk, read(&disk));
    assert_eq!(world.ids.append(7, PIER, opened(6), 0), Err(AppendError::Busy));
    drop(world);
    assert_eq!(read(&disk).remove(PIER), these([5]));
}

/// A7 for a part of the spool: what was durable is gone.
#[test]
fn nothing_is_believed_of_a_log_with_a_gap() {
    let disk = Memory::new();
    let mut world = World::open(&disk, 0);
    for record in [IdRecord::Cleared, opened(5), opened(6)] {
        world.keep(PIER, record);
        world.turn();
    }
    drop(world);
    let path = disk.paths().into_iter().find(|path| path.to_string_lossy().contains("ids-00/seg-")).unwrap();
    let mut bytes = disk.bytes(&path).unwrap();
    // The second group begins on the third block.
    bytes[2 * 4096 + 20] ^= 1;
    disk.put(&path, bytes);
    let mut found = read(&disk);
    assert!(found.is_damaged());
    assert_eq!((found.keys().count(), found.remove(PIER)), (0, None));
    // The process that begins anew is believed again.
    let mut world = World::open(&disk, 0);
    world.turn();
    world.keep(QUAY, IdRecord::Cleared);
    world.turn();
    world.now += std::time::Duration::from_secs(1);
    world.turn();
    drop(world);
    let mut found = read(&disk);
    assert!(!found.is_damaged());
    assert_eq!((found.remove(PIER), found.remove(QUAY)), (None, these([])));
}

/// An identifier that stays open is written anew, and pins nothing.
#[test]
fn the_log_stays_small_whatever_stays_open() {
    let disk = Memory::new();
    let mut world = World::open(&disk, 0);
    world.keep(QUAY, IdRecord::Cleared);
    world.keep(QUAY, opened(40));
    world.keep(PIER, IdRecord::Cleared);
    world.turn();
    let mut most = 0;
    for exchange in 0..6_000_u16 {
        let record = if exchange % 2 == 0 { opened(1) } else { IdRecord::Closed(1) };
        world.ids.append(7, PIER, record, 0).unwrap();
        assert_eq!(world.turn(), [7]);
        world.now += std::time::Duration::from_millis(1);
        most = most.max(world.ids.usage().segments);
    }
    assert!(world.ids.process == 1 && most <= 2, "6,000 groups are six segments, and {most} were in use at once");
    drop(world);
    assert_eq!(World::open(&disk, 0).found(QUAY), Some(vec![40]));
}

proptest! {
    /// Whatever is kept, and wherever the process is killed: what was said to be durable is found, and of what was not
    /// said at most the next records, in order.
    #[test]
    fn finds_a_state_between_what_was_said_and_what_was_asked(
        steps in prop::collection::vec((1_u16..4, any::<bool>(), any::<bool>()), 1..60),
        seed in any::<u64>(),
    ) {
        let disk = Memory::new();
        let mut world = World::open(&disk, 0);
        let mut open = OpenIds::new();
        let (mut states, mut said) = (vec![OpenIds::new()], 0);
        world.keep(PIER, IdRecord::Cleared);
        world.turn();
        for (id, opens, turns) in steps {
            let record = if opens { opened(id) } else { IdRecord::Closed(id) };
            world.ids.append(7, PIER, record, 0).unwrap();
            if opens { open.insert(id, content_of(id)) } else { open.remove(&id) };
            states.push(open.clone());
            if turns {
                said += world.turn().len();
            }
        }
        let crashed = disk.crash(&mut SmallRng::seed_from_u64(seed));
        drop(world);
        let found = read(&crashed).remove(PIER);
        prop_assert!(states[said..].iter().any(|state| Some(state) == found.as_ref()), "{found:?} of {states:?}, {said}");
    }
}
