use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use fairlead_spool::State;

use super::*;
use crate::message::{DropReason, RouteId};

const RECEIVED: Entry = Entry::Received;

fn layout(shards: usize, routes: &[&str]) -> Layout {
    Layout { shards, routes: routes.iter().map(|route| (*route).to_owned()).collect(), sessions: Vec::new() }
}

fn session(source: &str, client_id: &str, shard: usize) -> SessionLabel {
    SessionLabel { source: source.to_owned(), client_id: client_id.to_owned(), shard }
}

#[expect(clippy::disallowed_methods, reason = "a point to count from")]
fn now() -> Instant {
    Instant::now()
}

fn scrape(metrics: &Arc<Metrics>) -> String {
    Scrape {
        metrics: Arc::clone(metrics),
        ledger: Ledger::of(metrics),
        health: metrics.health(now()),
        process: vec![
            Reading { name: "uptime_seconds", help: "Time.", rises: false, value: 7 },
            Reading { name: "log_lines_lost", help: "Lines.", rises: true, value: 5 },
        ],
    }
    .render()
}

/// The value of a series in a scrape, which must be there exactly once.
fn value(page: &str, series: &str) -> String {
    let values: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix(series).and_then(|rest| rest.strip_prefix(' '))).collect();
    assert_eq!(values.len(), 1, "{series} in\n{page}");
    values[0].to_owned()
}

mod ledger {
    use super::*;

    #[test]
    fn sums_over_shards_and_none_is_an_account_of_its_own() {
        let metrics = Metrics::new(layout(2, &["a/#", "b/#"]));
        for (shard, n) in [(0, 10), (1, 100)] {
            let shard = metrics.shard(shard);
            shard.ledger(RouteId(0), RECEIVED, n);
            shard.ledger(RouteId(0), Entry::Recovered, 3);
            shard.ledger(RouteId(0), Entry::Delivered, n - 5);
            shard.ledger(RouteId(0), Entry::DeadLettered, 1);
            shard.ledger(RouteId(0), Entry::Dropped(DropReason::Empty), 2);
            shard.ledger(RouteId(0), Entry::Suppressed, 1);
            shard.set_pending(RouteId(0), 4);
            shard.ledger(RouteId::NONE, RECEIVED, 2);
            shard.ledger(RouteId::NONE, Entry::Dropped(DropReason::NoRoute), 2);
        }
        let ledger = Ledger::of(&metrics);
        assert_eq!(ledger.imbalance(), None);
        assert!(!ledger.approximate);
        let labels: Vec<&str> = ledger.routes.iter().map(|(route, _)| route.as_str()).collect();
        assert_eq!(labels, ["a/#", "b/#", "none"]);
        let account = ledger.routes[0].1;
        assert_eq!((account.received, account.recovered, account.delivered), (110, 6, 100));
        assert_eq!((account.dead_lettered, account.dropped(), account.suppressed, account.pending), (2, 4, 2, 8));
        assert_eq!(ledger.routes[1].1, Account::default());
        assert_eq!(ledger.routes[2].1.received, 4);
        assert_eq!((ledger.total.came_in(), ledger.total.accounted()), (120, 120));
    }

    #[test]
    fn every_cell_takes_part_in_the_balance() {
        let entries = [Entry::Delivered, Entry::DeadLettered, Entry::Suppressed];
        for entry in entries.into_iter().chain(DropReason::ALL.map(Entry::Dropped)) {
            for income in [RECEIVED, Entry::Recovered] {
                let metrics = Metrics::new(layout(1, &["a"]));
                metrics.shard(0).ledger(RouteId(0), income, 1);
                let imbalance = Ledger::of(&metrics).imbalance().expect("one came in, nothing is said of it");
                assert!(imbalance.to_string().contains("route `a`"), "{imbalance}");
                metrics.shard(0).ledger(RouteId(0), entry, 1);
                assert_eq!(Ledger::of(&metrics).imbalance(), None, "{entry:?}");
            }
        }
        let metrics = Metrics::new(layout(1, &[]));
        metrics.shard(0).set_pending(RouteId::NONE, 1);
        assert_eq!(Ledger::of(&metrics).imbalance().map(|imbalance| imbalance.route).as_deref(), Some("none"));
    }

    #[test]
    fn one_route_cannot_make_up_for_another() {
        let metrics = Metrics::new(layout(1, &["a", "b"]));
        metrics.shard(0).ledger(RouteId(0), RECEIVED, 1);
        metrics.shard(0).ledger(RouteId(1), Entry::Delivered, 1);
        assert_eq!(Ledger::of(&metrics).total.came_in(), Ledger::of(&metrics).total.accounted());
        assert!(Ledger::of(&metrics).imbalance().is_some());
    }

    #[test]
    fn a_turn_under_way_makes_the_view_approximate_and_proves_nothing() {
        let metrics = Metrics::new(layout(1, &["a"]));
        let shard = metrics.shard(0);
        shard.begin_turn();
        shard.ledger(RouteId(0), RECEIVED, 1);
        let ledger = Ledger::of(&metrics);
        assert!(ledger.approximate);
        assert_eq!((ledger.total.received, ledger.imbalance()), (1, None));
        shard.end_turn();
        let ledger = Ledger::of(&metrics);
        assert!(!ledger.approximate && ledger.imbalance().is_some());
    }

    #[test]
    fn a_shard_that_was_read_between_turns_is_not_read_again() {
        let metrics = Metrics::new(layout(2, &["a"]));
        metrics.shard(1).begin_turn();
        let mut snapshot = Snapshot::new(&metrics);
        assert!(!snapshot.attempt());
        metrics.shard(0).begin_turn();
        metrics.shard(0).ledger(RouteId(0), RECEIVED, 1);
        metrics.shard(1).ledger(RouteId(0), RECEIVED, 10);
        metrics.shard(1).ledger(RouteId(0), Entry::Delivered, 10);
        metrics.shard(1).end_turn();
        assert!(snapshot.attempt(), "shard 0 is in a turn again, but was read before");
        let ledger = snapshot.finish();
        assert_eq!((ledger.approximate, ledger.total.received, ledger.imbalance()), (false, 10, None));
    }

    /// A shard that moves messages from received over pending to their end, out of balance within each turn.
    fn hammer(shard: &ShardMetrics, stop: &AtomicBool) {
        let mut turn = 0;
        while !stop.load(Ordering::Relaxed) {
            let n = turn % 7 + 1;
            shard.begin_turn();
            shard.ledger(RouteId(0), RECEIVED, n);
            shard.ledger(RouteId::NONE, RECEIVED, 1);
            shard.set_pending(RouteId(0), turn % 3);
            shard.ledger(RouteId(0), Entry::Dropped(DropReason::TooLarge), n - 1);
            shard.ledger(RouteId::NONE, Entry::Suppressed, 1);
            // What is pending comes from the turn before, so that every turn changes it.
            let pending_before = (turn + 2) % 3 * u64::from(turn > 0);
            shard.ledger(RouteId(0), Entry::Recovered, turn % 3 + 1);
            shard.ledger(RouteId(0), Entry::Delivered, 2 + pending_before);
            shard.end_turn();
            turn += 1;
            for _ in 0..32 {
                std::hint::spin_loop();
            }
        }
    }

    /// Takes consistent views until there are `enough` of a ledger in motion; the first that is wrong ends it.
    fn watch(metrics: &Metrics, enough: usize) -> Result<usize, String> {
        let deadline = now() + Duration::from_secs(60);
        let (mut views, mut last) = (0, 0);
        while views < enough && now() < deadline {
            let ledger = Ledger::of(metrics);
            if ledger.approximate {
                continue;
            }
            if ledger.imbalance().is_some() || ledger.total.received < last {
                return Err(ledger.table());
            }
            views += usize::from(ledger.total.received > last);
            last = ledger.total.received;
        }
        Ok(views)
    }

    #[test]
    fn a_reader_never_sees_half_a_turn() {
        let metrics = Metrics::new(layout(2, &["a"]));
        let stop = AtomicBool::new(false);
        let views = thread::scope(|scope| {
            for shard in metrics.shards() {
                scope.spawn(|| hammer(shard, &stop));
            }
            let views = watch(&metrics, 1_000);
            stop.store(true, Ordering::Relaxed);
            views
        });
        assert_eq!(views, Ok(1_000));
        assert_eq!(Ledger::of(&metrics).imbalance(), None);
    }

    #[test]
    fn table_and_json_show_reasons_and_total() {
        let metrics = Metrics::new(layout(1, &["quiet", "a\n/\u{1b}#"]));
        metrics.shard(0).ledger(RouteId(1), RECEIVED, 12);
        metrics.shard(0).ledger(RouteId(1), Entry::Dropped(DropReason::TooLarge), 5);
        metrics.shard(0).ledger(RouteId(1), Entry::Dropped(DropReason::Empty), 7);
        let ledger = Ledger::of(&metrics);
        let table = ledger.table();
        assert_eq!(table.lines().filter(|line| line.contains("12 (too_large 5, empty 7)")).count(), 2, "{table}");
        assert!(!table.contains("quiet") && table.contains(r"a\n/\u{1b}#") && table.contains("total"), "{table}");
        let json = serde_json::to_value(&ledger).unwrap();
        assert_eq!(json["total"]["dropped"]["too_large"], 5);
        assert_eq!(json["routes"][1][1]["received"], 12);
    }
}

mod status {
    use super::*;

    fn two_sessions() -> Arc<Metrics> {
        let sessions = vec![session("harbour", "fairlead-0", 0), session("harbour", "fairlead-1", 1)];
        Metrics::new(Layout { shards: 2, routes: Vec::new(), sessions })
    }

    fn reasons(metrics: &Metrics) -> Vec<String> {
        metrics.health(now()).unready
    }

    #[test]
    fn ready_takes_every_session_every_client_and_every_topic() {
        let (metrics, now) = (two_sessions(), now());
        assert_eq!(reasons(&metrics).len(), 4, "{:?}", reasons(&metrics));
        for index in 0..2 {
            metrics.status().session(index, |session| session.enter(SessionState::Subscribed, None, now));
            metrics.status().kafka(index, Ok(()), now);
        }
        assert_eq!(metrics.health(now), Health::default());
        metrics.status().session(1, |session| {
            session.url = "mqtt://h:1883".to_owned();
            session.enter(SessionState::Refused, Some("not authorised\n(0x87)".to_owned()), now);
        });
        metrics.status().kafka(0, Err("connection refused"), now);
        metrics.status().topic(1, "ais", TopicState::Hold { reason: "missing".to_owned() });
        let expected = [
            r"session harbour/fairlead-1: refused at mqtt://h:1883: not authorised\n(0x87)",
            "shard 0: Kafka is not reachable for 0 s: connection refused",
            "topic ais is on hold: missing",
        ];
        assert_eq!(metrics.health(now), Health { unready: expected.map(str::to_owned).into(), degraded: Vec::new() });
        metrics.status().session(1, |session| {
            session.enter(SessionState::Backoff, Some("mqtt://h:1883: refused".to_owned()), now);
        });
        assert_eq!(
            reasons(&metrics)[0],
            "session harbour/fairlead-1: backoff: mqtt://h:1883: refused",
            "the place once"
        );
    }

    /// All is well but what `spool` says, and Kafka has been away for 7 s where it is not `reachable`.
    fn with_spool(spool: SpoolStatus, reachable: bool) -> (Health, Arc<Metrics>) {
        let (metrics, start) = (Metrics::new(layout(1, &[])), now());
        metrics.status().kafka(0, Ok(()), start);
        metrics.status().spool(0, spool);
        if !reachable {
            metrics.status().kafka(0, Err("refused"), start + Duration::from_secs(1));
            metrics.status().kafka(0, Err("refused"), start + Duration::from_secs(2));
        }
        (metrics.health(start + Duration::from_secs(8)), metrics)
    }

    #[test]
    fn with_a_spool_that_takes_messages_kafka_may_be_away() {
        assert!(with_spool(SpoolStatus::default(), true).0.is_well());
        let (health, metrics) = with_spool(SpoolStatus::default(), false);
        let away = "shard 0: Kafka is not reachable for 7 s: refused; messages go to the spool";
        assert_eq!(health, Health { unready: Vec::new(), degraded: vec![away.to_owned()] });
        metrics.status().topic(0, "known", TopicState::Available { partitions: 3 });
        metrics.status().topic(0, "known", TopicState::Hold { reason: "no leader".to_owned() });
        let held = "topic known is on hold: no leader; its messages go to the spool";
        assert_eq!(metrics.health(now()).degraded.last().map(String::as_str), Some(held));
        assert!(metrics.health(now()).is_ready());
        metrics.status().topic(CONTROL, "unknown", TopicState::Hold { reason: "away".to_owned() });
        assert!(metrics.health(now()).is_ready(), "it is looked up when Kafka is back");
        metrics.status().kafka(0, Ok(()), now());
        assert_eq!(metrics.health(now()).unready, ["topic unknown is on hold: away"], "Kafka does not have it");
    }

    #[test]
    fn a_spool_that_takes_nothing_is_not_ready_when_it_is_needed() {
        let full = SpoolStatus { state: State::Full, ..SpoolStatus::default() };
        let fenced = SpoolStatus { fenced: true, ..SpoolStatus::default() };
        let always = SpoolStatus { always: true, ..fenced };
        let silent = SpoolStatus { silent: 12, ..SpoolStatus::default() };
        for (spool, reachable, ready, word) in [
            (full, true, true, "is full"),
            (full, false, false, "is full"),
            (fenced, true, true, "its disk failed"),
            (fenced, false, false, "its disk failed"),
            (always, true, false, "its disk failed"),
            (silent, true, true, "not answered for 12 s"),
            (silent, false, false, "not answered for 12 s"),
            (SpoolStatus { always: true, ..silent }, true, false, "not answered for 12 s"),
        ] {
            let (health, _) = with_spool(spool, reachable);
            assert_eq!(health.is_ready(), ready, "{spool:?} {reachable}");
            let reasons = if ready { &health.degraded } else { &health.unready };
            assert!(reasons.iter().any(|reason| reason.contains(word)), "{reasons:?}");
        }
    }

    #[test]
    fn what_the_spool_has_met_is_told_although_messages_flow() {
        let spool =
            SpoolStatus { state: State::High, damaged: true, corrupt: 3, quarantined: 2, ..SpoolStatus::default() };
        let (health, _) = with_spool(spool, true);
        assert!(health.is_ready());
        let words = ["more than 80 % full", "3 records of the spool were durable", "2 damaged segments"];
        assert_eq!(health.degraded.len(), words.len());
        for (reason, word) in health.degraded.iter().zip(words) {
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn dead_letters_are_told_of_only_where_they_have_no_room() {
        let (health, _) = with_spool(SpoolStatus { stuck_dead_letters: 3, ..SpoolStatus::default() }, true);
        assert!(health.is_ready());
        let [reason] = health.degraded.as_slice() else { panic!("{health:?}") };
        assert!(reason.contains("3 dead letters wait"), "{reason}");
    }

    #[test]
    fn the_first_attempt_at_kafka_is_waited_for() {
        let metrics = Metrics::new(layout(1, &[]));
        metrics.status().spool(0, SpoolStatus::default());
        assert_eq!(metrics.health(now()).unready, ["shard 0: Kafka is not reachable: not connected yet"]);
        metrics.status().kafka(0, Err("refused"), now());
        assert!(metrics.health(now()).is_ready());
    }

    #[test]
    fn a_hold_ends_when_the_shard_that_holds_says_so() {
        let metrics = two_sessions();
        let status = metrics.status();
        status.topic(0, "ais", TopicState::Hold { reason: "missing".to_owned() });
        status.topic(1, "ais", TopicState::Available { partitions: 9 });
        assert!(reasons(&metrics).iter().any(|reason| reason.contains("topic ais is on hold")));
        status.topic(0, "ais", TopicState::Available { partitions: 9 });
        assert!(!reasons(&metrics).iter().any(|reason| reason.contains("topic")));
        assert_eq!(status.board().topics["ais"].partitions, Some(9));
    }

    #[test]
    fn since_stays_while_the_state_does() {
        let start = now();
        let mut session = SessionStatus::default();
        session.enter(SessionState::Connecting, None, start);
        session.enter(SessionState::Connecting, Some("again".to_owned()), start + Duration::from_secs(1));
        assert_eq!((session.since, session.reason.as_deref()), (Some(start), Some("again")));
        session.enter(SessionState::Backoff, None, start + Duration::from_secs(2));
        assert_eq!(session.since, Some(start + Duration::from_secs(2)));
    }

    #[test]
    fn topics_are_bounded_and_a_hold_finds_a_place_before_a_topic_that_is_well() {
        let metrics = two_sessions();
        let status = metrics.status();
        for n in 0..=MAX_TOPICS {
            status.topic(0, &format!("t{n}"), TopicState::Available { partitions: 1 });
        }
        assert_eq!((status.board().topics.len(), status.board().topics_omitted), (MAX_TOPICS, 1));
        for n in 0..=MAX_TOPICS {
            status.topic(0, &format!("h{n}"), TopicState::Hold { reason: "r".to_owned() });
        }
        let board = status.board();
        assert_eq!(board.topics.len(), MAX_TOPICS);
        assert!(board.topics.values().all(|topic| topic.holds.len() == 1));
        assert_eq!(board.topics_omitted, 1 + MAX_TOPICS as u64 + 1);
    }

    #[test]
    fn texts_are_bounded() {
        let metrics = two_sessions();
        metrics.status().session(0, |session| {
            session.reason = Some("\n".repeat(70_000));
            session.url = "u".repeat(70_000);
        });
        let board = metrics.status().board();
        assert_eq!(board.sessions[0].url.len(), 256);
        assert!(board.sessions[0].reason.as_ref().is_some_and(|reason| reason.len() <= 256 && !reason.contains('\n')));
    }

    #[test]
    fn live_takes_a_move_of_every_heartbeat_within_ten_seconds() {
        let (metrics, start) = (two_sessions(), now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(metrics.live(start), Ok(()), "a shard has ten seconds for its first turn");
        assert_eq!(metrics.live(at(10)), Ok(()));
        metrics.shard(0).heartbeat();
        assert_eq!(metrics.live(at(11)), Err(vec!["shard 1: no turn for 11 s".to_owned()]));
        metrics.shard(1).heartbeat();
        assert_eq!(metrics.live(at(21)), Ok(()));
        assert_eq!(metrics.live(at(22)), Err(vec!["shard 0: no turn for 11 s".to_owned()]));
    }
}

mod export {
    use super::*;

    #[test]
    fn every_metric_is_exported_once_and_well_formed() {
        let sessions = vec![session("harbour", "c-0", 0)];
        let metrics = Metrics::new(Layout { shards: 2, routes: vec!["a/#".to_owned()], sessions });
        for (position, counter) in Counter::ALL.iter().enumerate() {
            metrics.shard(1).add(*counter, position as u64 + 1);
        }
        for gauge in Gauge::ALL {
            metrics.shard(0).set(*gauge, u64::MAX);
        }
        metrics.status().session(0, |session| (session.in_flight, session.window) = (3, 20));
        let page = scrape(&metrics);
        assert!(page.ends_with("# EOF\n"));
        for (position, counter) in Counter::ALL.iter().enumerate() {
            let described = counter.describe();
            let reason = described.reason.map_or(String::new(), |reason| format!(",reason=\"{reason}\""));
            let series = format!("fairlead_{}_total{{shard=\"1\"{reason}}}", described.name);
            assert_eq!(value(&page, &series), (position + 1).to_string());
        }
        for gauge in Gauge::ALL {
            let series = format!("fairlead_{}{{shard=\"0\"}}", gauge.describe().name);
            assert_eq!(value(&page, &series), i64::MAX.to_string());
        }
        let labels = r#"{source="harbour",session="c-0",shard="0"}"#;
        assert_eq!(value(&page, &format!("fairlead_mqtt_session_in_flight_messages{labels}")), "3");
        assert_eq!(value(&page, &format!("fairlead_mqtt_session_subscribed{labels}")), "0");
        assert!(!page.contains("fairlead_mqtt_broker_dropped{"), "not known is not 0");
        assert_eq!(value(&page, "fairlead_uptime_seconds"), "7");
        assert_eq!(value(&page, "fairlead_log_lines_lost_total"), "5");
        let mut series: Vec<&str> = page
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(series, _)| series)
            .collect();
        let all = series.len();
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), all, "a series twice makes the scrape invalid");
    }

    #[test]
    fn what_a_broker_dropped_is_one_number_of_each_source() {
        let sessions = vec![session("harbour", "c-0", 0), session("harbour", "c-1", 0), session("pier", "d", 0)];
        let metrics = Metrics::new(Layout { shards: 1, routes: vec!["a".to_owned()], sessions });
        for number in 0..2 {
            metrics.status().session(number, |session| session.broker_dropped = Some(7));
        }
        let page = scrape(&metrics);
        let series: Vec<&str> = page.lines().filter(|line| line.starts_with("fairlead_mqtt_broker_dropped{")).collect();
        assert_eq!(series, [r#"fairlead_mqtt_broker_dropped{source="harbour"} 7"#]);
    }

    #[test]
    fn labels_are_only_those_that_the_configuration_bounds() {
        let metrics =
            Metrics::new(Layout { shards: 1, routes: vec!["a".to_owned()], sessions: vec![session("s", "c", 0)] });
        metrics.status().session(0, |session| session.broker_dropped = Some(1));
        metrics.status().topic(0, "secret-topic", TopicState::Hold { reason: "r".to_owned() });
        let page = scrape(&metrics);
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((_, labels)) = line.split_once('{') else { continue };
            for label in labels.split_once('}').unwrap().0.split(',') {
                let name = label.split_once('=').unwrap().0;
                assert!(["shard", "route", "reason", "source", "session", "le"].contains(&name), "{line}");
            }
        }
        assert!(!page.contains("secret-topic"));
    }

    #[test]
    fn hostile_labels_are_escaped() {
        let hostile = "a\"} 1\n\\x";
        let sessions = vec![session(hostile, hostile, 0)];
        let metrics = Metrics::new(Layout { shards: 1, routes: vec![hostile.to_owned()], sessions });
        metrics.shard(0).ledger(RouteId(0), RECEIVED, 9);
        let page = scrape(&metrics);
        let escaped = r#"a\"} 1\n\\x"#;
        assert_eq!(value(&page, &format!("fairlead_received_messages_total{{route=\"{escaped}\"}}")), "9");
        let labels = format!("{{source=\"{escaped}\",session=\"{escaped}\",shard=\"0\"}}");
        assert_eq!(value(&page, &format!("fairlead_mqtt_session_subscribed{labels}")), "0");
        assert!(page.lines().all(|line| line.starts_with('#') || line.starts_with("fairlead_")), "{page}");
    }

    #[test]
    fn histograms_are_cumulative() {
        let metrics = Metrics::new(layout(1, &[]));
        metrics.shard(0).record(Stage::Confirm, 1_500, 10);
        metrics.shard(0).record(Stage::Confirm, 45_000_000, 1);
        let page = scrape(&metrics);
        let bucket =
            |le: &str| value(&page, &format!("fairlead_confirm_duration_seconds_bucket{{le=\"{le}\",shard=\"0\"}}"));
        assert_eq!((bucket("0.001").as_str(), bucket("0.002").as_str()), ("0", "10"));
        assert_eq!((bucket("30.0").as_str(), bucket("+Inf").as_str()), ("10", "11"));
        assert_eq!(value(&page, "fairlead_confirm_duration_seconds_count{shard=\"0\"}"), "11");
        assert_eq!(value(&page, "fairlead_confirm_duration_seconds_sum{shard=\"0\"}"), "45.015");
        assert_eq!(metrics.quantiles(Stage::Confirm).count, 11);
        metrics.shard(0).record_size(Size::SpoolGroup, 5_000);
        let page = scrape(&metrics);
        let bucket = |le: &str| value(&page, &format!("fairlead_spool_group_bytes_bucket{{le=\"{le}\",shard=\"0\"}}"));
        assert_eq!((bucket("4096.0").as_str(), bucket("16384.0").as_str()), ("0", "1"));
        assert_eq!(value(&page, "fairlead_spool_group_bytes_sum{shard=\"0\"}"), "5000.0");
    }

    /// E3: the longest labels that escape to twice their length, large values everywhere.
    #[test]
    fn a_large_configuration_stays_below_256_kib() {
        let long = |n: usize| format!("{n:02}{}", "\n".repeat(60_000));
        let sessions = (0..8).map(|n| session(&long(n), &long(n), n)).collect();
        let metrics = Metrics::new(Layout { shards: 8, routes: (0..64).map(long).collect(), sessions });
        for shard in metrics.shards() {
            for counter in Counter::ALL {
                shard.add(*counter, u64::MAX);
            }
            for gauge in Gauge::ALL {
                shard.set(*gauge, u64::MAX);
            }
            for stage in Stage::ALL {
                shard.record(*stage, 10, 1 << 40);
            }
            for size in Size::ALL {
                shard.record_size(*size, u64::MAX);
            }
            for route in 0..64 {
                shard.ledger(RouteId(route), RECEIVED, 1 << 50);
                shard.ledger(RouteId(route), Entry::Delivered, 1 << 50);
            }
        }
        let page = scrape(&metrics);
        assert!(page.len() < 256 * 1024, "{} bytes", page.len());
        assert_eq!(page.lines().filter(|line| line.starts_with("fairlead_received_messages_total{")).count(), 65);
    }
}

#[test]
fn cells_of_two_shards_share_no_cache_line() {
    let metrics = Metrics::new(layout(2, &["a"]));
    let distance = std::ptr::from_ref(metrics.shard(1)) as usize - std::ptr::from_ref(metrics.shard(0)) as usize;
    assert!(align_of::<ShardMetrics>() == 128 && distance.is_multiple_of(128));
}

#[test]
fn counters_gauges_and_totals_read_back() {
    let metrics = Metrics::new(layout(2, &[]));
    metrics.shard(0).add(Counter::LaneRecords, 3);
    metrics.shard(1).add(Counter::LaneRecords, 4);
    metrics.shard(1).set(Gauge::Lane, 9);
    metrics.shard(1).set(Gauge::Lane, 8);
    assert_eq!(metrics.total(Counter::LaneRecords), 7);
    assert_eq!((metrics.shard(0).gauge(Gauge::Lane), metrics.shard(1).gauge(Gauge::Lane)), (0, 8));
}
