//! TOML files, and the names of those that exist.

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use std::fs;
use std::path::Path;

/// Reads a file; the error has its path and the place in it.
pub(crate) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not as it should be", path.display()))
}

/// Fails with the names that do exist in `folder`, where `name` does not.
pub(crate) fn unknown<T>(what: &str, name: &str, folder: &Path) -> Result<T> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    bail!("there is no {what} {name}; there are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_lists_those_that_exist() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", ".hidden"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let error = unknown::<()>("scenario", "c", folder.path()).unwrap_err().to_string();
        assert_eq!(error, "there is no scenario c; there are a, b");
    }

    #[test]
    fn a_file_that_is_no_toml_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        fs::write(&path, "a = ").unwrap();
        let error = read_toml::<toml::Table>(&path).unwrap_err();
        assert!(error.to_string().contains("x.toml"), "{error:#}");
    }
}
