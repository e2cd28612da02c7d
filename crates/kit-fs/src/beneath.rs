//! Opens paths beneath a directory, never outside of it: by `openat2`, or component by component where that is missing.
//!
//! The walk is what Linux before 5.6 needs, and sandboxes whose seccomp filter answers `openat2` with EPERM (Docker
//! before 20.10.0 does). Both follow symlinks that stay inside and refuse absolute ones and those that leave: EXDEV.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

/// Symlinks followed in one path before it counts as a loop; the kernel's own limit (path_resolution(7)).
const MAX_SYMLINKS: usize = 40;

/// How often a rename elsewhere may disturb `openat2` (EAGAIN) before the walk is used instead.
const MAX_DISTURBED: usize = 16;

/// Which of the two ways resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolver {
    /// `openat2`, and the walk when the kernel or a sandbox refuses it.
    Kernel,
    /// The walk alone.
    Walk,
}

/// Opens `path` (relative, no `..` needed but allowed) below `root`.
pub(crate) fn open(resolver: Resolver, root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    if resolver == Resolver::Walk {
        return walk(root, path, flags);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..MAX_DISTURBED {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            // A real EPERM of the file system comes back from the walk as well.
            Err(Errno::NOSYS | Errno::PERM) => return walk(root, path, flags),
            outcome => return outcome,
        }
    }
    walk(root, path, flags)
}

fn walk(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut ahead = components(path)?;
    let mut symlinks = 0;
    while let Some(name) = ahead.pop_front() {
        let here = above.last().map_or(root, AsFd::as_fd);
        if name == ".." {
            above.pop().ok_or(Errno::XDEV)?;
            continue;
        }
        let entry = rustix::fs::openat(here, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        match FileType::from_raw_mode(rustix::fs::fstat(&entry)?.st_mode) {
            FileType::Symlink => {
                symlinks += 1;
                if symlinks > MAX_SYMLINKS || (ahead.is_empty() && flags.contains(OFlags::NOFOLLOW)) {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&entry, "", Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                for component in components(&target)?.into_iter().rev() {
                    ahead.push_front(component);
                }
            }
            FileType::Directory => above.push(entry),
            _ if ahead.is_empty() => return rustix::fs::openat(here, &name, flags | OFlags::NOFOLLOW, Mode::empty()),
            _ => return Err(Errno::NOTDIR),
        }
    }
    let here = above.last().map_or(root, AsFd::as_fd);
    rustix::fs::openat(here, ".", flags | OFlags::NOFOLLOW, Mode::empty())
}

fn components(path: &Path) -> Result<VecDeque<OsString>> {
    let mut names = VecDeque::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push_back(name.to_owned()),
            Component::ParentDir => names.push_back("..".into()),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err(Errno::XDEV),
        }
    }
    Ok(names)
}
