//! Files, followed by kit-follow, to standard output.
//!
//! kit-follow hands over whole lines; each piece is rewritten in a buffer of its own and written without blocking, because
//! the loop must go on watching while the output is stuck. What the output has not taken waits here, and offsets are
//! remembered only when nothing waits. Each file keeps its own line numbers and its own thread of inferred years.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use kit_admin::{Condition, Pulse};
use kit_follow::{
    Command, Config, FollowError, Headers, Host, Outcome, Output, Piece, Sink, Source, Stats, Taken, Then,
};
use kit_lines::{Input, Lines};
use kit_run::{Context, Error, Shutdown, Signal, SignalStream};

use crate::adapt::{Adapter, FileState, PADDING};
use crate::config::Worked;
use crate::exit;
use crate::filter::Reports;
use crate::metrics::Metrics;
use crate::output::Output as Rewritten;
use crate::worked::Desk;

/// The adapter and its metrics, which the sink and the end of the run both need.
pub(crate) struct Work {
    pub(crate) adapter: Adapter,
    pub(crate) metrics: Metrics,
}

/// Follows until a flag or a signal ends it.
pub(crate) async fn follow(
    config: Config,
    work: Rc<RefCell<Work>>,
    (headers, worked): (Headers, Option<Worked>),
    stats: Stats,
    mut pod: Pod,
) -> Result<(), Error> {
    let failed = |error: io::Error| Error::failed("cannot use stdout").caused_by(error);
    let stdout = kit_run::stdout("date-adapter")?;
    let output = Output::new(stdout).map_err(failed)?;
    let (lines, config) = match worked {
        Some(Worked { lines, line_ends }) => (Some(lines), config.with_line_ends(line_ends)),
        None => (None, config),
    };
    let sink = Rewriter::new(output, Rc::clone(&work), headers, lines);
    match kit_follow::follow(config, sink, &mut pod, stats).await {
        Ok(Outcome::Drained | Outcome::Ended) => Ok(()),
        Ok(Outcome::GraceOver { unread }) => {
            let message = format!("the grace ended with {unread} bytes not handed over");
            Err(Error::with_code(kit_run::exit::WORK_LEFT, message)
                .hint("whatever reads stdout is too slow; give more --grace and terminationGracePeriodSeconds"))
        }
        // A policy that ends the run is told by the adapter, with the line.
        Err(FollowError::Output(_)) if work.borrow().adapter.failed.is_some() => Ok(()),
        Err(FollowError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            kit_run::notice("date-adapter: nobody reads the output any more");
            Ok(())
        }
        Err(error) => Err(failure(error)),
    }
}

fn failure(error: FollowError) -> Error {
    let text = error.to_string();
    match error {
        FollowError::State(state) => {
            let code = if state.is_request() { kit_run::exit::REQUEST } else { kit_run::exit::FAILED };
            let made = Error::with_code(code, text).hint(state.hint());
            match std::error::Error::source(&state) {
                Some(source) => made.caused_by(source.to_string()),
                None => made,
            }
        }
        FollowError::WaitTimeout { .. } => Error::with_code(exit::WAIT_TIMEOUT, text)
            .hint("check that the app writes there and that both containers mount the volume"),
        FollowError::NoFiles => Error::failed(text).hint("leave --no-retry out to wait for a file"),
        FollowError::Output(source) => {
            Error::failed("cannot write to stdout").caused_by(source).hint(crate::filter::WRITE_HINT)
        }
        FollowError::Read(source) => Error::failed(text).caused_by(source).hint("the volume may be gone or damaged"),
        FollowError::Watch(source) => Error::failed(text).caused_by(source).hint("use --watch poll"),
    }
}

/// Signals and probes around the loop.
pub(crate) struct Pod {
    shutdown: Shutdown,
    hangup: SignalStream,
    pulse: Pulse,
    opened: Condition,
    draining: bool,
}

impl Pod {
    pub(crate) fn new(context: &Context, pulse: Pulse, opened: Condition) -> Result<Self, Error> {
        let hangup = context.signal(Signal::Hangup);
        let hangup = hangup.map_err(|error| Error::failed("cannot handle SIGHUP").caused_by(error))?;
        Ok(Self { shutdown: context.shutdown(), hangup, pulse, opened, draining: false })
    }
}

impl Host for Pod {
    async fn command(&mut self) -> Command {
        // The request to stop stays, so it is told once; everything else may be asked again.
        tokio::select! {
            biased;
            () = self.shutdown.requested(), if !self.draining => {
                self.draining = true;
                Command::Drain
            }
            () = self.hangup.recv() => Command::Rescan,
            () = self.pulse.beat() => Command::Nothing,
        }
    }

    fn notice(&mut self, text: &str) {
        kit_run::notice(text);
    }

    fn opened(&mut self, missing: &[String]) {
        if missing.is_empty() {
            self.opened.met();
        } else {
            self.opened.unmet(format!("waiting for {}", missing.join(", ")));
        }
    }
}

/// What becomes of the rest of a line whose beginning was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    GoesOut,
    IsLeftOut,
}

/// The sink: rewrites whole lines and keeps what the output does not take yet.
struct Rewriter {
    output: Output,
    work: Rc<RefCell<Work>>,
    headers: Headers,
    /// What else is done to lines, and where.
    lines: Option<Lines>,
    desk: Desk,
    buffer: Vec<u8>,
    rewritten: Rewritten,
    pending: Vec<u8>,
    sent: usize,
    rest: Rest,
    reports: Reports,
    /// The file whose state the adapter has, and the states of the others.
    current: Option<usize>,
    others: HashMap<usize, FileState>,
}

impl Rewriter {
    fn new(output: Output, work: Rc<RefCell<Work>>, headers: Headers, lines: Option<Lines>) -> Self {
        Rewriter {
            output,
            work,
            headers,
            lines,
            desk: Desk::default(),
            buffer: Vec::new(),
            rewritten: Rewritten::default(),
            pending: Vec::new(),
            sent: 0,
            rest: Rest::GoesOut,
            reports: Reports::default(),
            current: None,
            others: HashMap::new(),
        }
    }

    /// Writes what waits. False where the output takes no more.
    fn push(&mut self) -> io::Result<bool> {
        while self.sent < self.pending.len() {
            let end = self.pending.len().min(self.sent + kit_follow::WINDOW);
            match self.output.write(&self.pending[self.sent..end]) {
                Ok(count) => {
                    self.sent += count;
                    self.work.borrow().metrics.written.inc_by(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Gives the adapter the state of this file.
    fn enter(&mut self, source: &Source) {
        if self.current == Some(source.index) {
            return;
        }
        let adapter = &mut self.work.borrow_mut().adapter;
        let next = self.others.remove(&source.index).unwrap_or_else(|| {
            let modified = std::fs::metadata(&source.path).and_then(|data| data.modified()).ok();
            let seconds = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs());
            adapter.new_file(seconds.and_then(|seconds| i64::try_from(seconds).ok()))
        });
        let before = adapter.change_file(next);
        if let Some(index) = self.current.replace(source.index) {
            self.others.insert(index, before);
        }
    }

    /// Rewrites a piece into `pending`, with kit-lines at work around it.
    fn work(&mut self, piece: &Piece<'_>) -> (usize, Then) {
        let Self { lines, desk, pending, work, .. } = self;
        let Some(lines) = lines else { return (0, Then::More) };
        let input = Input {
            file: piece.source.path.as_os_str().as_bytes(),
            offset: piece.offset,
            bytes: piece.bytes,
            line_end: piece.line_end.bytes(),
            begins: piece.begins,
            ends: piece.ends,
            line_bytes: piece.line_bytes,
            add_end: piece.add_end,
            last: piece.last,
        };
        let work = &mut *work.borrow_mut();
        let taken = desk.take(lines, &mut work.adapter, input, pending);
        work.metrics.show(work.adapter.counts());
        let then = match taken.then {
            kit_lines::Then::More => Then::More,
            kit_lines::Then::Held => Then::Held,
            kit_lines::Then::At(time) => Then::At(time.into()),
        };
        (taken.bytes, then)
    }

    /// A header before the lines of another file, but only where lines came out.
    fn head(&mut self, source: &Source) {
        if !self.pending.is_empty() {
            let mut header = Vec::new();
            self.headers.before(source, &mut header);
            self.pending.splice(0..0, header);
        }
    }

    /// Rewrites a piece into `pending`.
    fn rewrite(&mut self, piece: &Piece<'_>) {
        if !piece.begins {
            if self.rest == Rest::GoesOut {
                self.pending.extend_from_slice(piece.bytes);
            }
            return;
        }
        let end = piece.bytes.len();
        self.buffer.clear();
        self.buffer.extend_from_slice(piece.bytes);
        self.buffer.resize(end + PADDING, 0);
        let work = &mut *self.work.borrow_mut();
        // The beginning of a line that goes on in the next piece comes last.
        let whole = if piece.ends { end } else { memchr::memrchr(b'\n', piece.bytes).map_or(0, |at| at + 1) };
        work.adapter.lines(&mut self.buffer, whole, &mut self.rewritten);
        self.rewritten.drain(&self.buffer[..whole], &mut self.pending);
        if whole < end && work.adapter.failed.is_none() {
            self.buffer.copy_within(whole..end + PADDING, 0);
            let goes_out = work.adapter.head(&mut self.buffer, end - whole, &mut self.rewritten);
            self.rest = if goes_out { Rest::GoesOut } else { Rest::IsLeftOut };
            self.rewritten.drain(&self.buffer[..end - whole], &mut self.pending);
        }
        work.metrics.show(work.adapter.counts());
    }
}

impl Sink for Rewriter {
    fn take(&mut self, piece: Piece<'_>) -> io::Result<Taken> {
        if !self.push()? {
            return Ok(Taken { bytes: 0, then: Then::Blocked });
        }
        if self.work.borrow().adapter.failed.is_some() {
            return Err(io::Error::other("a policy ends the run"));
        }
        self.enter(piece.source);
        let (bytes, mut then) = if self.lines.is_some() {
            self.work(&piece)
        } else {
            self.rewrite(&piece);
            if piece.add_end && piece.ends && !piece.bytes.ends_with(b"\n") && !self.pending.is_empty() {
                self.pending.push(b'\n');
            }
            (piece.bytes.len(), Then::More)
        };
        self.head(piece.source);
        self.reports.give(&mut self.work.borrow_mut().adapter, &piece.source.name.to_string_lossy());
        let all = self.push()?;
        if all && self.work.borrow().adapter.failed.is_some() {
            return Err(io::Error::other("a policy ends the run"));
        }
        if !all {
            then = Then::Blocked;
        }
        Ok(Taken { bytes, then })
    }

    fn hold(&self) -> Duration {
        self.lines.as_ref().map_or(Duration::MAX, Lines::hold)
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(self.push()? && self.output.flush()?)
    }

    async fn ready(&self) -> io::Result<()> {
        self.output.ready().await
    }

    async fn gone(&self) {
        self.output.gone().await;
    }
}
