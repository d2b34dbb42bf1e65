//! What is published: recorded or synthetic AIS, dealt to the clients so that a topic always has the same one.

use crate::ais::fleet::Vessel;
use crate::ais::nmea::AisRecord;
use crate::stamp::{self, STAMP_LEN};
use std::collections::HashMap;
use std::sync::Arc;

/// The topics of a run and where its messages come from.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The MQTT topic of each publisher number.
    pub(crate) topics: Vec<String>,
    origin: Origin,
    /// Messages in all; none: without end.
    messages: Option<u64>,
    run_id: u32,
}

#[derive(Debug)]
enum Origin {
    /// Over and over again.
    Recorded(Vec<Prepared>),
    Fleet {
        seed: u64,
        vessels: u32,
    },
}

/// A recorded message with room for its stamp.
#[derive(Debug)]
struct Prepared {
    publisher: u32,
    /// How many messages of its topic come before it in a pass, and how many there are in a pass.
    place_in_pass: u64,
    each_pass: u64,
    payload: Vec<u8>,
    stamp_at: usize,
}

impl Plan {
    pub(crate) fn recorded(records: &[AisRecord], messages: Option<u64>, run_id: u32) -> Self {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut topics = Vec::new();
        let mut each_pass: Vec<u64> = Vec::new();
        let mut prepared: Vec<_> = records
            .iter()
            .map(|record| {
                let publisher = *numbers.entry(record.topic()).or_insert_with_key(|topic| {
                    topics.push(topic.clone());
                    each_pass.push(0);
                    u32::try_from(topics.len() - 1).expect("fewer topics than bytes of the recording")
                });
                let count = &mut each_pass[publisher as usize];
                *count += 1;
                let mut payload = Vec::new();
                let stamp_at = put_payload(&mut payload, record.mmsi, record.kind, &record.sentences);
                stamp::prepare(&mut payload, stamp_at, run_id, publisher);
                Prepared { publisher, place_in_pass: *count - 1, each_pass: 0, payload, stamp_at }
            })
            .collect();
        for message in &mut prepared {
            message.each_pass = each_pass[message.publisher as usize];
        }
        Self { topics, origin: Origin::Recorded(prepared), messages, run_id }
    }

    /// Vessel `n` publishes its positions as publisher `n` and its static data as publisher `vessels + n`.
    pub(crate) fn fleet(vessels: u32, seed: u64, messages: Option<u64>, run_id: u32) -> Self {
        let topic = |number, kind| format!("ais/{:09}/{kind}", Vessel::new(seed, number).mmsi);
        let positions = (0..vessels).map(|number| topic(number, "position"));
        let statics = (0..vessels).map(|number| topic(number, "static"));
        Self { topics: positions.chain(statics).collect(), origin: Origin::Fleet { seed, vessels }, messages, run_id }
    }

    /// The messages of one of `clients` clients.
    pub(crate) fn feed(self: &Arc<Self>, client: u32, clients: u32) -> Feed {
        let (mine, of_pass) = match &self.origin {
            Origin::Recorded(all) => {
                let is_mine = |publisher: u32| publisher % clients == client;
                let places = (0..).zip(all.iter()).filter(|(_, message)| is_mine(message.publisher));
                (places.map(|(place, _)| place).collect(), all.len() as u64)
            }
            Origin::Fleet { vessels, .. } => {
                let mine: Vec<u32> = (client..*vessels).step_by(clients as usize).collect();
                (mine, u64::from(*vessels))
            }
        };
        let sailing = match &self.origin {
            Origin::Recorded(_) => Vec::new(),
            Origin::Fleet { seed, .. } => mine.iter().map(|&number| Vessel::new(*seed, number)).collect(),
        };
        Feed { plan: Arc::clone(self), mine, of_pass, sailing, place: 0, pass: 0 }
    }
}

/// The messages of one client. Message `i` of the run is message `i mod n` of pass `i / n`.
#[derive(Debug)]
pub(crate) struct Feed {
    plan: Arc<Plan>,
    /// Which messages of a pass are this client's, rising.
    mine: Vec<u32>,
    of_pass: u64,
    sailing: Vec<Vessel>,
    place: usize,
    pass: u64,
}

/// A message to send; its payload is complete but for the seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) publisher: u32,
    pub(crate) sequence: u64,
    pub(crate) stamp_at: usize,
}

impl Feed {
    /// The number within the run of the next message; none at the end.
    pub(crate) fn peek(&self) -> Option<u64> {
        let place = u64::from(*self.mine.get(self.place)?);
        let number = self.pass * self.of_pass + place;
        (self.plan.messages.is_none_or(|messages| number < messages)).then_some(number)
    }

    /// Writes the next payload into `payload`. The caller has asked [`Feed::peek`].
    pub(crate) fn take(&mut self, payload: &mut Vec<u8>) -> Next {
        payload.clear();
        let next = match &self.plan.origin {
            Origin::Recorded(all) => {
                let message = &all[self.mine[self.place] as usize];
                payload.extend_from_slice(&message.payload);
                Next {
                    publisher: message.publisher,
                    sequence: self.pass * message.each_pass + message.place_in_pass,
                    stamp_at: message.stamp_at,
                }
            }
            Origin::Fleet { vessels, .. } => {
                let vessel = &mut self.sailing[self.place];
                let sailed = vessel.report();
                let (kind, first) = if sailed.is_static { ("static", *vessels) } else { ("position", 0) };
                let stamp_at = put_payload(payload, vessel.mmsi, kind, &sailed.sentences);
                let publisher = first + self.mine[self.place];
                stamp::prepare(payload, stamp_at, self.plan.run_id, publisher);
                Next { publisher, sequence: sailed.sequence, stamp_at }
            }
        };
        self.place += 1;
        if self.place == self.mine.len() {
            self.place = 0;
            self.pass += 1;
        }
        next
    }

    pub(crate) fn topic(&self, publisher: u32) -> &str {
        &self.plan.topics[publisher as usize]
    }
}

/// JSON with the sentences as they were received; none of their characters needs an escape. Returns the stamp's place.
fn put_payload(out: &mut Vec<u8>, mmsi: u32, kind: &str, sentences: &[String]) -> usize {
    out.extend(format!("{{\"mmsi\":{mmsi},\"kind\":\"{kind}\",\"nmea\":[").as_bytes());
    for (number, sentence) in sentences.iter().enumerate() {
        out.extend_from_slice(if number == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(sentence.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"],\"stamp\":\"");
    let stamp_at = out.len();
    out.extend_from_slice(&[b'0'; STAMP_LEN]);
    out.extend_from_slice(b"\"}");
    stamp_at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;
    use std::collections::BTreeMap;

    fn record(mmsi: u32, text: &str) -> AisRecord {
        AisRecord { mmsi, kind: "position", sentences: vec![text.to_owned()] }
    }

    /// Drains all clients' feeds and returns (number in the run, publisher, sequence, payload).
    fn drain(plan: &Arc<Plan>, clients: u32) -> Vec<(u64, u32, u64, String)> {
        let mut all = Vec::new();
        let mut owner: BTreeMap<u32, u32> = BTreeMap::new();
        for client in 0..clients {
            let mut feed = plan.feed(client, clients);
            let mut payload = Vec::new();
            while let Some(number) = feed.peek() {
                let next = feed.take(&mut payload);
                stamp::seal(&mut payload, next.stamp_at, next.sequence, 1);
                let (stamp, _) = Stamp::find(&payload, next.stamp_at).unwrap();
                assert_eq!((stamp.publisher, stamp.sequence, stamp.run), (next.publisher, next.sequence, 4));
                assert_eq!(*owner.entry(next.publisher).or_insert(client), client, "a topic with two clients");
                let text = String::from_utf8(payload.clone()).unwrap();
                let _: serde_json::Value = serde_json::from_str(&text).unwrap();
                all.push((number, next.publisher, next.sequence, text));
            }
        }
        all.sort();
        all
    }

    #[test]
    fn recorded_messages_are_looped_to_the_count() {
        let records = [record(1, "!A"), record(2, "!B"), record(1, "!C")];
        let plan = Arc::new(Plan::recorded(&records, Some(8), 4));
        assert_eq!(plan.topics, ["ais/000000001/position", "ais/000000002/position"]);
        for clients in [1, 2, 5] {
            let all = drain(&plan, clients);
            let numbers: Vec<_> =
                all.iter().map(|(number, publisher, sequence, _)| (*number, *publisher, *sequence)).collect();
            let expected = [(0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 0, 2), (4, 1, 1), (5, 0, 3), (6, 0, 4), (7, 1, 2)];
            assert_eq!(numbers, expected);
            assert!(all[2].3.contains("\"nmea\":[\"!C\"]"), "{}", all[2].3);
        }
    }

    #[test]
    fn a_fleet_is_the_same_however_it_is_spread() {
        let plan = Arc::new(Plan::fleet(5, 1, Some(400), 4));
        let alone = drain(&plan, 1);
        assert_eq!(alone.len(), 400);
        assert_eq!(drain(&plan, 3), alone);
        assert_ne!(drain(&Arc::new(Plan::fleet(5, 2, Some(400), 4)), 1), alone);
        let mut next: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, publisher, sequence, payload) in &alone {
            let expected = next.entry(*publisher).or_default();
            assert_eq!(sequence, expected);
            *expected += 1;
            let topic = &plan.topics[*publisher as usize];
            assert_eq!(topic.ends_with("static"), payload.contains("\"static\""));
        }
        assert_eq!(next.len(), 10, "static data of each vessel, too");
    }
}
