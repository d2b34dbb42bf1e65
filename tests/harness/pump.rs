//! One direction of one connection through a proxy.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    proxy::{Direction, Fault, Link, Shared},
    scan::Scanner,
    wait::{now, pause},
};

/// Time after which a blocked read looks whether the proxy has been stopped or its fault has changed.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
/// Time between two bytes of a slicer: without it the receiver reads many at once.
const SLICE: Duration = Duration::from_micros(50);
/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;
/// Most chunks on their way while there is a delay.
const HELD: usize = 512;

/// Moves bytes one way.
pub(crate) struct Pump {
    shared: Arc<Shared>,
    link: Arc<Link>,
    number: usize,
    direction: Direction,
    /// Bytes until the connection is cut.
    left: Option<usize>,
    scanner: Scanner,
    /// What waits out its delay, and since when each may go.
    held: VecDeque<(Instant, Vec<u8>)>,
}

impl Pump {
    pub(crate) fn new(
        shared: Arc<Shared>,
        link: Arc<Link>,
        number: usize,
        direction: Direction,
        left: Option<usize>,
    ) -> Pump {
        Pump { shared, link, number, direction, left, scanner: Scanner::default(), held: VecDeque::new() }
    }

    /// Until one side closes, or the proxy does.
    pub(crate) fn run(mut self) {
        match self.relay() {
            // FIN is handed on; the other direction ends when its own sender ends.
            Ok(()) => {
                let _ = self.to().shutdown(Shutdown::Write);
            }
            Err(_) if self.link.is_resetting() => {}
            Err(_) => self.link.close(),
        }
        // After a half-close the other direction still carries acknowledgements.
        if self.link.end_one() {
            self.shared.notes.closed(self.number);
        }
    }

    /// Moves bytes until the sender's FIN. An error ends the connection.
    fn relay(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            self.release()?;
            self.from().set_read_timeout(Some(self.patience()))?;
            let read = self.from().read(&mut chunk);
            match read {
                Ok(0) => return self.release_all(),
                Ok(n) => self.pass(&chunk[..n])?,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Hands bytes on, now or when their delay is over.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fault = self.leave_hole()?;
        let bytes = &bytes[..self.left.unwrap_or(bytes.len()).min(bytes.len())];
        self.left = self.left.map(|left| left - bytes.len());
        if fault.delay.is_zero() && self.held.is_empty() {
            self.write(bytes, fault)?;
        } else {
            self.held.push_back((now() + fault.delay, bytes.to_vec()));
        }
        if self.left == Some(0) {
            self.release_all()?;
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    /// Writes what has waited long enough; where too much waits, until there is room.
    fn release(&mut self) -> io::Result<()> {
        self.go_on()?;
        while let Some((due, _)) = self.held.front() {
            let left = due.saturating_duration_since(now());
            if !left.is_zero() && self.held.len() < HELD {
                break;
            }
            pause(left);
            let fault = self.leave_hole()?;
            if let Some((_, bytes)) = self.held.pop_front() {
                self.write(&bytes, fault)?;
            }
        }
        Ok(())
    }

    fn release_all(&mut self) -> io::Result<()> {
        while let Some((due, bytes)) = self.held.pop_front() {
            pause(due.saturating_duration_since(now()));
            let fault = self.leave_hole()?;
            self.write(&bytes, fault)?;
        }
        Ok(())
    }

    /// Waits while everything is held back, and says what else is to be done to the bytes.
    fn leave_hole(&self) -> io::Result<Fault> {
        loop {
            self.go_on()?;
            let fault = self.shared.fault(self.direction);
            if !fault.hole {
                return Ok(fault);
            }
            pause(LOOK);
        }
    }

    fn write(&mut self, bytes: &[u8], fault: Fault) -> io::Result<()> {
        if let Some(nanos) = (bytes.len() as u64 * 1_000_000_000).checked_div(fault.bandwidth as u64) {
            pause(Duration::from_nanos(nanos));
        }
        // Noted before it is handed on, so that no answer to it can pass unknown.
        self.shared.notes.passed(self.number, self.direction, &mut self.scanner, bytes);
        let mut to = self.to();
        if fault.slice {
            for (at, byte) in bytes.iter().enumerate() {
                if !self.shared.fault(self.direction).slice {
                    return to.write_all(&bytes[at..]);
                }
                pause(SLICE);
                to.write_all(&[*byte])?;
            }
            Ok(())
        } else {
            to.write_all(bytes)
        }
    }

    fn go_on(&self) -> io::Result<()> {
        let over = self.shared.stopped() || self.link.is_resetting();
        if over { Err(ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// How long a read may wait.
    fn patience(&self) -> Duration {
        let next = self.held.front().map(|(due, _)| due.saturating_duration_since(now()));
        next.unwrap_or(LOOK).clamp(Duration::from_millis(1), LOOK)
    }

    fn from(&self) -> &TcpStream {
        if self.direction == Direction::ToClient { &self.link.server } else { &self.link.client }
    }

    fn to(&self) -> &TcpStream {
        if self.direction == Direction::ToClient { &self.link.client } else { &self.link.server }
    }
}
