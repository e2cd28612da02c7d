//! The state of following, and one pass over it: hand over what there is, in order, until it is dry or the output is full.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::time::Instant;

use crate::FollowError;
use crate::config::Config;
use crate::generation::{BUFFER, Bounds, Generation, Kind, Look};
use crate::identity::{Facts, MARKER_BYTES};
use crate::output::WINDOW;
use crate::sink::{Piece, Sink, Taken, Then};
use crate::state::{Saved, StateFile};
use crate::stats::Stats;
use crate::target::{Presence, Target};
use crate::watch::{Change, Watcher};

/// The longest batch of lines that is moved without a look at anything else.
const BULK: u64 = 1024 * 1024;
/// One file hands over about this much before the next file's turn.
const TURN: u64 = 4 * BULK;

/// Pause between two looks at a copy in the making.
pub(crate) const UNDECIDED_PAUSE: Duration = Duration::from_millis(20);

/// Why a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is left that could go out now.
    Dry,
    /// The output takes nothing.
    Blocked,
    /// There may be more: let others run, then go on.
    More,
    /// The sink wants to be asked again at that time.
    At(Instant),
}

/// Everything that [`crate::follow`] works on.
pub(crate) struct Engine<S> {
    pub(crate) config: Config,
    pub(crate) sink: S,
    pub(crate) stats: Stats,
    pub(crate) targets: Vec<Target>,
    pub(crate) watcher: Option<Watcher>,
    pub(crate) state: Option<StateFile>,
    pub(crate) notices: Vec<String>,
    /// The generation whose batch is going out: target and number.
    pub(crate) in_flight: Option<(usize, u64)>,
    /// Handed over but perhaps still inside the sink.
    pub(crate) unsaved: Vec<(usize, u64)>,
    buffer: Vec<u8>,
    /// When bytes last went to the sink.
    pub(crate) moved: Instant,
    pub(crate) next_index: usize,
    /// The process ends: what was held goes out.
    pub(crate) last: bool,
    /// Records of the state file that no path has taken up yet.
    pub(crate) saved: Vec<(usize, Saved)>,
    pub(crate) polling: bool,
    pub(crate) changes: Vec<Change>,
    pub(crate) patterns_changed: bool,
    pub(crate) patterns_seen: bool,
    pub(crate) pattern_watches: Vec<i32>,
    turn: usize,
}

impl<S: Sink> Engine<S> {
    pub(crate) fn new(config: Config, sink: S, stats: Stats) -> Self {
        Self {
            config,
            sink,
            stats,
            targets: Vec::new(),
            watcher: None,
            state: None,
            notices: Vec::new(),
            in_flight: None,
            unsaved: Vec::new(),
            buffer: vec![0; BUFFER],
            moved: Instant::now(),
            next_index: 0,
            last: false,
            saved: Vec::new(),
            polling: false,
            changes: Vec::new(),
            patterns_changed: true,
            patterns_seen: false,
            pattern_watches: Vec::new(),
            turn: 0,
        }
    }

    fn bounds(&self, target: usize, upto: u64) -> Bounds {
        let bulk = match (self.sink.moves(), &self.state) {
            (false, _) => 0,
            (true, None) => BULK,
            (true, Some(_)) => WINDOW as u64,
        };
        Bounds { upto, bulk, line_end: self.targets[target].line_end, head: self.config.head }
    }

    /// Hands over what there is.
    pub(crate) fn pass(&mut self) -> Result<Step, FollowError> {
        if !self.flush()? {
            return Ok(Step::Blocked);
        }
        if let Some((target, number)) = self.in_flight {
            match self.targets[target].position(number) {
                Some(at) => match self.advance(target, at, u64::MAX, 0)? {
                    // Its line goes on in a copy: nothing may come between.
                    Step::More if self.in_flight.is_some() => return Ok(Step::More),
                    Step::More => {}
                    // A compressed copy may end, or break, before the line does.
                    Step::Dry => self.in_flight = None,
                    other => return Ok(other),
                },
                None => self.in_flight = None,
            }
        }
        let count = self.targets.len();
        let (mut more, mut at) = (false, None);
        for turn in 0..count {
            let target = (self.turn + turn) % count;
            if !self.targets[target].ready {
                continue;
            }
            let step = self.pass_target(target)?;
            if self.polling {
                self.targets[target].note_sizes();
            }
            match step {
                Step::Dry => self.targets[target].ready = false,
                // A line that was going out goes on in a copy.
                Step::More if self.in_flight.is_some() => return Ok(Step::More),
                Step::More => more = true,
                Step::At(time) => at = Some(at.map_or(time, |other: Instant| other.min(time))),
                Step::Blocked => {
                    // Its batch is finished first; then it is the next file's turn, so that no file starves.
                    self.turn = (target + 1) % count;
                    return Ok(Step::Blocked);
                }
            }
        }
        if !self.flush()? {
            return Ok(Step::Blocked);
        }
        Ok(if more { Step::More } else { at.map_or(Step::Dry, Step::At) })
    }

    /// Hands over one path's generations, oldest first, each up to the size it had when the pass began: the youngest is
    /// measured first, so a line that was written to the old file before the new one's first line comes out first.
    fn pass_target(&mut self, target: usize) -> Result<Step, FollowError> {
        if let Some(due) = self.targets[target].undecided {
            return Ok(Step::At(due.min(Instant::now() + UNDECIDED_PAUSE)));
        }
        let count = self.targets[target].generations.len();
        if count == 1 {
            let step = self.advance(target, 0, u64::MAX, TURN)?;
            if self.targets[target].presence != Presence::There {
                self.close_done(target)?;
            }
            self.measure(target);
            return Ok(step);
        }
        let mut sizes = vec![u64::MAX; count];
        for at in (0..count).rev() {
            let generation = &mut self.targets[target].generations[at];
            if generation.stream.is_none() {
                sizes[at] = Facts::of(&generation.file).map_err(FollowError::Read)?.size;
            }
        }
        let numbers: Vec<u64> = self.targets[target].generations.iter().map(|generation| generation.number).collect();
        let newest = self.targets[target].next_number;
        let mut result = Step::Dry;
        // The file in which an unfinished last line of a copy goes on: its first line goes out with that.
        let mut continuation = None;
        for (number, upto) in numbers.into_iter().zip(sizes) {
            // What was found meanwhile has its own place among them.
            if self.targets[target].next_number != newest {
                result = Step::More;
                break;
            }
            let Some(at) = self.targets[target].position(number).filter(|_| continuation != Some(number)) else {
                continue;
            };
            match self.advance(target, at, upto, TURN)? {
                Step::Dry => {
                    if self.targets[target].generations[at].kind == Kind::Copy && !self.copy_is_out(target, number)? {
                        let at = self.targets[target].position(number);
                        if self.in_flight.is_some() || at.is_some_and(|at| self.has_line(target, at).unwrap_or(false)) {
                            result = Step::More;
                            break;
                        }
                        let next = at.map(|at| at + 1).filter(|next| *next < self.targets[target].generations.len());
                        if next.is_some_and(|next| self.has_line(target, next).unwrap_or(false)) {
                            result = Step::At(Instant::now() + UNDECIDED_PAUSE);
                            break;
                        }
                        continuation = next.map(|next| self.targets[target].generations[next].number);
                    }
                }
                // The next generation waits until this one is dry.
                other => {
                    result = other;
                    break;
                }
            }
        }
        self.close_done(target)?;
        self.measure(target);
        Ok(result)
    }

    /// Hands over one generation until it is dry, `upto` is reached or its turn is over.
    pub(crate) fn advance(&mut self, target: usize, at: usize, upto: u64, turn: u64) -> Result<Step, FollowError> {
        let began = self.targets[target].generations[at].offset;
        loop {
            if self.targets[target].generations[at].stream.is_some() {
                return self.advance_stream(target, at);
            }
            if self.targets[target].generations[at].in_batch() {
                match self.hand_over_batch(target, at)? {
                    Step::Dry => {}
                    other => return Ok(other),
                }
            }
            let done = self.targets[target].generations[at].offset.wrapping_sub(began);
            if turn == 0 {
                return Ok(Step::Dry);
            }
            if !self.is_remembered()? {
                return Ok(Step::Blocked);
            }
            if done >= turn && done < u64::MAX / 2 {
                return Ok(Step::More);
            }
            let bounds = self.bounds(target, upto);
            let count = self.targets[target].generations.len();
            let generation = &mut self.targets[target].generations[at];
            generation.waiting = false;
            let look = generation.look(bounds, &mut self.buffer).map_err(FollowError::Read)?;
            if look != Look::Dry && generation.is_young() && at + 1 == count && self.comes_later(target, at)? {
                return Ok(Step::More);
            }
            let generation = &mut self.targets[target].generations[at];
            match look {
                Look::Dry => {
                    let unread = generation.offset < generation.seen;
                    generation.waiting = unread;
                    return if unread { self.end_partial(target, at) } else { Ok(Step::Dry) };
                }
                Look::Batch => {}
                Look::Truncated => {
                    self.truncated(target, at)?;
                    return Ok(Step::More);
                }
                Look::Lines { from, to } => match self.offer_lines(target, at, from, to)? {
                    Step::Dry if self.targets[target].generations[at].waiting => return Ok(Step::Dry),
                    Step::Dry => {}
                    other => return Ok(other),
                },
            }
        }
    }

    fn offer_lines(&mut self, target: usize, at: usize, from: usize, to: usize) -> Result<Step, FollowError> {
        let hold = self.sink.hold();
        let followed = &mut self.targets[target];
        let succeeded = at + 1 < followed.generations.len();
        let generation = &mut followed.generations[at];
        let whole = generation.offset + (to - from) as u64 >= generation.seen;
        let piece = Piece {
            source: &followed.source,
            offset: generation.offset,
            bytes: &self.buffer[from..to],
            begins: true,
            ends: true,
            line_end: followed.line_end,
            line_bytes: None,
            add_end: false,
            last: whole && (self.last || succeeded || generation.grew.elapsed() >= hold),
        };
        let Taken { bytes, then } = self.sink.take(piece).map_err(FollowError::Output)?;
        if bytes > 0 {
            generation.advance_in(&self.buffer[..from + bytes], bytes);
            followed.bytes_read.inc_by(bytes as u64);
            self.moved = Instant::now();
        }
        if bytes < to - from && self.sink.moves() {
            // Bytes that go out unchanged may stop inside a line; the rest of these lines comes before all else.
            let generation = &mut self.targets[target].generations[at];
            let end = generation.offset + (to - from - bytes) as u64;
            self.in_flight = Some((target, generation.number));
            if generation.set_batch(end).map_err(FollowError::Read)? == Look::Truncated {
                generation.batch_end = end;
                self.truncated(target, at)?;
                return Ok(Step::More);
            }
        } else {
            self.taken(target, at)?;
        }
        self.after(target, at, then)
    }

    fn after(&mut self, target: usize, at: usize, then: Then) -> Result<Step, FollowError> {
        Ok(match then {
            Then::More => Step::Dry,
            Then::Blocked => Step::Blocked,
            Then::At(time) => Step::At(time),
            Then::Held => {
                self.targets[target].generations[at].waiting = true;
                Step::Dry
            }
        })
    }

    /// Moves the current batch, or, where it is one long line for a sink that reads, feeds it in pieces.
    fn hand_over_batch(&mut self, target: usize, at: usize) -> Result<Step, FollowError> {
        let (moves, mut first) = (self.sink.moves(), true);
        while self.targets[target].generations[at].in_batch() {
            let followed = &mut self.targets[target];
            let generation = &mut followed.generations[at];
            let waited = std::mem::take(&mut first) && self.in_flight == Some((target, generation.number));
            self.in_flight = Some((target, generation.number));
            // What stood still in a batch, stopped or behind a slow reader, may find other content in its place.
            if generation.is_stale(waited).map_err(FollowError::Read)? {
                self.truncated(target, at)?;
                return Ok(Step::More);
            }
            let left = generation.batch_end - generation.offset;
            let moved = if moves {
                let (file, holds) = (generation.file.as_fd(), || generation.holds_batch());
                match self.sink.splice(&followed.source, file, (generation.offset, left), &holds) {
                    Ok(moved) => Some(moved),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Blocked),
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
                    Err(error) => return Err(FollowError::Output(error)),
                }
            } else {
                None
            };
            let bytes = match moved {
                Some(bytes) => bytes,
                None => match self.offer_window(target, at)? {
                    Ok(bytes) => bytes,
                    Err(step) => return Ok(step),
                },
            };
            let followed = &mut self.targets[target];
            let generation = &mut followed.generations[at];
            if bytes == 0 {
                // The file is shorter than it was, or another. The rest of a line that is going out lies in a copy, if anywhere.
                self.truncated(target, at)?;
                return Ok(Step::More);
            }
            generation.advance(bytes as u64);
            followed.bytes_read.inc_by(bytes as u64);
            self.moved = Instant::now();
        }
        self.targets[target].generations[at].add_end = false;
        if std::mem::take(&mut self.targets[target].generations[at].owes_end) {
            self.hand_over_end(target, at)?;
        }
        self.in_flight = None;
        self.targets[target].generations[at].continues = false;
        self.taken(target, at)?;
        Ok(Step::Dry)
    }

    /// The line end that a last line will never get. A sink that moves bytes keeps it where the output is stuck.
    fn hand_over_end(&mut self, target: usize, at: usize) -> Result<(), FollowError> {
        let followed = &self.targets[target];
        let piece = Piece {
            source: &followed.source,
            offset: followed.generations[at].offset,
            bytes: followed.line_end.bytes(),
            begins: false,
            ends: true,
            line_end: followed.line_end,
            line_bytes: None,
            add_end: true,
            last: true,
        };
        self.sink.take(piece).map(drop).map_err(FollowError::Output)
    }

    /// Offers the next window of a batch. The inner error is the step to stop with.
    fn offer_window(&mut self, target: usize, at: usize) -> Result<Result<usize, Step>, FollowError> {
        let followed = &mut self.targets[target];
        let generation = &mut followed.generations[at];
        let left = generation.batch_end - generation.offset;
        let wanted = usize::try_from(left).unwrap_or(WINDOW).min(WINDOW);
        let window = &mut self.buffer[MARKER_BYTES..MARKER_BYTES + wanted];
        let read = crate::identity::read_at(&generation.file, window, generation.offset).map_err(FollowError::Read)?;
        if read == 0 || !generation.holds_batch().map_err(FollowError::Read)? {
            return Ok(Ok(0));
        }
        let begins = generation.offset == generation.batch_start && !generation.continues;
        let length = generation.batch_end - generation.batch_start;
        let piece = Piece {
            source: &followed.source,
            offset: generation.offset,
            bytes: &window[..read],
            begins,
            ends: read as u64 == left,
            line_end: followed.line_end,
            line_bytes: (length > WINDOW as u64).then_some(length),
            add_end: generation.add_end,
            last: true,
        };
        let Taken { bytes, then } = self.sink.take(piece).map_err(FollowError::Output)?;
        if bytes == 0 {
            return Ok(Err(match self.after(target, at, then)? {
                Step::Dry => Step::More,
                other => other,
            }));
        }
        Ok(Ok(bytes))
    }

    fn advance_stream(&mut self, target: usize, at: usize) -> Result<Step, FollowError> {
        loop {
            if !self.is_remembered()? {
                return Ok(Step::Blocked);
            }
            let followed = &mut self.targets[target];
            let generation = &mut followed.generations[at];
            let Some(stream) = generation.stream.as_mut() else { return Ok(Step::Dry) };
            let ripe = stream.window.ripe(followed.line_end);
            let done = stream.window.ended || stream.broken;
            let last = done && ripe.is_none();
            let Some(ripe) = ripe.or_else(|| if last { stream.window.rest() } else { None }) else {
                if done {
                    return Ok(Step::Dry);
                }
                if let Err(error) = stream.window.fill(&mut stream.decoder) {
                    self.broken_stream(target, at, &error)?;
                }
                continue;
            };
            let piece = Piece {
                source: &followed.source,
                offset: stream.window.offset,
                bytes: &stream.window.bytes()[..ripe.bytes],
                begins: ripe.begins,
                ends: ripe.ends,
                line_end: followed.line_end,
                line_bytes: None,
                add_end: last,
                last: done,
            };
            let Taken { bytes, then } = self.sink.take(piece).map_err(FollowError::Output)?;
            stream.window.consume(bytes);
            if bytes == ripe.bytes {
                stream.window.in_line = !ripe.ends;
            }
            generation.offset += bytes as u64;
            generation.batch_end = generation.offset;
            followed.bytes_read.inc_by(bytes as u64);
            self.moved = Instant::now();
            let middle = stream.window.in_line || bytes < ripe.bytes;
            let number = generation.number;
            self.in_flight = middle.then_some((target, number));
            if !middle {
                self.taken(target, at)?;
            }
            if then == Then::Held {
                // Held lines of a compressed file are whole: more is read until the window is full.
                let stream = self.targets[target].generations[at].stream.as_mut();
                if let Some(stream) = stream.filter(|stream| !stream.window.ended) {
                    let _ = stream.window.fill(&mut stream.decoder);
                }
                continue;
            }
            match self.after(target, at, then)? {
                Step::Dry => {}
                other => return Ok(other),
            }
        }
    }

    /// A compressed file ended too early: it is damaged, or still being written.
    fn broken_stream(&mut self, target: usize, at: usize, error: &io::Error) -> Result<(), FollowError> {
        let generation = &mut self.targets[target].generations[at];
        let (silent, offset) = (generation.grew.elapsed() >= self.config.rotate_wait, generation.offset);
        let Some(stream) = generation.stream.as_mut() else { return Ok(()) };
        let size = Facts::of(&generation.file).map_err(FollowError::Read)?.size;
        stream.broken = true;
        if size > stream.compressed && !silent {
            let mut decoder = crate::gz::Gz::open(&generation.file).map_err(FollowError::Read)?;
            if decoder.skip(offset + stream.window.bytes().len() as u64).unwrap_or(false) {
                stream.decoder = decoder;
                stream.compressed = size;
                stream.broken = false;
                return Ok(());
            }
        }
        self.stats.decode_errors.inc();
        let path = self.targets[target].shown();
        tracing::warn!(path, %error, offset, "compressed generation could not be read to its end");
        Ok(())
    }

    /// A last line without its end: it waits, unless its time is over.
    fn end_partial(&mut self, target: usize, at: usize) -> Result<Step, FollowError> {
        let partial = self.config.partial;
        let generation = &self.targets[target].generations[at];
        if partial.is_some_and(|wait| generation.grew.elapsed() >= wait) {
            return self.release_partial(target, at, false);
        }
        Ok(Step::Dry)
    }

    /// Hands over an unfinished line, with or without an added line end.
    pub(crate) fn release_partial(&mut self, target: usize, at: usize, add_end: bool) -> Result<Step, FollowError> {
        let generation = &mut self.targets[target].generations[at];
        generation.pass_hole().map_err(FollowError::Read)?;
        let size = generation.size().map_err(FollowError::Read)?;
        if generation.in_batch() || size <= generation.offset {
            return Ok(Step::Dry);
        }
        if generation.set_batch(size).map_err(FollowError::Read)? == Look::Truncated {
            self.truncated(target, at)?;
            return Ok(Step::More);
        }
        let generation = &mut self.targets[target].generations[at];
        // Remembered in the generation: the output may get stuck in the middle of the line.
        generation.owes_end = add_end && self.sink.moves();
        generation.add_end = add_end && !generation.owes_end;
        self.hand_over_batch(target, at)
    }

    fn measure(&mut self, target: usize) {
        let followed = &mut self.targets[target];
        let lag: u64 =
            followed.generations.iter().map(|generation| generation.seen.saturating_sub(generation.offset)).sum();
        followed.lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
        followed.behind_since = if lag == 0 { None } else { followed.behind_since.or(Some(Instant::now())) };
        let waited = followed.behind_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        followed.lag_seconds.set(waited);
    }

    /// While the output is stuck: content that was changed is noticed now, as its copy may be gone later.
    pub(crate) fn look_while_blocked(&mut self) -> Result<(), FollowError> {
        for target in 0..self.targets.len() {
            let mut at = self.targets[target].generations.len();
            while at > 0 {
                at -= 1;
                let generation = &mut self.targets[target].generations[at];
                let touched = generation.stream.is_none() && std::mem::take(&mut generation.touched);
                if touched && generation.is_other_content().map_err(FollowError::Read)? {
                    self.truncated(target, at)?;
                }
            }
            self.measure(target);
        }
        Ok(())
    }

    /// Bytes that are known and were not handed over, in all files.
    pub(crate) fn unread(&self) -> u64 {
        self.targets.iter().flat_map(|target| &target.generations).map(Generation::unread).sum()
    }

    /// The time at which something is due even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // What was due before now has been looked at by the pass that just ended.
        let now = Instant::now();
        let mut due: Option<Instant> = None;
        let mut at = |time: Option<Instant>| due = [due, time.filter(|time| *time > now)].into_iter().flatten().min();
        let hold = self.sink.hold();
        for target in &self.targets {
            at(target.making);
            let last = target.generations.len().saturating_sub(1);
            for (index, generation) in target.generations.iter().enumerate() {
                if generation.waiting {
                    at(self.config.partial.and_then(|wait| generation.grew.checked_add(wait)));
                    at(generation.grew.checked_add(hold).filter(|_| hold != std::time::Duration::MAX));
                }
                if index < last || target.presence != Presence::There {
                    let since = generation.replaced.map_or(generation.grew, |since| since.max(generation.grew));
                    at(since.checked_add(self.config.rotate_wait));
                }
            }
        }
        due
    }
}
