//! Values with units and ranges, each a type that reads itself: what does not fit is an error that shows how to write it.

use std::{fmt, marker::PhantomData, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

use super::reader::Setting;

/// An integer from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Reader<MIN, MAX> {
            type Value = Count<MIN, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an integer from {MIN} to {MAX}")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                match u64::try_from(number) {
                    Ok(count) if (MIN..=MAX).contains(&count) => Ok(Count(count)),
                    _ => Err(E::custom(format_args!("{number} is out of range; write an integer from {MIN} to {MAX}"))),
                }
            }
        }
        deserializer.deserialize_i64(Reader)
    }
}

/// A size from `MIN` to `MAX` bytes, written with a unit: `"64MiB"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Reader<MIN, MAX> {
            type Value = Size<MIN, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size with its unit in quotes, such as \"64MiB\"")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Err(E::custom(format_args!(
                    "the size {number} has no unit; write \"{number}B\", or a size such as \"64MiB\""
                )))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let text = text.trim();
                if let Ok(number) = text.parse() {
                    return self.visit_i64(number);
                }
                let size = text.parse::<ByteSize>().map_err(|_| {
                    E::custom(format_args!(
                        "\"{text}\" is no size; write a number and B, KiB, MiB or GiB, such as \"64MiB\""
                    ))
                })?;
                if (MIN..=MAX).contains(&size.as_u64()) {
                    return Ok(Size(size.as_u64()));
                }
                let (least, most) = (ByteSize::b(MIN), ByteSize::b(MAX));
                Err(E::custom(format_args!("\"{text}\" is out of range; write a size from {least} to {most}")))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A time from `MIN` to `MAX` milliseconds, written with a unit: `"30s"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<const MIN: u64, const MAX: u64>(pub(super) Duration);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Span<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Reader<MIN, MAX> {
            type Value = Span<MIN, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time with its unit in quotes, such as \"30s\"")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Err(E::custom(format_args!(
                    "the time {number} has no unit; write \"{number}s\", or a time such as \"7d\""
                )))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let text = text.trim();
                if let Ok(number) = text.parse() {
                    return self.visit_i64(number);
                }
                let time = humantime::parse_duration(text).map_err(|_| {
                    E::custom(format_args!(
                        "\"{text}\" is no time; write a number and ms, s, m, h or d, such as \"30s\""
                    ))
                })?;
                let (least, most) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
                if (least..=most).contains(&time) {
                    return Ok(Span(time));
                }
                let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
                Err(E::custom(format_args!("\"{text}\" is out of range; write a time from {least} to {most}")))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A time of whole seconds, from `MIN` to `MAX` milliseconds: `"30s"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Seconds<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Span(time) = Span::<MIN, MAX>::deserialize(deserializer)?;
        if time.subsec_nanos() == 0 {
            return Ok(Seconds(time.as_secs()));
        }
        let (time, below) = (humantime::format_duration(time), time.as_secs());
        Err(de::Error::custom(format_args!(
            "\"{time}\" has a fraction, and MQTT counts whole seconds; write \"{below}s\""
        )))
    }
}

/// A value that has a few names.
pub(super) trait Named: Copy + 'static {
    /// What it is, for texts.
    const WHAT: &'static str;
    /// Every name with its value.
    const NAMES: &'static [(&'static str, Self)];
}

/// One of the names of a [`Named`] value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<T>(pub(super) T);

impl<'de, T: Named> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<T: Named> Visitor<'_> for Reader<T> {
            type Value = Choice<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let names: Vec<String> = T::NAMES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                f.write_str(&names.join(" or "))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if let Some((_, value)) = T::NAMES.iter().find(|(name, _)| *name == text) {
                    return Ok(Choice(*value));
                }
                let expected: &dyn de::Expected = &self;
                Err(E::custom(format_args!("\"{text}\" is no {}; write {expected}", T::WHAT)))
            }
        }
        deserializer.deserialize_str(Reader(PhantomData))
    }
}

/// One text or a list of them.
#[derive(Clone, Debug)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<Setting<String>>),
}

/// `"auto"`, or a list of cores.
#[derive(Clone, Debug)]
pub(super) enum Cores {
    Auto,
    List(Vec<Setting<Core>>),
}

/// `"auto"`, `"off"`, or the path of a folder.
#[derive(Clone, Debug)]
pub(super) enum Folder {
    Auto,
    Off,
    Path(PathBuf),
}

/// `"auto"`, or the path of a folder.
#[derive(Clone, Debug)]
pub(super) enum Directory {
    Auto,
    Path(PathBuf),
}

/// The number of a core, as the system counts.
pub(super) type Core = Count<0, 4095>;

/// Reads all the elements of a list.
fn elements<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(mut list: A) -> Result<Vec<Setting<T>>, A::Error> {
    let mut elements = Vec::new();
    while let Some(element) = list.next_element()? {
        elements.push(element);
    }
    Ok(elements)
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text in quotes, or a list of such")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                elements(list).map(OneOrMany::Many)
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

impl<'de> Deserialize<'de> for Folder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Folder;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\", \"off\", or the path of a folder, such as \"/var/lib/fairlead\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "auto" => Ok(Folder::Auto),
                    "off" => Ok(Folder::Off),
                    path if path.trim().is_empty() || path.contains('\0') => {
                        Err(E::invalid_value(de::Unexpected::Str(path), &self))
                    }
                    path => Ok(Folder::Path(path.into())),
                }
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

impl<'de> Deserialize<'de> for Directory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Folder::deserialize(deserializer)? {
            Folder::Auto => Ok(Directory::Auto),
            Folder::Path(path) => Ok(Directory::Path(path)),
            Folder::Off => Err(de::Error::custom(
                "a spool cannot be off; write \"auto\" or the path of a folder, or engine.ack = \"kafka\"",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Cores;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\", or a list of cores, such as [0, 1]")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "auto" => Ok(Cores::Auto),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                elements(list).map(Cores::List)
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

/// The value of a librdkafka property, as librdkafka takes it: text.
#[derive(Clone, Debug)]
pub(super) struct Property(pub(super) String);

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Property;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text in quotes, a number, true or false")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Property, E> {
                Ok(Property(text.to_owned()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Property, E> {
                Ok(Property(number.to_string()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Property, E> {
                Ok(Property(number.to_string()))
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Property, E> {
                Ok(Property(flag.to_string()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Where the admin endpoint listens; `None` is `"off"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listen(pub(super) Option<std::net::SocketAddr>);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "off" => Ok(Listen(None)),
            address => match address.parse() {
                Ok(address) => Ok(Listen(Some(address))),
                Err(_) => Err(de::Error::custom(format_args!(
                    "\"{address}\" is no address; write an IP address and a port, such as \"127.0.0.1:9464\", or \"off\""
                ))),
            },
        }
    }
}
