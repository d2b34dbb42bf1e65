//! Watches how many messages a broker has dropped: it says so in its `$SYS` topics, to those whom it lets read them.
//!
//! Each source has one connection of its own for this, away from the line and only while all its sessions are subscribed.
//! A broker that refuses, or knows no such topics, leaves the number unknown; it is asked again rarely and without a
//! word, because nothing is wrong.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch::Receiver,
    time::{sleep, timeout},
};

use super::ended;
use crate::{
    message::{Publish, Qos},
    metrics::{Metrics, SessionState},
    mqtt::{Cause, Delivery, Event, Input, Session},
    settings::{Address, SessionPlan, Settings, Source, Subscription, Version},
    shard::clock,
};

/// Where brokers tell: mosquitto for itself, EMQX for each of its nodes.
const FILTERS: [&str; 2] = ["$SYS/broker/publish/messages/dropped", "$SYS/brokers/+/metrics/messages/dropped"];
/// Appended to the first session's client identifier.
const SUFFIX: &str = "-sys";
/// How often it is looked whether the sessions are subscribed.
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait for a TCP connection.
const CONNECT: Duration = Duration::from_secs(10);
/// First pause after a connection; it doubles up to [`LAST_PAUSE`] with each that lived shorter than that.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// Longest pause between connections.
const LAST_PAUSE: Duration = Duration::from_secs(600);
/// Keep alive, seconds.
const KEEP_ALIVE: u16 = 60;
/// Largest packet that is accepted, bytes.
const MAX_PACKET: u32 = 4096;
/// Bytes of a chunk of the input.
const CHUNK: usize = 16 << 10;
/// Most nodes of a broker that are counted; the messages of further ones are ignored.
const MAX_NODES: usize = 64;

/// The watch of one source.
pub(super) struct Watch {
    /// As the sessions connect, but for this purpose.
    source: Source,
    client_id: String,
    /// The numbers of the source's sessions.
    sessions: Vec<usize>,
    metrics: Arc<Metrics>,
    /// The filters that are still asked for.
    filters: Vec<&'static str>,
    /// What each topic said last.
    dropped: BTreeMap<String, u64>,
}

impl Watch {
    /// The watch of a source; `None` where it is switched off.
    pub(super) fn new(settings: &Settings, index: usize, metrics: Arc<Metrics>) -> Option<Watch> {
        let source = &settings.sources[index];
        let client_id = format!("{}{SUFFIX}", source.sessions.first()?.client_id);
        // MQTT 5.0 §1.5.4: no text is longer.
        if !source.sys || client_id.len() > usize::from(u16::MAX) {
            return None;
        }
        let sessions =
            settings.plan().filter(|planned| planned.source == index).map(|planned| planned.number).collect();
        let source = Source {
            share: None,
            qos: Qos::AtMostOnce,
            clean_start: true,
            session_expiry: 0,
            max_packet: MAX_PACKET,
            announce_max_packet: false,
            skip_oversized: true,
            keep_alive: KEEP_ALIVE,
            sessions: Vec::new(),
            ..source.clone()
        };
        Some(Watch { source, client_id, sessions, metrics, filters: FILTERS.to_vec(), dropped: BTreeMap::new() })
    }

    /// Watches until `stopped`.
    pub(super) async fn run(mut self, stopped: Receiver<bool>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let (address, version) = tokio::select! {
                broker = self.subscribed() => broker,
                () = ended(stopped.clone()) => return,
            };
            let began = clock::now();
            let refused = self.connect(address, version, stopped.clone()).await.unwrap_or_default();
            self.forget();
            // Another one may be allowed.
            self.filters.retain(|&filter| refused.iter().all(|refused| refused != filter));
            if !refused.is_empty() && !self.filters.is_empty() {
                continue;
            }
            self.filters = FILTERS.to_vec();
            if clock::now() - began >= LAST_PAUSE {
                pause = FIRST_PAUSE;
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LAST_PAUSE),
                () = ended(stopped.clone()) => return,
            }
        }
    }

    /// Waits until all sessions of the source are subscribed. Returns the first one's broker and version.
    async fn subscribed(&self) -> (Address, Version) {
        loop {
            let mut sessions = self.sessions.iter().map(|&number| self.metrics.status().session_status(number));
            if let Some(first) = sessions.next()
                && first.state == SessionState::Subscribed
                && sessions.all(|session| session.state == SessionState::Subscribed)
            {
                let urls = &self.source.urls;
                let address = urls.iter().find(|url| url.to_string() == first.url).unwrap_or(&urls[0]).clone();
                let version = if first.version == Some("3.1.1") { Version::V311 } else { Version::V5 };
                return (address, version);
            }
            drop(sessions);
            sleep(LOOK).await;
        }
    }

    /// One connection, to its end. Returns the filters that the broker refused, if that was the end.
    async fn connect(&mut self, address: Address, version: Version, stopped: Receiver<bool>) -> Option<Vec<String>> {
        let connecting = TcpStream::connect((address.host.as_str(), address.port));
        let mut stream = tokio::select! {
            connected = timeout(CONNECT, connecting) => connected.ok()?.ok()?,
            () = ended(stopped.clone()) => return None,
        };
        let source = Source { urls: vec![address], version, ..self.source.clone() };
        let mut session = self.session(&source);
        let now = clock::now();
        session.poll_connect(now)?;
        session.handle_connected(now);
        let refused = tokio::select! {
            refused = self.converse(&mut session, &mut stream) => refused,
            () = ended(stopped) => {
                session.handle_shutdown_deadline();
                None
            }
        };
        if refused.is_some() {
            session.handle_shutdown_deadline();
        }
        let mut goodbye = Vec::new();
        session.poll_transmit(clock::now(), &mut goodbye);
        // The connection ends with or without it.
        drop(stream.write_all(&goodbye).await);
        session.handle_disconnected(clock::now(), Cause::Eof);
        let cause = std::iter::from_fn(|| session.poll_event()).find_map(|event| match event {
            Event::Disconnected { cause, .. } => Some(cause),
            _ => None,
        });
        tracing::debug!(source = self.source.name, ?refused, ?cause, "the watch of $SYS ended");
        refused
    }

    fn session(&self, source: &Source) -> Session {
        let filters = self.filters.iter();
        let subscriptions = filters.map(|&filter| Subscription { filter: filter.to_owned(), id: None }).collect();
        let plan = SessionPlan { client_id: self.client_id.clone(), subscriptions, retire: None };
        // Its tickets go nowhere but back to itself, and it connects once: no jitter.
        Session::new(source, &plan, 0, 0, 0)
    }

    /// Talks until the connection ends or filters are refused, and returns those.
    async fn converse(&mut self, session: &mut Session, stream: &mut TcpStream) -> Option<Vec<String>> {
        let (mut input, mut output) = (Input::new(CHUNK), Vec::new());
        loop {
            let now = clock::now();
            session.handle_timeout(now);
            // A violation makes the session want to close.
            while let Ok(Some(delivery)) = session.poll_publish(now, &mut input) {
                if let Delivery::Publish { ticket, publish } = delivery {
                    session.handle_receipt(ticket);
                    self.take(&publish);
                }
            }
            let refused = std::iter::from_fn(|| session.poll_event()).filter_map(|event| match event {
                Event::Refused { filter, .. } => Some(filter),
                _ => None,
            });
            let refused: Vec<String> = refused.collect();
            if !refused.is_empty() {
                return Some(refused);
            }
            if session.wants_close() {
                return None;
            }
            session.poll_transmit(now, &mut output);
            stream.write_all(&output).await.ok()?;
            output.clear();
            let deadline = session.poll_timeout().map_or(LAST_PAUSE, |at| at.saturating_duration_since(now));
            tokio::select! {
                read = stream.read(input.spare()) => match read {
                    Ok(count) if count > 0 => input.advance(count),
                    _ => return None,
                },
                () = sleep(deadline) => {}
            }
        }
    }

    /// Takes what a broker says. Anything but a number is ignored.
    fn take(&mut self, publish: &Publish) {
        let number = std::str::from_utf8(&publish.payload).ok().and_then(|text| text.trim().parse().ok());
        let Some(number) = number else { return };
        let topic: &str = &publish.topic;
        if self.dropped.len() < MAX_NODES || self.dropped.contains_key(topic) {
            self.dropped.insert(topic.to_owned(), number);
        }
        self.show(Some(self.dropped.values().fold(0, |sum: u64, one| sum.saturating_add(*one))));
    }

    /// Nobody tells any more.
    fn forget(&mut self) {
        self.dropped.clear();
        self.show(None);
    }

    fn show(&self, dropped: Option<u64>) {
        for &number in &self.sessions {
            self.metrics.status().session(number, |session| session.broker_dropped = dropped);
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
