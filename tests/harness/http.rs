//! The admin endpoint as its users see it.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::metric;

/// Longest answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Status code and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status code.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// GET from a port of 127.0.0.1; `None` where nothing answers.
#[must_use]
pub fn get(port: u16, path: &str) -> Option<Response> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    // HTTP/1.0: the end of the answer is the end of the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    // A process that is killed while it answers leaves half an answer, which is none.
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    if length.is_some_and(|length: usize| length != body.len()) {
        return None;
    }
    Some(Response { status, body: body.to_owned() })
}

/// A scrape of `/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Metrics {
    /// Reads the Prometheus text format.
    ///
    /// # Panics
    ///
    /// On a line that is not in it.
    #[must_use]
    pub fn parse(text: &str) -> Metrics {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics { samples: lines.map(|l| sample(l).unwrap_or_else(|| panic!("no metric line: {l}"))).collect() }
    }

    /// The sum of the samples of `name` that carry all of `labels`; `None` where there is no such sample.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |have: &BTreeMap<String, String>| labels.iter().all(|(k, v)| have.get(*k).is_some_and(|h| h == v));
        let mut values = self.samples.iter().filter(|(n, l, _)| n == name && fits(l)).map(|(_, _, value)| *value);
        values.next().map(|first| first + values.sum::<f64>())
    }

    /// How the ledger of a route fails to balance, if one does. `None` also where this scrape may be in the middle of a
    /// turn.
    #[must_use]
    pub fn imbalance(&self) -> Option<String> {
        if self.sum(metric::APPROXIMATE, &[]) == Some(1.0) {
            return None;
        }
        let routes = self.samples.iter().filter(|(name, _, _)| name == metric::RECEIVED);
        let unbalanced = routes.filter_map(|(_, labels, _)| self.imbalance_of(labels["route"].as_str())).next();
        let denied = (self.sum(metric::BALANCED, &[]) != Some(1.0)).then(|| format!("{} is not 1", metric::BALANCED));
        unbalanced.or(denied)
    }

    fn imbalance_of(&self, route: &str) -> Option<String> {
        let sum = |name| self.sum(name, &[("route", route)]).unwrap_or(0.0);
        let came = sum(metric::RECEIVED) + sum(metric::RECOVERED);
        let ended = sum(metric::DELIVERED) + sum(metric::DEAD_LETTERED) + sum(metric::DROPPED);
        let (suppressed, pending) = (sum(metric::SUPPRESSED), sum(metric::PENDING));
        (came != ended + suppressed + pending).then(|| {
            format!(
                "the ledger of route {route}: {came} came, {ended} ended, {suppressed} suppressed, {pending} pending"
            )
        })
    }

    /// Every sample: name, labels, value.
    #[must_use]
    pub fn samples(&self) -> &[(String, BTreeMap<String, String>, f64)] {
        &self.samples
    }
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let mut map = BTreeMap::new();
    let mut rest = labels;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        // No label of Fairlead's holds a quote.
        let (text, after) = after.split_once('"')?;
        map.insert(label.trim_start_matches(',').to_owned(), text.to_owned());
        rest = after;
    }
    Some((name.to_owned(), map, value.parse().ok()?))
}
