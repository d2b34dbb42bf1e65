//! What `publish` and `ais` share: the form of the payloads.

use clap::ValueEnum;
use fairlead_loadgen::ais::payload::Format;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// What the message says, as an Avro record
    Avro,
    /// What the message says, as a JSON object
    Json,
    /// The sentences as received
    Nmea,
    /// The bits of the message
    Raw,
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Payload {
    /// What the payloads are made of; a stamp of 60 characters is a part of each
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// An Avro schema with fields of the names of ours; without it, ours
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// The number of the Avro schema in a registry: payloads have Confluent's wire format
    #[arg(long, value_name = "ID")]
    schema_id: Option<u32>,
}

impl Payload {
    /// `otherwise` where no format is asked for; a schema asks for Avro.
    pub(super) fn format(self, otherwise: Format) -> Format {
        let avro = Format::Avro { schema: self.schema.clone(), id: self.schema_id };
        match self.format {
            Some(Form::Avro) => avro,
            Some(Form::Json) => Format::Json,
            Some(Form::Nmea) => Format::Nmea,
            Some(Form::Raw) => Format::Raw,
            None if self.schema.is_some() || self.schema_id.is_some() => avro,
            None => otherwise,
        }
    }
}
