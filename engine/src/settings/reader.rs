//! A serde deserializer over the tree of what was written that does not stop at the first mistake.
//!
//! The shape of the file wraps each value in a [`Setting`]. A value that does not fit becomes a problem with its place
//! and an empty `Setting`, and reading goes on; so does an unknown key.

use std::{cell::RefCell, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};

use super::{
    Origin, document,
    node::{Entry, Node, Value, join},
    problem::{Log, What},
};

/// The name by which a [`Setting`] asks for its place.
const SETTING: &str = "fairlead setting";

/// A value of the configuration with its place; empty where nothing was written or what was written does not fit.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    /// Index into [`Places`]; `None` where nothing was written.
    place: Option<usize>,
    value: Option<T>,
}

impl<T> Default for Setting<T> {
    fn default() -> Setting<T> {
        Setting { place: None, value: None }
    }
}

impl<T> Setting<T> {
    /// The value, where there is one that fits.
    pub(super) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Whether nothing was written.
    pub(super) fn is_absent(&self) -> bool {
        self.place.is_none()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Setting<T>, D::Error> {
        struct Both<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Both<T> {
            type Value = Setting<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a place and a value")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut both: A) -> Result<Setting<T>, A::Error> {
                Ok(Setting { place: both.next_element()?, value: both.next_element()? })
            }
        }
        deserializer.deserialize_newtype_struct(SETTING, Both(PhantomData))
    }
}

/// Key and origin of each value that was read.
#[derive(Default)]
pub(super) struct Places(RefCell<Vec<(String, Origin)>>);

impl Places {
    /// Key and origin of a setting; those of the whole configuration where nothing was written.
    pub(super) fn of<T>(&self, setting: &Setting<T>) -> (String, Origin) {
        let place = setting.place.and_then(|place| self.0.borrow().get(place).cloned());
        place.unwrap_or((String::new(), Origin::Default))
    }
}

/// Reads the whole tree into the shape `T`.
pub(super) fn read<T: for<'de> Deserialize<'de>>(root: &Node, places: &Places, log: &Log) -> Setting<T> {
    let reader = Reader { node: root, key: String::new(), places, log };
    Setting::deserialize(reader).unwrap_or_default()
}

/// Why a value does not fit; empty where that is told already.
#[derive(Debug)]
pub(super) struct Misfit(String);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(text: T) -> Misfit {
        Misfit(text.to_string())
    }
    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Misfit {
        use de::Unexpected::{Bool, Float, Map, Seq, Signed, Str};
        let found = match found {
            Bool(flag) => flag.to_string(),
            Signed(number) => number.to_string(),
            Float(number) => number.to_string(),
            Str(text) => format!("\"{text}\""),
            Seq => "a list".to_owned(),
            Map => "a table".to_owned(),
            other => other.to_string(),
        };
        let expected = match expected.to_string().as_str() {
            "a boolean" => "true or false".to_owned(),
            "a map" => "a table".to_owned(),
            "a sequence" => "a list".to_owned(),
            "a string" => "text in quotes".to_owned(),
            other => other.to_owned(),
        };
        Misfit(format!("found {found}; write {expected}"))
    }
    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Misfit {
        Misfit::invalid_type(found, expected)
    }
}

/// One value of the tree, being read.
#[derive(Clone)]
struct Reader<'a> {
    node: &'a Node,
    key: String,
    places: &'a Places,
    log: &'a Log,
}

impl<'a> Reader<'a> {
    fn child(&self, name: &str, node: &'a Node) -> Reader<'a> {
        Reader { node, key: join(&self.key, name), ..*self }
    }

    /// A list or a table of the environment or a flag.
    fn unpacked(&self) -> Option<Node> {
        let Value::Words(words) = &self.node.value else { return None };
        let value = document::value(words, &self.node.origin)?;
        Some(Node { value, ..self.node.clone() })
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::Text(text) | Value::Words(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Datetime(_) => Err(de::Error::invalid_type(de::Unexpected::Other("a date"), &visitor)),
            Value::List(elements) => {
                visitor.visit_seq(Elements { reader: &self, elements: elements.iter().enumerate() })
            }
            Value::Table(table) => visitor.visit_map(Entries { reader: &self, entries: table.iter(), value: None }),
            Value::Broken => Err(Misfit(String::new())),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) if self.node.secret => {
                Err(Misfit("found a value without quotes; put it in quotes".to_owned()))
            }
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) => {
                Err(Misfit(format!("found {0} without quotes; write \"{0}\"", self.node.shown())))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::Words(words) => match words.trim().parse() {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => visitor.visit_str(words),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::Words(words) => match words.trim().parse() {
                Ok(flag) => visitor.visit_bool(flag),
                Err(_) => visitor.visit_str(words),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if let Some(node) = self.unpacked() {
            return Reader { node: &node, ..self }.deserialize_seq(visitor);
        }
        match &self.node.value {
            Value::Table(_) => Err(Misfit(format!(
                "found a table; write a list, which for tables is `[[{}]]` with two brackets",
                self.key
            ))),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.unpacked() {
            Some(node) => Reader { node: &node, ..self }.deserialize_any(visitor),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        if let Some(node) = self.unpacked() {
            return Reader { node: &node, ..self }.deserialize_struct(name, known, visitor);
        }
        let Value::Table(table) = &self.node.value else {
            return match &self.node.value {
                Value::Broken => Err(Misfit(String::new())),
                Value::List(_) => Err(Misfit(format!("found a list; write a table, such as `[{}]`", self.key))),
                _ => Err(Misfit(format!("found {}; write a table, such as `[{}]`", self.node.shown(), self.key))),
            };
        };
        let (known_keys, unknown): (Vec<_>, Vec<_>) =
            table.iter().partition(|(name, _)| known.contains(&name.as_str()));
        for (name, entry) in unknown {
            let what = What::UnknownKey { key: name.clone(), known };
            self.log.problem(&entry.key, &join(&self.key, name), &what);
        }
        visitor.visit_map(Entries { reader: &self, entries: known_keys.into_iter(), value: None })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        if name == SETTING {
            visitor.visit_seq(PlaceAndValue { reader: self, place_given: false })
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 u8 u16 u32 u64 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
        ignored_any
    }
}

/// The elements of a list.
struct Elements<'r, I> {
    reader: &'r Reader<'r>,
    elements: I,
}

impl<'de, 'r, I: Iterator<Item = (usize, &'r Node)>> SeqAccess<'de> for Elements<'r, I> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        let Some((index, node)) = self.elements.next() else { return Ok(None) };
        seed.deserialize(self.reader.child(&index.to_string(), node)).map(Some)
    }
}

/// The keys of a table.
struct Entries<'r, I> {
    reader: &'r Reader<'r>,
    entries: I,
    value: Option<Reader<'r>>,
}

impl<'de, 'r, I: Iterator<Item = (&'r String, &'r Entry)>> MapAccess<'de> for Entries<'r, I> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some((name, entry)) = self.entries.next() else { return Ok(None) };
        self.value = Some(self.reader.child(name, &entry.node));
        seed.deserialize(name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let value = self.value.take().ok_or_else(|| Misfit("a value without a key".to_owned()))?;
        seed.deserialize(value)
    }
}

/// What a [`Setting`] is made of. Here a misfit becomes a problem, and reading goes on without the value.
struct PlaceAndValue<'r> {
    reader: Reader<'r>,
    place_given: bool,
}

impl<'de> SeqAccess<'de> for PlaceAndValue<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        let Reader { node, key, places, log } = &self.reader;
        if !std::mem::replace(&mut self.place_given, true) {
            let mut places = places.0.borrow_mut();
            places.push((key.clone(), node.origin.clone()));
            return seed.deserialize((places.len() - 1).into_deserializer()).map(Some);
        }
        match seed.deserialize(self.reader.clone()) {
            Ok(value) => Ok(Some(value)),
            Err(Misfit(text)) => {
                if !text.is_empty() {
                    log.problem(&node.origin, key, &What::Value(text));
                }
                Ok(None)
            }
        }
    }
}
