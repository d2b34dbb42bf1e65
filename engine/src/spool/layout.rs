//! Which logs of the folder are whose. The logs of a process with so many shards are one generation; a process with
//! another number begins the next, and drains the older ones before anything of its own goes to Kafka.

use std::collections::{BTreeMap, BTreeSet};

use fairlead_spool::Name;

/// Numbers that a generation has for its shards: more than there can be shards.
const NUMBERS: u16 = 256;
/// Most generations: what fits a log's number.
const GENERATIONS: u16 = u16::MAX / NUMBERS + 1;
const _: () = assert!(crate::message::MAX_SHARDS < NUMBERS as usize);

/// The logs of a spool.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The generation of this process; `None` where it has to be a new one.
    current: Option<u16>,
    /// The earlier ones, oldest first, each with its logs in the order in which they are drained: what is parked is older
    /// than what is not.
    pub(super) older: Vec<Vec<Name>>,
    next: u16,
}

impl Layout {
    /// What the names of a folder's logs say to a process with so many shards.
    pub(super) fn new(names: &[Name], shards: u16) -> Layout {
        let mut generations = BTreeMap::<u16, BTreeSet<u16>>::new();
        for name in names {
            if let Name::Shard(number) | Name::Parked(number) = name {
                let generation = generations.entry(number / NUMBERS).or_default();
                generation.extend(matches!(name, Name::Shard(_)).then_some(number % NUMBERS));
            }
        }
        let last = generations.last_key_value().map(|(number, of)| (*number, of.iter().copied().eq(0..shards)));
        let current = last.and_then(|(number, same)| same.then_some(number));
        let next = last.map_or(0, |(number, _)| number + 1);
        let older = generations.into_keys().filter(|number| Some(*number) != current);
        Layout { current, older: older.map(|number| logs(names, number)).collect(), next }
    }

    /// The number of this process's first log; `drained` says that the older logs are gone. `None` when there have been
    /// too many generations.
    pub(super) fn first(&self, drained: bool) -> Option<u16> {
        let generation = match self.current {
            Some(current) => current,
            None if drained => 0,
            None => self.next,
        };
        (generation < GENERATIONS).then(|| generation * NUMBERS)
    }
}

/// The shard that drains a log of an older generation.
pub(super) fn drained_by(name: Name, shards: u16) -> u16 {
    match name {
        Name::Shard(number) | Name::Parked(number) | Name::DeadLetter(number) | Name::Ids(number) => {
            number % NUMBERS % shards
        }
    }
}

fn logs(names: &[Name], generation: u16) -> Vec<Name> {
    let has = |name: &Name| match name {
        Name::Shard(number) | Name::Parked(number) => number / NUMBERS == generation,
        Name::DeadLetter(_) | Name::Ids(_) => false,
    };
    let mut logs: Vec<Name> = names.iter().copied().filter(has).collect();
    logs.sort_by_key(|name| matches!(name, Name::Shard(_)));
    logs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(numbers: impl IntoIterator<Item = u16>) -> Vec<Name> {
        numbers.into_iter().flat_map(|number| [Name::Shard(number), Name::Parked(number)]).collect()
    }

    #[test]
    fn the_same_number_of_shards_goes_on_with_its_logs() {
        let layout = Layout::new(&[], 2);
        assert_eq!((layout.first(false), layout.older.len()), (Some(0), 0), "a new folder");
        let layout = Layout::new(&shards(0..2), 2);
        assert_eq!((layout.first(false), layout.older.len()), (Some(0), 0));
    }

    #[test]
    fn another_number_begins_a_generation_and_drains_the_older_ones_first() {
        let layout = Layout::new(&shards(0..4), 2);
        assert_eq!(layout.first(false), Some(256));
        assert_eq!(layout.first(true), Some(0), "nothing is left of the old ones");
        assert_eq!(layout.older[0][0], Name::Parked(0), "what is parked is older");
        assert_eq!(layout.older[0].len(), 8);
        let drained: Vec<u16> = layout.older[0].iter().map(|name| drained_by(*name, 2)).collect();
        assert_eq!(drained, [0, 1, 0, 1, 0, 1, 0, 1]);
        let names = [shards(0..4), shards(256..258)].concat();
        let layout = Layout::new(&names, 2);
        assert_eq!((layout.first(false), layout.older.len()), (Some(256), 1), "the same number again");
        let layout = Layout::new(&names, 4);
        assert_eq!((layout.first(false), layout.older.len()), (Some(512), 2), "and back");
    }

    #[test]
    fn a_generation_that_was_begun_and_not_completed_is_an_older_one() {
        let layout = Layout::new(&shards([0, 1, 256]), 2);
        assert_eq!((layout.first(false), layout.older.len()), (Some(512), 2));
    }

    #[test]
    fn generations_have_an_end() {
        assert_eq!(Layout::new(&shards([255 * 256]), 2).first(false), None);
    }
}
