//! A world of ships: seeded vessels that move and report when AIS wants them to (ITU-R M.1371 table 1), as genuine AIVDM
//! sentences. The same seed gives the same bytes.

use super::nmea::Assembler;
use super::record::AisRecord;
use super::sentence::Bits;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::f64::consts::TAU;

/// The most vessels of a world: more would not fit a gigabyte.
pub(crate) const MAX_VESSELS: u32 = 1_000_000;

/// Static data come every six minutes.
const STATIC_MS: u64 = 360_000;

/// A class A vessel that turns faster than this many degrees in ten seconds reports more often.
const TURN: f64 = 5.0;

/// Ship MMSIs start with the digits of a country; these are of a range that no country has.
const FIRST_MMSI: u32 = 200_000_000;

const METRES_PER_DEGREE: f64 = 111_120.0;
const METRES_PER_SECOND_PER_KNOT: f64 = 0.514_444;

/// A report, and when it is made.
#[derive(Debug, PartialEq)]
pub(crate) struct Report {
    /// Milliseconds from the beginning of the world.
    pub(crate) at_ms: u64,
    /// The number of the vessel.
    pub(crate) vessel: u32,
    pub(crate) record: AisRecord,
}

/// All reports of a fleet in the order of their time, without end.
#[derive(Debug)]
pub(crate) struct World {
    vessels: Vec<Vessel>,
    /// What each vessel does next: its time, the vessel, and what it sends.
    due: BinaryHeap<Reverse<(u64, u32, Kind)>>,
    reader: Assembler,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Position,
    Static,
}

impl World {
    /// `vessels` is 1 to [`MAX_VESSELS`].
    pub(crate) fn new(seed: u64, vessels: u32) -> Self {
        let mut due = BinaryHeap::with_capacity(vessels as usize * 2);
        let vessels: Vec<Vessel> = (0..vessels).map(|number| Vessel::new(seed, number)).collect();
        for (number, vessel) in (0..).zip(&vessels) {
            let mut random = vessel.random.clone();
            due.push(Reverse((random.random_range(0..vessel.interval_ms()), number, Kind::Position)));
            due.push(Reverse((random.random_range(0..STATIC_MS), number, Kind::Static)));
        }
        Self { vessels, due, reader: Assembler::default() }
    }
}

impl Iterator for World {
    type Item = Report;

    fn next(&mut self) -> Option<Report> {
        let Reverse((at_ms, number, kind)) = self.due.pop()?;
        let vessel = &mut self.vessels[number as usize];
        vessel.sail(at_ms);
        let (bits, pause_ms) = match kind {
            Kind::Position => (vessel.position(at_ms), vessel.interval_ms()),
            Kind::Static => (vessel.static_data(), STATIC_MS),
        };
        self.due.push(Reverse((at_ms + pause_ms, number, kind)));
        vessel.reports += 1;
        let channel = if vessel.reports.is_multiple_of(2) { 'B' } else { 'A' };
        let sentences = bits.sentences(channel, u64::from(number) % 10);
        let mut records = sentences.iter().filter_map(|sentence| self.reader.handle_line(sentence.as_bytes()));
        let record = records.next().expect("what we encode is a whole message");
        Some(Report { at_ms, vessel: number, record })
    }
}

/// How a vessel takes part in AIS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    UnderWay,
    Anchored,
    B,
}

/// One vessel; it knows nothing of the others.
#[derive(Debug)]
struct Vessel {
    mmsi: u32,
    number: u32,
    class: Class,
    random: Pcg64Mcg,
    latitude: f64,
    longitude: f64,
    /// Degrees.
    course: f64,
    /// Degrees in ten seconds.
    turn: f64,
    /// Knots.
    speed: f64,
    seen_ms: u64,
    reports: u64,
    /// Reports of static data, of which class B sends one part at a time.
    statics: u64,
}

impl Vessel {
    /// Vessel `number` of the world with this seed, in the approaches of a busy sea. Of twenty, fourteen are under way, three
    /// lie at anchor and three are of class B.
    fn new(seed: u64, number: u32) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(seed ^ (u64::from(number) << 32));
        let (class, speed) = match number % 20 {
            0..=13 => (Class::UnderWay, random.random_range(3.0..28.0)),
            14..=16 => (Class::Anchored, 0.1),
            _ => (Class::B, random.random_range(0.0..12.0)),
        };
        Self {
            mmsi: FIRST_MMSI + number,
            number,
            class,
            latitude: random.random_range(50.0..60.0),
            longitude: random.random_range(-5.0..12.0),
            course: random.random_range(0.0..360.0),
            turn: 0.0,
            speed,
            random,
            seen_ms: 0,
            reports: 0,
            statics: 0,
        }
    }

    fn interval_ms(&self) -> u64 {
        let turns = self.turn.abs() > TURN;
        match self.class {
            Class::Anchored => 180_000,
            Class::B if self.speed > 2.0 => 30_000,
            Class::B => 180_000,
            Class::UnderWay if self.speed > 23.0 => 2_000,
            Class::UnderWay if self.speed > 14.0 => {
                if turns {
                    2_000
                } else {
                    6_000
                }
            }
            Class::UnderWay => {
                if turns {
                    3_333
                } else {
                    10_000
                }
            }
        }
    }

    /// On to the place where it is at that time.
    fn sail(&mut self, at_ms: u64) {
        #[expect(clippy::cast_precision_loss, reason = "minutes in milliseconds")]
        let seconds = at_ms.saturating_sub(self.seen_ms) as f64 / 1_000.0;
        self.seen_ms = at_ms;
        if self.class == Class::Anchored {
            return;
        }
        self.turn = (self.turn * 0.8 + self.random.random_range(-3.0..3.0)).clamp(-20.0, 20.0);
        self.course = (self.course + self.turn * seconds / 10.0).rem_euclid(360.0);
        let fastest = if self.class == Class::B { 15.0 } else { 30.0 };
        self.speed = (self.speed + self.random.random_range(-0.3..0.3)).clamp(0.0, fastest);
        let degrees = self.speed * METRES_PER_SECOND_PER_KNOT * seconds / METRES_PER_DEGREE;
        let angle = self.course / 360.0 * TAU;
        self.latitude += degrees * angle.cos();
        self.longitude += degrees * angle.sin() / self.latitude.to_radians().cos();
        if !(45.0..65.0).contains(&self.latitude) || !(-15.0..20.0).contains(&self.longitude) {
            self.course = (self.course + 180.0).rem_euclid(360.0);
            self.latitude = self.latitude.clamp(45.0, 65.0);
            self.longitude = self.longitude.clamp(-15.0, 20.0);
        }
    }

    /// Message 1, position report of class A, or message 18, of class B (ITU-R M.1371 tables 48 and 70).
    fn position(&self, at_ms: u64) -> Bits {
        let longitude = (scaled(self.longitude, 600_000.0), 28);
        let latitude = (scaled(self.latitude, 600_000.0), 27);
        let speed = (scaled(self.speed, 10.0), 10);
        let course = (scaled(self.course, 10.0) % 3_600, 12);
        let heading = (scaled(self.course, 1.0) % 360, 9);
        let second = ((at_ms / 1_000 % 60).cast_signed(), 6);
        let mmsi = (i64::from(self.mmsi), 30);
        if self.class == Class::B {
            // A carrier sense unit; its radio status is a constant.
            let status = [(0, 2), (1, 1), (0, 1), (0, 1), (1, 1), (1, 1), (0, 1), (0, 1), (1, 1), (0x6_0006, 19)];
            let fields = [(18, 6), (0, 2), mmsi, (0, 8), speed, (0, 1), longitude, latitude, course, heading, second];
            return Bits::of(fields.into_iter().chain(status));
        }
        // 1 is at anchor. No rate of turn available.
        let status = (i64::from(self.class == Class::Anchored), 4);
        let fields = [(1, 6), (0, 2), mmsi, status, (-128, 8), speed, (0, 1), longitude, latitude, course, heading];
        Bits::of(fields.into_iter().chain([second, (0, 2), (0, 3), (0, 1), (0, 19)]))
    }

    /// Message 5, static and voyage related data (ITU-R M.1371 table 52): 424 bits, two sentences. For class B message 24
    /// (table 81), part A and part B in turn.
    fn static_data(&mut self) -> Bits {
        self.statics += 1;
        let mmsi = (i64::from(self.mmsi), 30);
        let callsign = format!("FL{}", self.number % 100_000);
        let name = format!("FAIRLEAD {}", self.number);
        // 80 + 20 m by 8 + 8 m; class B 8 + 4 m by 2 + 2 m.
        match (self.class, self.statics % 2) {
            (Class::B, 1) => {
                let mut bits = Bits::of([(24, 6), (0, 2), mmsi, (0, 2)]);
                bits.put_text(&name, 20);
                bits
            }
            (Class::B, _) => {
                // A pleasure craft.
                let mut bits = Bits::of([(24, 6), (0, 2), mmsi, (1, 2), (37, 8)]);
                bits.put_text("FLD", 3);
                bits.extend([(1, 4), (i64::from(self.number), 20)]);
                bits.put_text(&callsign, 7);
                bits.extend([(8, 9), (4, 9), (2, 6), (2, 6), (0, 6)]);
                bits
            }
            _ => {
                let mut bits = Bits::of([(5, 6), (0, 2), mmsi, (0, 2), (0, 30)]);
                bits.put_text(&callsign, 7);
                bits.put_text(&name, 20);
                // Cargo ship, GPS, no ETA, 7.2 m draught.
                let ship = [(70, 8), (80, 9), (20, 9), (8, 6), (8, 6), (1, 4)];
                bits.extend(ship.into_iter().chain([(0, 4), (0, 5), (24, 5), (60, 6), (72, 8)]));
                bits.put_text("ROTTERDAM", 20);
                bits.put(0, 2);
                bits
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "positions, speeds and courses are small numbers")]
fn scaled(value: f64, factor: f64) -> i64 {
    (value * factor).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn reports(seed: u64, vessels: u32, count: usize) -> Vec<Report> {
        World::new(seed, vessels).take(count).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_reports() {
        assert_eq!(reports(1, 50, 1000), reports(1, 50, 1000));
        assert_ne!(reports(1, 50, 1000), reports(2, 50, 1000));
    }

    #[test]
    fn sentences_fit_the_line_and_long_messages_take_two() {
        let all = reports(3, 40, 5000);
        let sentences = || all.iter().flat_map(|report| &report.record.sentences);
        assert!(sentences().all(|sentence| sentence.len() <= 80));
        assert!(all.iter().any(|report| report.record.sentences.len() == 2));
    }

    /// Milliseconds between the reports of each vessel, of one kind.
    fn pauses(all: &[Report], kind: &str) -> BTreeMap<u32, Vec<u64>> {
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        let mut pauses: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for report in all.iter().filter(|report| report.record.kind == kind) {
            if let Some(before) = last.insert(report.vessel, report.at_ms) {
                pauses.entry(report.vessel).or_default().push(report.at_ms - before);
            }
        }
        pauses
    }

    #[test]
    fn vessels_report_as_often_as_the_standard_wants() {
        let all = reports(9, 20, 6000);
        assert!(all.is_sorted_by_key(|report| report.at_ms));
        for (vessel, pauses) in pauses(&all, "position") {
            let allowed: &[u64] = match vessel % 20 {
                0..=13 => &[2_000, 3_333, 6_000, 10_000],
                14..=16 => &[180_000],
                _ => &[30_000, 180_000],
            };
            assert!(pauses.iter().all(|pause| allowed.contains(pause)), "vessel {vessel}: {pauses:?}");
        }
        let statics = pauses(&all, "static");
        assert!(statics.len() > 15 && statics.values().flatten().all(|pause| *pause == STATIC_MS), "{statics:?}");
    }

    #[test]
    fn what_is_decoded_is_what_was_encoded_and_vessels_move() {
        let all = reports(5, 20, 3000);
        let of = |vessel, kind| all.iter().filter(move |r| r.vessel == vessel && r.record.kind == kind);
        for vessel in [0, 14, 17] {
            let places: Vec<_> = of(vessel, "position")
                .map(|report| {
                    assert_eq!(report.record.mmsi, FIRST_MMSI + vessel);
                    let fields = &report.record.fields;
                    assert!(fields.speed.is_some_and(|speed| speed <= 30.0) && fields.heading.is_some());
                    (fields.longitude.expect("a longitude"), fields.latitude.expect("a latitude"))
                })
                .collect();
            let moved = |(a, b): &((f32, f32), (f32, f32))| (a.0 - b.0).abs() + (a.1 - b.1).abs();
            let steps: Vec<_> = places.iter().copied().zip(places.iter().copied().skip(1)).collect();
            assert!(!steps.is_empty() && steps.iter().all(|step| moved(step) < 0.05), "{steps:?}");
            assert_eq!(places.first() == places.last(), vessel == 14, "only who lies at anchor stays");
            let names: Vec<_> = of(vessel, "static").filter_map(|report| report.record.fields.name.clone()).collect();
            assert!(names.iter().all(|name| *name == format!("FAIRLEAD {vessel}")), "{names:?}");
        }
    }
}
