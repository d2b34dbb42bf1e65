//! The messages of one session that were sent and not acknowledged, in the order in which they were sent.

use crate::mqtt::{LAST_PACKET_ID, next_packet_id};

/// How far the acknowledgement of a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Progress {
    /// PUBLISH sent.
    #[default]
    Sent,
    /// PUBREC received, PUBREL sent.
    Received,
    /// Done; the slot waits for older ones.
    Done,
}

/// One message.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Message {
    pub(crate) sequence: u64,
    /// The time in its stamp.
    pub(crate) sent_ns: i64,
    pub(crate) publisher: u32,
    pub(crate) progress: Progress,
}

/// A ring of messages. Packet identifiers are given in turn, so that a message's place follows from its identifier.
#[derive(Debug)]
pub(crate) struct InFlight {
    slots: Vec<Message>,
    /// Place of the oldest message that is not done; places count up from 0 for ever.
    base: u64,
    base_id: u16,
    /// Place of the next message.
    head: u64,
    head_id: u16,
    open: usize,
}

/// The ring has room for a message that is acknowledged late while this many windows of younger ones are done.
const WINDOWS: usize = 4;

impl InFlight {
    /// For at most `window` (1 to 65,535) messages at a time.
    pub(crate) fn new(window: u16) -> Self {
        let slots = (usize::from(window) * WINDOWS).next_power_of_two();
        Self { slots: vec![Message::default(); slots], base: 0, base_id: 1, head: 0, head_id: 1, open: 0 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "masked to the size of the ring")]
    fn slot(&self, place: u64) -> usize {
        place as usize & (self.slots.len() - 1)
    }

    /// How many more messages can be added, whatever the window says.
    pub(crate) fn room(&self) -> usize {
        let spread = usize::try_from(self.head - self.base).expect("no more than the ring holds");
        self.slots.len().min(usize::from(LAST_PACKET_ID)) - spread
    }

    /// Messages that are not done.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Adds a message and returns its packet identifier. The caller has asked [`InFlight::room`].
    #[inline]
    pub(crate) fn push(&mut self, message: Message) -> u16 {
        let slot = self.slot(self.head);
        self.slots[slot] = message;
        let id = self.head_id;
        self.head += 1;
        self.head_id = next_packet_id(id);
        self.open += 1;
        id
    }

    /// The message with this packet identifier, unless it is done, and whether it is the oldest one.
    #[inline]
    pub(crate) fn find(&mut self, packet_id: u16) -> Option<(&mut Message, bool)> {
        if packet_id == 0 {
            return None;
        }
        let ahead = if packet_id >= self.base_id {
            packet_id - self.base_id
        } else {
            packet_id + (LAST_PACKET_ID - self.base_id)
        };
        let place = self.base + u64::from(ahead);
        if place >= self.head {
            return None;
        }
        let slot = self.slot(place);
        let message = &mut self.slots[slot];
        (message.progress != Progress::Done).then_some((message, ahead == 0))
    }

    /// Marks the message with this packet identifier as done and returns it; `None` where it is unknown or done.
    #[inline]
    pub(crate) fn finish(&mut self, packet_id: u16) -> Option<Message> {
        let (message, is_oldest) = self.find(packet_id)?;
        message.progress = Progress::Done;
        let message = *message;
        self.open -= 1;
        if is_oldest {
            self.advance();
        }
        Some(message)
    }

    fn advance(&mut self) {
        while self.base < self.head && self.slots[self.slot(self.base)].progress == Progress::Done {
            self.base += 1;
            self.base_id = next_packet_id(self.base_id);
        }
    }

    /// The place and packet identifier from which a redelivery starts.
    pub(crate) fn oldest(&self) -> (u64, u16) {
        (self.base, self.base_id)
    }

    /// The message at `place`; `None` past the youngest.
    pub(crate) fn at(&self, place: u64) -> Option<&Message> {
        (place < self.head).then(|| &self.slots[self.slot(place)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn message(sequence: u64) -> Message {
        Message { sequence, ..Message::default() }
    }

    #[test]
    fn packet_identifiers_wrap_without_using_0() {
        let mut ring = InFlight::new(2);
        for sequence in 0..200_000 {
            let id = ring.push(message(sequence));
            assert_ne!(id, 0);
            assert_eq!(ring.finish(id).unwrap().sequence, sequence);
            assert!(ring.finish(id).is_none(), "acknowledged twice");
        }
        assert_eq!((ring.open(), ring.room()), (0, 8));
    }

    #[test]
    fn the_largest_window_fits_the_packet_identifiers() {
        let mut ring = InFlight::new(LAST_PACKET_ID);
        assert_eq!(ring.room(), 65_535);
        for sequence in 0..65_535 {
            ring.push(message(sequence));
        }
        assert_eq!(ring.room(), 0);
        assert_eq!(ring.finish(65_535).unwrap().sequence, 65_534);
        assert_eq!(ring.finish(1).unwrap().sequence, 0);
        assert_eq!(ring.push(message(65_535)), 1);
    }

    proptest! {
        #[test]
        fn acknowledgements_in_any_order_find_their_message(
            start in 0_u64..70_000, choices in prop::collection::vec((any::<bool>(), 0_usize..8), 0..200),
        ) {
            let mut ring = InFlight::new(8);
            for sequence in 0..start {
                let id = ring.push(message(sequence));
                ring.finish(id);
            }
            let mut model: VecDeque<(u16, u64)> = VecDeque::new();
            for (sequence, (push, pick)) in (start..).zip(choices) {
                if push && ring.open() < 8 && ring.room() > 0 {
                    model.push_back((ring.push(message(sequence)), sequence));
                } else if !model.is_empty() {
                    let (id, expected) = model.remove(pick % model.len()).unwrap();
                    prop_assert_eq!(ring.finish(id).unwrap().sequence, expected);
                    prop_assert!(ring.finish(id).is_none());
                }
                prop_assert_eq!(ring.open(), model.len());
                let (mut place, _) = ring.oldest();
                let mut open = Vec::new();
                while let Some(message) = ring.at(place) {
                    if message.progress != Progress::Done {
                        open.push(message.sequence);
                    }
                    place += 1;
                }
                prop_assert_eq!(open, model.iter().map(|entry| entry.1).collect::<Vec<_>>());
            }
        }
    }
}
