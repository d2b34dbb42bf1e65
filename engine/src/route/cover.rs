//! What a source subscribes to, and which of several copies of one message counts.
//!
//! A broker may send a message once for each subscription that matches it (MQTT 5.0 §3.3.4). So a source subscribes
//! to the smallest set of filters that covers its routes, and where two of these still overlap they carry
//! subscription identifiers, by which [`Copies`] tells the copies apart: that of the first filter counts, and the
//! others are suppressed.
//!
//! Suppressing one presumes that the one that counts was sent too. That holds for messages that were published after the
//! first filter was granted, and not for those that the broker had queued for the session before. So an identifier stands
//! for a filter *and* those in front of it that overlap it, and is only given to the broker once these are granted, in the
//! same session (the session's `Subscriber` sees to that): a copy that carries it was made while the first filter was
//! there. A change of what is in front changes the identifier, and copies with an old one count: while the broker's
//! queue from before the change lasts, a message may come once for each filter, and none is lost.

use std::collections::HashSet;

use super::Filter;

/// Largest Subscription Identifier (MQTT 5.0 §3.8.2.1.2).
const MAX_ID: u32 = 268_435_455;

/// What the filters of a source's routes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// What to subscribe to, in the order of the routes.
    pub subscriptions: Vec<Covering>,
    /// The pairs of subscriptions that match some topics in common. Each needs the subscription identifiers of
    /// MQTT 5.0; MQTT 3.1.1 has none, so there each is an error.
    pub overlaps: Vec<Overlap>,
}

/// A filter that no other filter of the source covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covering {
    /// Index of the filter.
    pub filter: usize,
    /// Subscription Identifier (MQTT 5.0 §3.8.2.1.2), where the filter overlaps another. It stands for this filter and
    /// those in front that overlap it.
    pub id: Option<u32>,
    /// Number of the group of filters that hang together by overlaps. A group belongs in one session.
    pub group: usize,
}

/// Two filters of which neither covers the other, yet some topics match both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Index of the first filter.
    pub first: usize,
    /// Index of the second filter.
    pub second: usize,
    /// The narrowest filter that would cover both.
    pub join: Filter,
}

/// The smallest set of `filters` (those of one source's routes, in order) that matches what all of them match.
/// Of filters that match the same topics the first stays.
#[must_use]
pub fn subscriptions(filters: &[&Filter]) -> Cover {
    let covered = |index: usize, filter: &Filter| {
        filters.iter().enumerate().any(|(other_index, other)| {
            other_index != index && other.covers(filter) && (other_index < index || !filter.covers(other))
        })
    };
    let kept: Vec<usize> = (0..filters.len()).filter(|&i| !covered(i, filters[i])).collect();
    let mut overlaps = Vec::new();
    for (position, &first) in kept.iter().enumerate() {
        for &second in &kept[position + 1..] {
            if filters[first].overlaps(filters[second]) {
                overlaps.push(Overlap { first, second, join: filters[first].join(filters[second]) });
            }
        }
    }
    let mut taken = HashSet::new();
    let identifiers: Vec<_> = kept.iter().map(|&filter| identifier(filter, &overlaps, filters, &mut taken)).collect();
    let groups = groups(&kept, &overlaps).into_iter();
    let subscriptions = kept.iter().zip(identifiers).zip(groups);
    let subscriptions = subscriptions.map(|((&filter, id), group)| Covering { filter, id, group }).collect();
    Cover { subscriptions, overlaps }
}

/// The identifier of a filter, if it needs one: the same for the same filter behind the same overlapping ones, in every
/// process.
fn identifier(filter: usize, overlaps: &[Overlap], filters: &[&Filter], taken: &mut HashSet<u32>) -> Option<u32> {
    if !overlaps.iter().any(|overlap| overlap.first == filter || overlap.second == filter) {
        return None;
    }
    let front = overlaps.iter().filter(|overlap| overlap.second == filter).map(|overlap| overlap.first);
    let mut hasher = crc32fast::Hasher::new();
    for index in front.chain([filter]) {
        hasher.update(filters[index].as_mqtt().as_bytes());
        // No filter holds U+0000.
        hasher.update(&[0]);
    }
    let mut id = hasher.finalize() % MAX_ID + 1;
    while !taken.insert(id) {
        id = id % MAX_ID + 1;
    }
    Some(id)
}

/// The number of each filter's group, from 0 in the order in which they begin.
fn groups(kept: &[usize], overlaps: &[Overlap]) -> Vec<usize> {
    let place = |filter: usize| kept.iter().position(|&one| one == filter);
    let mut groups: Vec<usize> = (0..kept.len()).collect();
    for (first, second) in overlaps.iter().filter_map(|overlap| Some((place(overlap.first)?, place(overlap.second)?))) {
        let (stays, goes) = (groups[first].min(groups[second]), groups[first].max(groups[second]));
        groups.iter_mut().filter(|group| **group == goes).for_each(|group| *group = stays);
    }
    let mut begun = groups.clone();
    begun.sort_unstable();
    begun.dedup();
    groups.iter().map(|group| begun.partition_point(|begun| begun < group)).collect()
}

impl Cover {
    /// How many groups there are: as many sessions have something to read.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.subscriptions.iter().map(|covering| covering.group + 1).max().unwrap_or(0)
    }
}

/// Which copy of a message counts, where subscriptions of a source overlap: the one that was sent for the first of
/// the subscriptions that match its topic.
///
/// Ask only while no filter of the session is refused: without it any copy may be the only one.
#[derive(Clone, Debug)]
pub struct Copies {
    /// Identifiers and filters, in the order of the routes.
    subscriptions: Vec<(u32, Filter)>,
}

impl Copies {
    /// The rule for the subscriptions with identifiers of a source, those that overlap in the order of the routes.
    #[must_use]
    pub fn new(subscriptions: impl IntoIterator<Item = (u32, Filter)>) -> Copies {
        Copies { subscriptions: subscriptions.into_iter().collect() }
    }

    /// Whether the copy of a message on `topic` that came with the subscription identifiers `ids` counts; otherwise
    /// it is acknowledged and suppressed.
    ///
    /// In doubt it counts, because a copy too many is a duplicate and a copy too few is a loss: a copy is suppressed
    /// only if one of its identifiers stands for another subscription that matches the topic. A copy without
    /// identifiers, or with none but those of an earlier configuration, counts.
    #[must_use]
    pub fn counts(&self, topic: &str, ids: &[u32]) -> bool {
        if ids.is_empty() {
            return true;
        }
        let mut matching = self.subscriptions.iter().filter(|(_, filter)| filter.matches(topic));
        match matching.next() {
            Some((first, _)) if !ids.contains(first) => !matching.any(|(id, _)| ids.contains(id)),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|text| Filter::parse(text).unwrap()).collect()
    }

    fn cover(texts: &[&str]) -> Cover {
        let filters = filters(texts);
        subscriptions(&filters.iter().collect::<Vec<_>>())
    }

    fn kept(texts: &[&str]) -> Vec<(usize, Option<u32>)> {
        cover(texts).subscriptions.iter().map(|s| (s.filter, s.id)).collect()
    }

    fn ids(texts: &[&str]) -> Vec<u32> {
        cover(texts).subscriptions.iter().filter_map(|s| s.id).collect()
    }

    #[test]
    fn covered_filters_are_dropped() {
        assert_eq!(kept(&[]), []);
        assert_eq!(kept(&["a/b", "a/+", "c"]), [(1, None), (2, None)]);
        assert_eq!(kept(&["a/#", "a", "a/b/c"]), [(0, None)]);
        assert_eq!(kept(&["#", "$SYS/#", "a"]), [(0, None), (1, None)]);
    }

    #[test]
    fn of_equal_filters_the_first_stays() {
        assert_eq!(kept(&["a/{x}", "a/+", "a/{y}"]), [(0, None)]);
        assert_eq!(kept(&["+/#", "#"]), [(0, None)]);
        assert_eq!(kept(&["#", "+/#"]), [(0, None)]);
    }

    #[test]
    fn partly_overlapping_filters_carry_identifiers() {
        let cover = cover(&["x", "a/{n}/c", "b", "a/b/+", "a/b/c"]);
        let ids: Vec<_> = cover.subscriptions.iter().map(|s| (s.filter, s.id.is_some())).collect();
        assert_eq!(ids, [(0, false), (1, true), (2, false), (3, true)]);
        let [overlap] = cover.overlaps.as_slice() else { panic!("{cover:?}") };
        assert_eq!((overlap.first, overlap.second), (1, 3));
        assert_eq!(overlap.join.to_string(), "a/+/+");
    }

    #[test]
    fn an_identifier_stands_for_what_is_in_front_of_it() {
        let before = ids(&["a/+/c", "a/b/+"]);
        assert_eq!(ids(&["x", "a/+/c", "y/+", "a/{b}/d", "a/b/+"])[0], before[0], "nothing overlapping is in front");
        assert_eq!(ids(&["a/+/c", "y/+", "a/b/+"]), before, "what does not overlap is no matter");
        let behind = ids(&["+/b/c", "a/+/c", "a/b/+"]);
        assert!(behind.iter().all(|id| !before.contains(id)), "all have another one in front of them");
        let turned = ids(&["a/b/+", "a/+/c"]);
        assert!(turned.iter().all(|id| !before.contains(id)));
        assert!(before.iter().all(|id| (1..=MAX_ID).contains(id)));
        // They are on brokers and in files: no version may change them lightly.
        assert_eq!(before, [185_193_491, 228_599_814]);
    }

    #[test]
    fn identifiers_differ_even_where_their_hashes_are_equal() {
        let (filters, mut taken) = (filters(&["a/+", "+/b"]), HashSet::new());
        let filters: Vec<&Filter> = filters.iter().collect();
        let overlaps = subscriptions(&filters).overlaps;
        let first = identifier(0, &overlaps, &filters, &mut taken).unwrap();
        assert_eq!(identifier(0, &overlaps, &filters, &mut taken), Some(first % MAX_ID + 1));
    }

    #[test]
    fn what_hangs_together_by_overlaps_is_a_group() {
        let groups = |texts| {
            let cover = cover(texts);
            (cover.subscriptions.iter().map(|s| s.group).collect::<Vec<_>>(), cover.groups())
        };
        assert_eq!(groups(&[]), (vec![], 0));
        assert_eq!(groups(&["a", "b"]), (vec![0, 1], 2));
        assert_eq!(groups(&["z", "a/+/c", "y", "a/b/+"]), (vec![0, 1, 2, 1], 3));
        // The last one joins two groups.
        assert_eq!(groups(&["a/+/1", "b/+/1", "c", "+/x/+"]), (vec![0, 0, 1, 0], 2));
    }

    #[test]
    fn the_copy_of_the_first_subscription_counts() {
        let copies = Copies::new([2, 4, 7].into_iter().zip(filters(&["a/+", "a/#", "+/b"])));
        assert!(copies.counts("a/b", &[2]));
        assert!(copies.counts("a/b", &[7, 2]), "one copy for both subscriptions");
        assert!(!copies.counts("a/b", &[7]));
        assert!(!copies.counts("a/b", &[4, 7]));
        assert!(copies.counts("x/b", &[7]), "the only subscription that matches");
        assert!(copies.counts("a/b/c", &[4, 7]), "the first that matches is among them");
    }

    #[test]
    fn in_doubt_a_copy_counts() {
        let copies = Copies::new([(2, filters(&["a/+"])[0].clone()), (7, filters(&["+/b"])[0].clone())]);
        assert!(copies.counts("a/b", &[]), "no identifiers");
        assert!(copies.counts("a/b", &[9]), "an unknown identifier");
        assert!(copies.counts("a/c", &[7]), "an identifier that meant another filter once");
        assert!(copies.counts("q", &[2]), "no filter matches");
        assert!(Copies::new([]).counts("a", &[1]));
    }

    #[test]
    fn of_all_copies_exactly_one_counts() {
        let texts = ["a/+/c", "a/b/+", "+/b/#", "a/{x...}"];
        let filters = filters(&texts);
        let copies = Copies::new((1..).zip(filters.clone()));
        for topic in ["a/b/c", "a/b/d", "a/x/c", "z/b", "a", "a/b"] {
            let ids: Vec<u32> = (1..).zip(&filters).filter(|(_, f)| f.matches(topic)).map(|(id, _)| id).collect();
            assert!(!ids.is_empty());
            let counted = ids.iter().filter(|&&id| copies.counts(topic, &[id])).count();
            assert_eq!(counted, 1, "{topic} sent once for each of {ids:?}");
            assert!(copies.counts(topic, &ids), "{topic} sent once for all of {ids:?}");
        }
    }
}
