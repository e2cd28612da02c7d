//! How many lines are missing after rotations. Every rotated file stays on disk, so each missing line was readable.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use kit_test::Process;
use tempfile::TempDir;

use super::speed::Data;
use super::subjects::Subject;
use crate::bench::results::Results;

/// When nothing has come for so long, nothing will. Busybox looks once per second.
const QUIET: Duration = Duration::from_secs(3);

/// 101 files of 50 lines, renamed and created, one line per millisecond.
///
/// # Errors
/// When the log cannot be written.
pub fn paced(subject: &Subject, _: &Data, results: &mut Results) -> anyhow::Result<()> {
    let mut log = Log::new()?;
    let process = log.follow(subject)?;
    for file in 0..101 {
        if file > 0 {
            log.rename()?;
        }
        log.write(50, Duration::from_millis(1))?;
    }
    log.judge("storm paced", subject, process, results)
}

/// 101 files of 500 lines, renamed and created, without a pause.
///
/// # Errors
/// When the log cannot be written.
pub fn unpaced(subject: &Subject, _: &Data, results: &mut Results) -> anyhow::Result<()> {
    let mut log = Log::new()?;
    let process = log.follow(subject)?;
    for file in 0..101 {
        if file > 0 {
            log.rename()?;
        }
        log.write(500, Duration::ZERO)?;
    }
    log.judge("storm unpaced", subject, process, results)
}

/// 101 times 500 lines in one file that is copied and truncated in between. It regrows past the old offset at once;
/// nothing is written between copy and truncation.
///
/// # Errors
/// When the log cannot be written.
pub fn copytruncate(subject: &Subject, _: &Data, results: &mut Results) -> anyhow::Result<()> {
    let mut log = Log::new()?;
    let process = log.follow(subject)?;
    for file in 0..101 {
        if file > 0 {
            log.copy_and_truncate()?;
        }
        log.write(500, Duration::ZERO)?;
    }
    log.judge("storm copytruncate", subject, process, results)
}

/// Nobody reads stdout for four seconds, while 4 files of 20000 lines are written and renamed.
///
/// # Errors
/// When the log cannot be written.
pub fn blocked(subject: &Subject, _: &Data, results: &mut Results) -> anyhow::Result<()> {
    let mut log = Log::new()?;
    let process = log.follow(subject)?;
    let start = Instant::now();
    process.block_stdout();
    for file in 0..4 {
        if file > 0 {
            log.rename()?;
        }
        log.write(20_000, Duration::ZERO)?;
        std::thread::sleep(Duration::from_millis(900));
    }
    std::thread::sleep(Duration::from_secs(4).saturating_sub(start.elapsed()));
    process.unblock_stdout();
    log.judge("storm blocked", subject, process, results)
}

/// A log in a folder of its own whose lines are numbered.
#[derive(Debug)]
pub struct Log {
    _folder: TempDir,
    path: PathBuf,
    file: File,
    lines: usize,
    rotations: usize,
}

impl Log {
    /// An empty log.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("podkit-bench").tempdir()?;
        let path = folder.path().join("app.log");
        let file = open(&path)?;
        Ok(Self { _folder: folder, path, file, lines: 0, rotations: 0 })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many lines were written.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Starts the program on a log of one line and waits until that has come out, so that all have the same start.
    fn follow(&mut self, subject: &Subject) -> anyhow::Result<Process> {
        self.write(1, Duration::ZERO)?;
        let process = Process::spawn(&mut subject.follow(&self.path));
        kit_test::eventually("the first line", Duration::from_secs(30), || !process.stdout_from(0).is_empty());
        Ok(process)
    }

    /// Lines, one write(2) each.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn write(&mut self, lines: usize, pause: Duration) -> anyhow::Result<()> {
        for _ in 0..lines {
            self.file.write_all(&line(self.lines))?;
            self.lines += 1;
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        Ok(())
    }

    fn rotated(&mut self) -> PathBuf {
        self.rotations += 1;
        self.path.with_extension(format!("log.{}", self.rotations))
    }

    /// The old file gets another name, a new one takes its place.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn rename(&mut self) -> anyhow::Result<()> {
        let rotated = self.rotated();
        #[expect(clippy::disallowed_methods, reason = "this is the rotation that is measured")]
        fs::rename(&self.path, rotated)?;
        self.file = open(&self.path)?;
        Ok(())
    }

    fn copy_and_truncate(&mut self) -> anyhow::Result<()> {
        let rotated = self.rotated();
        fs::copy(&self.path, rotated)?;
        self.file.set_len(0)?;
        Ok(())
    }

    /// Waits until all lines have come, or none comes any more, and counts.
    fn judge(&self, row: &str, subject: &Subject, process: Process, results: &mut Results) -> anyhow::Result<()> {
        let all = self.lines * LINE;
        let (mut seen, mut since) = (0, Instant::now());
        while seen < all && since.elapsed() < QUIET {
            let now = seen + process.stdout_from(seen).len();
            if now > seen {
                (seen, since) = (now, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let count = Count::of(&process.kill().stdout, self.lines)?;
        results.add(row, subject.name, Some(count.missing as f64));
        results.add(&format!("{row}, doubled or torn"), subject.name, Some((count.doubled + count.torn) as f64));
        // The row then misses its gate; the others are still worth measuring.
        if subject.is_ours() && count != Count::default() {
            eprintln!("{row}: {count:?}");
        }
        Ok(())
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

/// Bytes per line, its newline included.
pub const LINE: usize = 100;

/// Line `number`.
#[must_use]
pub fn line(number: usize) -> Vec<u8> {
    let mut line = format!("{number:09} ").into_bytes();
    line.resize(LINE - 1, b'a' + u8::try_from(number % 26).unwrap_or(0));
    line.push(b'\n');
    line
}

/// What came out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Lines that did not come.
    pub missing: usize,
    /// Lines that came again.
    pub doubled: usize,
    /// Pieces that are no line.
    pub torn: usize,
}

impl Count {
    /// Compares `output` with lines `0..lines`.
    ///
    /// # Errors
    /// When the output is not even in pieces of this log.
    pub fn of(output: &[u8], lines: usize) -> anyhow::Result<Self> {
        let mut seen = vec![false; lines];
        let mut count = Self::default();
        for piece in output.split_inclusive(|byte| *byte == b'\n') {
            let number = piece.get(..9).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
            match number.filter(|number| *number < lines && line(*number) == piece) {
                Some(number) if std::mem::replace(&mut seen[number], true) => count.doubled += 1,
                Some(_) => (),
                None => count.torn += 1,
            }
        }
        count.missing = seen.iter().filter(|seen| !**seen).count();
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_doubled_and_torn_lines_are_counted() {
        let output = [line(0), line(2), line(2), line(1)[..50].to_vec()].concat();
        assert_eq!(Count::of(&output, 4).unwrap(), Count { missing: 2, doubled: 1, torn: 1 });
        assert_eq!(line(7).len(), LINE);
    }
}
