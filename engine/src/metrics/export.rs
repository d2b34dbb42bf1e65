//! The scrape: everything as OpenMetrics text. Bounded by the configuration: no label comes from a message.

use std::{collections::HashSet, fmt::Error, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{
    Health, Ledger, Metrics,
    ledger::Account,
    names::{Counter, Described, Gauge, Size, Stage},
    shard::ShardMetrics,
    stage::Buckets,
    status::{SessionState, SessionStatus},
};
use crate::message::DropReason;

/// The media type of a scrape.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What one scrape shows.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// The cells and the board.
    pub metrics: Arc<Metrics>,
    /// The ledger, read between two turns of each shard if it could be.
    pub ledger: Ledger,
    /// Whether messages are taken, and what is not as it should be.
    pub health: Health,
    /// What is measured of the process as a whole, by its owners.
    pub process: Vec<Reading>,
}

/// A number without labels.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Its name, without prefix and suffix.
    pub name: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// Whether it only rises.
    pub rises: bool,
    /// Its value.
    pub value: u64,
}

/// Labels of one series.
type Labels<'a> = &'a [(&'static str, &'a str)];

/// A number of the ledger.
type AccountReading = fn(&Account) -> u64;

/// A number of the status board; `None` where the session does not know it.
type SessionReading = fn(&SessionStatus) -> Option<u64>;

/// The ledger's entries that are counted, but for the drops, which have reasons.
const ENTRIES: [(&str, &str, AccountReading); 5] = [
    ("received_messages", "Messages read from brokers.", |account| account.received),
    ("recovered_messages", "Messages found in the spool at start, counted when they are read.", |account| {
        account.recovered
    }),
    ("delivered_messages", "Messages confirmed by Kafka.", |account| account.delivered),
    ("dead_lettered_messages", "Messages written to the dead letters.", |account| account.dead_lettered),
    ("suppressed_messages", "Second copies, acknowledged and not produced.", |account| account.suppressed),
];

impl Scrape {
    /// The scrape as text.
    #[must_use]
    pub fn render(self) -> String {
        let mut registry = Registry::with_prefix("fairlead");
        registry.register_collector(Box::new(self));
        let mut page = String::new();
        text::encode(&mut page, &registry).expect("a string takes everything, and all values are in range");
        page
    }

    /// The shards with their labels.
    fn shards(&self) -> impl Iterator<Item = (String, &ShardMetrics)> {
        self.metrics.shards().enumerate().map(|(index, shard)| (index.to_string(), shard))
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        for members in Counter::ALL.chunk_by(|one, next| one.describe().name == next.describe().name) {
            let Described { name, help, .. } = members[0].describe();
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (index, shard) in self.shards() {
                for counter in members {
                    let reason = counter.describe().reason;
                    let labels = [("shard", index.as_str()), ("reason", reason.unwrap_or_default())];
                    let labels = if reason.is_some() { &labels[..] } else { &labels[..1] };
                    write_counter(&mut family, labels, shard.counter(*counter))?;
                }
            }
        }
        Ok(())
    }

    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        for gauge in Gauge::ALL {
            let Described { name, help, .. } = gauge.describe();
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (index, shard) in self.shards() {
                write_gauge(&mut family, &[("shard", &index)], shard.gauge(*gauge))?;
            }
        }
        Ok(())
    }

    fn stages(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        for stage in Stage::ALL {
            let Described { name, help, .. } = stage.describe();
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (index, shard) in self.shards() {
                write_histogram(&mut family, &index, shard.stage(*stage, |times| times.buckets()), seconds)?;
            }
        }
        Ok(())
    }

    fn sizes(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        for size in Size::ALL {
            let Described { name, help, .. } = size.describe();
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (index, shard) in self.shards() {
                write_histogram(&mut family, &index, shard.size(*size, |sizes| sizes.buckets()), |bytes| bytes as f64)?;
            }
        }
        Ok(())
    }

    fn ledger(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let routes = &self.ledger.routes;
        for (name, help, reading) in ENTRIES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (route, account) in routes {
                write_counter(&mut family, &[("route", route)], reading(account))?;
            }
        }
        let help = "Messages given up, by reason; a series begins with the first one.";
        let mut dropped = encoder.encode_descriptor("dropped_messages", help, None, MetricType::Counter)?;
        for (route, account) in routes {
            for (reason, n) in DropReason::ALL.iter().zip(account.dropped).filter(|(_, n)| *n > 0) {
                write_counter(&mut dropped, &[("route", route), ("reason", reason.label())], n)?;
            }
        }
        let help = "Messages on their way.";
        let mut pending = encoder.encode_descriptor("pending_messages", help, None, MetricType::Gauge)?;
        for (route, account) in routes {
            write_gauge(&mut pending, &[("route", route)], account.pending)?;
        }
        Ok(())
    }

    fn sessions(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let board = self.metrics.status().board();
        let sessions: Vec<_> = self.metrics.layout().sessions.iter().zip(&board.sessions).collect();
        let readings: [(&str, &str, SessionReading); 3] = [
            ("mqtt_session_subscribed", "1 if everything is subscribed.", |session| {
                Some(u64::from(session.state == SessionState::Subscribed))
            }),
            ("mqtt_session_in_flight_messages", "PUBLISHes that are not acknowledged.", |session| {
                Some(u64::from(session.in_flight))
            }),
            ("mqtt_session_window_messages", "Most PUBLISHes that are not acknowledged.", |session| {
                Some(u64::from(session.window))
            }),
        ];
        for (name, help, reading) in readings {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (label, session) in &sessions {
                let Some(value) = reading(session) else {
                    continue;
                };
                let shard = label.shard.to_string();
                let labels = [("source", &*label.source), ("session", &*label.client_id), ("shard", &*shard)];
                write_gauge(&mut family, &labels, value)?;
            }
        }
        // The sessions of a source have one broker, and show the same number.
        let help = "Messages that the broker of the source says it dropped ($SYS).";
        let mut family = encoder.encode_descriptor("mqtt_broker_dropped", help, None, MetricType::Gauge)?;
        let mut told = HashSet::new();
        for (label, session) in &sessions {
            if let Some(dropped) = session.broker_dropped
                && told.insert(&label.source)
            {
                write_gauge(&mut family, &[("source", &*label.source)], dropped)?;
            }
        }
        Ok(())
    }

    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let gauge = |name, help, is: bool| Reading { name, help, rises: false, value: u64::from(is) };
        let fragile = self.metrics.status().board().topics.values().filter(|topic| topic.fragile).count();
        let own = [
            Reading {
                name: "durability_degraded",
                help: "Kafka topics of which the loss of one broker can lose confirmed records.",
                rises: false,
                value: fragile as u64,
            },
            gauge("ready", "1 if messages are taken.", self.health.is_ready()),
            gauge("degraded", "1 if something is not as it should be; /status says what.", !self.health.is_well()),
            gauge("ledger_balanced", "1 if the ledger balances; 0 is a bug.", self.ledger.imbalance().is_none()),
            gauge("ledger_approximate", "1 if the ledger was not read between two turns.", self.ledger.approximate),
        ];
        for Reading { name, help, rises, value } in own.iter().chain(&self.process) {
            if *rises {
                write_counter(&mut encoder.encode_descriptor(name, help, None, MetricType::Counter)?, &[], *value)?;
            } else {
                write_gauge(&mut encoder.encode_descriptor(name, help, None, MetricType::Gauge)?, &[], *value)?;
            }
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.process(&mut encoder)?;
        self.ledger(&mut encoder)?;
        self.sessions(&mut encoder)?;
        self.counters(&mut encoder)?;
        self.gauges(&mut encoder)?;
        self.stages(&mut encoder)?;
        self.sizes(&mut encoder)
    }
}

fn write_counter(family: &mut MetricEncoder<'_>, labels: Labels<'_>, value: u64) -> Result<(), Error> {
    if labels.is_empty() {
        return family.encode_counter::<NoLabelSet, _, f64>(&value, None);
    }
    family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

/// OpenMetrics gauges are signed: what does not fit is shown as the largest that does.
fn write_gauge(family: &mut MetricEncoder<'_>, labels: Labels<'_>, value: u64) -> Result<(), Error> {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    if labels.is_empty() {
        return family.encode_gauge(&value);
    }
    family.encode_family(&labels)?.encode_gauge(&value)
}

fn write_histogram(
    family: &mut MetricEncoder<'_>,
    shard: &str,
    buckets: Buckets,
    unit: impl Fn(u64) -> f64,
) -> Result<(), Error> {
    let bounds = buckets.bounds.iter().map(|bound| unit(*bound)).chain([f64::INFINITY]);
    let counts: Vec<(f64, u64)> = bounds.zip(buckets.counts).collect();
    let sum = unit(buckets.sum);
    family.encode_family(&[("shard", shard)])?.encode_histogram::<NoLabelSet>(sum, buckets.count, &counts, None)
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}
