//! Looks at a running bridge all along: the ledger at every scrape, and what it takes of the machine.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    http::{Metrics, get},
    wait::pause,
};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(100);
/// Most imbalances kept: the first ones tell.
const KEPT: usize = 5;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Scrapes that were answered.
    pub scrapes: u64,
    /// Ledgers that did not balance.
    pub imbalances: Vec<String>,
    /// Most anonymous resident memory, bytes.
    pub rss_anon: u64,
    /// Most open files.
    pub files: usize,
    /// Most threads.
    pub threads: usize,
}

/// A thread that looks until it is asked.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    process: AtomicU32,
    watched: Mutex<Watched>,
}

impl Watch {
    /// Watches the bridge whose admin endpoint is at `admin`.
    #[must_use]
    pub fn start(admin: u16, process: u32) -> Watch {
        let shared = Arc::new(Shared::default());
        shared.process.store(process, Ordering::Relaxed);
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.look(admin)
        });
        Watch { shared, thread: Some(thread) }
    }

    /// The bridge was restarted.
    pub fn follow(&self, process: u32) {
        self.shared.process.store(process, Ordering::Relaxed);
    }

    /// What was seen so far.
    ///
    /// # Panics
    ///
    /// When the thread has panicked.
    #[must_use]
    pub fn seen(&self) -> Watched {
        self.shared.watched.lock().expect("unpoisoned").clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn look(&self, admin: u16) {
        while !self.stop.load(Ordering::Relaxed) {
            let scrape = get(admin, "/metrics").map(|answer| Metrics::parse(&answer.body));
            let process = self.process.load(Ordering::Relaxed);
            let mut watched = self.watched.lock().expect("unpoisoned");
            if let Some(metrics) = scrape {
                watched.scrapes += 1;
                let room = KEPT - watched.imbalances.len();
                watched.imbalances.extend(metrics.imbalance().into_iter().take(room));
            }
            watched.rss_anon = watched.rss_anon.max(rss_anon(process));
            watched.files = watched.files.max(entries(process, "fd"));
            watched.threads = watched.threads.max(entries(process, "task"));
            drop(watched);
            pause(INTERVAL);
        }
    }
}

/// `RssAnon` in bytes; 0 where the process is gone.
fn rss_anon(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kilobytes| kilobytes * 1024)
}

/// How many entries a folder of the process has; 0 where it is gone.
fn entries(process: u32, folder: &str) -> usize {
    fs::read_dir(format!("/proc/{process}/{folder}")).map_or(0, Iterator::count)
}
