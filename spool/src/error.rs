//! What can go wrong, one enum for each operation.

use std::{io, path::PathBuf};

use crate::Sequence;

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another spool of this one, has it open.
    #[error("the spool {0} is in use by another process; end it, or set another [spool] dir")]
    Locked(PathBuf),
    /// Written by a later version.
    #[error(
        "{path} has format version or features {version}, which this program does not know; use the one that wrote it"
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// What it says.
        version: u16,
    },
    /// Flush and locks of another machine cannot be relied on.
    #[error(
        "the spool {0} lies on a network file system, whose flush cannot be relied on; set [spool] dir to a local disk"
    )]
    Network(PathBuf),
    /// The folder is somebody else's, or a link that somebody may turn.
    #[error("the spool {path} is {what}; set [spool] dir to a folder that belongs to this user")]
    Untrusted {
        /// Which folder.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The limits contradict one another.
    #[error("the spool's limits: {0}")]
    Options(String),
    /// The operating system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What is not as it should be although the spool is open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Gone after a restart of the machine.
    #[error("the spool {0} lies in memory: it does not survive a restart of the machine; set [spool] dir to a disk")]
    InMemory(PathBuf),
    /// Gone with the container.
    #[error(
        "the spool {0} lies in a container's own layer (overlayfs): it does not survive the container; set [spool] dir to a volume"
    )]
    InContainer(PathBuf),
    /// Somebody else may read messages.
    #[error("the spool {0} can be entered by other users; chmod 700 it")]
    OpenToOthers(PathBuf),
    /// META was damaged or missing and was made again from the segments.
    #[error("{0} was damaged or missing and was made again from the segments' headers")]
    Meta(PathBuf),
    /// Not a file of the spool; left alone.
    #[error("{0} does not belong to the spool and is left alone")]
    Unknown(PathBuf),
    /// A file of the spool's name that cannot be used; it was moved.
    #[error("{0} cannot be read as a segment of this log and was moved to the folder quarantine")]
    Quarantined(PathBuf),
    /// Neither slot of a cursor is valid: what was delivered already is sent again.
    #[error("the cursor {0} is damaged or missing: everything in the log is sent again")]
    Cursor(PathBuf),
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The group is full and the one before is not durable yet, or the next segment is being prepared.
    #[error("the spool is busy; append again after the next commit or upkeep")]
    Busy,
    /// A segment is needed and none is to be had.
    #[error("the spool is full; it takes records again when enough has been delivered or the disk has space")]
    Full,
    /// Larger than `record` of the options.
    #[error("the record is larger than the spool takes")]
    TooLarge,
    /// Syncs failed in a row, or the files are gone.
    #[error("the spool takes nothing more since its disk failed; replace the disk and restart")]
    Fenced,
}

/// Why a group is not durable.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The segment is fenced; the group is written again into the next one.
    #[error(
        "segment {segment} could not be made durable ({source}), failure {failures} in a row; its last group is written again elsewhere"
    )]
    Sync {
        /// Which one.
        segment: u64,
        /// In a row.
        failures: u32,
        /// Why not.
        source: io::Error,
    },
    /// That was one failure too many: the log takes nothing more.
    #[error(
        "segment {segment} could not be made durable ({source}), failure {failures} in a row: the spool takes nothing more; replace the disk and restart"
    )]
    Fenced {
        /// Which one.
        segment: u64,
        /// In a row.
        failures: u32,
        /// Why not.
        source: io::Error,
    },
}

/// Why a piece of upkeep failed.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// It is tried again.
    #[error("cannot {what} in {path}: {source}; it is tried again")]
    Io {
        /// What was tried.
        what: &'static str,
        /// In which folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Space is missing: the spool is full until there is some.
    #[error("no space for another segment in {path}: {reason}; free some, or raise [spool] max")]
    Space {
        /// In which folder.
        path: PathBuf,
        /// Which limit was met.
        reason: String,
    },
    /// Somebody removed or cut a file of the running spool: nothing more is taken.
    #[error(
        "{0} was removed or cut while the spool was running: the spool takes nothing more; restart when the disk is sound"
    )]
    Gone(PathBuf),
}

/// Why a read failed; the same position can be read again.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path} from record {from}: {source}")]
pub struct ReadError {
    /// Which segment.
    pub path: PathBuf,
    /// From where.
    pub from: Sequence,
    /// Why not.
    pub source: io::Error,
}
