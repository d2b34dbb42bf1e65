//! Drives one session's socket: bytes in, deliveries to the intake, acknowledgements out.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use futures_lite::future::poll_fn;
use tokio::{net::TcpStream, task::spawn_blocking};

use super::{
    alarm::Alarm,
    clock,
    dial::dial,
    intake::Stalled,
    state::{Shard, Slot},
};
use crate::{
    lane,
    message::{DropReason, RouteId, Ticket},
    metrics::{Counter, Stage},
    mqtt::{Cause, Delivery, Input},
    settings::Address,
};

/// Output kept for reuse between writes, bytes.
const OUTPUT: usize = 64 << 10;
/// Output that the broker has not taken, in bytes, above which nothing more is read: whatever it sends is answered, and
/// the answers must not pile up. All acknowledgements of the largest window fit, four bytes each. Beyond it grows by the
/// answers to what one input holds.
pub(super) const OUTPUT_LIMIT: usize = 256 << 10;
const _: () = assert!(OUTPUT_LIMIT >= 4 * u16::MAX as usize);

/// Runs a session until the shard has drained it.
pub(super) async fn run(shard: Rc<Shard>, index: usize) {
    let slot = &shard.slots[index];
    while let Some(address) = next_address(&shard, slot).await {
        let dialled = open(&shard, slot, address.clone()).await;
        let now = clock::now();
        match dialled {
            None => slot.session.borrow_mut().handle_disconnected(now, Cause::Shutdown),
            Some(Err(error)) => {
                slot.session.borrow_mut().handle_connect_failed(now, &format!("{address}: {error}"));
            }
            Some(Ok(socket)) => {
                slot.session.borrow_mut().handle_connected(now);
                let cause = Connection::new(&shard, slot, socket).await;
                slot.unwritten.set(0);
                slot.session.borrow_mut().handle_disconnected(clock::now(), cause);
            }
        }
        shard.tell_events(slot);
    }
    shard.control.session_finished();
    shard.bell.ring();
}

/// Waits until the session wants a connection; `None` when it is finished.
async fn next_address(shard: &Shard, slot: &Slot) -> Option<Address> {
    let mut alarm = Alarm::default();
    poll_fn(|cx| {
        loop {
            let now = clock::now();
            let mut session = slot.session.borrow_mut();
            if shard.control.is_draining() || session.is_closed() {
                return Poll::Ready(None);
            }
            if shard.prepared.get()
                && let Some(address) = session.poll_connect(now)
            {
                return Poll::Ready(Some(address));
            }
            let deadline = session.poll_timeout();
            drop(session);
            let rung = slot.bell.poll(cx).is_ready();
            if !rung && alarm.poll(cx, deadline).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// Opens a TCP connection; `None` when the shard is drained before it is open. The thread that dials is not waited for:
/// it may take seconds, and the executor's end leaves it behind.
async fn open(shard: &Shard, slot: &Slot, address: Address) -> Option<io::Result<TcpStream>> {
    let mut dialling = spawn_blocking(move || dial(&address));
    poll_fn(|cx| {
        loop {
            if shard.control.is_draining() {
                return Poll::Ready(None);
            }
            if slot.bell.poll(cx).is_pending() {
                break;
            }
        }
        Pin::new(&mut dialling).poll(cx).map(Some)
    })
    .await
    .map(|dialled| {
        dialled.unwrap_or_else(|error| Err(error.into())).and_then(|socket| TcpStream::from_std(socket.into()))
    })
}

/// One TCP connection of a session; resolves with the cause of its end.
struct Connection<'a> {
    shard: &'a Shard,
    slot: &'a Slot,
    stream: TcpStream,
    input: Input,
    /// What the session had ready and the socket has not taken.
    output: Vec<u8>,
    /// Whether that was above [`OUTPUT_LIMIT`] when it was last looked at.
    choked: bool,
    reading: bool,
    alarm: Alarm,
}

impl<'a> Connection<'a> {
    fn new(shard: &'a Shard, slot: &'a Slot, stream: TcpStream) -> Connection<'a> {
        let output = Vec::with_capacity(OUTPUT);
        let input = Input::default();
        Connection { shard, slot, stream, input, output, choked: false, reading: true, alarm: Alarm::default() }
    }

    /// Takes what has been read as far as it goes.
    fn feed(&mut self, now: Instant) {
        let shard = self.shard;
        let mut session = self.slot.session.borrow_mut();
        let mut intake = shard.intake.borrow_mut();
        let mut driver = shard.driver.borrow_mut();
        let mut tally = shard.tally.borrow_mut();
        let (source, mut fed) = (self.slot.source, false);
        let mut waiting = self.slot.stalled.borrow_mut();
        if let Some(stalled) = waiting.take() {
            session.set_paused(now, false);
            let ticket = stalled.ticket();
            let offered = intake.again(now, source, &session, stalled, &mut driver);
            *waiting = shard.account(&mut tally, &mut session, ticket, offered);
            fed = waiting.is_none();
        }
        while waiting.is_none() {
            match session.poll_publish(now, &mut self.input) {
                Ok(Some(Delivery::Publish { ticket, publish })) => {
                    let offered = intake.offer(now, source, &session, (ticket, publish), &mut driver);
                    *waiting = shard.account(&mut tally, &mut session, ticket, offered);
                    fed = true;
                }
                Ok(Some(Delivery::Oversized { .. })) => tally.dropped(RouteId::NONE, DropReason::Oversized),
                Ok(None) => break,
                Err(violation) => {
                    shard.count_violation(violation);
                    break;
                }
            }
        }
        if fed {
            self.slot.offered.set(true);
            if session.in_flight() >= usize::from(shard.settings.sources[source].receive_maximum) {
                shard.metrics().add(Counter::MqttWindowFull, 1);
            }
            if session.saturated() {
                driver.saturated(now);
            }
            driver.flush(now, &mut shard.turn.borrow_mut());
            shard.metrics().record(Stage::Decode, micros(now, clock::now()), 1);
            shard.record_hold_time(&mut driver);
            // The lane's task arms its timer, and takes what was refused at once.
            shard.bell.ring();
        }
        if self.slot.keeps_ids.is_some() && session.poll_id().is_some() {
            shard.bell.ring();
        }
        tally.publish(shard.metrics());
    }

    /// Whether the session may go on: nothing stalls, its share of the memory budget is not used up, and the broker takes
    /// what is written to it.
    fn look_at_budget(&mut self, now: Instant) {
        let mut session = self.slot.session.borrow_mut();
        let used = session.unacknowledged_bytes() as usize + session.unacknowledged() * lane::OVERHEAD;
        let full = used >= self.shard.share();
        let choked = self.output.len() > OUTPUT_LIMIT;
        session.set_paused(now, full || choked || self.slot.stalled.borrow().is_some());
        if choked && !std::mem::replace(&mut self.choked, choked) {
            self.shard.metrics().add(Counter::MqttOutputFull, 1);
        }
        self.choked = choked;
        let reading = !session.is_held();
        if self.reading && !reading {
            self.shard.metrics().add(Counter::MqttReadPauses, 1);
            self.shard.metrics().add(Counter::MemoryFull, u64::from(full));
        }
        self.reading = reading;
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<usize>> {
        if !self.reading || self.slot.session.borrow().wants_close() {
            return Poll::Pending;
        }
        let spare = self.input.spare();
        if spare.is_empty() {
            return Poll::Pending;
        }
        let count = ready!(read(&self.stream, cx, spare))?;
        self.input.advance(count);
        self.slot.read_at.set(now);
        self.shard.metrics().add(Counter::MqttReadBytes, count as u64);
        Poll::Ready(Ok(count))
    }

    /// Writes what the session has ready. Ready when all of it is written.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        self.slot.session.borrow_mut().poll_transmit(now, &mut self.output);
        let mut written = 0;
        let result = loop {
            if written == self.output.len() {
                break Poll::Ready(Ok(()));
            }
            match write(&self.stream, cx, &self.output[written..]) {
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        // What is written goes at once: a broker that reads slowly, but reads, must not make the rest grow.
        self.output.drain(..written);
        self.slot.unwritten.set(self.output.len());
        self.shard.metrics().add(Counter::MqttWrittenBytes, written as u64);
        if written > 0
            && self.output.is_empty()
            && let Some(at) = self.slot.confirmed_at.take()
        {
            self.shard.metrics().record(Stage::Acknowledge, micros(at, clock::now()), 1);
        }
        result
    }

    /// One turn. Ready with the cause when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        let now = clock::now();
        self.slot.session.borrow_mut().handle_timeout(now);
        self.look_at_budget(now);
        self.feed(now);
        self.look_at_budget(now);
        let read = match self.read(cx, now) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Cause::Eof),
            Poll::Ready(Ok(_)) => {
                self.feed(now);
                true
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Cause::Io(error.to_string())),
            Poll::Pending => false,
        };
        self.shard.tell_events(self.slot);
        let flushed = match self.write(cx, now) {
            Poll::Ready(Err(error)) => return Poll::Ready(Cause::Io(error.to_string())),
            written => written.is_ready(),
        };
        // Past the drain's deadline a broker that takes no bytes is not waited for.
        let patient = !self.shard.control.is_past_deadline();
        if (flushed || !patient) && self.slot.session.borrow().wants_close() {
            // The session knows why, and its own reason counts.
            return Poll::Ready(Cause::Shutdown);
        }
        let deadline = self.slot.session.borrow().poll_timeout();
        let rung = self.slot.bell.poll(cx).is_ready();
        let fired = self.alarm.poll(cx, deadline).is_ready();
        let relieved = self.choked && self.output.len() <= OUTPUT_LIMIT;
        if read || rung || fired || relieved {
            // Another turn, after the other tasks of this shard had theirs.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Future for Connection<'_> {
    type Output = Cause;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cause> {
        self.get_mut().turn(cx)
    }
}

/// Reads straight into the session's buffer.
fn read(stream: &TcpStream, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return Poll::Ready(read),
        }
    }
}

fn write(stream: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written),
        }
    }
}

impl Stalled {
    fn ticket(&self) -> Ticket {
        match self {
            Stalled::Topic(ticket, _) => *ticket,
            Stalled::Full(_, record) => record.ticket,
        }
    }
}

pub(super) fn micros(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_micros() as u64
}
