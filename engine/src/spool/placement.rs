//! By which number of partitions the records of a Kafka topic are dealt to the shards' logs, noted beside these.
//!
//! A record goes to the log of the shard that owns its partition, so that all of one key lie in one log. What a process
//! finds there at its start and what it takes from then on must be dealt alike, or the one would overtake the other. So a
//! topic keeps the number of partitions that is noted for it, even before Kafka can be asked and where it has got more
//! since, until a process begins with nothing in its logs.
//!
//! Of a topic that is not noted the records stay with the shards of their sessions. That is so where Kafka did not tell
//! its partitions before its first records came, and where it is new to a process that began with a backlog: an earlier
//! process may have kept records of it where their sessions were.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
};

use fairlead_spool::{
    OpenError, Spool,
    disk::{Disk, Real},
};

/// The note of one spool. Its calls may block on the disk.
#[derive(Debug)]
pub struct Placement<D: Disk = Real>(Option<Noted<D>>);

#[derive(Debug)]
struct Noted<D: Disk> {
    spool: Spool<D>,
    /// The process began with nothing in its logs, so that it may add to the note.
    began_empty: bool,
    partitions: Mutex<BTreeMap<String, u32>>,
}

impl<D: Disk> Placement<D> {
    /// Where there are no logs to deal to, or one.
    #[must_use]
    pub fn none() -> Placement<D> {
        Placement(None)
    }

    /// That of a spool; `backlog` says that records lie in the logs of this number of shards.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(spool: Spool<D>, backlog: bool) -> Result<Placement<D>, OpenError> {
        let note = spool.note()?;
        let partitions = match note.as_deref().map(serde_json::from_slice) {
            Some(Ok(partitions)) if backlog => partitions,
            None | Some(Err(_)) if backlog => {
                tracing::warn!(
                    "the note of how records are dealt to the logs is missing or damaged: those of one key that lie in \
                     different logs may come out of order"
                );
                BTreeMap::new()
            }
            Some(Ok(old)) if old.is_empty() => old,
            _ => {
                spool.set_note(b"{}")?;
                BTreeMap::new()
            }
        };
        Ok(Placement(Some(Noted { spool, began_empty: !backlog, partitions: Mutex::new(partitions) })))
    }

    /// Every topic that is noted.
    #[must_use]
    pub fn noted(&self) -> BTreeMap<String, u32> {
        self.0
            .as_ref()
            .map_or_else(BTreeMap::new, |noted| noted.partitions.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Notes a topic of which nothing was taken. Whether its records are dealt by partition.
    ///
    /// # Errors
    /// It could not be written down.
    pub fn note(&self, topic: &str, partitions: u32) -> io::Result<bool> {
        let Some(noted) = &self.0 else { return Ok(true) };
        if !noted.began_empty {
            return Ok(false);
        }
        let mut all = noted.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(topic.to_owned(), partitions);
        let written = serde_json::to_vec(&*all).map_err(io::Error::other);
        let written = written.and_then(|bytes| noted.spool.set_note(&bytes).map_err(io::Error::other));
        if written.is_err() {
            all.remove(topic);
        }
        written.map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use fairlead_spool::{Options, disk::Memory};

    use super::*;

    fn open(disk: &Memory, backlog: bool) -> Placement<Memory> {
        let (spool, _) = Spool::open(disk.clone(), "/spool", Options::default()).unwrap();
        Placement::open(spool, backlog).unwrap()
    }

    fn noted(topics: &[(&str, u32)]) -> BTreeMap<String, u32> {
        topics.iter().map(|(topic, partitions)| ((*topic).to_owned(), *partitions)).collect()
    }

    #[test]
    fn with_a_backlog_what_was_noted_counts_and_nothing_is_added() {
        let disk = Memory::new();
        let placement = open(&disk, false);
        assert!(placement.note("ais", 9).unwrap() && placement.note("harbour", 3).unwrap());
        drop(placement);
        let placement = open(&disk, true);
        assert_eq!(placement.noted(), noted(&[("ais", 9), ("harbour", 3)]));
        assert!(!placement.note("pier", 1).unwrap());
        drop(placement);
        assert_eq!(open(&disk, true).noted(), noted(&[("ais", 9), ("harbour", 3)]));
    }

    #[test]
    fn with_nothing_in_the_logs_it_begins_anew() {
        let disk = Memory::new();
        assert!(open(&disk, false).note("ais", 9).unwrap());
        assert_eq!(open(&disk, false).noted(), noted(&[]));
        assert_eq!(open(&disk, true).noted(), noted(&[]), "and so it was written down");
    }

    #[test]
    fn without_logs_everything_is_dealt_by_partition() {
        let placement = Placement::<Memory>::none();
        assert!(placement.note("ais", 9).unwrap() && placement.noted().is_empty());
    }
}
