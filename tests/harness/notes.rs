//! What a proxy remembers of the MQTT packets that passed.

use std::sync::Mutex;

use crate::{
    proxy::Direction,
    scan::Scanner,
    tap::{Tap, Tapped},
    wire::{self, Frame, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL},
};

/// Most packets noted: far above what any test sends, and a bound all the same.
const NOTED: usize = 4_000_000;

/// A PUBLISH of QoS 1 or 2 or an acknowledgement that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Number of the connection, from 0.
    pub connection: usize,
    /// Which way it went.
    pub direction: Direction,
    /// Packet type, as in [`wire`].
    pub kind: u8,
    /// Whether the DUP flag of a PUBLISH is set.
    pub dup: bool,
    /// Packet identifier.
    pub id: u16,
}

/// By the kind of proxy.
#[derive(Debug)]
pub(crate) enum Notes {
    /// The bytes are nobody's business.
    Nothing,
    /// Each packet.
    Packets(Mutex<Vec<Packet>>),
    /// The messages that were acknowledged.
    Tap(Mutex<Box<Tap>>),
}

impl Notes {
    pub(crate) fn packets() -> Notes {
        Notes::Packets(Mutex::default())
    }

    /// Bytes of a connection pass.
    pub(crate) fn passed(&self, connection: usize, direction: Direction, scanner: &mut Scanner, bytes: &[u8]) {
        match self {
            Notes::Nothing => {}
            Notes::Packets(packets) => {
                let mut packets = packets.lock().expect("unpoisoned");
                scanner.scan(bytes, |frame| packets.extend(packet(connection, direction, frame)));
                assert!(packets.len() < NOTED, "more packets at the proxy than it notes");
            }
            Notes::Tap(tap) => {
                let mut tap = tap.lock().expect("unpoisoned");
                scanner.scan(bytes, |frame| tap.passed(connection, direction, frame));
            }
        }
    }

    /// A connection has ended.
    pub(crate) fn closed(&self, connection: usize) {
        if let Notes::Tap(tap) = self {
            tap.lock().expect("unpoisoned").closed(connection);
        }
    }

    pub(crate) fn seen_packets<T>(&self, look: impl FnOnce(&[Packet]) -> T) -> T {
        let Notes::Packets(packets) = self else { panic!("this proxy notes no packets") };
        look(&packets.lock().expect("unpoisoned"))
    }

    pub(crate) fn tapped(&self) -> Tapped {
        let Notes::Tap(tap) = self else { panic!("this proxy has no tap") };
        tap.lock().expect("unpoisoned").tapped()
    }
}

fn packet(connection: usize, direction: Direction, frame: &Frame<&[u8]>) -> Option<Packet> {
    let kind = frame.kind();
    let counts = kind == PUBLISH && frame.qos() > 0;
    let dup = kind == PUBLISH && frame.first & wire::DUP != 0;
    (counts || [PUBACK, PUBREC, PUBREL, PUBCOMP].contains(&kind)).then(|| Packet {
        connection,
        direction,
        kind,
        dup,
        id: frame.packet_id(),
    })
}
