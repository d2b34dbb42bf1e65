//! `{name}` in commands and templates.

use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// The value of each name.
pub(crate) type Values = BTreeMap<String, String>;

/// Replaces each `{name}`. Braces around anything but lower-case letters, digits and `_` are text, such as TOML's inline tables.
pub(crate) fn fill(text: &str, values: &Values) -> Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        match after.split_once('}').filter(|(name, _)| is_name(name)) {
            Some((name, tail)) => {
                let Some(value) = values.get(name) else {
                    let known: Vec<_> = values.keys().map(String::as_str).collect();
                    bail!("{{{name}}} is not known; there are {}", known.join(", "));
                };
                filled.push_str(value);
                rest = tail;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        [("topic", "t1"), ("kafka", "127.0.0.1:9")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn names_are_replaced_and_other_braces_stay() {
        let text = "a {topic}-{topic} {kafka} { topic } {{ .Field }} { a = 1 } {";
        let filled = fill(text, &values()).unwrap();
        assert_eq!(filled, "a t1-t1 127.0.0.1:9 { topic } {{ .Field }} { a = 1 } {");
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known() {
        let error = fill("{topics}", &values()).unwrap_err().to_string();
        assert_eq!(error, "{topics} is not known; there are kafka, topic");
    }

    #[test]
    fn what_a_value_holds_is_not_replaced_again() {
        let values = [("a".to_owned(), "{b}".to_owned()), ("b".to_owned(), "c".to_owned())].into();
        assert_eq!(fill("{a}", &values).unwrap(), "{b}");
    }
}
