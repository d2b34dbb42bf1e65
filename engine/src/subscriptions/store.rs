//! All the files, and what they say.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use super::{
    Recalled, Word,
    file::{self, Record, Remembered},
};
use crate::settings::{Settings, Source};

/// The files of all sessions. Its calls block on the disk.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    sessions: Vec<Entry>,
    /// Whether it was said that files cannot be written, and none has been since.
    warned: bool,
}

/// One session and its file.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
    /// What the file says; `None` where it says something else or cannot be read.
    stored: Option<Record>,
    /// What it should say.
    wanted: Record,
    /// Whether this process keeps the session's packet identifiers.
    keeps_ids: bool,
    /// The filters of the configuration.
    current: Vec<Remembered>,
}

impl Store {
    /// Reads the files of all sessions and writes them anew, so that they hold what may be subscribed from now on.
    /// Returns what they told, in the order of [`Settings::plan`]. What cannot be read or written is one warning, and
    /// the bridge goes on without.
    #[must_use]
    pub fn open(settings: &Settings) -> (Store, Vec<Recalled>) {
        let mut store = Store { folder: PathBuf::new(), sessions: Vec::new(), warned: false };
        let Some(folder) = &settings.engine.state else {
            // Nobody would tell that a process between did not keep them.
            let nothing = Recalled { ids_kept: Some(false), ..Recalled::default() };
            return (store, vec![nothing; settings.plan().count()]);
        };
        store.folder.clone_from(folder);
        let mut recalled = Vec::new();
        for planned in settings.plan() {
            let source = &settings.sources[planned.source];
            let client_id = &source.sessions[planned.session].client_id;
            let url = source.urls[0].to_string();
            let path = file::path(&store.folder, client_id, &url);
            let stored = read(&path, client_id, &url).unwrap_or_else(|error| {
                store.warn(&path, &error);
                None
            });
            let keeps_ids = settings.keeps_ids(source);
            let (mut entry, mut told) = Entry::new(path, stored, source, planned.session, keeps_ids);
            // Without it written down that nothing counts as granted, a crash could leave a grant that is long gone.
            if !store.save(&mut entry) {
                told.granted = None;
            }
            store.sessions.push(entry);
            recalled.push(told);
        }
        (store, recalled)
    }

    /// Writes what shards told, by the number of the session. What could not be written is tried again at the
    /// session's next word.
    pub fn handle(&mut self, words: Vec<(usize, Word)>) {
        for (number, word) in words {
            let mut sessions = std::mem::take(&mut self.sessions);
            // Without a folder there are none.
            match (sessions.get_mut(number), word) {
                (Some(entry), Word::Ended) => self.forget(entry),
                (Some(entry), word) => {
                    entry.handle(word);
                    self.save(entry);
                }
                (None, _) => {}
            }
            self.sessions = sessions;
        }
    }

    /// Returns whether the file says what it should.
    fn save(&mut self, entry: &mut Entry) -> bool {
        if entry.stored.as_ref() == Some(&entry.wanted) {
            return true;
        }
        match file::write(&entry.path, &entry.wanted) {
            Ok(()) => {
                entry.stored = Some(entry.wanted.clone());
                self.warned = false;
                true
            }
            Err(error) => {
                self.warn(&entry.path, &error);
                false
            }
        }
    }

    /// Nothing is subscribed any more.
    fn forget(&mut self, entry: &mut Entry) {
        entry.stored = None;
        if let Err(error) = file::remove(&entry.path) {
            self.warn(&entry.path, &error);
        }
    }

    /// One warning for each damaged file, and one for all that cannot be read or written.
    fn warn(&mut self, path: &Path, error: &io::Error) {
        let path = path.display();
        if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
            tracing::warn!(
                %path, %error,
                "the file of a session's subscriptions is damaged and is written anew: everything is subscribed again, and \
                 what an earlier run had subscribed may go on being delivered"
            );
        } else if !std::mem::replace(&mut self.warned, true) {
            let folder = self.folder.display();
            tracing::warn!(
                %path, %error,
                "subscriptions cannot be remembered over a restart: each start subscribes everything again, and filters \
                 taken out of the configuration may go on being delivered; make {folder} readable and writable, or set \
                 [engine] state to a folder that is"
            );
        }
    }
}

impl Entry {
    fn new(
        path: PathBuf,
        stored: Option<Record>,
        source: &Source,
        session: usize,
        keeps_ids: bool,
    ) -> (Entry, Recalled) {
        let plan = &source.sessions[session];
        let subscriptions = plan.subscriptions.iter();
        let current: Vec<Remembered> = subscriptions
            .map(|one| Remembered { filter: one.filter.clone(), qos: source.qos as u8, id: one.id })
            .collect();
        let remembered = stored.as_ref().map_or(&[][..], |record| &record.filters);
        let names: HashSet<&str> = current.iter().map(|one| one.filter.as_str()).collect();
        let gone: Vec<Remembered> =
            remembered.iter().filter(|one| !names.contains(one.filter.as_str())).cloned().collect();
        let retired = gone.iter().map(|one| one.filter.clone()).collect();
        let granted = stored.as_ref().and_then(|record| {
            let broker = source.urls.iter().find(|url| Some(url.to_string()) == record.granted_by)?;
            let known: HashSet<(&str, u8, Option<u32>)> = remembered.iter().map(Remembered::key).collect();
            let same = current.iter().filter(|one| known.contains(&one.key()));
            Some((broker.clone(), same.map(|one| one.filter.clone()).collect()))
        });
        let filters = current.iter().cloned().chain(gone).collect();
        let (client_id, url) = (plan.client_id.clone(), source.urls[0].to_string());
        let ids_kept = stored.as_ref().and_then(|record| record.ids_kept);
        let now_kept = if keeps_ids { ids_kept } else { Some(false) };
        let wanted = Record { client_id, url, granted_by: None, ids_kept: now_kept, filters };
        (Entry { path, stored, wanted, keeps_ids, current }, Recalled { retired, granted, ids_kept })
    }

    fn handle(&mut self, word: Word) {
        match word {
            Word::Subscribed(broker) => {
                self.wanted.granted_by = Some(broker.to_string());
                self.wanted.ids_kept = Some(self.keeps_ids);
                self.wanted.filters.clone_from(&self.current);
            }
            Word::Lost | Word::Ended => self.wanted.granted_by = None,
        }
    }
}

impl Remembered {
    fn key(&self) -> (&str, u8, Option<u32>) {
        (&self.filter, self.qos, self.id)
    }
}

/// What the file says, if it is of this session.
fn read(path: &Path, client_id: &str, url: &str) -> io::Result<Option<Record>> {
    match file::read(path)? {
        Some(record) if record.client_id != client_id || record.url != url => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "it is of another session"))
        }
        record => Ok(record),
    }
}
