//! The producer against librdkafka's mock cluster.

use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::Duration,
};

use rdkafka::{
    Message,
    consumer::{BaseConsumer, Consumer},
    message::Headers as _,
    mocking::MockCluster,
    topic_partition_list::{Offset, TopicPartitionList},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::*;
use crate::{
    kafka::{HoldReason, Topics},
    message::{DropReason, Extra, RouteId, Ticket},
    settings::Owner,
    shard::clock,
};

const DEADLINE: Duration = Duration::from_secs(20);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Key, value, headers and time.
type Consumed = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>, Option<i64>);

struct World {
    producer: Producer,
    doorbells: Arc<[Doorbell]>,
    topic: TopicId,
    cluster: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
}

impl World {
    fn new() -> World {
        World::with(&[])
    }

    /// With further settings of librdkafka, stronger than ours.
    fn with(properties: &[(&str, &str)]) -> World {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 2, 1).unwrap();
        let settings = Settings::minimal(&cluster.bootstrap_servers());
        let topics = Arc::new(Topics::default());
        let topic = topics.publish("t", 2, Owner::Partition).unwrap();
        let doorbells: Arc<[Doorbell]> = Arc::new([Doorbell::default()]);
        let mut config = config::producer(&settings, 1000);
        for (key, value) in properties {
            config.set(*key, *value);
        }
        let producer = Producer::with(&config, topics, doorbells.clone(), 0).unwrap();
        World { producer, doorbells, topic, cluster }
    }

    fn record(&self, position: u32, value: Option<&[u8]>) -> Record {
        Record {
            ticket: Ticket::new(0, 0, 0, position),
            topic: self.topic,
            route: RouteId(0),
            partition: 0,
            key: Some(Payload::from("key")),
            value: value.map(Payload::copy_from_slice),
            mqtt_topic: None,
            extra: None,
        }
    }

    fn produce(&mut self, records: Vec<Record>) -> Vec<Report> {
        let mut records = VecDeque::from(records);
        let (mut refused, most) = (Vec::new(), records.len());
        self.producer.produce(self.topic, 0, &mut records, most, |report| refused.push(report));
        refused
    }

    /// Waits for the doorbell until `count` reports are in.
    fn reports(&mut self, count: usize) -> (Vec<Report>, Vec<Event>) {
        let (mut reports, mut events) = (Vec::new(), Vec::new());
        let deadline = clock::now() + DEADLINE;
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        while reports.len() < count {
            self.producer.poll(|report| reports.push(report), |event| events.push(event));
            let mut wait = self.doorbells[0].wait();
            let rung = std::pin::Pin::new(&mut wait).poll(&mut Context::from_waker(&waker));
            if reports.len() < count && rung == Poll::Pending {
                let left = deadline.saturating_duration_since(clock::now());
                assert!(!left.is_zero(), "{} of {count} reports, {events:?}", reports.len());
                std::thread::park_timeout(left);
            }
        }
        (reports, events)
    }

    /// Everything in partition 0.
    fn consume(&self, count: usize) -> Vec<Consumed> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "test")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("t", 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        (0..count)
            .map(|_| {
                let message = consumer.poll(DEADLINE).expect("a message").expect("no error");
                let headers = message.headers().map_or_else(Vec::new, |headers| {
                    headers
                        .iter()
                        .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                        .collect()
                });
                let (key, value) = (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec));
                (key, value, headers, message.timestamp().to_millis())
            })
            .collect()
    }
}

fn positions(reports: &[Report]) -> Vec<u32> {
    reports.iter().map(|report| report.record.ticket.position()).collect()
}

#[test]
fn values_of_every_kind_arrive_in_order_and_records_come_back() {
    let mut world = World::new();
    let long = vec![7_u8; 70_000];
    let values: [Option<&[u8]>; 7] =
        [Some(b"inline"), Some(&[9; 100]), None, Some(b""), Some(&long), Some(b"tiny"), Some(&[8; 2000])];
    let mut records: Vec<Record> =
        values.iter().enumerate().map(|(position, value)| world.record(position as u32, *value)).collect();
    records[1].key = None;
    let header = |name: &'static str, value: &'static str| vec![(Text::from(name), Payload::from(value))];
    records[4].extra = Some(Box::new(Extra { headers: header("name", "value"), time: Some(1), ..Extra::default() }));
    records[5].extra = Some(Box::new(Extra { headers: header("empty", ""), ..Extra::default() }));
    assert!(world.produce(records).is_empty());
    assert_eq!(world.producer.records().count(), 7);
    let (reports, _) = world.reports(7);
    assert_eq!(positions(&reports), [0, 1, 2, 3, 4, 5, 6]);
    assert!(reports.iter().all(|report| report.verdict == Verdict::Delivered));
    assert_eq!((world.producer.in_flight(), world.producer.records().count()), (0, 0));
    let consumed = world.consume(7);
    for (position, (value, found)) in values.iter().zip(&consumed).enumerate() {
        assert_eq!(found.1.as_deref(), *value, "value {position}");
        assert_eq!(found.0.as_deref(), (position != 1).then_some(b"key".as_slice()));
    }
    assert_eq!(consumed[4].2, [("name".to_owned(), b"value".to_vec())]);
    assert_eq!(consumed[5].2, [("empty".to_owned(), Vec::new())]);
    assert_eq!(consumed[4].3, Some(1), "a record from the spool keeps its time");
    assert!(consumed[5].3 > Some(1), "any other has the time of its production");
}

#[test]
fn a_record_above_the_limit_is_refused_alone_and_the_rest_goes() {
    let mut world = World::new();
    let large = vec![0; 64 << 20];
    let records = vec![world.record(0, Some(b"a")), world.record(1, Some(&large)), world.record(2, Some(b"c"))];
    let refused = world.produce(records);
    assert_eq!(positions(&refused), [1]);
    assert_eq!(refused[0].verdict, Verdict::Final(DropReason::TooLarge));
    assert_eq!(positions(&world.reports(2).0), [0, 2]);
}

#[test]
fn a_batch_that_the_broker_refuses_comes_back_with_its_order() {
    let mut world = World::new();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    world.cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
    let records = (0..3).map(|position| world.record(position, Some(b"x"))).collect();
    assert!(world.produce(records).is_empty());
    let (mut reports, _) = world.reports(3);
    assert!(reports.iter().any(|report| report.verdict == Verdict::Suspect(DropReason::TooLarge)));
    reports.sort_by_key(|report| report.order);
    assert_eq!(positions(&reports), [0, 1, 2]);
}

/// Topics must have what the producer has: with librdkafka's own defaults a message would time out after five minutes.
#[test]
fn settings_of_topics_reach_the_topics() {
    let mut world = World::with(&[("message.timeout.ms", "300")]);
    world.cluster.broker_down(1).unwrap();
    let records = vec![world.record(0, Some(b"x"))];
    assert!(world.produce(records).is_empty());
    let (reports, _) = world.reports(1);
    assert!(matches!(reports[0].verdict, Verdict::Hold(HoldReason::Unavailable)), "{reports:?}");
}

#[test]
fn after_a_fatal_error_a_purge_gives_every_record_back() {
    let mut world = World::new();
    world.cluster.broker_down(1).unwrap();
    let records = (0..3).map(|position| world.record(position, Some(&[1; 100]))).collect();
    assert!(world.produce(records).is_empty());
    world.producer.fail();
    world.producer.purge();
    let (reports, events) = world.reports(3);
    assert!(events.iter().any(|event| matches!(event, Event::Fatal(_))), "{events:?}");
    assert_eq!(positions(&reports), [0, 1, 2]);
    assert!(reports.iter().all(|report| matches!(report.verdict, Verdict::Hold(HoldReason::Purged))));
    let again = reports.into_iter().map(|report| report.record).collect();
    let refused = world.produce(again);
    assert_eq!((refused.len(), world.producer.in_flight()), (3, 0), "a failed producer takes nothing more");
}
