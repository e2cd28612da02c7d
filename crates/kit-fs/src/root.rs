//! The directory that paths cannot leave, or the whole file system when nobody asked for one.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::beneath::{self, Resolver};
use crate::directory::{Entry, Kind, entries, kind_of};
use crate::error::Error;
use crate::place::{Made, Parents, Place};

/// Where paths start, and what they cannot leave.
///
/// With [`Root::open`] a relative path starts at the root and an absolute one must lie below it, as it is spelled;
/// `..` is resolved in the text first. Symlinks inside are followed while they stay inside; absolute ones never are.
#[derive(Debug)]
pub struct Root(Reach);

#[derive(Debug)]
enum Reach {
    /// As the process sees the file system.
    Whole,
    Beneath {
        directory: OwnedFd,
        /// As given, for messages.
        given: PathBuf,
        /// Absolute, `..` resolved: what absolute paths must begin with.
        absolute: PathBuf,
        resolver: Resolver,
    },
}

impl Root {
    /// The whole file system: a relative path starts at the working directory, nothing is refused.
    pub fn whole() -> Self {
        Self(Reach::Whole)
    }

    /// The directory `path`, which must exist.
    ///
    /// # Errors
    /// When it cannot be opened as a directory, or the working directory (for a relative `path`) cannot be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |cause: std::io::Error| Error::system("open the root", path, cause);
        let directory = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|cause| failed(cause.into()))?;
        let absolute = std::path::absolute(path).map_err(failed)?;
        let absolute = normal(&absolute).ok_or_else(|| failed(Errno::XDEV.into()))?;
        let reach = Reach::Beneath { directory, given: path.to_owned(), absolute, resolver: Resolver::Kernel };
        Ok(Self(reach))
    }

    /// The directory at `path` of this root as a root of its own. Its paths are relative to it.
    ///
    /// # Errors
    /// When it cannot be opened as a directory, or leaves this root.
    pub fn narrowed(&self, path: &Path) -> Result<Self, Error> {
        let directory = self.open_with("open the directory", path, OFlags::DIRECTORY | OFlags::PATH)?;
        let (given, absolute) = (path.to_owned(), path.to_owned());
        Ok(Self(Reach::Beneath { directory, given, absolute, resolver: self.resolver() }))
    }

    /// Resolves component by component, as on kernels and in sandboxes without `openat2`.
    #[must_use]
    pub fn without_openat2(mut self) -> Self {
        if let Reach::Beneath { resolver, .. } = &mut self.0 {
            *resolver = Resolver::Walk;
        }
        self
    }

    /// Whether [`Root::open`] made it, so that paths can be refused.
    pub fn is_confined(&self) -> bool {
        matches!(self.0, Reach::Beneath { .. })
    }

    /// Refuses `path` if it leaves the root by its text, or by a symlink that exists now. Changes nothing.
    ///
    /// Whatever does not exist yet is no reason to refuse; the same checks hold again when the path is used.
    ///
    /// # Errors
    /// [`Error::Leaves`], [`Error::LeavesBySymlink`] or [`Error::NoName`].
    pub fn check(&self, path: &Path) -> Result<(), Error> {
        let Reach::Beneath { directory, resolver, .. } = &self.0 else {
            return self.resolved(path).map(drop);
        };
        let relative = self.resolved(path)?;
        // The last component is an entry that is replaced, not followed, so only its parents are tried.
        for parent in relative.ancestors().skip(1) {
            let start = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            match beneath::open(*resolver, directory.as_fd(), start, OFlags::PATH) {
                Err(Errno::XDEV) => return Err(self.leaves_by_symlink(path)),
                // Missing, or not for this path to judge now: what uses the path says it better.
                Err(_) => {}
                Ok(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Refuses `path` like [`Root::check`], its last component followed: for paths that are read.
    ///
    /// # Errors
    /// [`Error::Leaves`], [`Error::LeavesBySymlink`] or [`Error::NoName`].
    pub fn check_read(&self, path: &Path) -> Result<(), Error> {
        self.check(path)?;
        match self.open_with("open", path, OFlags::PATH) {
            Err(refused @ (Error::Leaves { .. } | Error::LeavesBySymlink { .. } | Error::NoName { .. })) => {
                Err(refused)
            }
            Err(Error::System { .. }) | Ok(_) => Ok(()),
        }
    }

    /// Refuses a symlink at `name` whose `target`, read as text, would lead out of the root.
    ///
    /// # Errors
    /// [`Error::Leaves`] with the target as its path.
    pub fn check_target(&self, name: &Path, target: &Path) -> Result<(), Error> {
        if !self.is_confined() {
            return Ok(());
        }
        if target.is_absolute() {
            return self.resolved(target).map(drop);
        }
        let parent = self.resolved(name)?.parent().map(Path::to_owned).unwrap_or_default();
        normal(&parent.join(target)).map(drop).ok_or_else(|| self.leaves(target))
    }

    /// Opens a file for reading, following symlinks inside the root. A FIFO does not block the open.
    ///
    /// # Errors
    /// When it is missing, unreadable or outside of the root.
    pub fn file(&self, path: &Path) -> Result<File, Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.open_with("read", path, flags).map(File::from)
    }

    /// What `path` is, symlinks followed; `None` when there is nothing.
    ///
    /// # Errors
    /// When it cannot be looked at, or leaves the root.
    pub fn kind(&self, path: &Path) -> Result<Option<Kind>, Error> {
        let entry = match self.open_with("look at", path, OFlags::PATH) {
            Err(Error::System { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let stat = rustix::fs::fstat(&entry).map_err(|cause| Error::system("look at", path, cause))?;
        Ok(Some(kind_of(&stat)))
    }

    /// The entries of a directory, sorted by name, with what they are (symlinks not followed).
    ///
    /// # Errors
    /// When it cannot be opened or read as a directory.
    pub fn entries(&self, path: &Path) -> Result<Vec<Entry>, Error> {
        let directory = self.open_with("read the directory", path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        entries(directory).map_err(|cause| Error::system("read the directory", path, cause))
    }

    /// The entry that `path` names, its parent directory open. The last component is never followed.
    ///
    /// # Errors
    /// When `path` names no entry, leaves the root, or its parents are missing and cannot be made.
    pub fn place(&self, path: &Path, parents: Parents) -> Result<Place, Error> {
        let resolved = self.resolved(path)?;
        let name = match resolved.components().next_back() {
            Some(Component::Normal(name)) => name.to_owned(),
            _ => return Err(Error::NoName { path: path.to_owned(), reason: "a name must follow the directory" }),
        };
        let parent = resolved.parent().unwrap_or(Path::new(""));
        let mut made = Made::default();
        let directory = self.parent(path, parent, parents, &mut made)?;
        Ok(Place::new(directory, name, path.to_owned(), made))
    }

    /// Opens `parent` (already resolved), making what is missing when asked to.
    fn parent(&self, path: &Path, parent: &Path, parents: Parents, made: &mut Made) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut missing = Vec::new();
        let mut existing = parent;
        let mut directory = loop {
            // A directory that may be searched and written but not listed is opened without the right to sync it.
            let opened = match self.open_resolved(existing, flags) {
                Err(Errno::ACCESS) => self.open_resolved(existing, OFlags::PATH | OFlags::DIRECTORY),
                other => other,
            };
            match opened {
                Ok(directory) => break directory,
                Err(Errno::NOENT) if !matches!(parents, Parents::MustExist) => {
                    // "" and "/" are there; a path that has no parent left cannot be made.
                    let (Some(up), Some(name)) = (existing.parent(), existing.file_name()) else {
                        return Err(Error::system("open the directory of", path, Errno::NOENT));
                    };
                    missing.push(name);
                    existing = up;
                }
                Err(Errno::XDEV) if self.is_confined() => return Err(self.leaves_by_symlink(path)),
                Err(cause) => return Err(Error::system("open the directory of", path, cause)),
            }
        };
        if let Parents::Make { mode, owner } = parents {
            for name in missing.into_iter().rev() {
                directory = made
                    .make(directory, name, mode, owner)
                    .map_err(|cause| Error::system("make the directories of", path, cause))?;
            }
        }
        Ok(directory)
    }

    fn open_with(&self, action: &'static str, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
        let resolved = self.resolved(path)?;
        self.open_resolved(&resolved, flags).map_err(|cause| match cause {
            Errno::XDEV if self.is_confined() => self.leaves_by_symlink(path),
            cause => Error::system(action, path, cause),
        })
    }

    fn open_resolved(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        match &self.0 {
            Reach::Whole => rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty()),
            Reach::Beneath { directory, resolver, .. } => beneath::open(*resolver, directory.as_fd(), path, flags),
        }
    }

    /// The path to open: as it is without a root, else relative to it and free of `..`.
    fn resolved(&self, path: &Path) -> Result<PathBuf, Error> {
        let refused = |reason| Err(Error::NoName { path: path.to_owned(), reason });
        if path.as_os_str().is_empty() {
            return refused("it is empty");
        }
        if path.as_os_str().as_bytes().contains(&0) {
            return refused("it holds a NUL byte");
        }
        let Reach::Beneath { absolute, .. } = &self.0 else { return Ok(path.to_owned()) };
        let inside = normal(path).ok_or_else(|| self.leaves(path))?;
        if path.is_absolute() {
            inside.strip_prefix(absolute).map(Path::to_owned).map_err(|_| self.leaves(path))
        } else {
            Ok(inside)
        }
    }

    fn resolver(&self) -> Resolver {
        match &self.0 {
            Reach::Whole => Resolver::Kernel,
            Reach::Beneath { resolver, .. } => *resolver,
        }
    }

    fn given(&self) -> PathBuf {
        match &self.0 {
            Reach::Whole => PathBuf::from("/"),
            Reach::Beneath { given, .. } => given.clone(),
        }
    }

    fn leaves(&self, path: &Path) -> Error {
        Error::Leaves { path: path.to_owned(), root: self.given() }
    }

    fn leaves_by_symlink(&self, path: &Path) -> Error {
        Error::LeavesBySymlink { path: path.to_owned(), root: self.given() }
    }
}

/// Without `.` and with `..` resolved in the text; `None` when it climbs above its start (a relative path), while
/// above `/` there is only `/`, as for the kernel.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if result.as_os_str() == "/" => {}
            Component::ParentDir => {
                if !result.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => result.push(component),
        }
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_resolved_in_the_text_and_climbing_out_is_seen() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(normal(Path::new(path)), expected.map(PathBuf::from), "{path}");
        };
        check("a/./b//c", Some("a/b/c"));
        check("a/../b", Some("b"));
        check("a/..", Some(""));
        check("a/../..", None);
        check("../a", None);
        check("a/../../a", None);
        check("/..", Some("/"));
        check("/a/../../b", Some("/b"));
    }
}
