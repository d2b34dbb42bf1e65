//! MQTT topic filters with named levels.
//!
//! A filter of the configuration is an MQTT topic filter (MQTT 5.0 §4.7) whose wildcards may carry names, so that a
//! template can use what they matched: `{x}` is `+`, `{x...}` is `#`. A literal brace is written twice.
//!
//! Two subtleties of the standard run through this file: `a/#` also matches its parent `a`, and a filter that begins
//! with a wildcard matches no topic that begins with `$`.

use std::{fmt, ops::Range};

/// Longest UTF-8 string of MQTT, bytes (MQTT 5.0 §1.5.4).
const MAX_BYTES: usize = 65_535;

/// A topic filter (MQTT 5.0 §4.7) whose wildcards may be named: `{x}` is one level, `{x...}` the rest.
///
/// `Display` writes it as the configuration does, [`Filter::as_mqtt`] as a SUBSCRIBE does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// At least one; [`Level::Rest`] only as the last.
    levels: Vec<Level>,
}

/// One level of a filter. Its name is empty where it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    /// This text and no other.
    Literal(String),
    /// Any one level: `+` or `{x}`.
    One(String),
    /// Any levels from here on, and none at all: `#` or `{x...}`.
    Rest(String),
}

/// Why a filter cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The filter is empty.
    #[error("the filter is empty; write at least one level, or `#` for every topic")]
    Empty,
    /// The filter is longer than an MQTT string can be.
    #[error("the filter has {0} bytes and MQTT allows {MAX_BYTES}; shorten it")]
    TooLong(usize),
    /// The filter contains U+0000.
    #[error("the filter contains the character U+0000, which MQTT forbids; remove it")]
    Nul,
    /// The filter begins with `$share/`.
    #[error("the filter begins with `$share`; leave that out and set `share = \"group\"` on the source instead")]
    Share,
    /// `+` or `#` is only a part of a level.
    #[error("the wildcard in level `{0}` must be the whole level; write `+` or `#` between slashes")]
    PartialWildcard(String),
    /// A brace does not open and close a whole level.
    #[error(
        "the braces in level `{0}` must enclose the whole level, as in `{{name}}`; a literal brace is written twice"
    )]
    Brace(String),
    /// `#` or `{x...}` stands before another level.
    #[error("`{0}` takes all the levels that are left and must be the last; use `+` or `{{name}}` for one level")]
    RestNotLast(String),
    /// The name is not made of letters, digits, `_` and `-`.
    #[error("`{0}` is no name for a level; use the letters a-z and A-Z, digits, `_` and `-`")]
    BadName(String),
    /// Two levels have the same name.
    #[error("two levels are named `{0}`; give each its own name, or write `+` for one that needs none")]
    DuplicateName(String),
    /// A level is named `topic`.
    #[error("a level cannot be named `topic`, because `{{topic}}` in a template is the whole MQTT topic; rename it")]
    ReservedName,
}

/// Where in an MQTT topic a wildcard of the filter finds its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capture {
    /// How many levels come before it.
    level: usize,
    /// It takes all levels from there on.
    rest: bool,
}

impl Capture {
    /// The bytes of `topic` that the wildcard took; `topic` is one that the filter matches. Empty where the level is
    /// empty, and where `#` matched its parent.
    pub(super) fn range(self, topic: &str) -> Range<usize> {
        let bytes = topic.as_bytes();
        let mut start = 0;
        for _ in 0..self.level {
            match slash(&bytes[start..]) {
                Some(at) => start += at + 1,
                None => return bytes.len()..bytes.len(),
            }
        }
        let end = match slash(&bytes[start..]) {
            Some(at) if !self.rest => start + at,
            _ => bytes.len(),
        };
        start..end
    }
}

/// Where the next slash is.
fn slash(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'/')
}

impl Filter {
    /// Parses a filter.
    ///
    /// # Errors
    /// [`FilterError`] says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.contains('\0') {
            return Err(FilterError::Nul);
        }
        let levels: Vec<Level> = text.split('/').map(Level::parse).collect::<Result<_, _>>()?;
        if levels[0].literal() == Some("$share") {
            return Err(FilterError::Share);
        }
        for (index, level) in levels.iter().enumerate() {
            if matches!(level, Level::Rest(_)) && index + 1 < levels.len() {
                return Err(FilterError::RestNotLast(level.to_string()));
            }
            let name = level.name().unwrap_or_default();
            if name == "topic" {
                return Err(FilterError::ReservedName);
            }
            if !name.is_empty() && levels[..index].iter().any(|l| l.name() == Some(name)) {
                return Err(FilterError::DuplicateName(name.to_owned()));
            }
        }
        let filter = Filter { levels };
        match filter.as_mqtt().len() {
            length if length > MAX_BYTES => Err(FilterError::TooLong(length)),
            _ => Ok(filter),
        }
    }

    /// The filter as MQTT writes it: without names.
    #[must_use]
    pub fn as_mqtt(&self) -> String {
        let levels: Vec<&str> = self.levels.iter().map(Level::as_mqtt).collect();
        levels.join("/")
    }

    /// Whether the filter matches an MQTT topic (MQTT 5.0 §4.7).
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let topic = topic.as_bytes();
        if self.levels[0].is_wildcard() && topic.first() == Some(&b'$') {
            return false;
        }
        // What is left of the topic; none at all is less than an empty level.
        let mut left = Some(topic);
        for level in &self.levels {
            let Some(here) = left else {
                return matches!(level, Level::Rest(_));
            };
            left = match level {
                Level::Rest(_) => return true,
                Level::One(_) => slash(here).map(|at| &here[at + 1..]),
                Level::Literal(text) => match here.strip_prefix(text.as_bytes()) {
                    Some([]) => None,
                    Some([b'/', tail @ ..]) => Some(tail),
                    _ => return false,
                },
            };
        }
        left.is_none()
    }

    /// Whether every topic that `other` matches is matched by this filter too. Names do not count.
    #[must_use]
    pub fn covers(&self, other: &Filter) -> bool {
        if self.misses_dollar(other) {
            return false;
        }
        let (ours, theirs) = (self.shape(), other.shape());
        for (index, level) in ours.iter().enumerate() {
            match (level, theirs.get(index)) {
                (Level::Rest(_), _) => return true,
                (Level::One(_), Some(Level::One(_) | Level::Literal(_))) => {}
                (Level::Literal(a), Some(Level::Literal(b))) if a == b => {}
                _ => return false,
            }
        }
        ours.len() == theirs.len()
    }

    /// Whether some topic is matched by both filters (for `+` and `/#` only the empty one, which MQTT forbids). Names
    /// do not count.
    #[must_use]
    pub fn overlaps(&self, other: &Filter) -> bool {
        if self.misses_dollar(other) || other.misses_dollar(self) {
            return false;
        }
        let mut theirs = other.levels.iter();
        for level in &self.levels {
            match (level, theirs.next()) {
                (Level::Rest(_), _) | (_, Some(Level::Rest(_))) => return true,
                (_, None) => return false,
                (Level::Literal(a), Some(Level::Literal(b))) if a != b => return false,
                _ => {}
            }
        }
        matches!(theirs.next(), None | Some(Level::Rest(_)))
    }

    /// The narrowest filter without names that covers both; the two must overlap, because no filter covers both
    /// `$SYS/#` and `#`.
    pub(super) fn join(&self, other: &Filter) -> Filter {
        let mut levels = Vec::new();
        let mut theirs = other.levels.iter();
        for level in &self.levels {
            match (level, theirs.next()) {
                (Level::Rest(_), _) | (_, None | Some(Level::Rest(_))) => {
                    levels.push(Level::Rest(String::new()));
                    return Filter { levels };
                }
                (Level::Literal(a), Some(Level::Literal(b))) if a == b => levels.push(level.clone()),
                _ => levels.push(Level::One(String::new())),
            }
        }
        if theirs.next().is_some() {
            levels.push(Level::Rest(String::new()));
        }
        Filter { levels }
    }

    /// What the level of this name takes of a topic.
    pub(super) fn capture(&self, name: &str) -> Option<Capture> {
        let level = self.levels.iter().position(|level| level.name() == Some(name))?;
        Some(Capture { level, rest: matches!(self.levels[level], Level::Rest(_)) })
    }

    /// The names of the levels, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(Level::name)
    }

    /// The levels for comparison: `+/#` is `#`, since a topic always has a first level.
    fn shape(&self) -> &[Level] {
        match self.levels.as_slice() {
            [Level::One(_), Level::Rest(_)] => &self.levels[1..],
            levels => levels,
        }
    }

    /// Whether this filter begins with a wildcard and `other` with a `$`.
    fn misses_dollar(&self, other: &Filter) -> bool {
        self.levels[0].is_wildcard() && other.levels[0].literal().is_some_and(|text| text.starts_with('$'))
    }
}

impl Level {
    fn parse(text: &str) -> Result<Level, FilterError> {
        match text {
            "+" => Ok(Level::One(String::new())),
            "#" => Ok(Level::Rest(String::new())),
            _ => match text.strip_prefix('{') {
                Some(inner) if !inner.starts_with('{') => Level::parse_name(text, inner),
                _ => Level::parse_literal(text),
            },
        }
    }

    /// Parses what follows the opening brace of the level `text`.
    fn parse_name(text: &str, inner: &str) -> Result<Level, FilterError> {
        let inner = match inner.find('}') {
            Some(at) if at + 1 == inner.len() => &inner[..at],
            _ => return Err(FilterError::Brace(text.to_owned())),
        };
        let (name, rest) = match inner.strip_suffix("...") {
            Some(name) => (name, true),
            None => (inner, false),
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || !name.bytes().all(legal) {
            return Err(FilterError::BadName(name.to_owned()));
        }
        Ok(if rest { Level::Rest(name.to_owned()) } else { Level::One(name.to_owned()) })
    }

    fn parse_literal(text: &str) -> Result<Level, FilterError> {
        let mut literal = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '+' | '#' => return Err(FilterError::PartialWildcard(text.to_owned())),
                '{' | '}' if chars.next() != Some(char) => {
                    return Err(FilterError::Brace(text.to_owned()));
                }
                _ => literal.push(char),
            }
        }
        Ok(Level::Literal(literal))
    }

    fn is_wildcard(&self) -> bool {
        !matches!(self, Level::Literal(_))
    }

    fn literal(&self) -> Option<&str> {
        match self {
            Level::Literal(text) => Some(text),
            _ => None,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Level::One(name) | Level::Rest(name) if !name.is_empty() => Some(name),
            _ => None,
        }
    }

    fn as_mqtt(&self) -> &str {
        match self {
            Level::Literal(text) => text,
            Level::One(_) => "+",
            Level::Rest(_) => "#",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.name()) {
            (Level::Literal(text), _) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            (Level::One(_), Some(name)) => write!(f, "{{{name}}}"),
            (Level::Rest(_), Some(name)) => write!(f, "{{{name}...}}"),
            (_, None) => f.write_str(self.as_mqtt()),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, level) in self.levels.iter().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            level.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
