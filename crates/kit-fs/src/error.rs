//! Why a change to the file system was refused or failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Names the path as the caller wrote it. The cause is the source, never repeated in the text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path itself, read without touching the file system, lies outside of the root.
    #[error("{} leaves the root {}", shown(path), shown(root))]
    Leaves {
        /// As the caller wrote it.
        path: PathBuf,
        /// As it was given to [`crate::Root::open`].
        root: PathBuf,
    },
    /// A symlink on the way points outside of the root, or is absolute.
    #[error("{} leaves the root {} through a symlink", shown(path), shown(root))]
    LeavesBySymlink {
        /// As the caller wrote it.
        path: PathBuf,
        /// As it was given to [`crate::Root::open`].
        root: PathBuf,
    },
    /// The path does not name an entry of a directory: it is empty, `/`, the root itself, or holds a NUL byte.
    #[error("{} names no file: {reason}", shown(path))]
    NoName {
        /// As the caller wrote it.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {action} {}", shown(path))]
    System {
        /// A verb phrase: `write`, `make the directory`.
        action: &'static str,
        /// As the caller wrote it.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn system(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::System { action, path: path.to_owned(), source: source.into() }
    }

    /// The operating system's error, for hints that depend on it. `None` when the path itself was refused.
    pub fn cause(&self) -> Option<&io::Error> {
        match self {
            Self::System { source, .. } => Some(source),
            Self::Leaves { .. } | Self::LeavesBySymlink { .. } | Self::NoName { .. } => None,
        }
    }
}

/// Prints a path on one line: as it is, or quoted and escaped when it holds control characters.
///
/// A file name may hold line breaks and terminal sequences; an error is one line and a log is read in terminals.
pub fn shown(path: &Path) -> impl fmt::Display + '_ {
    Shown(path)
}

struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        if text.is_empty() || text.chars().any(char::is_control) {
            write!(f, "{:?}", self.0)
        } else {
            f.write_str(&text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_line_breaks_stays_on_one_line() {
        assert_eq!(shown(Path::new("/a b/c")).to_string(), "/a b/c");
        assert_eq!(shown(Path::new("a\nb\u{1b}[2J")).to_string(), r#""a\nb\u{1b}[2J""#);
        assert_eq!(shown(Path::new("")).to_string(), r#""""#);
    }

    #[test]
    fn the_text_names_action_path_and_not_the_cause() {
        let error = Error::system("write", Path::new("/x"), io::Error::from_raw_os_error(28));
        assert_eq!(error.to_string(), "cannot write /x");
        assert_eq!(error.cause().and_then(io::Error::raw_os_error), Some(28));
        let error = Error::Leaves { path: "../x".into(), root: "/data".into() };
        assert_eq!(error.to_string(), "../x leaves the root /data");
        let error = Error::LeavesBySymlink { path: "l/x".into(), root: "/data".into() };
        assert_eq!(error.to_string(), "l/x leaves the root /data through a symlink");
        let error = Error::NoName { path: "/".into(), reason: "it is the root" };
        assert_eq!(error.to_string(), "/ names no file: it is the root");
    }
}
