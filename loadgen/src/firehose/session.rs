//! One subscriber's session: it outlives its connections when the client asked for that (MQTT 5.0 §4.1).

use super::in_flight::{InFlight, Message, Progress};
use super::packets::Packets;
use super::queue::Queue;
use crate::mqtt::filter::Subscription;
use crate::mqtt::{Qos, Version, kind, put_ack};
use std::rc::Rc;

/// One write carries at most about this many bytes: large enough for few system calls, small enough for the caches.
pub(crate) const WRITE_TARGET: usize = 128 << 10;

/// A filter that was granted.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) subscription: Subscription,
    pub(crate) qos: Qos,
}

/// What was written by one [`Session::fill`].
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Filled {
    pub(crate) sent: u64,
    pub(crate) redelivered: u64,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) version: Version,
    pub(crate) persistent: bool,
    pub(crate) granted: Vec<Granted>,
    /// Indices of the queues that feed it, from the start of the run on.
    pub(crate) queues: Vec<usize>,
    /// The connection that it has at present.
    pub(crate) connection: Option<u64>,
    pub(crate) in_flight: InFlight,
    /// The most that may be unacknowledged on the present connection.
    window: usize,
    /// PUBLISHes of the present connection that are not acknowledged.
    on_wire: usize,
    /// Where the redelivery after a reconnect stands: place and packet identifier; none when it is through.
    redelivery: Option<(u64, u16)>,
    packets: Option<Rc<Packets>>,
}

impl Session {
    /// A session without state; `window` is the limit of the run.
    pub(crate) fn new(version: Version, window: u16) -> Self {
        Self {
            version,
            persistent: false,
            granted: Vec::new(),
            queues: Vec::new(),
            connection: None,
            in_flight: InFlight::new(window),
            window: usize::from(window),
            on_wire: 0,
            redelivery: None,
            packets: None,
        }
    }

    /// A new connection: what is unacknowledged is sent again first (MQTT 5.0 §4.4).
    pub(crate) fn handle_connected(&mut self, version: Version, window: u16, persistent: bool) {
        self.version = version;
        self.persistent = persistent;
        self.window = usize::from(window);
        self.on_wire = 0;
        self.redelivery = (self.in_flight.open() > 0).then(|| self.in_flight.oldest());
        self.packets = None;
    }

    /// Forgets the state, as a clean start or the end of a session that is not persistent demands. It keeps its queues: if
    /// the same client subscribes again, it gets what has not been sent to anyone yet. Returns how many
    /// unacknowledged messages were dropped.
    pub(crate) fn discard(&mut self, window: u16) -> usize {
        let open = self.in_flight.open();
        self.in_flight = InFlight::new(window);
        self.granted.clear();
        self.redelivery = None;
        open
    }

    /// The QoS at which messages are delivered, at most `limit`; none without a subscription.
    pub(crate) fn qos(&self, limit: Qos) -> Option<Qos> {
        let best = self.granted.iter().map(|granted| granted.qos).max()?;
        Some(best.min(limit))
    }

    /// The packets for the present connection, once they are known.
    pub(crate) fn packets(&self) -> Option<&Rc<Packets>> {
        self.packets.as_ref()
    }

    pub(crate) fn set_packets(&mut self, packets: Rc<Packets>) {
        self.packets = Some(packets);
    }

    /// A PUBACK or PUBCOMP, or a PUBREC with an error, has come: the message is done.
    #[inline]
    pub(crate) fn handle_finished(&mut self, packet_id: u16) -> Option<Message> {
        let message = self.in_flight.finish(packet_id)?;
        self.on_wire = self.on_wire.saturating_sub(1);
        Some(message)
    }

    /// A PUBREC has come: answers with PUBREL. Returns the message at the first PUBREC only.
    pub(crate) fn handle_received(&mut self, packet_id: u16, out: &mut Vec<u8>) -> Option<Message> {
        put_ack(out, kind::PUBREL | 0x02, packet_id);
        let (message, _) = self.in_flight.find(packet_id)?;
        let first = message.progress == Progress::Sent;
        message.progress = Progress::Received;
        first.then_some(*message)
    }

    /// Whether a [`Session::fill`] would write something.
    pub(crate) fn wants_to_send(&self, queue: &Queue, now: i64) -> bool {
        self.on_wire < self.window && (self.redelivery.is_some() || (self.in_flight.room() > 0 && queue.due(now) > 0))
    }

    /// Appends what may be sent now, up to [`WRITE_TARGET`].
    pub(crate) fn fill(
        &mut self,
        packets: &Packets,
        qos: Qos,
        queue: &mut Queue,
        now: i64,
        out: &mut Vec<u8>,
    ) -> Filled {
        let redelivered = self.redeliver(packets, out);
        let mut filled = Filled { sent: 0, redelivered };
        if self.redelivery.is_some() {
            return filled;
        }
        let mut budget = queue.due(now);
        if qos != Qos::AtMostOnce {
            let room = (self.window.saturating_sub(self.on_wire)).min(self.in_flight.room());
            budget = budget.min(room as u64);
        }
        while filled.sent < budget && out.len() < WRITE_TARGET {
            let sent_ns = queue.intended_ns(now);
            let (publisher, sequence) = queue.take();
            let message = Message { sequence, sent_ns, publisher, progress: Progress::Sent };
            let packet_id = match qos {
                Qos::AtMostOnce => 0,
                Qos::AtLeastOnce | Qos::ExactlyOnce => self.in_flight.push(message),
            };
            packets.put(out, &message, packet_id, false);
            filled.sent += 1;
        }
        if qos != Qos::AtMostOnce {
            self.on_wire += usize::try_from(filled.sent).expect("at most a window");
        }
        filled
    }

    fn redeliver(&mut self, packets: &Packets, out: &mut Vec<u8>) -> u64 {
        let mut count = 0;
        while let Some((place, packet_id)) = self.redelivery {
            let Some(message) = self.in_flight.at(place) else {
                self.redelivery = None;
                break;
            };
            if self.on_wire >= self.window || out.len() >= WRITE_TARGET {
                break;
            }
            match message.progress {
                Progress::Sent => packets.put(out, message, packet_id, true),
                Progress::Received => put_ack(out, kind::PUBREL | 0x02, packet_id),
                Progress::Done => {}
            }
            if message.progress != Progress::Done {
                self.on_wire += 1;
                count += 1;
            }
            self.redelivery = Some((place + 1, crate::mqtt::next_packet_id(packet_id)));
        }
        count
    }
}
