//! Packet identifiers that are open at QoS 2 (MQTT 5.0 §4.3.3): from PUBLISH to PUBREL. They outlive a connection
//! and end with the session.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::mqtt::window::Position;

/// How far an open identifier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The message is not safe yet.
    Pending,
    /// PUBREC was sent on the connection of this number.
    Received(u32),
}

/// The open identifiers; at most 65,535, because that is how many there are.
#[derive(Debug, Default)]
pub(super) struct OpenIds {
    ids: HashMap<u16, (Position, Progress), FixedState>,
    /// Number of the connection; it tells which PUBRECs count against the receive maximum.
    connection: u32,
    /// Identifiers between PUBREC and PUBREL on this connection.
    unreleased: usize,
}

/// What a PUBREL is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// A known identifier.
    Known,
    /// An identifier that is not open; PUBCOMP says so.
    Unknown,
    /// An identifier whose PUBREC was never sent.
    Early,
}

impl OpenIds {
    /// A new connection to the same session: what the last one left unreleased does not count on this one.
    pub(super) fn start_connection(&mut self) {
        self.connection = self.connection.wrapping_add(1);
        self.unreleased = 0;
    }

    /// The session is gone.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.unreleased = 0;
    }

    /// Position of the message that opened the identifier.
    pub(super) fn get(&self, packet_id: u16) -> Option<Position> {
        self.ids.get(&packet_id).map(|&(position, _)| position)
    }

    /// A new message opens the identifier, whatever was open under it.
    pub(super) fn open(&mut self, packet_id: u16, position: Position) {
        let before = self.ids.insert(packet_id, (position, Progress::Pending));
        if before.is_some_and(|(_, progress)| progress == Progress::Received(self.connection)) {
            self.unreleased -= 1;
        }
    }

    /// PUBREC was sent.
    pub(super) fn received(&mut self, packet_id: u16) {
        if let Some((_, progress)) = self.ids.get_mut(&packet_id) {
            let now = Progress::Received(self.connection);
            if *progress != now {
                *progress = now;
                self.unreleased += 1;
            }
        }
    }

    /// PUBREL came: the identifier is free.
    pub(super) fn release(&mut self, packet_id: u16) -> Released {
        match self.ids.get(&packet_id) {
            None => Released::Unknown,
            Some((_, Progress::Pending)) => Released::Early,
            Some(&(_, Progress::Received(connection))) => {
                self.ids.remove(&packet_id);
                if connection == self.connection {
                    self.unreleased -= 1;
                }
                Released::Known
            }
        }
    }

    /// Identifiers between PUBREC and PUBREL that this connection brought.
    pub(super) fn unreleased(&self) -> usize {
        self.unreleased
    }

    /// Whether no identifier is open.
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}
