//! Standard output as the process found it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags};

use crate::Error;

/// A descriptor of stdout for a tool whose lines must not vanish. `tool` is named in the hint.
///
/// # Errors
/// Code 1 when stdout was closed at the start, or cannot be duplicated.
pub fn stdout(tool: &str) -> Result<OwnedFd, Error> {
    let failed = |error: io::Error| {
        Error::failed("cannot use stdout").caused_by(error).hint(format!("start {tool} with stdout open"))
    };
    let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
    if was_closed(&stdout) {
        return Err(Error::failed("stdout is closed")
            .hint(format!("start {tool} with stdout open, or send it to /dev/null to throw the lines away")));
    }
    Ok(stdout)
}

/// Rust opens /dev/null, for reading and writing, where a process is started with stdout closed. Lines would vanish there and
/// count as handed over.
fn was_closed(stdout: &OwnedFd) -> bool {
    let null = rustix::fs::makedev(1, 3);
    let is_null = rustix::fs::fstat(stdout)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_char_device() && found.st_rdev == null);
    let flags = rustix::fs::fcntl_getfl(stdout).unwrap_or(OFlags::empty());
    is_null && flags.contains(OFlags::RDWR)
}
