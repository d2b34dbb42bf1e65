//! The file of one session: its name, its content, and how it is replaced so that a crash leaves the old or the new.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Largest file that is read, bytes; a larger one is damaged.
const MAX_BYTES: u64 = 64 << 20;
/// Longest part of a path, bytes; file systems allow 255.
const MAX_PART: usize = 200;
const EXTENSION: &str = ".json";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) client_id: String,
    /// The source's first URL.
    pub(super) url: String,
    /// The URL of the broker that is known to have granted every filter.
    pub(super) granted_by: Option<String>,
    /// Whether the packet identifiers of QoS 2 are kept in the spool; left out by versions that kept none.
    #[serde(default)]
    pub(super) ids_kept: Option<bool>,
    pub(super) filters: Vec<Remembered>,
}

/// A filter that may be subscribed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    pub(super) filter: String,
    pub(super) qos: u8,
    /// Subscription Identifier.
    pub(super) id: Option<u32>,
}

/// Where the file of a session is. Letters, digits, `-`, `_` and `.` stand for themselves and other bytes are escaped, so
/// different sessions have different files; a name that is too long for one part of a path becomes several.
pub(super) fn path(folder: &Path, client_id: &str, url: &str) -> PathBuf {
    let mut name = String::new();
    escape(client_id, &mut name);
    name.push('@');
    escape(url, &mut name);
    let mut path = folder.to_owned();
    let mut rest = name.as_str();
    while rest.len() > MAX_PART {
        let (part, after) = rest.split_at(MAX_PART);
        // No file ends like this.
        path.push(format!("{part}+"));
        rest = after;
    }
    path.push(format!("{rest}{EXTENSION}"));
    path
}

fn escape(text: &str, name: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Reads a file; `None` where there is none.
///
/// # Errors
/// What the system says, or that it is not such a file.
pub(super) fn read(path: &Path) -> io::Result<Option<Record>> {
    let file = match File::open(path) {
        Ok(file) => file,
        // A folder that is none is told of when it is written to.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than Fairlead writes"));
    }
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Replaces the file: whatever happens, the old or the new is there.
///
/// # Errors
/// What the system says.
pub(super) fn write(path: &Path, record: &Record) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut text = serde_json::to_vec_pretty(record)?;
    text.push(b'\n');
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The name is durable with its folder.
    File::open(folder)?.sync_all()
}

/// Removes the file, if there is one.
///
/// # Errors
/// What the system says.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
