//! A model of the MQTT broker and of the network: sessions that outlive connections, a bounded number of messages in
//! flight, redelivery with DUP in order, and bytes that arrive in pieces, late, or not at all.

use std::{collections::VecDeque, time::Duration};

use super::{
    checker::Checker,
    context::{Context, Event},
    packets::{length, packets},
    plan::Plan,
};
use crate::{
    message::Qos,
    mqtt::{
        Protocol,
        wire::{self, Message},
    },
};

/// A message on its way to the process.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    packet_id: u16,
    message: u32,
    /// QoS 2: PUBREC came and PUBREL went.
    released: bool,
}

/// What the broker keeps of a session.
#[derive(Debug, Default)]
struct Client {
    present: bool,
    subscribed: bool,
    queue: VecDeque<u32>,
    in_flight: VecDeque<InFlight>,
    last_id: u16,
    connection: Option<usize>,
    /// The acknowledgements that this connection owes, in order, at QoS 1 and QoS 2.
    owed: [VecDeque<u16>; 2],
}

/// A TCP connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) session: usize,
    /// The process that opened it.
    pub(super) life: u32,
    /// Bytes pass.
    pub(super) alive: bool,
    /// When the last bytes arrive at the broker, and at the process.
    to_broker: Duration,
    to_process: Duration,
    /// What came to the broker and is no whole packet yet.
    input: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Broker {
    protocol: Protocol,
    qos: Qos,
    window: usize,
    lowest_id: bool,
    /// One way over the network, microseconds.
    latency: u64,
    /// How many faults keep it down.
    pub(super) down: u32,
    clients: Vec<Client>,
    pub(super) connections: Vec<Connection>,
    /// The process that runs, for what its acknowledgements mean.
    pub(super) life: u32,
}

impl Broker {
    pub(super) fn new(plan: &Plan) -> Broker {
        let window = match plan.protocol {
            Protocol::V5 => plan.broker_window.min(usize::from(plan.receive_maximum)),
            Protocol::V311 => plan.broker_window,
        };
        Broker {
            protocol: plan.protocol,
            qos: plan.qos,
            window,
            lowest_id: plan.lowest_id,
            latency: plan.network,
            down: 0,
            clients: (0..plan.sessions).map(|_| Client::default()).collect(),
            connections: Vec::new(),
            life: 0,
        }
    }

    /// Whether a message for this session is taken over.
    pub(super) fn takes(&self, session: usize, qos: Qos) -> bool {
        let client = &self.clients[session];
        let kept = qos != Qos::AtMostOnce || client.connection.is_some();
        self.down == 0 && client.subscribed && kept
    }

    pub(super) fn publish(&mut self, cx: &mut Context, checker: &mut Checker, session: usize, message: u32) {
        self.clients[session].queue.push_back(message);
        self.send(cx, checker, session);
    }

    /// Whether nothing waits for the process any more, and whatever comes reaches it.
    pub(super) fn is_idle(&self) -> bool {
        let reaches = |client: &Client| client.connection.is_some_and(|connection| self.connections[connection].alive);
        self.clients.iter().all(|client| client.queue.is_empty() && client.in_flight.is_empty() && reaches(client))
    }

    /// A TCP connection is asked for; `None` when there is nobody.
    pub(super) fn accept(&mut self, session: usize, life: u32) -> Option<usize> {
        if self.down > 0 {
            return None;
        }
        let zero = Duration::ZERO;
        let connection =
            Connection { session, life, alive: true, to_broker: zero, to_process: zero, input: Vec::new() };
        self.connections.push(connection);
        Some(self.connections.len() - 1)
    }

    /// The process has written bytes.
    pub(super) fn written(&mut self, cx: &mut Context, checker: &mut Checker, connection: usize, bytes: &[u8]) {
        let &Connection { session, life, alive, .. } = &self.connections[connection];
        self.note(checker, session, life, bytes);
        if alive {
            let latency = self.latency;
            let last = &mut self.connections[connection].to_broker;
            deliver(cx, last, latency, bytes, |bytes| Event::ToBroker { connection, bytes });
        }
    }

    /// Which messages the process answers for as acknowledged, whether the broker learns it or not.
    fn note(&self, checker: &mut Checker, session: usize, life: u32, bytes: &[u8]) {
        for packet in packets(bytes).0 {
            if matches!(packet[0] >> 4, 4 | 5) {
                let id = u16::from_be_bytes([packet[2], packet[3]]);
                let known = self.clients[session].in_flight.iter().find(|one| one.packet_id == id);
                if let Some(one) = known {
                    checker.messages[one.message as usize].answered = life;
                }
            }
        }
    }

    /// A connection passes nothing any more.
    pub(super) fn cut(&mut self, cx: &mut Context, session: usize) -> Option<usize> {
        let alive = |(_, connection): &(usize, &Connection)| connection.session == session && connection.alive;
        let (cut, _) = self.connections.iter().enumerate().rfind(alive)?;
        cx.tell(|| format!("network: connection {cut} is cut"));
        self.connections[cut].alive = false;
        Some(cut)
    }

    /// The process has closed a connection, or is dead: what it wrote before still arrives.
    pub(super) fn closed(&mut self, cx: &mut Context, connection: usize) {
        let at = self.connections[connection].to_broker.max(cx.now) + Duration::from_micros(self.latency);
        cx.at(at, Event::BrokerLost { connection });
    }

    /// The broker learns that a connection is gone.
    pub(super) fn lost(&mut self, connection: usize) {
        self.connections[connection].alive = false;
        let client = &mut self.clients[self.connections[connection].session];
        if client.connection == Some(connection) {
            client.connection = None;
        }
    }

    /// The broker goes down: every connection ends, and so do the sessions where it does not keep them.
    pub(super) fn stop(&mut self, cx: &mut Context, keeps: bool) {
        self.down += 1;
        for connection in 0..self.connections.len() {
            if self.connections[connection].alive {
                self.lost(connection);
                let pause = cx.micros(0, 2 * self.latency);
                cx.after(pause, Event::ProcessLost { connection });
            }
        }
        for client in &mut self.clients {
            client.connection = None;
            if !keeps {
                *client = Client { last_id: client.last_id, ..Client::default() };
            }
        }
    }

    /// The end of a process: what it took and has not answered comes again.
    pub(super) fn allow_redelivery(&self, checker: &mut Checker, life: u32) {
        for one in self.clients.iter().flat_map(|client| &client.in_flight).filter(|one| !one.released) {
            let message = &checker.messages[one.message as usize];
            if message.taken == life && message.answered != life {
                checker.allow(one.message);
            }
        }
    }

    /// Bytes have come.
    pub(super) fn received(&mut self, cx: &mut Context, checker: &mut Checker, connection: usize, bytes: &[u8]) {
        if !self.connections[connection].alive {
            return;
        }
        let mut input = std::mem::take(&mut self.connections[connection].input);
        input.extend_from_slice(bytes);
        let (packets, rest) = packets(&input);
        for packet in packets {
            self.handle(cx, checker, connection, packet);
        }
        self.connections[connection].input = rest.to_vec();
    }

    fn handle(&mut self, cx: &mut Context, checker: &mut Checker, connection: usize, packet: &[u8]) {
        let session = self.connections[connection].session;
        let id = packet.get(2..4).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
        if packet[0] >> 4 != 1 && self.clients[session].connection != Some(connection) {
            return;
        }
        match packet[0] >> 4 {
            1 => self.connect(cx, checker, connection, packet),
            4 => self.acknowledged(cx, checker, session, id, Qos::AtLeastOnce),
            5 => self.acknowledged(cx, checker, session, id, Qos::ExactlyOnce),
            7 => {
                let in_flight = &mut self.clients[session].in_flight;
                match in_flight.iter().position(|one| one.packet_id == id && one.released) {
                    Some(at) => {
                        in_flight.remove(at);
                    }
                    None => cx.fail(|| format!("mqtt: PUBCOMP {id} that no PUBREL asked for")),
                }
                self.send(cx, checker, session);
            }
            8 => {
                self.clients[session].subscribed = true;
                let code = self.qos as u8;
                let suback = wire::suback(self.protocol, id, &[code]);
                self.put(cx, connection, &suback);
            }
            12 => self.put(cx, connection, &wire::PINGRESP),
            14 => self.lost(connection),
            other => cx.fail(|| format!("mqtt: a packet of type {other} from the process")),
        }
    }

    fn connect(&mut self, cx: &mut Context, checker: &mut Checker, connection: usize, packet: &[u8]) {
        let session = self.connections[connection].session;
        if let Some(old) = self.clients[session].connection.filter(|old| *old != connection) {
            self.connections[old].alive = false;
            cx.after(Duration::from_micros(self.latency), Event::ProcessLost { connection: old });
        }
        // Behind the fixed header: the name and the level, seven bytes, then the flags.
        let (_, width) = length(packet).expect("a whole packet");
        if packet[1 + width + 7] & 2 != 0 {
            cx.fail(|| "mqtt: a session is started clean".to_owned());
        }
        let client = &mut self.clients[session];
        let present = std::mem::replace(&mut client.present, true);
        client.connection = Some(connection);
        client.owed = Default::default();
        cx.tell(|| format!("broker: session {session} connects, present {present}"));
        let connack = wire::connack(self.protocol, present, 0, &[]);
        self.put(cx, connection, &connack);
        self.resend(cx, checker, session);
        self.send(cx, checker, session);
    }

    /// What was in flight comes again, in order.
    fn resend(&mut self, cx: &mut Context, checker: &mut Checker, session: usize) {
        let mut again = false;
        for one in self.clients[session].in_flight.clone() {
            let message = &mut checker.messages[one.message as usize];
            if one.released {
                let connection = self.clients[session].connection.expect("connected");
                self.put(cx, connection, &wire::pubrel(one.packet_id));
                continue;
            }
            // Its PUBACK was written and is lost: nothing tells this one from a new message. At QoS 2 its identifier
            // does, within one life.
            let forgotten = message.qos == Qos::AtLeastOnce || message.answered != self.life;
            if message.answered != 0 && message.answered == message.taken && forgotten {
                message.answered = 0;
                message.allowed += 1;
                again = true;
            }
            self.put_publish(cx, checker, session, one, true);
        }
        if again {
            checker.allow_reruns(Some(session), 1);
        }
    }

    /// Sends what the window takes.
    fn send(&mut self, cx: &mut Context, checker: &Checker, session: usize) {
        while self.clients[session].connection.is_some() {
            let Some(&message) = self.clients[session].queue.front() else { return };
            let quiet = checker.messages[message as usize].qos == Qos::AtMostOnce;
            if !quiet && self.clients[session].in_flight.len() >= self.window {
                return;
            }
            self.clients[session].queue.pop_front();
            let packet_id = if quiet { 0 } else { self.clients[session].free_id(self.lowest_id) };
            let one = InFlight { packet_id, message, released: false };
            if !quiet {
                self.clients[session].in_flight.push_back(one);
            }
            self.put_publish(cx, checker, session, one, false);
        }
    }

    fn put_publish(&mut self, cx: &mut Context, checker: &Checker, session: usize, one: InFlight, dup: bool) {
        let qos = checker.messages[one.message as usize].qos;
        let topic = checker.topic_name(one.message);
        let mut message =
            Message::new(self.protocol, qos as u8, one.packet_id, checker.payload(one.message)).topic(topic);
        message.dup = dup;
        let client = &mut self.clients[session];
        match qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => client.owed[0].push_back(one.packet_id),
            Qos::ExactlyOnce => client.owed[1].push_back(one.packet_id),
        }
        let connection = client.connection.expect("connected");
        cx.tell(|| format!("broker: session {session} PUBLISH {one:?} dup {dup}"));
        self.put(cx, connection, &message.build());
    }

    /// PUBACK or PUBREC came.
    fn acknowledged(&mut self, cx: &mut Context, checker: &mut Checker, session: usize, id: u16, qos: Qos) {
        let client = &mut self.clients[session];
        let owed = client.owed[usize::from(qos == Qos::ExactlyOnce)].pop_front();
        if owed != Some(id) {
            cx.fail(|| format!("mqtt: session {session} acknowledges {id} at {qos:?} where {owed:?} is due"));
            return;
        }
        let Some(at) = client.in_flight.iter().position(|one| one.packet_id == id) else {
            cx.fail(|| format!("mqtt: session {session} acknowledges {id}, which is not in flight"));
            return;
        };
        let message = client.in_flight[at].message;
        cx.tell(|| format!("broker: session {session} has the acknowledgement of {id}, message {message}"));
        checker.acknowledged(message);
        if qos == Qos::ExactlyOnce {
            client.in_flight[at].released = true;
            let connection = client.connection.expect("connected");
            self.put(cx, connection, &wire::pubrel(id));
        } else {
            client.in_flight.remove(at);
        }
        self.send(cx, checker, session);
    }

    fn put(&mut self, cx: &mut Context, connection: usize, bytes: &[u8]) {
        let latency = self.latency;
        let connection_state = &mut self.connections[connection];
        if connection_state.alive {
            let last = &mut connection_state.to_process;
            deliver(cx, last, latency, bytes, |bytes| Event::ToProcess { connection, bytes });
        }
    }
}

impl Client {
    fn free_id(&mut self, lowest: bool) -> u16 {
        let mut id = if lowest { 1 } else { self.last_id.wrapping_add(1).max(1) };
        while self.in_flight.iter().any(|one| one.packet_id == id) {
            id = id.wrapping_add(1).max(1);
        }
        self.last_id = id;
        id
    }
}

/// Bytes arrive after what was sent before them, now and then in pieces.
fn deliver(cx: &mut Context, last: &mut Duration, latency: u64, bytes: &[u8], event: impl Fn(Vec<u8>) -> Event) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = if cx.chance(0.9) { rest.len() } else { cx.number(1, rest.len()) };
        let (piece, behind) = rest.split_at(count);
        *last = (cx.now + cx.micros(latency / 2, latency + 1)).max(*last);
        cx.at(*last, event(piece.to_vec()));
        rest = behind;
    }
}
