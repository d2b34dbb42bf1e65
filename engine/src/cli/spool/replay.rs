//! `fairlead spool replay`: sends records again, to a Kafka topic. The spool itself is only read.

use clap::Args;
use serde::Serialize;

use super::{Failure, Place, Selection, visit};
use crate::{
    cli::{Exit, json, print},
    kafka::{Again, Resend},
    mqtt::{Payload, Text},
    settings::Host,
    spool::Decoded,
};

#[derive(Args, Debug)]
pub(super) struct Replay {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    selection: Selection,
    /// The Kafka topic that takes them.
    #[arg(long, value_name = "TOPIC")]
    to: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What became of it.
#[derive(Debug, Default, Serialize)]
struct Replayed {
    topic: String,
    confirmed: u64,
    failed: u64,
    why: Option<String>,
    /// Records of a format that this version does not know.
    unknown: u64,
}

impl Replay {
    pub(super) fn run(self, host: &Host) -> Result<Exit, Failure> {
        let (dir, settings) = self.place.find(host)?;
        let settings = settings.ok_or(Failure::NoKafka)?;
        let resend = Resend::new(&settings)?;
        let target = resend.target(&self.to)?;
        let mut unknown = 0;
        let read = visit(&dir, &self.selection, |_, filed| {
            match &filed.record {
                Some(record) => resend.send(&target, again(filed.time, record, &record.headers)),
                None => unknown += u64::from(filed.kind == fairlead_spool::Kind::Data),
            }
            Ok(true)
        });
        // What was handed over is waited for also where reading came to an early end.
        let sent = resend.finish();
        let replayed =
            Replayed { topic: self.to, confirmed: sent.confirmed, failed: sent.failed, why: sent.why, unknown };
        let exit = match &replayed {
            replayed if replayed.failed > 0 => Exit::Unavailable,
            replayed if replayed.unknown > 0 => Exit::Inconclusive,
            _ => Exit::Success,
        };
        let exit = print(&if self.json { json(&replayed) } else { replayed.text() }, exit);
        read.map(|()| exit)
    }
}

/// A record as it is sent again, with these of its headers.
pub(in crate::cli) fn again<'a>(time: u64, record: &'a Decoded, headers: &'a [(Text, Payload)]) -> Again<'a> {
    Again { key: record.key.as_deref(), mqtt_topic: record.mqtt_topic(), value: record.value.as_deref(), headers, time }
}

impl Replayed {
    fn text(&self) -> String {
        let mut text = format!("{} records are in {}\n", self.confirmed, self.topic);
        if self.failed > 0 {
            let why = self.why.as_deref().unwrap_or("no reason was given");
            text += &format!("{} records were not confirmed: {why}\n", self.failed);
        }
        if self.unknown > 0 {
            text += &format!("{} records are of a format that this version does not know\n", self.unknown);
        }
        text
    }
}
