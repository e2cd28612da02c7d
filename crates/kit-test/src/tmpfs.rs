//! A small file system of its own, for tests that need a full disk.

use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// A mounted tmpfs, gone when it goes out of scope.
#[derive(Debug)]
pub struct Tmpfs {
    folder: TempDir,
}

impl Tmpfs {
    /// Mounts a tmpfs that holds at most `bytes` (rounded up to pages by the kernel). Where mounting is not allowed,
    /// prints why `test` is skipped and returns `None`.
    ///
    /// # Panics
    /// When no temporary folder can be made.
    #[must_use]
    #[expect(clippy::print_stderr, reason = "a skipped test says so where the test runner shows it")]
    pub fn of_size(test: &str, bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={bytes},mode=0777")).unwrap();
        match mount("podkit-test", folder.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
            Ok(()) => Some(Self { folder }),
            Err(error) => {
                eprintln!(
                    "skipped: {test}: no tmpfs may be mounted here (root in its own mount namespace can): {error}"
                );
                None
            }
        }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = unmount(self.folder.path(), UnmountFlags::DETACH);
    }
}
