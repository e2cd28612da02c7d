//! A child process whose streams are captured while it runs.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::eventually_some;

/// The binary of one of our tools, from the folder that `PODKIT_BIN_DIR` names.
///
/// # Panics
/// When the variable is absent or the folder lacks the binary: `cargo xtask test` builds it and sets the variable.
#[must_use]
#[track_caller]
pub fn tool(name: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test has no kit-run Context to take it from")]
    let folder = std::env::var_os("PODKIT_BIN_DIR");
    let folder = folder.expect("PODKIT_BIN_DIR is not set: run the tests with `cargo xtask test`");
    let path = std::path::absolute(PathBuf::from(folder).join(name)).unwrap();
    assert!(path.is_file(), "{} does not exist: run the tests with `cargo xtask test`", path.display());
    path
}

/// How a process ended, with everything it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; `None` when a signal ended the process.
    pub code: Option<i32>,
    /// The number of the signal that ended the process.
    pub signal: Option<i32>,
    /// Every byte of standard output.
    pub stdout: Vec<u8>,
    /// Standard error as text; bytes that are not UTF-8 are replaced.
    pub stderr: String,
}

/// A running child process. Its streams are read all the time, so it never blocks on them unless told to.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with an empty standard input.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        Self::start(command.stdin(Stdio::null()))
    }

    /// Starts `command` with a standard input that [`Process::stdin`] writes and [`Process::close_stdin`] ends.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn spawn_fed(command: &mut Command) -> Self {
        Self::start(command.stdin(Stdio::piped()))
    }

    #[track_caller]
    fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let mut child = match command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start {name}: {error}"),
        };
        let stdout = Stream::read(child.stdout.take().unwrap());
        let stderr = Stream::read(child.stderr.take().unwrap());
        Self { name, stdin: child.stdin.take(), child, stdout, stderr, status: None }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The write end of standard input, until [`Process::close_stdin`].
    ///
    /// # Panics
    /// When the process was not started with [`Process::spawn_fed`].
    #[track_caller]
    pub fn stdin(&mut self) -> &mut ChildStdin {
        self.stdin.as_mut().expect("a standard input that is open: start with Process::spawn_fed")
    }

    /// Lets the process see the end of its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends `signal`; a process that has already ended is left alone.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            // The child is not reaped before `is_running` says so: its id cannot have been given to another process.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    /// Whether the process has not ended yet. A stopped process runs.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status.is_none()
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.bytes()
    }

    /// Standard output so far, without its first `offset` bytes.
    #[must_use]
    pub fn stdout_from(&self, offset: usize) -> Vec<u8> {
        self.stdout.state.lock().unwrap().bytes.get(offset..).unwrap_or_default().to_vec()
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Whether `text` stands in standard output so far.
    #[must_use]
    pub fn stdout_contains(&self, text: &str) -> bool {
        self.stdout.text().contains(text)
    }

    /// Whether `text` stands in standard error so far.
    #[must_use]
    pub fn stderr_contains(&self, text: &str) -> bool {
        self.stderr.text().contains(text)
    }

    /// The first whole line of standard output that contains `text`, without its newline.
    ///
    /// # Panics
    /// When no such line comes within `deadline`; the text holds both streams.
    #[track_caller]
    pub fn wait_for_stdout(&self, text: &str, deadline: Duration) -> String {
        self.wait_for(&self.stdout, "stdout", text, deadline)
    }

    /// The first whole line of standard error that contains `text`, without its newline.
    ///
    /// # Panics
    /// When no such line comes within `deadline`; the text holds both streams.
    #[track_caller]
    pub fn wait_for_stderr(&self, text: &str, deadline: Duration) -> String {
        self.wait_for(&self.stderr, "stderr", text, deadline)
    }

    #[track_caller]
    fn wait_for(&self, stream: &Stream, stream_name: &str, text: &str, deadline: Duration) -> String {
        let start = Instant::now();
        loop {
            if let Some(line) = stream.whole_line_with(text) {
                return line;
            }
            assert!(
                start.elapsed() < deadline,
                "no line with {text:?} on the {stream_name} of {} within {deadline:?}\nstdout: {}\nstderr: {}",
                self.name,
                ending(&self.stdout.text()),
                ending(&self.stderr.text()),
            );
            stream.wait_for_more(Duration::from_millis(100));
        }
    }

    /// Stops reading standard output, as a container runtime that hangs does. At most one read is still under way.
    pub fn block_stdout(&self) {
        self.stdout.state.lock().unwrap().blocked = true;
    }

    /// Reads standard output again.
    pub fn unblock_stdout(&self) {
        self.stdout.state.lock().unwrap().blocked = false;
        self.stdout.changed.notify_all();
    }

    /// Waits for the end of the process and of its streams.
    ///
    /// # Panics
    /// When the process still runs after `deadline`; it is then killed and the text holds both streams.
    #[track_caller]
    pub fn wait_within(mut self, deadline: Duration) -> Exit {
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() >= deadline {
                let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
                panic!(
                    "{} still runs after {deadline:?}\nstdout: {}\nstderr: {}",
                    self.name,
                    ending(&stdout),
                    ending(&stderr)
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.unblock_stdout();
        // A grandchild may hold the streams open for good; what it writes later is not this process's output.
        self.stdout.wait_for_end(Duration::from_secs(5));
        self.stderr.wait_for_end(Duration::from_secs(5));
        let status = self.status.unwrap();
        Exit { code: status.code(), signal: status.signal(), stdout: self.stdout.bytes(), stderr: self.stderr.text() }
    }

    /// Kills the process with SIGKILL and returns what it wrote until then.
    pub fn kill(mut self) -> Exit {
        self.signal(Signal::KILL);
        self.wait_within(Duration::from_secs(30))
    }

    /// A number from `/proc/<pid>/status`, e.g. `VmHWM` (in kB) or `Threads`.
    ///
    /// # Panics
    /// When the process has ended or the field does not exist.
    #[must_use]
    #[track_caller]
    pub fn status_number(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        eventually_some(&format!("{field} in {path}"), Duration::from_secs(1), || {
            let text = std::fs::read_to_string(&path).ok()?;
            let line = text.lines().find(|line| line.split(':').next() == Some(field))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.unblock_stdout();
    }
}

/// What a thread has read from one stream so far.
#[derive(Debug)]
struct Stream {
    state: Arc<Mutex<State>>,
    changed: Arc<Condvar>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
    blocked: bool,
}

impl Stream {
    /// The thread ends with the stream; nobody joins it, as a grandchild may keep the stream open.
    fn read(mut from: impl Read + Send + 'static) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let changed = Arc::new(Condvar::new());
        let stream = Self { state: Arc::clone(&state), changed: Arc::clone(&changed) };
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                drop(changed.wait_while(state.lock().unwrap(), |state| state.blocked).unwrap());
                let count = from.read(&mut buffer).unwrap_or(0);
                let mut state = state.lock().unwrap();
                state.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
                state.ended = count == 0;
                changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        stream
    }

    fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().bytes.clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.state.lock().unwrap().bytes).into_owned()
    }

    fn whole_line_with(&self, text: &str) -> Option<String> {
        let seen = self.text();
        let whole = &seen[..=seen.rfind('\n')?];
        whole.lines().find(|line| line.contains(text)).map(str::to_owned)
    }

    fn wait_for_more(&self, limit: Duration) {
        let state = self.state.lock().unwrap();
        let seen = state.bytes.len();
        drop(self.changed.wait_timeout_while(state, limit, |state| !state.ended && state.bytes.len() == seen).unwrap());
    }

    fn wait_for_end(&self, limit: Duration) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_timeout_while(state, limit, |state| !state.ended).unwrap());
    }
}

/// The last two thousand characters, so that a failure stays readable.
fn ending(text: &str) -> &str {
    let from = text.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
    &text[from..]
}
