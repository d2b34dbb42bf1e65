//! What a shard tells people: log lines, counters and the status board. Nothing here is called for each message.

use std::time::{Duration, Instant};

use super::{
    clock,
    connection::OUTPUT_LIMIT,
    reach::Heard,
    state::{Shard, Slot},
};
use crate::{
    kafka, lane,
    metrics::{Counter, Gauge, SessionState, TopicState},
    mqtt::{Cause, Event, Protocol, Stats, Violation},
    ring::Traffic,
    route::CacheCounts,
    subscriptions::Word,
};

impl Shard {
    /// Tells what happened in a session since the last call.
    pub(super) fn tell_events(&self, slot: &Slot) {
        let now = clock::now();
        loop {
            let Some(event) = slot.session.borrow_mut().poll_event() else { return };
            self.tell_event(slot, event, now);
        }
    }

    fn tell_event(&self, slot: &Slot, event: Event, now: Instant) {
        let source = self.settings.sources[slot.source].name.as_str();
        let client_id = slot.session.borrow().client_id().to_owned();
        let enter = |state, reason| {
            self.metrics.status().session(slot.board, |status| status.enter(state, reason, now));
        };
        match event {
            Event::Connected { address, protocol, session_present, receive_maximum } => {
                self.metrics().add(Counter::MqttConnects, 1);
                let version = if protocol == Protocol::V5 { "5.0" } else { "3.1.1" };
                tracing::info!(source, client_id, %address, version, session_present, receive_maximum, "connected");
                enter(SessionState::Connected, None);
                self.metrics.status().session(slot.board, |status| {
                    status.url = address.to_string();
                    status.version = Some(version);
                    status.window = u32::from(receive_maximum);
                });
            }
            Event::Subscribed { filters, retired } => {
                tracing::info!(source, client_id, filters, retired, "subscribed");
                enter(SessionState::Subscribed, None);
                if let Some(broker) = slot.session.borrow().broker() {
                    self.subscriptions.tell(slot.board, Word::Subscribed(broker.clone()));
                }
            }
            Event::PacketIdsUnknown => tracing::warn!(
                source,
                client_id,
                "the broker kept this QoS 2 session, but its packet ids were lost with the last process: \
                 messages in flight then may come twice"
            ),
            Event::Ended { present } => {
                self.subscriptions.tell(slot.board, Word::Ended);
                tracing::info!(source, client_id, present, "the session is ended at the broker");
                let reason = (!present).then(|| "the broker had no such session".to_owned());
                enter(SessionState::Ended, reason);
            }
            Event::SessionLost { unacknowledged } => {
                self.metrics().add(Counter::MqttSessionLost, 1);
                tracing::warn!(source, client_id, unacknowledged, "the broker has lost the session and what it held");
            }
            Event::Refused { filter, code } => {
                self.metrics().add(Counter::MqttSubackRefused, 1);
                let why = format!("the broker refused to subscribe `{filter}` (code {code:#04x}); check its ACL");
                tracing::error!(source, client_id, "{why}");
                enter(SessionState::Refused, Some(why));
            }
            Event::GrantedLower { filter, asked, granted } => {
                self.metrics().add(Counter::MqttSubackRefused, 1);
                let asked = asked as u8;
                let why = format!("the broker granted QoS {granted} for `{filter}` where QoS {asked} was asked");
                tracing::error!(source, client_id, "{why}");
                enter(SessionState::Refused, Some(why));
            }
            Event::Disconnected { cause, retry_in } => self.tell_disconnected(slot, &cause, retry_in, now),
            Event::Alarm { cause, times } => {
                tracing::error!(source, client_id, %cause, times, "the same failure again and again: this needs a look");
            }
        }
    }

    fn tell_disconnected(&self, slot: &Slot, cause: &Cause, retry_in: Option<Duration>, now: Instant) {
        let source = self.settings.sources[slot.source].name.as_str();
        let client_id = slot.session.borrow().client_id().to_owned();
        self.count_disconnected(cause);
        if *cause != Cause::Shutdown {
            // Whether the broker keeps what it granted is known at the next CONNACK. After a shutdown the
            // session is left in good order.
            self.subscriptions.tell(slot.board, Word::Lost);
        }
        let retry_in = retry_in.map(|wait| format!("{:.1} s", wait.as_secs_f32()));
        match cause {
            Cause::Shutdown => tracing::info!(source, client_id, "disconnected"),
            _ => tracing::warn!(source, client_id, %cause, retry_in, "not connected"),
        }
        let refused = matches!(cause, Cause::Refused { .. });
        let state = if refused { SessionState::Refused } else { SessionState::Backoff };
        let told = self.metrics.status().board().sessions[slot.board].state;
        if !matches!(told, SessionState::Refused | SessionState::Ended) || refused {
            self.metrics.status().session(slot.board, |status| status.enter(state, Some(cause.to_string()), now));
        }
    }

    fn count_disconnected(&self, cause: &Cause) {
        let counter = match cause {
            Cause::Shutdown => return,
            Cause::Refused { .. } => Counter::MqttConnackRefused,
            Cause::KeepAlive => Counter::MqttKeepAliveTimeouts,
            Cause::TakenOver => Counter::MqttTakenOver,
            _ => {
                self.metrics().add(Counter::MqttReconnects, 1);
                return;
            }
        };
        self.metrics().add(counter, 1);
        self.metrics().add(Counter::MqttReconnects, 1);
    }

    /// Counts a violation; the session tells the rest when it is disconnected.
    pub(super) fn count_violation(&self, violation: Violation) {
        let counter = match violation.reason_code() {
            0x82 => Counter::MqttProtocolError,
            0x90 => Counter::MqttTopicInvalid,
            0x93 => Counter::MqttReceiveMaximum,
            0x94 => Counter::MqttTopicAlias,
            0x95 => Counter::MqttPacketTooLarge,
            _ => Counter::MqttMalformed,
        };
        self.metrics().add(counter, 1);
    }

    /// Tells what librdkafka said.
    pub(super) fn tell_kafka(&self, now: Instant, turn: &mut lane::Turn) {
        if std::mem::take(&mut turn.replaced) {
            self.metrics().add(Counter::KafkaProducerRecreated, 1);
            tracing::warn!(shard = self.index, "the Kafka producer was replaced; what was in flight is sent again");
        }
        let mut said = self.said.borrow_mut();
        for event in turn.events.drain(..) {
            match event {
                kafka::Event::Error(error) => {
                    self.metrics().add(Counter::KafkaErrors, 1);
                    if !said.take(&error) {
                        tracing::warn!(target: "kafka", shard = self.index, "{error}");
                    }
                }
                kafka::Event::AllBrokersDown => {
                    self.metrics().add(Counter::KafkaErrors, 1);
                    let why = format!("no broker of {} can be reached", self.settings.kafka.brokers);
                    tracing::error!(target: "kafka", shard = self.index, "{why}");
                    self.metrics.status().kafka(self.index, Err(&why), now);
                    self.reach.borrow_mut().handle_away();
                }
                kafka::Event::Fatal(error) => {
                    self.metrics().add(Counter::KafkaErrors, 1);
                    tracing::error!(target: "kafka", shard = self.index, error, "the Kafka producer failed");
                }
                kafka::Event::Log { level, line } => {
                    match level {
                        ..=3 => tracing::error!(target: "kafka", shard = self.index, "{line}"),
                        4 => tracing::warn!(target: "kafka", shard = self.index, "{line}"),
                        5..=6 => tracing::info!(target: "kafka", shard = self.index, "{line}"),
                        _ => tracing::debug!(target: "kafka", shard = self.index, "{line}"),
                    }
                    said.note(line);
                }
            }
        }
    }

    /// Kafka has confirmed something: it is there, unless something older still waits.
    pub(super) fn tell_confirmed(&self, now: Instant) {
        let mut reach = self.reach.borrow_mut();
        let oldest = if reach.is_away() { age(&self.driver.borrow(), now) } else { Duration::ZERO };
        if reach.handle_confirmed(oldest) {
            tracing::info!(target: "kafka", shard = self.index, "Kafka confirms again");
            self.metrics.status().kafka(self.index, Ok(()), now);
        }
    }

    /// Shows what stands where; called at the shard's heartbeat and not more often.
    pub(super) fn publish(&self, now: Instant) {
        self.publish_lane(now);
        self.publish_routes();
        self.publish_sessions();
    }

    /// The lane, its producer and the rings.
    fn publish_lane(&self, now: Instant) {
        let metrics = self.metrics();
        let driver = self.driver.borrow();
        let (records, batches) = driver.handed_over();
        metrics.raise(Counter::LaneRecords, records);
        metrics.raise(Counter::LaneBatches, batches);
        metrics.raise(Counter::LaneFull, driver.full());
        metrics.raise(Counter::KafkaRetries, driver.lane().retries());
        metrics.set(Gauge::Lane, driver.lane().len() as u64);
        metrics.set(Gauge::LaneLimit, lane::LIMIT as u64);
        let Traffic { records, receipts, full } = driver.port().traffic();
        metrics.raise(Counter::RingRecords, records);
        metrics.raise(Counter::RingReceipts, receipts);
        metrics.raise(Counter::RingFull, full);
        metrics.set(Gauge::Ring, driver.port().outstanding() as u64);
        metrics.set(Gauge::RingLimit, driver.port().outstanding_limit() as u64);
        self.publish_spooling(&driver);
        self.publish_reach(now, age(&driver, now));
        self.publish_holds(&driver);
    }

    fn publish_reach(&self, now: Instant, oldest: Duration) {
        self.metrics().set(Gauge::Unconfirmed, oldest.as_secs());
        let mut reach = self.reach.borrow_mut();
        if reach.reminds() {
            self.driver.borrow().bootstrap();
        }
        match reach.handle_heartbeat(oldest) {
            Some(Heard::Silence { new }) => {
                let silent = format!("nothing is confirmed: the oldest batch has waited for {} s", oldest.as_secs());
                if new {
                    tracing::error!(target: "kafka", shard = self.index, "{silent}");
                }
                self.metrics.status().kafka(self.index, Err(&silent), now);
            }
            Some(Heard::Confirms) => self.metrics.status().kafka(self.index, Ok(()), now),
            None => {}
        }
    }

    fn publish_routes(&self) {
        let metrics = self.metrics();
        let (CacheCounts { topics, misses, displaced }, limit) = self.intake.borrow().caches();
        metrics.raise(Counter::RouteCacheMisses, misses);
        metrics.raise(Counter::RouteCacheFull, displaced);
        metrics.set(Gauge::RouteCache, topics);
        metrics.set(Gauge::RouteCacheLimit, limit);
    }

    /// What the sessions counted and hold, summed up.
    fn publish_sessions(&self) {
        let metrics = self.metrics();
        let (mut used, mut in_flight, mut bytes, mut paused, mut limit, mut unwritten) = (0, 0, 0, 0, 0, 0);
        let mut stats = Stats::default();
        for slot in &self.slots {
            let session = slot.session.borrow();
            stats = stats.plus(session.stats());
            in_flight += session.in_flight() as u64;
            bytes += session.unacknowledged_bytes();
            used += session.unacknowledged_bytes() + (session.unacknowledged() * lane::OVERHEAD) as u64;
            paused += u64::from(session.is_held());
            unwritten += slot.unwritten.get() as u64;
            limit += u64::from(self.settings.sources[slot.source].receive_maximum);
            let now_in_flight = session.in_flight() as u32;
            self.metrics.status().session(slot.board, |status| status.in_flight = now_in_flight);
        }
        metrics.set(Gauge::Memory, used);
        metrics.set(Gauge::MemoryLimit, self.settings.engine.memory as u64);
        metrics.set(Gauge::MqttWindow, in_flight);
        metrics.set(Gauge::MqttWindowLimit, limit);
        metrics.set(Gauge::MqttOutput, unwritten);
        metrics.set(Gauge::MqttOutputLimit, (self.slots.len() * OUTPUT_LIMIT) as u64);
        metrics.set(Gauge::UnacknowledgedBytes, bytes);
        metrics.set(Gauge::MqttPausedSessions, paused);
        let [qos0, qos1, qos2] = stats.publishes;
        metrics.raise(Counter::MqttPublishesQos0, qos0);
        metrics.raise(Counter::MqttPublishesQos1, qos1);
        metrics.raise(Counter::MqttPublishesQos2, qos2);
        metrics.raise(Counter::MqttRetained, stats.retained);
        metrics.raise(Counter::MqttDupReceived, stats.dup);
        metrics.raise(Counter::MqttRedeliveredAttached, stats.attached + stats.repeated);
        metrics.raise(Counter::MqttPubacks, stats.pubacks);
        metrics.raise(Counter::MqttPubrecs, stats.pubrecs);
        metrics.raise(Counter::MqttPubcomps, stats.pubcomps);
        metrics.raise(Counter::MqttPings, stats.pings);
    }

    /// Topics with a partition on hold; what was on hold and is no more is available again.
    fn publish_holds(&self, driver: &lane::Driver) {
        let mut holds: Vec<_> = driver.lane().holds().map(|hold| (hold.topic, hold.reason)).collect();
        holds.dedup_by_key(|(topic, _)| *topic);
        self.metrics().set(Gauge::HeldTopics, holds.len() as u64);
        let mut told = self.holds.borrow_mut();
        for topic in told.iter().filter(|topic| holds.iter().all(|(held, _)| held != *topic)) {
            if let Some((name, partitions)) = self.topics.get(*topic) {
                tracing::info!(topic = name, "the Kafka topic takes writes again");
                self.metrics.status().topic(self.index, name, TopicState::Available { partitions });
            }
        }
        for (topic, reason) in &holds {
            if let Some((name, _)) = self.topics.get(*topic) {
                let reason = reason.text().to_owned();
                tracing::warn!(topic = name, reason, "the Kafka topic is on hold");
                self.metrics.status().topic(self.index, name, TopicState::Hold { reason });
            }
        }
        let new = holds.iter().filter(|(topic, _)| !told.contains(topic)).count();
        self.metrics().add(Counter::KafkaHolds, new as u64);
        *told = holds.into_iter().map(|(topic, _)| topic).collect();
    }
}

/// How long the oldest batch has waited for its confirmation.
fn age(driver: &lane::Driver, now: Instant) -> Duration {
    let oldest = driver.lane().oldest_in_flight();
    oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest))
}
