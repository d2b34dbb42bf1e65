//! SUBSCRIBE and UNSUBSCRIBE: what the session should have, and how far it is.
//!
//! The first connection of the process asks for every filter that is not remembered as granted; a session that goes
//! on keeps what was granted; a lost one, one at another broker, or one that may have been lost behind a CONNECT without
//! an answer, asks for all again. Filters that were refused, or granted at less than the QoS asked for, are asked for again
//! with growing pauses, on the living connection: the other filters need not suffer. Retired filters are given up last,
//! once what may replace them is granted, so that nothing falls between.
//!
//! Filters with a Subscription Identifier are asked for one after the other, in the order of the routes: the identifier
//! promises that those in front are granted ([`crate::route::cover`]). Behind one that is refused they are asked for
//! without identifier, so that every message counts, and again with it once that one is granted.

use std::{
    collections::{HashSet, VecDeque},
    num::NonZeroU16,
    time::{Duration, Instant},
};

use super::{
    Session,
    event::{Event, Events},
};
use crate::{
    message::Qos,
    mqtt::{codec::Codec, violation::Violation},
    settings::{Address, Subscription},
};

/// Most filters of one SUBSCRIBE or UNSUBSCRIBE. AWS IoT closes the connection at nine.
const FILTERS_PER_PACKET: usize = 8;
/// Most SUBSCRIBE and UNSUBSCRIBE packets without an answer.
const REQUESTS: usize = 16;
/// How long an answer may take while reading is not held back.
pub(super) const REPLY_DEADLINE: Duration = Duration::from_secs(30);
/// First pause before a refused filter is asked for again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause before a refused filter is asked for again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Bytes of a packet beside its filters, at most: fixed header, packet identifier, properties.
const OVERHEAD: usize = 16;
/// Bytes beside its text that a filter costs: length and options.
const PER_FILTER: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    Wanted,
    Asked,
    Granted,
    /// Granted without its identifier.
    Plain,
    Refused,
}

#[derive(Debug)]
struct Request {
    packet_id: u16,
    /// Index of the first filter, and how many.
    first: usize,
    count: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Subscribe,
    /// Without the identifier that the filter should have.
    Plain,
    Unsubscribe,
}

/// What the session is subscribed to.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// Those with an identifier are the last.
    subscriptions: Vec<Subscription>,
    grants: Vec<Grant>,
    /// How many of `grants` are [`Grant::Granted`].
    granted: usize,
    /// How many of `grants` are [`Grant::Refused`].
    refused: usize,
    /// No filter before this one is [`Grant::Wanted`].
    first_wanted: usize,
    /// The broker that the grants are of.
    broker: Option<Address>,
    /// The broker whose CONNACK is due, or never came.
    asked: Option<Address>,
    qos: Qos,
    retired: Vec<String>,
    /// How many of `retired` have been asked to go.
    unsubscribed: usize,
    requests: VecDeque<Request>,
    next_id: NonZeroU16,
    /// Largest packet that the server takes.
    max_packet: usize,
    reply_by: Option<Instant>,
    retry_at: Option<Instant>,
    pause: Duration,
    /// Granted, and gone, on this connection.
    done: (usize, usize),
    announced: bool,
}

impl Session {
    /// Filters that an earlier process had subscribed and the configuration no longer has: UNSUBSCRIBE once
    /// everything else is granted. [`Event::Subscribed`] says when they are gone.
    pub fn retire(&mut self, filters: Vec<String>) {
        self.subscriber.retire(filters);
    }

    /// Filters that `broker` granted to an earlier process as they would be asked for now. They are not asked for
    /// again while it keeps the session. Before the first connection only.
    pub fn remember(&mut self, broker: Address, granted: &[String]) {
        self.subscriber.remember(broker, granted);
    }

    /// The broker of the current or last attempt to connect; `None` before the first.
    #[must_use]
    pub fn broker(&self) -> Option<&Address> {
        self.address.as_ref()
    }
}

impl Subscriber {
    pub(super) fn new(mut subscriptions: Vec<Subscription>, qos: Qos) -> Subscriber {
        // What waits for others must hold up nothing else.
        subscriptions.sort_by_key(|subscription| subscription.id.is_some());
        Subscriber {
            grants: vec![Grant::Wanted; subscriptions.len()],
            subscriptions,
            granted: 0,
            refused: 0,
            first_wanted: 0,
            broker: None,
            asked: None,
            qos,
            retired: Vec::new(),
            unsubscribed: 0,
            requests: VecDeque::new(),
            next_id: NonZeroU16::MIN,
            max_packet: usize::MAX,
            reply_by: None,
            retry_at: None,
            pause: FIRST_PAUSE,
            done: (0, 0),
            announced: false,
        }
    }

    /// Gives up filters that the configuration no longer has; those it still has are left alone.
    pub(super) fn retire(&mut self, filters: Vec<String>) {
        let wanted: HashSet<&str> = self.subscriptions.iter().map(|one| one.filter.as_str()).collect();
        let mut known: HashSet<String> = self.retired.iter().cloned().collect();
        let gone = filters.into_iter().filter(|filter| !wanted.contains(filter.as_str()));
        self.retired.extend(gone.filter(|filter| known.insert(filter.clone())));
        self.announced = false;
    }

    fn remember(&mut self, broker: Address, granted: &[String]) {
        let granted: HashSet<&str> = granted.iter().map(String::as_str).collect();
        for index in 0..self.grants.len() {
            if granted.contains(self.subscriptions[index].filter.as_str()) {
                self.set(index, Grant::Granted);
            }
        }
        self.broker = Some(broker);
    }

    /// CONNECT goes to `broker`. Where its last one was not answered the session may have been made anew for that, and
    /// the next CONNACK says that there is one although it knows of no filter.
    pub(super) fn handle_connect(&mut self, broker: Option<&Address>) {
        let before = std::mem::replace(&mut self.asked, broker.cloned());
        if before.is_some() && before == self.broker {
            self.broker = None;
        }
    }

    /// The broker has refused the connection: its session is what it was.
    pub(super) fn handle_refused(&mut self) {
        self.asked = None;
    }

    /// CONNACK came from `broker`. `max_packet` is its Maximum Packet Size.
    pub(super) fn start_connection(
        &mut self,
        session_present: bool,
        broker: Option<&Address>,
        max_packet: Option<u32>,
    ) {
        // Each broker of a failover list may keep a session of its own.
        let kept = session_present && self.broker.as_ref() == broker;
        self.asked = None;
        self.broker = broker.cloned();
        self.max_packet = max_packet.map_or(usize::MAX, |bytes| bytes as usize);
        self.requests.clear();
        self.reply_by = None;
        self.retry_at = None;
        self.pause = FIRST_PAUSE;
        self.done = (0, 0);
        self.announced = false;
        self.unsubscribed = 0;
        for index in 0..self.grants.len() {
            if !kept || self.grants[index] != Grant::Granted {
                self.set(index, Grant::Wanted);
            }
        }
        if !session_present {
            self.retired.clear();
        }
    }

    fn set(&mut self, index: usize, grant: Grant) {
        let before = std::mem::replace(&mut self.grants[index], grant);
        self.granted += usize::from(grant == Grant::Granted);
        self.granted -= usize::from(before == Grant::Granted);
        self.refused += usize::from(grant == Grant::Refused);
        self.refused -= usize::from(before == Grant::Refused);
        if grant == Grant::Wanted {
            self.first_wanted = self.first_wanted.min(index);
        }
    }

    /// Whether every filter is granted.
    pub(super) fn is_granted(&self) -> bool {
        self.granted == self.grants.len()
    }

    /// Whether a filter was refused when it was last asked for.
    pub(super) fn is_refused(&self) -> bool {
        self.refused > 0
    }

    /// Whether nothing is left to ask or to be answered.
    pub(super) fn is_settled(&self) -> bool {
        self.announced
    }

    /// Appends what is to be asked for now.
    pub(super) fn poll(&mut self, now: Instant, codec: &Codec, events: &mut Events, out: &mut Vec<u8>) {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            for index in 0..self.grants.len() {
                if matches!(self.grants[index], Grant::Refused | Grant::Plain) {
                    self.set(index, Grant::Wanted);
                }
            }
        }
        while self.requests.len() < REQUESTS && self.ask(now, codec, events, out) {}
        if !self.announced && self.requests.is_empty() && self.is_granted() && self.retired.is_empty() {
            self.announced = true;
            let (filters, retired) = self.done;
            events.push(Event::Subscribed { filters, retired });
        }
    }

    /// Appends one request; false if there is none to make.
    fn ask(&mut self, now: Instant, codec: &Codec, events: &mut Events, out: &mut Vec<u8>) -> bool {
        let packet_id = self.next_id;
        let id = packet_id.get();
        let wanted = self.grants[self.first_wanted..].iter().position(|&grant| grant == Grant::Wanted);
        self.first_wanted = wanted.map_or(self.grants.len(), |offset| self.first_wanted + offset);
        let first = self.first_wanted;
        if first < self.grants.len() {
            if self.waits(first) {
                return false;
            }
            let count = self.batch(first);
            if count == 0 {
                self.refuse(now, first, 0x95, events);
                return true;
            }
            let kind = self.kind(first);
            let asked = &self.subscriptions[first..first + count];
            match kind {
                Kind::Plain => {
                    let plain = asked.iter().map(|one| Subscription { id: None, ..one.clone() });
                    codec.put_subscribe(packet_id, &plain.collect::<Vec<_>>(), self.qos, out);
                }
                _ => codec.put_subscribe(packet_id, asked, self.qos, out),
            }
            (first..first + count).for_each(|index| self.set(index, Grant::Asked));
            self.requests.push_back(Request { packet_id: id, first, count, kind });
        } else if self.is_granted() && self.unsubscribed < self.retired.len() {
            let first = self.unsubscribed;
            let count = (self.retired.len() - first).min(FILTERS_PER_PACKET);
            codec.put_unsubscribe(packet_id, &self.retired[first..first + count], out);
            self.unsubscribed += count;
            self.requests.push_back(Request { packet_id: id, first, count, kind: Kind::Unsubscribe });
        } else {
            return false;
        }
        self.next_id = packet_id.checked_add(1).unwrap_or(NonZeroU16::MIN);
        self.reply_by.get_or_insert(now + REPLY_DEADLINE);
        true
    }

    /// Whether the answer to a filter in front has to come first.
    fn waits(&self, index: usize) -> bool {
        let identified = |index: usize| self.subscriptions[index].id.is_some();
        let asked = |request: &Request| request.kind != Kind::Unsubscribe && identified(request.first);
        identified(index) && self.requests.iter().any(asked)
    }

    /// How a filter may be asked for: with its identifier once those in front have theirs.
    fn kind(&self, index: usize) -> Kind {
        let mut front = self.subscriptions[..index].iter().zip(&self.grants[..index]);
        let missing = |(front, grant): (&Subscription, &Grant)| front.id.is_some() && *grant != Grant::Granted;
        let plain = self.subscriptions[index].id.is_some() && front.any(missing);
        if plain { Kind::Plain } else { Kind::Subscribe }
    }

    /// How many filters from `first` on fit one SUBSCRIBE: wanted, within the limits, and alone where it carries a
    /// Subscription Identifier, which a packet has only one of.
    fn batch(&self, first: usize) -> usize {
        let mut bytes = OVERHEAD;
        let wanted = self.subscriptions[first..].iter().zip(&self.grants[first..]);
        wanted
            .enumerate()
            .take(FILTERS_PER_PACKET)
            .take_while(|(index, (subscription, grant))| {
                bytes += subscription.filter.len() + PER_FILTER;
                let alone = self.subscriptions[first].id.is_some() || subscription.id.is_some();
                **grant == Grant::Wanted && bytes <= self.max_packet && (*index == 0 || !alone)
            })
            .count()
    }

    fn refuse(&mut self, now: Instant, index: usize, code: u8, events: &mut Events) {
        self.set(index, Grant::Refused);
        let filter = self.subscriptions[index].filter.clone();
        events.push(if code < 0x80 {
            Event::GrantedLower { filter, asked: self.qos, granted: code }
        } else {
            Event::Refused { filter, code }
        });
        if self.retry_at.is_none() {
            self.retry_at = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// SUBACK came.
    pub(super) fn handle_suback(
        &mut self,
        now: Instant,
        packet_id: u16,
        codes: &[u8],
        events: &mut Events,
    ) -> Result<(), Violation> {
        let request = self.answered(now, packet_id, |kind| kind != Kind::Unsubscribe)?;
        let granted = if request.kind == Kind::Plain { Grant::Plain } else { Grant::Granted };
        if codes.len() != request.count {
            return Err(Violation::Unasked);
        }
        for (index, &code) in (request.first..).zip(codes) {
            if code < 0x80 && code >= self.qos as u8 {
                self.set(index, granted);
                self.done.0 += usize::from(granted == Grant::Granted);
            } else {
                self.refuse(now, index, code, events);
            }
        }
        Ok(())
    }

    /// UNSUBACK came. A filter that the server would not give up is not asked again: it did not have it, or it is
    /// not ours to give.
    pub(super) fn handle_unsuback(&mut self, now: Instant, packet_id: u16) -> Result<(), Violation> {
        let request = self.answered(now, packet_id, |kind| kind == Kind::Unsubscribe)?;
        self.done.1 += request.count;
        if self.requests.is_empty() && self.unsubscribed == self.retired.len() {
            self.retired.clear();
            self.unsubscribed = 0;
        }
        Ok(())
    }

    fn answered(&mut self, now: Instant, packet_id: u16, fits: impl Fn(Kind) -> bool) -> Result<Request, Violation> {
        let asked = |request: &Request| request.packet_id == packet_id && fits(request.kind);
        let index = self.requests.iter().position(asked).ok_or(Violation::Unasked)?;
        self.reply_by = (self.requests.len() > 1).then(|| now + REPLY_DEADLINE);
        self.requests.remove(index).ok_or(Violation::Unasked)
    }

    /// Reading was held back until now: answers get their time again.
    pub(super) fn extend(&mut self, now: Instant) {
        if self.reply_by.is_some() {
            self.reply_by = Some(now + REPLY_DEADLINE);
        }
    }

    /// When the answers are due.
    pub(super) fn reply_by(&self) -> Option<Instant> {
        self.reply_by
    }

    /// When refused filters are asked for again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }
}
