//! A log with its writer, a tailer on it, and what came out.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kit_test::{Exit, Process, Signal, eventually};

/// Generous: the machine may be busy with everything else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with a log in it.
pub(crate) struct Pod {
    dir: tempfile::TempDir,
}

impl Pod {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Opens for appending, as an app does, and keeps the descriptor through renames.
    pub(crate) fn writer(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap()
    }

    pub(crate) fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        self.writer(name).write_all(text.as_ref()).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "logrotate renames as well")]
    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// As logrotate's copytruncate: copy, sync, truncate.
    pub(crate) fn copytruncate(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
        File::open(self.path(to)).unwrap().sync_all().unwrap();
        OpenOptions::new().write(true).open(self.path(from)).unwrap().set_len(0).unwrap();
    }

    pub(crate) fn compress(&self, name: &str) {
        let content = fs::read(self.path(name)).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&content).unwrap();
        fs::write(self.path(&format!("{name}.gz")), encoder.finish().unwrap()).unwrap();
        self.remove(name);
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-tailer"));
        command.args(arguments).current_dir(self.dir.path());
        command
    }

    pub(crate) fn tail(&self, arguments: &[&str]) -> Tail {
        Tail(Process::spawn(&mut self.command(arguments)))
    }

    /// Runs one that ends by itself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Exit {
        Process::spawn(&mut self.command(arguments)).wait_within(PATIENCE)
    }
}

/// A running log-tailer.
pub(crate) struct Tail(pub(crate) Process);

impl Tail {
    /// Waits until stdout is exactly this, and fails at once when it cannot become it any more.
    #[track_caller]
    pub(crate) fn prints(&self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let same = || {
            let found = self.0.stdout();
            let prefix = expected.starts_with(&found);
            assert!(prefix, "printed {:?}\nexpected {:?}\nstderr {}", show(&found), show(expected), self.0.stderr());
            found.len() == expected.len()
        };
        eventually("the expected output", PATIENCE, same);
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        self.0.wait_for_stderr(text, PATIENCE);
    }

    pub(crate) fn stop(&mut self) {
        self.0.signal(Signal::STOP);
        eventually("the process to be stopped", PATIENCE, || self.is_in_state('T'));
    }

    /// Waits until it waits for something: what it has seen is handed over then, and the next thing it does is a look.
    pub(crate) fn rests(&self) {
        eventually("the process to sleep", PATIENCE, || self.is_in_state('S'));
    }

    fn is_in_state(&self, state: char) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with(state)
    }

    pub(crate) fn go_on(&mut self) {
        self.0.signal(Signal::CONT);
    }

    /// SIGTERM, and the end that follows.
    #[track_caller]
    pub(crate) fn end(mut self) -> Exit {
        self.0.signal(Signal::TERM);
        self.0.wait_within(PATIENCE)
    }

    /// SIGTERM; the whole output must then be this and the code 0.
    #[track_caller]
    pub(crate) fn ends_with(self, expected: impl AsRef<[u8]>) {
        let exit = self.end();
        assert_eq!(show(&exit.stdout), show(expected.as_ref()), "stderr: {}", exit.stderr);
        assert_eq!(exit.code, Some(0), "stderr: {}", exit.stderr);
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0.id())).unwrap().count()
    }

    /// How many generations of all files are open, by the last status that it has told. Asks for the next one.
    pub(crate) fn generations(&mut self) -> usize {
        self.0.signal(Signal::USR1);
        let told = self.0.stderr();
        let status = told.lines().rev().find(|line| line.starts_with(r#"{"files":"#));
        status.map_or(0, |status| status.matches(r#""inode":"#).count())
    }

    pub(crate) fn memory_peak_kib(&self) -> u64 {
        self.0.status_number("VmHWM")
    }
}

fn show(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.len() < 4000 {
        text.into_owned()
    } else {
        format!("{} bytes ending in {:?}", bytes.len(), &text[text.len() - 300..])
    }
}

/// `from..to` as lines of the form `line 7`.
pub(crate) fn lines(from: usize, to: usize) -> String {
    (from..to).map(|number| format!("line {number}\n")).collect()
}

/// Both ways in which changes are noticed.
pub(crate) const WAYS: [&[&str]; 2] = [&[], &["--watch", "poll", "--poll", "20ms"]];

pub(crate) fn with<'a>(arguments: &[&'a str], way: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().chain(way).copied().collect()
}

pub(crate) fn exists(path: &Path) -> bool {
    path.exists()
}
