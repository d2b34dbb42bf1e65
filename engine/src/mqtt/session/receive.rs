//! The receiving half of a session: packets in, messages out.

use std::time::Instant;

use super::{
    Delivery, Session, State,
    event::{Cause, Event, Unsupported},
    keepalive::KeepAlive,
    qos2::{COMPLETIONS, Completion, Former, Released, content},
    records::Content,
};
use crate::{
    message::{Publish, Qos, Ticket},
    mqtt::{
        frame::Protocol,
        input::Input,
        packet::{ConnAck, Packet, Skipped},
        violation::Violation,
        window::Position,
    },
    settings::Version,
};

impl Session {
    /// Takes packets off `input` until a message is to be routed. `None`: more bytes are needed, or nothing may be
    /// handed out for now; so call it again after bytes, after receipts and after the end of a pause.
    ///
    /// # Errors
    /// The broker broke the protocol. The session then wants to close, hands out nothing more of this connection
    /// and connects again later; the driver only has to count.
    pub fn poll_publish(&mut self, now: Instant, input: &mut Input) -> Result<Option<Delivery>, Violation> {
        self.received = input.received();
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.heard(now, self.received);
        }
        while matches!(self.state, State::Online | State::Handshake { connect_sent: true, .. }) {
            if self.is_held() && self.codec.publish_is_next(input) {
                self.rest(now);
                return Ok(None);
            }
            if self.keep_alive.as_ref().is_some_and(KeepAlive::is_resting) {
                self.rest(now);
            }
            // A message is moved as seldom as can be: each move of it costs as much as the checks around it.
            match self.codec.decode(input) {
                Ok(Some(Packet::Publish { mut publish, alias })) if self.is_online() => {
                    match self.handle_publish(&mut publish, alias) {
                        Ok(Some(ticket)) => return Ok(Some(Delivery::Publish { ticket, publish })),
                        Ok(None) => {}
                        Err(violation) => return Err(self.violated(violation)),
                    }
                }
                Ok(Some(other)) => match self.handle_control(now, other) {
                    Ok(Some(wire)) => return Ok(Some(Delivery::Oversized { wire })),
                    Ok(None) => {}
                    Err(violation) => return Err(self.violated(violation)),
                },
                Ok(None) => return Ok(None),
                Err(violation) => return Err(self.violated(violation)),
            }
        }
        Ok(None)
    }

    #[cold]
    fn violated(&mut self, violation: Violation) -> Violation {
        self.close(Some(violation.reason_code()), Cause::Violation(violation));
        violation
    }

    /// The ticket of a message that is to be handed out; `None` if it is not.
    #[inline(always)]
    fn handle_publish(&mut self, publish: &mut Publish, alias: u16) -> Result<Option<Ticket>, Violation> {
        if alias != 0 {
            self.aliases.resolve(alias, &mut publish.topic)?;
        }
        self.stats.retained += u64::from(publish.retain);
        let content = match publish.qos {
            Qos::ExactlyOnce => content(publish.topic.as_bytes(), &publish.payload),
            Qos::AtMostOnce | Qos::AtLeastOnce => 0,
        };
        let position = self.admit((publish.qos, publish.dup), publish.packet_id, publish.wire, content)?;
        Ok(position.map(|position| self.ticket(position)))
    }

    /// The bytes of a skipped message that is to be reported; `None` if it is not.
    fn handle_skipped(&mut self, mut skipped: Skipped) -> Result<Option<u32>, Violation> {
        if skipped.alias != 0 {
            self.aliases.resolve(skipped.alias, &mut skipped.topic)?;
        }
        let content = content(skipped.topic.as_bytes(), &[]);
        let position = self.admit((skipped.qos, skipped.dup), skipped.packet_id, skipped.wire, content)?;
        Ok(position.map(|position| {
            self.window.resolve(position as u32);
            skipped.wire
        }))
    }

    /// Gives a PUBLISH its place in the window; `None` if it is not to be handed out: it was before, or the session
    /// is shutting down and leaves it to the broker.
    #[inline]
    fn admit(
        &mut self,
        (qos, dup): (Qos, bool),
        packet_id: u16,
        wire: u32,
        content: Content,
    ) -> Result<Option<Position>, Violation> {
        if self.shutdown && !self.is_repetition((qos, dup), packet_id, content) {
            self.stats.declined += 1;
            return Ok(None);
        }
        self.stats.publishes[qos as usize] += 1;
        self.stats.dup += u64::from(dup);
        if qos == Qos::AtMostOnce {
            return Ok(Some(self.window.push(0, qos, wire)));
        }
        let limit = self.source.receive_maximum;
        if self.codec.protocol() == Protocol::V5
            && self.window.in_flight() + self.open_ids.unreleased() >= usize::from(limit)
            && !self.bears_overrun()
        {
            return Err(Violation::ReceiveMaximum { limit });
        }
        if qos == Qos::AtLeastOnce {
            if self.window.reattach(packet_id, dup, wire) {
                self.stats.attached += 1;
                return Ok(None);
            }
            return Ok(Some(self.window.push(packet_id, qos, wire)));
        }
        match self.open_ids.get(packet_id) {
            Some((position, _)) if self.is_repetition((qos, dup), packet_id, content) => {
                self.stats.repeated += 1;
                self.window.owe(packet_id, qos, position, wire);
                return Ok(None);
            }
            // Without the DUP flag the sender means a new message under this identifier ([MQTT-3.3.1-1]), and so it does with
            // another content. mosquitto 2.0 does that when it has forgotten a PUBREL; taken for a repetition, those messages
            // would be acknowledged and lost.
            Some(_) => self.open_ids.close(packet_id),
            None => {}
        }
        let position = self.window.push(packet_id, qos, wire);
        self.open_ids.open(packet_id, position, content);
        Ok(Some(position))
    }

    /// Whether a message of QoS 2 is one that was handed out: only its PUBREC is missing.
    fn is_repetition(&self, (qos, dup): (Qos, bool), packet_id: u16, content: Content) -> bool {
        let opened = || self.open_ids.get(packet_id).map(|(_, opened)| opened);
        qos == Qos::ExactlyOnce && dup && opened() == Some(content)
    }

    pub(super) fn ticket(&self, position: Position) -> Ticket {
        Ticket::new(self.shard, self.slot, self.generation, position as u32)
    }

    /// Handles everything but a PUBLISH. Returns the bytes of a skipped one that is to be reported.
    #[cold]
    fn handle_control(&mut self, now: Instant, packet: Packet) -> Result<Option<u32>, Violation> {
        let online = self.is_online();
        match packet {
            Packet::Skipped(skipped) if online => return self.handle_skipped(skipped),
            Packet::ConnAck(ack) if !online => self.handle_connack(now, *ack)?,
            Packet::PubRel { packet_id } if online => {
                self.exchanged = Some(now);
                self.handle_pubrel(packet_id)?;
            }
            Packet::SubAck { packet_id, codes } if online => {
                self.subscriber.handle_suback(now, packet_id, &codes, &mut self.events)?;
            }
            Packet::UnsubAck { packet_id } if online => self.subscriber.handle_unsuback(now, packet_id)?,
            Packet::PingResp if online => {
                if let Some(keep_alive) = &mut self.keep_alive {
                    keep_alive.answered(now);
                }
            }
            Packet::Disconnect { reason: 0x8e, .. } if online => self.close(None, Cause::TakenOver),
            Packet::Disconnect { reason, text, server } if online => {
                let (text, server) = (text.map(|text| text.to_string()), server.map(|server| server.to_string()));
                self.close(None, Cause::Disconnect { reason, text, server });
            }
            other => return Err(Violation::Unexpected { packet_type: other.packet_type() }),
        }
        Ok(None)
    }

    fn handle_pubrel(&mut self, packet_id: u16) -> Result<(), Violation> {
        match self.open_ids.release(packet_id) {
            (Released::Early, _) => return Err(Violation::EarlyRelease),
            // PUBCOMPs that may leave with the next transmission do not count, however many PUBRELs came in one piece.
            _ if self.completions.len() >= COMPLETIONS && self.completion_waits() => return Err(Violation::Releases),
            (released, after) => {
                let known = released == Released::Known;
                self.completions.push_back(Completion { packet_id, known, after });
            }
        }
        Ok(())
    }

    /// Whether the first PUBCOMP waits for its record.
    fn completion_waits(&self) -> bool {
        self.completions.front().is_some_and(|first| !self.open_ids.are_durable(first.after))
    }

    fn handle_connack(&mut self, now: Instant, ack: ConnAck) -> Result<(), Violation> {
        if ack.session_present && (ack.reason != 0 || self.is_clean()) {
            return Err(Violation::SessionPresent);
        }
        if ack.reason != 0 {
            self.subscriber.handle_refused();
        }
        if let Some(cause) = self.objection(&ack) {
            self.close(Some(0).filter(|_| ack.reason == 0), cause);
            return Ok(());
        }
        if ack.session_present {
            if !self.accepted_before && self.source.qos == Qos::ExactlyOnce && self.former == Former::Unknown {
                self.begun = self.open_ids.clear();
                self.events.push(Event::PacketIdsUnknown);
            }
        } else {
            self.forget();
        }
        self.open_ids.start_connection();
        self.exchanged = Some(now);
        if let Some(ending) = &mut self.ending {
            ending.start_connection(ack.session_present);
        }
        self.subscriber.start_connection(ack.session_present, self.address.as_ref(), ack.max_packet);
        let seconds = ack.keep_alive.unwrap_or(self.source.keep_alive);
        self.keep_alive = Some(KeepAlive::new(now, seconds, self.received));
        self.connector.accepted(now);
        self.accepted_before = true;
        self.state = State::Online;
        if let Some(address) = self.address.clone() {
            self.events.push(Event::Connected {
                address,
                protocol: self.codec.protocol(),
                session_present: ack.session_present,
                receive_maximum: self.source.receive_maximum,
            });
        }
        self.rest(now);
        Ok(())
    }

    /// Why the connection is of no use although, or because, CONNACK came.
    fn objection(&self, ack: &ConnAck) -> Option<Cause> {
        let needs_ids = self.plan.subscriptions.iter().any(|subscription| subscription.id.is_some());
        match ack.reason {
            0 if needs_ids && !ack.subscription_ids => Some(Cause::Unsupported(Unsupported::SubscriptionIds)),
            0 if ack.session_present && !self.accepted_before && self.former == Former::Lost => {
                Some(Cause::PacketIdsLost)
            }
            0 if self.source.share.is_some() && !ack.shared => Some(Cause::Unsupported(Unsupported::Shared)),
            0 => None,
            0x84 if needs_ids && self.source.version == Version::Auto => {
                Some(Cause::Unsupported(Unsupported::Version5))
            }
            reason => {
                let (text, server) = (ack.text.as_ref(), ack.server.as_ref());
                let (text, server) = (text.map(|text| text.to_string()), server.map(|server| server.to_string()));
                Some(Cause::Refused { reason, text, server })
            }
        }
    }

    /// The broker has no session: what it held is gone, and what is known here of it means nothing any more
    /// (MQTT 5.0 §3.2.2.1.1). Receipts of messages that were handed out will find another generation.
    fn forget(&mut self) {
        let unacknowledged = self.window.unacknowledged();
        if !self.window.is_empty() {
            self.generation = self.generation.wrapping_add(1);
        }
        self.window.clear();
        self.begun = self.open_ids.clear();
        if self.accepted_before || matches!(self.former, Former::Open(_)) {
            self.events.push(Event::SessionLost { unacknowledged });
        }
    }

    /// Clean Start is for the first connection of the process alone, and for the end of a session.
    pub(super) fn is_clean(&self) -> bool {
        match &self.ending {
            Some(ending) => ending.is_empty(),
            None => self.source.clean_start && !self.accepted_before,
        }
    }
}
