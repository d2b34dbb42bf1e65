//! The forms of a payload: what is sent for an AIS message, with room for the stamp.

use super::record::{AisRecord, Fields};
use crate::stamp::{self, BLANK};
use apache_avro::types::Value;
use apache_avro::{Schema, to_avro_datum};
use serde::Serialize;
use std::fs;
use std::io;
use std::path::PathBuf;

/// The schema of [`Format::Avro`] where none is given.
const SCHEMA: &str = include_str!("../../schema/ais.avsc");

/// Confluent's wire format: a zero, and the number of the schema.
const WIRE_MAGIC: u8 = 0;

/// What payloads are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Format {
    /// What the message says, as a JSON object.
    #[default]
    Json,
    /// The same as an Avro record.
    Avro {
        /// A schema with a field for each of our fields that shall be sent; none: `schema/ais.avsc`.
        schema: Option<PathBuf>,
        /// The number of the schema in a registry: payloads have Confluent's wire format.
        id: Option<u32>,
    },
    /// The sentences as they were received, a line each.
    Nmea,
    /// The bits of the message, without the armour of the sentences.
    Raw,
}

/// Why a message cannot be sent in a form.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The schema is not readable.
    #[error("cannot read the schema {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is no Avro schema.
    #[error("{path} is not an Avro schema: {cause}")]
    Schema {
        /// The file.
        path: PathBuf,
        /// What the library said.
        cause: Box<apache_avro::Error>,
    },
    /// A message has no place in the schema.
    #[error(
        "an AIS message of kind `{kind}` does not fit the schema: {cause}; the fields mmsi, kind, latitude, longitude, speed, course, \
         heading, name and stamp are sent, and all but mmsi, kind and stamp may be null"
    )]
    Fit {
        /// The kind of the message.
        kind: &'static str,
        /// What the library said.
        cause: Box<apache_avro::Error>,
    },
    /// The payload could not be verified.
    #[error("the schema has no field `stamp` of type string, bytes or fixed(60): without it nothing can be verified")]
    NoStamp,
}

/// Makes payloads of one form.
#[derive(Debug)]
pub(crate) enum Encoder {
    Json,
    Avro { schema: Box<Schema>, id: Option<u32> },
    Nmea,
    Raw,
}

/// A payload that is complete but for its stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blank {
    pub(crate) payload: Vec<u8>,
    pub(crate) stamp_at: usize,
}

#[derive(Serialize)]
struct Json<'a> {
    mmsi: u32,
    kind: &'a str,
    #[serde(flatten)]
    fields: &'a Fields,
    stamp: &'a str,
}

impl Encoder {
    pub(crate) fn new(format: &Format) -> Result<Self, FormatError> {
        let (schema, id) = match format {
            Format::Json => return Ok(Self::Json),
            Format::Nmea => return Ok(Self::Nmea),
            Format::Raw => return Ok(Self::Raw),
            Format::Avro { schema, id } => (schema, id),
        };
        let schema = match schema {
            None => Schema::parse_str(SCHEMA).expect("our own schema is sound"),
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|cause| FormatError::Read { path: path.clone(), cause })?;
                Schema::parse_str(&text)
                    .map_err(|cause| FormatError::Schema { path: path.clone(), cause: Box::new(cause) })?
            }
        };
        Ok(Self::Avro { schema: Box::new(schema), id: *id })
    }

    pub(crate) fn encode(&self, record: &AisRecord) -> Result<Blank, FormatError> {
        let payload = match self {
            Self::Json => {
                let AisRecord { mmsi, kind, fields, .. } = record;
                serde_json::to_vec(&Json { mmsi: *mmsi, kind, fields, stamp: BLANK })
                    .expect("plain data with text keys")
            }
            Self::Avro { schema, id } => avro(schema, *id, record)?,
            Self::Nmea => {
                let mut text = record.sentences.join("\r\n");
                text.push_str("\r\n");
                text.push_str(BLANK);
                text.into_bytes()
            }
            Self::Raw => [&record.bits, BLANK.as_bytes()].concat(),
        };
        let stamp_at = stamp::find_blank(&payload).ok_or(FormatError::NoStamp)?;
        Ok(Blank { payload, stamp_at })
    }
}

fn avro(schema: &Schema, id: Option<u32>, record: &AisRecord) -> Result<Vec<u8>, FormatError> {
    fn or_null<T>(value: Option<T>, of: impl Fn(T) -> Value) -> Value {
        value.map_or(Value::Null, of)
    }
    let Fields { latitude, longitude, speed, course, heading, name } = &record.fields;
    let fields = [
        ("mmsi", Value::Int(record.mmsi.cast_signed())),
        ("kind", Value::String(record.kind.to_owned())),
        ("latitude", or_null(*latitude, |value| Value::Double(value.into()))),
        ("longitude", or_null(*longitude, |value| Value::Double(value.into()))),
        ("speed", or_null(*speed, Value::Float)),
        ("course", or_null(*course, Value::Float)),
        ("heading", or_null(*heading, |value| Value::Int(value.into()))),
        ("name", or_null(name.clone(), Value::String)),
        ("stamp", Value::String(BLANK.to_owned())),
    ];
    let value = Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).into());
    let datum = value.resolve(schema).and_then(|value| to_avro_datum(schema, value));
    let datum = datum.map_err(|cause| FormatError::Fit { kind: record.kind, cause: Box::new(cause) })?;
    let Some(id) = id else { return Ok(datum) };
    Ok([&[WIRE_MAGIC], id.to_be_bytes().as_slice(), &datum].concat())
}

#[cfg(test)]
mod tests {
    use super::super::world::World;
    use super::*;
    use crate::stamp::{LONG, Stamp};
    use apache_avro::from_avro_datum;

    fn records() -> Vec<AisRecord> {
        World::new(1, 20).take(2_000).map(|report| report.record).collect()
    }

    fn encode(format: &Format, record: &AisRecord) -> Blank {
        Encoder::new(format).expect("a sound format").encode(record).expect("it fits")
    }

    const AVRO: Format = Format::Avro { schema: None, id: None };

    #[test]
    fn every_form_can_be_stamped() {
        for format in [Format::Json, AVRO, Format::Avro { schema: None, id: Some(7) }, Format::Nmea, Format::Raw] {
            for record in records().iter().take(50) {
                let Blank { mut payload, stamp_at } = encode(&format, record);
                let stamp = Stamp { run: 1, publisher: 2, sequence: 3, sent_ns: 4 };
                stamp.write(&mut payload, stamp_at);
                assert_eq!(Stamp::find(&payload, 0), Ok((stamp, stamp_at)), "{format:?}");
            }
        }
    }

    #[test]
    fn json_says_what_the_message_says() {
        let record = records().into_iter().find(|record| record.kind == "position").expect("a position");
        let value: serde_json::Value = serde_json::from_slice(&encode(&Format::Json, &record).payload).expect("JSON");
        assert_eq!(value["mmsi"], record.mmsi);
        assert_eq!(value["kind"], "position");
        assert!(value["latitude"].as_f64().is_some_and(|latitude| (45.0..65.0).contains(&latitude)));
        assert!(value.get("name").is_none(), "what is not said is left out");
    }

    #[test]
    fn avro_can_be_read_with_the_schema_and_has_about_a_hundred_bytes() {
        let schema = Schema::parse_str(SCHEMA).expect("our schema");
        for record in records() {
            let Blank { payload, .. } = encode(&AVRO, &record);
            assert!((70..140).contains(&payload.len()), "{}", payload.len());
            let value = from_avro_datum(&schema, &mut payload.as_slice(), None).expect("a datum");
            let Value::Record(fields) = value else { panic!("{value:?}") };
            assert_eq!(fields[0].1, Value::Int(record.mmsi.cast_signed()));
            let speed = record.fields.speed.map_or(Value::Null, Value::Float);
            assert!(matches!(&fields[4].1, Value::Union(_, value) if **value == speed), "{fields:?}");
            assert!(matches!(&fields[8].1, Value::Fixed(LONG, _)));
        }
    }

    #[test]
    fn the_wire_format_names_the_schema() {
        let record = &records()[0];
        let plain = encode(&AVRO, record).payload;
        let wired = encode(&Format::Avro { schema: None, id: Some(0x0102) }, record).payload;
        assert_eq!(wired[..5], [0, 0, 0, 1, 2]);
        assert_eq!(wired[5..], plain);
    }

    #[test]
    fn sentences_and_bits_are_those_of_the_message() {
        let record = &records()[0];
        let text = String::from_utf8(encode(&Format::Nmea, record).payload).expect("text");
        assert_eq!(text.lines().next(), Some(record.sentences[0].as_str()));
        assert!(encode(&Format::Raw, record).payload.starts_with(&record.bits));
    }

    #[test]
    fn a_schema_that_does_not_fit_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("own.avsc");
        let format = Format::Avro { schema: Some(path.clone()), id: None };
        let record = records().into_iter().find(|record| record.kind == "position").expect("a position");
        assert!(Encoder::new(&format).expect_err("no file").to_string().contains("cannot read the schema"));
        let field = |name: &str, kind: &str| format!(r#"{{"name": "{name}", "type": {kind}}}"#);
        let stamp = field("stamp", r#""string""#);
        for (fields, fault) in [
            ("[".to_owned(), "is not an Avro schema"),
            (format!("{}, {stamp}", field("latitude", r#""string""#)), "does not fit the schema"),
            (format!("{}, {stamp}", field("depth", r#""int""#)), "does not fit the schema"),
            (field("mmsi", r#""long""#), "no field `stamp`"),
        ] {
            let text = format!(r#"{{"type": "record", "name": "Own", "fields": [{fields}]}}"#);
            fs::write(&path, text).expect("written");
            let told = Encoder::new(&format).and_then(|encoder| encoder.encode(&record)).expect_err(fault).to_string();
            assert!(told.contains(fault), "{told}");
        }
        let fields = format!("{}, {stamp}", field("mmsi", r#""long""#));
        fs::write(&path, format!(r#"{{"type": "record", "name": "Own", "fields": [{fields}]}}"#)).expect("written");
        assert_eq!(encode(&format, &record).stamp_at, 6, "five bytes of the MMSI and one of the length");
    }
}
