//! One inotify descriptor for everything: directories by name, open files by inode.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::identity::{Facts, Identity};

/// What happened in a watched directory or to a watched file.
#[derive(Debug)]
pub(crate) enum Change {
    /// A watched file was written or truncated.
    Written(i32),
    /// A name in a watched directory.
    Name { watch: i32, name: OsString, what: What },
    /// A watched directory was moved or deleted; its watch is gone.
    DirectoryGone(i32),
    /// The kernel dropped events.
    Overflow,
}

/// What happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Made, or became readable.
    Created,
    /// Renamed away; the cookie ties it to the other half.
    MovedFrom(u32),
    /// Renamed to this name.
    MovedTo(u32),
    /// Deleted.
    Deleted,
    /// Its mode or owner changed.
    Attributes,
}

/// Bytes of events that are read at once.
const EVENT_BYTES: usize = 4096;
/// An event with the longest name.
const LONGEST_EVENT: usize = 16 + 256;

/// The one inotify descriptor.
pub(crate) struct Watcher {
    descriptor: AsyncFd<OwnedFd>,
    buffer: Box<[MaybeUninit<u8>; EVENT_BYTES]>,
    /// Which directory each path led to when it was watched.
    directories: HashMap<PathBuf, (i32, Identity)>,
}

impl Watcher {
    pub(crate) fn new() -> io::Result<Self> {
        let descriptor = rustix::fs::inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let descriptor = crate::output::registered(descriptor, tokio::io::Interest::READABLE)?;
        Ok(Self { descriptor, buffer: Box::new([MaybeUninit::uninit(); EVENT_BYTES]), directories: HashMap::new() })
    }

    /// Watches the names in a directory. Watching one again costs nothing and gives the same number.
    pub(crate) fn directory(&mut self, path: &Path) -> io::Result<i32> {
        let shown = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let identity = Facts::at(shown)?.identity;
        if let Some((watch, watched)) = self.directories.get(path)
            && watched.same(identity)
        {
            return Ok(*watch);
        }
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let watch = rustix::fs::inotify::add_watch(self.descriptor.get_ref(), shown, flags)?;
        self.directories.insert(path.to_owned(), (watch, identity));
        Ok(watch)
    }

    /// Watches the content of an open file. Through the descriptor, so that it cannot be another file by now.
    pub(crate) fn file(&mut self, file: impl AsFd) -> io::Result<i32> {
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        Ok(rustix::fs::inotify::add_watch(self.descriptor.get_ref(), path.as_str(), WatchFlags::MODIFY)?)
    }

    /// Watches a file no longer.
    pub(crate) fn forget_file(&mut self, watch: i32) {
        // The watch of a deleted file is gone already.
        let _ = rustix::fs::inotify::remove_watch(self.descriptor.get_ref(), watch);
    }

    /// Forgets a directory whose path leads elsewhere now, so that the next [`Self::directory`] watches anew.
    pub(crate) fn forget_directory(&mut self, watch: i32) {
        self.directories.retain(|_, (other, _)| *other != watch);
        let _ = rustix::fs::inotify::remove_watch(self.descriptor.get_ref(), watch);
    }

    /// Returns when there are events.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        // The readiness stays set; `drain` clears it when it has read the last event.
        self.descriptor.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// Takes the events that are there now, without waiting.
    pub(crate) fn drain(&mut self, changes: &mut Vec<Change>) -> io::Result<()> {
        let mut reader = Reader::new(self.descriptor.get_ref(), &mut self.buffer[..]);
        let mut taken = 0;
        loop {
            match reader.next() {
                Ok(event) => {
                    changes.extend(change(&event));
                    taken += 1;
                    // A read that left room for one more event has taken them all.
                    if reader.is_buffer_empty() && std::mem::take(&mut taken) < EVENT_BYTES / LONGEST_EVENT {
                        break;
                    }
                }
                Err(rustix::io::Errno::WOULDBLOCK) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Only the runtime's own thread sets the readiness, so nothing can have been set since the last read.
        if let Poll::Ready(guard) = self.descriptor.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
            guard?.clear_ready();
        }
        for change in changes.iter() {
            if let Change::DirectoryGone(watch) = change {
                self.directories.retain(|_, (other, _)| other != watch);
            }
        }
        Ok(())
    }
}

fn change(event: &rustix::fs::inotify::Event<'_>) -> Option<Change> {
    let (flags, watch) = (event.events(), event.wd());
    if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Change::Overflow);
    }
    if flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF) {
        return Some(Change::DirectoryGone(watch));
    }
    let Some(name) = event.file_name() else {
        return flags.contains(ReadFlags::MODIFY).then_some(Change::Written(watch));
    };
    let what = if flags.contains(ReadFlags::MOVED_FROM) {
        What::MovedFrom(event.cookie())
    } else if flags.contains(ReadFlags::MOVED_TO) {
        What::MovedTo(event.cookie())
    } else if flags.contains(ReadFlags::DELETE) {
        What::Deleted
    } else if flags.contains(ReadFlags::CREATE) {
        What::Created
    } else {
        What::Attributes
    };
    Some(Change::Name { watch, name: OsStr::from_bytes(name.to_bytes()).to_owned(), what })
}

/// Whether a file system tells no events of writes made elsewhere: network and FUSE file systems.
pub(crate) fn is_remote(path: &Path) -> bool {
    const REMOTE: &[u64] = &[
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x6573_5546,
        0x0102_1997,
        0x00C3_6400,
        0x5346_414F,
        0x0BD0_0BD0,
        0x7461_636F,
        0x4750_4653,
        0x6162_6F72,
        0x0116_1970,
    ];
    let shown = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    #[expect(
        clippy::cast_sign_loss,
        clippy::useless_conversion,
        reason = "the magic is a bit pattern whose type differs by architecture"
    )]
    rustix::fs::statfs(shown).is_ok_and(|found| REMOTE.contains(&(u64::from(found.f_type as u64) & 0xFFFF_FFFF)))
}

/// The places where a change can make `path` lead to another file: its own name, and every symlink on the way.
///
/// Each is a directory and a name in it. The last one is the name of the file itself, once symlinks are resolved.
pub(crate) fn name_places(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut places = Vec::new();
    let mut todo: Vec<OsString> = path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    let mut at = PathBuf::new();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == ".." || part == "." || part == "/" {
            at.push(&part);
            continue;
        }
        let next = at.join(&part);
        match std::fs::read_link(&next) {
            // The kernel gives up after 40 links too.
            Ok(target) if links < 40 => {
                links += 1;
                places.push((at.clone(), part));
                todo.extend(target.components().rev().map(|part| part.as_os_str().to_owned()));
                if target.is_absolute() {
                    at = PathBuf::new();
                }
            }
            _ => {
                if todo.is_empty() {
                    places.push((at.clone(), part));
                }
                at = next;
            }
        }
    }
    places
}

/// The nearest ancestor that exists, and the name in it that must appear first.
pub(crate) fn nearest_ancestor(directory: &Path) -> Option<(PathBuf, OsString)> {
    let mut missing = directory;
    while let Some(parent) = missing.parent() {
        let shown = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if shown.is_dir() {
            return Some((parent.to_owned(), missing.file_name()?.to_owned()));
        }
        missing = parent;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_symlink_on_the_way_is_a_place() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("..2026")).unwrap();
        std::fs::write(root.join("..2026/app.log"), "").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/app.log", root.join("app.log")).unwrap();
        let shown: Vec<String> = name_places(&root.join("app.log"))
            .into_iter()
            .map(|(folder, name)| format!("{}|{}", folder.strip_prefix(&root).unwrap().display(), name.display()))
            .collect();
        assert_eq!(shown, ["|app.log", "|..data", "..2026|app.log"]);
    }

    #[test]
    fn a_symlink_loop_ends() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert_eq!(name_places(&dir.path().join("a")).len(), 41);
    }

    #[test]
    fn the_first_missing_folder_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (parent, name) = nearest_ancestor(&dir.path().join("x/y/z")).unwrap();
        assert_eq!((parent.as_path(), name.as_os_str()), (dir.path(), OsStr::new("x")));
    }
}
