//! Templates for Kafka topics and record keys.
//!
//! A template is literal text with names in braces: `{x}` is what the level of that name took of the MQTT topic,
//! `{topic}` the whole MQTT topic. A literal brace is written twice. Names are resolved when the template is
//! compiled, so that rendering cannot fail.

use super::{Filter, filter::Capture};

/// Longest name of a Kafka topic, bytes.
const MAX_TOPIC_BYTES: usize = 249;
/// Most bytes of a key besides those of the MQTT topic, so that a record is not much larger than its packet.
const MAX_KEY_LITERAL: usize = 4096;

/// A compiled template: literal text and the names of the filter's levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// No two literals in a row, none of them empty.
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// The whole MQTT topic.
    Topic,
    /// What a level took of the MQTT topic.
    Level(Capture),
}

/// What it takes to render a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    /// The same text for every MQTT topic.
    Constant(&'a str),
    /// The MQTT topic itself.
    Topic,
    /// A part of the MQTT topic.
    Level(Capture),
    /// Something that has to be put together.
    Mixed,
}

/// Why a template cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template names a level that the filter does not have.
    #[error("`{{{name}}}` is not a level of the route's filter; {hint}")]
    Unknown {
        /// The name.
        name: String,
        /// What to write instead.
        hint: String,
    },
    /// A brace is not closed, or closes nothing.
    #[error("the braces of `{0}` do not pair; write `{{name}}`, and a literal brace twice")]
    Brace(String),
    /// No rendering of it can be the name of a Kafka topic.
    #[error(
        "`{0}` can never be the name of a Kafka topic; use the letters a-z and A-Z, digits, `.`, `_` and `-`, \
         at least one and at most {MAX_TOPIC_BYTES}, and neither `.` nor `..` alone"
    )]
    IllegalTopic(String),
    /// A key may be far larger than the MQTT topic.
    #[error(
        "a key holds each part of the MQTT topic at most once, and at most {MAX_KEY_LITERAL} bytes of text besides"
    )]
    LongKey,
}

/// Whether Kafka takes this as the name of a topic: 1 to 249 characters of `a-z A-Z 0-9 . _ -`, but not `.` or `..`.
#[must_use]
pub fn legal_topic(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= MAX_TOPIC_BYTES && name.bytes().all(legal_topic_byte)
}

fn legal_topic_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

impl Template {
    /// Compiles a template against the filter whose names it may use; `{topic}` is the whole MQTT topic.
    ///
    /// # Errors
    /// [`TemplateError`] says which part is wrong and what to write instead.
    pub fn parse(text: &str, filter: &Filter) -> Result<Template, TemplateError> {
        let brace = || TemplateError::Brace(text.to_owned());
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut left = text;
        while let Some(at) = left.find(['{', '}']) {
            literal.push_str(&left[..at]);
            let (found, tail) = left[at..].split_at(1);
            if let Some(tail) = tail.strip_prefix(found) {
                literal.push_str(found);
                left = tail;
                continue;
            }
            let (name, tail) = match found {
                "{" => tail.split_once('}').ok_or_else(brace)?,
                _ => return Err(brace()),
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::named(name, filter)?);
            left = tail;
        }
        literal.push_str(left);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Template { parts })
    }

    /// What it renders to for every MQTT topic, if that is always the same.
    #[must_use]
    pub fn constant(&self) -> Option<&str> {
        match self.shape() {
            Shape::Constant(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is `{topic}` and nothing else.
    #[must_use]
    pub fn is_topic(&self) -> bool {
        self.shape() == Shape::Topic
    }

    /// Checks that a Kafka topic can be named by it: what is literal is legal. The rest is known only with each
    /// MQTT topic, see [`legal_topic`].
    ///
    /// # Errors
    /// [`TemplateError::IllegalTopic`].
    pub fn check_topic(&self) -> Result<(), TemplateError> {
        let literals = self.parts.iter().filter_map(|part| match part {
            Part::Literal(text) => Some(text.as_str()),
            _ => None,
        });
        let literal: String = literals.collect();
        let possible = match self.constant() {
            Some(name) => legal_topic(name),
            None => literal.len() <= MAX_TOPIC_BYTES && literal.bytes().all(legal_topic_byte),
        };
        if possible { Ok(()) } else { Err(TemplateError::IllegalTopic(literal)) }
    }

    /// Checks that a key of it is not much larger than the MQTT topic: no part of that is in it twice.
    ///
    /// # Errors
    /// [`TemplateError::LongKey`].
    pub fn check_key(&self) -> Result<(), TemplateError> {
        let literal: usize =
            self.parts.iter().map(|part| if let Part::Literal(text) = part { text.len() } else { 0 }).sum();
        let mut taken = self.parts.iter().filter(|part| !matches!(part, Part::Literal(_)));
        let whole = self.parts.contains(&Part::Topic);
        let repeats = |part: &Part| self.parts.iter().filter(|other| *other == part).count() > 1;
        let once = if whole { taken.count() == 1 } else { !taken.any(repeats) };
        if once && literal <= MAX_KEY_LITERAL { Ok(()) } else { Err(TemplateError::LongKey) }
    }

    /// Appends what it renders to for an MQTT topic that the filter matches.
    pub fn render(&self, topic: &str, into: &mut String) {
        for part in &self.parts {
            into.push_str(match part {
                Part::Literal(text) => text,
                Part::Topic => topic,
                Part::Level(capture) => &topic[capture.range(topic)],
            });
        }
    }

    pub(super) fn shape(&self) -> Shape<'_> {
        match self.parts.as_slice() {
            [] => Shape::Constant(""),
            [Part::Literal(text)] => Shape::Constant(text),
            [Part::Topic] => Shape::Topic,
            [Part::Level(capture)] => Shape::Level(*capture),
            _ => Shape::Mixed,
        }
    }
}

impl Part {
    fn named(name: &str, filter: &Filter) -> Result<Part, TemplateError> {
        if name == "topic" {
            return Ok(Part::Topic);
        }
        match filter.capture(name) {
            Some(capture) => Ok(Part::Level(capture)),
            None => Err(TemplateError::Unknown { name: name.to_owned(), hint: hint(name, filter) }),
        }
    }
}

/// What to write instead of a name that the filter does not have.
fn hint(name: &str, filter: &Filter) -> String {
    // `{x...}` is how the filter says it; the template says `{x}`.
    let bare = name.trim_end_matches("...");
    let known: Vec<&str> = filter.names().chain(["topic"]).collect();
    let distance = |other: &str| strsim::damerau_levenshtein(bare, other);
    match known.iter().min_by_key(|other| distance(other)) {
        Some(nearest) if distance(nearest) <= bare.len() / 3 => {
            format!("did you mean `{{{nearest}}}`?")
        }
        _ => format!("the route has `{{{}}}`", known.join("}`, `{")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, filter: &str) -> Result<Template, TemplateError> {
        Template::parse(text, &Filter::parse(filter).unwrap())
    }

    fn render(text: &str, filter: &str, topic: &str) -> String {
        let filter = Filter::parse(filter).unwrap();
        assert!(filter.matches(topic), "{filter} {topic}");
        let mut rendered = String::new();
        Template::parse(text, &filter).unwrap().render(topic, &mut rendered);
        rendered
    }

    #[test]
    fn renders_levels_and_the_topic() {
        assert_eq!(render("ais", "ais/#", "ais/1"), "ais");
        assert_eq!(render("{topic}", "ais/#", "ais/1"), "ais/1");
        assert_eq!(render("{mmsi}", "ais/{mmsi}/{kind...}", "ais/211/a/b"), "211");
        assert_eq!(render("{kind}-{mmsi}.", "ais/{mmsi}/{kind...}", "ais/211/a/b"), "a/b-211.");
        assert_eq!(render("{a}{b}{a}", "{a}/x/{b}", "é/x/ü"), "éüé");
        assert_eq!(render("", "#", "x"), "");
    }

    #[test]
    fn the_rest_of_a_parent_is_empty() {
        assert_eq!(render("<{rest}>", "a/{rest...}", "a"), "<>");
        assert_eq!(render("<{rest}>", "a/{rest...}", "a/"), "<>");
        assert_eq!(render("<{x}|{rest}>", "a/{x}/{rest...}", "a/"), "<|>");
        assert_eq!(render("<{all}>", "{all...}", "a/b"), "<a/b>");
    }

    #[test]
    fn doubled_braces_are_literal() {
        assert_eq!(render("{{{x}}}", "{x}", "1"), "{1}");
        assert_eq!(render("{{x}}", "{x}", "1"), "{x}");
        assert_eq!(render("}}{{", "{x}", "1"), "}{");
        assert_eq!(parse("{{x}}", "{x}").unwrap().constant(), Some("{x}"));
    }

    #[test]
    fn what_is_rendered_is_not_rendered_again() {
        assert_eq!(render("{x}", "{x}", "{topic}"), "{topic}");
        assert_eq!(render("{x}", "{x}/a", "{{y}}/a"), "{{y}}");
    }

    #[test]
    fn says_what_needs_no_rendering() {
        let constant = |text| parse(text, "a/{x}").unwrap().constant().map(str::to_owned);
        assert_eq!(constant("ais"), Some("ais".to_owned()));
        assert_eq!(constant(""), Some(String::new()));
        assert_eq!(constant("{topic}"), None);
        assert_eq!(constant("ais{x}"), None);
        assert!(parse("{topic}", "a").unwrap().is_topic());
        assert!(!parse("{topic}{topic}", "a").unwrap().is_topic());
        assert!(!parse("topic", "a").unwrap().is_topic());
    }

    #[test]
    fn errors_say_what_to_write() {
        let error = |text| parse(text, "ais/{mmsi}/{kind...}").unwrap_err().to_string();
        assert!(error("{mmis}").contains("did you mean `{mmsi}`?"), "{}", error("{mmis}"));
        assert!(error("{kind...}").contains("did you mean `{kind}`?"), "{}", error("{kind...}"));
        assert!(error("{Topic}").contains("did you mean `{topic}`?"), "{}", error("{Topic}"));
        assert!(error("{vessel}").contains("the route has `{mmsi}`, `{kind}`, `{topic}`"));
        assert!(error("{}").contains("the route has"));
        for text in ["{", "}", "{mmsi", "mmsi}", "{mmsi}}", "{{mmsi}", "{{{mmsi"] {
            assert_eq!(parse(text, "{mmsi}"), Err(TemplateError::Brace(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn legal_topics_are_those_of_kafka() {
        let longest = "a".repeat(249);
        for name in ["a", "a.b_c-D9", "...", "-", &longest] {
            assert!(legal_topic(name), "{name}");
        }
        let too_long = "a".repeat(250);
        for name in ["", ".", "..", "a/b", "a b", "a%2f", "ä", "a\n", "a\0", "{x}", &too_long] {
            assert!(!legal_topic(name), "{name}");
        }
    }

    #[test]
    fn templates_that_never_name_a_topic_are_found() {
        let check = |text: &str| parse(text, "a/{x}/{y...}").unwrap().check_topic();
        let too_long = "a".repeat(250);
        for text in ["", ".", "..", "a/b", "a/{x}", "{x} {y}", "{{{x}}}", "ä", &too_long] {
            assert!(matches!(check(text), Err(TemplateError::IllegalTopic(_))), "{text}");
        }
        for text in ["ais", "{x}", "..{x}", "{x}.{y}", "{topic}"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }
    #[test]
    fn keys_hold_each_part_of_the_topic_once() {
        let check = |text: &str| parse(text, "a/{x}/{y...}").unwrap().check_key();
        let (longest, too_long) = ("a".repeat(MAX_KEY_LITERAL), "a".repeat(MAX_KEY_LITERAL + 1));
        for text in ["", "{topic}", "{x}", "{y}-{x}", "ship {topic}", &longest] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for text in ["{x}{x}", "{topic}{topic}", "{topic} {x}", "{y} {x} {y}", &too_long] {
            assert_eq!(check(text), Err(TemplateError::LongKey), "{text}");
        }
    }
}
