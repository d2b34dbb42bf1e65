//! AIVDM sentences: what they look like on the line (NMEA 0183, ITU-R M.1371).

/// The XOR of all characters between `!` and `*`.
pub(crate) fn checksum(body: &str) -> u8 {
    body.bytes().fold(0, |sum, byte| sum ^ byte)
}

/// Bits of a message, most significant first, as they are packed into six-bit characters.
#[derive(Debug, Default)]
pub(crate) struct Bits {
    /// One six-bit value each; the last one is filled up with zeros.
    sixes: Vec<u8>,
    length: usize,
}

impl Bits {
    /// Fields, each a value and its width.
    pub(crate) fn of(fields: impl IntoIterator<Item = (i64, u32)>) -> Self {
        let mut bits = Self::default();
        bits.extend(fields);
        bits
    }

    /// Appends fields, each a value and its width.
    pub(crate) fn extend(&mut self, fields: impl IntoIterator<Item = (i64, u32)>) {
        for (value, width) in fields {
            self.put(value, width);
        }
    }

    /// Appends the lowest `width` bits of `value`; negative values in two's complement.
    pub(crate) fn put(&mut self, value: i64, width: u32) {
        for place in (0..width).rev() {
            if self.length.is_multiple_of(6) {
                self.sixes.push(0);
            }
            let bit = u8::from((value >> place) & 1 == 1);
            let last = self.sixes.len() - 1;
            self.sixes[last] |= bit << (5 - self.length % 6);
            self.length += 1;
        }
    }

    /// Appends six-bit text, padded with `@` to `characters` (ITU-R M.1371 table 47). Other characters become `?`.
    pub(crate) fn put_text(&mut self, text: &str, characters: usize) {
        let padded = text.bytes().chain(std::iter::repeat(b'@')).take(characters);
        for byte in padded {
            let code = match byte {
                b'@'..=b'_' => byte - b'@',
                b' '..=b'?' => byte,
                _ => b'?',
            };
            self.put(i64::from(code), 6);
        }
    }

    /// The armoured characters and the number of fill bits.
    fn armour(&self) -> (String, usize) {
        let character = |six: &u8| char::from(if *six < 40 { six + 48 } else { six + 56 });
        let fill = (6 - self.length % 6) % 6;
        (self.sixes.iter().map(character).collect(), fill)
    }

    /// The sentences that carry this message; several where it is long. `group` (0 to 9) numbers those.
    pub(crate) fn sentences(&self, channel: char, group: u64) -> Vec<String> {
        /// A sentence has at most 82 characters; this leaves room for all other fields.
        const CHARACTERS: usize = 60;
        let (text, fill) = self.armour();
        let parts: Vec<&str> =
            (0..text.len()).step_by(CHARACTERS).map(|start| &text[start..text.len().min(start + CHARACTERS)]).collect();
        let total = parts.len();
        let group = if total > 1 { group.to_string() } else { String::new() };
        let sentence = |(number, part): (usize, &&str)| {
            let fill = if number == total { fill } else { 0 };
            let body = format!("AIVDM,{total},{number},{group},{channel},{part},{fill}");
            let sum = checksum(&body);
            format!("!{body}*{sum:02X}")
        };
        (1..).zip(&parts).map(sentence).collect()
    }
}
