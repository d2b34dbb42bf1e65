//! The layers of a configuration, each over the one before: defaults, files, environment, flags.
//!
//! Keys are addressed with dots in a flag (`--set kafka.brokers=…`, `--set source.0.qos=2`) and with double underscores
//! in the environment (`FAIRLEAD__KAFKA__BROKERS`, `FAIRLEAD__SOURCE__0__QOS`). Elements of lists are counted from 0, and
//! the number after the last adds one. A librdkafka property is one key: `--set kafka.properties.compression.type=lz4`,
//! `FAIRLEAD__KAFKA__PROPERTIES__COMPRESSION_TYPE=lz4`.

use std::{collections::HashMap, ffi::OsString, path::PathBuf, sync::Arc};

use super::{
    Origin, document, file,
    node::{Node, Value},
    problem::{Log, What},
    secret,
};

/// What begins the name of an environment variable that is a setting.
pub const ENVIRONMENT_PREFIX: &str = "FAIRLEAD__";
/// Deepest key that can be addressed; the deepest there is has four names.
const MAX_DEPTH: usize = 8;

/// What a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Texts that are in no file, each with the name that it has in messages; below the files.
    pub texts: Vec<(String, String)>,
    /// Files; a later one wins. Tables are merged key by key, lists (so all the sources, all the routes) replaced.
    pub files: Vec<PathBuf>,
    /// The environment of the process: settings under [`ENVIRONMENT_PREFIX`], and what `${env:NAME}` names.
    pub environment: Vec<(OsString, OsString)>,
    /// Keys and values of `--set`; a later one wins.
    pub flags: Vec<(String, String)>,
}

impl Layers {
    /// The merged tree, secrets in place and defaults filled in.
    pub(super) fn read(&self, log: &mut Log) -> Node {
        let mut root = Node::empty(Origin::Default);
        for (name, text) in &self.texts {
            root.merge(document::parse(&name.as_str().into(), text, log));
        }
        for file in &self.files {
            root.merge(document::read(file, log));
        }
        self.set_environment(&mut root, log);
        for (key, value) in &self.flags {
            let origin = Origin::Flag(key.as_str().into());
            set(&mut root, &key.split('.').collect::<Vec<_>>(), value, &origin, log);
        }
        let environment: HashMap<&str, &str> =
            self.environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?))).collect();
        secret::expand(&mut root, &environment, log);
        fill(&mut root);
        root
    }

    fn set_environment(&self, root: &mut Node, log: &Log) {
        let mut variables: Vec<(Vec<String>, &OsString, Arc<str>)> = Vec::new();
        for (name, value) in &self.environment {
            let name = name.to_string_lossy();
            let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let mut path: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
            if let [kafka, properties, property @ ..] = &mut path[..]
                && kafka == "kafka"
                && properties == "properties"
            {
                property.iter_mut().for_each(|name| *name = name.replace('_', "."));
            }
            variables.push((path, value, name.into()));
        }
        // Elements of lists by their number, so that 10 comes after 9.
        variables.sort_by_cached_key(|(path, ..)| {
            path.iter().map(|name| (name.parse().unwrap_or(usize::MAX), name.clone())).collect::<Vec<_>>()
        });
        for (path, value, name) in variables {
            let origin = Origin::Environment(name);
            match value.to_str() {
                Some(value) => set(root, &path.iter().map(String::as_str).collect::<Vec<_>>(), value, &origin, log),
                None => log.problem(&origin, &path.join("."), &What::VariableNotUtf8),
            }
        }
    }
}

/// Sets one value of the environment or of a flag.
fn set(root: &mut Node, path: &[&str], value: &str, origin: &Origin, log: &Log) {
    let property;
    let path = match path {
        ["kafka", "properties", name @ ..] if !name.is_empty() => {
            property = name.join(".");
            &["kafka", "properties", property.as_str()][..]
        }
        path => path,
    };
    let leaf = Node::new(Value::Words(value.to_owned()), origin.clone());
    let is_key = path.len() <= MAX_DEPTH && path.iter().all(|name| !name.is_empty());
    let result = if is_key { root.set(path, leaf) } else { Err(What::NoKey) };
    if let Err(what) = result {
        log.problem(origin, &path.join("."), &what);
    }
}

/// The tree of the defaults.
pub(super) fn defaults() -> Node {
    let mut defaults = document::parse(&"defaults".into(), file::DEFAULTS, &Log::default());
    defaults.forget_places();
    defaults
}

/// Fills in the defaults. Where no source and no route is written, there is no element to fill.
fn fill(root: &mut Node) {
    let (Value::Table(sections), Value::Table(defaults)) = (&mut root.value, defaults().value) else { return };
    for (name, default) in defaults {
        match sections.get_mut(&name) {
            Some(section) => section.node.fill(&default.node),
            None if matches!(name.as_str(), "source" | "route") => {}
            None => drop(sections.insert(name, default)),
        }
    }
}
