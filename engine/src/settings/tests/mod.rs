//! Tests of the configuration, from text to settings and problems.

mod facts;
mod fuzz;
mod layers;
mod mistakes;
mod problems;
mod sample;
mod secrets;
mod valid;

use std::{ffi::OsString, fs};

use super::{Host, Layers, Loaded, Problem, load};

/// The least that is valid.
pub(super) const LEAST: &str = r#"[[source]]
name = "harbour"
url = "mqtt://broker"
[kafka]
brokers = "kafka:9092"
[[route]]
from = "ais/#"
topic = "ais"
"#;

/// A machine with four cores, of which core 3 is not ours.
pub(super) fn host() -> Host {
    Host { name: "quay".to_owned(), cores: vec![0, 1, 2], parallelism: 2, state: "/state/fairlead".into() }
}

/// Where a configuration of a test comes from.
#[derive(Default)]
pub(super) struct Given<'a> {
    pub(super) files: &'a [&'a str],
    pub(super) environment: &'a [(&'a str, &'a str)],
    pub(super) flags: &'a [(&'a str, &'a str)],
}

impl Given<'_> {
    /// Loads it. The files are named `1.toml`, `2.toml` and so on in every text.
    pub(super) fn load(&self) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let mut layers = Layers::default();
        for (index, text) in self.files.iter().enumerate() {
            let file = folder.path().join(format!("{}.toml", index + 1));
            fs::write(&file, text).unwrap();
            layers.files.push(file);
        }
        let owned = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
        layers.environment =
            self.environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        layers.flags = self.flags.iter().map(owned).collect();
        let mut loaded = load(&layers, &host());
        let prefix = format!("{}/", folder.path().display());
        let shorten = |problems: &mut Vec<Problem>| {
            for problem in problems {
                problem.text = problem.text.replace(&prefix, "");
                shorten_origin(&mut problem.origin, &prefix);
            }
        };
        shorten(&mut loaded.problems);
        shorten(&mut loaded.notes);
        loaded.values.iter_mut().for_each(|shown| shorten_origin(&mut shown.origin, &prefix));
        loaded
    }
}

fn shorten_origin(origin: &mut super::Origin, prefix: &str) {
    if let super::Origin::File { file, .. } = origin {
        *file = file.replace(prefix, "").into();
    }
}

/// Loads one file.
pub(super) fn one(text: &str) -> Loaded {
    Given { files: &[text], ..Given::default() }.load()
}

/// The problems as they are printed.
pub(super) fn problems(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(Problem::to_string).collect()
}

/// The least valid configuration with a line in a section; it takes the place of the line that sets the same key.
/// Returns the text and the number of the line.
pub(super) fn with(section: &str, line: &str) -> (String, usize) {
    let mut lines: Vec<&str> = LEAST.lines().collect();
    if !lines.contains(&section) {
        lines.push(section);
    }
    let header = lines.iter().position(|one| *one == section).unwrap();
    let key = line.split('=').next().unwrap().trim();
    let end = lines[header + 1..].iter().position(|one| one.starts_with('[')).map_or(lines.len(), |at| header + 1 + at);
    let present = (header + 1..end).find(|&at| lines[at].split('=').next().unwrap().trim() == key);
    let at = match present {
        Some(at) => {
            lines[at] = line;
            at
        }
        None => {
            lines.insert(end, line);
            end
        }
    };
    (lines.join("\n") + "\n", at + 1)
}
