//! The tree of what was written: every value with its origin. Files, environment and flags are merged in this form,
//! before anything is known about the meaning of a key.

use std::collections::BTreeMap;

use super::{Origin, document, problem::What, secret};

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// It came from a secret, wholly or in part, and is never shown.
    pub(super) secret: bool,
}

/// A value as written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text in quotes.
    Text(String),
    /// Text of the environment or a flag: its type is what the key wants.
    Words(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Datetime(String),
    List(Vec<Node>),
    Table(Table),
    /// A value whose problem is told already.
    Broken,
}

/// Keys with their values.
pub(super) type Table = BTreeMap<String, Entry>;

/// A value with the place of its key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Origin,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn new(value: Value, origin: Origin) -> Node {
        Node { value, origin, secret: false }
    }

    /// A table without keys.
    pub(super) fn empty(origin: Origin) -> Node {
        Node::new(Value::Table(Table::new()), origin)
    }

    /// Lays a later layer over this one: tables key by key, everything else (lists too) as a whole.
    pub(super) fn merge(&mut self, later: Node) {
        match (&mut self.value, later.value) {
            (Value::Table(table), Value::Table(entries)) => {
                for (name, entry) in entries {
                    match table.get_mut(&name) {
                        Some(present) => present.node.merge(entry.node),
                        None => drop(table.insert(name, entry)),
                    }
                }
                self.origin = later.origin;
            }
            (_, value) => *self = Node { value, ..later },
        }
    }

    /// Fills what is left out. A list takes a table of defaults for each of its elements.
    pub(super) fn fill(&mut self, defaults: &Node) {
        if let Value::Table(_) = defaults.value {
            self.unfold();
        }
        match (&mut self.value, &defaults.value) {
            (Value::Table(table), Value::Table(entries)) => {
                for (name, entry) in entries {
                    match table.get_mut(name) {
                        Some(present) => present.node.fill(&entry.node),
                        None => drop(table.insert(name.clone(), entry.clone())),
                    }
                }
            }
            (Value::List(elements), Value::Table(_)) => {
                for element in elements {
                    element.fill(defaults);
                }
            }
            _ => {}
        }
    }

    /// Words that write out a list or a table become it.
    fn unfold(&mut self) {
        if let Value::Words(words) = &self.value
            && let Some(value) = document::value(words, &self.origin)
        {
            self.value = value;
        }
    }

    /// Makes every value a default.
    pub(super) fn forget_places(&mut self) {
        self.origin = Origin::Default;
        if let Value::Table(table) = &mut self.value {
            for entry in table.values_mut() {
                entry.key = Origin::Default;
                entry.node.forget_places();
            }
        }
    }

    /// Sets the value at the end of a path; what is missing on the way is made.
    pub(super) fn set(&mut self, path: &[&str], mut leaf: Node) -> Result<(), What> {
        let [head, rest @ ..] = path else {
            if let Value::Table(_) = self.value {
                leaf.unfold();
            }
            self.merge(leaf);
            return Ok(());
        };
        self.unfold();
        let next = |rest: &[&str]| match rest.first().map(|name| name.parse::<usize>()) {
            Some(Ok(_)) => Node::new(Value::List(Vec::new()), leaf.origin.clone()),
            Some(Err(_)) => Node::empty(leaf.origin.clone()),
            // The leaf takes its place.
            None => Node::new(Value::Broken, leaf.origin.clone()),
        };
        match (&mut self.value, head.parse::<usize>()) {
            (Value::List(elements), Ok(index)) => {
                if index == elements.len() {
                    elements.push(next(rest));
                }
                let length = elements.len();
                elements.get_mut(index).ok_or(What::NoElement { length })?.set(rest, leaf)
            }
            (Value::List(_), Err(_)) => {
                Err(What::NotWithin("table; put the number of the element before the key, as in `source.0.qos`"))
            }
            (Value::Table(table), _) => {
                let entry = Entry { key: leaf.origin.clone(), node: next(rest) };
                table.entry((*head).to_owned()).or_insert(entry).node.set(rest, leaf)
            }
            (_, Ok(_)) => Err(What::NotWithin("list; set the whole value instead")),
            (_, Err(_)) => Err(What::NotWithin("table; set the whole value instead")),
        }
    }

    /// Calls `visit` for each value that is no table and no list of tables, with its key.
    pub(super) fn leaves<'a>(&'a self, key: &str, visit: &mut impl FnMut(&str, &'a Node)) {
        match &self.value {
            Value::Table(table) => {
                for (name, entry) in table {
                    entry.node.leaves(&join(key, name), visit);
                }
            }
            Value::List(elements) if elements.iter().any(|element| matches!(element.value, Value::Table(_))) => {
                for (index, element) in elements.iter().enumerate() {
                    element.leaves(&join(key, &index.to_string()), visit);
                }
            }
            _ => visit(key, self),
        }
    }

    /// The value as it would be written, with `***` for secrets.
    pub(super) fn shown(&self) -> String {
        if self.secret {
            return secret::HIDDEN.to_owned();
        }
        match &self.value {
            Value::Text(text) => toml::Value::from(text.as_str()).to_string(),
            Value::Words(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Datetime(text) => text.clone(),
            Value::List(elements) => {
                let elements: Vec<String> = elements.iter().map(Node::shown).collect();
                format!("[{}]", elements.join(", "))
            }
            Value::Table(_) => "{…}".to_owned(),
            Value::Broken => "?".to_owned(),
        }
    }
}

/// A key within a key.
pub(super) fn join(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
}
