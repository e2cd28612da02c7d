//! A log that others rotate: whole lines, appended by one write each, and never a reason to stop.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::metrics::LogMetrics;

/// A log file that is appended to and opened again when told.
///
/// A full disk may take half a line. Its rest is then written in front of the next line, so that lines stay whole; the
/// lines that found no place meanwhile are counted and dropped.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    metrics: LogMetrics,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// What the disk did not take of the last line.
    rest: Vec<u8>,
    /// Whether the last write failed; the log says so once, not once a line.
    failing: bool,
}

impl LogFile {
    /// Opens the file for appending and creates it if it is not there.
    pub(crate) fn open(path: PathBuf, metrics: LogMetrics) -> io::Result<Self> {
        let file = append_to(&path)?;
        Ok(Self { path, metrics, state: Mutex::new(State { file, rest: Vec::new(), failing: false }) })
    }

    /// Appends one line; the newline is added here.
    pub(crate) fn append(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { file, rest, failing } = &mut *state;
        let torn = rest.len();
        let mut bytes = std::mem::take(rest);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        let written = write_once(file, &bytes);
        let count = *written.as_ref().unwrap_or(&0);
        if count > torn {
            self.metrics.lines.inc();
        }
        if count == bytes.len() {
            *failing = false;
            return;
        }
        self.metrics.errors.inc();
        // A line of which nothing was written is dropped; the rest of a torn one must follow.
        let keep = if count > torn { bytes.len() } else { torn };
        *rest = bytes[count.min(keep)..keep].to_vec();
        if !std::mem::replace(failing, true) {
            let error = written.err().map_or_else(|| "the disk took half a line".to_owned(), |error| error.to_string());
            tracing::warn!(path = %self.path.display(), error, "cannot write to a log, serving on");
        }
    }

    /// Opens the path again, as after a rotation. When that fails the old file stays in use.
    pub(crate) fn reopen(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match append_to(&self.path) {
            Ok(file) => {
                let rest = std::mem::take(&mut state.rest);
                // The rest of a torn line belongs to the old file; where that is still full, the line stays torn.
                let _taken = write_once(&mut state.file, &rest);
                state.file = file;
                tracing::info!(path = %self.path.display(), "log opened again");
            }
            Err(error) => {
                self.metrics.errors.inc();
                tracing::warn!(path = %self.path.display(), %error, "cannot open a log again, the old file stays in use");
            }
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// One `write(2)`, repeated only when a signal came first.
fn write_once(file: &mut File, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match file.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn log(path: &Path) -> LogFile {
        LogFile::open(path.to_owned(), Metrics::default().log("access")).unwrap()
    }

    #[test]
    fn a_renamed_log_is_written_on_until_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let log = log(&path);
        log.append("one");
        #[expect(clippy::disallowed_methods, reason = "plays logrotate")]
        std::fs::rename(&path, &old).unwrap();
        log.append("two");
        log.reopen();
        log.append("three");
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!((log.metrics.lines.get(), log.metrics.errors.get()), (3, 0));
    }

    #[test]
    fn a_full_disk_is_counted_and_ends_nothing() {
        let log = log(Path::new("/dev/full"));
        log.append("one");
        log.append("two");
        assert_eq!((log.metrics.lines.get(), log.metrics.errors.get()), (0, 2));
        assert!(log.state.lock().unwrap().rest.is_empty());
    }

    #[test]
    fn the_rest_of_a_torn_line_comes_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let log = log(&path);
        log.state.lock().unwrap().rest = b"half\n".to_vec();
        log.append("next");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "half\nnext\n");
    }
}
