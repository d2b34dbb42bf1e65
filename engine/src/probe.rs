//! `check --connect`: connects to both sides once and says what it found. Blocking, away from the line.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    cli::{Broker, Cluster, Found},
    kafka::{ClientError, Resolver},
    mqtt::{Cause, Event, Input, Protocol, Session},
    settings::{Address, SessionPlan, Settings, Source, Version},
    shard::{clock, dial},
};

/// Longest wait for a CONNACK.
const ANSWER: Duration = Duration::from_secs(5);
/// Added to the time between attempts, so that the session's backoff is over.
const BACKOFF: Duration = Duration::from_secs(120);

/// Connects to every source and to Kafka.
pub(crate) fn probe(settings: &Settings) -> Found {
    Found { brokers: settings.sources.iter().map(broker).collect(), kafka: cluster(settings) }
}

/// The first broker of the source that accepts, in a session of its own: the bridge's session is left alone.
fn broker(source: &Source) -> Result<Broker, String> {
    let mut source = source.clone();
    (source.clean_start, source.session_expiry) = (true, 0);
    let client_id = format!("fairlead-check-{}", std::process::id());
    let plan = SessionPlan { client_id, subscriptions: Vec::new(), retire: None };
    let mut session = Session::new(&source, &plan, 0, 0, 0);
    let mut failures = Vec::new();
    let mut now = clock::now();
    // Each address is tried with each version at most.
    for _ in 0..2 * source.urls.len() {
        let Some(address) = session.poll_connect(now) else { break };
        let asked = clock::now();
        match connect(&mut session, &address, now) {
            Ok(version) => {
                return Ok(Broker { url: address, version, round_trip: clock::now() - asked });
            }
            Err(why) => failures.push(format!("{address}: {why}")),
        }
        now += BACKOFF;
    }
    failures.dedup();
    Err(failures.join("; "))
}

/// One attempt, up to the CONNACK.
fn connect(session: &mut Session, address: &Address, now: Instant) -> Result<Version, String> {
    let mut stream = match dial(address) {
        Ok(socket) => TcpStream::from(socket),
        Err(error) => {
            session.handle_connect_failed(now, &error.to_string());
            return Err(error.to_string());
        }
    };
    session.handle_connected(now);
    let failed = match converse(session, &mut stream, now) {
        Ok(Some(version)) => return Ok(version),
        Ok(None) => Cause::Eof,
        Err(error) => Cause::Io(error.to_string()),
    };
    session.handle_disconnected(now, failed.clone());
    let told = std::iter::from_fn(|| session.poll_event()).find_map(|event| match event {
        Event::Disconnected { cause, .. } => Some(cause),
        _ => None,
    });
    Err(told.unwrap_or(failed).to_string())
}

/// Talks until the session is accepted; `None` when the broker or the session ends it.
fn converse(session: &mut Session, stream: &mut TcpStream, now: Instant) -> io::Result<Option<Version>> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let (mut input, mut output) = (Input::default(), Vec::new());
    loop {
        session.poll_transmit(now, &mut output);
        stream.write_all(&output)?;
        output.clear();
        while let Some(event) = session.poll_event() {
            if let Event::Connected { protocol, .. } = event {
                let version = if protocol == Protocol::V5 { Version::V5 } else { Version::V311 };
                session.handle_shutdown_deadline();
                session.poll_transmit(now, &mut output);
                stream.write_all(&output)?;
                return Ok(Some(version));
            }
        }
        if session.wants_close() {
            return Ok(None);
        }
        let count = stream.read(input.spare())?;
        if count == 0 {
            return Ok(None);
        }
        input.advance(count);
        // A violation makes the session want to close, and it knows why.
        drop(session.poll_publish(now, &mut input));
    }
}

fn cluster(settings: &Settings) -> Result<Cluster, String> {
    let resolver = Resolver::new(settings).map_err(|error| error.to_string())?;
    let asked = clock::now();
    let found = resolver.cluster().map_err(|error| error.to_string())?;
    let round_trip = clock::now() - asked;
    let mut names: Vec<&str> = settings.named_topics().collect();
    names.sort_unstable();
    names.dedup();
    let look = |name: &str| match resolver.partitions(name) {
        Ok(Some(partitions)) => Ok(partitions),
        Ok(None) if settings.kafka.create.is_some() => Err("it does not exist yet; `run` creates it".to_owned()),
        Ok(None) => Err(ClientError::Missing(name.to_owned()).to_string()),
        Err(error) => Err(error.to_string()),
    };
    let worth = |name: &&str| Some(((*name).to_owned(), resolver.durability(name).ok()??.to_string()));
    let durability = names.iter().filter_map(worth).collect();
    let topics = names.into_iter().map(|name| (name.to_owned(), look(name))).collect();
    Ok(Cluster { brokers: found, round_trip, topics, durability })
}
