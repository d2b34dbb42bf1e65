//! The stamp of a payload that has no room for the long one: the whole payload, 16 to 59 bytes of any value.
//!
//! | offset | length | content                                                  |
//! |--------|--------|----------------------------------------------------------|
//! | 0      | 1      | `0xF1`, with which no text begins                        |
//! | 1      | 3      | publisher                                                |
//! | 4      | 4      | sequence within the publisher, from 0                    |
//! | 8      | 4      | send time, units of 10 µs since the Unix epoch, modulo 2³² |
//! | 12     | 2      | run id                                                   |
//! | 14     | 2      | folded CRC-32 of the whole payload with these two bytes as 0 |
//!
//! Numbers are big-endian, and the low bits of what the long stamp holds.

use super::{Stamp, StampError};

/// Length of a short stamp in bytes; the smallest payload that can be verified.
pub(super) const LEN: usize = 16;

const MARKER: u8 = 0xF1;
const PUBLISHER: usize = 1;
const SEQUENCE: usize = 4;
const TIME: usize = 8;
const RUN: usize = 12;
const CHECKSUM: usize = 14;

/// The unit of the send time, nanoseconds.
const UNIT_NS: i64 = 10_000;
/// After so many nanoseconds the send time begins anew: 11.9 hours.
const WRAP_NS: i64 = UNIT_NS << 32;

pub(super) fn prepare(payload: &mut [u8], run: u32, publisher: u32) {
    payload[0] = MARKER;
    payload[PUBLISHER..SEQUENCE].copy_from_slice(&publisher.to_be_bytes()[1..]);
    payload[RUN..CHECKSUM].copy_from_slice(&run.to_be_bytes()[2..]);
}

pub(super) fn seal(payload: &mut [u8], sequence: u64, sent_ns: i64) {
    let time = sent_ns / UNIT_NS;
    payload[SEQUENCE..TIME].copy_from_slice(&sequence.to_be_bytes()[4..]);
    payload[TIME..RUN].copy_from_slice(&time.to_be_bytes()[4..]);
    payload[CHECKSUM..LEN].fill(0);
    let checksum = fold(crc32fast::hash(payload));
    payload[CHECKSUM..LEN].copy_from_slice(&checksum.to_be_bytes());
}

pub(super) fn read(payload: &[u8]) -> Result<Stamp, StampError> {
    let block: &[u8; LEN] = payload.first_chunk().ok_or(StampError::Absent)?;
    if block[0] != MARKER {
        return Err(StampError::Absent);
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block[..CHECKSUM]);
    hasher.update(&[0; LEN - CHECKSUM]);
    hasher.update(&payload[LEN..]);
    if fold(hasher.finalize()).to_be_bytes() != block[CHECKSUM..] {
        return Err(StampError::Corrupt);
    }
    let number = |from: usize, to: usize| block[from..to].iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    Ok(Stamp {
        run: number(RUN, CHECKSUM),
        publisher: number(PUBLISHER, SEQUENCE),
        sequence: number(SEQUENCE, TIME).into(),
        sent_ns: i64::from(number(TIME, RUN)) * UNIT_NS,
    })
}

/// How long before `now_ns` a time was, of which a short stamp keeps the low bits; at most half of [`WRAP_NS`] off `now_ns`.
pub(super) fn age(sent_ns: i64, now_ns: i64) -> i64 {
    let age = now_ns - sent_ns;
    if sent_ns < WRAP_NS { (age + WRAP_NS / 2).rem_euclid(WRAP_NS) - WRAP_NS / 2 } else { age }
}

fn fold(checksum: u32) -> u16 {
    let [a, b, c, d] = checksum.to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp;
    use proptest::prelude::*;

    const NOW_NS: i64 = 1_800_000_000_123_456_789;

    proptest! {
        #[test]
        fn survives_a_round_trip(run: u16, publisher in 0_u32..1 << 24, sequence: u32, length in LEN..stamp::LONG, ago_ns in 0..WRAP_NS / 2) {
            let mut payload = vec![b'.'; length];
            let sent_ns = NOW_NS - ago_ns;
            let stamp = Stamp { run: run.into(), publisher, sequence: sequence.into(), sent_ns };
            stamp.write(&mut payload, 0);
            let (found, at) = Stamp::find(&payload, 0).unwrap();
            let error_ns = found.age(NOW_NS) - ago_ns;
            prop_assert!((-UNIT_NS..=UNIT_NS).contains(&error_ns), "{error_ns}");
            prop_assert_eq!((Stamp { sent_ns, ..found }, at), (stamp, 0));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for length in [LEN, 17, stamp::LONG - 1] {
            let mut payload = vec![b'.'; length];
            Stamp { run: 7, publisher: 99_999, sequence: 123_456, sent_ns: NOW_NS }.write(&mut payload, 0);
            for bit in 0..length * 8 {
                payload[bit / 8] ^= 1 << (bit % 8);
                assert!(Stamp::find(&payload, 0).is_err(), "bit {bit} flipped unnoticed");
                payload[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(Stamp::find(&payload, 0).is_ok());
        }
    }
}
