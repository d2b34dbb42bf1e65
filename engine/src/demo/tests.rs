use std::{sync::Arc, time::Duration};

use fairlead_loadgen::{
    cpu::Cost,
    latency::Percentiles,
    ledger::{AckLog, Expectation},
    progress::Snapshot,
    publish,
    sequences::Sequences,
    stamp::{LONG, Stamp},
    verify::{Record, Verifier},
};

use super::{
    progress::{Meter, grouped},
    *,
};
use crate::{
    bridge::Summary,
    metrics::{Layout, Ledger, Metrics},
};

const RUN: u32 = 7;
/// One vessel's messages.
const SENT: u64 = 10;

/// What the consumer saw: records of one partition, by offset and sequence.
fn outcome(records: &[(i64, u64)]) -> Outcome {
    let mut verifier = Verifier::new(Some(RUN));
    for &(offset, sequence) in records {
        let mut payload = vec![0; LONG];
        Stamp { run: RUN, publisher: 0, sequence, sent_ns: 1 }.write(&mut payload, 0);
        let (key, payload) = (Some(&b"200000000"[..]), &payload[..]);
        verifier.observe(&Record { topic: "ais", partition: 0, offset, key, payload, arrived_ns: 2 });
    }
    let expected = Expectation { run_id: RUN, topics: vec!["ais/200000000/position".to_owned()], sent: vec![SENT] };
    let ack_log = AckLog { run_id: RUN, acknowledged: vec![Sequences::below(SENT)] };
    let found = verifier.report(Some(&expected), Some(&ack_log));
    let layout = Layout { shards: 1, routes: Vec::new(), sessions: Vec::new() };
    let ledger = Ledger::of(&Metrics::new(layout));
    Outcome {
        published: published(expected, ack_log),
        found,
        bridge: Summary { ledger, unacknowledged: 0, spooled: 0, lost: 0, imbalance: Vec::new() },
        reconnects: 0,
        discards: 0,
        cpu_seconds: 2.0,
        bridge_cpu_seconds: 0.5,
    }
}

fn published(expected: Expectation, ack_log: AckLog) -> publish::Report {
    publish::Report {
        expected,
        nmea: None,
        complete: true,
        sent: SENT,
        acknowledged: SENT,
        resent: 0,
        refused: 0,
        acks_unknown: 0,
        connections_lost: 0,
        sessions_lost: 0,
        seconds: 1.0,
        messages_per_second: 10.0,
        latency: Percentiles::default(),
        latency_curve: Vec::new(),
        cost: Cost::default(),
        acknowledged_each_second: Vec::new(),
        ack_log,
    }
}

/// All of them, in order.
fn all() -> Vec<(i64, u64)> {
    (0..).zip(0..SENT).collect()
}

fn failed(outcome: &Outcome) -> bool {
    matches!(outcome.verdict(), Verdict::Failed(_))
}

fn inconclusive(outcome: &Outcome) -> bool {
    matches!(outcome.verdict(), Verdict::Inconclusive(_))
}

#[test]
fn everything_once_and_in_order_is_clean() {
    let outcome = outcome(&all());
    assert_eq!(outcome.verdict(), Verdict::Clean);
    let table = outcome.table();
    for row in ["nothing was lost", "sent         10\n", "lost         0\n", "duplicated   0\n", "msg/s", "p99.9"] {
        assert!(table.contains(row), "{row:?} is missing in:{table}");
    }
    assert!(table.contains("200000.00 s per million messages for the whole process"), "{table}");
}

#[test]
fn a_gap_without_a_trim_is_a_loss() {
    // The offsets are whole: the message was never written.
    let gap: Vec<_> = (0..).zip((0..SENT).filter(|sequence| *sequence != 4)).collect();
    let outcome = outcome(&gap);
    assert!(failed(&outcome), "{:?}", outcome.verdict());
    assert_eq!(outcome.found.lost, 1);
}

#[test]
fn a_gap_from_a_trim_of_kafka_is_inconclusive() {
    let trimmed: Vec<_> = all().into_iter().skip(3).collect();
    assert!(inconclusive(&outcome(&trimmed)));
}

#[test]
fn a_gap_from_a_discard_of_the_mqtt_broker_is_inconclusive() {
    let gap: Vec<_> = (0..).zip(2..SENT).collect();
    let mut outcome = outcome(&gap);
    outcome.discards = 1;
    assert!(inconclusive(&outcome));
    // What is not missing was not discarded.
    let whole = Outcome { discards: 1, ..self::outcome(&all()) };
    assert_eq!(whole.verdict(), Verdict::Clean);
}

#[test]
fn a_discard_excuses_nothing_but_a_gap() {
    let mut records = all();
    records.push((10, 3));
    let twice = Outcome { discards: 1, ..outcome(&records) };
    assert!(failed(&twice));
    let mut changed = outcome(&all());
    changed.discards = 1;
    changed.found.corrupt = 1;
    assert!(failed(&changed));
}

#[test]
fn wrong_order_fails() {
    let mut records = all();
    (records[2].1, records[3].1) = (3, 2);
    assert!(failed(&outcome(&records)));
}

#[test]
fn duplicates_need_a_reconnect() {
    let mut records = all();
    records.push((10, 9));
    assert!(failed(&outcome(&records)));
    let explained = Outcome { reconnects: 1, ..outcome(&records) };
    assert_eq!(explained.verdict(), Verdict::Clean);
}

#[test]
fn a_ledger_that_does_not_balance_fails_whatever_arrived() {
    let mut outcome = outcome(&all());
    outcome.bridge.imbalance.push("1 record too many".to_owned());
    assert!(failed(&outcome));
}

#[test]
fn the_configuration_is_valid_on_any_host() {
    let (mqtt, admin) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
    let text = configuration(mqtt, "127.0.0.1:3", admin);
    for cores in [1, 2, 64] {
        let host =
            Host { name: "quay".to_owned(), cores: (0..cores).collect(), parallelism: cores, state: "/nowhere".into() };
        let settings = resolve(&text, &host).unwrap();
        assert_eq!(settings.engine.cpus.len(), cores);
        assert_eq!((settings.kafka.brokers.as_str(), settings.admin), ("127.0.0.1:3", Some(admin)));
    }
}

#[test]
fn a_second_shows_rates_of_its_own_span() {
    let start = clock::now();
    let mut meter = Meter::new(start);
    let snapshot = |sent, verified| Snapshot { sent, verified, in_flight: sent - verified, ..Snapshot::default() };
    assert_eq!(meter.handle_look(start + Duration::from_millis(999), snapshot(5, 5)), None);
    assert!(meter.handle_look(start + SECOND, snapshot(1000, 900)).is_some());
    let second = meter.handle_look(start + 3 * SECOND, snapshot(5000, 4900)).unwrap();
    assert_eq!((second.rate_in, second.rate_out, second.in_flight), (2000.0, 2000.0, 100));
    let line = second.to_string();
    assert!(line.contains("3 s") && line.contains("2,000 msg/s") && line.contains("p99 0.0 ms"), "{line}");
}

#[test]
fn numbers_are_grouped() {
    let texts = [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (20_000_000, "20,000,000")];
    for (number, text) in texts {
        assert_eq!(grouped(number), text);
    }
}

#[test]
fn the_whole_demo_ends_with_everything_found() {
    let host = Host::detect().unwrap();
    let (_signal, stop) = crossbeam::channel::bounded(1);
    let scene = Scene::start(&host, Arc::default(), Discards::default(), &stop).unwrap().unwrap();
    let plan = Plan { messages: Some(2000), time: None, seed: 5, vessels: 50 };
    let introduction = scene.introduction();
    assert!(introduction.contains("mqtt://127.0.0.1:") && introduction.contains("[[route]]"), "{introduction}");
    let outcome = scene.play(&plan, &stop, |_| ()).unwrap();
    assert_eq!(outcome.verdict(), Verdict::Clean, "{}", outcome.table());
    assert_eq!((outcome.found.found, outcome.bridge.ledger.total.delivered), (2000, 2000));
}
