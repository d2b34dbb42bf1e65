//! From an MQTT topic to a Kafka topic, partition and key: what one lookup costs with 1, 1,000 and 100,000 topics.
//!
//! Each run looks up a stream of as many messages, so that only the number of distinct topics in it differs; the
//! stream lies in memory in order, as PUBLISHes in a read buffer do.

use std::{collections::HashMap, hint::black_box};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fairlead::{
    message::TopicId,
    mqtt::Text,
    route::{Table, TopicDirectory},
    settings::Route,
};
use fairlead_benches::route;

/// Messages of one run.
const MESSAGES: u64 = 200_000;

/// Kafka topics of nine partitions each.
struct Directory(HashMap<String, TopicId>);

impl TopicDirectory for Directory {
    fn find(&mut self, name: &str) -> Option<(TopicId, u32)> {
        self.0.get(name).map(|id| (*id, 9))
    }
}

fn directory() -> Directory {
    let names = ["ais", "ais-position", "ais-static"];
    Directory((0..).map(TopicId).zip(names).map(|(id, name)| (name.to_owned(), id)).collect())
}

/// The topics of a stream of messages of `vessels`, each of which comes round in turn, far from its neighbours.
fn stream(vessels: u64) -> Vec<Text> {
    let topic = |n| Text::from(format!("ais/{}/position", 211_000_000 + n * 61_803 % vessels));
    (0..MESSAGES).map(topic).collect()
}

fn lookup(c: &mut Criterion) {
    let level = "ais/{mmsi}/{kind...}";
    let mut behind: Vec<Route> = (0..100).map(|n| route(&format!("not/{n}/+"), "ais", "")).collect();
    behind.push(route(level, "ais", "{topic}"));
    let tables = [
        ("plain", vec![route(level, "ais", "{topic}")]),
        ("level", vec![route(level, "ais", "{mmsi}")]),
        ("rendered", vec![route(level, "ais-{kind}", "{kind}/{mmsi}")]),
        ("behind_100", behind),
    ];
    let mut group = c.benchmark_group("route");
    group.throughput(Throughput::Elements(MESSAGES));
    group.sample_size(20);
    for (name, routes) in &tables {
        for topics in [1, 1_000, 100_000] {
            let (stream, mut directory, mut table) = (stream(topics), directory(), Table::new(0, routes));
            group.bench_function(BenchmarkId::new(*name, topics), |b| {
                b.iter(|| {
                    for topic in &stream {
                        black_box(table.lookup(topic, &mut directory));
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
