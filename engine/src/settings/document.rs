//! TOML text into the tree of what was written, each value with line and column.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use bytesize::ByteSize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Origin,
    node::{Entry, Node, Table, Value},
    origin::Lines,
    problem::{Log, What},
};

/// Largest configuration file.
const MAX_FILE: u64 = 1 << 20;

/// Reads a file. What is wrong goes to the log; what could be read is returned.
pub(super) fn read(path: &Path, log: &Log) -> Node {
    let file: Arc<str> = path.to_string_lossy().into();
    let start = Origin::File { file: Arc::clone(&file), line: 1, column: 1 };
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    let what = match result {
        Err(error) => What::Unreadable(error),
        Ok(_) if bytes.len() as u64 > MAX_FILE => What::TooLarge { limit: ByteSize::b(MAX_FILE) },
        Ok(_) => match std::str::from_utf8(&bytes) {
            Ok(text) => return parse(&file, text, log),
            Err(error) => {
                let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let place = Lines::new(file, &valid).place(valid.len());
                log.problem(&place, "", &What::NotUtf8);
                return Node::empty(start);
            }
        },
    };
    log.problem(&start, "", &what);
    Node::empty(start)
}

/// Parses the text of a file; every mistake of the syntax goes to the log.
pub(super) fn parse(file: &Arc<str>, text: &str, log: &Log) -> Node {
    let lines = Lines::new(Arc::clone(file), text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let place = lines.place(error.span().map_or(0, |span| span.start));
        log.problem(&place, "", &What::Syntax(error.message().to_owned()));
    }
    let mut converter = Converter { place: |byte| lines.place(byte), log };
    Node::new(converter.table(document.get_ref()), lines.place(0))
}

/// A list or a table of an environment variable or a flag, in TOML's form; `None` where it is neither.
pub(super) fn value(words: &str, origin: &Origin) -> Option<Value> {
    let text = words.trim();
    if !text.starts_with(['[', '{']) || text.len() as u64 > MAX_FILE {
        return None;
    }
    let value = DeValue::parse(text).ok()?;
    let log = Log::default();
    let value = Converter { place: |_| origin.clone(), log: &log }.value(&value);
    log.is_clean().then_some(value.value)
}

/// Turns the parser's tree into ours.
struct Converter<'a, P> {
    place: P,
    log: &'a Log,
}

impl<P: Fn(usize) -> Origin> Converter<'_, P> {
    fn table(&mut self, table: &DeTable<'_>) -> Value {
        let entries = table.iter().map(|(key, value)| {
            let entry = Entry { key: (self.place)(key.span().start), node: self.value(value) };
            (key.get_ref().to_string(), entry)
        });
        Value::Table(entries.collect::<Table>())
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>) -> Node {
        let origin = (self.place)(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    self.log.problem(&origin, "", &What::HugeInteger);
                    Value::Broken
                }
            },
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(time) => Value::Datetime(time.to_string()),
            DeValue::Array(elements) => Value::List(elements.iter().map(|element| self.value(element)).collect()),
            DeValue::Table(table) => self.table(table),
        };
        Node::new(value, origin)
    }
}
