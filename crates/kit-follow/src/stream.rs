//! The loop over a [`Feed`]: read what is there, hand over, wait for whatever comes first.

use std::io;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use crate::config::{Config, LineEnds};
use crate::engine::Step;
use crate::feed::{Feed, Lead, Mouth};
use crate::follow::{Command, Ending, FollowError, Host, Outcome, Process, any_process};
use crate::lines::LineEnd;
use crate::output::WINDOW;
use crate::sink::{Piece, Sink, Source, Taken, Then};
use crate::stats::Stats;
use crate::window::Window;

/// Reads in a row before the host is asked for commands.
const TURN: usize = 64;

/// Follows one feed until it ends, a condition of the config ends it, the host asks for a drain, or it fails.
pub(crate) async fn follow<S: Sink, H: Host>(
    config: &Config,
    feed: &Feed,
    sink: S,
    host: &mut H,
    stats: Stats,
) -> Result<Outcome, FollowError> {
    let mouth = feed.open().map_err(FollowError::Read)?;
    let source = Source { index: 0, path: feed.path(), name: feed.shown().into_os_string() };
    let label = vec![("file".to_owned(), source.name.to_string_lossy().into_owned())];
    let bytes_read = stats.bytes_read.get_or_create_owned(&label);
    stats.files_open.inc();
    host.opened(&[]);
    let known = match config.line_ends {
        LineEnds::Always(line_end) => Some(line_end),
        LineEnds::ByMark => None,
    };
    let stream = Stream {
        config,
        feed,
        sink,
        stats,
        source,
        bytes_read,
        mouth: Some(mouth),
        lead: Lead::new(config.start),
        replay: Vec::new(),
        replayed: 0,
        window: Window::default(),
        line_end: known.unwrap_or_default(),
        learned: known.is_some(),
        ended: false,
        last: false,
        held: false,
        grew: Instant::now(),
        ending: Ending::new(config),
    };
    stream.run(host).await
}

struct Stream<'a, S> {
    config: &'a Config,
    feed: &'a Feed,
    sink: S,
    stats: Stats,
    source: Source,
    bytes_read: Counter,
    /// Nothing while a FIFO's name leads nowhere.
    mouth: Option<Mouth>,
    lead: Lead,
    /// What the lead had kept, from `replayed` on.
    replay: Vec<u8>,
    replayed: usize,
    window: Window,
    line_end: LineEnd,
    learned: bool,
    /// No writer will come any more.
    ended: bool,
    /// The process ends: what was held goes out.
    last: bool,
    /// The sink holds whole lines back for lines to come.
    held: bool,
    grew: Instant,
    ending: Ending,
}

impl<S: Sink> Stream<'_, S> {
    async fn run<H: Host>(mut self, host: &mut H) -> Result<Outcome, FollowError> {
        loop {
            let mut step = self.pass(host)?;
            if let Some(outcome) = self.end(&mut step)? {
                return Ok(outcome);
            }
            self.wait(step, host).await?;
        }
    }

    fn pass<H: Host>(&mut self, host: &mut H) -> Result<Step, FollowError> {
        if !self.sink.flush().map_err(FollowError::Output)? {
            return Ok(Step::Blocked);
        }
        for _ in 0..TURN {
            match self.offer()? {
                Step::Dry => {}
                other => return Ok(other),
            }
            if !self.read(host)? {
                // What was just kept or held may be ripe now.
                return self.offer();
            }
        }
        Ok(Step::More)
    }

    /// Offers what is ripe until the window holds only the beginning of a line.
    fn offer(&mut self) -> Result<Step, FollowError> {
        if !self.learned {
            let mark = self.window.bytes();
            if mark.len() < 2 && !self.last {
                return Ok(Step::Dry);
            }
            self.line_end = match mark {
                [0xFF, 0xFE, ..] => LineEnd::Utf16Le,
                [0xFE, 0xFF, ..] => LineEnd::Utf16Be,
                _ => LineEnd::Newline,
            };
            self.learned = true;
        }
        loop {
            let waited = self.config.partial.is_some_and(|wait| self.grew.elapsed() >= wait);
            let rest = || (self.last || waited).then(|| self.window.rest()).flatten();
            // At the end everything goes at once: an unfinished line may belong together with the whole ones before it.
            let all = || (self.last && self.replayed == self.replay.len()).then(|| self.window.rest()).flatten();
            let ripe = all().or_else(|| self.window.ripe(self.line_end)).or_else(rest);
            let Some(ripe) = ripe else { return Ok(Step::Dry) };
            let full = self.window.bytes().len() >= WINDOW;
            let piece = Piece {
                source: &self.source,
                offset: self.window.offset,
                bytes: &self.window.bytes()[..ripe.bytes],
                begins: ripe.begins,
                ends: ripe.ends,
                line_end: self.line_end,
                line_bytes: None,
                add_end: false,
                last: self.last || full || self.grew.elapsed() >= self.sink.hold(),
            };
            let Taken { bytes, then } = self.sink.take(piece).map_err(FollowError::Output)?;
            self.window.consume(bytes);
            if bytes == ripe.bytes {
                self.window.in_line = !ripe.ends;
            }
            self.held = then == Then::Held;
            match then {
                // A window without bytes is an unfinished line that was passed on whole.
                Then::More if self.window.bytes().is_empty() => {
                    self.window.in_line &= !self.last;
                    return Ok(Step::Dry);
                }
                Then::More => {}
                Then::Held => return Ok(Step::Dry),
                Then::Blocked => return Ok(Step::Blocked),
                Then::At(time) => return Ok(Step::At(time)),
            }
        }
    }

    /// Reads once. False where nothing is there now.
    fn read<H: Host>(&mut self, host: &mut H) -> Result<bool, FollowError> {
        if self.replayed < self.replay.len() {
            let read = self.window.fill(&mut &self.replay[self.replayed..]).map_err(FollowError::Read)?;
            self.replayed += read;
            return Ok(true);
        }
        if self.ended || self.window.bytes().len() >= WINDOW {
            return Ok(false);
        }
        let Some(mouth) = &self.mouth else { return self.reopen(host) };
        let before = self.window.bytes().len();
        match self.window.fill(&mut &*mouth) {
            Ok(0) => return self.writer_gone(host),
            Ok(read) => self.bytes_read.inc_by(read as u64),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(false);
            }
            Err(error) => return Err(FollowError::Read(error)),
        };
        self.grew = Instant::now();
        let skipped = self.lead.take(&self.window.bytes()[before..], self.line_end);
        self.window.consume(skipped);
        Ok(true)
    }

    fn writer_gone<H: Host>(&mut self, host: &mut H) -> Result<bool, FollowError> {
        self.window.ended = false;
        self.replay = self.lead.end(self.line_end);
        self.replayed = 0;
        if *self.feed == Feed::Input || self.config.exit_on_eof {
            self.ended = true;
            return Ok(!self.replay.is_empty());
        }
        // A FIFO without a writer is at its end for ever; opened anew it waits for the next one. The old descriptor stays
        // until then, so that nothing that comes in between is lost.
        self.reopen(host)
    }

    fn reopen<H: Host>(&mut self, host: &mut H) -> Result<bool, FollowError> {
        let there = Feed::of(&self.source.path).as_ref() == Some(self.feed);
        let opened = if there { self.feed.open() } else { Err(io::ErrorKind::NotFound.into()) };
        let shown = self.source.name.to_string_lossy();
        match opened {
            Ok(mouth) => {
                if self.mouth.replace(mouth).is_none() {
                    host.notice(&format!("tail: '{shown}' has appeared;  following new file"));
                    host.opened(&[]);
                }
                Ok(!self.replay.is_empty())
            }
            Err(error) => {
                if self.mouth.take().is_some() {
                    host.notice(&format!("tail: '{shown}' has become inaccessible: No such file or directory"));
                    host.opened(&[shown.into_owned()]);
                    tracing::debug!(%error, "the FIFO is gone");
                }
                if !self.config.retry {
                    self.ended = true;
                }
                Ok(!self.replay.is_empty())
            }
        }
    }

    /// Whether it is over, and how.
    fn end(&mut self, step: &mut Step) -> Result<Option<Outcome>, FollowError> {
        let dry = *step == Step::Dry;
        let config = self.config;
        let outcome = if let Some(since) = self.ending.drain {
            if since.elapsed() >= config.grace {
                let waiting = self.mouth.as_ref().map_or(0, Mouth::waiting);
                let unread = self.window.bytes().len() as u64 + waiting;
                return Ok(Some(if unread == 0 { Outcome::Drained } else { Outcome::GraceOver { unread } }));
            }
            let quiet = self.grew.elapsed() >= config.drain_quiet && since.elapsed() >= config.drain_min;
            (dry && (quiet || self.ended)).then_some(Outcome::Drained)
        } else {
            let gone = !self.ending.processes.is_empty() && self.ending.processes.iter_mut().all(Process::is_gone);
            let until = config.until_file.as_ref().is_some_and(|path| path.exists());
            let idle = config.exit_idle.is_some_and(|idle| self.grew.elapsed() >= idle);
            (dry && (self.ended || gone || until || idle)).then_some(Outcome::Ended)
        };
        let Some(outcome) = outcome else { return Ok(None) };
        if !self.last {
            // What waited for the end goes out, and what was held.
            self.last = true;
            if self.lead.waits_for_end() {
                self.replay = self.lead.end(self.line_end);
                self.replayed = 0;
            }
            *step = Step::More;
            return Ok(None);
        }
        if self.sink.flush().map_err(FollowError::Output)? {
            return Ok(Some(outcome));
        }
        *step = Step::Blocked;
        Ok(None)
    }

    async fn wait<H: Host>(&mut self, step: Step, host: &mut H) -> Result<(), FollowError> {
        let due = self.due(step);
        let blocked = (step == Step::Blocked).then(Instant::now);
        let (mouth, sink) = (&self.mouth, &self.sink);
        let reads = step == Step::Dry && !self.ended && mouth.is_some() && self.window.bytes().len() < WINDOW;
        let readable = async {
            match mouth {
                Some(mouth) if reads => mouth.readable().await,
                _ => std::future::pending().await,
            }
        };
        let sleep = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        // Whoever is first wins, and nothing is half done: every branch only says that a look is worth its while.
        let mut command = None;
        tokio::select! {
            biased;
            asked = host.command() => command = Some(asked),
            ready = sink.ready(), if step == Step::Blocked => ready.map_err(FollowError::Output)?,
            read = readable => read.map_err(FollowError::Read)?,
            () = sink.gone() => return Err(FollowError::Output(io::ErrorKind::BrokenPipe.into())),
            () = any_process(&self.ending.processes) => {}
            () = tokio::task::yield_now(), if step == Step::More => {}
            () = sleep => {}
        }
        if let Some(since) = blocked {
            self.stats.blocked_seconds.inc_by(since.elapsed().as_secs_f64());
        }
        match command {
            Some(Command::Drain) => drop(self.ending.drain.get_or_insert_with(Instant::now)),
            Some(Command::Status) => host.notice(&self.status()),
            Some(Command::Rescan | Command::Nothing) | None => {}
        }
        Ok(())
    }

    /// The next time at which something is due without bytes.
    fn due(&self, step: Step) -> Option<Instant> {
        let (config, now) = (self.config, Instant::now());
        let later = |since: Instant, wait: Option<Duration>| since.checked_add(wait?).filter(|time| *time > now);
        let waits = !self.window.bytes().is_empty();
        let hold = self.sink.hold();
        let drain = self.ending.drain;
        let asks =
            config.until_file.is_some() || self.mouth.is_none() || self.ending.processes.iter().any(Process::is_asked);
        let times = [
            if let Step::At(time) = step { Some(time) } else { None },
            later(self.grew, config.partial.filter(|_| waits)),
            later(self.grew, Some(hold).filter(|hold| self.held && *hold != Duration::MAX)),
            later(self.grew, config.exit_idle),
            drain.and_then(|since| later(since, Some(config.grace))),
            drain.and_then(|since| later(since, Some(config.drain_min))),
            drain.and_then(|_| later(self.grew, Some(config.drain_quiet))),
            asks.then(|| now + config.poll),
        ];
        times.into_iter().flatten().min()
    }

    fn status(&self) -> String {
        let mut text = String::from(r#"{"files":[{"path":"#);
        crate::status::quote(&self.source.path.to_string_lossy(), &mut text);
        let state = if self.mouth.is_some() { "open" } else { "missing" };
        let lag = self.window.bytes().len() as u64 + self.mouth.as_ref().map_or(0, Mouth::waiting);
        text.push_str(&format!(
            r#","state":"{state}","offset":{},"lag":{lag}}}],"unread":{lag}}}"#,
            self.window.offset
        ));
        text
    }
}
