//! Topic filters (MQTT 5.0 §4.7) and shared subscriptions (§4.8.2).

use super::Violation;

/// A subscription as a client asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// The group of a `$share/group/filter` subscription.
    pub(crate) group: Option<String>,
    pub(crate) filter: String,
}

impl Subscription {
    pub(crate) fn parse(text: &str) -> Result<Self, Violation> {
        let Some(shared) = text.strip_prefix("$share/") else {
            return Ok(Self { group: None, filter: text.to_owned() });
        };
        match shared.split_once('/') {
            Some((group, filter)) if !group.is_empty() && !filter.is_empty() => {
                Ok(Self { group: Some(group.to_owned()), filter: filter.to_owned() })
            }
            _ => Err(Violation("shared subscription without group or filter")),
        }
    }
}

/// Whether `text` is a filter (MQTT 5.0 §4.7.1), shared or not: a broker may hang up without a word where it is none.
pub(crate) fn is_valid(text: &str) -> bool {
    let Ok(Subscription { filter, .. }) = Subscription::parse(text) else { return false };
    let is_level = |level: &str| matches!(level, "+" | "#") || !level.contains(['+', '#', '\0']);
    let levels_before_last = filter.rsplit('/').skip(1);
    let fits = !filter.is_empty() && text.len() <= usize::from(u16::MAX);
    fits && filter.split('/').all(is_level) && levels_before_last.into_iter().all(|level| level != "#")
}

/// Whether `filter` matches `topic`; wildcards at the start do not match topics that start with `$`.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, expected) in [
            ("fire/#", "fire/1", true),
            ("fire/#", "fire", true),
            ("fire/#", "fires/1", false),
            ("fire/+", "fire/1", true),
            ("fire/+", "fire", false),
            ("fire/+", "fire/1/2", false),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "a/b/c", true),
            ("#", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} on {topic}");
        }
    }

    #[test]
    fn wildcards_stand_alone_and_at_the_end() {
        for valid in ["#", "+", "a/#", "+/a/+", "/", "$share/g/a/#", "$SYS/#"] {
            assert!(is_valid(valid), "{valid}");
        }
        for invalid in ["", "a#", "a/#/b", "a+/b", "$share/g", "$share/g/", "a\0"] {
            assert!(!is_valid(invalid), "{invalid}");
        }
    }

    #[test]
    fn shared_subscriptions_name_their_group() {
        let shared = Subscription::parse("$share/g/a/#").unwrap();
        assert_eq!((shared.group.as_deref(), shared.filter.as_str()), (Some("g"), "a/#"));
        assert_eq!(Subscription::parse("a/#").unwrap().group, None);
        assert!(Subscription::parse("$share/g").is_err());
        assert!(Subscription::parse("$share//a").is_err());
    }
}
