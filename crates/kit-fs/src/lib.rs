//! Files and links that readers see whole or not at all, at paths that cannot escape a root.
//!
//! A file is built in a temporary file beside its target, synced, and becomes visible by one rename; the directory is
//! synced after it. Equal content, mode and owner leave inode and mtime alone. A [`Root`] opened on a directory
//! refuses every path that leaves it: lexically at once, through a symlink when the kernel (or the walk that stands in
//! for `openat2`) meets it.
//!
//! Not promised: that several files change together, or that a symlink at the target is followed (it is replaced).
//! A killed writer leaves at most one temporary file, which the next write of that target removes; it is locked while
//! its writer lives, so two writers of one target never publish each other's half.
//!
//! ```text
//! conf/app.conf                  <- the target, old content until the rename
//! conf/.app.conf.podkit-tmp0     <- locked by its writer
//! ```
//!
//! ```
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("state.json");
//! assert_eq!(kit_fs::write_atomic(&path, b"{}", 0o640).unwrap(), kit_fs::Change::Changed);
//! assert_eq!(kit_fs::write_atomic(&path, b"{}", 0o640).unwrap(), kit_fs::Change::Unchanged);
//! ```

mod atomic;
mod beneath;
mod content;
mod directory;
mod error;
mod place;
mod root;

pub use atomic::{Attributes, ModeRule};
pub use content::Content;
pub use directory::{Entry, Kind};
pub use error::{Error, shown};
pub use place::{Change, Owner, Parents, Place};
pub use root::Root;

use std::path::Path;

/// Makes the file at `path` hold exactly `content` with permission bits `mode`, atomically and durably.
///
/// The parent directory must exist. Nothing is written when content and mode are already so.
///
/// # Errors
/// When the parent cannot be opened or the temporary file cannot be made, written, synced or renamed. `path` is then
/// unchanged and the temporary file is gone.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<Change, Error> {
    let attributes = Attributes { mode: ModeRule::Exactly(mode), owner: None };
    Root::whole().place(path, Parents::MustExist)?.write(Content::Bytes(content), &attributes)
}
