//! The shape of the file: which keys there are, what type each has, and the defaults. Nothing here knows another key;
//! what must hold between keys is in `resolve`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Ack, Empty, HeaderSet, Owner, Qos0, Version,
    reader::Setting,
    units::{Choice, Core, Cores, Count, Directory, Folder, Listen, Named, OneOrMany, Property, Seconds, Size, Span},
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;

/// The lowest layer. `[source]` and `[route]` hold for each of their elements. A key that is not here has to be written,
/// or its absence means something.
pub(super) const DEFAULTS: &str = r#"
[source]
version = "auto"
client_id = "fairlead-{source}-{session}"
sessions = 1
qos = 1
clean_start = false
session_expiry = "7d"
max_packet = "16MiB"
announce_max_packet = false
skip_oversized = false
keep_alive = "30s"
receive_maximum = 8192
sys = true

[kafka]
linger = "5ms"
stuck = "30s"

[route]
key = "{topic}"
owner = "partition"
empty = "value"
headers = "user"

[engine]
cpus = "auto"
ack = "durable"
memory = "64MiB"
state = "auto"
drain = "30s"

[spool]
dir = "auto"
max = "20GiB"
min_free = "1GiB"
segment = "64MiB"
on_full = "block"
qos0 = "spool"

[admin]
listen = "127.0.0.1:9464"
"#;

/// The whole file.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) source: Setting<Vec<Setting<Source>>>,
    pub(super) kafka: Setting<Kafka>,
    pub(super) route: Setting<Vec<Setting<Route>>>,
    pub(super) engine: Setting<Engine>,
    pub(super) spool: Setting<Spool>,
    pub(super) dead_letter: Setting<DeadLetter>,
    pub(super) admin: Setting<Admin>,
}

/// `[[source]]`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Source {
    pub(super) name: Setting<String>,
    pub(super) url: Setting<OneOrMany>,
    pub(super) version: Setting<Choice<Version>>,
    pub(super) client_id: Setting<String>,
    pub(super) sessions: Setting<Count<1, 4096>>,
    pub(super) share: Setting<String>,
    pub(super) qos: Setting<Count<0, 2>>,
    pub(super) clean_start: Setting<bool>,
    pub(super) session_expiry: Setting<Seconds<0, { u32::MAX as u64 * SECOND }>>,
    pub(super) max_packet: Setting<Size<KIB, { 256 * MIB }>>,
    pub(super) announce_max_packet: Setting<bool>,
    pub(super) skip_oversized: Setting<bool>,
    pub(super) keep_alive: Setting<Seconds<0, { u16::MAX as u64 * SECOND }>>,
    pub(super) receive_maximum: Setting<Count<1, { u16::MAX as u64 }>>,
    pub(super) sys: Setting<bool>,
    pub(super) username: Setting<String>,
    pub(super) password: Setting<String>,
}

/// `[kafka]`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Kafka {
    pub(super) brokers: Setting<String>,
    pub(super) properties: Setting<BTreeMap<String, Setting<Property>>>,
    pub(super) create: Setting<Create>,
    pub(super) linger: Setting<Span<0, 100>>,
    pub(super) stuck: Setting<Span<SECOND, HOUR>>,
    pub(super) hold_for: Setting<Span<SECOND, { 30 * 24 * HOUR }>>,
}

/// `create` of `[kafka]`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Create {
    pub(super) partitions: Setting<Count<1, 10_000>>,
    pub(super) replication: Setting<Count<1, 100>>,
}

/// `[[route]]`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Route {
    pub(super) source: Setting<String>,
    pub(super) from: Setting<String>,
    pub(super) topic: Setting<String>,
    pub(super) key: Setting<String>,
    pub(super) owner: Setting<Choice<Owner>>,
    pub(super) empty: Setting<Choice<Empty>>,
    pub(super) headers: Setting<Choice<HeaderSet>>,
}

/// `[engine]`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Engine {
    pub(super) cpus: Setting<Cores>,
    pub(super) ack: Setting<Choice<Ack>>,
    pub(super) memory: Setting<Size<{ 2 * KIB }, TIB>>,
    pub(super) kafka_cpus: Setting<Vec<Setting<Core>>>,
    pub(super) state: Setting<Folder>,
    pub(super) drain: Setting<Span<0, HOUR>>,
}

/// `[spool]`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Spool {
    pub(super) dir: Setting<Directory>,
    pub(super) max: Setting<Size<MIB, { 1024 * TIB }>>,
    pub(super) min_free: Setting<Size<0, { 1024 * TIB }>>,
    pub(super) segment: Setting<Size<{ 64 * KIB }, { 2 * GIB }>>,
    pub(super) on_full: Setting<Choice<OnFull>>,
    pub(super) qos0: Setting<Choice<Qos0>>,
    pub(super) drain_rate: Setting<Count<1, 1_000_000_000>>,
}

/// `[dead_letter]`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct DeadLetter {
    pub(super) topic: Setting<String>,
}

/// What a full spool does: there is one answer, and the key says so.
#[derive(Clone, Copy, Debug)]
pub(super) enum OnFull {
    Block,
}

/// `[admin]`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Admin {
    pub(super) listen: Setting<Listen>,
}

impl Named for Version {
    const WHAT: &'static str = "version of MQTT";
    const NAMES: &'static [(&'static str, Version)] =
        &[("auto", Version::Auto), ("5", Version::V5), ("3.1.1", Version::V311)];
}

impl Named for Owner {
    const WHAT: &'static str = "owner";
    const NAMES: &'static [(&'static str, Owner)] = &[("partition", Owner::Partition), ("session", Owner::Session)];
}

impl Named for Empty {
    const WHAT: &'static str = "treatment of an empty payload";
    const NAMES: &'static [(&'static str, Empty)] =
        &[("value", Empty::Value), ("null", Empty::Null), ("skip", Empty::Skip)];
}

impl Named for HeaderSet {
    const WHAT: &'static str = "set of headers";
    const NAMES: &'static [(&'static str, HeaderSet)] = &[("user", HeaderSet::User), ("mqtt", HeaderSet::Mqtt)];
}

impl Named for Ack {
    const WHAT: &'static str = "kind of acknowledgement";
    const NAMES: &'static [(&'static str, Ack)] =
        &[("durable", Ack::Durable), ("spool", Ack::Spool), ("kafka", Ack::Kafka), ("memory", Ack::Memory)];
}

impl Named for OnFull {
    const WHAT: &'static str = "answer to a full spool";
    const NAMES: &'static [(&'static str, OnFull)] = &[("block", OnFull::Block)];
}

impl Named for Qos0 {
    const WHAT: &'static str = "treatment of QoS 0";
    const NAMES: &'static [(&'static str, Qos0)] = &[("spool", Qos0::Spool), ("drop", Qos0::Drop)];
}
