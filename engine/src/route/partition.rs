//! From a record to its partition, and from a partition to the shard that owns it.

use crate::message::UNPLACED;

/// Kafka's murmur2 (32 bits, Kafka's seed), as its Java clients hash keys.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (index, &byte) in tail.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a record among `partitions` (at least 1), where Java's default partitioner would put its key, so
/// that Java clients find the same partitions.
///
/// `hashed` is the key; for a record without a key it is the MQTT topic. Other clients spread keyless records over
/// the partitions batch by batch; here that would break the promise that the records of one MQTT topic stay in order,
/// which Kafka keeps only within a partition. With a key the promise holds because the key is made of nothing but the
/// MQTT topic: one topic has one key.
#[must_use]
pub fn partition(hashed: &[u8], partitions: u32) -> u32 {
    (murmur2(hashed) & 0x7fff_ffff) % partitions
}

/// [`partition`], or [`UNPLACED`] where the number of partitions is not known (0).
#[must_use]
pub fn place(hashed: &[u8], partitions: u32) -> u32 {
    if partitions == 0 { UNPLACED } else { partition(hashed, partitions) }
}

/// The shard that owns a partition: each of the `shards` (at least 1) owns a contiguous range of the partitions of
/// every Kafka topic, and the lengths of the ranges differ by at most one.
#[must_use]
pub fn owner(partition: u32, partitions: u32, shards: usize) -> usize {
    debug_assert!(partition < partitions);
    (u64::from(partition) * shards as u64 / u64::from(partitions)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_hashes_as_kafka_does() {
        // The vectors of the tests of Kafka's clients, Java's first, and every length of the tail.
        let vectors: [(&str, u32); 11] = [
            ("21", -973_932_308_i32 as u32),
            ("foobar", -790_332_482_i32 as u32),
            ("a-little-bit-long-string", -985_981_536_i32 as u32),
            ("a-little-bit-longer-string", -1_486_304_829_i32 as u32),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971_i32 as u32),
            ("abc", 479_470_107),
            ("", 0x106e_08d9),
            ("4", 0x5a4b_5ca1),
            ("kafka", 0xd067_cf64),
            ("1234", 0x9fc9_7b14),
            ("giberish123456789", 0x8f55_2b0c),
        ];
        for (text, hash) in vectors {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text:?}");
        }
    }

    #[test]
    fn partition_clears_the_sign_before_the_remainder() {
        assert_eq!(partition(b"21", 9), ((-973_932_308_i32) & 0x7fff_ffff) as u32 % 9);
        for count in 1..100 {
            assert!(partition(b"foobar", count) < count);
        }
    }

    #[test]
    fn partitions_are_owned_in_balanced_contiguous_ranges() {
        for partitions in [1, 2, 3, 8, 9, 31, 100, 1_000] {
            for shards in [1, 2, 3, 4, 7, 16, 256] {
                let owners: Vec<usize> =
                    (0..partitions).map(|partition| owner(partition, partitions, shards)).collect();
                assert!(owners.is_sorted(), "{partitions} over {shards} is contiguous");
                let counts: Vec<usize> =
                    (0..shards).map(|shard| owners.iter().filter(|&&owner| owner == shard).count()).collect();
                assert_eq!(counts.iter().sum::<usize>(), partitions as usize);
                let (low, high) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(high - low <= 1, "{partitions} over {shards} is balanced: {counts:?}");
            }
        }
    }

    #[test]
    fn owner_does_not_overflow() {
        assert_eq!(owner(u32::MAX - 1, u32::MAX, 256), 255);
    }
}
