//! The spool's folder: opened once for the process, with one log for each shard.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use fairlead_spool::{
    Log, Name, OpenError, Options, Recovery,
    disk::{Disk, Real},
};

use super::layout::{Layout, drained_by};
use crate::settings::Settings;

/// Largest group that is made durable at once, bytes.
const GROUP: u64 = 1 << 20;
/// A group is at most this part of a segment.
const GROUP_SHARE: u64 = 8;
/// Bytes of a record besides its packet: its topic may be in it three times (MQTT topic, key, header).
const MARGIN: u64 = 256 << 10;

/// The least `segment` where a packet may have so many bytes.
pub(crate) fn least_segment(packet: u64) -> u64 {
    Options::least_segment(packet + MARGIN)
}

/// The least `max` for so many shards.
pub(crate) fn least_size(segment: u64, shards: usize) -> u64 {
    Options::least_max(segment, shards as u32)
}

/// A log, just opened.
pub(super) type Opened<D> = (Log<D>, Recovery);

/// The logs of one shard.
#[derive(Debug)]
pub struct Logs<D: Disk> {
    /// Its spool.
    pub spool: Opened<D>,
    /// The records of its parked partitions.
    pub parked: Opened<D>,
    /// What it drains first of the logs of processes with another number of shards.
    pub older: Older<D>,
}

/// Logs of older generations that one shard drains, oldest first, each with the number of its generation.
#[derive(Debug)]
pub struct Older<D: Disk> {
    /// The logs.
    pub logs: VecDeque<(usize, Opened<D>)>,
    /// How far all shards are.
    pub generations: Arc<Generations>,
}

/// How many logs of each older generation are not drained, over all shards.
#[derive(Debug)]
pub struct Generations(Vec<AtomicUsize>);

impl Generations {
    /// `left` is the number of logs of each, oldest first.
    #[must_use]
    pub fn new(left: impl IntoIterator<Item = usize>) -> Generations {
        Generations(left.into_iter().map(AtomicUsize::new).collect())
    }

    /// The oldest generation that is not drained.
    #[must_use]
    pub fn current(&self) -> Option<usize> {
        self.0.iter().position(|left| left.load(Ordering::Acquire) > 0)
    }

    /// A log of that generation is drained.
    pub fn drained(&self, generation: usize) {
        self.0[generation].fetch_sub(1, Ordering::AcqRel);
    }
}

/// The spool's limits under these settings; `None` where there is to be none.
pub(crate) fn options(settings: &Settings) -> Option<Options> {
    let spool = settings.spool.as_ref()?;
    let packet = settings.sources.iter().map(|source| u64::from(source.max_packet)).max().unwrap_or(0);
    let segment = spool.segment / 4096 * 4096;
    Some(Options {
        max: spool.max,
        min_free: spool.min_free,
        segment,
        group: (segment / GROUP_SHARE).min(GROUP) as usize,
        record: (packet + MARGIN) as usize,
        shards: settings.engine.cpus.len() as u32,
    })
}

/// Opens the spool, if there is to be one, and the logs of each shard.
///
/// # Errors
/// See [`OpenError`].
pub fn open(settings: &Settings) -> Result<Option<Vec<Logs<Real>>>, OpenError> {
    let (Some(settings_spool), Some(options)) = (&settings.spool, options(settings)) else { return Ok(None) };
    let shards = settings.engine.cpus.len();
    let (spool, warnings) = fairlead_spool::Spool::open(Real, &settings_spool.dir, options)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let opened = |name: Name| {
        let (log, recovery) = spool.log(name)?;
        tell(name, &recovery);
        Ok((log, recovery))
    };
    let layout = Layout::new(spool.names(), shards as u16);
    let mut older: Vec<_> = (0..shards).map(|_| VecDeque::new()).collect();
    let mut left = vec![0; layout.older.len()];
    for (generation, names) in layout.older.iter().enumerate() {
        for name in names {
            let (log, recovery) = opened(*name)?;
            if recovery.backlog == 0 {
                drop(log);
                spool.discard(*name)?;
            } else {
                left[generation] += 1;
                older[usize::from(drained_by(*name, shards as u16))].push_back((generation, (log, recovery)));
            }
        }
    }
    let first = layout.first(left.iter().all(|logs| *logs == 0)).ok_or_else(|| {
        OpenError::Options(
            "the number of shards was changed too often: let the spool drain, and start once more".to_owned(),
        )
    })?;
    let generations = Arc::new(Generations::new(left));
    let logs = older.into_iter().zip(first..).map(|(logs, number)| {
        let older = Older { logs, generations: generations.clone() };
        Ok(Logs { spool: opened(Name::Shard(number))?, parked: opened(Name::Parked(number))?, older })
    });
    logs.collect::<Result<_, _>>().map(Some)
}

/// What was found, for people.
fn tell(log: Name, recovery: &Recovery) {
    for warning in &recovery.warnings {
        tracing::warn!(%log, "{warning}");
    }
    for gap in &recovery.gaps {
        tracing::error!(
            %log,
            "records {} to {} of the spool were durable and are damaged or gone; what was left is in its folder quarantine",
            gap.first,
            gap.last
        );
    }
    if recovery.torn {
        tracing::info!(%log, "the end of the spool was torn by a crash and is cut; it had not been acknowledged");
    }
    if recovery.backlog > 0 {
        tracing::info!(%log, records = recovery.backlog, "the spool holds records for Kafka");
    }
}
