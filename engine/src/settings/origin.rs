//! Where a value comes from.

use std::{fmt, sync::Arc};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the default holds.
    Default,
    /// In a file.
    File {
        /// The file, as it was named on the command line.
        file: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In an environment variable, by its name.
    Environment(Arc<str>),
    /// In a `--set`, by its key.
    Flag(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(key) => write!(f, "--set {key}"),
        }
    }
}

/// Finds line and column of a byte of a file's text.
pub(super) struct Lines<'a> {
    file: Arc<str>,
    text: &'a str,
    /// Where each line starts.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: Arc<str>, text: &'a str) -> Lines<'a> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Lines { file, text, starts }
    }

    /// The place of a byte; one past the end is the end, one within a character is its start.
    pub(super) fn place(&self, byte: usize) -> Origin {
        let byte = self.text.floor_char_boundary(byte);
        let line = self.starts.partition_point(|&start| start <= byte);
        let column = self.text[self.starts[line - 1]..byte].chars().count() + 1;
        Origin::File { file: Arc::clone(&self.file), line, column }
    }
}
