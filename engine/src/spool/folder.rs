//! The spool's folder: opened once for the process, with one log for each shard, and one more for its packet identifiers
//! where any are kept.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use fairlead_spool::{
    Log, Name, OpenError, Options, Recovery, Spool,
    disk::{Disk, Real},
};

use super::{
    ids::{Found, Ids, OpenIds, SessionKey, session_key},
    layout::{Layout, drained_by},
    placement::Placement,
};
use crate::{
    settings::{self, Settings},
    shard::clock,
};

/// Largest group that is made durable at once, bytes.
const GROUP: u64 = 1 << 20;
/// A group is at most this part of a segment.
const GROUP_SHARE: u64 = 8;
/// Bytes of a record besides its packet: its topic may be in it three times (MQTT topic, key, header).
const MARGIN: u64 = 256 << 10;
/// Sessions that are found in the spool and not in the configuration, of which the identifiers are kept all the same: they
/// may come back, or be retired.
const FOREIGN: usize = 4096;

/// The least `segment` where a packet may have so many bytes.
pub(crate) fn least_segment(packet: u64) -> u64 {
    Options::least_segment(packet + MARGIN)
}

/// The least `max` for so many shards; `ids` is whether packet identifiers are kept.
pub(crate) fn least_size(segment: u64, shards: usize, ids: bool) -> u64 {
    let shards = shards as u32;
    let messages = Options::least_max(segment, shards);
    if ids { messages + Options::reserved_for_ids(shards) } else { messages }
}

/// A log, just opened.
pub(super) type Opened<D> = (Log<D>, Recovery);

/// The logs of one shard.
#[derive(Debug)]
pub struct ShardLogs<D: Disk> {
    /// Those that are drained into Kafka.
    pub side: Logs<D>,
    /// Its dead letters, which stay.
    pub dead_letters: Opened<D>,
}

/// The logs of one shard that are drained into Kafka.
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

/// What the spool's folder holds.
#[derive(Debug)]
pub struct Contents {
    /// The logs of each shard.
    pub logs: Vec<ShardLogs<Real>>,
    /// One for each shard, where a source keeps packet identifiers.
    pub ids: Vec<Ids<Real>>,
    /// Whether an earlier process left records in the logs of this number of shards.
    pub backlog: bool,
    /// How the records of Kafka topics are dealt to the logs.
    pub placement: Placement,
}

impl Default for Contents {
    fn default() -> Contents {
        Contents { logs: Vec::new(), ids: Vec::new(), backlog: false, placement: Placement::none() }
    }
}

/// Opens the spool, if there is to be one, and the logs of each shard.
///
/// # Errors
/// See [`OpenError`].
pub fn open(settings: &Settings) -> Result<Option<Contents>, OpenError> {
    let (Some(settings_spool), Some(options)) = (&settings.spool, options(settings)) else { return Ok(None) };
    let shards = settings.engine.cpus.len();
    let (spool, warnings) = Spool::open(Real, &settings_spool.dir, options)?;
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
    let logs = older.into_iter().zip(first..).zip(0..).map(|((logs, number), shard)| {
        let older = Older { logs, generations: generations.clone() };
        let (spool, parked) = (opened(Name::Shard(number))?, opened(Name::Parked(number))?);
        // Nothing is drained from it, so that it is of no generation.
        Ok(ShardLogs { side: Logs { spool, parked, older }, dead_letters: opened(Name::DeadLetter(shard))? })
    });
    let logs = logs.collect::<Result<Vec<_>, _>>()?;
    let ids = if settings.sources.iter().any(|source| settings.keeps_ids(source)) {
        open_ids(&spool, settings, settings_spool)?
    } else {
        Vec::new()
    };
    // What is of older generations is drained before anything of this one goes to Kafka.
    let holds = |logs: &ShardLogs<Real>| logs.side.spool.1.backlog + logs.side.parked.1.backlog > 0;
    let backlog = logs.iter().any(holds);
    let placement = if shards > 1 { Placement::open(spool, backlog)? } else { Placement::none() };
    Ok(Some(Contents { logs, ids, backlog, placement }))
}

/// The logs of packet identifiers. All are read, also those of an earlier process with more shards, and each session goes
/// to the log of its shard. An earlier log goes when all that it knows is in another since.
fn open_ids(
    spool: &Spool<Real>,
    settings: &Settings,
    settings_spool: &settings::Spool,
) -> Result<Vec<Ids<Real>>, OpenError> {
    let shards = settings.engine.cpus.len() as u16;
    let mut found = Found::default();
    let (mut logs, mut earlier) = (Vec::new(), Vec::new());
    let old = spool.names().iter().copied().filter(|name| matches!(name, Name::Ids(shard) if *shard >= shards));
    for name in (0..shards).map(Name::Ids).chain(old) {
        let (mut log, recovery) = spool.log(name)?;
        for warning in &recovery.warnings {
            tracing::warn!(log = %name, "{warning}");
        }
        let read = Found::read(&mut log, &recovery, clock::now()).map_err(|error| OpenError::Io {
            what: "read the packet ids in",
            path: settings_spool.dir.join(name.to_string()),
            source: io::Error::other(error),
        })?;
        if logs.len() < usize::from(shards) {
            logs.push(log);
        } else {
            earlier.push((name, read.clone()));
        }
        found = found.and(read);
    }
    for (name, _) in earlier.iter().filter(|(_, read)| read.is_superseded_by(&found)) {
        spool.discard(*name)?;
    }
    if found.is_damaged() {
        tracing::error!("the packet ids in the spool are damaged: none of them is believed");
    }
    let mut of_shards = of_shards(&mut found, settings).into_iter();
    let process = found.next_process();
    Ok(logs.into_iter().zip(&mut of_shards).map(|(log, sessions)| Ids::new(log, process, sessions)).collect())
}

/// What is open in the sessions of each shard. The sessions of no shard go to the first.
fn of_shards(found: &mut Found, settings: &Settings) -> Vec<HashMap<SessionKey, OpenIds>> {
    let mut shards = vec![HashMap::new(); settings.engine.cpus.len()];
    for planned in settings.plan() {
        let source = &settings.sources[planned.source];
        let key = session_key(&source.sessions[planned.session].client_id, &source.urls[0].to_string());
        if let Some(open) = found.remove(key)
            && settings.keeps_ids(source)
        {
            shards[planned.shard].insert(key, open);
        }
    }
    let foreign: Vec<SessionKey> = found.keys().collect();
    if foreign.len() > FOREIGN {
        tracing::warn!(
            sessions = foreign.len(),
            "the spool knows more than {FOREIGN} sessions that are gone: forgetting some"
        );
    }
    for key in foreign.into_iter().take(FOREIGN) {
        if let Some(open) = found.remove(key) {
            shards[0].insert(key, open);
        }
    }
    shards
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
    match log {
        _ if recovery.backlog == 0 => {}
        Name::DeadLetter(_) => tracing::warn!(%log, records = recovery.backlog, "the spool holds dead letters"),
        _ => tracing::info!(%log, records = recovery.backlog, "the spool holds records for Kafka"),
    }
}
