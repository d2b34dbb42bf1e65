//! What the sessions are subscribed to, remembered over a restart.
//!
//! A broker goes on delivering to a resumed session what an earlier process subscribed. So each session has a small
//! file in `[engine] state` ([`file`]), named by its client id and the source's first URL, with its filters as they are
//! on the wire:
//!
//! - Before the shards start it is read ([`Store::open`]). What is in it and not in the configuration is retired by
//!   UNSUBSCRIBE; what a broker granted is not subscribed again. Then the union is written, with nothing granted: a
//!   crash forgets no filter, and believes no grant.
//! - After everything is granted and everything retired is gone, the filters of the configuration alone are written, and
//!   which broker granted them.
//! - After a connection is lost nothing counts as granted, until all is granted again: the broker may come back without
//!   the session, and a crash before SUBACK would leave a session that nobody subscribes.
//!
//! - Whether the packet identifiers of QoS 2 are kept in the spool is written as well: true once the session is known
//!   there and everything is granted, false by a process that does not keep them. So a spool that was wiped is told
//!   from one that never knew the session, and identifiers that were left behind are not believed.
//!
//! The shards tell and the control thread writes: no file is touched on an executor. A failover list of brokers that
//! do not share their sessions has one file all the same: what was unsubscribed at one is forgotten for all.

mod file;
mod store;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, futures::Notified};

pub use self::store::Store;
use crate::{mqtt::Session, settings::Address};

/// What an earlier process left for one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recalled {
    /// Filters that the configuration no longer has.
    pub retired: Vec<String>,
    /// The broker that granted filters as they are asked for now, and those filters; `None` where that is not certain.
    pub granted: Option<(Address, Vec<String>)>,
    /// Whether the packet identifiers of QoS 2 were kept in the spool to the last; `None` where that is not told.
    pub ids_kept: Option<bool>,
}

impl Recalled {
    /// Hands it to the session, before its first connection.
    pub fn hand_to(&self, session: &mut Session) {
        session.retire(self.retired.clone());
        if let Some((broker, filters)) = &self.granted {
            session.remember(broker.clone(), filters);
        }
    }
}

/// What a shard tells about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// This broker has granted every filter and given up every retired one.
    Subscribed(Address),
    /// The connection is lost.
    Lost,
    /// The session is ended at the broker.
    Ended,
}

/// What shards and control thread share. A session has one place for its last word, and a newer word takes the place
/// of an older that was not heard: so the mailbox is bounded by the sessions, is never full, and loses nothing that
/// still counts.
#[derive(Debug)]
pub struct Subscriptions {
    recalled: Vec<Recalled>,
    words: Mutex<Vec<Option<Word>>>,
    told: Notify,
}

impl Subscriptions {
    /// For as many sessions as there are `recalled`, in the order of [`crate::settings::Settings::plan`].
    #[must_use]
    pub fn new(recalled: Vec<Recalled>) -> Subscriptions {
        Subscriptions { words: Mutex::new(vec![None; recalled.len()]), recalled, told: Notify::new() }
    }

    /// What an earlier process left for session `number`.
    ///
    /// # Panics
    /// If there is no such session.
    #[must_use]
    pub fn recalled(&self, number: usize) -> &Recalled {
        &self.recalled[number]
    }

    /// Tells about session `number`. At most twice for each connection.
    ///
    /// # Panics
    /// If there is no such session.
    pub fn tell(&self, number: usize, word: Word) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(word);
        self.told.notify_one();
    }

    /// Takes the last word of every session that told something.
    #[must_use]
    pub fn take(&self) -> Vec<(usize, Word)> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.iter_mut().enumerate().filter_map(|(number, word)| Some((number, word.take()?))).collect()
    }

    /// Resolves when something was told since the last time.
    pub fn told(&self) -> Notified<'_> {
        self.told.notified()
    }
}
