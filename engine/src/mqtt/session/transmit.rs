//! The sending half of a session: everything that a turn may write, in one piece.

use std::time::Instant;

use super::{
    Session, State,
    alias::TOPIC_ALIAS_MAXIMUM,
    event::{Cause, Event},
};
use crate::{
    message::Qos,
    mqtt::packet::{self, Connect},
    settings::Secret,
};

impl Session {
    /// Appends everything that can be sent now. What is appended counts as sent.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) {
        let before = out.len();
        match &mut self.state {
            State::Handshake { connect_sent, .. } if !*connect_sent => {
                *connect_sent = true;
                self.subscriber.handle_connect(self.address.as_ref());
                self.put_connect(out);
            }
            State::Online => self.put_online(now, out),
            State::Closing { reason, .. } => {
                let reason = reason.take();
                if self.keep_alive.is_some() {
                    self.put_acknowledgements(out);
                }
                if let Some(reason) = reason {
                    packet::put_disconnect(out, reason, self.codec.protocol());
                }
            }
            _ => return,
        }
        if out.len() > before
            && let Some(keep_alive) = &mut self.keep_alive
        {
            keep_alive.sent(now);
        }
    }

    fn put_connect(&self, out: &mut Vec<u8>) {
        let source = &self.source;
        self.codec.put_connect(
            &Connect {
                client_id: &self.plan.client_id,
                clean: self.is_clean(),
                keep_alive: source.keep_alive,
                session_expiry: source.session_expiry,
                receive_maximum: source.receive_maximum,
                max_packet: source.announce_max_packet.then_some(source.max_packet),
                topic_alias_maximum: TOPIC_ALIAS_MAXIMUM,
                username: source.username.as_ref().map(Secret::expose),
                password: source.password.as_ref(),
            },
            out,
        );
    }

    fn put_online(&mut self, now: Instant, out: &mut Vec<u8>) {
        let pubrecs = self.stats.pubrecs;
        self.put_acknowledgements(out);
        if self.stats.pubrecs > pubrecs {
            self.exchanged = Some(now);
        }
        if !self.subscriber.is_settled() && !self.shutdown && self.open_ids.are_durable(self.begun) {
            self.subscriber.poll(now, &self.codec, &mut self.events, out);
        }
        if self.is_at_end(now) {
            packet::put_last_disconnect(out, self.codec.protocol());
        } else if self.shutdown && self.is_idle() {
            packet::put_disconnect(out, 0, self.codec.protocol());
            self.close(None, Cause::Shutdown);
        } else if let Some(keep_alive) = &mut self.keep_alive
            && keep_alive.poll_ping(now)
        {
            packet::put_pingreq(out);
            self.stats.pings += 1;
        }
    }

    /// Whether this connection has done what it can for the end of the session; it is then to be closed. On 3.1.1 it takes
    /// two, and only the one that began clean is the last.
    fn is_at_end(&mut self, now: Instant) -> bool {
        let busy = !self.subscriber.is_settled() || !self.is_idle();
        let Some(ending) = &mut self.ending else { return false };
        if self.shutdown || !ending.poll(now, self.stats.publishes.iter().sum(), busy) {
            return false;
        }
        if ending.is_last(self.codec.protocol()) {
            self.shutdown = true;
            self.events.push(Event::Ended { present: ending.was_present() });
        }
        self.close(None, Cause::Shutdown);
        true
    }

    #[inline]
    fn put_acknowledgements(&mut self, out: &mut Vec<u8>) {
        let (open_ids, stats) = (&mut self.open_ids, &mut self.stats);
        self.window.release(|packet_id, qos| {
            if qos == Qos::ExactlyOnce {
                if !open_ids.may_receive(packet_id) {
                    return false;
                }
                packet::put_pubrec(out, packet_id);
                open_ids.received(packet_id);
                stats.pubrecs += 1;
            } else {
                packet::put_puback(out, packet_id);
                stats.pubacks += 1;
            }
            true
        });
        while let Some(completion) = self.completions.pop_front_if(|next| open_ids.are_durable(next.after)) {
            stats.pubcomps += 1;
            packet::put_pubcomp(out, completion.packet_id, completion.known, self.codec.protocol());
        }
    }
}
