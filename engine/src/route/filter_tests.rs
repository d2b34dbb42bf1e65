use proptest::prelude::*;

use super::*;

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn matches(text: &str, topic: &str) -> bool {
    filter(text).matches(topic)
}

#[test]
fn matches_as_the_standard_says() {
    // The examples of MQTT 5.0 §4.7.1.
    for topic in ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"] {
        assert!(matches("sport/tennis/player1/#", topic), "{topic}");
    }
    assert!(matches("sport/#", "sport"));
    assert!(matches("#", "sport"));
    assert!(matches("sport/tennis/+", "sport/tennis/player1"));
    assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
    assert!(!matches("sport/+", "sport"));
    assert!(matches("sport/+", "sport/"));
    assert!(matches("+/+", "/finance") && matches("/+", "/finance") && !matches("+", "/finance"));
    assert!(matches("+/tennis/#", "sport/tennis"));
    assert!(!matches("sport/tennis", "sport/tennis2") && !matches("sport/tennis2", "sport/tennis"));
    assert!(!matches("sport", "sport/") && !matches("sport/", "sport"));
    assert!(!matches("Accounts", "ACCOUNTS"));
}

#[test]
fn a_leading_wildcard_does_not_match_dollar() {
    for text in ["#", "+/monitor/Clients", "{x}/#", "{x...}"] {
        assert!(!matches(text, "$SYS/monitor/Clients"), "{text}");
    }
    assert!(matches("$SYS/#", "$SYS/monitor/Clients") && matches("$SYS/#", "$SYS"));
    assert!(matches("$SYS/monitor/+", "$SYS/monitor/Clients"));
    assert!(matches("a/+", "a/$b") && matches("a/#", "a/$b"));
}

#[test]
fn empty_levels_count() {
    assert!(matches("/", "/") && !matches("/", "//") && matches("+/+", "/"));
    assert!(matches("a//b", "a//b") && !matches("a//b", "a/b") && matches("a/+/b", "a//b"));
    assert!(matches("/#", "/") && matches("/#", "//") && !matches("/#", "a"));
}

#[test]
fn odd_but_valid_topics_match_themselves_alone() {
    let topics = ["\u{feff}", "a\u{feff}", "a", "A", "a ", "ä", "a\u{308}", "/a", "a/", "//", "\u{1f6a2}/x", "{x}"];
    for one in topics {
        let exact = filter(&one.replace('{', "{{").replace('}', "}}"));
        for other in topics {
            assert_eq!(exact.matches(other), one == other, "{one:?} {other:?}");
        }
    }
    let long = "é/".repeat(21_845);
    assert_eq!(long.len(), 65_535);
    assert!(matches(&long, &long) && matches("é/#", &long));
}

#[test]
fn names_are_wildcards_on_the_wire() {
    let named = filter("ais/{mmsi}/+/{kind...}");
    assert_eq!(named.as_mqtt(), "ais/+/+/#");
    assert_eq!(named.to_string(), "ais/{mmsi}/+/{kind...}");
    assert_eq!(named.names().collect::<Vec<_>>(), ["mmsi", "kind"]);
    assert!(named.matches("ais/1/x/a/b") && !named.matches("ais/1"));
    let literal = filter("a/{{b}}/c}}");
    assert_eq!(literal.as_mqtt(), "a/{b}/c}");
    assert_eq!(literal.to_string(), "a/{{b}}/c}}");
}

#[test]
fn captures_find_their_levels() {
    let of = |text: &str, name: &str, topic: &str| {
        let filter = filter(text);
        assert!(filter.matches(topic), "{text} {topic}");
        topic[filter.capture(name).unwrap().range(topic)].to_owned()
    };
    assert_eq!(of("ais/{mmsi}/{kind...}", "mmsi", "ais/211/position"), "211");
    assert_eq!(of("ais/{mmsi}/{kind...}", "kind", "ais/211/position/a"), "position/a");
    assert_eq!(of("ais/{mmsi}/{kind...}", "kind", "ais/211"), "");
    assert_eq!(of("{a}/{b}", "a", "/x"), "");
    assert_eq!(of("{a}/{b}", "b", "x/"), "");
    assert_eq!(of("+/{b}/#", "b", "x/ü"), "ü");
    assert!(filter("a/{b}").capture("c").is_none());
}

#[test]
fn refuses_what_cannot_work() {
    let error = |text: &str| Filter::parse(text).unwrap_err();
    let owned = str::to_owned;
    assert_eq!(error(""), FilterError::Empty);
    assert_eq!(error("a\0"), FilterError::Nul);
    assert_eq!(error("$share/group/a"), FilterError::Share);
    assert_eq!(error("sport/tennis#"), FilterError::PartialWildcard(owned("tennis#")));
    assert_eq!(error("sport+"), FilterError::PartialWildcard(owned("sport+")));
    assert_eq!(error("a/#/b"), FilterError::RestNotLast(owned("#")));
    assert_eq!(error("{x...}/b"), FilterError::RestNotLast(owned("{x...}")));
    for text in ["{x", "x}", "a{x}", "{x}a", "{x}{y}", "{x}}", "{{x}", "{"] {
        assert_eq!(error(text), FilterError::Brace(owned(text)), "{text}");
    }
    for (text, name) in [("{}", ""), ("{...}", ""), ("{a b}", "a b"), ("{ä}", "ä"), ("{+}", "+"), ("{x..}", "x..")] {
        assert_eq!(error(text), FilterError::BadName(owned(name)), "{text}");
    }
    assert_eq!(error("{x}/+/{x...}"), FilterError::DuplicateName(owned("x")));
    assert_eq!(error("{topic}"), FilterError::ReservedName);
    assert_eq!(error(&"a".repeat(65_536)), FilterError::TooLong(65_536));
    assert!(Filter::parse(&format!("{}/{{a-very-long-name}}", "a".repeat(65_533))).is_ok(), "the wire counts");
}

/// Every filter of up to three levels over a few literals, and which topics of up to five levels each matches. The
/// empty topic is among them: the standard forbids it, but it makes no rule of its own here.
fn universe() -> Vec<(Filter, Vec<bool>)> {
    fn longer(shorter: &[String], levels: &[&str]) -> Vec<String> {
        let extend = |text: &String| levels.iter().map(|l| format!("{text}/{l}")).collect::<Vec<_>>();
        shorter.iter().filter(|text| !text.ends_with('#')).flat_map(extend).collect()
    }
    fn all(levels: &[&str], depth: usize) -> Vec<String> {
        let mut last: Vec<String> = levels.iter().map(|level| (*level).to_owned()).collect();
        let mut all = last.clone();
        for _ in 1..depth {
            last = longer(&last, levels);
            all.extend_from_slice(&last);
        }
        all
    }
    let topics = all(&["a", "", "$s", "z"], 5);
    let mut filters = all(&["a", "", "$s", "+", "#"], 3);
    filters.retain(|text| !text.is_empty());
    let row = |filter: &Filter| topics.iter().map(|topic| filter.matches(topic)).collect();
    filters.iter().map(|text| filter(text)).map(|filter| (filter.clone(), row(&filter))).collect()
}

#[test]
fn covers_overlaps_and_join_are_exact() {
    let universe = universe();
    assert!(universe.len() > 100);
    for (one, one_row) in &universe {
        for (other, other_row) in &universe {
            let covers = one_row.iter().zip(other_row).all(|(one, other)| *one || !other);
            assert_eq!(one.covers(other), covers, "{one} covers {other}");
            let overlaps = one_row.iter().zip(other_row).any(|(one, other)| *one && *other);
            assert_eq!(one.overlaps(other), overlaps, "{one} overlaps {other}");
            if overlaps {
                let join = one.join(other);
                assert!(join.covers(one) && join.covers(other), "{join} joins {one} and {other}");
                assert_eq!(filter(&join.to_string()), join);
            }
        }
    }
}

#[test]
fn join_is_narrow() {
    let join = |one, other| filter(one).join(&filter(other)).to_string();
    assert_eq!(join("a/{x}/c", "a/b/+"), "a/+/+");
    assert_eq!(join("a/+/c/#", "a/b/#"), "a/+/#");
    assert_eq!(join("a/#", "+"), "+/#");
    assert_eq!(join("$s/a/{x...}", "$s/+"), "$s/+/#");
}

/// A level of a filter or of a topic, rarely a strange one.
fn level() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[ab]", 1 => "[a-c]{2,3}", 1 => Just(String::new()), 1 => Just("$s".to_owned())]
}

fn filters() -> impl Strategy<Value = Filter> {
    let levels = prop::collection::vec(prop_oneof![2 => level(), 1 => Just("+".to_owned())], 0..7);
    (levels, any::<bool>()).prop_filter_map("not a filter", |(mut levels, rest)| {
        levels.extend(rest.then(|| "#".to_owned()));
        Filter::parse(&levels.join("/")).ok()
    })
}

proptest! {
    #[test]
    fn parse_never_panics_and_prints_what_it_read(text in "[a{}+#$/.\u{0}é]{0,12}") {
        if let Ok(filter) = Filter::parse(&text) {
            prop_assert_eq!(&Filter::parse(&filter.to_string()).unwrap(), &filter);
            let wire = filter.as_mqtt().replace('{', "{{").replace('}', "}}");
            prop_assert!(Filter::parse(&wire).unwrap().covers(&filter));
        }
    }

    #[test]
    fn deep_filters_keep_their_promises(
        one in filters(), other in filters(), levels in prop::collection::vec(level(), 1..9),
    ) {
        let topic = levels.join("/");
        let (in_one, in_other) = (one.matches(&topic), other.matches(&topic));
        prop_assert!(!(one.covers(&other) && in_other) || in_one);
        prop_assert!(!(in_one && in_other) || one.overlaps(&other));
        prop_assert_eq!(one.overlaps(&other), other.overlaps(&one));
        prop_assert!(!one.covers(&other) || one.overlaps(&other));
        prop_assert!(one.covers(&one));
        if one.overlaps(&other) {
            prop_assert!(!(in_one || in_other) || one.join(&other).matches(&topic));
        }
    }
}
