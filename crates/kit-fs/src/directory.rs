//! What a directory holds.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{AtFlags, Dir, FileType, Stat};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink, not followed.
    Symlink,
    /// A device, FIFO or socket.
    Special,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name; never `.` or `..`.
    pub name: OsString,
    /// What it is, symlinks not followed.
    pub kind: Kind,
}

pub(crate) fn kind_of(stat: &Stat) -> Kind {
    kind(FileType::from_raw_mode(stat.st_mode))
}

fn kind(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Special,
    }
}

/// Sorted by name, so that runs and their errors repeat.
pub(crate) fn entries(directory: OwnedFd) -> rustix::io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let file_type = match entry.file_type() {
            // Some file systems do not say it in the listing.
            FileType::Unknown => {
                FileType::from_raw_mode(rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
            }
            known => known,
        };
        found.push(Entry { name: OsString::from_vec(name.to_bytes().to_vec()), kind: kind(file_type) });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
