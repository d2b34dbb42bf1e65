//! What came of a piece of upkeep.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::{
    Log, UpkeepError,
    budget::count,
    disk::Disk,
    format::cursor::Cursor,
    job::{Fate, Kept, Outcome},
    log::FAILURES,
    segment::{Condition, Open},
};

/// After a piece of upkeep failed it rests so long.
const RETRY_AFTER: Duration = Duration::from_millis(250);

impl<D: Disk> Log<D> {
    /// Takes a piece of upkeep back.
    pub fn handle_upkeep(&mut self, now: Instant, kept: Kept<D>) -> Result<(), UpkeepError> {
        assert!(self.upkeep.busy.take().is_some(), "a piece of upkeep is handed back once");
        let makes = matches!(kept.0, Outcome::Prepared { .. } | Outcome::Spared { .. });
        let result = match kept.0 {
            Outcome::Prepared { used, result, size } => self.prepared(used, result, size),
            Outcome::Spared { id, size, result } => self.spared(id, size, result),
            Outcome::Sealed { id, result } => self.sealed(id, result),
            Outcome::Cursor { cursor, result } => self.cursor_written(cursor, result),
            Outcome::Freed { done, result } => self.freed(&done, result),
            Outcome::Checked(None) => Ok(()),
            Outcome::Checked(Some(gone)) => {
                self.fenced = true;
                self.account();
                return Err(UpkeepError::Gone(gone));
            }
        };
        self.account();
        result.map_err(|(what, source)| {
            let rest = if makes { &mut self.upkeep.make_at } else { &mut self.upkeep.rest_until };
            *rest = Some(now + RETRY_AFTER);
            let path = self.folder.clone();
            match is_space(&source) {
                true => UpkeepError::Space { path, reason: source.to_string() },
                false => UpkeepError::Io { what, path, source },
            }
        })
    }

    fn prepared(&mut self, used: Option<u64>, result: io::Result<Open<D>>, size: u64) -> Failed {
        match result {
            Ok(open) => {
                count(&self.ledger.counters.recycled, u64::from(open.header.generation > 1));
                self.ready = Some(open);
                (self.blocked, self.starved) = (false, false);
                Ok(())
            }
            Err(source) => {
                let passes = is_space(&source) || is_shortage(&source);
                self.blocked |= passes;
                // Room may come back; a disk that refuses otherwise while records wait is like one that does not sync.
                let waits = self.open.is_none() && (self.retry.is_some() || !self.filling.is_empty());
                if (waits || self.starved) && !passes && self.committing.is_none() {
                    self.failures += 1;
                    self.fenced |= self.failures >= FAILURES;
                }
                match used {
                    // Still a spare, whatever its bytes are now.
                    Some(id) if source.kind() != io::ErrorKind::NotFound => self.upkeep.free.push(id),
                    _ => self.give(size),
                }
                Err(("prepare a segment", source))
            }
        }
    }

    fn spared(&mut self, id: u64, size: u64, result: io::Result<()>) -> Failed {
        match result {
            Ok(()) => self.upkeep.free.push(id),
            Err(source) => {
                self.give(size);
                return Err(("make a spare segment", source));
            }
        }
        Ok(())
    }

    fn sealed(&mut self, id: u64, result: io::Result<()>) -> Failed {
        let segment = self.segments.iter_mut().find(|segment| segment.header.id == id);
        // Without a footer the segment is scanned at the next start; the file must not be synced a second time.
        segment.expect("a segment is freed only when it is sealed").condition =
            if result.is_ok() { Condition::Sealed } else { Condition::Fenced };
        result.map_err(|source| ("write a segment's footer", source))
    }

    fn cursor_written(&mut self, cursor: Cursor, result: io::Result<Arc<D::File>>) -> Failed {
        match result {
            Ok(file) => {
                self.upkeep.cursor = cursor;
                self.upkeep.cursor_file = Some(file);
                self.witnessed = self.witnessed.max(cursor.synced);
                count(&self.ledger.counters.cursors, 1);
                Ok(())
            }
            Err(source) => {
                self.upkeep.cursor_file = None;
                Err(("write the cursor", source))
            }
        }
    }

    fn freed(&mut self, done: &[(u64, Fate)], result: io::Result<()>) -> Failed {
        for &(id, fate) in done {
            let found = self.segments.iter().position(|segment| segment.header.id == id).expect("still known");
            let segment = self.segments.remove(found).expect("just found");
            match fate {
                Fate::Recycle => self.upkeep.free.push(id),
                Fate::Remove => self.give(segment.header.size),
                Fate::Quarantine => {
                    self.give(segment.header.size);
                    count(&self.ledger.counters.quarantined, 1);
                    self.ledger.degraded.store(true, Relaxed);
                }
            }
        }
        result.map_err(|source| ("recycle delivered segments", source))
    }
}

type Failed = Result<(), (&'static str, io::Error)>;

/// No space, over quota, file too large: the same to whoever waits for a segment.
fn is_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG))
        || error.kind() == io::ErrorKind::StorageFull
}

/// The process, or the machine, has no file descriptor or no memory left just now, which says nothing about the disk.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}
