//! The routes of one source as one shard uses them: from an MQTT topic to a Kafka topic, partition and key.
//!
//! Where the first routes need no rendering (their Kafka topic is constant; the key is constant, the MQTT topic or
//! one level of it) they are matched anew for each message, since that touches no memory that grows with the number
//! of topics: 20 ns on the machine of the benchmark, whether there is one topic or 100,000. What lies behind is
//! answered from a [`Cache`]: 23 ns with one topic, 60 to 80 ns with 100,000; rendering each time would take 130 ns.

use std::ops::Range;

use super::{
    Filter, Template,
    cache::{Cache, CacheCounts, Slot},
    filter::Capture,
    legal_topic,
    partition::place,
    template::Shape,
};
use crate::{
    message::{RouteId, TopicId, UNPLACED},
    mqtt::{Payload, Text},
    settings::Route,
};

/// How many leading routes are matched for each message, at most, before the cache is asked.
const MAX_DIRECT: usize = 8;

/// The Kafka topics that are known, by name.
pub trait TopicDirectory {
    /// The topic of this name and its number of partitions. `None` if it is missing or not known yet; 0 partitions if it
    /// is not known yet and its records may go to the spool.
    ///
    /// `name` is always a legal name. A number above 0 must not change during the life of a [`Table`].
    fn find(&mut self, name: &str) -> Option<(TopicId, u32)>;
}

/// Where the records of one MQTT topic go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The route.
    pub route: RouteId,
    /// The Kafka topic.
    pub topic: TopicId,
    /// The partition of it.
    pub partition: u32,
    /// The key.
    pub key: Key<'a>,
}

/// The key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// No key.
    None,
    /// The MQTT topic.
    Topic,
    /// These bytes of the MQTT topic; at least one.
    Part(Range<usize>),
    /// Something else; not empty.
    Rendered(&'a Payload),
}

/// What a table says of an MQTT topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The first route that matches takes it.
    Route(Entry<'a>),
    /// No route matches.
    NoRoute,
    /// The route renders a Kafka topic that is not a legal name.
    Illegal {
        /// The route.
        route: RouteId,
        /// What it renders.
        topic: &'a str,
        /// The key.
        key: Key<'a>,
    },
    /// The route's Kafka topic is not in the directory (yet).
    Unknown {
        /// The route.
        route: RouteId,
        /// The name of the Kafka topic; it is legal.
        topic: &'a str,
    },
}

/// The routes of one source, for one shard.
///
/// It remembers Kafka topics and their numbers of partitions: when one of them changes, a new table is needed.
#[derive(Debug)]
pub struct Table {
    /// The leading routes that need no rendering, at most [`MAX_DIRECT`].
    direct: Vec<Plan>,
    /// The routes behind them.
    behind: Vec<Plan>,
    /// What the routes behind make of the MQTT topics.
    cache: Cache,
    /// Where Kafka topics and keys are rendered.
    scratch: String,
    /// The key of a record whose Kafka topic is not legal.
    key: Option<Payload>,
}

/// A route, resolved as far as it can be without an MQTT topic.
#[derive(Debug)]
struct Plan {
    id: RouteId,
    from: Filter,
    topic: TopicPlan,
    key: KeyPlan,
}

#[derive(Debug)]
enum TopicPlan {
    /// One Kafka topic, and its number and partitions once they are known.
    Constant(String, Option<(TopicId, u32)>),
    Rendered(Template),
}

#[derive(Debug)]
enum KeyPlan {
    Topic,
    Level(Capture),
    Constant(Payload),
    Rendered(Template),
}

/// Why an MQTT topic goes nowhere.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    NoRoute,
    /// The route renders no legal name; what it renders is in the scratch.
    Illegal(RouteId),
    /// The route's Kafka topic, whose name is in the scratch, is not in the directory.
    Unknown(RouteId),
}

impl Table {
    /// The routes that serve the source of this index.
    #[must_use]
    pub fn new(source: usize, routes: &[Route]) -> Table {
        let mut direct: Vec<Plan> = (0..)
            .zip(routes)
            .filter(|(_, route)| route.source.is_none_or(|only| only == source))
            .map(|(index, route)| Plan::new(RouteId(index), route))
            .collect();
        let plain = direct.iter().take(MAX_DIRECT).take_while(|plan| plan.is_plain()).count();
        let behind = direct.split_off(plain);
        Table { direct, behind, cache: Cache::default(), scratch: String::new(), key: None }
    }

    /// Decides on an MQTT topic. It allocates memory only where it has to render: for the first message of a topic,
    /// and again for topics that are longer than the cache keeps or that it had to overwrite.
    pub fn lookup(&mut self, topic: &str, topics: &mut impl TopicDirectory) -> Decision<'_> {
        if let Some(index) = self.direct.iter().position(|plan| plan.from.matches(topic)) {
            let plan = &mut self.direct[index];
            return match plan.kafka(topic, topics, &mut self.scratch) {
                Ok(kafka) => Decision::Route(plan.entry(topic, kafka)),
                Err(refusal) => refusal.decision(&self.scratch, plan.key.of(topic, None)),
            };
        }
        let hash = Cache::hash(topic);
        let place = match self.cache.find(hash, topic) {
            Some(place) => place,
            None => {
                self.cache.missed();
                match self.resolve(topic, topics) {
                    Ok(slot) if slot.partition == UNPLACED => self.cache.pass(slot),
                    Ok(slot) => self.cache.insert(hash, slot),
                    Err(refusal) => {
                        let plan = self.behind.iter().find(|plan| plan.from.matches(topic));
                        self.key = plan.and_then(|plan| refusal.key(&plan.key, topic));
                        let key = plan.map_or(Key::None, |plan| plan.key.of(topic, self.key.as_ref()));
                        return refusal.decision(&self.scratch, key);
                    }
                }
            }
        };
        let slot = self.cache.slot(place);
        let plan = &self.behind[usize::from(slot.route)];
        Decision::Route(Entry {
            route: plan.id,
            topic: slot.kafka,
            partition: slot.partition,
            key: plan.key.of(topic, slot.key.as_ref()),
        })
    }

    /// How the cache of MQTT topics fares.
    #[must_use]
    pub fn cache(&self) -> CacheCounts {
        self.cache.counts()
    }

    /// Finds out what the routes behind make of a topic.
    fn resolve(&mut self, topic: &str, topics: &mut impl TopicDirectory) -> Result<Slot, Refusal> {
        let mut matching = (0..).zip(&mut self.behind).filter(|(_, plan)| plan.from.matches(topic));
        let (route, plan) = matching.next().ok_or(Refusal::NoRoute)?;
        let (kafka, partitions) = plan.kafka(topic, topics, &mut self.scratch)?;
        let key = plan.key.render(topic, &mut self.scratch);
        let hashed = plan.key.of(topic, key.as_ref());
        let partition = place(hashed.bytes_or(topic), partitions);
        Ok(Slot { topic: Text::from(topic), key, route, kafka, partition })
    }
}

impl Plan {
    fn new(id: RouteId, route: &Route) -> Plan {
        let topic = match route.topic.constant() {
            Some(name) => TopicPlan::Constant(name.to_owned(), None),
            None => TopicPlan::Rendered(route.topic.clone()),
        };
        let key = match route.key.shape() {
            Shape::Topic => KeyPlan::Topic,
            Shape::Level(capture) => KeyPlan::Level(capture),
            Shape::Constant(text) => KeyPlan::Constant(Payload::copy_from_slice(text.as_bytes())),
            Shape::Mixed => KeyPlan::Rendered(route.key.clone()),
        };
        Plan { id, from: route.from.clone(), topic, key }
    }

    /// Whether nothing has to be rendered.
    fn is_plain(&self) -> bool {
        matches!(self.topic, TopicPlan::Constant(..)) && !matches!(self.key, KeyPlan::Rendered(_))
    }

    /// The Kafka topic and its number of partitions.
    fn kafka(
        &mut self,
        topic: &str,
        topics: &mut impl TopicDirectory,
        scratch: &mut String,
    ) -> Result<(TopicId, u32), Refusal> {
        if let TopicPlan::Constant(_, Some(known)) = self.topic {
            return Ok(known);
        }
        scratch.clear();
        match &self.topic {
            TopicPlan::Constant(name, _) => scratch.push_str(name),
            TopicPlan::Rendered(template) => template.render(topic, scratch),
        }
        if !legal_topic(scratch) {
            return Err(Refusal::Illegal(self.id));
        }
        let found = topics.find(scratch).ok_or(Refusal::Unknown(self.id))?;
        if let TopicPlan::Constant(_, known) = &mut self.topic {
            *known = Some(found).filter(|(_, partitions)| *partitions > 0);
        }
        Ok(found)
    }

    /// The entry of a plain plan.
    fn entry(&self, topic: &str, (kafka, partitions): (TopicId, u32)) -> Entry<'_> {
        let key = self.key.of(topic, None);
        let partition = place(key.bytes_or(topic), partitions);
        Entry { route: self.id, topic: kafka, partition, key }
    }
}

impl KeyPlan {
    /// The key, where it has to be put together.
    fn render(&self, topic: &str, scratch: &mut String) -> Option<Payload> {
        let KeyPlan::Rendered(template) = self else {
            return None;
        };
        scratch.clear();
        template.render(topic, scratch);
        Some(Payload::copy_from_slice(scratch.as_bytes()))
    }

    /// The key of a topic, given what [`KeyPlan::render`] made of it.
    fn of<'a>(&'a self, topic: &str, rendered: Option<&'a Payload>) -> Key<'a> {
        match self {
            KeyPlan::Topic => Key::Topic,
            KeyPlan::Level(capture) => match capture.range(topic) {
                range if range.is_empty() => Key::None,
                range => Key::Part(range),
            },
            KeyPlan::Constant(key) if !key.is_empty() => Key::Rendered(key),
            KeyPlan::Constant(_) => Key::None,
            KeyPlan::Rendered(_) => rendered.filter(|key| !key.is_empty()).map_or(Key::None, Key::Rendered),
        }
    }
}

impl Key<'_> {
    /// What is hashed for the partition: the key, or the MQTT topic where there is none.
    fn bytes_or<'a>(&'a self, topic: &'a str) -> &'a [u8] {
        match self {
            Key::None | Key::Topic => topic.as_bytes(),
            Key::Part(range) => &topic.as_bytes()[range.clone()],
            Key::Rendered(key) => key,
        }
    }
}

impl Refusal {
    /// The key, where the record goes on without a Kafka topic and it has to be put together.
    fn key(self, plan: &KeyPlan, topic: &str) -> Option<Payload> {
        matches!(self, Refusal::Illegal(_)).then(|| plan.render(topic, &mut String::new())).flatten()
    }

    fn decision<'a>(self, name: &'a str, key: Key<'a>) -> Decision<'a> {
        match self {
            Refusal::NoRoute => Decision::NoRoute,
            Refusal::Illegal(route) => Decision::Illegal { route, topic: name, key },
            Refusal::Unknown(route) => Decision::Unknown { route, topic: name },
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
