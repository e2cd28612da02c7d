//! The loop: look, hand over, wait for whatever comes first.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::Instant;

use crate::Start;
use crate::alarm::Alarm;
use crate::config::{Config, Input, OnStateError};
use crate::engine::{Engine, Step};
use crate::sink::Sink;
use crate::state::{StateError, StateFile};
use crate::stats::Stats;
use crate::target::{Presence, Target};

/// What the process around the loop may ask of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Hand over what comes until everything is quiet, then end.
    Drain,
    /// Look at everything anew.
    Rescan,
    /// Say by a notice, as one line of JSON, which files are open and how far they were handed over.
    Status,
    /// Nothing: the loop was asked whether it runs.
    Nothing,
}

/// The process around the loop.
#[expect(async_fn_in_trait, reason = "the loop is single-threaded and generic over its host")]
pub trait Host {
    /// Waits for the next command. Dropped and called again at any time, so nothing may be lost by that.
    async fn command(&mut self) -> Command;

    /// Says one line to the user, in the words of GNU tail.
    fn notice(&mut self, text: &str);

    /// Every path that was named is open, or some are not: those are given.
    fn opened(&mut self, missing: &[String]);
}

/// Why following ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A drain was asked for and everything is handed over.
    Drained,
    /// The grace of a drain is over with that many bytes not handed over.
    GraceOver {
        /// Bytes in the files that were not handed over.
        unread: u64,
    },
    /// Everything that there was is handed over, and more was not wanted.
    Ended,
}

/// Why following failed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The output failed; a kind of `BrokenPipe` means that its reader left.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// An open file cannot be read.
    #[error("cannot read a followed file")]
    Read(#[source] io::Error),
    /// The kernel's events cannot be read.
    #[error("cannot read file events")]
    Watch(#[source] io::Error),
    /// The state file cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// No file is left and none is waited for.
    #[error("no files remaining")]
    NoFiles,
    /// A file did not appear in time.
    #[error("'{path}' did not appear within --wait-timeout {}", kit_units::format_duration(*waited))]
    WaitTimeout {
        /// The first missing path.
        path: String,
        /// `--wait-timeout`.
        waited: Duration,
    },
}

/// Follows until a condition of the config ends it, the host asks for a drain, or it fails.
///
/// The sink gets every whole line of every generation once, in order, as long as its bytes exist under the path or a
/// sibling name when the loop looks. With a state file that holds across restarts; a kill repeats at most one batch.
///
/// # Errors
/// Any [`FollowError`]. The state file then holds what the output had accepted.
pub async fn follow<S: Sink, H: Host>(
    config: Config,
    sink: S,
    host: &mut H,
    stats: Stats,
) -> Result<Outcome, FollowError> {
    if let Some(feed) = &config.feed {
        return crate::stream::follow(&config, feed, sink, host, stats).await;
    }
    let mut engine = Engine::new(config, sink, stats);
    engine.open_state()?;
    engine.choose_watch();
    for input in engine.config.inputs.clone() {
        if let Input::File(path) = input {
            let target = engine.new_target(path);
            engine.targets.push(target);
        }
    }
    let ending = Ending::new(&engine.config);
    Loop { engine, host, ending, check: Instant::now(), blocked: None, told_open: None, alarm: Alarm::new() }
        .run()
        .await
}

/// What decides when to end.
pub(crate) struct Ending {
    began: Instant,
    pub(crate) drain: Option<Instant>,
    finishing: bool,
    pub(crate) processes: Vec<Process>,
}

impl Ending {
    pub(crate) fn new(config: &Config) -> Self {
        let processes = config.processes.iter().map(|pid| Process::open(*pid)).collect();
        Self { began: Instant::now(), drain: None, finishing: false, processes }
    }
}

struct Loop<'a, S, H> {
    engine: Engine<S>,
    host: &'a mut H,
    ending: Ending,
    /// When the next look without an event is due.
    check: Instant,
    blocked: Option<Instant>,
    told_open: Option<Vec<String>>,
    alarm: Alarm,
}

impl<S: Sink, H: Host> Loop<'_, S, H> {
    async fn run(mut self) -> Result<Outcome, FollowError> {
        loop {
            self.look()?;
            let mut step = self.engine.pass()?;
            match step {
                Step::Blocked => self.engine.look_while_blocked()?,
                // What was read is known to have been read before all that later events tell of, however late they are taken.
                Step::Dry if self.engine.take_events()? => step = Step::More,
                Step::Dry | Step::More | Step::At(_) => {}
            }
            self.tell();
            if let Some(outcome) = self.end(&mut step)? {
                return Ok(outcome);
            }
            self.wait(step).await?;
        }
    }

    /// Applies events, and everything else where no event can be trusted.
    fn look(&mut self) -> Result<(), FollowError> {
        let engine = &mut self.engine;
        engine.take_events()?;
        let now = Instant::now();
        if now >= self.check {
            engine.check_progress()?;
            let every = if engine.polling { engine.config.poll } else { engine.config.progress_check };
            self.check = if every.is_zero() { now + Duration::from_secs(3600) } else { now + every };
        }
        if engine.patterns_changed {
            engine.look_at_patterns();
        }
        for target in 0..engine.targets.len() {
            if engine.targets[target].doubtful {
                engine.reconcile(target)?;
            }
            let Target { copy_hint, undecided, making, .. } = &engine.targets[target];
            if *copy_hint || undecided.is_some() || making.is_some_and(|due| due <= now) {
                engine.look_beside(target)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self) {
        for notice in self.engine.notices.drain(..) {
            self.host.notice(&notice);
        }
        let named = self.engine.targets.iter().filter(|target| !target.from_pattern);
        let missing: Vec<String> = named
            .filter(|target| !matches!(target.presence, Presence::There | Presence::Elsewhere(_)))
            .map(|target| target.shown())
            .collect();
        if self.told_open.as_ref() != Some(&missing) {
            self.host.opened(&missing);
            self.told_open = Some(missing);
        }
    }

    /// Whether it is over, and how.
    fn end(&mut self, step: &mut Step) -> Result<Option<Outcome>, FollowError> {
        let dry = *step == Step::Dry;
        let config = &self.engine.config;
        if let Some(since) = self.ending.drain {
            if since.elapsed() >= config.grace {
                let unread = self.engine.unread_lines();
                return Ok(Some(if unread == 0 { Outcome::Drained } else { Outcome::GraceOver { unread } }));
            }
            let quiet = self.engine.arrived().is_none_or(|last| last.elapsed() >= config.drain_quiet);
            if dry && quiet && since.elapsed() >= config.drain_min {
                return self.finish(step, Outcome::Drained);
            }
            return Ok(None);
        }
        self.check_missing()?;
        let config = &self.engine.config;
        let gone = !self.ending.processes.is_empty() && self.ending.processes.iter_mut().all(Process::is_gone);
        let until = config.until_file.as_ref().is_some_and(|path| path.exists());
        let idle =
            config.exit_idle.is_some_and(|idle| self.engine.arrived().unwrap_or(self.ending.began).elapsed() >= idle);
        if dry && (gone || until || idle || config.exit_on_eof) {
            // What was written before the condition came true is handed over first.
            if !self.ending.finishing {
                self.ending.finishing = true;
                self.engine.check_progress()?;
                *step = Step::More;
                return Ok(None);
            }
            return self.finish(step, Outcome::Ended);
        }
        self.ending.finishing &= !dry;
        Ok(None)
    }

    fn check_missing(&self) -> Result<(), FollowError> {
        let config = &self.engine.config;
        let absent = |presence: &Presence| matches!(presence, Presence::Missing(_) | Presence::Untailable(_));
        if let Some(waited) = config.wait_timeout.filter(|waited| self.ending.began.elapsed() >= *waited) {
            let missing = self
                .engine
                .targets
                .iter()
                .find(|target| target.generations.is_empty() && !target.was_there && absent(&target.presence));
            if let Some(target) = missing {
                return Err(FollowError::WaitTimeout { path: target.shown(), waited });
            }
            if self.engine.targets.is_empty() && !config.inputs.is_empty() {
                return Err(FollowError::WaitTimeout { path: "any file".into(), waited });
            }
        }
        let none = self.engine.targets.iter().all(|target| target.generations.is_empty() && absent(&target.presence));
        let waits = config.retry || config.inputs.iter().any(|input| matches!(input, Input::Pattern(_)));
        if none && !waits && !self.engine.targets.is_empty() {
            return Err(FollowError::NoFiles);
        }
        Ok(())
    }

    /// Hands over what was held, then ends. Goes on waiting where the output is stuck.
    fn finish(&mut self, step: &mut Step, outcome: Outcome) -> Result<Option<Outcome>, FollowError> {
        let engine = &mut self.engine;
        if !engine.last {
            engine.last = true;
            engine.targets.iter_mut().for_each(|target| target.ready = true);
            *step = Step::More;
            return Ok(None);
        }
        // With a state file an unfinished line is for the next run.
        let flushed = engine.state.is_some() || engine.release_all()?;
        if flushed && engine.flush()? {
            return Ok(Some(outcome));
        }
        *step = Step::Blocked;
        Ok(None)
    }

    async fn wait(&mut self, step: Step) -> Result<(), FollowError> {
        let due = self.due(step);
        if step == Step::Blocked {
            self.blocked.get_or_insert_with(Instant::now);
        }
        let engine = &self.engine;
        let events = async {
            match &engine.watcher {
                Some(watcher) => watcher.readable().await,
                None => std::future::pending().await,
            }
        };
        let sleep = async {
            match due {
                Some(due) => self.alarm.at(due).await,
                None => std::future::pending().await,
            }
        };
        // Whoever is first wins, and nothing is half done: every branch only says that a look is worth its while.
        let mut command = None;
        let mut all = false;
        tokio::select! {
            biased;
            asked = self.host.command() => command = Some(asked),
            ready = engine.sink.ready(), if step == Step::Blocked => ready.map_err(FollowError::Output)?,
            read = events => read.map_err(FollowError::Watch)?,
            () = engine.sink.gone() => return Err(FollowError::Output(io::ErrorKind::BrokenPipe.into())),
            () = any_process(&self.ending.processes) => {}
            () = tokio::task::yield_now(), if step == Step::More => {}
            () = sleep => all = true,
        }
        if let Some(since) = self.blocked.take() {
            self.engine.stats.blocked_seconds.inc_by(since.elapsed().as_secs_f64());
        }
        match command {
            Some(Command::Drain) => {
                self.ending.drain.get_or_insert_with(Instant::now);
                self.check = Instant::now();
            }
            Some(Command::Rescan) => {
                self.engine.targets.iter_mut().for_each(|target| target.doubtful = true);
                self.engine.patterns_changed = true;
                self.check = Instant::now();
            }
            Some(Command::Status) => {
                let status = self.engine.status();
                self.host.notice(&status);
            }
            Some(Command::Nothing) | None => {}
        }
        if all {
            self.engine.targets.iter_mut().for_each(|target| target.ready = true);
        }
        Ok(())
    }

    /// The next time at which something is due without an event.
    fn due(&self, step: Step) -> Option<Instant> {
        let config = &self.engine.config;
        let now = Instant::now();
        let later =
            |since: Option<Instant>, wait: Option<Duration>| since?.checked_add(wait?).filter(|time| *time > now);
        let arrived = self.engine.arrived();
        let drain = self.ending.drain;
        let check = (!config.progress_check.is_zero() || self.engine.polling).then_some(self.check);
        let times = [
            check,
            self.engine.deadline(),
            if let Step::At(time) = step { Some(time) } else { None },
            later(arrived.or(Some(self.ending.began)), config.exit_idle),
            later(Some(self.ending.began), config.wait_timeout),
            drain.and_then(|since| later(Some(since), Some(config.grace))),
            drain.and_then(|since| later(Some(since), Some(config.drain_min))),
            drain.and_then(|_| later(arrived, Some(config.drain_quiet))),
            config.until_file.is_some().then(|| now + config.poll),
            self.ending.processes.iter().any(Process::is_asked).then(|| now + config.poll),
        ];
        times.into_iter().flatten().min()
    }
}

impl<S: Sink> Engine<S> {
    fn open_state(&mut self) -> Result<(), FollowError> {
        let Some(path) = self.config.state_file.clone() else { return Ok(()) };
        let own = crate::identity::Facts::at(&path).map(|facts| facts.identity);
        for input in &self.config.inputs {
            let Input::File(log) = input else { continue };
            let other = crate::identity::Facts::at(log).map(|facts| facts.identity);
            if *log == path || matches!((&own, other), (Ok(own), Ok(other)) if own.same(other)) {
                return Err(StateError::Followed { path }.into());
            }
        }
        let reset = self.config.on_state_error != OnStateError::Fail;
        let (state, saved, was_reset) = StateFile::open(&path, reset)?;
        if was_reset && self.config.on_state_error == OnStateError::End {
            self.config.start = Start::End;
        }
        self.state = Some(state);
        self.saved = saved;
        Ok(())
    }

    /// When bytes last came, in any file.
    fn arrived(&self) -> Option<Instant> {
        self.targets.iter().flat_map(|target| &target.generations).map(|generation| generation.grew).max()
    }

    /// Unfinished last lines go out. Only the last of all stays without an end: the others would glue to what follows.
    /// False where the output takes no more.
    fn release_all(&mut self) -> Result<bool, FollowError> {
        let open = |one: &crate::generation::Generation| one.stream.is_none() && one.unread() > 0;
        let mut left: Vec<(usize, usize)> = Vec::new();
        for (target, followed) in self.targets.iter().enumerate() {
            let generations = followed.generations.iter().enumerate();
            left.extend(generations.filter(|(_, one)| open(one)).map(|(at, _)| (target, at)));
        }
        for (index, (target, at)) in left.iter().copied().enumerate() {
            let add_end = index + 1 < left.len();
            if self.release_partial(target, at, add_end)? != Step::Dry {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Bytes that should have been handed over: with a state file an unfinished line is none of them.
    fn unread_lines(&mut self) -> u64 {
        let held = |generation: &crate::generation::Generation| generation.waiting && !generation.in_batch();
        let all = self.unread();
        let waiting: u64 = self
            .targets
            .iter()
            .flat_map(|target| &target.generations)
            .filter(|one| held(one))
            .map(|one| one.unread())
            .sum();
        all - waiting.min(all)
    }
}

/// A process whose end ends the following (`--pid`).
pub(crate) enum Process {
    /// Readable when the process is gone.
    Descriptor(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>),
    /// Asked from time to time, where the kernel has no descriptors for processes.
    Asked(rustix::process::Pid),
    Gone,
}

impl Process {
    fn open(pid: u32) -> Self {
        let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return Self::Gone };
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(descriptor) => match crate::output::registered(descriptor, tokio::io::Interest::READABLE) {
                Ok(waited) => Self::Descriptor(waited),
                Err(_) => Self::Asked(pid),
            },
            Err(rustix::io::Errno::SRCH) => Self::Gone,
            Err(_) => Self::Asked(pid),
        }
    }

    pub(crate) fn is_asked(&self) -> bool {
        matches!(self, Self::Asked(_))
    }

    pub(crate) fn is_gone(&mut self) -> bool {
        let gone = match self {
            Self::Gone => true,
            Self::Asked(pid) => rustix::process::test_kill_process(*pid) == Err(rustix::io::Errno::SRCH),
            Self::Descriptor(waited) => {
                let mut asked = [rustix::event::PollFd::new(waited, rustix::event::PollFlags::IN)];
                let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
                rustix::event::poll(&mut asked, Some(&now)).unwrap_or(0) > 0
            }
        };
        if gone {
            *self = Self::Gone;
        }
        gone
    }
}

/// Returns when one of the processes that can be waited for is gone.
pub(crate) fn any_process(processes: &[Process]) -> impl Future<Output = ()> + '_ {
    std::future::poll_fn(move |context| {
        for process in processes {
            if let Process::Descriptor(waited) = process
                && waited.poll_read_ready(context).is_ready()
            {
                return std::task::Poll::Ready(());
            }
        }
        std::task::Poll::Pending
    })
}
