//! Secrets: `"${env:NAME}"` and `"${file:/path}"` in the text of any value, and what keeps them out of every output.

use std::{collections::HashMap, fs::File, io::Read};

use bytesize::ByteSize;

use super::{
    node::{Node, Value, join},
    problem::{Log, What},
};

/// Largest secret file.
const MAX_SECRET: u64 = 64 << 10;

/// What stands in the place of a secret.
pub(super) const HIDDEN: &str = "***";

/// The texts that must not appear anywhere.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    fn add(&mut self, text: &str) {
        if !text.is_empty() && !self.0.iter().any(|known| known == text) {
            self.0.push(text.to_owned());
            // The longest first, so that one which is part of another does not leave the rest of it.
            self.0.sort_by_key(|known| std::cmp::Reverse(known.len()));
        }
    }

    /// Writes `***` for each secret in a text, also where it is quoted with escapes.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            let escaped = secret.escape_debug().to_string();
            text.replace(secret.as_str(), HIDDEN).replace(&escaped, HIDDEN)
        })
    }
}

/// Whether a key holds a secret however it was written: credentials, here and among librdkafka's properties.
pub(super) fn is_secret(key: &str) -> bool {
    const SECRET: [&str; 6] = ["password", "secret", "username", "pem", "sasl.oauthbearer.config", "ssl.key"];
    let name = key.strip_prefix("kafka.properties.").or_else(|| key.rsplit('.').next()).unwrap_or(key);
    SECRET.iter().any(|word| name.contains(word))
}

/// Puts the secrets of every value in their place.
pub(super) fn expand(node: &mut Node, environment: &HashMap<&str, &str>, log: &mut Log) {
    walk(node, "", environment, log);
}

fn walk(node: &mut Node, key: &str, environment: &HashMap<&str, &str>, log: &mut Log) {
    match &mut node.value {
        Value::Table(table) => {
            for (name, entry) in table {
                walk(&mut entry.node, &join(key, name), environment, log);
            }
        }
        Value::List(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                walk(element, &join(key, &index.to_string()), environment, log);
            }
        }
        Value::Text(text) | Value::Words(text) => match resolve(text, environment, log) {
            Ok(resolved) => {
                node.secret = is_secret(key) || resolved.secret;
                *text = resolved.text;
                // Not user names: they are short, often part of other names, and appear in no text.
                if is_secret(key) && !key.ends_with("username") {
                    log.secrets.add(text);
                }
            }
            Err(what) => {
                log.problem(&node.origin, key, &what);
                node.value = Value::Broken;
            }
        },
        _ => node.secret = is_secret(key),
    }
}

/// A text with its secrets in place.
struct Resolved {
    text: String,
    secret: bool,
}

fn resolve(text: &str, environment: &HashMap<&str, &str>, log: &mut Log) -> Result<Resolved, What> {
    let mut resolved = Resolved { text: String::new(), secret: false };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, reference) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            resolved.text.push_str(before);
            resolved.text.push_str("${");
            rest = reference;
            continue;
        }
        let (reference, after) = reference.split_once('}').ok_or(What::SecretOpen)?;
        let secret = look_up(reference, environment)?;
        log.secrets.add(&secret);
        resolved.text.push_str(before);
        resolved.text.push_str(&secret);
        resolved.secret = true;
        rest = after;
    }
    resolved.text.push_str(rest);
    Ok(resolved)
}

fn look_up(reference: &str, environment: &HashMap<&str, &str>) -> Result<String, What> {
    match reference.split_once(':') {
        Some(("env", name)) => match environment.get(name) {
            Some(value) => Ok((*value).to_owned()),
            None => Err(What::SecretVariable(name.to_owned())),
        },
        Some(("file", path)) => read(path),
        _ => Err(What::SecretKind(reference.to_owned())),
    }
}

/// A secret file without the line end that editors add.
fn read(path: &str) -> Result<String, What> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_SECRET + 1).read_to_end(&mut bytes))
        .map_err(|error| What::SecretFile(path.to_owned(), error))?;
    let limit = ByteSize::b(MAX_SECRET);
    match String::from_utf8(bytes) {
        Ok(text) if text.len() as u64 <= MAX_SECRET => {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
        }
        _ => Err(What::SecretText(path.to_owned(), limit)),
    }
}
