//! A pass of messages, dealt to the clients so that a topic, and a vessel, always has the same one, and sent over and over.

use crate::ais::payload::{Blank, Encoder, FormatError};
use crate::ais::record::AisRecord;
use crate::ais::world::World;
use crate::stamp;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Fleet, Plain};

/// The most reports of a fleet in a pass: they are encoded before the run, at up to 400 bytes of memory each.
pub(crate) const PASS: u64 = 100_000;

/// Fills a plain payload behind its stamp.
pub(crate) const FILLER: u8 = b'.';

/// The topics of a run and its messages.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The MQTT topic of each publisher number.
    pub(crate) topics: Vec<String>,
    pass: Vec<Prepared>,
    /// How long a pass takes at the real rate.
    pass_ns: i64,
    /// Messages in all; none: without end.
    messages: Option<u64>,
}

/// A message with room for its stamp.
#[derive(Debug)]
struct Prepared {
    publisher: u32,
    /// Who has the same one has the same client.
    owner: u32,
    /// How many messages of its topic come before it in a pass, and how many there are in a pass.
    place_in_pass: u64,
    each_pass: u64,
    /// When it is due in a pass at the real rate.
    at_ns: i64,
    blank: Blank,
}

/// What becomes a [`Plan`], message by message.
struct Builder<'a> {
    encoder: &'a Encoder,
    run_id: u32,
    numbers: HashMap<String, u32>,
    topics: Vec<String>,
    each_pass: Vec<u64>,
    pass: Vec<Prepared>,
}

impl<'a> Builder<'a> {
    fn new(encoder: &'a Encoder, run_id: u32) -> Self {
        let (numbers, topics, each_pass, pass) = Default::default();
        Self { encoder, run_id, numbers, topics, each_pass, pass }
    }

    fn add(&mut self, topic: String, vessel: Option<u32>, at_ns: i64, record: &AisRecord) -> Result<(), FormatError> {
        let publisher = *self.numbers.entry(topic).or_insert_with_key(|topic| {
            self.topics.push(topic.clone());
            self.each_pass.push(0);
            u32::try_from(self.topics.len() - 1).expect("fewer topics than messages of a pass")
        });
        let count = &mut self.each_pass[publisher as usize];
        *count += 1;
        let mut blank = self.encoder.encode(record)?;
        stamp::prepare(&mut blank.payload, blank.stamp_at, self.run_id, publisher);
        let owner = vessel.unwrap_or(publisher);
        self.pass.push(Prepared { publisher, owner, place_in_pass: *count - 1, each_pass: 0, at_ns, blank });
        Ok(())
    }

    fn build(mut self, messages: Option<u64>) -> Plan {
        for message in &mut self.pass {
            message.each_pass = self.each_pass[message.publisher as usize];
        }
        let (last, count) = (self.pass.last().map_or(0, |last| last.at_ns), self.pass.len());
        let between = last / i64::try_from(count).unwrap_or(i64::MAX).max(1);
        Plan { topics: self.topics, pass: self.pass, pass_ns: last + between, messages }
    }
}

/// Which reports of a fleet are sent, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topics {
    /// All, each to the topic of its vessel and kind.
    Vessels,
    /// Positions, to so many topics: vessels are dealt to them.
    Workers(u32),
}

impl Plan {
    pub(crate) fn recorded(
        records: &[AisRecord],
        encoder: &Encoder,
        messages: Option<u64>,
        run_id: u32,
    ) -> Result<Self, FormatError> {
        let mut builder = Builder::new(encoder, run_id);
        for record in records {
            builder.add(record.topic(), None, 0, record)?;
        }
        Ok(builder.build(messages))
    }

    /// The first reports of the fleet: as many as are sent, [`PASS`] at most.
    pub(crate) fn fleet(
        Fleet { vessels, seed }: Fleet,
        topics: Topics,
        encoder: &Encoder,
        messages: Option<u64>,
        run_id: u32,
    ) -> Result<Self, FormatError> {
        const MILLISECOND: i64 = crate::clock::MILLISECOND;
        let count = usize::try_from(messages.unwrap_or(PASS).min(PASS)).expect("fits the memory");
        let is_sent = |kind| topics == Topics::Vessels || kind == "position";
        let mut builder = Builder::new(encoder, run_id);
        for report in World::new(seed, vessels).filter(|report| is_sent(report.record.kind)).take(count) {
            let (topic, vessel) = match topics {
                Topics::Vessels => (report.record.topic(), Some(report.vessel)),
                Topics::Workers(workers) => (format!("ais/{}", report.vessel % workers), None),
            };
            builder.add(topic, vessel, report.at_ms.cast_signed() * MILLISECOND, &report.record)?;
        }
        Ok(builder.build(messages))
    }

    /// One message for each topic.
    pub(crate) fn plain(plain: &Plain, messages: Option<u64>, run_id: u32) -> Self {
        let blank = |publisher| {
            let mut payload = vec![FILLER; plain.size];
            stamp::prepare(&mut payload, 0, run_id, publisher);
            Blank { payload, stamp_at: 0 }
        };
        let message = |publisher| Prepared {
            publisher,
            owner: publisher,
            place_in_pass: 0,
            each_pass: 1,
            at_ns: 0,
            blank: blank(publisher),
        };
        Self { topics: plain.names(), pass: (0..plain.topics).map(message).collect(), pass_ns: 0, messages }
    }

    /// The messages of one of `clients` clients.
    pub(crate) fn feed(self: &Arc<Self>, client: u32, clients: u32) -> Feed {
        let places = (0..).zip(&self.pass).filter(|(_, message)| message.owner % clients == client);
        Feed { plan: Arc::clone(self), mine: places.map(|(place, _)| place).collect(), place: 0, pass: 0 }
    }
}

/// The messages of one client. Message `i` of the run is message `i mod n` of pass `i / n`.
#[derive(Debug)]
pub(crate) struct Feed {
    plan: Arc<Plan>,
    /// Which messages of a pass are this client's, rising.
    mine: Vec<u32>,
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

/// The place of a message in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number in the run.
    pub(crate) number: u64,
    /// When it is due at the real rate, from the start of the run.
    pub(crate) at_ns: i64,
}

impl Feed {
    /// The place of the next message; none at the end.
    pub(crate) fn peek(&self) -> Option<Place> {
        let place = *self.mine.get(self.place)?;
        let number = self.pass * self.plan.pass.len() as u64 + u64::from(place);
        let at_ns = self.pass.cast_signed() * self.plan.pass_ns + self.plan.pass[place as usize].at_ns;
        self.plan.messages.is_none_or(|messages| number < messages).then_some(Place { number, at_ns })
    }

    /// Writes the next payload into `payload`. The caller has asked [`Feed::peek`].
    pub(crate) fn take(&mut self, payload: &mut Vec<u8>) -> Next {
        let message = &self.plan.pass[self.mine[self.place] as usize];
        payload.clear();
        payload.extend_from_slice(&message.blank.payload);
        let next = Next {
            publisher: message.publisher,
            sequence: self.pass * message.each_pass + message.place_in_pass,
            stamp_at: message.blank.stamp_at,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ais::nmea::Assembler;
    use crate::stamp::Stamp;
    use std::collections::BTreeMap;

    /// A position report of each of these vessels, in this order.
    fn records(mmsis: &[u32]) -> Vec<AisRecord> {
        let mut assembler = Assembler::default();
        let line = |record: AisRecord| assembler.handle_line(record.sentences[0].as_bytes());
        let mut world: Vec<_> = World::new(1, 3).filter(|r| r.record.kind == "position").take(3_000).collect();
        let mut next = |number| {
            let place = world.iter().position(|report| report.vessel == number).expect("it reports often");
            world.remove(place).record
        };
        mmsis.iter().map(|number| next(*number)).filter_map(line).collect()
    }

    /// Drains all clients' feeds and returns (number in the run, publisher, sequence, payload).
    fn drain(plan: &Arc<Plan>, clients: u32) -> Vec<(u64, u32, u64, String)> {
        let mut all = Vec::new();
        let mut owner: BTreeMap<u32, u32> = BTreeMap::new();
        for client in 0..clients {
            let mut feed = plan.feed(client, clients);
            let mut payload = Vec::new();
            while let Some(place) = feed.peek() {
                let next = feed.take(&mut payload);
                stamp::seal(&mut payload, next.stamp_at, next.sequence, 1);
                let (stamp, _) = Stamp::find(&payload, next.stamp_at).unwrap();
                assert_eq!((stamp.publisher, stamp.sequence, stamp.run), (next.publisher, next.sequence, 4));
                assert_eq!(*owner.entry(next.publisher).or_insert(client), client, "a topic with two clients");
                all.push((place.number, next.publisher, next.sequence, String::from_utf8(payload.clone()).unwrap()));
            }
        }
        all.sort();
        all
    }

    #[test]
    fn recorded_messages_are_looped_to_the_count() {
        let records = records(&[0, 1, 0]);
        let plan = Arc::new(Plan::recorded(&records, &Encoder::Nmea, Some(8), 4).unwrap());
        assert_eq!(plan.topics, ["ais/200000000/position", "ais/200000001/position"]);
        for clients in [1, 2, 5] {
            let all = drain(&plan, clients);
            let numbers: Vec<_> =
                all.iter().map(|(number, publisher, sequence, _)| (*number, *publisher, *sequence)).collect();
            let expected = [(0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 0, 2), (4, 1, 1), (5, 0, 3), (6, 0, 4), (7, 1, 2)];
            assert_eq!(numbers, expected);
            assert!(all[2].3.starts_with(&records[2].sentences[0]), "{}", all[2].3);
        }
    }

    fn fleet(seed: u64, topics: Topics, messages: Option<u64>) -> Arc<Plan> {
        Arc::new(Plan::fleet(Fleet { vessels: 5, seed }, topics, &Encoder::Json, messages, 4).unwrap())
    }

    #[test]
    fn a_fleet_is_the_same_however_it_is_spread() {
        let plan = fleet(1, Topics::Vessels, Some(400));
        let alone = drain(&plan, 1);
        assert_eq!(alone.len(), 400);
        assert_eq!(drain(&plan, 3), alone);
        assert_ne!(drain(&fleet(2, Topics::Vessels, Some(400)), 1), alone);
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

    #[test]
    fn workers_have_a_topic_each_and_send_positions_alone() {
        let plan = fleet(1, Topics::Workers(3), Some(300));
        let mut topics = plan.topics.clone();
        topics.sort();
        assert_eq!(topics, ["ais/0", "ais/1", "ais/2"]);
        assert!(drain(&plan, 3).iter().all(|(_, _, _, payload)| payload.contains("\"position\"")));
    }

    #[test]
    fn plain_topics_are_served_in_turn() {
        let plain = Plain { size: 100, topics: 3, pattern: "fire/{n}".to_owned() };
        let plan = Arc::new(Plan::plain(&plain, Some(7), 4));
        assert_eq!(plan.topics, ["fire/0", "fire/1", "fire/2"]);
        let all = drain(&plan, 2);
        let numbers: Vec<_> = all.iter().map(|(_, publisher, sequence, _)| (*publisher, *sequence)).collect();
        assert_eq!(numbers, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2)]);
        assert!(all.iter().all(|(_, _, _, payload)| payload.len() == 100));
    }

    #[test]
    fn at_the_real_rate_passes_follow_each_other() {
        let plan = fleet(1, Topics::Vessels, None);
        let mut feed = plan.feed(0, 1);
        let mut last = -1;
        for number in 0..PASS + 10 {
            let place = feed.peek().expect("it has no end");
            assert!(place.number == number && place.at_ns >= last, "{place:?} after {last}");
            last = place.at_ns;
            feed.take(&mut Vec::new());
        }
    }
}
