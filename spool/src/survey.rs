//! A scan of a whole segment, and the verdict over it: torn tail or damage.

use std::io;

use crate::{
    Gap, Sequence,
    disk::File,
    format::{
        record::Record,
        segment::{DATA, Footer, Header, data_end},
    },
    scan::{Met, Scanner},
    segment::remember,
};

/// What the valid records of a segment come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    pub(crate) records: u64,
    pub(crate) end: u64,
    pub(crate) oldest: u64,
    pub(crate) chain: u32,
}

/// A place where the records do not go on as they should.
#[derive(Clone, Copy, Debug)]
struct Break {
    /// What stood before it.
    before: Tally,
    /// The next valid record behind it, if there is any.
    found: Option<Sequence>,
    /// Something of this life of the file stands there.
    bad: bool,
}

/// A scan of a segment.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    tally: Tally,
    breaks: Vec<Break>,
    /// The header says which record is the first.
    begun: bool,
    /// Records above it are written again in a later segment.
    pub(crate) upper: Sequence,
    /// The highest sequence that a record calls durable.
    pub(crate) durable: Sequence,
    /// Where records lie.
    pub(crate) index: Vec<(Sequence, u64)>,
    pub(crate) unreadable: u64,
}

/// What is to be done about a segment.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// What is kept.
    pub(crate) tally: Tally,
    /// What had been durable and is not here.
    pub(crate) gaps: Vec<Gap>,
    /// Something behind the end had been begun and never acknowledged.
    pub(crate) torn: bool,
}

impl Survey {
    pub(crate) fn of_footer(footer: &Footer) -> Self {
        let tally = Tally {
            first: footer.first,
            last: footer.last,
            records: footer.records,
            end: footer.end,
            oldest: footer.oldest,
            chain: footer.chain,
        };
        Self { tally, durable: footer.last, ..Self::default() }
    }

    /// The first valid record.
    pub(crate) fn first(&self) -> Option<Sequence> {
        (self.tally.records > 0).then_some(self.tally.first)
    }

    /// The last valid record; 0 without any.
    pub(crate) fn last(&self) -> Sequence {
        self.tally.last
    }

    /// `base` is the first sequence that belongs here, `known` the highest that must be here or before.
    pub(crate) fn judge(&self, base: Sequence, known: Sequence) -> Verdict {
        let mut gaps = Vec::new();
        let mut next = base;
        for at in &self.breaks {
            let expected = if at.before.records > 0 { at.before.last + 1 } else { base };
            // A hole without a record, such as a mark that an earlier process wrote and could not sync, ends nothing.
            // Without its header a segment's first record is not known.
            if at.found == Some(expected) && (self.begun || at.before.records > 0) {
                next = expected;
                continue;
            }
            if expected > known {
                let torn = at.bad || at.found.is_some();
                return Verdict { tally: at.before, gaps, torn };
            }
            next = at.found.unwrap_or(known + 1);
            // Damage that cost nothing, of a mark or of the word that ends a group, is a gap of no record.
            gaps.extend((next > expected).then(|| Gap { first: expected, last: next - 1 }));
            if at.found.is_none() {
                return Verdict { tally: at.before, gaps, torn: false };
            }
        }
        let next = next.max(if self.tally.records > 0 { self.tally.last + 1 } else { base });
        gaps.extend((next <= known && base <= known).then_some(Gap { first: next, last: known }));
        Verdict { tally: self.tally, gaps, torn: false }
    }
}

impl Verdict {
    /// Leaves out what does not matter any more.
    pub(crate) fn forget(&mut self, delivered: Sequence) {
        self.gaps.retain(|gap| gap.last > delivered);
        self.gaps.iter_mut().for_each(|gap| gap.first = gap.first.max(delivered + 1));
    }
}

impl Tally {
    fn take(&mut self, at: u64, record: &Record) {
        if self.records == 0 {
            self.first = record.sequence;
            self.oldest = record.time;
        }
        self.last = record.sequence;
        self.records += 1;
        self.end = at + record.size as u64;
        self.chain = crc32c::crc32c_append(self.chain, &record.crc.to_le_bytes());
    }
}

/// Scans a segment up to the record `upper`, and up to `end` where a footer says where that is.
pub(crate) fn survey<F: File>(file: &F, header: &Header, upper: Sequence, end: Option<u64>) -> io::Result<Survey> {
    let mut scanner = Scanner::of_all(file, header.seed(), DATA, end.unwrap_or(data_end(header.size)));
    let mut survey = Survey { upper, begun: header.begun.is_some(), ..Survey::default() };
    let base = header.begun.map(|begun| begun.base);
    loop {
        let mut broken = None;
        let (at, record) = match scanner.next()? {
            Met::End => break,
            Met::Record(at, record) => (at, record),
            met => {
                broken = Some(matches!(met, Met::Bad(_)));
                match scanner.resync()? {
                    Some(found) => found,
                    None => {
                        survey.broken(None, broken == Some(true));
                        break;
                    }
                }
            }
        };
        let expected = if survey.tally.records > 0 { Some(survey.tally.last + 1) } else { base };
        let sequence = record.sequence + u64::from(record.kind.is_none());
        if broken.is_some() || (record.kind.is_some() && expected.is_some_and(|expected| expected != sequence)) {
            survey.broken(Some(sequence).filter(|&sequence| sequence <= upper), broken.unwrap_or(true));
        }
        if record.kind.is_some() && sequence > upper {
            break;
        }
        survey.durable = survey.durable.max(record.durable);
        if record.kind.is_some() && expected.is_none_or(|expected| expected <= sequence) {
            survey.tally.take(at, &record);
            remember(&mut survey.index, sequence, at);
        } else if record.kind.is_none() {
            survey.tally.end = at + record.size as u64;
        }
    }
    survey.unreadable = scanner.unreadable;
    Ok(survey)
}

impl Survey {
    fn broken(&mut self, found: Option<Sequence>, bad: bool) {
        self.breaks.push(Break { before: self.tally, found, bad });
    }
}
