//! The records of a log as they lie in its folder, for whoever looks at a spool or sends its records again. Read-only,
//! also beside the process that writes them.

use std::path::Path;

use fairlead_spool::{
    Batch, Kind, Name, Sequence, Stored,
    disk::Disk,
    inspect::{InspectError, records},
};

use super::entry::{Decoded, decode};
use crate::mqtt::Payload;

/// A record in its log.
#[derive(Clone, Debug)]
pub(crate) struct Filed {
    /// Its number in the log.
    pub(crate) sequence: Sequence,
    /// What it is.
    pub(crate) kind: Kind,
    /// The MQTT session it belongs to, for packet ids.
    pub(crate) session: u64,
    /// The packet id, for packet ids.
    pub(crate) packet_id: u16,
    /// When the message was received: milliseconds since 1970.
    pub(crate) time: u64,
    /// The message; `None` for a packet id, and where this version cannot read it.
    pub(crate) record: Option<Decoded>,
}

/// The valid records of one log from `from` on, delivered ones too while they are there. A segment at a time is in
/// memory.
pub(crate) fn filed<D: Disk>(
    disk: &D,
    folder: &Path,
    log: Name,
    from: Sequence,
) -> Result<impl Iterator<Item = Result<Filed, InspectError>> + use<D>, InspectError> {
    let batches = records(disk, folder, log, from)?;
    Ok(batches.flat_map(|batch| match batch {
        Ok(batch) => read(batch),
        Err(error) => vec![Err(error)],
    }))
}

fn read(batch: Batch) -> Vec<Result<Filed, InspectError>> {
    let Batch { buffer, records, .. } = batch;
    let buffer = Payload::from(buffer);
    let read = |stored: Stored| Filed {
        sequence: stored.sequence,
        kind: stored.kind,
        session: stored.session,
        packet_id: stored.packet_id,
        time: stored.time,
        record: if stored.kind == Kind::Data { decode(&buffer, &stored) } else { None },
    };
    records.into_iter().map(|stored| Ok(read(stored))).collect()
}
