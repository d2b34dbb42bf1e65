//! Files that are either complete or absent: written beside their place, then renamed into it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file of results could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The disk is full, the folder is missing or not writable.
    #[error("cannot write {path}: {cause}; free some space or choose another place")]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is missing or not readable.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file that was to be read.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is not what it was taken for.
    #[error("{path} is not a {kind}: {cause}")]
    Format {
        /// The file that was read.
        path: PathBuf,
        /// What it should have been.
        kind: &'static str,
        /// Where it differs.
        cause: serde_json::Error,
    },
}

/// Whether [`write_json`] could write there now: better known before a long run than after it.
///
/// # Errors
/// As [`write_json`].
pub fn check(path: &Path) -> Result<(), OutputError> {
    let partial = partial(path);
    fs::write(&partial, "\n").and_then(|()| fs::remove_file(&partial)).map_err(|cause| failed(path, cause))
}

/// Writes `value` as JSON; a reader sees the old file or the new one, never a part.
///
/// # Errors
/// [`OutputError::Write`] with the path and the cause; the temporary file is removed.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), OutputError> {
    let mut text = serde_json::to_string(value).expect("results are plain data with text keys");
    text.push('\n');
    write_text(path, &text)
}

/// Writes a text in the same way.
///
/// # Errors
/// As [`write_json`].
pub fn write_text(path: &Path, text: &str) -> Result<(), OutputError> {
    let partial = partial(path);
    fs::write(&partial, text).and_then(|()| fs::rename(&partial, path)).map_err(|cause| failed(path, cause))
}

fn partial(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    PathBuf::from(partial)
}

fn failed(path: &Path, cause: io::Error) -> OutputError {
    // It may not exist at all; the first error is the one worth telling.
    let _ = fs::remove_file(partial(path));
    OutputError::Write { path: path.to_owned(), cause }
}

/// Reads what [`write_json`] wrote; `kind` names the file for the error.
///
/// # Errors
/// [`OutputError::Read`] or [`OutputError::Format`].
pub fn read_json<T: DeserializeOwned>(path: &Path, kind: &'static str) -> Result<T, OutputError> {
    let text = fs::read(path).map_err(|cause| OutputError::Read { path: path.to_owned(), cause })?;
    serde_json::from_slice(&text).map_err(|cause| OutputError::Format { path: path.to_owned(), kind, cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_and_leaves_nothing_behind() {
        // The kernel's own full disk.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        std::os::unix::fs::symlink("/dev/full", folder.path().join("result.json.partial")).unwrap();
        let error = write_json(&path, &[1, 2, 3]).unwrap_err().to_string();
        assert!(error.contains("result.json") && error.contains("No space left"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        std::os::unix::fs::symlink("/dev/full", folder.path().join("result.json.partial")).unwrap();
        assert_eq!(check(&path).unwrap_err().to_string(), error, "before a run as after it");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        check(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_json(&path, &vec![1_u8, 2]).unwrap();
        write_json(&path, &vec![3_u8]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path, "list").unwrap(), vec![3]);
        let error = read_json::<bool>(&path, "truth").unwrap_err().to_string();
        assert!(error.contains("is not a truth"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
