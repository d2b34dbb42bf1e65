//! A synthetic fleet: seeded vessels that move, as genuine AIVDM sentences. The same seed gives the same bytes.

use super::sentence::Bits;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::f64::consts::TAU;

/// Each vessel sends its static data instead of every 36th position: every 6 minutes of its own time, as AIS does.
pub(crate) const STATIC_EVERY: u64 = 36;

/// Seconds of a vessel's own time between two reports: AIS at moderate speed (ITU-R M.1371 table 1).
const REPORT_SECONDS: f64 = 10.0;

/// Ship MMSIs start with the digits of a country; these are of a range that no country has.
const FIRST_MMSI: u32 = 200_000_000;

const METRES_PER_DEGREE: f64 = 111_120.0;
const METRES_PER_SECOND_PER_KNOT: f64 = 0.514_444;

/// One vessel. It knows nothing of the others, so any thread can sail any part of a fleet.
#[derive(Debug)]
pub(crate) struct Vessel {
    pub(crate) mmsi: u32,
    number: u32,
    random: StdRng,
    latitude: f64,
    longitude: f64,
    /// Degrees.
    course: f64,
    /// Knots.
    speed: f64,
    /// Reports made so far.
    reports: u64,
}

/// One report of a vessel.
#[derive(Debug)]
pub(crate) struct Sailed {
    pub(crate) is_static: bool,
    /// How many reports of this kind the vessel made before.
    pub(crate) sequence: u64,
    pub(crate) sentences: Vec<String>,
}

impl Vessel {
    /// Vessel `number` of the fleet with this seed, in the approaches of a busy sea.
    pub(crate) fn new(seed: u64, number: u32) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ (u64::from(number) << 32));
        Self {
            mmsi: FIRST_MMSI + number,
            number,
            latitude: random.random_range(50.0..60.0),
            longitude: random.random_range(-5.0..12.0),
            course: random.random_range(0.0..360.0),
            speed: random.random_range(0.0..22.0),
            reports: 0,
            random,
        }
    }

    /// The next report; the vessel moves on.
    pub(crate) fn report(&mut self) -> Sailed {
        self.reports += 1;
        let is_static = self.reports.is_multiple_of(STATIC_EVERY);
        let channel = if self.reports.is_multiple_of(2) { 'B' } else { 'A' };
        self.sail();
        let bits = if is_static { self.static_data() } else { self.position() };
        let statics = self.reports / STATIC_EVERY;
        Sailed {
            is_static,
            sequence: if is_static { statics - 1 } else { self.reports - 1 - statics },
            sentences: bits.sentences(channel, u64::from(self.number) % 10),
        }
    }

    fn sail(&mut self) {
        self.course = (self.course + self.random.random_range(-4.0..4.0)).rem_euclid(360.0);
        self.speed = (self.speed + self.random.random_range(-0.3..0.3)).clamp(0.0, 25.0);
        let degrees = self.speed * METRES_PER_SECOND_PER_KNOT * REPORT_SECONDS / METRES_PER_DEGREE;
        let angle = self.course / 360.0 * TAU;
        self.latitude += degrees * angle.cos();
        self.longitude += degrees * angle.sin() / self.latitude.to_radians().cos();
        if !(45.0..65.0).contains(&self.latitude) || !(-15.0..20.0).contains(&self.longitude) {
            self.course = (self.course + 180.0).rem_euclid(360.0);
            self.latitude = self.latitude.clamp(45.0, 65.0);
            self.longitude = self.longitude.clamp(-15.0, 20.0);
        }
    }

    /// Message 1, position report of class A (ITU-R M.1371 table 48).
    fn position(&self) -> Bits {
        let mut bits = Bits::default();
        for (value, width) in [
            (1, 6),
            (0, 2),
            (i64::from(self.mmsi), 30),
            (0, 4),
            // No rate of turn available.
            (-128, 8),
            (scaled(self.speed, 10.0), 10),
            (0, 1),
            (scaled(self.longitude, 600_000.0), 28),
            (scaled(self.latitude, 600_000.0), 27),
            (scaled(self.course, 10.0) % 3_600, 12),
            (scaled(self.course, 1.0) % 360, 9),
            ((self.reports * 10 % 60).cast_signed(), 6),
            (0, 2),
            (0, 3),
            (0, 1),
            (0, 19),
        ] {
            bits.put(value, width);
        }
        bits
    }

    /// Message 5, static and voyage related data (ITU-R M.1371 table 52): 424 bits, two sentences.
    fn static_data(&self) -> Bits {
        let mut bits = Bits::default();
        for (value, width) in [(5, 6), (0, 2), (i64::from(self.mmsi), 30), (0, 2), (0, 30)] {
            bits.put(value, width);
        }
        bits.put_text(&format!("FL{}", self.number % 100_000), 7);
        bits.put_text(&format!("FAIRLEAD {}", self.number), 20);
        // Cargo ship, 80 + 20 m by 8 + 8 m, GPS, no ETA, 7.2 m draught.
        for (value, width) in
            [(70, 8), (80, 9), (20, 9), (8, 6), (8, 6), (1, 4), (0, 4), (0, 5), (24, 5), (60, 6), (72, 8)]
        {
            bits.put(value, width);
        }
        bits.put_text("ROTTERDAM", 20);
        bits.put(0, 2);
        bits
    }
}

#[expect(clippy::cast_possible_truncation, reason = "positions, speeds and courses are small numbers")]
fn scaled(value: f64, factor: f64) -> i64 {
    (value * factor).round() as i64
}

#[cfg(test)]
mod tests {
    use super::super::nmea::Assembler;
    use super::*;
    use ais::messages::AisMessage;
    use ais::{AisFragments, AisParser};

    fn lines(seed: u64, number: u32, reports: usize) -> Vec<String> {
        let mut vessel = Vessel::new(seed, number);
        (0..reports).flat_map(|_| vessel.report().sentences).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(lines(1, 5, 100), lines(1, 5, 100));
        assert_ne!(lines(1, 5, 100), lines(2, 5, 100));
        assert_ne!(lines(1, 5, 100), lines(1, 6, 100));
    }

    #[test]
    fn reports_are_genuine_and_the_vessel_moves() {
        let mut parser = AisParser::new();
        let mut places = Vec::new();
        let mut names = Vec::new();
        for line in lines(3, 7, 72) {
            assert!(line.len() <= 80, "{line}");
            let Ok(AisFragments::Complete(sentence)) = parser.parse(line.as_bytes(), true) else {
                continue;
            };
            match sentence.message {
                Some(AisMessage::PositionReport(report)) => {
                    assert_eq!(report.mmsi, FIRST_MMSI + 7);
                    assert!(report.speed_over_ground.unwrap() <= 25.0);
                    places.push((report.longitude.unwrap(), report.latitude.unwrap()));
                }
                Some(AisMessage::StaticAndVoyageRelatedData(data)) => names.push(data.vessel_name),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(places.len(), 70);
        assert_eq!(names, ["FAIRLEAD 7", "FAIRLEAD 7"]);
        for pair in places.windows(2) {
            let moved = (pair[0].0 - pair[1].0).abs() + (pair[0].1 - pair[1].1).abs();
            assert!(moved < 0.02, "{pair:?}");
        }
        assert_ne!(places[0], places[69]);
    }

    #[test]
    fn our_own_reader_finds_every_report() {
        let mut assembler = Assembler::default();
        for line in lines(9, 1, 72) {
            assembler.handle_line(line.as_bytes());
        }
        let counts = assembler.counts();
        assert_eq!((counts.messages, counts.kinds["position"], counts.kinds["static"]), (72, 70, 2));
    }
}
