//! `fairlead dead-letter replay`: sends dead letters again as the messages that they were.

use std::{collections::BTreeMap, path::Path};

use clap::Args;
use serde::Serialize;

use super::Choice;
use crate::{
    cli::{
        Exit, json, print,
        spool::{Failure, Place, Selection, replay::again, visit},
    },
    dead_letter::Marks,
    kafka::{Resend, Target},
    route::legal_topic,
    settings::{Host, Settings},
    spool::Filed,
};

#[derive(Args, Debug)]
pub(super) struct Replay {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    choice: Choice,
    /// The Kafka topic that takes them, instead of those that they were for.
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// Only say what would be sent where.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What became of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Replayed {
    dry_run: bool,
    /// Records by Kafka topic.
    topics: BTreeMap<String, u64>,
    confirmed: u64,
    failed: u64,
    why: Option<String>,
    /// Records for Kafka topics of illegal names.
    illegal: u64,
    /// Records of a format that this version does not know.
    unknown: u64,
}

/// Takes the records, or only counts them.
struct Sender<'a> {
    to: Option<&'a str>,
    resend: Option<Resend>,
    /// `None` is a topic that cannot be used.
    targets: BTreeMap<String, Option<Target>>,
    replayed: Replayed,
}

impl Replay {
    pub(super) fn run(self, host: &Host) -> Result<Exit, Failure> {
        let (dir, settings) = self.place.find(host)?;
        let settings = if self.dry_run { None } else { Some(settings.ok_or(Failure::NoKafka)?) };
        let replayed = replay(&dir, &self.choice.selection(), self.to.as_deref(), settings.as_ref())?;
        let exit = match &replayed {
            replayed if replayed.failed + replayed.illegal > 0 => Exit::Unavailable,
            replayed if replayed.unknown > 0 => Exit::Inconclusive,
            _ => Exit::Success,
        };
        Ok(print(&if self.json { json(&replayed) } else { replayed.text() }, exit))
    }
}

/// Sends what is meant; without settings it is only counted.
pub(super) fn replay(
    dir: &Path,
    selection: &Selection,
    to: Option<&str>,
    settings: Option<&Settings>,
) -> Result<Replayed, Failure> {
    let resend = settings.map(Resend::one_by_one).transpose()?;
    let replayed = Replayed { dry_run: resend.is_none(), ..Replayed::default() };
    let mut sender = Sender { to, resend, targets: BTreeMap::new(), replayed };
    let read = visit(dir, selection, |_, filed| {
        sender.take(filed);
        Ok(true)
    });
    let Sender { resend, mut replayed, .. } = sender;
    // What was handed over is waited for also where reading came to an early end.
    if let Some(sent) = resend.map(Resend::finish) {
        replayed.confirmed = sent.confirmed;
        replayed.failed += sent.failed;
        replayed.why = replayed.why.or(sent.why);
    }
    read.map(|()| replayed)
}

impl Sender<'_> {
    fn take(&mut self, filed: &Filed) {
        let marked = filed.record.as_ref().and_then(|record| Some((record, Marks::split(&record.headers)?)));
        let Some((record, (headers, marks))) = marked else {
            self.replayed.unknown += 1;
            return;
        };
        let topic = self.to.map_or_else(|| marks.topic().unwrap_or_default().into_owned(), str::to_owned);
        if !legal_topic(&topic) {
            self.replayed.illegal += 1;
            return;
        }
        *self.replayed.topics.entry(topic.clone()).or_default() += 1;
        let Some(resend) = &self.resend else { return };
        let replayed = &mut self.replayed;
        let target = self.targets.entry(topic).or_insert_with_key(|topic| match resend.target(topic) {
            Ok(target) => Some(target),
            Err(error) => {
                replayed.why.get_or_insert(error.to_string());
                None
            }
        });
        match target {
            Some(target) => resend.send(target, again(filed.time, record, headers)),
            None => replayed.failed += 1,
        }
    }
}

impl Replayed {
    fn text(&self) -> String {
        let mut text = String::new();
        if self.dry_run {
            for (topic, records) in &self.topics {
                text += &format!("{records} records would be sent to {topic}\n");
            }
        } else {
            let topics: Vec<&str> = self.topics.keys().map(String::as_str).collect();
            text += &match topics.as_slice() {
                [] => "there was nothing to send\n".to_owned(),
                topics => format!("{} records are in {}\n", self.confirmed, topics.join(", ")),
            };
        }
        if self.failed > 0 {
            let why = self.why.as_deref().unwrap_or("no reason was given");
            text += &format!("{} records were not confirmed: {why}\n", self.failed);
        }
        if self.illegal > 0 {
            text +=
                &format!("{} records are for Kafka topics of illegal names: send them with --to TOPIC\n", self.illegal);
        }
        if self.unknown > 0 {
            text += &format!("{} records are of a format that this version does not know\n", self.unknown);
        }
        text
    }
}
