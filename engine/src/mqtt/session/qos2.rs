//! Packet identifiers that are open at QoS 2 (MQTT 5.0 §4.3.3): from PUBLISH to PUBREL. They outlive a connection
//! and end with the session; where they are kept, they outlive the process as well.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::{
    Session,
    records::{Content, IdRecord, Number, Records},
};
use crate::mqtt::window::{EARLIER, Position};

/// An open identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OpenId {
    /// Position of the message that opened it.
    position: Position,
    content: Content,
    /// What PUBREC waits for; `None` until the message is safe.
    record: Option<Number>,
    /// Number of the connection on which PUBREC was sent last.
    received: Option<u32>,
}

/// What an earlier process left of a session's open identifiers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Former {
    /// Nothing, and none were kept.
    #[default]
    Unknown,
    /// They were kept, and are gone.
    Lost,
    /// These are open.
    Open(Vec<(u16, Content)>),
}

/// The open identifiers; at most 65,535, because that is how many there are.
#[derive(Debug, Default)]
pub(super) struct OpenIds {
    ids: HashMap<u16, OpenId, FixedState>,
    /// Those without a record, in the order in which they were opened.
    unrecorded: VecDeque<(Position, u16)>,
    records: Records,
    /// Number of the connection; it tells which PUBRECs count against the receive maximum.
    connection: u32,
    /// Identifiers between PUBREC and PUBREL on this connection.
    unreleased: usize,
    /// Whether the broker may still come back to identifiers that an earlier connection left.
    resumes: bool,
}

/// Most PUBRELs whose answers wait for their records: one for each packet identifier.
pub(super) const COMPLETIONS: usize = u16::MAX as usize;

/// A PUBCOMP to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) packet_id: u16,
    /// Whether the identifier was open.
    pub(super) known: bool,
    /// What it waits for.
    pub(super) after: Number,
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

/// See [`Content`].
pub(super) fn content(topic: &[u8], payload: &[u8]) -> Content {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(topic);
    hasher.update(payload);
    hasher.finalize()
}

impl Session {
    /// Keeps the packet identifiers of QoS 2 over the end of the process; `former` is what the last one left. From now on
    /// PUBREC and PUBCOMP wait for their records. Before the first connection only.
    pub fn keep_ids(&mut self, former: Former) {
        self.open_ids.keep(if let Former::Open(ids) = &former { ids } else { &[] });
        self.former = former;
    }

    /// The next record to be made durable; [`Session::handle_id_taken`] says that it is on its way. To be polled after
    /// messages, receipts and connections.
    pub fn poll_id(&mut self) -> Option<IdRecord> {
        let window = &self.window;
        self.open_ids.next_record(|position| window.is_safe(position))
    }

    /// What [`Session::poll_id`] gave is on its way to be durable.
    pub fn handle_id_taken(&mut self) {
        self.open_ids.records().taken();
    }

    /// The oldest record that was on its way is durable.
    pub fn handle_id_durable(&mut self) {
        self.open_ids.records().handle_durable();
    }
}

impl OpenIds {
    /// From now on identifiers are kept; these are open already, their messages safe.
    pub(super) fn keep(&mut self, open: &[(u16, Content)]) {
        self.records.keep();
        let received = Some(self.connection);
        let earlier = |content| OpenId { position: EARLIER, content, record: Some(0), received };
        self.ids.extend(open.iter().map(|&(packet_id, content)| (packet_id, earlier(content))));
    }

    /// A new connection to the same session: what the last one left unreleased does not count on this one.
    pub(super) fn start_connection(&mut self) {
        self.connection = self.connection.wrapping_add(1);
        self.unreleased = 0;
        self.resumes = true;
    }

    /// The broker has come back to all that it means to (MQTT 5.0 §4.4). What it has not named is open until a new message
    /// has its identifier: a broker that lost its session, and the CONNACK that would have told so, names nothing.
    pub(super) fn handle_resumed(&mut self) {
        self.resumes = false;
    }

    /// The session is gone. Returns what to wait for before anything is received in the next one.
    pub(super) fn clear(&mut self) -> Number {
        self.ids.clear();
        self.unrecorded.clear();
        self.unreleased = 0;
        self.records.clear()
    }

    /// Position and content of the message that opened the identifier.
    pub(super) fn get(&self, packet_id: u16) -> Option<(Position, Content)> {
        self.ids.get(&packet_id).map(|open| (open.position, open.content))
    }

    /// A new message opens the identifier.
    pub(super) fn open(&mut self, packet_id: u16, position: Position, content: Content) {
        let record = (!self.records.are_kept()).then_some(0);
        if record.is_none() {
            self.unrecorded.push_back((position, packet_id));
        }
        self.ids.insert(packet_id, OpenId { position, content, record, received: None });
    }

    /// The identifier is free, whatever was open under it.
    pub(super) fn close(&mut self, packet_id: u16) {
        let before = self.ids.remove(&packet_id);
        if before.is_some_and(|open| open.received == Some(self.connection)) {
            self.unreleased -= 1;
        }
        self.records.ask(IdRecord::Closed(packet_id));
    }

    /// The next record to be taken; identifiers whose messages are safe are opened in their order.
    pub(super) fn next_record(&mut self, is_safe: impl Fn(Position) -> bool) -> Option<IdRecord> {
        while let Some(&(position, packet_id)) = self.unrecorded.front()
            && is_safe(position)
        {
            self.unrecorded.pop_front();
            // A newer message may have the identifier by now, and that one is not known to be safe.
            if let Some(open) = self.ids.get_mut(&packet_id).filter(|open| open.position == position) {
                open.record = Some(self.records.ask(IdRecord::Open(packet_id, open.content)));
            }
        }
        self.records.next()
    }

    /// Whether no further message may open an identifier.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.records.is_full()
    }

    /// The records.
    pub(super) fn records(&mut self) -> &mut Records {
        &mut self.records
    }

    /// Whether a record and all before it are durable.
    pub(super) fn are_durable(&self, up_to: Number) -> bool {
        self.records.are_durable(up_to)
    }

    /// Whether PUBREC may be sent, as far as its record goes.
    pub(super) fn may_receive(&self, packet_id: u16) -> bool {
        let open = self.ids.get(&packet_id);
        open.is_none_or(|open| open.record.is_some_and(|record| self.records.are_durable(record)))
    }

    /// PUBREC was sent.
    pub(super) fn received(&mut self, packet_id: u16) {
        if let Some(open) = self.ids.get_mut(&packet_id)
            && open.received != Some(self.connection)
        {
            open.received = Some(self.connection);
            self.unreleased += 1;
        }
    }

    /// PUBREL came: the identifier is free. Returns what PUBCOMP waits for: also where the identifier is not open, the
    /// record that closed it may still be on its way.
    pub(super) fn release(&mut self, packet_id: u16) -> (Released, Number) {
        let released = match self.ids.get(&packet_id) {
            None => Released::Unknown,
            Some(OpenId { received: None, .. }) => Released::Early,
            Some(OpenId { received: Some(_), .. }) => {
                self.close(packet_id);
                Released::Known
            }
        };
        (released, self.records.last())
    }

    /// Identifiers between PUBREC and PUBREL that this connection brought.
    pub(super) fn unreleased(&self) -> usize {
        self.unreleased
    }

    /// Whether no identifier is open that the broker may release and that would be forgotten at the end of the process.
    /// Those whose messages are not acknowledged yet are the window's.
    pub(super) fn is_settled(&self) -> bool {
        self.ids.is_empty() || self.records.are_kept() || self.unreleased == 0 && !self.resumes
    }
}
