//! Files followed and rewritten by the real binary: rotation, restart, several files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::disallowed_methods, reason = "the test is the one who rotates")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kit_test::{Process, Signal};

const LONG: Duration = Duration::from_secs(30);

fn command(arguments: &[&str], files: &[&Path]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_date-adapter"));
    command.args(["-i", "%d/%m/%YT%T", "-f", "%Y/%m/%dT%T"]).args(arguments).args(files);
    command
}

/// A numbered line as the app writes it, and as it comes out.
fn line(number: usize) -> (String, String) {
    let (minute, second) = (number / 60 % 60, number % 60);
    let tail = format!("T16:{minute:02}:{second:02} line {number} /a/T/b\n");
    (format!("01/12/2022{tail}"), format!("2022/12/01{tail}"))
}

/// A log that is written and rotated.
struct Log {
    folder: tempfile::TempDir,
    open: File,
    written: usize,
    rotated: usize,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = append(&folder.path().join("ts.log"));
        Log { folder, open, written: 0, rotated: 0 }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ts.log")
    }

    fn write(&mut self, lines: usize) {
        for _ in 0..lines {
            self.open.write_all(line(self.written).0.as_bytes()).unwrap();
            self.written += 1;
        }
    }

    /// As logrotate does it: the writer keeps the old file for `late` more lines.
    fn rotate(&mut self, late: usize) {
        let named = |number: usize| self.folder.path().join(format!("ts.log.{number}"));
        for number in (1..=self.rotated).rev() {
            fs::rename(named(number), named(number + 1)).unwrap();
        }
        fs::rename(self.path(), named(1)).unwrap();
        self.rotated += 1;
        let new = append(&self.path());
        self.write(late);
        self.open = new;
    }

    fn expected(&self, from: usize) -> String {
        (from..self.written).map(|number| line(number).1).collect()
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

#[track_caller]
fn wait_for_line(process: &Process, number: usize) {
    process.wait_for_stdout(line(number).1.trim_end(), LONG);
}

#[track_caller]
fn ended(mut process: Process) -> String {
    process.signal(Signal::TERM);
    let exit = process.wait_within(LONG);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    String::from_utf8(exit.stdout).unwrap()
}

#[test]
fn da20_every_line_is_rewritten_once_through_rotations_with_late_lines() {
    for watch in ["inotify", "poll"] {
        let mut log = Log::new();
        log.write(100);
        let process = Process::spawn(&mut command(&["-F", "--watch", watch, "--poll", "20ms"], &[&log.path()]));
        wait_for_line(&process, 99);
        for _ in 0..10 {
            log.write(50);
            log.rotate(7);
        }
        log.write(50);
        wait_for_line(&process, log.written - 1);
        assert_eq!(ended(process), log.expected(0), "{watch}");
    }
}

#[test]
fn da20_a_restart_goes_on_where_the_state_file_says() {
    let mut log = Log::new();
    let state = log.folder.path().join("state");
    let start = |log: &Log| Process::spawn(&mut command(&["--state-file", state.to_str().unwrap()], &[&log.path()]));
    log.write(30);
    let process = start(&log);
    wait_for_line(&process, 29);
    let mut all = ended(process);
    log.write(30);
    log.rotate(5);
    log.write(30);
    let process = start(&log);
    wait_for_line(&process, log.written - 1);
    all += &ended(process);
    assert_eq!(all, log.expected(0));
}

#[test]
fn da20_kills_lose_nothing_and_repeat_whole_lines_only() {
    let mut log = Log::new();
    let state = log.folder.path().join("state");
    let start = |log: &Log| Process::spawn(&mut command(&["--state-file", state.to_str().unwrap()], &[&log.path()]));
    let mut all = String::new();
    for round in 0..5 {
        log.write(2000);
        if round % 2 == 1 {
            log.rotate(5);
        }
        let mut process = start(&log);
        // Somewhere in the middle, wherever that is on this machine.
        wait_for_line(&process, round * 2000 + 300 * round);
        process.signal(Signal::KILL);
        let out = String::from_utf8(process.wait_within(LONG).stdout).unwrap();
        // A write that was cut short by the kill ends inside a line, which comes again.
        all += &out[..out.rfind('\n').map_or(0, |at| at + 1)];
    }
    let process = start(&log);
    log.write(1);
    wait_for_line(&process, log.written - 1);
    all += &ended(process);
    let mut next = 0;
    for line_seen in all.lines() {
        let number: usize = line_seen.split(' ').nth(2).unwrap().parse().unwrap();
        assert!(number <= next, "line {number} came after {next}: lines are missing");
        assert_eq!(format!("{line_seen}\n"), line(number).1);
        next = next.max(number + 1);
    }
    assert_eq!(next, log.written);
}

#[test]
fn da20_a_truncated_file_is_read_from_its_beginning() {
    let mut log = Log::new();
    log.write(20);
    let process = Process::spawn(&mut command(&[], &[&log.path()]));
    wait_for_line(&process, 19);
    log.open.set_len(0).unwrap();
    log.write(5);
    wait_for_line(&process, 24);
    assert_eq!(ended(process), log.expected(0));
}

#[test]
fn a_file_that_appears_later_is_read_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ts.log");
    let process = Process::spawn(&mut command(&["-F"], &[&path]));
    process.wait_for_stderr("cannot open", LONG);
    fs::write(&path, line(0).0 + &line(1).0).unwrap();
    wait_for_line(&process, 1);
    assert_eq!(ended(process), line(0).1 + &line(1).1);
}

#[test]
fn a_line_longer_than_the_window_is_rewritten_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ts.log");
    let tail = "x".repeat(1_000_000);
    fs::write(&path, format!("01/12/2022T16:25:21 {tail}\n02/12/2022T16:25:21 next\n")).unwrap();
    let process = Process::spawn(&mut command(&["--exit-on-eof"], &[&path]));
    let exit = process.wait_within(LONG);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let expected = format!("2022/12/01T16:25:21 {tail}\n2022/12/02T16:25:21 next\n");
    assert!(exit.stdout == expected.as_bytes(), "{} bytes came out", exit.stdout.len());
}

#[test]
fn each_file_has_its_own_lines_and_years() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&first, "Dec 31 23:59:59 a\nJan  1 00:00:01 a\n").unwrap();
    fs::write(&second, "Dec 30 23:59:59 b\nno\nFeb 30 00:00:00 b\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_date-adapter"));
    command.args(["-i", "syslog", "-f", "%F %T", "--year", "2019", "--exit-on-eof"]).args([&first, &second]);
    let exit = Process::spawn(&mut command).wait_within(LONG);
    let mut lines: Vec<&str> = std::str::from_utf8(&exit.stdout).unwrap().lines().collect();
    lines.sort_unstable();
    let expected =
        ["2019-12-30 23:59:59 b", "2019-12-31 23:59:59 a", "2020-01-01 00:00:01 a", "Feb 30 00:00:00 b", "no"];
    assert_eq!(lines, expected);
    let told = format!("file=\"{}\" line=3 stamp=\"Feb 30 00:00:00\"", second.display());
    assert!(exit.stderr.contains(&told), "{}", exit.stderr);
}

#[test]
fn strict_and_failing_policies_hold_for_files_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ts.log");
    fs::write(&path, line(0).0 + "no stamp\n" + &line(1).0).unwrap();
    let exit = Process::spawn(&mut command(&["--strict", "--exit-on-eof"], &[&path])).wait_within(LONG);
    assert_eq!((exit.code, exit.stdout), (Some(5), (line(0).1 + "no stamp\n" + &line(1).1).into_bytes()));
    let exit = Process::spawn(&mut command(&["--on-unmatched", "fail"], &[&path])).wait_within(LONG);
    assert_eq!((exit.code, exit.stdout), (Some(1), line(0).1.into_bytes()), "{}", exit.stderr);
    assert!(exit.stderr.contains("error: line 2: no stamp"), "{}", exit.stderr);
}

#[test]
fn a_blocked_reader_loses_nothing_over_rotations() {
    let mut log = Log::new();
    log.write(10);
    let process = Process::spawn(&mut command(&[], &[&log.path()]));
    wait_for_line(&process, 9);
    process.block_stdout();
    for _ in 0..3 {
        log.write(5000);
        log.rotate(10);
    }
    log.write(10);
    process.unblock_stdout();
    wait_for_line(&process, log.written - 1);
    assert_eq!(ended(process), log.expected(0));
}
