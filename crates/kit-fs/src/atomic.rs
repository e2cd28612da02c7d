//! Replaces a file or a symlink in one step.
//!
//! The temporary name is derived from the target's, so that the next write finds what a killed one left. Who writes
//! holds a lock (flock) on its temporary file: a leftover is unlocked and is removed, a living writer's is left alone
//! and the next of [`SLOTS`] names is taken.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::content::Content;
use crate::directory::{Kind, kind_of};
use crate::error::Error;
use crate::place::{Change, Owner};

/// How many processes can write one target at a time before the next one waits.
const SLOTS: u8 = 4;

/// How often a writer that finds all slots taken looks again, [`BUSY_PAUSE`] apart: 10 s in all.
const BUSY_TRIES: u32 = 500;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Longest file name of Linux file systems, in bytes.
const MAX_NAME: usize = 255;

/// How a written file is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: ModeRule,
    /// Who owns it; `None`: a new file belongs to whoever runs this, and the owner is not compared.
    pub owner: Option<Owner>,
}

impl Attributes {
    pub(crate) fn exact_mode(&self) -> Option<u32> {
        match self.mode {
            ModeRule::Exactly(mode) => Some(mode),
            ModeRule::KeepOr(_) => None,
        }
    }
}

/// Which permission bits (up to 0o7777) a file gets, whatever the umask says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModeRule {
    /// These.
    Exactly(u32),
    /// Those of the file that is replaced, or these when there is none.
    KeepOr(u32),
}

pub(crate) fn write(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
    content: &Content<'_>,
    attributes: &Attributes,
) -> Result<Change, Error> {
    let failed = |action| move |cause: Errno| Error::system(action, path, cause);
    let existing = existing(directory, name).map_err(failed("look at"))?;
    if existing.as_ref().is_some_and(|stat| kind_of(stat) == Kind::Directory) {
        return Err(failed("write")(Errno::ISDIR));
    }
    spare_special(existing.as_ref(), "write", path)?;
    let file = existing.filter(|stat| kind_of(stat) == Kind::File);
    let kept = file.as_ref().map(|stat| stat.st_mode & 0o7777);
    let mode = match attributes.mode {
        ModeRule::Exactly(mode) => mode,
        ModeRule::KeepOr(default) => kept.unwrap_or(default),
    };
    let dressed =
        kept == Some(mode) && attributes.owner.is_none_or(|owner| file.as_ref().is_some_and(|stat| owner.is_of(stat)));
    // A leftover is removed even when there is nothing to write.
    let temporary = Temporary::names(name);
    if dressed && is_in(content, directory, name, path)? {
        temporary.remove_leftovers(directory);
        return Ok(Change::Unchanged);
    }
    let mut temporary = temporary.create(directory).map_err(failed("make a temporary file beside"))?;
    content.write_to(&mut temporary.file).map_err(|cause| Error::system("write", path, cause))?;
    let change_mode =
        || rustix::fs::fchmod(&temporary.file, Mode::from_raw_mode(mode)).map_err(failed("change the mode of"));
    // Mode first: root with the capability CHOWN alone may not change the mode of what it has given away.
    change_mode()?;
    if let Some(owner) = attributes.owner {
        let stat = rustix::fs::fstat(&temporary.file).map_err(failed("look at"))?;
        if !owner.is_of(&stat) {
            rustix::fs::fchown(&temporary.file, Some(owner.uid()), owner.gid())
                .map_err(failed("change the owner of"))?;
            // chown(2) clears set-ID bits.
            if mode & 0o6000 != 0 {
                change_mode()?;
            }
        }
    }
    rustix::fs::fsync(&temporary.file).map_err(failed("write"))?;
    temporary.publish(name).map_err(failed("replace"))?;
    sync_directory(directory).map_err(failed("sync the directory of"))?;
    Ok(Change::Changed)
}

/// A device is no file that could be replaced: `date /dev/full` would leave a regular file under that name.
fn spare_special(existing: Option<&Stat>, action: &'static str, path: &Path) -> Result<(), Error> {
    match existing {
        Some(stat) if kind_of(stat) == Kind::Special => {
            Err(Error::system(action, path, io::Error::other("a device, FIFO or socket stands there")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn link(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
    target: &Path,
    owner: Option<Owner>,
) -> Result<Change, Error> {
    let failed = |action| move |cause: Errno| Error::system(action, path, cause);
    let existing = existing(directory, name).map_err(failed("look at"))?;
    if let Some(stat) = &existing {
        if kind_of(stat) == Kind::Directory {
            return Err(failed("make the symlink")(Errno::ISDIR));
        }
        spare_special(Some(stat), "make the symlink", path)?;
        let same = kind_of(stat) == Kind::Symlink
            && owner.is_none_or(|owner| owner.is_of(stat))
            && rustix::fs::readlinkat(directory, name, Vec::new())
                .is_ok_and(|held| held.as_bytes() == target.as_os_str().as_bytes());
        if same {
            return Ok(Change::Unchanged);
        }
    }
    // A symlink cannot be locked. Two processes that make one link at a time may take each other's temporary one:
    // each of them is whole, and the one that finds it gone starts again.
    let temporary = temporary_name(name, "link");
    for _ in 0..BUSY_TRIES {
        match rustix::fs::symlinkat(target, directory, &temporary) {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(directory, &temporary, AtFlags::empty())
                    .or_else(missing_is_fine)
                    .map_err(failed("remove the leftover temporary link beside"))?;
                continue;
            }
            other => other.map_err(failed("make the symlink"))?,
        }
        let outcome = match owner {
            Some(owner) => {
                rustix::fs::chownat(directory, &temporary, Some(owner.uid()), owner.gid(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|cause| (cause, "change the owner of"))
            }
            None => Ok(()),
        }
        .and_then(|()| rustix::fs::renameat(directory, &temporary, directory, name).map_err(|c| (c, "replace")));
        match outcome {
            Ok(()) => {
                sync_directory(directory).map_err(failed("sync the directory of"))?;
                return Ok(Change::Changed);
            }
            Err((Errno::NOENT, _)) => {}
            Err((cause, action)) => {
                let _ = rustix::fs::unlinkat(directory, &temporary, AtFlags::empty());
                return Err(failed(action)(cause));
            }
        }
    }
    Err(failed("make the symlink")(Errno::BUSY))
}

/// The rename itself lives in the directory; without this a power cut can undo it.
pub(crate) fn sync_directory(directory: BorrowedFd<'_>) -> rustix::io::Result<()> {
    match rustix::fs::fsync(directory) {
        // Some network file systems cannot sync a directory; there is nothing better to ask of them.
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::BADF) => Ok(()),
        other => other,
    }
}

fn existing(directory: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// An unreadable target is simply replaced; an unreadable source is an error.
fn is_in(content: &Content<'_>, directory: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<bool, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => content.is_in(&File::from(file)).map_err(|cause| Error::system("compare", path, cause)),
        Err(_) => Ok(false),
    }
}

fn missing_is_fine(cause: Errno) -> rustix::io::Result<()> {
    if cause == Errno::NOENT { Ok(()) } else { Err(cause) }
}

/// `.NAME.podkit-SUFFIX`, hidden as shells and file servers understand it; a long name is cut and told apart by a hash.
fn temporary_name(name: &OsStr, suffix: &str) -> OsString {
    let ending = format!(".podkit-{suffix}");
    let bytes = name.as_bytes();
    let mut result = vec![b'.'];
    if bytes.len() + 1 + ending.len() <= MAX_NAME {
        result.extend_from_slice(bytes);
    } else {
        let hash = format!("{:016x}", fnv1a(bytes));
        result.extend_from_slice(&bytes[..MAX_NAME - 1 - ending.len() - hash.len()]);
        result.extend_from_slice(hash.as_bytes());
    }
    result.extend_from_slice(ending.as_bytes());
    OsString::from_vec(result)
}

/// The same in every build and on every machine, which std's hashers do not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The names a temporary file of one target can have.
struct Temporary(Vec<OsString>);

impl Temporary {
    fn names(target: &OsStr) -> Self {
        Self((0..SLOTS).map(|slot| temporary_name(target, &format!("tmp{slot}"))).collect())
    }

    fn remove_leftovers(&self, directory: BorrowedFd<'_>) {
        for name in &self.0 {
            let _ = clear(directory, name);
        }
    }

    /// Clears every name of leftovers and makes a locked file under the first one that is free.
    fn create<'a>(&self, directory: BorrowedFd<'a>) -> rustix::io::Result<Locked<'a>> {
        for _ in 0..BUSY_TRIES {
            let mut created = None;
            for name in &self.0 {
                match clear(directory, name) {
                    Ok(()) if created.is_none() => created = Locked::create(directory, name)?,
                    Ok(()) | Err(Errno::WOULDBLOCK) => {}
                    Err(cause) => return Err(cause),
                }
            }
            if let Some(locked) = created {
                return Ok(locked);
            }
            std::thread::sleep(BUSY_PAUSE);
        }
        Err(Errno::BUSY)
    }
}

/// Removes a leftover; `WOULDBLOCK` when its writer lives.
fn clear(directory: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(leftover) => {
            lock(leftover.as_fd())?;
            // Its writer may have published it between the open and the lock, and another may have made a new one.
            if !is_named(directory, name, leftover.as_fd())? {
                return Err(Errno::WOULDBLOCK);
            }
            return rustix::fs::unlinkat(directory, name, AtFlags::empty()).or_else(missing_is_fine);
        }
        Err(Errno::NOENT) => return Ok(()),
        // A symlink, or of another user: no writer of ours holds it.
        Err(_) => {}
    }
    rustix::fs::unlinkat(directory, name, AtFlags::empty()).or_else(missing_is_fine)
}

/// Where locks are not supported two writers cannot be told apart, and one at a time is all that is promised.
fn lock(file: BorrowedFd<'_>) -> rustix::io::Result<()> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL) => Ok(()),
        other => other,
    }
}

/// Whether `name` still is the open `file`. While its lock is held that stays so: others need the lock to remove it.
fn is_named(directory: BorrowedFd<'_>, name: &OsStr, file: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let own = rustix::fs::fstat(file)?;
    let named = existing(directory, name)?;
    Ok(named.is_some_and(|named| (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)))
}

/// A temporary file that is removed unless it was published.
struct Locked<'a> {
    directory: BorrowedFd<'a>,
    name: OsString,
    file: File,
    published: bool,
}

impl<'a> Locked<'a> {
    /// `None` when somebody else came between making and locking.
    fn create(directory: BorrowedFd<'a>, name: &OsStr) -> rustix::io::Result<Option<Self>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600)) {
            Err(Errno::EXIST) => return Ok(None),
            other => other?,
        };
        if lock(file.as_fd()).is_err() {
            return Ok(None);
        }
        if !is_named(directory, name, file.as_fd())? {
            return Ok(None);
        }
        Ok(Some(Self { directory, name: name.to_owned(), file: File::from(file), published: false }))
    }

    fn publish(mut self, target: &OsStr) -> rustix::io::Result<()> {
        rustix::fs::renameat(self.directory, &self.name, self.directory, target)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if !self.published {
            let _ = rustix::fs::unlinkat(self.directory, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_fit_and_differ_for_long_names() {
        assert_eq!(temporary_name(OsStr::new("app.conf"), "tmp0"), ".app.conf.podkit-tmp0");
        let long = temporary_name(OsStr::new(&"x".repeat(255)), "tmp0");
        let other = temporary_name(OsStr::new(&format!("{}y", "x".repeat(254))), "tmp0");
        assert_eq!(long.len(), MAX_NAME);
        assert_ne!(long, other);
    }
}
