//! What a valid configuration comes to.

use std::{path::Path, time::Duration};

use super::{Given, LEAST, one, problems, with};
use crate::{
    message::Qos,
    settings::{Ack, Empty, HeaderSet, Host, Owner, Qos0, Settings, Version},
};

fn settings(text: &str) -> Settings {
    let loaded = one(text);
    assert_eq!(problems(&loaded), [""; 0]);
    loaded.settings.unwrap()
}

/// What each session subscribes to, with identifiers.
fn filters(settings: &Settings) -> Vec<Vec<(&str, Option<u32>)>> {
    let sessions = settings.sources[0].sessions.iter();
    sessions.map(|session| session.subscriptions.iter().map(|one| (one.filter.as_str(), one.id)).collect()).collect()
}

#[test]
fn the_least_has_the_defaults_of_the_documentation() {
    let settings = settings(LEAST);
    let source = &settings.sources[0];
    assert_eq!(source.urls[0].to_string(), "mqtt://broker:1883");
    assert_eq!((source.version, source.qos, source.clean_start), (Version::Auto, Qos::AtLeastOnce, false));
    assert_eq!((source.session_expiry, source.keep_alive, source.receive_maximum), (604_800, 30, 8192));
    assert_eq!((source.max_packet, source.announce_max_packet, source.skip_oversized), (16 << 20, false, false));
    assert_eq!(source.sessions[0].client_id, "fairlead-harbour-0");
    assert_eq!(filters(&settings), [[("ais/#", None)]]);
    let route = &settings.routes[0];
    assert_eq!(
        (route.source, route.owner, route.empty, route.headers),
        (None, Owner::Partition, Empty::Value, HeaderSet::User)
    );
    assert!(route.key.is_topic());
    assert_eq!(route.topic.constant(), Some("ais"));
    assert_eq!(settings.kafka.brokers, "kafka:9092");
    assert_eq!((settings.kafka.create, settings.kafka.linger), (None, Duration::from_millis(5)));
    assert_eq!((settings.engine.cpus.as_slice(), settings.engine.kafka_cpus.as_ref()), (&[0, 1][..], None));
    assert_eq!((settings.engine.ack, settings.engine.memory), (Ack::Durable, 64 << 20));
    let spool = settings.spool.as_ref().unwrap();
    assert_eq!(spool.dir, Path::new("/state/fairlead/spool"));
    assert_eq!((spool.max, spool.min_free, spool.segment), (20 << 30, 1 << 30, 64 << 20));
    assert_eq!((spool.qos0, spool.drain_rate), (Qos0::Spool, None));
    assert_eq!(settings.engine.drain, Duration::from_secs(30));
    assert_eq!(settings.engine.state.as_deref(), Some(Path::new("/state/fairlead")));
    assert!(source.sys);
    assert_eq!(settings.admin, Some(([127, 0, 0, 1], 9464).into()));
}

#[test]
fn every_key_arrives() {
    let text = r#"
[[source]]
name = "pier"
url = ["mqtt://[::1]:1884", "MQTT://b/"]
version = "5"
client_id = "{host}-{source}-{session}"
sessions = 2
share = "g"
qos = 2
clean_start = true
session_expiry = "1h"
max_packet = "1MB"
announce_max_packet = true
skip_oversized = true
keep_alive = "0s"
receive_maximum = 65535
sys = false
username = "me"
password = "pw"
[kafka]
brokers = " a:1 , b "
properties = { "compression.type" = "lz4", "batch.size" = 5, "enable.sparse.connections" = true }
create = { partitions = 9, replication = 3 }
linger = "0ms"
[[route]]
source = "pier"
from = "{x}/{y...}"
topic = "t.{x}"
key = ""
owner = "session"
empty = "null"
headers = "mqtt"
[engine]
cpus = [2]
ack = "memory"
memory = "1GiB"
kafka_cpus = [0, 1]
state = "state of pier"
drain = "0s"
[admin]
listen = "off"
"#;
    let settings = settings(text);
    let source = &settings.sources[0];
    assert_eq!((source.urls[0].host.as_str(), source.urls[0].port), ("::1", 1884));
    assert_eq!((source.urls[1].host.as_str(), source.urls[1].port), ("b", 1883));
    assert_eq!((source.version, source.qos, source.clean_start), (Version::V5, Qos::ExactlyOnce, true));
    assert_eq!((source.session_expiry, source.keep_alive, source.receive_maximum), (3600, 0, 65535));
    assert_eq!((source.max_packet, source.announce_max_packet, source.skip_oversized), (1_000_000, true, true));
    assert_eq!(source.username.as_ref().unwrap().expose(), "me");
    assert_eq!(source.password.as_ref().unwrap().expose(), "pw");
    let ids: Vec<&str> = source.sessions.iter().map(|session| session.client_id.as_str()).collect();
    assert_eq!(ids, ["quay-pier-0", "quay-pier-1"]);
    assert_eq!(filters(&settings), [[("$share/g/+/#", None)], [("$share/g/+/#", None)]]);
    let route = &settings.routes[0];
    assert_eq!(
        (route.source, route.owner, route.empty, route.headers),
        (Some(0), Owner::Session, Empty::Null, HeaderSet::Mqtt)
    );
    assert_eq!(route.key.constant(), Some(""));
    assert_eq!(settings.kafka.brokers, "a:1,b");
    assert_eq!(settings.kafka.properties.len(), 3);
    assert_eq!(settings.kafka.create.map(|create| (create.partitions, create.replication)), Some((9, 3)));
    assert_eq!(settings.kafka.linger, Duration::ZERO);
    assert_eq!((settings.engine.cpus.as_slice(), settings.engine.kafka_cpus.as_deref()), (&[2][..], Some(&[0, 1][..])));
    assert_eq!(
        (settings.engine.ack, settings.engine.memory, settings.engine.drain),
        (Ack::Memory, 1 << 30, Duration::ZERO)
    );
    assert_eq!((settings.admin, source.sys, settings.engine.state), (None, false, Some("state of pier".into())));
}

#[test]
fn the_state_may_be_off() {
    assert_eq!(settings(&with("[engine]", "state = \"off\"").0).engine.state, None);
}

/// The least with routes from these filters, and a line for the source.
fn routes(line: &str, from: &[&str]) -> String {
    let (text, _) = with("[[source]]", line);
    let routes: String = from.iter().map(|from| format!("[[route]]\nfrom = \"{from}\"\ntopic = \"t\"\n")).collect();
    text[..text.find("[[route]]").unwrap()].to_owned() + &routes
}

#[test]
fn what_is_subscribed_is_the_smallest_covering_set_spread_over_the_sessions() {
    let text = routes("sessions = 2", &["a/{x}", "b", "a/b", "c/#", "c/d/+", "b"]);
    assert_eq!(filters(&settings(&text)), [vec![("a/+", None), ("c/#", None)], vec![("b", None)]]);
}

#[test]
fn filters_that_overlap_in_part_carry_identifiers_in_the_order_of_the_routes_and_need_version_5() {
    let settings = settings(&routes("version = \"auto\"", &["z", "a/+/c", "a/b/+"]));
    let filters = filters(&settings);
    let [subscriptions] = filters.as_slice() else { panic!("{filters:?}") };
    let identified: Vec<_> = subscriptions.iter().map(|(filter, id)| (*filter, id.is_some())).collect();
    assert_eq!(identified, [("z", false), ("a/+/c", true), ("a/b/+", true)]);
    assert_eq!(settings.sources[0].version, Version::V5);
}

#[test]
fn filters_that_overlap_stay_in_one_session() {
    let settings = settings(&routes("sessions = 2", &["z", "a/+/c", "y", "a/b/+"]));
    let spread: Vec<Vec<&str>> =
        filters(&settings).iter().map(|session| session.iter().map(|(filter, _)| *filter).collect()).collect();
    assert_eq!(spread, [vec!["z", "y"], vec!["a/+/c", "a/b/+"]]);
}

#[test]
fn a_route_of_one_source_is_not_subscribed_by_another() {
    let text = LEAST.replace("[kafka]", "[[source]]\nname = \"pier\"\nurl = \"mqtt://b\"\n[kafka]")
        + "source = \"harbour\"\n[[route]]\nfrom = \"all\"\ntopic = \"t\"\n";
    let settings = settings(&text);
    let of = |source: usize| -> Vec<&str> {
        settings.sources[source].sessions[0].subscriptions.iter().map(|one| one.filter.as_str()).collect()
    };
    assert_eq!((of(0), of(1)), (vec!["ais/#", "all"], vec!["all"]));
}

#[test]
fn sessions_take_turns_over_the_shards() {
    let text = routes("sessions = 3", &["a", "b", "c"]);
    let places: Vec<_> = settings(&text).plan().map(|planned| (planned.number, planned.shard, planned.slot)).collect();
    assert_eq!(places, [(0, 0, 0), (1, 1, 0), (2, 0, 1)]);
}

#[test]
fn a_password_alone_is_possible_in_version_5() {
    let (text, _) = with("[[source]]", "version = \"5\"\npassword = \"x\"");
    assert!(settings(&text).sources[0].username.is_none());
}

#[test]
fn this_machine_has_cores_and_a_name() {
    let host = Host::detect().unwrap();
    assert!(!host.name.is_empty() && !host.cores.is_empty());
    assert!((1..=host.cores.len()).contains(&host.parallelism), "{host:?}");
    let auto = Given { files: &[LEAST], ..Given::default() }.load().settings.unwrap().engine.cpus;
    assert_eq!(auto, [0, 1], "the quota is two of three cores");
}
