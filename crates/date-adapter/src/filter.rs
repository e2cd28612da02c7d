//! Standard input to standard output.
//!
//! A thread reads, rewrites and writes with plain blocking calls, so that the flags of descriptors that others share
//! stay as they are, and a reader that stops holds us up and nothing else. Each read is written before the next one is
//! waited for: no whole line is held. The runtime's thread listens for the request to stop and serves the admin paths.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kit_run::{Error, Shutdown};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::adapt::{Adapter, Report};
use crate::config::Worked;
use crate::metrics::Metrics;
use crate::stream::Stream;
use crate::worked::{self, Held};

/// At most one message about impossible dates in this time.
const BETWEEN_REPORTS: Duration = Duration::from_secs(60);

/// What helps where stdout takes nothing.
pub(crate) const WRITE_HINT: &str = "whatever stdout leads to must have room and accept writes";

/// How the filter came to its end.
#[derive(Debug)]
pub(crate) enum End {
    /// The input is over, or nothing was left of it when a stop was asked for.
    Done,
    /// Nobody reads our output any more.
    ReaderGone,
    /// Reading or writing failed: what, the repair, and why.
    Failed(&'static str, &'static str, io::Error),
}

/// Runs until the input ends or a stop was asked for and what had arrived is written.
pub(crate) async fn filter(
    adapter: Adapter,
    worked: Option<Worked>,
    metrics: Metrics,
    shutdown: Shutdown,
    pulse: &kit_admin::Pulse,
) -> Result<(Adapter, End), Error> {
    let failed = |error: Errno| Error::failed("cannot prepare to read").caused_by(io::Error::from(error));
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(failed)?);
    let stopping = Arc::new(AtomicBool::new(false));
    let (send, mut ended) = tokio::sync::oneshot::channel();
    let pump = Pump {
        adapter,
        metrics,
        reports: Reports::default(),
        wake: Arc::clone(&wake),
        stopping: Arc::clone(&stopping),
    };
    std::thread::Builder::new()
        .name("filter".to_owned())
        .spawn(move || {
            // The other side is gone only when the process is ending anyway.
            let _ = send.send(pump.run(worked));
        })
        .map_err(|error| Error::failed("cannot start the thread that reads").caused_by(error))?;
    let mut told = false;
    loop {
        tokio::select! {
            result = &mut ended => {
                return result.map_err(|_| Error::failed("the thread that reads ended without a word"));
            }
            () = shutdown.requested(), if !told => {
                told = true;
                stopping.store(true, Ordering::Relaxed);
                rustix::io::write(&*wake, &1u64.to_ne_bytes()).map_err(failed)?;
            }
            () = pulse.beat() => {}
        }
    }
}

struct Pump {
    adapter: Adapter,
    metrics: Metrics,
    reports: Reports,
    wake: Arc<OwnedFd>,
    stopping: Arc<AtomicBool>,
}

impl Pump {
    fn run(mut self, worked: Option<Worked>) -> (Adapter, End) {
        let ended = match worked {
            None => self.pump(),
            Some(worked) => self.pump_worked(Held::new(worked)),
        };
        let end = match ended {
            Ok(end) => end,
            Err(Stop { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => End::ReaderGone,
            Err(Stop { what, hint, error }) => End::Failed(what, hint, error),
        };
        self.metrics.show(&self.adapter.counts);
        (self.adapter, end)
    }

    fn pump(&mut self) -> Result<End, Stop> {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let (input, output) = (stdin.as_fd(), stdout.as_fd());
        let kind = rustix::fs::fstat(input).map(|stat| FileType::from_raw_mode(stat.st_mode));
        // A regular file never waits; asking about each read would be a call more for nothing.
        let waits = kind != Ok(FileType::RegularFile);
        let mut stream = Stream::default();
        loop {
            if waits {
                // What waits for a full block goes out before more input is waited for.
                if stream.waits() && !Self::has_input(input).map_err(Stop::reading)? {
                    let written = &self.metrics.written;
                    stream.settle(|bytes| write_all(output, bytes, written)).map_err(Stop::writing)?;
                }
                match self.wait(input, output, None).map_err(Stop::reading)? {
                    Next::Read | Next::TimeOver => {}
                    Next::Finish => break,
                    Next::ReaderGone => return Ok(End::ReaderGone),
                }
            }
            let count = match rustix::io::read(input, stream.space()) {
                Ok(0) => break,
                Ok(count) => count,
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(error) => return Err(Stop::reading(error)),
            };
            self.metrics.read.inc_by(count as u64);
            let written = &self.metrics.written;
            let result = stream.take(&mut self.adapter, count, |bytes| write_all(output, bytes, written));
            self.metrics.show(&self.adapter.counts);
            self.reports.give(&mut self.adapter, "standard input");
            result.map_err(Stop::writing)?;
            if self.adapter.failed.is_some() {
                let written = &self.metrics.written;
                stream.settle(|bytes| write_all(output, bytes, written)).map_err(Stop::writing)?;
                return Ok(End::Done);
            }
        }
        let written = &self.metrics.written;
        let result = stream.finish(&mut self.adapter, |bytes| write_all(output, bytes, written));
        self.reports.give(&mut self.adapter, "standard input");
        result.map_err(Stop::writing)?;
        Ok(End::Done)
    }

    /// Whether a read would not wait.
    fn has_input(input: impl AsFd) -> Result<bool, Errno> {
        let mut asked = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(found) => Ok(found > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// As [`Self::pump`], with kit-lines at work too, which may hold lines back for a while.
    fn pump_worked(&mut self, mut held: Held) -> Result<End, Stop> {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let (input, output) = (stdin.as_fd(), stdout.as_fd());
        let mut out = Vec::new();
        let (mut over, mut last, mut came) = (false, false, Instant::now());
        loop {
            let next = held.offer(&mut self.adapter, over, last, &mut out);
            self.metrics.show(&self.adapter.counts);
            self.reports.give(&mut self.adapter, "standard input");
            write_all(output, &out, &self.metrics.written).map_err(Stop::writing)?;
            out.clear();
            if self.adapter.failed.is_some() {
                return Ok(End::Done);
            }
            let deadline = match next {
                worked::Next::Offer => continue,
                worked::Next::At(time) if self.pause(output, time)? => continue,
                worked::Next::At(_) => return Ok(End::ReaderGone),
                worked::Next::Read | worked::Next::Hold if over => return Ok(End::Done),
                worked::Next::Read => None,
                worked::Next::Hold => came.checked_add(held.lines.hold()),
            };
            last = false;
            match self.wait(input, output, deadline).map_err(Stop::reading)? {
                Next::TimeOver => last = true,
                Next::Finish => over = true,
                Next::ReaderGone => return Ok(End::ReaderGone),
                Next::Read => match rustix::io::read(input, held.space()) {
                    Ok(0) => over = true,
                    Ok(count) => {
                        self.metrics.read.inc_by(count as u64);
                        held.filled(count);
                        came = Instant::now();
                    }
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(error) => return Err(Stop::reading(error)),
                },
            }
        }
    }

    /// Sleeps until then. False where the reader of our output has left meanwhile.
    fn pause(&self, output: impl AsFd, until: Instant) -> Result<bool, Stop> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            let mut asked = [PollFd::new(&output, PollFlags::empty())];
            match poll(&mut asked, Some(&timespec(left))) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(false),
                Err(error) => return Err(Stop::writing(error.into())),
            }
        }
    }

    /// Waits for input, for the request to stop, for the reader of our output to leave, or until then.
    fn wait(&self, input: impl AsFd, output: impl AsFd, until: Option<Instant>) -> Result<Next, Errno> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let stopping = self.stopping.load(Ordering::Relaxed);
            let mut asked = [
                PollFd::new(&input, PollFlags::IN),
                PollFd::new(&output, PollFlags::empty()),
                PollFd::new(&*self.wake, if stopping { PollFlags::empty() } else { PollFlags::IN }),
            ];
            let timeout = if stopping { Some(now) } else { left.map(timespec) };
            match poll(&mut asked, timeout.as_ref()) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            }
            if asked[1].revents().contains(PollFlags::ERR) {
                return Ok(Next::ReaderGone);
            }
            if !asked[0].revents().is_empty() {
                return Ok(Next::Read);
            }
            if stopping {
                return Ok(Next::Finish);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Next::TimeOver);
            }
        }
    }
}

enum Next {
    Read,
    Finish,
    ReaderGone,
    TimeOver,
}

/// Rounded up, so that a wait of less than what the kernel counts in does not spin.
fn timespec(left: Duration) -> Timespec {
    let left = left + Duration::from_millis(1);
    Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() }
}

/// What ended the pump.
struct Stop {
    what: &'static str,
    hint: &'static str,
    error: io::Error,
}

impl Stop {
    fn reading(error: impl Into<io::Error>) -> Self {
        // A broken pipe can only be ours to write to.
        let hint = "give it a pipe or a file, or name a FILE to follow";
        Stop { what: "cannot read standard input", hint, error: error.into() }
    }

    fn writing(error: io::Error) -> Self {
        Stop { what: "cannot write to stdout", hint: WRITE_HINT, error }
    }
}

fn write_all(
    output: impl AsFd,
    mut bytes: &[u8],
    written: &prometheus_client::metrics::counter::Counter,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&output, bytes) {
            Ok(count) => {
                written.inc_by(count as u64);
                bytes = &bytes[count..];
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // Somebody who shares the descriptor made it non-blocking.
                let mut asked = [PollFd::new(&output, PollFlags::OUT)];
                poll(&mut asked, None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Messages about lines that were left alone, few enough to be read.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    last: Option<Instant>,
    ambiguous_told: bool,
}

impl Reports {
    /// Takes what the adapter noted and tells it, if it is time.
    pub(crate) fn give(&mut self, adapter: &mut Adapter, file: &str) {
        if let Some(Report { line, stamp, reason }) = adapter.ambiguous.take()
            && !self.ambiguous_told
        {
            self.ambiguous_told = true;
            tracing::warn!(
                file,
                line,
                stamp,
                "{reason}: --day-first or --month-first decides; such lines are left as they are"
            );
        }
        let quiet = self.last.is_none_or(|last| last.elapsed() >= BETWEEN_REPORTS);
        if let Some(Report { line, stamp, reason }) = adapter.impossible.take_if(|_| quiet) {
            self.last = Some(Instant::now());
            let so_far = adapter.counts.invalid;
            tracing::warn!(file, line, stamp, reason, so_far, "impossible date, the stamp is left as it is");
        }
    }
}
