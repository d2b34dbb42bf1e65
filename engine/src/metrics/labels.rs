//! Label values from the configuration: bounded in length and made unique.

use std::collections::HashSet;

/// Longest label value, bytes before escaping; a filter may have 65,535, and a scrape has to stay small.
pub(super) const MAX_BYTES: usize = 48;

/// Cuts each label to `MAX_BYTES` and appends `#position` to one that is `taken` or has come before: two series of
/// one name and equal labels would make the whole scrape invalid.
pub(super) fn unique<'a>(taken: &[&str], labels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen: HashSet<String> = taken.iter().map(|label| (*label).to_owned()).collect();
    labels
        .enumerate()
        .map(|(position, label)| {
            let mut unique = shorten(label, MAX_BYTES);
            while !seen.insert(unique.clone()) {
                unique = format!("{unique}#{position}");
            }
            unique
        })
        .collect()
}

/// `text`, or its beginning and an ellipsis, in at most `max` bytes.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(max.saturating_sub('…'.len_utf8()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_and_reserved_labels_are_told_apart() {
        let labels = unique(&["none"], ["a/#", "none", "a/#", "a/##2", "a/#"].into_iter());
        assert_eq!(labels, ["a/#", "none#1", "a/##2", "a/##2#3", "a/##4"]);
    }

    #[test]
    fn long_labels_are_cut_between_characters_and_stay_unique() {
        let long = "ä".repeat(1000);
        let labels = unique(&[], [long.as_str(), long.as_str()].into_iter());
        assert_ne!(labels[0], labels[1]);
        assert!(labels.iter().all(|label| label.len() <= MAX_BYTES + 2 && label.contains('…')), "{labels:?}");
    }
}
