//! One log line: its parts, escaped and bounded, as text and as JSON.

use std::{borrow::Cow, fmt::Write as _};

/// `text` with everything escaped that would let it leave its line or steer a terminal: control characters, line
/// separators and the marks that turn the direction of writing.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let hostile = |c: char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hostile) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hostile(c) {
            write!(escaped, "{}", c.escape_default()).expect("a string takes everything");
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}
