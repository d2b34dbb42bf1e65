//! What a valid configuration means for safety, order and speed, where a reader may not expect it.

use bytesize::ByteSize;

use super::{Ack, Origin, Settings, Source, Version, file, resolve::Resolver};
use crate::message::Qos;

/// Notes every fact that applies.
pub(super) fn note(settings: &Settings, file: &file::File, resolver: &Resolver<'_>) {
    let tables = file.source.get().into_iter().flatten().filter_map(|table| table.get());
    for (source, table) in settings.sources.iter().zip(tables) {
        note_safety(source, table, settings, resolver);
        note_session(source, table, resolver);
        note_memory(source, table, settings, resolver);
    }
    let Some(engine) = file.engine.get() else { return };
    if settings.engine.ack == Ack::Memory {
        let text = "a message is acknowledged before Kafka has it: what is in flight is lost on a crash; \"kafka\" loses nothing";
        resolver.note(&engine.ack, text);
    }
    let sessions: usize = settings.sources.iter().map(|source| source.sessions.len()).sum();
    if sessions < settings.engine.cpus.len() {
        let text = format!(
            "{} shards for {sessions} session(s): the others only produce; more sessions use more cores",
            settings.engine.cpus.len()
        );
        resolver.note(&engine.cpus, &text);
    }
}

/// What is promised to the sender.
fn note_safety(source: &Source, table: &file::Source, settings: &Settings, resolver: &Resolver<'_>) {
    match source.qos {
        Qos::AtMostOnce => resolver.note(
            &table.qos,
            "nothing is acknowledged at QoS 0: what the broker sends while the connection or Fairlead is down is lost",
        ),
        Qos::AtLeastOnce => {}
        Qos::ExactlyOnce if settings.keeps_ids(source) => {
            if settings.engine.state.is_none() {
                let text = "without engine.state the packet ids in the spool are not believed after a restart of Fairlead: duplicates are possible";
                resolver.note(&table.qos, text);
            }
        }
        Qos::ExactlyOnce => {
            let text = format!(
                "with ack = \"{}\" the packet ids of QoS 2 are kept in memory: after a restart of Fairlead duplicates are possible, and counted",
                settings.engine.ack.name()
            );
            resolver.note(&table.qos, &text);
        }
    }
    if source.clean_start {
        let text = "every start of the process discards the session at the broker, with what it holds for us: what was published meanwhile is lost";
        resolver.note(&table.clean_start, text);
    } else if source.session_expiry == 0 && source.version != Version::V311 {
        let text = "the broker forgets the session with its connection (MQTT 5.0 §3.1.2.11.2): what is published during a reconnect is lost";
        resolver.note(&table.session_expiry, text);
    }
}

/// What the session is like.
fn note_session(source: &Source, table: &file::Source, resolver: &Resolver<'_>) {
    let asked = table.version.get().map(|version| version.0);
    if asked == Some(Version::Auto) && source.version == Version::V5 {
        let text =
            "filters of the routes overlap, which needs the subscription identifiers of MQTT 5.0: 3.1.1 is not tried";
        resolver.note(&table.version, text);
    }
    let (_, expiry_origin) = resolver.places.of(&table.session_expiry);
    if source.version == Version::V311 && expiry_origin != Origin::Default {
        let text = "MQTT 3.1.1 has no session expiry: the broker's own limit holds";
        resolver.note(&table.session_expiry, text);
    }
    if source.share.is_some() {
        let text = match source.version {
            Version::V311 => {
                "a shared subscription has no order, and MQTT 3.1.1 does not know it: some brokers allow it"
            }
            _ => "a shared subscription has no order (MQTT 5.0 §4.8.2)",
        };
        resolver.note(&table.share, text);
    }
    if source.keep_alive == 0 {
        resolver
            .note(&table.keep_alive, "without pings a dead connection is found by TCP alone, which can take minutes");
    }
    if source.announce_max_packet && source.version != Version::V311 {
        let text = "a broker drops what exceeds an announced maximum, and tells nobody";
        resolver.note(&table.announce_max_packet, text);
    }
}

/// Every session of a shard may be in the middle of a largest packet.
fn note_memory(source: &Source, table: &file::Source, settings: &Settings, resolver: &Resolver<'_>) {
    let on_one = source.sessions.len().div_ceil(settings.engine.cpus.len());
    let most = on_one as u64 * u64::from(source.max_packet);
    if most > settings.engine.memory as u64 {
        let text = format!(
            "{on_one} sessions on a shard that each receive a largest packet need {}, and engine.memory is {}: they would wait for each other",
            ByteSize::b(most),
            ByteSize::b(settings.engine.memory as u64)
        );
        resolver.note(&table.max_packet, &text);
    }
}
