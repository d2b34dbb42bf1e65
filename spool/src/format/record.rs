//! A record: 56 bytes of header, metadata, key, payload, filled up to eight bytes.

use memchr::memmem;

use super::{Fields, Seed};
use crate::{Entry, Kind, Sequence};

/// Bytes of a record's header.
pub(crate) const HEADER: usize = 56;

/// No record is longer, whatever its length word says.
pub(crate) const LONGEST: usize = 1 << 30;

const ALIGN: usize = 8;
const KEY: u8 = 1;
const PAYLOAD: u8 = 2;

/// Says how far everything was durable when nothing else follows.
const MARK: u8 = 255;

const LENGTH_AT: usize = 4;
const DURABLE_AT: usize = 16;
const TAG_AT: usize = 52;

/// A record's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) crc: u32,
    /// With header and filling.
    pub(crate) size: usize,
    pub(crate) sequence: Sequence,
    pub(crate) durable: Sequence,
    pub(crate) time: u64,
    pub(crate) session: u64,
    pub(crate) packet_id: u16,
    /// `None`: a mark.
    pub(crate) kind: Option<Kind>,
    pub(crate) meta: usize,
    pub(crate) key: Option<usize>,
    pub(crate) payload: Option<usize>,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A valid record.
    Record(Record),
    /// A zero length: here a group ends, or none begins.
    Zero,
    /// Something that was not written in this life of the file.
    Foreign,
    /// A record whose checksum or length is wrong.
    Bad,
    /// A record may stand here; it takes this many bytes.
    Short(usize),
}

/// Bytes that an entry takes, or `None` above the hard limit.
pub(crate) fn size(entry: &Entry<'_>) -> Option<usize> {
    let parts = [HEADER, entry.meta.len(), entry.key.map_or(0, <[u8]>::len), entry.payload.map_or(0, <[u8]>::len)];
    let length = parts.iter().try_fold(0usize, |sum, &part| sum.checked_add(part))?;
    (length <= LONGEST).then(|| length.next_multiple_of(ALIGN))
}

/// Appends a record whose place is not known yet: checksum, tag and durable sequence are left open.
pub(crate) fn encode(buffer: &mut Vec<u8>, sequence: Sequence, entry: &Entry<'_>) {
    let size = size(entry).expect("checked on append");
    let end = buffer.len() + size;
    let (key, payload) = (entry.key.unwrap_or_default(), entry.payload.unwrap_or_default());
    let flags = entry.key.map_or(0, |_| KEY) | entry.payload.map_or(0, |_| PAYLOAD);
    let length = HEADER + entry.meta.len() + key.len() + payload.len();
    let head = Head { length, sequence, flags, kind: entry.kind as u8, entry, key: key.len() };
    buffer.extend_from_slice(&head.encode());
    buffer.extend_from_slice(entry.meta);
    buffer.extend_from_slice(key);
    buffer.extend_from_slice(payload);
    buffer.resize(end, 0);
}

/// Appends a mark: no sequence of its own, nothing but its durable sequence.
pub(crate) fn encode_mark(buffer: &mut Vec<u8>, synced: Sequence) {
    let entry = Entry { kind: Kind::Data, session: 0, packet_id: 0, time: 0, meta: &[], key: None, payload: None };
    let head = Head { length: HEADER, sequence: synced, flags: 0, kind: MARK, entry: &entry, key: 0 };
    buffer.extend_from_slice(&head.encode());
}

struct Head<'a> {
    length: usize,
    sequence: Sequence,
    flags: u8,
    kind: u8,
    entry: &'a Entry<'a>,
    key: usize,
}

impl Head<'_> {
    fn encode(&self) -> [u8; HEADER] {
        let u32 = |length: usize| u32::try_from(length).expect("below the hard limit").to_le_bytes();
        let mut head = [0; HEADER];
        head[4..8].copy_from_slice(&u32(self.length));
        head[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        head[24..32].copy_from_slice(&self.entry.time.to_le_bytes());
        head[32..40].copy_from_slice(&self.entry.session.to_le_bytes());
        head[40..42].copy_from_slice(&self.entry.packet_id.to_le_bytes());
        head[42] = self.kind;
        head[43] = self.flags;
        head[44..48].copy_from_slice(&u32(self.entry.meta.len()));
        head[48..52].copy_from_slice(&u32(self.key));
        head
    }
}

/// Fills in what depends on the place, for each record of a group that will stand at `offset`; returns the checksum over
/// the records' checksums, begun with `chain`. Marks do not count in it.
pub(crate) fn place(group: &mut [u8], seed: Seed, offset: u64, durable: Sequence, mut chain: u32) -> u32 {
    let mut at = 0;
    while let Some(length) = length_at(group, at) {
        let record = &mut group[at..at + length.next_multiple_of(ALIGN)];
        record[DURABLE_AT..DURABLE_AT + 8].copy_from_slice(&durable.to_le_bytes());
        record[TAG_AT..HEADER].copy_from_slice(&seed.tag().to_le_bytes());
        let crc = seed.checksum(offset + at as u64, &record[LENGTH_AT..]);
        record[..4].copy_from_slice(&crc.to_le_bytes());
        if record[42] != MARK {
            chain = crc32c::crc32c_append(chain, &crc.to_le_bytes());
        }
        at += record.len();
    }
    chain
}

fn length_at(group: &[u8], at: usize) -> Option<usize> {
    let word = group.get(at + LENGTH_AT..at + LENGTH_AT + 4)?;
    let length = u32::from_le_bytes(word.try_into().expect("four bytes")) as usize;
    (length > 0).then_some(length)
}

/// How far behind the start of `bytes` a record of this life may start: a multiple of eight.
pub(crate) fn find(bytes: &[u8], seed: Seed) -> Option<usize> {
    let tag = seed.tag().to_le_bytes();
    let (tags, finder) = (bytes.get(TAG_AT..)?, memmem::Finder::new(&tag));
    let mut at = finder.find(tags)?;
    while !at.is_multiple_of(ALIGN) {
        at += 1 + finder.find(&tags[at + 1..])?;
    }
    Some(at)
}

/// What stands at the beginning of `bytes`, which lie at `offset`; records end at `room` bytes from here.
pub(crate) fn look(bytes: &[u8], room: u64, seed: Seed, offset: u64) -> Look {
    if bytes.iter().take(8).all(|&byte| byte == 0) {
        return Look::Zero;
    }
    let length = length_at(bytes, 0).unwrap_or_default();
    if room < HEADER as u64 {
        return Look::Bad;
    }
    if bytes.len() < HEADER {
        return Look::Short(HEADER);
    }
    if bytes[TAG_AT..HEADER] != seed.tag().to_le_bytes() {
        return Look::Foreign;
    }
    let size = length.next_multiple_of(ALIGN);
    if !(HEADER..=LONGEST).contains(&length) || size as u64 > room {
        return Look::Bad;
    }
    let Some(record) = bytes.get(..size) else { return Look::Short(size) };
    let crc = u32::from_le_bytes(record[..4].try_into().expect("four bytes"));
    if crc != seed.checksum(offset, &record[LENGTH_AT..]) {
        return Look::Bad;
    }
    decode(record, length, crc).map_or(Look::Bad, Look::Record)
}

/// The record at a place of a group in memory, with metadata, key and payload; `None` behind the last one.
pub(crate) fn peek(group: &[u8], at: usize) -> Option<(Record, [&[u8]; 3])> {
    let length = length_at(group, at)?;
    let bytes = group.get(at..at + length.next_multiple_of(ALIGN))?;
    let record = decode(bytes, length, 0)?;
    let (meta, rest) = bytes[HEADER..length].split_at(record.meta);
    let (key, payload) = rest.split_at(record.key.unwrap_or(0));
    Some((record, [meta, key, payload]))
}

fn decode(record: &[u8], length: usize, crc: u32) -> Option<Record> {
    let mut fields = Fields(&record[8..]);
    let (sequence, durable, time, session) = (fields.u64(), fields.u64(), fields.u64(), fields.u64());
    let packet_id = fields.u16();
    let [kind, flags] = fields.bytes();
    let (meta, key) = (fields.u32() as usize, fields.u32() as usize);
    let payload = length.checked_sub(HEADER)?.checked_sub(meta)?.checked_sub(key)?;
    let kind = match kind {
        MARK => None,
        kind => Some(Kind::decode(kind)?),
    };
    Some(Record {
        crc,
        size: record.len(),
        sequence,
        durable,
        time,
        session,
        packet_id,
        kind,
        meta,
        key: (flags & KEY != 0).then_some(key),
        payload: (flags & PAYLOAD != 0).then_some(payload),
    })
}
