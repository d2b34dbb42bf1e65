//! The embedded MQTT broker: rumqttd, configured in code.
//!
//! What it does its own way, and what the demo makes of it:
//!
//! - To one subscriber it has 100 messages in flight, whatever Receive Maximum says, and wants their PUBACKs in order.
//! - A message is kept for those who are subscribed when it comes: the fleet starts when the bridge is subscribed.
//! - What is not read stays in a log of segments, one for each filter. When all are full the oldest is discarded, and a
//!   subscriber that was there jumps ahead. The only trace is a warning in the log, which [`Discards`] counts.
//! - It cannot be stopped; it ends with the process.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use rumqttd::{Config, ConnectionSettings, RouterConfig, ServerSettings};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

/// Most messages that rumqttd has in flight to one subscriber.
pub(super) const WINDOW: u16 = 100;

/// Where rumqttd warns that it has discarded what a subscriber had not read.
const DISCARDS: &str = "rumqttd::segments";
/// What rumqttd logs of its connections is silenced; of its log of messages it is not.
pub(crate) const LOG_FILTER: &str = "warn,rumqttd=off,rumqttd::segments=warn";
/// Size of a segment, bytes of topics and payloads.
const SEGMENT: usize = 4 << 20;
/// Segments of a log: several times what the fleet may be ahead.
const SEGMENTS: usize = 8;
const _: () = assert!((SEGMENT * (SEGMENTS - 2)) as u64 >= 4 * super::traffic::AHEAD);
/// Connections: the bridge, the fleet, and those of curious people.
const CONNECTIONS: usize = 1000;
/// Largest payload, bytes.
const PAYLOAD: usize = 1 << 20;
/// Packets of a connection that are read before the router sees them.
const READ_PACKETS: usize = 200;
/// Longest wait for a CONNECT, milliseconds.
const CONNECT_WITHIN: u16 = 10_000;

/// The running broker.
pub(super) struct Broker {
    /// Where it speaks MQTT 3.1.1.
    pub(super) v311: SocketAddr,
    /// Where it speaks MQTT 5.
    pub(super) v5: SocketAddr,
    servers: JoinHandle<()>,
}

impl Broker {
    /// Starts it on two free ports.
    pub(super) fn start() -> io::Result<Broker> {
        let (v311, v5) = (free_address()?, free_address()?);
        let mut broker = rumqttd::Broker::new(config(v311, v5, SEGMENT));
        // It returns when a server has ended, which it does only if the port was taken meanwhile.
        let servers = thread::Builder::new().name("rumqttd".to_owned()).spawn(move || drop(broker.start()))?;
        Ok(Broker { v311, v5, servers })
    }

    /// Whether both ports answer.
    pub(super) fn answers(&self) -> bool {
        !self.servers.is_finished() && [self.v311, self.v5].iter().all(|address| TcpStream::connect(address).is_ok())
    }
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn config(v311: SocketAddr, v5: SocketAddr, segment: usize) -> Config {
    let server = |name: &str, listen| {
        let connections = ConnectionSettings {
            connection_timeout_ms: CONNECT_WITHIN,
            max_payload_size: PAYLOAD,
            max_inflight_count: READ_PACKETS,
            auth: None,
            external_auth: None,
            dynamic_filters: false,
        };
        let settings =
            ServerSettings { name: name.to_owned(), listen, tls: None, next_connection_delay_ms: 1, connections };
        Some(HashMap::from([(name.to_owned(), settings)]))
    };
    Config {
        router: RouterConfig {
            max_connections: CONNECTIONS,
            max_outgoing_packet_count: u64::from(WINDOW),
            max_segment_size: segment,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        },
        v4: server("mqtt-3.1.1", v311),
        v5: server("mqtt-5", v5),
        ..Config::default()
    }
}

/// Counts how often the broker has discarded what a subscriber had not read. A layer of the log: that is where
/// rumqttd tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Discards(Arc<AtomicU64>);

impl Discards {
    /// How often so far.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S: Subscriber> Layer<S> for Discards {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (target, level) = (event.metadata().target(), *event.metadata().level());
        if target.starts_with(DISCARDS) && level <= Level::WARN {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rumqttd::Notification;
    use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

    use super::*;
    use crate::shard::clock;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// Guards the name of the log target as well: without it a discard would be taken for a loss of the bridge.
    #[test]
    fn a_discard_of_the_broker_is_seen() {
        let discards = Discards::default();
        let watch = discards.clone().with_filter(Targets::new().with_target(DISCARDS, Level::WARN));
        // The broker logs on threads of its own.
        tracing_subscriber::registry().with(watch).try_init().unwrap();
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let broker = rumqttd::Broker::new(config(nowhere, nowhere, 1024));
        let (mut subscriber, mut inbox) = broker.link("reader").unwrap();
        subscriber.subscribe("ais/#").unwrap();
        let (mut publisher, _acks) = broker.link("writer").unwrap();
        let deadline = clock::now() + DEADLINE;
        // It reads one message for a hundred that are written: the log of 8 KiB overtakes it.
        while discards.count() == 0 {
            assert!(clock::now() < deadline, "no discard was seen");
            for _ in 0..100 {
                publisher.publish("ais/1/position", vec![0; 100]).unwrap();
            }
            if let Ok(Some(Notification::Unschedule)) = inbox.recv_deadline(clock::now() + Duration::from_millis(1)) {
                inbox.ready().unwrap();
            }
        }
    }
}
