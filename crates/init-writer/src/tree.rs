//! What a directory holds, as one walks it to copy it: symlinks resolved, kubelet's own entries passed over.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kit_fs::{Error, Kind, Root, shown};

use crate::glob;
use crate::hint::ELOOP;

/// `..data`, `..data_tmp`, `..2026_01_01_00_00_00.123`: kubelet's swap of ConfigMaps and Secrets.
pub(crate) fn is_kubelets_own(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let stamped = |rest: &[u8]| rest.len() > 4 && rest[..4].iter().all(u8::is_ascii_digit) && rest[4] == b'_';
    matches!(name, b"..data" | b"..data_tmp") || name.strip_prefix(b"..").is_some_and(stamped)
}

/// One file or directory below the source, directories before what they hold.
#[derive(Debug)]
pub(crate) struct Found {
    /// Relative to the source; empty for the source itself.
    pub(crate) relative: PathBuf,
    pub(crate) kind: Kind,
    /// Permission bits, 0 to 0o777.
    pub(crate) mode: u32,
}

/// Why a tree cannot be walked.
#[derive(Debug)]
pub(crate) enum Trouble {
    System(Error),
    /// With its repair.
    Refused(String, &'static str),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::System(error)
    }
}

/// A directory to be copied.
pub(crate) struct Source<'a> {
    root: &'a Root,
    path: &'a Path,
    /// Symlinks cannot leave it; `None` when they may.
    narrow: Option<Root>,
    exclude: &'a [String],
}

impl<'a> Source<'a> {
    pub(crate) fn open(root: &'a Root, path: &'a Path, follow: bool, exclude: &'a [String]) -> Result<Self, Error> {
        let narrow = if follow { None } else { Some(root.narrowed(path)?) };
        Ok(Self { root, path, narrow, exclude })
    }

    /// Opens a file of the tree for reading.
    pub(crate) fn file(&self, relative: &Path) -> Result<std::fs::File, Trouble> {
        self.located(relative, |root, path| root.file(path))
    }

    /// Calls `visit` for everything that is to be copied.
    pub(crate) fn walk<E: From<Trouble>>(&self, mut visit: impl FnMut(&Found) -> Result<(), E>) -> Result<(), E> {
        // A directory with the directories above it, by device and inode: meeting one again is a loop.
        let mut ahead: VecDeque<(PathBuf, Vec<(u64, u64)>)> = [(PathBuf::new(), Vec::new())].into();
        while let Some((relative, mut above)) = ahead.pop_front() {
            let about = self.file(&relative)?.metadata().map_err(|cause| self.unreadable(&relative, cause))?;
            let identity = (about.dev(), about.ino());
            if above.contains(&identity) {
                return Err(self.refused(&relative, "is a symlink loop", "remove the link, or pass --exclude").into());
            }
            above.push(identity);
            visit(&Found { relative: relative.clone(), kind: Kind::Directory, mode: about.mode() & 0o777 })?;
            for entry in self.located(&relative, |root, path| root.entries(path))? {
                let inner = relative.join(&entry.name);
                let excluded = |pattern: &String| glob::matches(pattern.as_bytes(), inner.as_os_str().as_bytes());
                if is_kubelets_own(&entry.name) || self.exclude.iter().any(excluded) {
                    continue;
                }
                match self.resolved(&inner, entry.kind)? {
                    Kind::Directory => ahead.push_back((inner, above.clone())),
                    kind => {
                        let about = self.file(&inner)?.metadata().map_err(|cause| self.unreadable(&inner, cause))?;
                        visit(&Found { relative: inner, kind, mode: about.mode() & 0o777 })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What an entry is behind its symlinks: a file or a directory, or it cannot be copied.
    fn resolved(&self, inner: &Path, kind: Kind) -> Result<Kind, Trouble> {
        let kind = match kind {
            Kind::Symlink => match self.located(inner, |root, path| root.kind(path)) {
                Err(Trouble::System(Error::System { source, .. })) if source.raw_os_error() == Some(ELOOP) => {
                    return Err(self.refused(inner, "is a symlink loop", "remove the link, or pass --exclude"));
                }
                other => other?.ok_or_else(|| {
                    self.refused(inner, "is a symlink to nothing", "repair the link, or pass --exclude")
                })?,
            },
            other => other,
        };
        if matches!(kind, Kind::Special | Kind::Symlink) {
            return Err(self.refused(inner, "is neither a file nor a directory", "pass --exclude for it"));
        }
        Ok(kind)
    }

    /// Does something with a path of the tree, and says it better when it leads out.
    fn located<T>(&self, relative: &Path, what: impl Fn(&Root, &Path) -> Result<T, Error>) -> Result<T, Trouble> {
        let Some(narrow) = &self.narrow else { return Ok(what(self.root, &self.full(relative))?) };
        let inside = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        what(narrow, inside).map_err(|error| match error {
            Error::LeavesBySymlink { .. } | Error::Leaves { .. } => {
                let reason = format!("is a symlink that leads out of {}", shown(self.path));
                self.refused(relative, &reason, "pass --follow to copy what it points to, or --exclude for it")
            }
            Error::System { action, source, .. } => {
                Trouble::System(Error::System { action, path: self.full(relative), source })
            }
            other @ Error::NoName { .. } => Trouble::System(other),
        })
    }

    fn full(&self, relative: &Path) -> PathBuf {
        if relative.as_os_str().is_empty() { self.path.to_owned() } else { self.path.join(relative) }
    }

    fn unreadable(&self, relative: &Path, source: std::io::Error) -> Trouble {
        Trouble::System(Error::System { action: "look at", path: self.full(relative), source })
    }

    fn refused(&self, relative: &Path, reason: &str, repair: &'static str) -> Trouble {
        Trouble::Refused(format!("{} {reason}", shown(&self.full(relative))), repair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iw11_kubelets_entries_are_known_by_name() {
        for own in ["..data", "..data_tmp", "..2026_01_01_00_00_00.123456789"] {
            assert!(is_kubelets_own(OsStr::new(own)), "{own}");
        }
        for other in ["..", "data", ".data", "..dataset", "..202x_1", "..2026", "...", "..x"] {
            assert!(!is_kubelets_own(OsStr::new(other)), "{other}");
        }
    }
}
