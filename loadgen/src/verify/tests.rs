use super::*;
use crate::stamp::LONG;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const RUN: u32 = 3;

/// One record after the other into one partition, unless a test says otherwise.
struct World {
    verifier: Verifier,
    offset: i64,
}

impl World {
    fn new() -> Self {
        Self { verifier: Verifier::new(Some(RUN)), offset: 0 }
    }

    fn see(&mut self, publisher: u32, sequence: u64) -> bool {
        self.see_in(publisher, sequence, 0, None)
    }

    fn see_in(&mut self, publisher: u32, sequence: u64, partition: i32, key: Option<&str>) -> bool {
        let payload = payload(RUN, publisher, sequence);
        let offset = self.offset;
        self.offset += 1;
        self.observe(&payload, partition, offset, key)
    }

    fn observe(&mut self, payload: &[u8], partition: i32, offset: i64, key: Option<&str>) -> bool {
        if partition != 0 {
            // The tests that use more partitions do not look at offsets.
            self.verifier.start_at("ais", partition, offset);
        }
        self.verifier.observe(&Record {
            topic: "ais",
            partition,
            offset,
            key: key.map(str::as_bytes),
            payload,
            arrived_ns: 5_000_000,
        })
    }

    fn report(&self, sent: &[u64]) -> Report {
        self.verifier.report(Some(&expectation(sent)), None)
    }
}

fn payload(run: u32, publisher: u32, sequence: u64) -> Vec<u8> {
    let mut payload = vec![b'.'; LONG + 40];
    let stamp = Stamp { run, publisher, sequence, sent_ns: 1_000_000 };
    stamp.write(&mut payload, 3);
    payload
}

fn expectation(sent: &[u64]) -> Expectation {
    Expectation {
        run_id: RUN,
        topics: (0..sent.len()).map(|number| format!("ais/{number}/position")).collect(),
        sent: sent.to_vec(),
    }
}

fn log(acknowledged: &[u64]) -> AckLog {
    AckLog { run_id: RUN, acknowledged: acknowledged.iter().map(|&count| Sequences::below(count)).collect() }
}

#[test]
fn a_faithful_bridge_is_clean() {
    let mut world = World::new();
    for sequence in 0..100 {
        assert!(world.see(0, sequence));
        assert!(world.see(1, sequence));
    }
    let report = world.verifier.report(Some(&expectation(&[100, 100])), Some(&log(&[100, 100])));
    assert_eq!(report.verdict(0), Verdict::Clean, "{report:?}");
    assert_eq!((report.found, report.sent, report.acknowledged), (200, Some(200), Some(200)));
    assert_eq!((report.latency.count, report.latency.p50_ms.round() as u64), (200, 4));
}

#[test]
fn a_missing_message_is_lost_wherever_it_was() {
    for missing in [0, 50, 99] {
        let mut world = World::new();
        for sequence in (0..100).filter(|&sequence| sequence != missing) {
            world.see(0, sequence);
        }
        let report = world.report(&[100]);
        assert_eq!((report.lost, report.verdict(0)), (1, Verdict::Lost));
        assert_eq!((report.missing[0].from, report.missing[0].to), (missing, missing + 1));
    }
    let report = World::new().report(&[0, 7]);
    assert_eq!(report.lost, 7, "a topic of which nothing came");
}

#[test]
fn without_knowledge_of_what_was_sent_holes_are_losses() {
    let mut world = World::new();
    world.see(0, 0);
    world.see(0, 3);
    let report = world.verifier.report(None, None);
    assert_eq!((report.lost, report.phantoms, report.sent), (2, 0, None));
}

#[test]
fn what_was_acknowledged_and_is_missing_is_the_worse_loss() {
    let mut world = World::new();
    world.see(0, 0);
    world.see(0, 2);
    let report = world.verifier.report(Some(&expectation(&[4])), Some(&log(&[3])));
    assert_eq!((report.lost, report.acknowledged_lost), (2, 1));
    assert_eq!(report.verdict(0), Verdict::AcknowledgedLost);
    let report = world.verifier.report(None, Some(&log(&[1])));
    assert_eq!((report.acknowledged_lost, report.lost), (0, 1));
    let report = world.verifier.report(Some(&expectation(&[4, 1])), Some(&log(&[1, 1])));
    assert_eq!(report.acknowledged_lost, 1, "a topic of which nothing came");
}

#[test]
fn duplicates_are_counted_and_may_be_allowed() {
    let mut world = World::new();
    // A re-run of the last three, as after a reconnect.
    for sequence in [0, 1, 2, 3, 1, 2, 3, 4] {
        world.see(0, sequence);
    }
    let report = world.report(&[5]);
    assert_eq!((report.duplicates, report.out_of_order, report.lost), (3, 0, 0));
    assert_eq!((report.verdict(2), report.verdict(3)), (Verdict::Duplicates, Verdict::Clean));
}

#[test]
fn order_is_judged_on_first_occurrences_in_each_partition() {
    let mut world = World::new();
    for sequence in [0, 2, 1, 3] {
        world.see(0, sequence);
    }
    let report = world.report(&[4]);
    assert_eq!((report.out_of_order, report.lost, report.verdict(0)), (1, 0, Verdict::OutOfOrder));

    let mut world = World::new();
    // Two partitions, read one after the other: each is in order.
    for (sequence, partition) in [(0, 0), (2, 0), (4, 0), (1, 1), (3, 1)] {
        world.see_in(0, sequence, partition, None);
    }
    let report = world.report(&[5]);
    assert_eq!((report.out_of_order, report.publishers_spread, report.verdict(0)), (0, 1, Verdict::Clean));
    world.see_in(0, 6, 1, None);
    world.see_in(0, 5, 1, None);
    assert_eq!(world.report(&[7]).out_of_order, 1);
}

#[test]
fn a_changed_payload_is_corrupt() {
    let mut world = World::new();
    world.see(0, 0);
    let mut changed = payload(RUN, 0, 1);
    changed[90] ^= 1;
    assert!(!world.observe(&changed, 0, 1, None));
    let report = world.report(&[2]);
    assert_eq!((report.corrupt, report.lost, report.verdict(0)), (1, 1, Verdict::Corrupt));
}

#[test]
fn a_message_that_was_never_sent_is_a_phantom() {
    for (publisher, sequence) in [(0, 2), (1, 0)] {
        let mut world = World::new();
        world.see(0, 0);
        world.see(0, 1);
        world.see(publisher, sequence);
        let report = world.report(&[2]);
        assert_eq!((report.phantoms, report.lost, report.verdict(0)), (1, 0, Verdict::Phantom));
    }
}

#[test]
fn records_of_others_do_not_count() {
    let mut world = World::new();
    world.see(0, 0);
    world.observe(b"{\"by\":\"hand\"}", 0, 1, None);
    world.observe(&payload(RUN + 1, 0, 77), 0, 2, None);
    let report = world.report(&[1]);
    assert_eq!((report.unstamped, report.other_runs, report.records), (1, 1, 3));
    assert_eq!(report.verdict(0), Verdict::Clean);
}

#[test]
fn a_gap_from_trimming_makes_a_loss_inconclusive() {
    let mut world = World::new();
    world.see(0, 0);
    world.offset += 3;
    world.see(0, 4);
    let report = world.report(&[5]);
    assert_eq!((report.offset_gaps, report.lost, report.verdict(0)), (3, 3, Verdict::Inconclusive));

    let mut trimmed = World::new();
    trimmed.verifier.start_at("ais", 0, 2);
    trimmed.offset = 2;
    trimmed.see(0, 2);
    assert_eq!(trimmed.report(&[3]).verdict(0), Verdict::Inconclusive, "trimmed before the reading began");

    let mut compacted = World::new();
    compacted.see(0, 0);
    compacted.offset += 1;
    compacted.see(0, 1);
    assert_eq!(compacted.report(&[2]).verdict(0), Verdict::Clean, "a gap alone is no fault");
}

#[test]
fn keys_must_be_right_and_stay_in_their_partition() {
    let mut world = World::new();
    world.verifier.expect_keys(KeyRule::Mmsi, &expectation(&[2, 2]).topics);
    world.see_in(0, 0, 0, Some("0"));
    world.see_in(0, 1, 0, Some("0"));
    world.see_in(1, 0, 1, Some("1"));
    world.see_in(1, 1, 1, Some("1"));
    assert_eq!(world.report(&[2, 2]).verdict(0), Verdict::Clean);
    world.see_in(0, 2, 0, Some("1"));
    world.see_in(0, 3, 0, None);
    let report = world.report(&[4, 2]);
    assert_eq!((report.bad_keys, report.keys_moved, report.verdict(0)), (2, 1, Verdict::Key));

    let mut world = World::new();
    world.see_in(0, 0, 0, Some("ship"));
    world.see_in(0, 1, 1, Some("ship"));
    world.see_in(0, 2, 0, Some("ship"));
    assert_eq!(world.report(&[3]).keys_moved, 2);
    assert_eq!((KeyRule::Topic.key("a/b"), KeyRule::Mmsi.key("a/b")), ("a/b", "b"));
}

#[test]
fn an_unbelievable_publisher_takes_no_memory() {
    let mut world = World::new();
    world.see(u32::MAX, 0);
    assert_eq!((world.report(&[]).corrupt, world.verifier.publishers.len()), (1, 0));
}

/// A small Kafka within the process.
fn cluster(partitions: i32) -> (MockCluster<'static, DefaultProducerContext>, BaseProducer) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("ais", partitions, 1).unwrap();
    let producer = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    (cluster, producer)
}

fn produce(producer: &BaseProducer, messages: impl Iterator<Item = (u32, u64)>, partitions: u32) {
    for (publisher, sequence) in messages {
        let value = payload(RUN, publisher, sequence);
        let key = publisher.to_string();
        let partition = i32::try_from(publisher % partitions).unwrap();
        producer.send(BaseRecord::to("ais").payload(&value).key(&key).partition(partition)).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

fn config(cluster: &MockCluster<'_, DefaultProducerContext>) -> Config {
    Config {
        brokers: cluster.bootstrap_servers(),
        topics: vec!["ai*".to_owned()],
        idle: Duration::from_secs(20),
        follow: false,
        properties: Vec::new(),
        wrap: Wrap::None,
    }
}

#[test]
fn reads_all_partitions_to_their_end() {
    let (cluster, producer) = cluster(3);
    produce(&producer, (0..3_000).map(|n| (n % 10, u64::from(n / 10))), 3);
    let progress = Progress::default();
    let mut verifier = Verifier::new(None);
    read(&config(&cluster), &mut verifier, &progress, &AtomicBool::new(false)).unwrap();
    let report = verifier.report(Some(&expectation(&[300; 10])), None);
    assert_eq!((report.verdict(0), report.records, report.run_id), (Verdict::Clean, 3_000, Some(RUN)));
    assert_eq!(progress.snapshot().verified, 3_000);
    assert_eq!(progress.snapshot().end_to_end.count, 3_000);
}

#[test]
fn follows_a_run_until_its_target() {
    let (cluster, producer) = cluster(1);
    let progress = std::sync::Arc::new(Progress::default());
    let writer = std::thread::spawn({
        let progress = std::sync::Arc::clone(&progress);
        move || {
            produce(&producer, (0..500).map(|n| (0, n)), 1);
            while progress.snapshot().verified < 500 {
                std::thread::yield_now();
            }
            produce(&producer, (500..900).map(|n| (0, n)), 1);
            progress.set_target(900);
        }
    });
    let mut verifier = Verifier::new(Some(RUN));
    let follow = Config { follow: true, ..config(&cluster) };
    read(&follow, &mut verifier, &progress, &AtomicBool::new(false)).unwrap();
    writer.join().unwrap();
    assert_eq!(verifier.report(Some(&expectation(&[900])), None).verdict(0), Verdict::Clean);
}

#[test]
fn gives_up_when_nothing_new_comes() {
    let (cluster, producer) = cluster(1);
    produce(&producer, [(0, 0)].into_iter(), 1);
    let progress = Progress::default();
    progress.set_target(2);
    let mut verifier = Verifier::new(Some(RUN));
    let idle = Config { idle: Duration::from_millis(300), ..config(&cluster) };
    read(&idle, &mut verifier, &progress, &AtomicBool::new(false)).unwrap();
    assert_eq!(verifier.report(Some(&expectation(&[2])), None).verdict(0), Verdict::Lost);
}

#[test]
fn what_is_not_there_is_named() {
    let (cluster, _producer) = cluster(1);
    let read = |config: &Config| {
        let mut verifier = Verifier::new(None);
        read(config, &mut verifier, &Progress::default(), &AtomicBool::new(false)).unwrap_err().to_string()
    };
    let mut wrong = config(&cluster);
    wrong.topics = vec!["nothing".to_owned()];
    let error = read(&wrong);
    assert!(error.contains("no topic nothing"), "{error}");
    wrong.properties = vec![("no.such.setting".to_owned(), "1".to_owned())];
    let error = read(&wrong);
    assert!(error.contains("no.such.setting"), "{error}");
}
