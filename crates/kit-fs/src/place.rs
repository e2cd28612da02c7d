//! One name in one open directory, and what can be done there: every call works on that directory, whatever happens
//! to the path that led to it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, StatxAttributes, StatxFlags, Timespec, Timestamps, UTIME_NOW, Uid};
use rustix::io::Errno;

use crate::atomic::{self, Attributes};
use crate::content::Content;
use crate::directory::{Kind, entries, kind_of};
use crate::error::Error;

/// Whether anything had to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The file system is different now.
    Changed,
    /// All was as wanted; inode and times are untouched.
    Unchanged,
}

/// Who owns a file, by number: images without `/etc/passwd` know no names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group; `None` leaves it as it is.
    pub gid: Option<u32>,
}

impl Owner {
    pub(crate) fn is_of(self, stat: &Stat) -> bool {
        stat.st_uid == self.uid && self.gid.is_none_or(|gid| stat.st_gid == gid)
    }

    pub(crate) fn uid(self) -> Uid {
        Uid::from_raw(self.uid)
    }

    pub(crate) fn gid(self) -> Option<Gid> {
        self.gid.map(Gid::from_raw)
    }
}

/// What to do about missing parent directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parents {
    /// Fail.
    MustExist,
    /// Make them. They are removed again when the [`Place`] is dropped without a change having been made there.
    Make {
        /// Permission bits, whatever the umask says. A set-group-ID bit inherited from above stays.
        mode: u32,
        /// Who owns them; `None`: whoever runs this.
        owner: Option<Owner>,
    },
}

/// An entry of an open directory, there or not.
#[derive(Debug)]
pub struct Place {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
    made: Made,
}

impl Place {
    pub(crate) fn new(directory: OwnedFd, name: OsString, path: PathBuf, made: Made) -> Self {
        Self { directory, name, path, made }
    }

    /// What is there now, symlinks not followed.
    ///
    /// # Errors
    /// When the directory cannot be searched.
    pub fn kind(&self) -> Result<Option<Kind>, Error> {
        Ok(self.stat()?.as_ref().map(kind_of))
    }

    /// Makes a regular file with this content and these attributes, replacing a file or a symlink.
    ///
    /// # Errors
    /// When the target is a directory, or anything fails on the way. The target is then unchanged, the temporary file
    /// gone, and directories made for it are removed again.
    pub fn write(mut self, content: Content<'_>, attributes: &Attributes) -> Result<Change, Error> {
        let change = atomic::write(self.directory.as_fd(), &self.name, &self.path, &content, attributes)?;
        self.made.keep(&self.path)?;
        Ok(change)
    }

    /// Makes a symlink to `target`, replacing a file or another symlink in one step.
    ///
    /// # Errors
    /// When a directory is there, or the link cannot be made or given its owner. What was there is then unchanged.
    pub fn link(mut self, target: &Path, owner: Option<Owner>) -> Result<Change, Error> {
        let change = atomic::link(self.directory.as_fd(), &self.name, &self.path, target, owner)?;
        self.made.keep(&self.path)?;
        Ok(change)
    }

    /// Makes a directory. One that is there gets `mode` if it was named, and `owner`; its content stays.
    ///
    /// # Errors
    /// When something else is there, or it cannot be made or changed. A directory made by this call is removed again.
    pub fn make_directory(mut self, mode: Option<u32>, default: u32, owner: Option<Owner>) -> Result<Change, Error> {
        let failed = |action, cause: Errno| Error::system(action, &self.path, cause);
        let existed = match rustix::fs::mkdirat(&self.directory, &self.name, Mode::from_raw_mode(0o700)) {
            Ok(()) => false,
            Err(Errno::EXIST) => true,
            Err(cause) => return Err(failed("make the directory", cause)),
        };
        // Not opened then: whoever runs this may not be allowed to.
        if let Some(stat) = self.stat()?.filter(|stat| existed && kind_of(stat) == Kind::Directory) {
            let as_wanted = mode.is_none_or(|mode| wanted_mode(&stat, mode) == Mode::from_raw_mode(stat.st_mode))
                && owner.is_none_or(|owner| owner.is_of(&stat));
            if as_wanted {
                self.made.keep(&self.path)?;
                return Ok(Change::Unchanged);
            }
        }
        let wanted = if existed { mode } else { Some(mode.unwrap_or(default)) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let outcome = rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty())
            .map_err(|cause| failed("open the directory", cause))
            .and_then(|directory| dress(&directory, wanted, owner).map_err(|(action, cause)| failed(action, cause)))
            .and_then(|dressed| {
                if !existed {
                    atomic::sync_directory(self.directory.as_fd()).map_err(|c| failed("sync the directory of", c))?;
                }
                Ok(if existed { dressed } else { Change::Changed })
            });
        match outcome {
            Ok(change) => {
                self.made.keep(&self.path)?;
                Ok(change)
            }
            Err(error) => {
                if !existed {
                    let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::REMOVEDIR);
                }
                Err(error)
            }
        }
    }

    /// Makes an empty file, or sets the times of what is there to now; mode and owner of an existing one as given.
    ///
    /// # Errors
    /// When it cannot be made or changed.
    pub fn touch(self, attributes: &Attributes) -> Result<Change, Error> {
        if self.stat()?.is_none() {
            return self.write(Content::Bytes(b""), attributes);
        }
        let failed = |action, cause: Errno| Error::system(action, &self.path, cause);
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        rustix::fs::utimensat(&self.directory, &self.name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|cause| failed("set the time of", cause))?;
        if attributes.exact_mode().is_some() || attributes.owner.is_some() {
            // O_PATH would not allow fchmod; NONBLOCK keeps a FIFO from blocking.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty())
                .map_err(|cause| failed("open", cause))?;
            dress(&file, attributes.exact_mode(), attributes.owner).map_err(|(action, c)| failed(action, c))?;
        }
        Ok(Change::Changed)
    }

    /// Removes a file, a symlink (never what it points to), or a directory with all that it holds.
    ///
    /// # Errors
    /// When it is a mount point (refused before anything is removed), or an entry cannot be removed.
    pub fn remove(self) -> Result<Change, Error> {
        let failed = |cause: Errno| Error::system("remove", &self.path, cause);
        let Some(stat) = self.stat()? else { return Ok(Change::Unchanged) };
        if kind_of(&stat) == Kind::Directory {
            if self.is_mount_point() {
                return Err(failed(Errno::BUSY));
            }
            remove_tree(self.directory.as_fd(), &self.name).map_err(failed)?;
        } else {
            rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty()).map_err(failed)?;
        }
        atomic::sync_directory(self.directory.as_fd()).map_err(failed)?;
        Ok(Change::Changed)
    }

    /// Unknown (before Linux 5.8) counts as no: rmdir(2) then refuses at the end.
    fn is_mount_point(&self) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::statx(&self.directory, &self.name, flags, StatxFlags::TYPE)
            .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }

    fn stat(&self) -> Result<Option<Stat>, Error> {
        match rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(cause) => Err(Error::system("look at", &self.path, cause)),
        }
    }
}

fn remove_tree(parent: std::os::fd::BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in entries(directory.try_clone().map_err(|_| Errno::MFILE)?)? {
        match entry.kind {
            Kind::Directory => remove_tree(directory.as_fd(), &entry.name)?,
            Kind::File | Kind::Symlink | Kind::Special => {
                rustix::fs::unlinkat(&directory, &entry.name, AtFlags::empty())?;
            }
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Mode first: root with the capability CHOWN alone may not change the mode of what it has given away.
fn dress(file: &OwnedFd, mode: Option<u32>, owner: Option<Owner>) -> Result<Change, (&'static str, Errno)> {
    let stat = rustix::fs::fstat(file).map_err(|cause| ("look at", cause))?;
    let wanted = mode.map(|mode| wanted_mode(&stat, mode));
    let change_mode = |wanted| rustix::fs::fchmod(file, wanted).map_err(|cause| ("change the mode of", cause));
    let mut change = Change::Unchanged;
    if let Some(wanted) = wanted.filter(|wanted| Mode::from_raw_mode(stat.st_mode) != *wanted) {
        change_mode(wanted)?;
        change = Change::Changed;
    }
    if let Some(owner) = owner.filter(|owner| !owner.is_of(&stat)) {
        rustix::fs::fchown(file, Some(owner.uid()), owner.gid()).map_err(|cause| ("change the owner of", cause))?;
        change = Change::Changed;
        // chown(2) clears set-ID bits of files.
        if let Some(wanted) = wanted.filter(|_| mode.is_some_and(|mode| mode & 0o6000 != 0)) {
            change_mode(wanted)?;
        }
    }
    Ok(change)
}

/// As chmod(1) does: numbers without it do not clear a directory's set-group-ID bit, on which volumes with an fsGroup
/// depend.
fn wanted_mode(stat: &Stat, mode: u32) -> Mode {
    let kept = if kind_of(stat) == Kind::Directory { stat.st_mode & 0o2000 } else { 0 };
    Mode::from_raw_mode(mode | kept)
}

/// Directories made on the way to a place; removed again unless kept. They get mode and owner at the end, the deepest
/// first: what is given away, or not writable, could not be filled any more.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<MadeDirectory>);

#[derive(Debug)]
struct MadeDirectory {
    parent: OwnedFd,
    name: OsString,
    directory: OwnedFd,
    mode: u32,
    owner: Option<Owner>,
}

impl Made {
    /// Makes `name` in `parent` (or takes one that appeared meanwhile) and opens it.
    pub(crate) fn make(
        &mut self,
        parent: OwnedFd,
        name: &OsStr,
        mode: u32,
        owner: Option<Owner>,
    ) -> rustix::io::Result<OwnedFd> {
        let made = match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(cause) => return Err(cause),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&parent, name, flags, Mode::empty());
        let opened = opened.and_then(|directory| Ok((directory.try_clone().map_err(|_| Errno::MFILE)?, directory)));
        match opened {
            Ok((directory, returned)) => {
                if made {
                    let name = name.to_owned();
                    self.0.push(MadeDirectory { parent, name, directory, mode, owner });
                }
                Ok(returned)
            }
            Err(cause) => {
                if made {
                    let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
                }
                Err(cause)
            }
        }
    }

    fn keep(&mut self, path: &Path) -> Result<(), Error> {
        while let Some(made) = self.0.pop() {
            dress(&made.directory, Some(made.mode), made.owner)
                .and_then(|_| {
                    atomic::sync_directory(made.parent.as_fd()).map_err(|cause| ("sync the directory of", cause))
                })
                .map_err(|(action, cause)| Error::system(action, path, cause))?;
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for made in self.0.drain(..).rev() {
            // Fails when somebody else already put something inside, and then it rightly stays.
            let _ = rustix::fs::unlinkat(made.parent, made.name, AtFlags::REMOVEDIR);
        }
    }
}
