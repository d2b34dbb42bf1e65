//! CPU time of the bridge's own threads, in a process that it shares with brokers, fleet and consumer.

use std::{collections::BTreeSet, fs};

/// Threads of this process, by their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Threads(BTreeSet<u32>);

impl Threads {
    /// Those there are now; none where `/proc` does not tell.
    pub(super) fn now() -> Threads {
        let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        Threads(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// The shards, and librdkafka's threads, that have come since.
    pub(super) fn of_bridge_since(self) -> Threads {
        let is_of_bridge = |number: &u32| {
            let name = stat(*number).map(|stat| stat.name).unwrap_or_default();
            name.starts_with("shard") || name.starts_with("rdk:")
        };
        Threads(Threads::now().0.difference(&self.0).copied().filter(is_of_bridge).collect())
    }

    /// CPU seconds, user and system, that they have used.
    #[expect(clippy::cast_precision_loss, reason = "clock ticks of centuries fit an f64 exactly")]
    pub(super) fn cpu_seconds(&self) -> f64 {
        let ticks: u64 = self.0.iter().filter_map(|number| stat(*number)).map(|stat| stat.ticks).sum();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }
}

/// What `/proc` tells of a thread.
struct Stat {
    name: String,
    ticks: u64,
}

/// utime and stime are fields 14 and 15: the 12th and 13th after the name in parentheses.
fn stat(thread: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let mut times = stat[close + 1..].split_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
    Some(Stat { name: stat[open + 1..close].to_owned(), ticks: times.next()? + times.next()? })
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, sync::mpsc::sync_channel, thread};

    use super::*;

    #[test]
    fn only_new_threads_of_the_bridge_count_and_their_time_rises() {
        let before = Threads::now();
        assert!(!before.0.is_empty());
        let (ready, is_ready) = sync_channel(0);
        let (end, ended) = sync_channel::<()>(0);
        let busy = thread::Builder::new().name("shard-7".to_owned()).spawn(move || {
            let number = fs::read_link("/proc/thread-self").unwrap();
            let number = number.file_name().unwrap().to_str().unwrap().parse().unwrap();
            while stat(number).unwrap().ticks < 2 {
                black_box(0);
            }
            ready.send(number).unwrap();
            let _ = ended.recv();
        });
        let number = is_ready.recv().unwrap();
        let threads = before.of_bridge_since();
        assert!(threads.0.contains(&number));
        assert!(threads.cpu_seconds() >= 0.02 || rustix::param::clock_ticks_per_second() != 100);
        drop(end);
        busy.unwrap().join().unwrap();
    }
}
