//! `[[source]]`: brokers, sessions and their limits.

use std::collections::HashMap;

use bytesize::ByteSize;

use super::{
    Address, Engine, Origin, Secret, SessionPlan, Source, Version, address, file, plan,
    problem::What,
    reader::Setting,
    resolve::Resolver,
    routes::{Routes, Wanted},
    units::OneOrMany,
};
use crate::{
    message::{MAX_SLOTS, Qos},
    route::{Filter, cover::Cover},
};

/// Most sources of one process.
pub(super) const MAX_SOURCES: usize = 64;
/// Longest name of a source.
const MAX_NAME: usize = 64;

/// The names of the sources, each checked; `None` where one is missing or of the wrong type.
pub(super) fn names<'f>(tables: &'f [Setting<file::Source>], resolver: &Resolver<'_>) -> Vec<Option<&'f str>> {
    let mut names: Vec<Option<&str>> = Vec::new();
    for table in tables {
        let name = table.get().and_then(|source| {
            let name = resolver.needed(table, &source.name, "name", "a name, such as name = \"harbour\"")?;
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(legal) {
                resolver.problem(&source.name, &What::SourceName(name.clone()));
            }
            let other = names.iter().position(|other| *other == Some(name)).and_then(|other| tables[other].get());
            if let Some(other) = other {
                let (_, other) = resolver.place(&other.name);
                resolver.problem(&source.name, &What::SourceTwice { name: name.clone(), other });
            }
            Some(name.as_str())
        });
        names.push(name);
    }
    names
}

/// Resolves all sources; `None` where one has a problem.
pub(super) fn resolve(
    tables: &[Setting<file::Source>],
    routes: &Routes,
    (engine_table, engine): (&Setting<file::Engine>, Option<&Engine>),
    resolver: &Resolver<'_>,
) -> Option<Vec<Source>> {
    for table in tables {
        check_packet(table, engine_table, resolver);
    }
    let sources: Vec<Option<Source>> =
        tables.iter().enumerate().map(|(index, table)| source(table, routes.of(index), resolver)).collect();
    refuse_shared_client_ids(tables, &sources, resolver);
    let sources: Vec<Source> = sources.into_iter().collect::<Option<_>>()?;
    let sessions: usize = sources.iter().map(|source| source.sessions.len()).sum();
    let on_one = sessions.div_ceil(engine?.cpus.len());
    if on_one > MAX_SLOTS {
        let last = tables.last()?;
        resolver.problem(last, &What::ShardSessions { sessions: on_one, limit: MAX_SLOTS });
    }
    Some(sources)
}

fn source(table: &Setting<file::Source>, wanted: Option<Vec<Wanted<'_>>>, resolver: &Resolver<'_>) -> Option<Source> {
    let source = table.get()?;
    let urls = urls(table, source, resolver);
    check_share(source, resolver);
    let version = version(source, resolver);
    let client_ids = client_ids(source, resolver);
    let filters = wanted.as_ref().map(|wanted| wanted.iter().map(|wanted| wanted.filter).collect::<Vec<_>>());
    let cover = filters.as_ref().map(|filters| plan::subscriptions(filters));
    if let (Some(wanted), Some(cover)) = (&wanted, &cover) {
        check_filters(table, source, wanted, cover, resolver);
    }
    let (cover, version) = (cover?, version?);
    let share = source.share.get().cloned();
    let sessions = sessions(client_ids?, &cover, &filters?, share.as_deref());
    Some(Source {
        name: source.name.get()?.clone(),
        urls: urls?,
        // Copies can be told apart by subscription identifiers, and those are of version 5.
        version: if cover.overlaps.is_empty() { version } else { Version::V5 },
        share,
        qos: match source.qos.get()?.0 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        },
        clean_start: *source.clean_start.get()?,
        session_expiry: u32::try_from(source.session_expiry.get()?.0).ok()?,
        max_packet: u32::try_from(source.max_packet.get()?.0).ok()?,
        announce_max_packet: *source.announce_max_packet.get()?,
        skip_oversized: *source.skip_oversized.get()?,
        keep_alive: u16::try_from(source.keep_alive.get()?.0).ok()?,
        receive_maximum: u16::try_from(source.receive_maximum.get()?.0).ok()?,
        sys: *source.sys.get()?,
        username: source.username.get().cloned().map(Secret::new),
        password: source.password.get().cloned().map(Secret::new),
        sessions,
    })
}

fn urls(table: &Setting<file::Source>, source: &file::Source, resolver: &Resolver<'_>) -> Option<Vec<Address>> {
    let example = "the broker, such as url = \"mqtt://127.0.0.1:1883\"";
    let read = |setting: &dyn Fn(&What), text: &str| address::mqtt(text).map_err(|what| setting(&what)).ok();
    match resolver.needed(table, &source.url, "url", example)? {
        OneOrMany::One(url) => read(&|what| resolver.problem(&source.url, what), url).map(|url| vec![url]),
        OneOrMany::Many(urls) if urls.is_empty() => {
            resolver.problem(&source.url, &What::NoUrl);
            None
        }
        OneOrMany::Many(urls) => {
            // Every one is read, so that every problem is told.
            let urls: Vec<_> = urls.iter().map(|url| read(&|what| resolver.problem(url, what), url.get()?)).collect();
            urls.into_iter().collect()
        }
    }
}

/// The version, and whether it can do what else is asked for.
fn version(source: &file::Source, resolver: &Resolver<'_>) -> Option<Version> {
    let version = source.version.get()?.0;
    // MQTT 3.1.1 §3.1.2.9: without a user name there is no password.
    if version != Version::V5 && source.username.is_absent() && source.password.get().is_some() {
        resolver.problem(&source.password, &What::PasswordAlone);
    }
    Some(version)
}

/// A group is one level without wildcards (MQTT 5.0 §4.8.2).
fn check_share(source: &file::Source, resolver: &Resolver<'_>) {
    let illegal = |c: char| matches!(c, '/' | '+' | '#') || c.is_control();
    if let Some(group) = source.share.get()
        && (group.is_empty() || group.contains(illegal))
    {
        resolver.problem(&source.share, &What::Group(group.clone()));
    }
}

/// One packet is being read while another is in flight.
fn check_packet(table: &Setting<file::Source>, engine: &Setting<file::Engine>, resolver: &Resolver<'_>) {
    let (Some(source), Some(engine)) = (table.get(), engine.get()) else { return };
    let (Some(packet), Some(memory)) = (source.max_packet.get(), engine.memory.get()) else { return };
    if packet.0 * 2 > memory.0 {
        let what = What::PacketBeyondMemory { packet: ByteSize::b(packet.0), memory: ByteSize::b(memory.0) };
        match resolver.places.of(&source.max_packet) {
            (_, Origin::Default) => resolver.problem(&engine.memory, &what),
            (key, origin) => resolver.log.problem(&origin, &key, &what),
        }
    }
}

/// The client identifier of each session.
fn client_ids(source: &file::Source, resolver: &Resolver<'_>) -> Option<Vec<String>> {
    let (name, template, sessions) = (source.name.get()?, source.client_id.get()?, source.sessions.get()?.0);
    let ids: Result<Vec<String>, What> = (0..usize::try_from(sessions).ok()?)
        .map(|session| plan::client_id(template, name, session, resolver.host))
        .collect();
    match ids {
        Ok(ids) if ids.len() > 1 && ids[0] == ids[1] => {
            let client_id = ids[0].clone();
            resolver.problem(&source.client_id, &What::ClientIdShared { sessions, client_id });
            None
        }
        Ok(ids) => Some(ids),
        Err(what) => {
            resolver.problem(&source.client_id, &what);
            None
        }
    }
}

/// There is something to read, for every session, and once.
fn check_filters(
    table: &Setting<file::Source>,
    source: &file::Source,
    wanted: &[Wanted<'_>],
    cover: &Cover,
    resolver: &Resolver<'_>,
) {
    let groups = cover.groups() as u64;
    if groups == 0 {
        resolver.problem(table, &What::NoFilter);
    } else if let Some(sessions) = source.sessions.get()
        && source.share.is_absent()
        && sessions.0 > groups
    {
        resolver.problem(&source.sessions, &What::IdleSessions { sessions: sessions.0, groups });
    }
    if source.version.get().is_none_or(|version| version.0 != Version::V311) {
        return;
    }
    for overlap in &cover.overlaps {
        let (first, second) = (&wanted[overlap.first], &wanted[overlap.second]);
        let what = What::Overlap {
            filter: second.filter.to_string(),
            other: first.filter.to_string(),
            at: first.from.clone(),
            join: overlap.join.to_string(),
        };
        resolver.log.problem(second.from, &format!("route.{}.from", second.route), &what);
    }
}

fn sessions(client_ids: Vec<String>, cover: &Cover, filters: &[&Filter], share: Option<&str>) -> Vec<SessionPlan> {
    let spread = plan::spread(cover, filters, client_ids.len(), share);
    let session = |(client_id, subscriptions)| SessionPlan { client_id, subscriptions, retire: None };
    client_ids.into_iter().zip(spread).map(session).collect()
}

/// At one broker a client id is one session: a second one throws the first out (MQTT 5.0 §3.1.4).
fn refuse_shared_client_ids(tables: &[Setting<file::Source>], sources: &[Option<Source>], resolver: &Resolver<'_>) {
    let mut taken: HashMap<(&str, u16, &str), usize> = HashMap::new();
    for (index, source) in sources.iter().enumerate() {
        let Some(source) = source else { continue };
        let ids =
            source.urls.iter().flat_map(|url| source.sessions.iter().map(move |session| (url, &session.client_id)));
        let mut twice = None;
        for (url, client_id) in ids {
            let other = *taken.entry((&url.host, url.port, client_id)).or_insert(index);
            if other != index {
                twice = twice.or(Some((client_id, other)));
            }
        }
        if let (Some((client_id, other)), Some(table)) = (twice, tables[index].get())
            && let Some(other) = &sources[other]
            // Otherwise the names are what is wrong.
            && other.name != source.name
        {
            let what = What::ClientIdTwice { client_id: client_id.clone(), other: other.name.clone() };
            resolver.problem(&table.client_id, &what);
        }
    }
}
