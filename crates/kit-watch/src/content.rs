//! What stands at a path, small enough to keep and compare.

use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More than any certificate, key set or configuration has. A log beside them must not be read whole again and again.
const MOST: u64 = 8 << 20;

/// A fingerprint. Two contents are equal when length and a 64-bit hash are; nobody gains by forging one, since whoever
/// can write the file already decides its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Absent,
    Unreadable(io::ErrorKind),
    /// A pipe or a device: reading it takes something away, waits, or never ends.
    Special,
    File {
        length: u64,
        hash: u64,
    },
    Folder {
        hash: u64,
    },
}

impl Content {
    pub(crate) fn at(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => folder(path),
            Ok(metadata) => file(path, &metadata),
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
            Self::Special => hasher.write_u8(2),
            Self::File { length, hash } => {
                hasher.write_u64(*length);
                hasher.write_u64(*hash);
            }
            Self::Folder { hash } => hasher.write_u64(*hash),
        }
    }
}

fn file(path: &Path, metadata: &Metadata) -> Content {
    if !metadata.is_file() {
        return Content::Special;
    }
    let read = || -> io::Result<Content> {
        let mut file = fs::File::open(path)?.take(MOST);
        let mut hasher = DefaultHasher::new();
        let mut chunk = [0_u8; 8192];
        let mut length = 0;
        loop {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.write(&chunk[..count]);
                    length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if length == MOST {
            (metadata.len(), metadata.modified().ok()).hash(&mut hasher);
        }
        Ok(Content::File { length, hash: hasher.finish() })
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
            Ok(metadata) => file(&entry, &metadata),
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
    let with_metadata = |path: PathBuf| fs::metadata(&path).ok().filter(Metadata::is_file).map(|facts| (path, facts));
    let mut files: Vec<_> = entries.flatten().filter_map(|entry| with_metadata(entry.path())).collect();
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut hasher = DefaultHasher::new();
    for (entry, metadata) in files {
        hasher.write(entry.as_os_str().as_encoded_bytes());
        file(&entry, &metadata).feed(&mut hasher);
    }
    Content::Folder { hash: hasher.finish() }
}
