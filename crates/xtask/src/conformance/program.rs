//! A suite's program, run to its end or to the end of patience.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};

/// How a program ended.
pub struct End {
    /// Both its streams.
    pub said: String,
    /// None when it did not end in time.
    pub status: Option<ExitStatus>,
}

impl End {
    /// How it failed, if it did.
    pub fn failure(&self) -> Option<String> {
        match self.status {
            None => Some("no end in time".to_owned()),
            Some(status) => (!status.success()).then(|| status.to_string()),
        }
    }
}

/// Runs `command`; after `limit` it and all that it started are killed.
///
/// # Errors
/// When it cannot be started.
pub fn run(command: &mut Command, limit: Duration) -> anyhow::Result<End> {
    let mut output = tempfile::tempfile()?;
    let streams: (File, File) = (output.try_clone()?, output.try_clone()?);
    command.stdin(Stdio::null()).stdout(streams.0).stderr(streams.1).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if start.elapsed() > limit => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    // What a failed test left running would disturb the next one; the group is empty otherwise.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _gone = kill_process_group(group, Signal::KILL);
    }
    child.wait()?;
    std::io::Seek::rewind(&mut output)?;
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes)?;
    Ok(End { said: String::from_utf8_lossy(&bytes).into_owned(), status })
}

/// The last `lines` lines of `text` that are not blank.
pub fn last(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
