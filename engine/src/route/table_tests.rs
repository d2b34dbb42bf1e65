use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::{
    route::partition::partition,
    settings::{Empty, HeaderSet, Owner},
};

/// Knows the topics that it was given, or takes any name as a topic; it remembers what it was asked for.
#[derive(Default)]
struct Directory {
    known: BTreeMap<String, TopicId>,
    learns: bool,
    asked: usize,
}

impl Directory {
    fn of(names: &[&str]) -> Directory {
        let known = (0..).map(TopicId).zip(names).map(|(id, name)| ((*name).to_owned(), id)).collect();
        Directory { known, ..Directory::default() }
    }

    fn learning() -> Directory {
        Directory { learns: true, ..Directory::default() }
    }

    fn name(&self, id: TopicId) -> &str {
        self.known.iter().find(|(_, known)| **known == id).map(|(name, _)| name.as_str()).unwrap()
    }
}

impl TopicDirectory for Directory {
    fn find(&mut self, name: &str) -> Option<(TopicId, u32)> {
        assert!(legal_topic(name), "asked for {name:?}");
        self.asked += 1;
        if self.learns && !self.known.contains_key(name) {
            self.known.insert(name.to_owned(), TopicId(self.known.len() as u16));
        }
        self.known.get(name).map(|id| (*id, PARTITIONS))
    }
}

const PARTITIONS: u32 = 9;

fn route(from: &str, topic: &str, key: &str) -> Route {
    let from = Filter::parse(from).unwrap();
    Route {
        source: None,
        topic: Template::parse(topic, &from).unwrap(),
        key: Template::parse(key, &from).unwrap(),
        owner: Owner::Partition,
        empty: Empty::Value,
        headers: HeaderSet::User,
        from,
    }
}

fn entry<'a>(decision: &'a Decision<'a>) -> &'a Entry<'a> {
    match decision {
        Decision::Route(entry) => entry,
        other => panic!("{other:?}"),
    }
}

/// The route, the Kafka topic, the partition and the bytes of the key.
fn resolved(table: &mut Table, directory: &mut Directory, topic: &str) -> (u16, String, u32, Option<Vec<u8>>) {
    let decision = table.lookup(topic, directory);
    let entry = entry(&decision);
    let key = (entry.key != Key::None).then(|| entry.key.bytes_or(topic).to_vec());
    (entry.route.0, directory.name(entry.topic).to_owned(), entry.partition, key)
}

#[test]
fn the_first_route_that_matches_wins() {
    // Plain and rendered routes by turns, so that some are matched directly and some through the cache.
    let routes = [
        route("a/b", "t0", "{topic}"),
        route("a/{x}", "t1", "{x}"),
        route("a/{x...}", "t2-{x}", ""),
        route("b/#", "t3", "constant"),
        route("#", "t4", "<{topic}>"),
    ];
    let mut directory = Directory::of(&["t0", "t1", "t2-", "t3", "t4"]);
    let mut table = Table::new(0, &routes);
    assert_eq!((table.direct.len(), table.behind.len()), (2, 3));
    for _ in 0..2 {
        let mut of = |topic| {
            let (route, kafka, _, key) = resolved(&mut table, &mut directory, topic);
            (route, kafka, key.map(|key| String::from_utf8(key).unwrap()))
        };
        let expected = |route, kafka: &str, key: Option<&str>| (route, kafka.to_owned(), key.map(str::to_owned));
        assert_eq!(of("a/b"), expected(0, "t0", Some("a/b")));
        assert_eq!(of("a/c"), expected(1, "t1", Some("c")));
        assert_eq!(of("a"), expected(2, "t2-", None));
        assert_eq!(of("b/c"), expected(3, "t3", Some("constant")));
        assert_eq!(of("c"), expected(4, "t4", Some("<c>")));
        assert_eq!(table.lookup("$SYS/x", &mut directory), Decision::NoRoute);
    }
}

#[test]
fn routes_of_other_sources_do_not_count_but_keep_their_numbers() {
    let mut routes = [route("a", "t0", ""), route("a", "t1", ""), route("#", "t2", "")];
    routes[0].source = Some(1);
    routes[1].source = Some(0);
    let mut directory = Directory::of(&["t0", "t1", "t2"]);
    for (source, number) in [(0, 1), (1, 0), (2, 2)] {
        let mut table = Table::new(source, &routes);
        assert_eq!(resolved(&mut table, &mut directory, "a").0, number);
    }
    assert_eq!(Table::new(0, &[]).lookup("a", &mut directory), Decision::NoRoute);
}

#[test]
fn many_plain_routes_are_answered_from_the_cache() {
    let routes: Vec<Route> = (0..100).map(|n| route(&format!("r/{n}/+"), "t", "{topic}")).collect();
    let mut directory = Directory::of(&["t"]);
    let mut table = Table::new(0, &routes);
    assert_eq!(table.direct.len(), MAX_DIRECT);
    for _ in 0..2 {
        for n in 0..100 {
            let topic = format!("r/{n}/x");
            let key = Some(topic.clone().into_bytes());
            let partition = partition(topic.as_bytes(), PARTITIONS);
            assert_eq!(resolved(&mut table, &mut directory, &topic), (n, "t".to_owned(), partition, key));
        }
    }
}

#[test]
fn a_record_without_a_key_follows_its_mqtt_topic() {
    let routes = [route("a/{x}", "t", ""), route("b/{x}", "t", "{x}"), route("c/{x}/{y}", "t", "{x}{y}")];
    let mut directory = Directory::of(&["t"]);
    let mut table = Table::new(0, &routes);
    for topic in ["a/1", "a/2", "b/", "c//"] {
        let by_topic = partition(topic.as_bytes(), PARTITIONS);
        for _ in 0..2 {
            let (_, _, partition, key) = resolved(&mut table, &mut directory, topic);
            assert_eq!((partition, key), (by_topic, None), "{topic}");
        }
    }
    let (_, _, by_key, key) = resolved(&mut table, &mut directory, "c/x/y");
    assert_eq!((by_key, key), (partition(b"xy", PARTITIONS), Some(b"xy".to_vec())));
}

#[test]
fn an_unknown_topic_is_asked_for_until_it_is_known() {
    let routes = [route("a", "constant", "{topic}"), route("{x}", "made-{x}", "{topic}")];
    let mut directory = Directory::default();
    let mut table = Table::new(0, &routes);
    for (topic, kafka, number) in [("a", "constant", 0), ("b", "made-b", 1)] {
        let unknown = Decision::Unknown { route: RouteId(number), topic: kafka };
        assert_eq!(table.lookup(topic, &mut directory), unknown);
        assert_eq!(table.lookup(topic, &mut directory), unknown);
        directory.known.insert(kafka.to_owned(), TopicId(number));
        let asked = directory.asked;
        for _ in 0..3 {
            assert_eq!(resolved(&mut table, &mut directory, topic).1, kafka);
        }
        assert_eq!(directory.asked, asked + 1, "what is known is remembered");
    }
}

#[test]
fn hostile_topics_are_illegal_and_never_asked_for() {
    let routes = [route("in/{x...}", "{x}", "{topic}"), route("out/#", "a b", "{topic}")];
    let mut directory = Directory::learning();
    let mut table = Table::new(0, &routes);
    let long = "a".repeat(250);
    for hostile in
        ["", ".", "..", "../x", "a/b", "/", "%2e", "a b", "a\n", "\u{feff}a", "ä", "{topic}", "a\u{1b}", &long]
    {
        let topic = format!("in/{hostile}");
        let illegal = Decision::Illegal { route: RouteId(0), topic: hostile, key: Key::Topic };
        assert_eq!(table.lookup(&topic, &mut directory), illegal, "{hostile:?}");
    }
    let illegal = Decision::Illegal { route: RouteId(1), topic: "a b", key: Key::Topic };
    assert_eq!(table.lookup("out/x", &mut directory), illegal);
    assert_eq!(directory.asked, 0);
    assert_eq!(resolved(&mut table, &mut directory, &format!("in/{}", &long[1..])).1, &long[1..]);
}

#[test]
fn the_key_is_rendered_also_where_the_kafka_topic_is_illegal() {
    let routes = [route("in/{x}/{y}", "{x} {y}", "{y}-{x}"), route("on/{x}", "a {x}", "{x}")];
    let mut directory = Directory::learning();
    let mut table = Table::new(0, &routes);
    let key = Payload::from_static(b"b-a");
    let illegal = Decision::Illegal { route: RouteId(0), topic: "a b", key: Key::Rendered(&key) };
    assert_eq!(table.lookup("in/a/b", &mut directory), illegal);
    let illegal = Decision::Illegal { route: RouteId(1), topic: "a b", key: Key::Part(3..4) };
    assert_eq!(table.lookup("on/b", &mut directory), illegal);
}

#[test]
fn long_topics_are_decided_without_the_cache() {
    let routes = [route("{x}/{rest...}", "t-{x}", "{rest}-{x}")];
    let mut directory = Directory::of(&["t-a"]);
    let mut table = Table::new(0, &routes);
    let long = format!("a/{}", "x".repeat(65_533));
    for topic in ["a/b", &long, "a/c", &long, "a/b"] {
        let key = format!("{}-a", &topic[2..]).into_bytes();
        let partition = partition(&key, PARTITIONS);
        assert_eq!(resolved(&mut table, &mut directory, topic), (0, "t-a".to_owned(), partition, Some(key)));
    }
}

#[test]
fn different_topics_never_share_kafka_topic_and_key() {
    let odd = [
        "a",
        "A",
        "a ",
        " a",
        "/",
        "//",
        "///",
        "a/",
        "/a",
        "a//",
        "a/b",
        "a//b",
        "a/b/",
        "ab",
        "$a",
        "a/$b",
        "\u{feff}",
        "\u{feff}a",
        "a\u{feff}",
        "ä",
        "a\u{308}",
        "\u{1f6a2}",
        "a\u{1}",
        "a.b",
        "a_b",
        "a%2fb",
        "{topic}",
        "\u{10ffff}",
    ];
    let plain = vec![route("#", "all", "{topic}"), route("$a", "all", "{topic}")];
    let rendered = vec![
        route("{x}", "all-{x}", "{topic}"),
        route("+/{x}", "all.{x}", "{topic}"),
        route("#", "all", "{topic}"),
        route("$a/#", "all", "{topic}"),
    ];
    for routes in [plain, rendered] {
        let mut directory = Directory::learning();
        let mut table = Table::new(0, &routes);
        let mut seen: HashMap<(String, Vec<u8>), &str> = HashMap::new();
        for topic in odd {
            if matches!(table.lookup(topic, &mut directory), Decision::Illegal { .. }) {
                continue;
            }
            let (_, kafka, _, key) = resolved(&mut table, &mut directory, topic);
            let other = seen.insert((kafka, key.unwrap()), topic);
            assert_eq!(other, None, "{topic:?} goes where another went");
        }
        assert!(seen.len() >= 10);
    }
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab.]{0,3}",
        1 => "[a-z0-9._%{}$ \n\u{feff}é-]{0,6}",
        1 => Just("..".to_owned()),
        1 => "[a]{240,260}",
    ]
}

proptest! {
    /// Whatever the topic: the Kafka name is legal (the directory asserts it) or refused, the partition is the one of
    /// the key, and the cache answers as a fresh table does.
    #[test]
    fn any_topic_is_routed_lawfully(
        levels in prop::collection::vec(prop::collection::vec(level(), 1..4), 1..20),
        topic in prop::sample::select(vec!["t", "{topic}", "{x}", "{x}.{rest}", "..{x}", "{x}-"]),
        key in prop::sample::select(vec!["", "{topic}", "{x}", "{rest}", "{x}/{rest}", "k"]),
    ) {
        let routes = [route("b/#", "b", ""), route("{x}/{rest...}", topic, key)];
        let mut directory = Directory::learning();
        let mut table = Table::new(0, &routes);
        let mut topics: Vec<String> = levels.iter().map(|levels| levels.join("/")).collect();
        topics.retain(|topic| !topic.is_empty());
        for topic in topics.iter().chain(&topics) {
            let mut fresh = Table::new(0, &routes);
            let decision = table.lookup(topic, &mut directory);
            prop_assert_eq!(&decision, &fresh.lookup(topic, &mut directory));
            if let Decision::Route(entry) = decision {
                prop_assert_eq!(entry.partition, partition(entry.key.bytes_or(topic), PARTITIONS));
                prop_assert!(entry.key == Key::None || !entry.key.bytes_or(topic).is_empty());
            }
        }
    }
}
