//! The session against a scripted broker, in virtual time.

mod connection;
mod delivery;
mod ending;
mod ids;
mod keepalive;
mod malformed;
mod redelivery;
mod shutdown;
mod subscribe;

use std::time::{Duration, Instant};

use super::*;
use crate::{
    message::Qos,
    mqtt::{
        input::Input,
        violation::Violation,
        wire::{self, Message},
    },
    settings::{Subscription, Version},
};

const BOTH: [Protocol; 2] = [Protocol::V311, Protocol::V5];

fn source(protocol: Protocol) -> Source {
    Source {
        name: "harbour".into(),
        urls: vec![Address { host: "127.0.0.1".into(), port: 1883 }],
        version: if protocol == Protocol::V5 { Version::V5 } else { Version::V311 },
        share: None,
        qos: Qos::AtLeastOnce,
        clean_start: false,
        session_expiry: 604_800,
        max_packet: 1024 * 1024,
        announce_max_packet: false,
        skip_oversized: false,
        keep_alive: 30,
        receive_maximum: 100,
        sys: true,
        username: None,
        password: None,
        sessions: Vec::new(),
    }
}

fn plan(filters: &[&str]) -> SessionPlan {
    SessionPlan {
        client_id: "fairlead-harbour-0".into(),
        subscriptions: filters.iter().map(|&filter| Subscription { filter: filter.into(), id: None }).collect(),
        retire: None,
    }
}

/// A session with its input and a clock of its own.
struct World {
    session: Session,
    input: Input,
    now: Instant,
    protocol: Protocol,
}

impl World {
    fn new(source: &Source, plan: &SessionPlan) -> World {
        let protocol = if source.version == Version::V311 { Protocol::V311 } else { Protocol::V5 };
        World { session: Session::new(source, plan, 1, 2, 7), input: Input::default(), now: start(), protocol }
    }

    /// A session that is online with everything granted.
    fn online(protocol: Protocol) -> World {
        World::online_with(&source(protocol))
    }

    fn online_with(source: &Source) -> World {
        let mut world = World::new(source, &plan(&["ais/#"]));
        world.connect(false);
        assert!(world.session.is_ready());
        world
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
    }

    /// Connects, until CONNACK is due. Returns what was sent.
    fn dial(&mut self) -> Vec<u8> {
        if let Some(at) = self.session.poll_timeout() {
            self.now = self.now.max(at);
        }
        self.session.poll_connect(self.now).expect("it is time");
        self.input.clear();
        self.session.handle_connected(self.now);
        self.transmit()
    }

    /// Connects, and grants everything asked for. Returns what was sent after CONNECT.
    fn connect(&mut self, session_present: bool) -> Vec<u8> {
        let connect = self.dial();
        assert_eq!(connect[0], 0x10, "CONNECT");
        self.receive(&wire::connack(self.protocol, session_present, 0, &[]));
        self.grant()
    }

    /// Answers every SUBSCRIBE and UNSUBSCRIBE with what it wants. Returns what was sent.
    fn grant(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let sent = self.transmit();
            if sent.is_empty() {
                return all;
            }
            for packet in packets(&sent) {
                let id = body(&packet).get(..2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
                let asked = filters(&packet, self.protocol);
                match packet[0] {
                    0x82 => {
                        let codes: Vec<u8> = asked.iter().map(|(_, options)| options & 3).collect();
                        self.receive(&wire::suback(self.protocol, id, &codes));
                    }
                    0xa2 => self.receive(&wire::unsuback(self.protocol, id, &vec![0; asked.len()])),
                    _ => {}
                }
            }
            all.extend(sent);
        }
    }

    fn lose(&mut self) {
        self.session.handle_disconnected(self.now, Cause::Eof);
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let spare = self.input.spare();
            let count = rest.len().min(spare.len());
            assert!(count > 0, "the input is full");
            spare[..count].copy_from_slice(&rest[..count]);
            self.input.advance(count);
            rest = &rest[count..];
        }
    }

    fn poll(&mut self) -> Result<Option<Delivery>, Violation> {
        self.session.poll_publish(self.now, &mut self.input)
    }

    /// Feeds bytes that bring no message.
    fn receive(&mut self, bytes: &[u8]) {
        self.feed(bytes);
        let delivery = self.poll().expect("no violation");
        assert!(delivery.is_none(), "no message was expected");
    }

    /// Feeds bytes and takes all the messages they bring.
    fn messages(&mut self, bytes: &[u8]) -> Vec<(Ticket, Publish)> {
        self.feed(bytes);
        self.drain()
    }

    fn drain(&mut self) -> Vec<(Ticket, Publish)> {
        let mut messages = Vec::new();
        while let Some(delivery) = self.poll().expect("no violation") {
            match delivery {
                Delivery::Publish { ticket, publish } => messages.push((ticket, publish)),
                Delivery::Oversized { .. } => panic!("nothing was oversized"),
            }
        }
        messages
    }

    fn message(&mut self, message: &Message) -> Ticket {
        let mut messages = self.messages(&message.build());
        assert_eq!(messages.len(), 1);
        messages.remove(0).0
    }

    /// Feeds bytes that break the protocol. Returns the violation and what was sent because of it.
    fn violation(&mut self, bytes: &[u8]) -> (Violation, Vec<u8>) {
        self.feed(bytes);
        loop {
            match self.poll() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no violation"),
                Err(violation) => {
                    assert!(self.session.wants_close());
                    assert!(matches!(self.poll(), Ok(None)), "nothing comes after a violation");
                    return (violation, self.transmit());
                }
            }
        }
    }

    fn transmit(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.session.poll_transmit(self.now, &mut out);
        out
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// Why the last connection ended, and the pause after it.
    fn last_loss(&mut self) -> (Cause, Duration) {
        let mut losses = self.events().into_iter().filter_map(|event| match event {
            Event::Disconnected { cause, retry_in: Some(pause) } => Some((cause, pause)),
            _ => None,
        });
        losses.next_back().expect("a connection was lost")
    }
}

/// The time at which every test begins.
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise; it is only ever added to")]
fn start() -> Instant {
    Instant::now()
}

/// Splits what was sent into packets.
fn packets(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let (length, width) = remaining(bytes);
        let (packet, rest) = bytes.split_at(1 + width + length);
        packets.push(packet.to_vec());
        bytes = rest;
    }
    packets
}

fn remaining(packet: &[u8]) -> (usize, usize) {
    let mut length = 0;
    for (index, byte) in packet[1..].iter().enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (length, index + 1);
        }
    }
    panic!("a cut packet was sent");
}

fn body(packet: &[u8]) -> &[u8] {
    &packet[1 + remaining(packet).1..]
}

/// The filters of a SUBSCRIBE or UNSUBSCRIBE, with the options of the former.
fn filters(packet: &[u8], protocol: Protocol) -> Vec<(String, u8)> {
    let subscribe = packet[0] == 0x82;
    if !subscribe && packet[0] != 0xa2 {
        return Vec::new();
    }
    let body = body(packet);
    let mut at = 2;
    if protocol == Protocol::V5 {
        at += 1 + usize::from(body[2]);
    }
    let mut filters = Vec::new();
    while at < body.len() {
        let length = usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        let filter = String::from_utf8(body[at + 2..at + 2 + length].to_vec()).unwrap();
        at += 2 + length;
        filters.push((filter, if subscribe { body[at] } else { 0 }));
        at += usize::from(subscribe);
    }
    filters
}

fn puback(id: u16) -> Vec<u8> {
    wire::packet(0x40, &id.to_be_bytes())
}

fn pubrec(id: u16) -> Vec<u8> {
    wire::packet(0x50, &id.to_be_bytes())
}

fn pubcomp(id: u16) -> Vec<u8> {
    wire::packet(0x70, &id.to_be_bytes())
}
