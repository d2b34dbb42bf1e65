//! From the shape of the file to [`Settings`], or to every problem at once: what must hold between keys, and what only
//! the machine can say.

use super::{
    Create, DeadLetter, Engine, Host, Kafka, Origin, Route, Secret, Settings, Source, Spool, address, file,
    node::join,
    problem::{Log, What},
    property,
    reader::{Places, Setting},
    routes::{MAX_ROUTES, Routes},
    secret,
    sources::{self, MAX_SOURCES},
    units::{Core, Cores, Directory, Folder, Property},
};
use bytesize::ByteSize;

use crate::{
    kafka,
    message::{MAX_SHARDS, Qos},
    route::{TemplateError, legal_topic},
    spool,
};

const SOURCE_EXAMPLE: &str = "at least one [[source]] with `name` and `url`; `fairlead sample` shows all";
const ROUTE_EXAMPLE: &str = "at least one [[route]] with `from` and `topic`; `fairlead sample` shows all";

/// What resolving looks at, beside the file itself.
pub(super) struct Resolver<'a> {
    pub(super) host: &'a Host,
    pub(super) places: &'a Places,
    pub(super) log: &'a Log,
    /// Where the last file begins: the place of what is written nowhere.
    pub(super) root: Origin,
}

impl Resolver<'_> {
    /// Something is wrong with a setting.
    pub(super) fn problem<T>(&self, setting: &Setting<T>, what: &What) {
        let (key, origin) = self.place(setting);
        self.log.problem(&origin, &key, what);
    }

    /// Something about a setting is worth knowing.
    pub(super) fn note<T>(&self, setting: &Setting<T>, text: &str) {
        let (key, origin) = self.places.of(setting);
        self.log.note(&origin, &key, text);
    }

    /// Key and origin of a setting. What no user wrote is placed where the file begins.
    pub(super) fn place<T>(&self, setting: &Setting<T>) -> (String, Origin) {
        match self.places.of(setting) {
            (key, Origin::Default) => (key, self.root.clone()),
            place => place,
        }
    }

    /// A setting that has to be written, with an example.
    pub(super) fn needed<'s, S, T>(
        &self,
        section: &Setting<S>,
        setting: &'s Setting<T>,
        name: &str,
        example: &'static str,
    ) -> Option<&'s T> {
        if setting.is_absent() {
            let (key, origin) = self.place(section);
            self.log.problem(&origin, &join(&key, name), &What::Missing(example));
        }
        setting.get()
    }
}

/// Turns the whole file into settings; `None` where something is wrong, which the log then tells.
pub(super) fn settings(file: &Setting<file::File>, resolver: &Resolver<'_>) -> Option<Settings> {
    let whole = file.get()?;
    let kafka = kafka(&whole.kafka, resolver);
    let engine = engine(&whole.engine, resolver);
    let admin = whole.admin.get().and_then(|admin| admin.listen.get());
    let sources = list(file, &whole.source, ("source", MAX_SOURCES, SOURCE_EXAMPLE), resolver);
    let routes = list(file, &whole.route, ("route", MAX_ROUTES, ROUTE_EXAMPLE), resolver);
    let names = sources::names(sources, resolver);
    let routes = Routes::resolve(routes, &names, resolver);
    let sources = sources::resolve(sources, &routes, (&whole.engine, engine.as_ref()), resolver);
    let (sources, routes) = (sources?, routes.into_settings()?);
    let engine = engine?;
    let spool = match engine.ack.spools() {
        true => Some(spool(&whole.spool, &engine, &sources, resolver)?),
        false => None,
    };
    let dead_letter = dead_letter(&whole.dead_letter, &routes, resolver)?;
    let settings = Settings { sources, routes, kafka: kafka?, engine, spool, dead_letter, admin: admin?.0 };
    resolver.log.is_clean().then_some(settings)
}

/// The elements of a list of tables that has to have some, and not too many.
fn list<'f, T>(
    file: &Setting<file::File>,
    list: &'f Setting<Vec<Setting<T>>>,
    (name, limit, example): (&str, usize, &'static str),
    resolver: &Resolver<'_>,
) -> &'f [Setting<T>] {
    let elements = resolver.needed(file, list, name, example).map_or(&[][..], Vec::as_slice);
    if elements.is_empty() && list.get().is_some() {
        resolver.problem(list, &What::Missing(example));
    }
    if elements.len() > limit {
        let count = elements.len();
        resolver.problem(list, &What::TooMany { count, limit, advice: "start several instances for more" });
    }
    &elements[..elements.len().min(limit)]
}

fn kafka(table: &Setting<file::Kafka>, resolver: &Resolver<'_>) -> Option<Kafka> {
    let kafka = table.get()?;
    let brokers = resolver
        .needed(table, &kafka.brokers, "brokers", "brokers = \"host:9092\" into [kafka]")
        .and_then(|text| address::kafka(text).map_err(|what| resolver.problem(&kafka.brokers, &what)).ok());
    let mut properties = Vec::new();
    for (key, setting) in kafka.properties.get().into_iter().flatten() {
        let Some(Property(value)) = setting.get() else { continue };
        let wrong = match property::managed(key) {
            Some(instead) => Some(What::Managed(instead)),
            None => check_property(key, value).err().map(What::Property),
        };
        match wrong {
            Some(what) => resolver.problem(setting, &what),
            None => properties.push((key.clone(), Secret::new(value.clone()))),
        }
    }
    let create = match kafka.create.is_absent() {
        true => Some(None),
        false => create(&kafka.create, resolver).map(Some),
    };
    let (linger, stuck) = (kafka.linger.get()?.0, kafka.stuck.get()?.0);
    let hold_for = match kafka.hold_for.is_absent() {
        true => None,
        false => Some(kafka.hold_for.get()?.0),
    };
    Some(Kafka { brokers: brokers?, properties, create: create?, linger, stuck, hold_for })
}

/// librdkafka's own opinion, which quotes the value.
fn check_property(key: &str, value: &str) -> Result<(), String> {
    let hidden = |text: String| match secret::is_secret(key) && !value.is_empty() {
        true => text.replace(value, secret::HIDDEN),
        false => text,
    };
    kafka::check_property(key, value).map_err(|error| hidden(error.to_string()))
}

fn create(table: &Setting<file::Create>, resolver: &Resolver<'_>) -> Option<Create> {
    let create = table.get()?;
    let partitions = resolver.needed(table, &create.partitions, "partitions", "a number, such as partitions = 9");
    let replication = resolver.needed(table, &create.replication, "replication", "a number, such as replication = 3");
    let replication = u16::try_from(replication?.0).ok()?;
    Some(Create { partitions: u32::try_from(partitions?.0).ok()?, replication })
}

fn engine(table: &Setting<file::Engine>, resolver: &Resolver<'_>) -> Option<Engine> {
    let engine = table.get()?;
    let cpus = engine.cpus.get().and_then(|cpus| match cpus {
        Cores::Auto => Some(resolver.host.auto()),
        Cores::List(list) => cores(&engine.cpus, list, resolver),
    });
    let kafka_cpus = match engine.kafka_cpus.is_absent() {
        true => Some(None),
        false => engine.kafka_cpus.get().and_then(|list| cores(&engine.kafka_cpus, list, resolver)).map(Some),
    };
    let mut cpus = cpus?;
    // What a ticket can name.
    cpus.truncate(MAX_SHARDS);
    Some(Engine {
        cpus,
        kafka_cpus: kafka_cpus?,
        ack: engine.ack.get()?.0,
        memory: usize::try_from(engine.memory.get()?.0).ok()?,
        state: match engine.state.get()? {
            Folder::Auto => Some(resolver.host.state.clone()),
            Folder::Off => None,
            Folder::Path(path) => Some(path.clone()),
        },
        drain: engine.drain.get()?.0,
    })
}

fn spool(table: &Setting<file::Spool>, engine: &Engine, sources: &[Source], resolver: &Resolver<'_>) -> Option<Spool> {
    let spool = table.get()?;
    let dir = match spool.dir.get()? {
        Directory::Auto => engine.state.as_ref().unwrap_or(&resolver.host.state).join("spool"),
        Directory::Path(path) => path.clone(),
    };
    let settings = Spool {
        dir,
        max: spool.max.get()?.0,
        min_free: spool.min_free.get()?.0,
        segment: spool.segment.get()?.0,
        qos0: spool.qos0.get()?.0,
        drain_rate: match spool.drain_rate.is_absent() {
            true => None,
            false => Some(spool.drain_rate.get()?.0),
        },
    };
    let packet = sources.iter().map(|source| u64::from(source.max_packet)).max().unwrap_or(0);
    let least = spool::least_segment(packet);
    // A packet beyond the memory is told already.
    if settings.segment < least && 2 * packet <= engine.memory as u64 {
        resolver
            .problem(&spool.segment, &What::SpoolSegment { packet: ByteSize::b(packet), least: ByteSize::b(least) });
    }
    // Whoever has a spool keeps the packet ids of QoS 2 in it.
    let ids = sources.iter().any(|source| source.qos == Qos::ExactlyOnce);
    let floor = spool::least_size(settings.segment, engine.cpus.len(), ids);
    if settings.max < floor {
        let (segment, floor) = (ByteSize::b(settings.segment), ByteSize::b(floor));
        resolver.problem(&spool.max, &What::SpoolMax { segment, shards: engine.cpus.len(), floor });
    }
    Some(settings)
}

fn dead_letter(table: &Setting<file::DeadLetter>, routes: &[Route], resolver: &Resolver<'_>) -> Option<DeadLetter> {
    if table.is_absent() {
        return Some(DeadLetter::default());
    }
    let setting = &table.get()?.topic;
    if setting.is_absent() {
        return Some(DeadLetter::default());
    }
    let topic = setting.get()?;
    if !legal_topic(topic) {
        resolver.problem(setting, &TemplateError::IllegalTopic(topic.clone()).into());
    }
    if routes.iter().any(|route| route.topic.constant() == Some(topic)) {
        resolver.problem(setting, &What::DeadLetterTopic(topic.clone()));
    }
    Some(DeadLetter { topic: Some(topic.clone()) })
}

/// A list of cores, each of which this process may use, and once.
fn cores<T>(setting: &Setting<T>, list: &[Setting<Core>], resolver: &Resolver<'_>) -> Option<Vec<usize>> {
    if list.is_empty() {
        resolver.problem(setting, &What::NoCore);
        return None;
    }
    if list.len() > MAX_SHARDS {
        let advice = "a shard is named by one byte";
        resolver.problem(setting, &What::TooMany { count: list.len(), limit: MAX_SHARDS, advice });
    }
    let mut cores = Vec::new();
    for element in list {
        let core = usize::try_from(element.get()?.0).ok()?;
        if !resolver.host.cores.contains(&core) {
            resolver.problem(element, &What::Core { core, allowed: resolver.host.cores.clone() });
        }
        if cores.contains(&core) {
            resolver.problem(element, &What::CoreTwice(core));
        }
        cores.push(core);
    }
    Some(cores)
}
