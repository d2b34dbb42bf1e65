//! The spool's folder: opened once for the process, with one log for each shard.

use fairlead_spool::{
    Log, Name, OpenError, Options, Recovery,
    disk::{Disk, Real},
};

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
    let mut logs = Vec::with_capacity(shards);
    for shard in 0..shards {
        let open = |name: Name| {
            let (log, recovery) = spool.log(name)?;
            tell(name, &recovery);
            Ok((log, recovery))
        };
        let shard = shard as u16;
        logs.push(Logs { spool: open(Name::Shard(shard))?, parked: open(Name::Parked(shard))? });
    }
    Ok(Some(logs))
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
