//! What is sent: recorded or synthetic AIS, or payloads of one size.

mod plan;

pub(crate) use plan::{FILLER, Feed, Place, Plan};

use crate::ais::nmea::{self, Counts, NmeaError};
use crate::ais::payload::{Encoder, Format, FormatError};
use crate::ais::world::MAX_VESSELS;
use crate::stamp;
use plan::Topics;
use std::path::PathBuf;
use std::sync::Arc;

/// The most topics of a run; each costs about two payloads of memory.
pub const MAX_TOPICS: u32 = 1_000_000;

/// The largest payload, in bytes.
pub const MAX_SIZE: usize = 1 << 20;

/// The longest topic: what remains of 65,535 bytes when its number is written (MQTT 5.0 §1.5.4).
const MAX_PATTERN: usize = 65_535 - 8;

/// Payloads of one size on topics that are served in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Bytes of a payload: [`stamp::SHORT`] to [`MAX_SIZE`].
    pub size: usize,
    /// How many topics: 1 to [`MAX_TOPICS`].
    pub topics: u32,
    /// The topic names; `{n}` is replaced by 0, 1, 2 and so on.
    pub pattern: String,
}

/// A fleet of synthetic vessels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    /// How many vessels: 1 to 1,000,000.
    pub vessels: u32,
    /// The same seed gives the same messages.
    pub seed: u64,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traffic {
    /// The AIS sentences recorded in these files, over and over.
    Recorded(Vec<PathBuf>),
    /// The reports of a fleet.
    Fleet(Fleet),
    /// The positions of a fleet, dealt to the clients, each with a topic of its own.
    Workers(Fleet),
    /// Payloads of one size.
    Plain(Plain),
}

/// Why there is nothing to send.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// A setting is out of its range.
    #[error("{0}")]
    Config(String),
    /// The recorded sentences cannot be used.
    #[error(transparent)]
    Nmea(#[from] NmeaError),
    /// The payloads cannot be made.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// The messages of a run, and what was found in the recorded files.
pub(crate) type Prepared = (Arc<Plan>, Option<Counts>);

impl Traffic {
    /// Whether each message has a time of its own.
    pub(crate) fn is_fleet(&self) -> bool {
        matches!(self, Self::Fleet(_) | Self::Workers(_))
    }

    /// Makes the payloads: all that the hot path would have to make otherwise. `workers` share the positions of a fleet.
    pub(crate) fn prepare(
        &self,
        format: &Format,
        messages: Option<u64>,
        run_id: u32,
        workers: u32,
    ) -> Result<Prepared, TrafficError> {
        let encoder = Encoder::new(format)?;
        let fleet = |fleet: &Fleet, topics| {
            fleet.check()?;
            Ok::<_, TrafficError>(Plan::fleet(*fleet, topics, &encoder, messages, run_id)?)
        };
        let mut counts = None;
        let plan = match self {
            Self::Recorded(paths) => {
                let (records, found) = nmea::read_files(paths)?;
                counts = Some(found);
                Plan::recorded(&records, &encoder, messages, run_id)?
            }
            Self::Fleet(vessels) => fleet(vessels, Topics::Vessels)?,
            Self::Workers(vessels) => fleet(vessels, Topics::Workers(workers))?,
            Self::Plain(plain) => {
                plain.check()?;
                Plan::plain(plain, messages, run_id)
            }
        };
        Ok((Arc::new(plan), counts))
    }
}

impl Fleet {
    fn check(self) -> Result<(), TrafficError> {
        if (1..=MAX_VESSELS).contains(&self.vessels) {
            return Ok(());
        }
        Err(TrafficError::Config(format!("a fleet of {} is not possible: 1 to {MAX_VESSELS}", self.vessels)))
    }
}

impl Plain {
    pub(crate) fn check(&self) -> Result<(), TrafficError> {
        let Self { size, topics, pattern } = self;
        let fail = |text: String| Err(TrafficError::Config(text));
        if !(stamp::SHORT..=MAX_SIZE).contains(size) {
            return fail(format!("a payload of {size} bytes is not possible: {} to {MAX_SIZE}", stamp::SHORT));
        }
        if !(1..=MAX_TOPICS).contains(topics) {
            return fail(format!("{topics} topics are not possible: 1 to {MAX_TOPICS}"));
        }
        if *topics > 1 && !pattern.contains("{n}") {
            return fail(format!("the topic pattern `{pattern}` needs {{n}} to name {topics} topics"));
        }
        if pattern.is_empty() || pattern.contains(['#', '+', '\0']) {
            return fail(format!("`{pattern}` is not a topic: wildcards are for filters"));
        }
        if pattern.len() > MAX_PATTERN {
            return fail("the topic pattern is longer than a topic may be".to_owned());
        }
        Ok(())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        (0..self.topics).map(|number| self.pattern.replace("{n}", &number.to_string())).collect()
    }
}
