//! One bounded single-producer single-consumer ring. Which crate carries it was settled by `benches/ring.rs`.

/// The writing end.
#[derive(Debug)]
pub struct Writer<T>(rtrb::Producer<T>);

/// The reading end.
#[derive(Debug)]
pub struct Reader<T>(rtrb::Consumer<T>);

/// A ring of `capacity` slots.
#[must_use]
pub fn ring<T>(capacity: usize) -> (Writer<T>, Reader<T>) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity);
    (Writer(producer), Reader(consumer))
}

impl<T> Writer<T> {
    /// Appends one item.
    ///
    /// # Errors
    /// Gives the item back when the ring is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        self.0.push(item).map_err(|rtrb::PushError::Full(item)| item)
    }

    /// Slots free for this writer; the reader may have freed more since.
    #[must_use]
    pub fn free(&self) -> usize {
        self.0.slots()
    }
}

impl<T> Reader<T> {
    /// Takes up to `most` items in one go and hands them over in order.
    ///
    /// Returns how many there were.
    pub fn take(&mut self, most: usize, mut each: impl FnMut(T)) -> usize {
        let count = self.0.slots().min(most);
        let Ok(chunk) = self.0.read_chunk(count) else {
            return 0;
        };
        chunk.into_iter().for_each(&mut each);
        count
    }

    /// Whether nothing is there to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Items that are there to take.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.slots()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_ring_gives_the_item_back_and_order_is_kept() {
        let (mut writer, mut reader) = ring(2);
        assert!(writer.push(1).is_ok() && writer.push(2).is_ok());
        assert_eq!((writer.push(3), writer.free()), (Err(3), 0));
        let mut seen = Vec::new();
        assert_eq!(reader.take(1, |item| seen.push(item)), 1);
        assert!(writer.push(3).is_ok());
        assert_eq!((reader.len(), reader.take(9, |item| seen.push(item))), (2, 2));
        assert_eq!(seen, [1, 2, 3]);
        assert!(reader.is_empty());
    }
}
