//! Carries out one plan against one tailer.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kit_test::{Exit, Process, Signal, free_port, http_get};
use tempfile::TempDir;

use super::oracle::{BATCH, Observer, Verdict};
use super::plan::{Plan, Step};
use super::world::World;

/// How long a correct tailer may take for anything on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a peer gets to show what it is going to show. Busybox looks once per second.
const PEER_PATIENCE: Duration = Duration::from_millis(1500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    LogTailer,
    Gnu,
    Busybox,
}

impl Subject {
    fn command(self, plan: &Plan, files: &[&Path], state: &Path, admin: Option<SocketAddr>) -> Command {
        let program = match self {
            Self::LogTailer => kit_test::tool("log-tailer"),
            Self::Gnu => PathBuf::from("/usr/bin/tail"),
            Self::Busybox => PathBuf::from("busybox"),
        };
        let mut command = Command::new(program);
        let setup = &plan.setup;
        match self {
            Self::LogTailer => {
                if setup.gnu_arguments {
                    command.args(["-q", "-n+1", "-F"]);
                }
                command.args(["--watch", if setup.poll { "poll" } else { "inotify" }, "--poll", "20ms"]);
                if setup.state {
                    command.arg("--state-file").arg(state);
                }
                if setup.old_folder {
                    command.arg("--olddir").arg(files[0].with_file_name("old"));
                }
                if let Some(address) = admin {
                    command.args(["--admin-listen", &address.to_string()]);
                }
            }
            Self::Gnu => {
                command.args(["-q", "-n+1", "-F"]);
                if setup.poll {
                    command.args(["---disable-inotify", "-s", "0.02"]);
                }
            }
            Self::Busybox => {
                command.args(["tail", "-q", "-n+1", "-F"]);
            }
        }
        command.args(files);
        command
    }
}

/// One run of one plan.
struct Run<'a> {
    plan: &'a Plan,
    subject: Subject,
    patience: Duration,
    _folder: TempDir,
    state: PathBuf,
    worlds: Vec<World>,
    observer: Observer,
    process: Option<Process>,
    admin: Option<SocketAddr>,
    consumed: usize,
    lives: usize,
    kills: usize,
    frozen: bool,
    blocked: bool,
    problems: Vec<String>,
}

/// Carries out `plan`; the problems are what the tailer did wrong.
pub(super) fn run(plan: &Plan, subject: Subject) -> Verdict {
    run_within(PATIENCE, plan, subject)
}

/// As [`run`], with another opinion of when a tailer is stuck.
pub(super) fn run_within(patience: Duration, plan: &Plan, subject: Subject) -> Verdict {
    let parent = if plan.setup.memory { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new().prefix("podkit-fuzz").tempdir_in(parent).unwrap();
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let mut run = Run {
        plan,
        subject,
        patience: if subject == Subject::LogTailer { patience } else { PEER_PATIENCE },
        state: folder.path().join("state"),
        _folder: folder,
        worlds: (0..plan.setup.files).map(|index| World::new(&logs, index, plan.seed, &plan.setup)).collect(),
        observer: Observer::new(plan.setup.append),
        process: None,
        admin: None,
        consumed: 0,
        lives: 0,
        kills: 0,
        frozen: false,
        blocked: false,
        problems: Vec::new(),
    };
    run.first_start();
    for step in &plan.steps {
        if !run.problems.is_empty() {
            break;
        }
        run.step(*step);
    }
    if run.problems.is_empty() {
        run.finish();
    }
    let mut verdict = run.observer.verdict(&run.worlds, plan.setup.state);
    verdict.problems.splice(0..0, run.problems);
    verdict
}

impl Run<'_> {
    fn is_ours(&self) -> bool {
        self.subject == Subject::LogTailer
    }

    /// Files rotated before the first look are history: nothing is rotated before a line has come out.
    fn first_start(&mut self) {
        self.start();
        self.worlds.iter_mut().for_each(|world| world.write(1, Duration::ZERO));
        self.sync();
        if self.plan.setup.state && self.is_ours() && self.problems.is_empty() {
            let state = self.state.clone();
            let written = || fs::metadata(&state).is_ok_and(|data| data.len() > 0);
            kit_test::eventually("a state file with content", PATIENCE, written);
        }
    }

    fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        self.admin = self.plan.setup.metrics.then(|| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let files: Vec<&Path> = self.worlds.iter().map(|world| world.path.as_path()).collect();
        let mut command = self.subject.command(self.plan, &files, &self.state, self.admin);
        self.process = Some(Process::spawn(&mut command));
        self.observer.begin_life();
        self.consumed = 0;
        self.lives += 1;
        let life = self.lives;
        self.worlds.iter_mut().for_each(|world| world.life = Some(life));
    }

    /// Takes in what has come out so far; whether there was anything new.
    fn observe(&mut self) -> bool {
        let Some(process) = &mut self.process else { return false };
        let running = process.is_running();
        let fresh = process.stdout_from(self.consumed);
        self.consumed += fresh.len();
        self.observer.feed(&fresh, &self.worlds);
        if !running {
            let exit = self.process.take().unwrap().wait_within(PATIENCE);
            self.problems.push(format!("exited early with {:?} {:?}: {}", exit.code, exit.signal, exit.stderr));
        }
        !fresh.is_empty()
    }

    /// The generations of `file` that the tailer holds open by the evidence of its output.
    fn open(&mut self, file: usize) -> BTreeSet<usize> {
        self.observe();
        self.observer.open(file)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { file, lines, pause_us } => self.worlds[file].write(lines, Duration::from_micros(pause_us)),
            Step::Burst { file, lines } => self.worlds[file].burst(lines),
            Step::Half { file } => self.worlds[file].half(),
            Step::Late { file, lines } => self.worlds[file].late(lines),
            Step::Rotate { file, rotation } => {
                if rotation.kind == super::plan::Kind::Rewrite {
                    self.sync();
                }
                let open = self.open(file);
                self.worlds[file].rotate(rotation, &open);
            }
            Step::Compress { file } => {
                let open = self.open(file);
                self.worlds[file].compress(&open);
            }
            Step::Prune { file } => {
                let open = self.open(file);
                self.worlds[file].prune(&open);
            }
            Step::Freeze => self.freeze(true),
            Step::Thaw => self.freeze(false),
            Step::Block => self.block(true),
            Step::Unblock => self.block(false),
            Step::Kill if self.is_ours() => self.kill(),
            Step::Terminate if self.is_ours() && self.process.is_some() => {
                self.make_sure_it_listens();
                self.terminate(0);
            }
            Step::Start => self.start(),
            Step::Hangup if self.is_ours() && self.observer.life_has_output() => {
                self.process.iter_mut().for_each(|process| process.signal(Signal::HUP));
            }
            Step::Kill | Step::Terminate | Step::Hangup => (),
            Step::Sync => self.sync(),
            Step::Pause { ms } => std::thread::sleep(Duration::from_millis(ms)),
        }
        self.observe();
    }

    fn freeze(&mut self, freeze: bool) {
        let signal = if freeze { Signal::STOP } else { Signal::CONT };
        self.process.iter_mut().for_each(|process| process.signal(signal));
        self.frozen = freeze && self.process.is_some();
    }

    fn block(&mut self, block: bool) {
        if let Some(process) = &self.process {
            if block { process.block_stdout() } else { process.unblock_stdout() }
        }
        self.blocked = block && self.process.is_some();
    }

    fn make_runnable(&mut self) {
        if self.frozen {
            self.freeze(false);
        }
        if self.blocked {
            self.block(false);
        }
        self.start();
    }

    fn sync(&mut self) {
        self.make_runnable();
        let patience = self.patience;
        let (start, mut first) = (Instant::now(), true);
        loop {
            let look = self.observe() || std::mem::take(&mut first);
            if look && self.observer.missing(&self.worlds).is_empty() || !self.problems.is_empty() {
                return;
            }
            if start.elapsed() > patience {
                if self.is_ours() {
                    let stderr = self.process.as_ref().map(Process::stderr).unwrap_or_default();
                    self.problems.push(format!("stuck for {patience:?}; stderr: {stderr}"));
                }
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn kill(&mut self) {
        let Some(process) = self.process.take() else { return };
        let exit = process.kill();
        self.kills += 1;
        self.observer.feed(&exit.stdout[self.consumed..], &self.worlds);
        self.life_over(true);
    }

    fn life_over(&mut self, killed: bool) {
        self.observer.end_life(killed);
        self.worlds.iter_mut().for_each(|world| world.life_ended(killed));
        (self.frozen, self.blocked) = (false, false);
    }

    /// SIGTERM before its handler stands would end the process as a kill does; a line shown proves that it stands.
    fn make_sure_it_listens(&mut self) {
        self.make_runnable();
        self.worlds.iter_mut().for_each(|world| world.write(1, Duration::ZERO));
        self.sync();
    }

    /// SIGTERM while the writers go on for `rounds`; everything they write within `--drain-quiet` must come out.
    fn terminate(&mut self, rounds: usize) {
        let Some(mut process) = self.process.take() else { return };
        self.worlds.iter_mut().for_each(|world| world.write(1, Duration::ZERO));
        process.signal(Signal::TERM);
        let mut last = Instant::now();
        for _ in 0..rounds {
            std::thread::sleep(Duration::from_millis(20));
            // On a machine this busy the tailer may rightly have left.
            if last.elapsed() > Duration::from_millis(250) {
                break;
            }
            self.worlds.iter_mut().for_each(|world| world.write(2, Duration::ZERO));
            last = Instant::now();
        }
        let exit = process.wait_within(PATIENCE);
        self.observer.feed(&exit.stdout[self.consumed..], &self.worlds);
        if exit.code != Some(0) {
            let Exit { code, signal, stderr, .. } = exit;
            self.problems.push(format!("SIGTERM: ended with {code:?} {signal:?}: {stderr}"));
        }
        self.life_over(false);
    }

    fn finish(&mut self) {
        self.make_runnable();
        self.worlds.iter_mut().for_each(|world| world.write(3, Duration::ZERO));
        if !self.is_ours() {
            self.sync();
            self.kill();
            return;
        }
        if !self.observer.life_has_output() {
            self.make_sure_it_listens();
        }
        if self.admin.is_some() {
            self.sync();
            self.check_metrics();
        }
        if self.problems.is_empty() {
            self.terminate(5);
        }
    }

    /// The tailer never says that more is lost than what did not come out. It cannot know of bytes that came and went
    /// between two looks, so it may say less. Holes count for neither side. A killed tailer cannot tell its next life that
    /// its last batch went out (T33), so that much may be said to be lost after each kill.
    fn check_metrics(&mut self) {
        let Some(address) = self.admin.filter(|_| self.problems.is_empty() && self.plan.setup.append) else { return };
        let text = http_get(address, "/metrics").body;
        let said: f64 = sum_of(&text, "log_tailer_lost_bytes_total");
        let missing = self.observer.missing_bytes(&self.worlds);
        if said > (missing + self.kills * BATCH) as f64 {
            self.problems.push(format!("/metrics says {said} bytes are lost, {missing} are missing"));
        }
    }
}

/// The sum of a metric over all its labels.
pub(super) fn sum_of(text: &str, metric: &str) -> f64 {
    let values = text.lines().filter(|line| line.starts_with(metric) && !line.starts_with('#'));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
