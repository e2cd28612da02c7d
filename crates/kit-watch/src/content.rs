//! What stands at a path, small enough to keep and compare.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::path::Path;

/// A fingerprint. Two contents are equal when length and a 64-bit hash are; nobody gains by forging one, since whoever
/// can write the file already decides its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Absent,
    Unreadable(io::ErrorKind),
    File { length: u64, hash: u64 },
    Folder { hash: u64 },
}

impl Content {
    pub(crate) fn at(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => folder(path),
            Ok(_) => file(path),
            Err(error) => Self::from_error(&error),
        }
    }

    fn from_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Absent,
            kind => Self::Unreadable(kind),
        }
    }

    fn feed(&self, hasher: &mut DefaultHasher) {
        match self {
            Self::Absent => hasher.write_u8(0),
            Self::Unreadable(_) => hasher.write_u8(1),
            Self::File { length, hash } => {
                hasher.write_u64(*length);
                hasher.write_u64(*hash);
            }
            Self::Folder { hash } => hasher.write_u64(*hash),
        }
    }
}

fn file(path: &Path) -> Content {
    let read = || -> io::Result<Content> {
        let mut file = fs::File::open(path)?;
        let mut hasher = DefaultHasher::new();
        let mut chunk = [0_u8; 8192];
        let mut length = 0;
        loop {
            match file.read(&mut chunk) {
                Ok(0) => return Ok(Content::File { length, hash: hasher.finish() }),
                Ok(count) => {
                    hasher.write(&chunk[..count]);
                    length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    read().unwrap_or_else(|error| Content::from_error(&error))
}

fn folder(path: &Path) -> Content {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return Content::from_error(&error),
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.retain(|name| !name.as_encoded_bytes().starts_with(b".."));
    names.sort();
    let mut hasher = DefaultHasher::new();
    for name in names {
        hasher.write(name.as_encoded_bytes());
        hasher.write_u8(0);
        let entry = path.join(&name);
        let content = match fs::metadata(&entry) {
            Ok(metadata) if metadata.is_dir() => inner_folder(&entry),
            Ok(_) => file(&entry),
            Err(error) => Content::from_error(&error),
        };
        content.feed(&mut hasher);
    }
    Content::Folder { hash: hasher.finish() }
}

/// A folder inside a watched folder counts with its files, but no deeper: `certs/<name>/tls.crt` is the deepest layout
/// that a pod has, and a symlink loop must not hold the watcher.
fn inner_folder(path: &Path) -> Content {
    let Ok(entries) = fs::read_dir(path) else { return Content::Absent };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for entry in files {
        hasher.write(entry.as_os_str().as_encoded_bytes());
        file(&entry).feed(&mut hasher);
    }
    Content::Folder { hash: hasher.finish() }
}
