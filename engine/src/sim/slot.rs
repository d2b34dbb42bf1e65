//! One session of the process and its socket: what `shard::connection` is, in the model.

use std::{
    collections::{HashSet, VecDeque},
    time::Instant,
};

use super::{
    broker::Broker,
    checker::{Checker, identify},
    context::{Context, Event},
    kafka::Cluster,
    line::Line,
    plan::{Bug, Plan},
};
use crate::{
    lane::OVERHEAD,
    message::{Publish, Qos, Ticket},
    mqtt::{Cause, Delivery, Input, Session},
    settings::Settings,
};

/// Bytes of a chunk of the input: the least.
const CHUNK: usize = 16 << 10;

/// A session, its connection, and what waits.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) session: Session,
    input: Input,
    /// The open connection.
    pub(super) connection: Option<usize>,
    dialling: bool,
    /// What the socket holds, and whether its end follows.
    socket: VecDeque<u8>,
    ended: bool,
    /// Waits for its Kafka topic.
    stalled: Option<(Ticket, Publish)>,
    pub(super) offered: bool,
    /// A receipt came: another turn follows this one.
    pub(super) rung: bool,
    pub(super) read_at: Instant,
    /// Identifiers of which a PUBACK was written, for [`Bug::DupSuppressed`].
    answered: HashSet<u16>,
}

/// Everything outside the process that a slot speaks to.
#[derive(Debug)]
pub(super) struct Outside<'a> {
    pub(super) broker: &'a mut Broker,
    pub(super) cluster: &'a Cluster,
    pub(super) checker: &'a mut Checker,
    pub(super) life: u32,
    pub(super) share: usize,
    pub(super) bug: Option<Bug>,
    /// Of a disk job, microseconds.
    pub(super) disk_latency: u64,
}

impl Slot {
    pub(super) fn new(plan: &Plan, settings: &Settings, index: usize, life: u32, now: Instant) -> Slot {
        let source = &settings.sources[0];
        let seed = plan.seed ^ u64::from(life) << 8 ^ index as u64;
        Slot {
            session: Session::new(source, &source.sessions[index], 0, index, seed),
            input: Input::new(CHUNK),
            connection: None,
            dialling: false,
            socket: VecDeque::new(),
            ended: false,
            stalled: None,
            offered: false,
            rung: false,
            read_at: now,
            answered: HashSet::new(),
        }
    }

    /// The dial has come to its end.
    pub(super) fn dialled(&mut self, cx: &mut Context, index: usize, connection: Option<usize>) {
        if !std::mem::take(&mut self.dialling) {
            return;
        }
        match connection {
            Some(_) => {
                self.connection = connection;
                self.socket.clear();
                self.ended = false;
                self.input = Input::new(CHUNK);
                self.session.handle_connected(cx.instant());
            }
            None => self.session.handle_connect_failed(cx.instant(), "nobody is there"),
        }
        cx.tell(|| format!("session {index}: dialled {connection:?}"));
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.socket.extend(bytes);
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// The shard comes to its end.
    pub(super) fn stop(&mut self, cx: &Context, past_deadline: bool) {
        self.session.handle_shutdown();
        if past_deadline {
            self.session.handle_shutdown_deadline();
        }
        if std::mem::take(&mut self.dialling) {
            self.session.handle_disconnected(cx.instant(), Cause::Shutdown);
        }
    }

    /// When it wants a turn although nothing came.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout().filter(|_| !self.dialling)
    }

    /// One turn; whether another is to follow.
    pub(super) fn turn(&mut self, cx: &mut Context, index: usize, line: &mut Line, out: &mut Outside<'_>) -> bool {
        let now = cx.instant();
        if self.connection.is_none() {
            self.dial(cx, index, out.life);
            self.tell_events(cx, index);
            return false;
        }
        self.session.handle_timeout(now);
        self.look_at_budget(now, out.share);
        let fed = self.feed(cx, line, out);
        self.look_at_budget(now, out.share);
        let read = !self.session.is_held() && !self.session.wants_close() && self.read(cx);
        let fed = (read && self.feed(cx, line, out)) | fed;
        let reading = !self.session.is_held() && !self.session.wants_close();
        if !read && reading && self.ended && self.socket.is_empty() {
            self.close(cx, index, Cause::Eof, out.broker);
            return true;
        }
        self.transmit(cx, out);
        if self.session.wants_close() {
            self.close(cx, index, Cause::Shutdown, out.broker);
            return true;
        }
        self.tell_events(cx, index);
        std::mem::take(&mut self.rung) || read || fed
    }

    fn dial(&mut self, cx: &mut Context, index: usize, life: u32) {
        if !self.dialling && self.session.poll_connect(cx.instant()).is_some() {
            self.dialling = true;
            let pause = cx.micros(20, 2_000);
            cx.after(pause, Event::Dialled { life, slot: index });
        }
    }

    fn look_at_budget(&mut self, now: Instant, share: usize) {
        let used = self.session.unacknowledged_bytes() as usize + self.session.unacknowledged() * OVERHEAD;
        self.session.set_paused(now, used >= share || self.stalled.is_some());
    }

    fn read(&mut self, cx: &mut Context) -> bool {
        let spare = self.input.spare();
        let most = spare.len().min(self.socket.len());
        if most == 0 {
            return false;
        }
        let count = if cx.chance(0.8) { most } else { cx.number(1, most) };
        for (place, byte) in spare.iter_mut().zip(self.socket.drain(..count)) {
            *place = byte;
        }
        self.input.advance(count);
        self.read_at = cx.instant();
        true
    }

    /// Takes what was read as far as it goes.
    fn feed(&mut self, cx: &mut Context, line: &mut Line, out: &mut Outside<'_>) -> bool {
        let now = cx.instant();
        let mut fed = false;
        if let Some(stalled) = self.stalled.take() {
            self.session.set_paused(now, false);
            self.stalled = self.offer(cx, stalled, line, out);
            fed = self.stalled.is_none();
        }
        while self.stalled.is_none() {
            match self.session.poll_publish(now, &mut self.input) {
                Ok(Some(Delivery::Publish { ticket, publish })) => {
                    self.stalled = self.offer(cx, (ticket, publish), line, out);
                    fed = true;
                }
                Ok(Some(Delivery::Oversized { .. })) => {
                    cx.fail(|| "mqtt: a message is said to be oversized".to_owned())
                }
                Ok(None) => break,
                Err(violation) => {
                    cx.fail(|| format!("mqtt: the session sees a violation: {violation}"));
                    break;
                }
            }
        }
        if fed {
            self.offered = true;
            if self.session.saturated() {
                line.saturated(now);
            }
            line.flush(cx, out.cluster);
        }
        fed
    }

    /// Offers a message to the lane; it comes back where its Kafka topic is not known.
    fn offer(
        &mut self,
        cx: &mut Context,
        (ticket, publish): (Ticket, Publish),
        line: &mut Line,
        out: &mut Outside<'_>,
    ) -> Option<(Ticket, Publish)> {
        let Some(id) = identify(&publish.payload).filter(|id| (*id as usize) < out.checker.messages.len()) else {
            cx.fail(|| "phantom: the session hands out a message that was never published".to_owned());
            return None;
        };
        if out.bug == Some(Bug::DupSuppressed)
            && publish.qos == Qos::AtLeastOnce
            && publish.dup
            && self.answered.contains(&publish.packet_id)
        {
            self.session.handle_receipt(ticket);
            return None;
        }
        let Some(topic) = line.topic() else { return Some((ticket, publish)) };
        out.checker.messages[id as usize].taken = out.life;
        let early = line.offer(cx.instant(), ticket, publish, topic);
        if early && out.bug == Some(Bug::ReceiptBeforeSync) {
            self.session.handle_receipt(ticket);
        }
        None
    }

    fn transmit(&mut self, cx: &mut Context, out: &mut Outside<'_>) {
        let mut bytes = Vec::new();
        self.session.poll_transmit(cx.instant(), &mut bytes);
        if bytes.is_empty() {
            return;
        }
        if out.bug == Some(Bug::DupSuppressed) {
            // PUBACKs are four bytes; whatever else comes between them is not looked for.
            let pubacks = bytes.chunks(4).filter(|packet| packet.len() == 4 && packet[..2] == [0x40, 2]);
            self.answered.extend(pubacks.map(|packet| u16::from_be_bytes([packet[2], packet[3]])));
        }
        let connection = self.connection.expect("connected");
        out.broker.written(cx, out.checker, connection, &bytes);
    }

    fn close(&mut self, cx: &mut Context, index: usize, cause: Cause, broker: &mut Broker) {
        self.session.handle_disconnected(cx.instant(), cause);
        if let Some(connection) = self.connection.take() {
            broker.closed(cx, connection);
        }
        self.tell_events(cx, index);
    }

    fn tell_events(&mut self, cx: &mut Context, index: usize) {
        while let Some(event) = self.session.poll_event() {
            cx.tell(|| format!("session {index}: {event:?}"));
        }
    }
}
