//! What a source subscribes to, and which of several copies of one message counts.
//!
//! A broker may send a message once for each subscription that matches it (MQTT 5.0 §3.3.4). So a source subscribes
//! to the smallest set of filters that covers its routes, and where two of these still overlap they carry
//! subscription identifiers, by which [`Copies`] tells the copies apart.

use super::Filter;

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
    /// Subscription Identifier (MQTT 5.0 §3.8.2.1.2), where the filter overlaps another. It rises in the order of
    /// the routes.
    pub id: Option<u32>,
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
    let named = |index: usize| overlaps.iter().any(|o| o.first == index || o.second == index);
    let subscriptions =
        (1..).zip(&kept).map(|(id, &filter)| Covering { filter, id: named(filter).then_some(id) }).collect();
    Cover { subscriptions, overlaps }
}

/// Which copy of a message counts, where subscriptions of a source overlap: the one that was sent for the first of
/// the subscriptions that match its topic.
///
/// Suppression presumes that the copy which counts comes too. Ask only while every session of the source has its
/// SUBACKs; before that any copy may be the only one.
#[derive(Clone, Debug)]
pub struct Copies {
    /// Identifiers and filters, identifiers rising.
    subscriptions: Vec<(u32, Filter)>,
}

impl Copies {
    /// The rule for the subscriptions with identifiers of all sessions of a source, in any order.
    #[must_use]
    pub fn new(subscriptions: impl IntoIterator<Item = (u32, Filter)>) -> Copies {
        let mut subscriptions: Vec<(u32, Filter)> = subscriptions.into_iter().collect();
        subscriptions.sort_unstable_by_key(|(id, _)| *id);
        Copies { subscriptions }
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
        let ids: Vec<_> = cover.subscriptions.iter().map(|s| (s.filter, s.id)).collect();
        assert_eq!(ids, [(0, None), (1, Some(2)), (2, None), (3, Some(4))]);
        let [overlap] = cover.overlaps.as_slice() else { panic!("{cover:?}") };
        assert_eq!((overlap.first, overlap.second), (1, 3));
        assert_eq!(overlap.join.to_string(), "a/+/+");
    }

    #[test]
    fn the_copy_of_the_first_subscription_counts() {
        let copies = Copies::new([7, 2, 4].into_iter().zip(filters(&["+/b", "a/+", "a/#"])).collect::<Vec<_>>());
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
