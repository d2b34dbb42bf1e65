//! What a bridge has acknowledged, as seen on the wire between it and the MQTT broker: the set that must be in Kafka.
//!
//! Messages are known by the load generator's stamp in their payload, so the set survives reconnects, redelivery and new
//! packet identifiers.

use std::collections::{HashMap, HashSet, VecDeque};

use fairlead_loadgen::{ledger::AckLog, sequences::Sequences, stamp::Stamp};

use crate::{
    proxy::Direction,
    wire::{CONNECT, Frame, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL},
};

/// Packet identifiers of a session.
const IDS: usize = 1 << 16;

/// Most MQTT topics of a run; a greater number in a stamp is none of the load generator's.
const PUBLISHERS: u32 = 4_000_000;

/// What the tap knows.
#[derive(Clone, Debug, Default)]
pub struct Tapped {
    /// The messages that were acknowledged: PUBACK at QoS 1, PUBREC at QoS 2.
    pub acknowledged: AckLog,
    /// Distinct messages that were handed to the bridge.
    pub delivered: u64,
    /// PUBLISHes of messages that had been handed to it before: as many duplicates are not the bridge's doing.
    pub redelivered: u64,
    /// Those of them that were between PUBREC and PUBREL: the bridge must know them again.
    pub repeated: u64,
    /// PUBLISHes that the broker sent behind a newer message of the same topic on the same connection: the bridge keeps
    /// the order in which they come.
    pub disordered: u64,
    /// PUBACKs.
    pub pubacks: u64,
    /// PUBRECs.
    pub pubrecs: u64,
    /// PUBRELs.
    pub pubrels: u64,
    /// PUBCOMPs.
    pub pubcomps: u64,
    /// Acknowledgements of packet identifiers that were not in use.
    pub unknown: u64,
    /// Acknowledgements that overtook an older message's (MQTT 5.0 §4.6).
    pub out_of_order: u64,
    /// PUBLISHes that are not acknowledged.
    pub open: u64,
    /// PUBRELs on open connections that no PUBCOMP has answered.
    pub unanswered: u64,
}

impl Tapped {
    /// Whether the bridge has answered everything.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.open == 0 && self.unanswered == 0
    }
}

/// A message as far as it can be known.
#[derive(Clone, Copy, Debug)]
enum Message {
    /// Publisher and sequence.
    Stamped(u32, u64),
    /// Not from the load generator.
    Other,
}

/// Collects [`Tapped`].
#[derive(Debug)]
pub(crate) struct Tap {
    run_id: u32,
    /// By client identifier: packet identifiers outlive connections.
    sessions: HashMap<String, Session>,
    /// Messages between PUBREC and PUBREL: publisher and sequence.
    received: HashSet<(u32, u64)>,
    connections: HashMap<usize, Connection>,
    /// By publisher.
    delivered: Vec<Sequences>,
    acknowledged: Vec<Sequences>,
    known: Tapped,
    stamp_at: usize,
}

/// The messages of a session by packet identifier: not acknowledged, and between PUBREC and PUBREL.
#[derive(Debug)]
struct Session {
    open: Vec<Option<Message>>,
    received: Vec<Option<(u32, u64)>>,
}

#[derive(Debug)]
struct Connection {
    client: String,
    level: u8,
    /// Identifiers that are not acknowledged, in the order of their PUBLISHes: QoS 1 and QoS 2.
    open: [VecDeque<u16>; 2],
    /// Identifiers that the broker has released, until PUBCOMP.
    released: HashSet<u16>,
    /// The newest message of each publisher.
    newest: HashMap<u32, u64>,
}

impl Tap {
    pub(crate) fn new(run_id: u32) -> Tap {
        Tap {
            run_id,
            sessions: HashMap::new(),
            received: HashSet::new(),
            connections: HashMap::new(),
            delivered: Vec::new(),
            acknowledged: Vec::new(),
            known: Tapped::default(),
            stamp_at: 0,
        }
    }

    /// A packet passes.
    pub(crate) fn passed(&mut self, number: usize, direction: Direction, frame: &Frame<&[u8]>) {
        match (direction, frame.kind()) {
            (Direction::ToServer, CONNECT) => {
                let (client, level) = (frame.client_id(), frame.level());
                self.sessions
                    .entry(client.clone())
                    .or_insert_with(|| Session { open: vec![None; IDS], received: vec![None; IDS] });
                self.connections.insert(
                    number,
                    Connection {
                        client,
                        level,
                        open: Default::default(),
                        released: HashSet::new(),
                        newest: HashMap::new(),
                    },
                );
            }
            (Direction::ToClient, PUBLISH) if frame.qos() > 0 => self.handed_over(number, frame),
            (Direction::ToServer, PUBACK | PUBREC) => self.acknowledge(number, frame),
            (Direction::ToClient, PUBREL) => self.release(number, frame.packet_id()),
            (Direction::ToServer, PUBCOMP) => self.complete(number, frame.packet_id()),
            _ => {}
        }
    }

    /// A connection has ended: what it left open will be handed over again.
    pub(crate) fn closed(&mut self, number: usize) {
        self.connections.remove(&number);
    }

    pub(crate) fn tapped(&self) -> Tapped {
        let open = self.connections.values().flat_map(|c| &c.open).map(|open| open.len() as u64).sum();
        let acknowledged = AckLog { run_id: self.run_id, acknowledged: self.acknowledged.clone() };
        let unanswered = self.connections.values().map(|c| c.released.len() as u64).sum();
        Tapped { acknowledged, open, unanswered, ..self.known.clone() }
    }

    fn handed_over(&mut self, number: usize, frame: &Frame<&[u8]>) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let payload = frame.payload(connection.level).unwrap_or_default();
        let message = match Stamp::find(payload, self.stamp_at) {
            Ok((stamp, at)) if stamp.run == self.run_id && stamp.publisher < PUBLISHERS => {
                self.stamp_at = at;
                Message::Stamped(stamp.publisher, stamp.sequence)
            }
            _ => Message::Other,
        };
        if let Message::Stamped(publisher, sequence) = message {
            let new = set(&mut self.delivered, publisher).insert(sequence);
            self.known.delivered += u64::from(new);
            self.known.redelivered += u64::from(!new);
            self.known.repeated += u64::from(self.received.contains(&(publisher, sequence)));
            let newest = connection.newest.entry(publisher).or_insert(sequence);
            self.known.disordered += u64::from(sequence < *newest);
            *newest = sequence.max(*newest);
        }
        connection.open[usize::from(frame.qos() == 2)].push_back(frame.packet_id());
        if let Some(session) = self.sessions.get_mut(&connection.client) {
            session.open[usize::from(frame.packet_id())] = Some(message);
        }
    }

    fn acknowledge(&mut self, number: usize, frame: &Frame<&[u8]>) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let (id, received) = (frame.packet_id(), frame.kind() == PUBREC);
        *if received { &mut self.known.pubrecs } else { &mut self.known.pubacks } += 1;
        let open = &mut connection.open[usize::from(received)];
        match open.iter().position(|other| *other == id) {
            Some(place) => {
                open.remove(place);
                self.known.out_of_order += u64::from(place > 0);
            }
            None => self.known.unknown += 1,
        }
        // A refusal makes the broker forget the message as well, so it counts as an acknowledgement.
        let Some(session) = self.sessions.get_mut(&connection.client) else { return };
        let message = session.open[usize::from(id)].take();
        if let Some(Message::Stamped(publisher, sequence)) = message {
            set(&mut self.acknowledged, publisher).insert(sequence);
            if received {
                self.received.insert((publisher, sequence));
                // Without a PUBREL the identifier has been given to another message: the broker is done with this one.
                let before = session.received[usize::from(id)].replace((publisher, sequence));
                before.filter(|before| *before != (publisher, sequence)).map(|before| self.received.remove(&before));
            }
        }
    }

    fn release(&mut self, number: usize, id: u16) {
        self.known.pubrels += 1;
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.released.insert(id);
            let session = self.sessions.get_mut(&connection.client);
            session.and_then(|s| s.received[usize::from(id)].take()).map(|message| self.received.remove(&message));
        }
    }

    fn complete(&mut self, number: usize, id: u16) {
        self.known.pubcomps += 1;
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.released.remove(&id);
        }
    }
}

/// The set of a publisher.
fn set(sets: &mut Vec<Sequences>, publisher: u32) -> &mut Sequences {
    let place = publisher as usize;
    if place >= sets.len() {
        sets.resize_with(place + 1, Sequences::default);
    }
    &mut sets[place]
}
