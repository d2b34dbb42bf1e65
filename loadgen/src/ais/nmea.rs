//! Recorded AIS: sentences from files, checked, assembled and sorted into topics.

use super::record::AisRecord;
use super::sentence::checksum;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Groups that wait for their missing sentences, at most; beyond it the oldest is given up.
const MAX_OPEN_GROUPS: usize = 64;

/// A group whose next sentence has not come within this many AIS sentences is given up: its numbers are used again.
const GROUP_PATIENCE: u64 = 200;

/// The most sentences of a message (the field is one digit).
const MAX_SENTENCES: u8 = 9;

/// Why recorded sentences cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NmeaError {
    /// A file is missing or not readable.
    #[error("cannot read the recorded sentences in {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// There is nothing to send in the files.
    #[error(
        "no whole AIS message in {files}: {lines} lines, {bad_checksum} with a bad checksum, {malformed} malformed; are these NMEA files (`!AIVDM,…`)?"
    )]
    Empty {
        /// The files, with commas.
        files: String,
        /// What was counted instead.
        lines: u64,
        /// Sentences with a bad checksum.
        bad_checksum: u64,
        /// Sentences that could not be read.
        malformed: u64,
    },
}

/// What was found in the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Lines in all.
    pub lines: u64,
    /// Lines that are not AIS, such as `$PGHP`, comments and empty lines.
    pub other_lines: u64,
    /// AIS sentences with a right checksum and form.
    pub sentences: u64,
    /// AIS sentences with a wrong checksum: skipped.
    pub bad_checksum: u64,
    /// AIS sentences that cannot be read (fields missing, characters that no sentence has): skipped.
    pub malformed: u64,
    /// Whole messages too short to carry an MMSI: skipped.
    pub without_mmsi: u64,
    /// Sentences of messages whose other sentences are missing: skipped.
    pub incomplete_sentences: u64,
    /// Whole messages: what can be published.
    pub messages: u64,
    /// Whole messages of each kind.
    pub kinds: BTreeMap<String, u64>,
}

/// Reads recorded sentences from files.
///
/// # Errors
/// [`NmeaError`] where a file cannot be read or there is no whole message in any of them.
pub fn read_files(paths: &[PathBuf]) -> Result<(Vec<AisRecord>, Counts), NmeaError> {
    let mut assembler = Assembler::default();
    let mut records = Vec::new();
    for path in paths {
        let text = read(path)?;
        for line in text.split(|&byte| byte == b'\n') {
            records.extend(assembler.handle_line(line));
        }
        assembler.give_up_all();
    }
    let counts = assembler.counts;
    if records.is_empty() {
        let files: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(NmeaError::Empty {
            files: files.join(", "),
            lines: counts.lines,
            bad_checksum: counts.bad_checksum,
            malformed: counts.malformed,
        });
    }
    Ok((records, counts))
}

fn read(path: &Path) -> Result<Vec<u8>, NmeaError> {
    let mut text = fs::read(path).map_err(|cause| NmeaError::Read { path: path.to_owned(), cause })?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Ok(text)
}

/// One sentence, taken apart.
#[derive(Debug)]
struct Sentence<'a> {
    text: &'a str,
    total: u8,
    number: u8,
    group: &'a str,
    channel: &'a str,
    data: &'a str,
    fill_bits: u8,
}

/// The sentences of one message have these in common.
type GroupKey = (u8, String, String);

#[derive(Debug)]
struct OpenGroup {
    sentences: Vec<String>,
    data: String,
    last_seen: u64,
}

/// Turns lines into whole messages. Messages of several sentences may be interleaved.
#[derive(Debug, Default)]
pub struct Assembler {
    open: HashMap<GroupKey, OpenGroup>,
    counts: Counts,
}

impl Assembler {
    /// What was seen so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes one line, with or without its end of line; returns the message that it completes.
    pub fn handle_line(&mut self, line: &[u8]) -> Option<AisRecord> {
        self.counts.lines += 1;
        let line = line.trim_ascii();
        if !is_ais(line) {
            self.counts.other_lines += 1;
            return None;
        }
        let sentence = match parse(line) {
            Ok(sentence) => sentence,
            Err(Refusal::Checksum) => {
                self.counts.bad_checksum += 1;
                return None;
            }
            Err(Refusal::Form) => {
                self.counts.malformed += 1;
                return None;
            }
        };
        self.counts.sentences += 1;
        if sentence.total == 1 {
            return self.complete(vec![sentence.text.to_owned()], sentence.data, sentence.fill_bits);
        }
        self.handle_part(&sentence)
    }

    fn handle_part(&mut self, sentence: &Sentence<'_>) -> Option<AisRecord> {
        let now = self.counts.sentences;
        let key = (sentence.total, sentence.group.to_owned(), sentence.channel.to_owned());
        let mut group = match (sentence.number, self.open.remove(&key)) {
            (1, former) => {
                self.give_up(former);
                OpenGroup { sentences: Vec::new(), data: String::new(), last_seen: now }
            }
            (number, Some(group))
                if group.sentences.len() + 1 == usize::from(number) && now - group.last_seen <= GROUP_PATIENCE =>
            {
                group
            }
            (_, former) => {
                self.give_up(former);
                self.counts.incomplete_sentences += 1;
                return None;
            }
        };
        group.sentences.push(sentence.text.to_owned());
        group.data.push_str(sentence.data);
        group.last_seen = now;
        if sentence.number == sentence.total {
            return self.complete(group.sentences, &group.data, sentence.fill_bits);
        }
        if self.open.len() == MAX_OPEN_GROUPS {
            let oldest = self.open.iter().min_by_key(|(_, group)| group.last_seen);
            let oldest = oldest.map(|(key, _)| key.clone());
            let former = oldest.and_then(|key| self.open.remove(&key));
            self.give_up(former);
        }
        self.open.insert(key, group);
        None
    }

    fn give_up(&mut self, group: Option<OpenGroup>) {
        self.counts.incomplete_sentences += group.map_or(0, |group| group.sentences.len() as u64);
    }

    /// Gives up the messages that wait for sentences, as at the end of a file.
    pub fn give_up_all(&mut self) {
        for (_, group) in std::mem::take(&mut self.open) {
            self.give_up(Some(group));
        }
    }

    fn complete(&mut self, sentences: Vec<String>, data: &str, fill_bits: u8) -> Option<AisRecord> {
        let Some(record) = AisRecord::decode(sentences, data, fill_bits) else {
            self.counts.without_mmsi += 1;
            return None;
        };
        self.counts.messages += 1;
        *self.counts.kinds.entry(record.kind.to_owned()).or_default() += 1;
        Some(record)
    }
}

enum Refusal {
    Checksum,
    Form,
}

/// `!` or a tag block, a talker of two characters, then `VDM` or `VDO`.
fn is_ais(line: &[u8]) -> bool {
    let line = without_tag_block(line);
    let formatter = line.get(3..6);
    line.first() == Some(&b'!') && (formatter == Some(b"VDM") || formatter == Some(b"VDO"))
}

/// NMEA 4.0 puts `\…\` before a sentence.
fn without_tag_block(line: &[u8]) -> &[u8] {
    let Some(inside) = line.strip_prefix(b"\\") else {
        return line;
    };
    let end = memchr::memchr(b'\\', inside);
    end.map_or(line, |end| &inside[end + 1..])
}

fn parse(line: &[u8]) -> Result<Sentence<'_>, Refusal> {
    let text = std::str::from_utf8(without_tag_block(line)).map_err(|_| Refusal::Form)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if !text.bytes().all(is_plain) {
        return Err(Refusal::Form);
    }
    let (body, sum) = text[1..].rsplit_once('*').ok_or(Refusal::Form)?;
    let sum = checksum_field(sum).ok_or(Refusal::Form)?;
    if checksum(body) != sum {
        return Err(Refusal::Checksum);
    }
    let fields: Vec<&str> = body.split(',').collect();
    let [_, total, number, group, channel, data, fill_bits] = fields[..] else {
        return Err(Refusal::Form);
    };
    let digit = |field: &str| field.parse::<u8>().map_err(|_| Refusal::Form);
    let (total, number, fill_bits) = (digit(total)?, digit(number)?, digit(fill_bits)?);
    let is_sound = (1..=MAX_SENTENCES).contains(&total) && (1..=total).contains(&number) && fill_bits < 6;
    if !is_sound {
        return Err(Refusal::Form);
    }
    Ok(Sentence { text, total, number, group, channel, data, fill_bits })
}

/// Two digits; receivers may append fields of their own behind them, such as the time.
fn checksum_field(text: &str) -> Option<u8> {
    let (digits, rest) = text.split_at_checked(2)?;
    let is_alone = rest.is_empty() || rest.starts_with(',');
    u8::from_str_radix(digits, 16).ok().filter(|_| is_alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: &str = "!AIVDM,1,1,,B,15M67FC000G?ufbE`FepT@3n00Sa,0*5C";
    const STATIC_1: &str = "!AIVDM,2,1,3,B,55P5TL01VIaAL@7WKO@mBplU@<PDhh000000001S;AJ::4A80?4i@E53,0*3E";
    const STATIC_2: &str = "!AIVDM,2,2,3,B,1@0000000000000,2*55";
    const ATON: &str = "!AIVDM,1,1,,B,E>kb9O9aS@7PUh10dh19@;0Tah2cWrfP:l?M`00003vP100,0*01";

    fn assemble(lines: &[&str]) -> (Vec<AisRecord>, Counts) {
        let mut assembler = Assembler::default();
        let records = lines.iter().filter_map(|line| assembler.handle_line(line.as_bytes())).collect();
        assembler.give_up_all();
        (records, assembler.counts)
    }

    #[test]
    fn single_sentences_are_messages() {
        let (records, counts) = assemble(&[POSITION, ATON]);
        let topics: Vec<_> = records.iter().map(AisRecord::topic).collect();
        assert_eq!(topics, ["ais/366053209/position", "ais/993692028/aton"]);
        assert_eq!(records[0].sentences, [POSITION]);
        assert_eq!((counts.messages, counts.sentences), (2, 2));
    }

    #[test]
    fn several_sentences_are_one_message_even_when_interleaved() {
        let (records, counts) = assemble(&[STATIC_1, POSITION, STATIC_2]);
        assert_eq!(records.len(), 2);
        assert_eq!(records[1].topic(), "ais/369190000/static");
        assert_eq!(records[1].sentences, [STATIC_1, STATIC_2]);
        assert_eq!((counts.messages, counts.sentences, counts.incomplete_sentences), (2, 3, 0));
    }

    #[test]
    fn incomplete_messages_are_counted_and_skipped() {
        for lines in [&[STATIC_2][..], &[STATIC_1], &[STATIC_2, STATIC_1], &[STATIC_1, STATIC_1, STATIC_2, STATIC_2]] {
            let (records, counts) = assemble(lines);
            let used: usize = records.iter().map(|record| record.sentences.len()).sum();
            assert_eq!(counts.incomplete_sentences as usize, lines.len() - used, "{lines:?}");
        }
    }

    #[test]
    fn a_part_that_comes_too_late_is_not_joined() {
        let mut lines = vec![STATIC_1];
        lines.extend([POSITION; GROUP_PATIENCE as usize + 1]);
        lines.push(STATIC_2);
        let (_, counts) = assemble(&lines);
        assert_eq!(counts.incomplete_sentences, 2);
    }

    #[test]
    fn open_groups_are_bounded() {
        let mut assembler = Assembler::default();
        for number in 0..200 {
            let body = format!("AIVDM,2,1,{number},A,55P5TL01VIaAL@7WKO@mBplU@<PDhh,0");
            let line = format!("!{body}*{:02X}", checksum(&body));
            assert!(assembler.handle_line(line.as_bytes()).is_none());
        }
        assert_eq!(assembler.open.len(), MAX_OPEN_GROUPS);
        assert_eq!(assembler.counts.incomplete_sentences, 200 - MAX_OPEN_GROUPS as u64);
    }

    #[test]
    fn bad_lines_are_counted_by_what_is_wrong() {
        let (records, counts) = assemble(&[
            "$PGHP,1,2010,6,11,11,46,11,390,231,45,992190934,1,2B*5B",
            "# a comment",
            "",
            "!AIVDM,1,1,,B,15M67FC000G?ufbE`FepT@3n00Sa,0*5D",
            "!AIVDM,1,1,,B,,0*25",
            "!AIVDM,1,1*00",
            "!AIVDM,1,1,,B,15M67FC000G?ufbE`FepT@3n00Sa,0",
        ]);
        assert_eq!(records, []);
        assert_eq!((counts.lines, counts.other_lines), (7, 3));
        assert_eq!((counts.bad_checksum, counts.malformed, counts.without_mmsi), (2, 1, 1));
    }

    #[test]
    fn fields_behind_the_checksum_are_kept() {
        let line = format!("{POSITION},1276256770");
        let (records, _) = assemble(&[&line]);
        assert_eq!(records[0].sentences, [line]);
        let (records, counts) = assemble(&[&format!("{POSITION}C")]);
        assert_eq!((records.len(), counts.malformed), (0, 1));
    }

    /// What was counted in the recorded files by other means.
    const RECORDED: (u64, u64, u64, u64) = (9_449, 4_829, 100, 20);

    /// The recorded sentences where they are at hand: `FAIRLEAD_AIS_DIR`, or `shared/data/ais` beside the workspace.
    fn recorded() -> Option<Vec<PathBuf>> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/ais");
        let folder = std::env::var_os("FAIRLEAD_AIS_DIR").map_or(beside, PathBuf::from);
        let files = ["stream.nmea", "harbour.nmea"].map(|name| folder.join(name));
        files.iter().all(|file| file.exists()).then(|| files.into())
    }

    #[test]
    fn recorded_files_give_the_same_messages_each_time() {
        let Some(files) = recorded() else {
            eprintln!("no recorded AIS at hand (FAIRLEAD_AIS_DIR): the synthetic fleet takes its place");
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("fleet.nmea");
            let reports = crate::ais::world::World::new(1, 20).take(72);
            let lines: Vec<_> = reports.flat_map(|report| report.record.sentences).collect();
            fs::write(&file, lines.join("\r\n")).unwrap();
            let (records, counts) = read_files(&[file]).unwrap();
            assert_eq!((records.len(), counts.messages, counts.lines), (72, 72, lines.len() as u64));
            return;
        };
        let (records, counts) = read_files(&files).unwrap();
        let found = (counts.lines, counts.messages, counts.without_mmsi, counts.incomplete_sentences);
        assert_eq!(found, RECORDED, "{counts:?}");
        assert_eq!((counts.bad_checksum, counts.malformed), (0, 0), "{counts:?}");
        let text = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect::<String>();
        for sentence in records.iter().flat_map(|record| &record.sentences) {
            assert!(text.contains(sentence), "not verbatim: {sentence}");
        }
        let ships: std::collections::BTreeSet<_> = records.iter().map(|record| record.mmsi).collect();
        assert_eq!(ships.len(), 2_100);
        assert_eq!(read_files(&files).unwrap(), (records, counts));
    }

    #[test]
    fn any_talker_and_a_tag_block_are_taken() {
        let body = "--VDO,1,1,,B,15M67FC000G?ufbE`FepT@3n00Sa,0";
        let sentence = format!("!{body}*{:02X}", checksum(body));
        let line = format!("\\s:2573345,c:1696241893*00\\{sentence}\r");
        let (records, _) = assemble(&[&line]);
        assert_eq!(records[0].sentences, [sentence]);
    }

    #[test]
    fn a_message_that_cannot_be_decoded_still_has_an_mmsi() {
        // A position report cut to 42 bits.
        let body = "AIVDM,1,1,,B,15M67FC,0";
        let (records, counts) = assemble(&[&format!("!{body}*{:02X}", checksum(body))]);
        assert_eq!(records[0].topic(), "ais/366053209/unknown");
        assert_eq!(counts.kinds["unknown"], 1);
    }

    #[test]
    fn files_without_a_message_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none.nmea");
        let error = read_files(std::slice::from_ref(&missing)).unwrap_err().to_string();
        assert!(error.contains("none.nmea") && error.contains("No such file"), "{error}");
        fs::write(&missing, "hello\n").unwrap();
        let error = read_files(&[missing]).unwrap_err().to_string();
        assert!(error.contains("1 lines") && error.contains("AIVDM"), "{error}");
    }
}
