//! The stamp that every payload carries, so that a reader of Kafka can say what was lost, doubled, reordered or changed.
//!
//! One encoding serves binary and text payloads: 60 ASCII characters that need no escape in JSON.
//!
//! | offset | length | content                                                            |
//! |--------|--------|--------------------------------------------------------------------|
//! | 0      | 4      | `~FL1`; `~` never occurs in an AIS sentence, so it is found by search |
//! | 4      | 8      | run id                                                             |
//! | 12     | 8      | publisher: the number of the MQTT topic, which has one writer      |
//! | 20     | 16     | sequence within the publisher, from 0                              |
//! | 36     | 16     | send time, nanoseconds since the Unix epoch                        |
//! | 52     | 8      | CRC-32 of the whole payload with these eight characters as `0`     |
//!
//! Numbers are lower-case hexadecimal, most significant digit first. All offsets are fixed, so a prepared payload is stamped
//! by overwriting 40 characters.
//!
//! A payload that is shorter than that carries a short one, which is binary (`short.rs`).

mod short;

use memchr::memmem;

/// Length of a stamp in bytes.
pub const LONG: usize = 60;

/// Length of the stamp of a payload that is too short for it; the smallest payload that can be verified.
pub const SHORT: usize = short::LEN;

/// What stands in a payload until it is stamped.
pub(crate) const BLANK: &str = "~FL100000000000000000000000000000000000000000000000000000000";
const _: () = assert!(BLANK.len() == LONG);

const MARKER: &[u8; 4] = b"~FL1";
const RUN: usize = 4;
const PUBLISHER: usize = 12;
const SEQUENCE: usize = 20;
const TIME: usize = 36;
const CHECKSUM: usize = 52;
const NO_CHECKSUM: &[u8; 8] = b"00000000";

/// What a payload says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The run that sent it.
    pub run: u32,
    /// The number of its MQTT topic within the run.
    pub publisher: u32,
    /// Its place among the messages of that topic, from 0.
    pub sequence: u64,
    /// When it was sent (open loop: should have been sent), in nanoseconds since the Unix epoch; see [`Stamp::age`].
    pub sent_ns: i64,
}

/// Why a payload could not be recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// There is no marker: the payload is not from a load generator.
    #[error("the payload carries no stamp")]
    Absent,
    /// There is a marker, but the digits or the checksum are wrong: the payload was changed on its way.
    #[error("the payload was changed on its way: its checksum does not match")]
    Corrupt,
}

impl Stamp {
    /// How long before `now_ns` it was sent, nanoseconds. A short stamp does not tell times apart that are 11.9 hours from
    /// each other; the one nearest to `now_ns` is meant.
    #[must_use]
    pub fn age(&self, now_ns: i64) -> i64 {
        short::age(self.sent_ns, now_ns)
    }

    /// Writes the whole stamp at `payload[at..at + LONG]` and seals the payload; a payload shorter than [`LONG`] gets a
    /// short stamp, with the low 16 bits of the run, 24 of the publisher and 32 of the sequence.
    ///
    /// # Panics
    /// If the payload ends before the stamp does.
    pub fn write(&self, payload: &mut [u8], at: usize) {
        prepare(payload, at, self.run, self.publisher);
        seal(payload, at, self.sequence, self.sent_ns);
    }

    /// Finds and checks the stamp of a payload. `hint` is where it was found last time, which saves the search.
    ///
    /// Returns the stamp and its offset.
    ///
    /// # Errors
    /// [`StampError`] where there is no stamp, or where the payload is not what was sent.
    pub fn find(payload: &[u8], hint: usize) -> Result<(Self, usize), StampError> {
        if payload.len() < LONG {
            return short::read(payload).map(|stamp| (stamp, 0));
        }
        let expected = payload.get(hint..).unwrap_or_default();
        let at = if expected.starts_with(MARKER) {
            hint
        } else {
            memmem::find(payload, MARKER).ok_or(StampError::Absent)?
        };
        let block = payload.get(at..at + LONG).ok_or(StampError::Corrupt)?;
        let stamp = Self {
            run: number(block, RUN)?,
            publisher: number(block, PUBLISHER)?,
            sequence: long_number(block, SEQUENCE)?,
            sent_ns: long_number(block, TIME)?.cast_signed(),
        };
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&payload[..at + CHECKSUM]);
        hasher.update(NO_CHECKSUM);
        hasher.update(&payload[at + LONG..]);
        if hasher.finalize() == number(block, CHECKSUM)? { Ok((stamp, at)) } else { Err(StampError::Corrupt) }
    }
}

/// Where [`BLANK`] is in a payload.
pub(crate) fn find_blank(payload: &[u8]) -> Option<usize> {
    memmem::find(payload, BLANK.as_bytes())
}

/// Writes what is the same for all messages of a publisher.
///
/// # Panics
/// If the payload ends before the stamp does.
pub fn prepare(payload: &mut [u8], at: usize, run: u32, publisher: u32) {
    if payload.len() < LONG {
        return short::prepare(payload, run, publisher);
    }
    let block = &mut payload[at..at + LONG];
    block[..RUN].copy_from_slice(MARKER);
    block[RUN..PUBLISHER].copy_from_slice(&digits(run));
    block[PUBLISHER..SEQUENCE].copy_from_slice(&digits(publisher));
}

/// Completes a prepared payload: sequence, time and the checksum over all of it.
///
/// # Panics
/// If the payload ends before the stamp does.
pub fn seal(payload: &mut [u8], at: usize, sequence: u64, sent_ns: i64) {
    if payload.len() < LONG {
        return short::seal(payload, sequence, sent_ns);
    }
    let block = &mut payload[at..at + LONG];
    block[SEQUENCE..TIME].copy_from_slice(&long_digits(sequence));
    block[TIME..CHECKSUM].copy_from_slice(&long_digits(sent_ns.cast_unsigned()));
    block[CHECKSUM..].copy_from_slice(NO_CHECKSUM);
    let checksum = crc32fast::hash(payload);
    payload[at + CHECKSUM..at + LONG].copy_from_slice(&digits(checksum));
}

/// The eight digits of `value`: its nibbles are spread over eight bytes and turned into characters all at once.
fn digits(value: u32) -> [u8; 8] {
    let mut nibbles = u64::from(value);
    nibbles = (nibbles | (nibbles << 16)) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | (nibbles << 8)) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | (nibbles << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((nibbles + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

fn long_digits(value: u64) -> [u8; 16] {
    let mut text = [0; 16];
    let high = u32::try_from(value >> 32).expect("32 bits are left");
    let low = u32::try_from(value & 0xffff_ffff).expect("32 bits are left");
    text[..8].copy_from_slice(&digits(high));
    text[8..].copy_from_slice(&digits(low));
    text
}

/// The inverse of [`digits`]; what is not exactly its image is an error.
fn number(block: &[u8], at: usize) -> Result<u32, StampError> {
    let text: [u8; 8] = block[at..at + 8].try_into().expect("eight bytes");
    let word = u64::from_be_bytes(text);
    let letters = (word >> 6) & 0x0101_0101_0101_0101;
    let mut value = ((word & 0x0f0f_0f0f_0f0f_0f0f) + letters * 9) & 0x0f0f_0f0f_0f0f_0f0f;
    value = (value | (value >> 4)) & 0x00ff_00ff_00ff_00ff;
    value = (value | (value >> 8)) & 0x0000_ffff_0000_ffff;
    value = (value | (value >> 16)) & 0xffff_ffff;
    let value = u32::try_from(value).expect("32 bits are left");
    if digits(value) == text { Ok(value) } else { Err(StampError::Corrupt) }
}

fn long_number(block: &[u8], at: usize) -> Result<u64, StampError> {
    let high = u64::from(number(block, at)?);
    Ok((high << 32) | u64::from(number(block, at + 8)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAMP: Stamp =
        Stamp { run: 0xdead_beef, publisher: 999, sequence: 0x0123_4567_89ab_cdef, sent_ns: 1_700_000_000_123_456_789 };

    proptest! {
        #[test]
        fn survives_a_round_trip_anywhere_in_a_payload(
            run: u32, publisher: u32, sequence: u64, sent_ns: i64,
            before in "[ -}]{0,40}", after: Vec<u8>, hint in 0_usize..120,
        ) {
            let stamp = Stamp { run, publisher, sequence, sent_ns };
            let mut payload = before.clone().into_bytes();
            payload.extend([0; LONG]);
            payload.extend(&after);
            stamp.write(&mut payload, before.len());
            prop_assert_eq!(Stamp::find(&payload, before.len()), Ok((stamp, before.len())));
            prop_assert_eq!(Stamp::find(&payload, hint).map(|found| found.0), Ok(stamp));
        }
    }

    #[test]
    fn digits_are_plain_hexadecimal() {
        for value in [0, 1, 9, 10, 15, 16, 0x9f9f_a0a0, 0x0123_4567, 0x89ab_cdef, u32::MAX] {
            assert_eq!(digits(value), format!("{value:08x}").as_bytes());
            assert_eq!(number(&digits(value), 0), Ok(value));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut payload = b"{\"nmea\":\"!AIVDM,1,1,,B,13:WB@0vC2PmgjpP`WO=DbdF0<0U,0*5D\",\"stamp\":\"".to_vec();
        let at = payload.len();
        payload.extend([0; LONG]);
        payload.extend(b"\"}");
        STAMP.write(&mut payload, at);
        assert_eq!(Stamp::find(&payload, at), Ok((STAMP, at)));
        for bit in 0..payload.len() * 8 {
            payload[bit / 8] ^= 1 << (bit % 8);
            assert!(Stamp::find(&payload, at).is_err(), "bit {bit} flipped unnoticed");
            payload[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn every_truncation_is_noticed() {
        let mut payload = vec![b'.'; 100];
        STAMP.write(&mut payload, 0);
        for length in 0..payload.len() {
            assert!(Stamp::find(&payload[..length], 0).is_err(), "cut at {length} unnoticed");
        }
    }

    #[test]
    fn a_foreign_payload_has_no_stamp() {
        assert_eq!(Stamp::find(b"hello", 0), Err(StampError::Absent));
        assert_eq!(Stamp::find(b"", 7), Err(StampError::Absent));
    }
}
