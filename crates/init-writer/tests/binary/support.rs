//! Running the binary, and what its tests look at.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kit_test::{Exit, Process};

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The binary with an environment of its own.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_init-writer"));
    command.env_clear().env("INIT_WRITER_LOG_LEVEL", "error").args(arguments);
    command
}

pub(crate) fn run(arguments: &[&str]) -> Exit {
    Process::spawn(&mut command(arguments)).wait_within(PATIENCE)
}

/// Runs and expects success in silence.
#[track_caller]
pub(crate) fn succeeds(arguments: &[&str]) {
    let exit = run(arguments);
    assert_eq!((exit.code, exit.stderr.as_str(), exit.stdout.as_slice()), (Some(0), "", &b""[..]), "{arguments:?}");
}

/// Runs and expects this code and exactly these lines on standard error.
#[track_caller]
pub(crate) fn fails(arguments: &[&str], code: i32, stderr: &str) {
    let exit = run(arguments);
    assert_eq!((exit.stderr.as_str(), exit.code), (stderr, Some(code)), "{arguments:?}");
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

/// Inode and modification time: what an unchanged file keeps.
pub(crate) fn identity(path: &Path) -> (u64, i64, i64) {
    let about = std::fs::symlink_metadata(path).unwrap();
    (about.ino(), about.mtime(), about.mtime_nsec())
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why a test did not run.
#[expect(clippy::print_stderr, reason = "a skipped test says so where the test runner shows it")]
pub(crate) fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}
