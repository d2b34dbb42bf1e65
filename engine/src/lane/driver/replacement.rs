//! A producer is started, and another takes its place when it has failed for good.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_setaffinity};

use super::Driver;
use crate::{
    kafka::{Producer, ProducerError, Topics},
    lane::LIMIT,
    ring::Port,
    settings::Settings,
    slice,
};

/// Pause before a producer is started again that could not be: what it lacks, memory or threads, must come from elsewhere.
const REPLACE_PAUSE: Duration = Duration::from_secs(1);

impl Driver {
    /// All that the producer has comes back; then another takes its place.
    pub(super) fn give_up_producer(&mut self) {
        self.fatal = true;
        self.producer.purge();
    }

    /// Puts a new producer in the place of one that failed; tried again after [`REPLACE_PAUSE`] when it cannot start.
    pub(super) fn replace(&mut self, now: Instant) -> bool {
        match start_producer(&self.settings, &self.topics, &self.port) {
            Ok(producer) => {
                let failed = std::mem::replace(&mut self.producer, producer);
                self.fatal = false;
                self.replace_at = None;
                // Destroying waits for librdkafka's threads, which an executor must not.
                drop(thread::spawn(move || drop(failed)));
                true
            }
            Err(error) => {
                self.replace_at = Some(now + REPLACE_PAUSE);
                tracing::error!(%error, "no new producer after a fatal error; trying again");
                false
            }
        }
    }
}

/// librdkafka's threads inherit the affinity and the policy of the thread that starts the producer. Its broker's thread is
/// woken by the first record of a batch. Where it interrupts the shard then, that record goes alone, and the others wait until
/// Kafka has answered, because librdkafka has one request of a partition under way; it polls without a pause meanwhile.
pub(super) fn start_producer(
    settings: &Arc<Settings>,
    topics: &Arc<Topics>,
    port: &Port,
) -> Result<Producer, ProducerError> {
    let (settings, topics, doorbells, shard) =
        (settings.clone(), topics.clone(), port.doorbells().clone(), port.shard());
    let start = move || {
        if let Some(cpus) = &settings.engine.kafka_cpus {
            let mut set = CpuSet::new();
            cpus.iter().for_each(|cpu| set.set(*cpu));
            if let Err(error) = sched_setaffinity(None, &set) {
                tracing::warn!(?cpus, %error, "librdkafka's threads stay on the shard's core");
            }
        }
        // A sandbox that forbids it was told of at the start.
        drop(slice::defer());
        Producer::new(&settings, LIMIT, topics, doorbells, shard)
    };
    thread::spawn(start).join().expect("starting a producer does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lane::Turn, ring::Mesh, settings::Secret, shard::clock};

    #[test]
    fn a_replacement_that_cannot_start_is_tried_again_after_a_pause() {
        let settings = Arc::new(Settings::minimal("127.0.0.1:1"));
        let port = Mesh::new(1).into_ports().remove(0);
        let start = (clock::now(), clock::wall());
        let mut driver = Driver::new(settings.clone(), Arc::new(Topics::default()), port, None, start).unwrap();
        let mut refused = (*settings).clone();
        refused.kafka.properties.push(("no.such.property".to_owned(), Secret::new("1".to_owned())));
        driver.settings = Arc::new(refused);
        driver.fatal = true;
        let (now, mut turn) = (clock::now(), Turn::default());
        assert_eq!(driver.poll_timeout(), None, "reports ring");
        driver.poll(now, &mut turn);
        assert!(!turn.replaced);
        assert_eq!(driver.poll_timeout(), Some(now + REPLACE_PAUSE));
        driver.settings = settings;
        driver.poll(now + REPLACE_PAUSE / 2, &mut turn);
        assert!(!turn.replaced, "each attempt costs a thread: not at every wake");
        driver.poll(now + REPLACE_PAUSE, &mut turn);
        assert!(turn.replaced);
        assert_eq!(driver.poll_timeout(), None);
    }
}
