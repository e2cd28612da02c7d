//! From offered bytes to bytes that go out.

use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime};

use regex::bytes::Regex;

use crate::args::{Encoding, LongLines};
use crate::dress::{Dress, Origin, Part};
use crate::encoding;
use crate::rate::{Bucket, RatePolicy};
use crate::stats::LineStats;

/// The most bytes that are looked at together. A record of joined lines is cut here; a longer line comes in pieces.
pub const WINDOW: usize = 64 * 1024;

/// Bytes of one file, offered in the order in which they stand there: whole lines, or a piece of one that is longer
/// than [`WINDOW`], with nothing else between its pieces.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The path of the file.
    pub file: &'a [u8],
    /// Where the bytes begin in it.
    pub offset: u64,
    /// The bytes, line ends included.
    pub bytes: &'a [u8],
    /// What ends a line: one byte, or two for UTF-16.
    pub line_end: &'a [u8],
    /// Whether the bytes begin a line.
    pub begins: bool,
    /// Whether they end one, with a line end or because the file has no more.
    pub ends: bool,
    /// The length of the whole line, where the bytes are a piece of it and that is known.
    pub line_bytes: Option<u64>,
    /// The last line lacks its end and gets one.
    pub add_end: bool,
    /// Nothing more will come soon, so nothing may be held back.
    pub last: bool,
}

impl<'a> Input<'a> {
    /// Whole lines from the beginning of a file, with nothing to follow.
    #[must_use]
    pub fn whole(file: &'a [u8], bytes: &'a [u8]) -> Self {
        let (begins, ends, last) = (true, true, true);
        Self { file, offset: 0, bytes, line_end: b"\n", begins, ends, line_bytes: None, add_end: false, last }
    }
}

/// How much was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Bytes of the input that need not be offered again: they are in the output, or were dropped on purpose.
    pub bytes: usize,
    /// Why not all of them.
    pub then: Then,
}

/// What follows after a [`Taken`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Everything was taken, or the output holds a window's worth: write it and offer the rest.
    More,
    /// The rest may be joined with lines to come: offer it with more, or as the last after [`Lines::hold`].
    Held,
    /// The rate allows the next line at that time.
    At(Instant),
}

/// Changes what records say, after they were decoded, joined and chosen, and before they are cut and dressed.
pub trait Rewrite {
    /// Appends to `to` what becomes of a record. False leaves it out, whatever was appended.
    fn record(&mut self, record: Record<'_>, to: &mut Vec<u8>) -> bool;

    /// So many lines were dropped by a flag.
    fn passed_over(&mut self, lines: u64);
}

/// What a [`Rewrite`] works on.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// A line without its end, or several joined ones.
    pub text: &'a [u8],
    /// How many lines these are.
    pub lines: u64,
    /// Whether this is all of it; the rest of a line that is longer than [`WINDOW`] goes out unchanged, or not at all.
    pub whole: bool,
}

/// Where records begin and how they are joined.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) start: Regex,
    pub(crate) join: Vec<u8>,
    pub(crate) timeout: Duration,
}

/// Works on lines as the flags say. Made by [`crate::LineArgs::lines`].
#[derive(Debug)]
pub struct Lines {
    pub(crate) include: Vec<Regex>,
    pub(crate) exclude: Vec<Regex>,
    pub(crate) sample: Option<NonZeroU64>,
    pub(crate) joining: Option<Joining>,
    pub(crate) limit: Option<(u64, LongLines)>,
    pub(crate) bucket: Option<Bucket>,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) dress: Dress,
    pub(crate) stats: LineStats,
    pub(crate) sampled: u64,
    pub(crate) long: Option<LongLine>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) rewritten: Vec<u8>,
}

/// A line that comes in pieces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LongLine {
    dropped: bool,
    /// Bytes that went out since the last cut.
    column: u64,
    /// Truncated: what is left of it is passed over.
    done: bool,
}

/// Whether a line may go out, and when.
enum Admission {
    Pass,
    Drop,
    Wait(Instant),
}

impl Lines {
    /// How long lines may stay [`Then::Held`].
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.joining.as_ref().map_or(Duration::MAX, |joining| joining.timeout)
    }

    /// Takes some or all of `input` and appends what goes out to `to`, which the caller empties.
    pub fn take(&mut self, input: Input<'_>, now: Instant, time: SystemTime, to: &mut Vec<u8>) -> Taken {
        self.take_rewriting(input, now, time, None, to)
    }

    /// As [`Self::take`], with records changed on their way.
    pub fn take_rewriting(
        &mut self,
        input: Input<'_>,
        now: Instant,
        time: SystemTime,
        mut rewrite: Option<&mut dyn Rewrite>,
        to: &mut Vec<u8>,
    ) -> Taken {
        if !input.begins || !input.ends {
            return self.take_piece(input, now, time, rewrite, to);
        }
        let mut at = 0;
        while at < input.bytes.len() {
            if to.len() >= WINDOW {
                return Taken { bytes: at, then: Then::More };
            }
            let Some(length) = self.record(input, at) else {
                // What was taken before may make room in the caller's window for the rest of the record.
                return Taken { bytes: at, then: if at > 0 { Then::More } else { Then::Held } };
            };
            let bytes = &input.bytes[at..at + length];
            let origin = Origin { file: input.file, offset: input.offset + at as u64, time };
            // The reborrow ends with each record.
            let rewrite: Option<&mut dyn Rewrite> = match &mut rewrite {
                Some(rewrite) => Some(&mut **rewrite),
                None => None,
            };
            if let Err(until) = self.take_record(input, bytes, origin, now, rewrite, to) {
                return Taken { bytes: at, then: Then::At(until) };
            }
            at += length;
        }
        Taken { bytes: at, then: Then::More }
    }

    /// The length of the record that begins at `at`; nothing where more of it may come.
    fn record(&self, input: Input<'_>, at: usize) -> Option<usize> {
        let mut end = line_length(input, at);
        let Some(joining) = &self.joining else { return Some(end) };
        loop {
            let next = at + end;
            if next >= input.bytes.len() {
                let full = input.last || (at == 0 && input.bytes.len() >= WINDOW / 2);
                return full.then_some(end);
            }
            let length = line_length(input, next);
            if joining.start.is_match(content(&input.bytes[next..next + length], input.line_end).0) {
                return Some(end);
            }
            end += length;
        }
    }

    fn take_record(
        &mut self,
        input: Input<'_>,
        bytes: &[u8],
        origin: Origin<'_>,
        now: Instant,
        rewrite: Option<&mut dyn Rewrite>,
        to: &mut Vec<u8>,
    ) -> Result<(), Instant> {
        let (own, end) = content(bytes, input.line_end);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let mut lines = 1;
        let text = if self.encoding.is_some() || self.joining.is_some() {
            lines = self.joined(input, bytes, origin.offset, &mut scratch);
            scratch.as_slice()
        } else {
            own
        };
        let admission = self.admit(text, bytes.len(), Some(text.len() as u64), now);
        match (&admission, rewrite) {
            (Admission::Pass, None) => self.put(input, text, origin, end, to),
            (Admission::Pass, Some(rewrite)) => {
                let mut rewritten = std::mem::take(&mut self.rewritten);
                rewritten.clear();
                if rewrite.record(Record { text, lines, whole: true }, &mut rewritten) {
                    self.put(input, &rewritten, origin, end, to);
                }
                self.rewritten = rewritten;
            }
            (Admission::Drop, Some(rewrite)) => rewrite.passed_over(lines),
            (Admission::Drop, None) | (Admission::Wait(_), _) => {}
        }
        self.scratch = scratch;
        match admission {
            Admission::Wait(until) => Err(until),
            Admission::Pass | Admission::Drop => Ok(()),
        }
    }

    /// The lines of a record decoded, with the join between them. Returns how many they were.
    fn joined(&self, input: Input<'_>, record: &[u8], offset: u64, to: &mut Vec<u8>) -> u64 {
        let lines = Input { bytes: record, ..input };
        let (mut at, mut count) = (0, 0);
        while at < record.len() {
            let length = line_length(lines, at);
            let (line, _) = content(&record[at..at + length], input.line_end);
            if let (true, Some(joining)) = (at > 0, &self.joining) {
                to.extend_from_slice(&joining.join);
            }
            match self.encoding {
                Some(encoding) => {
                    if !encoding::decode(encoding, line, input.line_end, offset + at as u64 == 0, to) {
                        self.stats.undecodable.inc();
                    }
                }
                None => to.extend_from_slice(line),
            }
            at += length;
            count += 1;
        }
        count
    }

    /// Decides about a line: chosen, sampled, short enough, in time. `length` is its whole length, where that is known.
    fn admit(&mut self, text: &[u8], bytes: usize, length: Option<u64>, now: Instant) -> Admission {
        // The rate is asked last, and what comes before must not change when the line is offered again.
        let dropped = if !self.include.is_empty() && !self.include.iter().any(|include| include.is_match(text)) {
            Some("include")
        } else if self.exclude.iter().any(|exclude| exclude.is_match(text)) {
            Some("exclude")
        } else if self.sample.is_some_and(|every| !self.sampled.is_multiple_of(every.get())) {
            self.sampled += 1;
            Some("sample")
        } else {
            None
        };
        let too_long = self.limit.is_some_and(|(most, _)| length.is_none_or(|length| length > most));
        let dropped = dropped.or_else(|| (too_long && self.drops_long()).then_some("too_long"));
        if dropped.is_none()
            && let Some(bucket) = &mut self.bucket
            && let Err(until) = bucket.take(bytes, now)
        {
            if bucket.policy == RatePolicy::Block {
                return Admission::Wait(until);
            }
            self.counted("rate", too_long);
            return Admission::Drop;
        }
        self.stats.lines.inc();
        if too_long {
            self.stats.long.inc();
        }
        if let Some(reason) = dropped {
            self.stats.drop_line(reason);
            return Admission::Drop;
        }
        self.sampled += u64::from(self.sample.is_some());
        Admission::Pass
    }

    fn counted(&self, reason: &'static str, too_long: bool) {
        self.stats.lines.inc();
        self.stats.drop_line(reason);
        if too_long {
            self.stats.long.inc();
        }
    }

    fn drops_long(&self) -> bool {
        matches!(self.limit, Some((_, LongLines::Drop)))
    }

    /// Puts a whole line out, cut where it is too long.
    fn put(&self, input: Input<'_>, text: &[u8], origin: Origin<'_>, end: &[u8], to: &mut Vec<u8>) {
        let most = self.limit.map_or(usize::MAX, |(most, _)| usize::try_from(most).unwrap_or(usize::MAX));
        let ending: &[u8] = match (end, self.encoding) {
            (b"", _) if !input.add_end && !self.changes_ends() => b"",
            (b"", _) | (_, Some(_)) => b"\n",
            (own, None) => own,
        };
        let mut rest = text;
        let mut part = Part::WHOLE;
        if let (true, Some((_, policy))) = (rest.len() > most, self.limit) {
            match policy {
                LongLines::Truncate => rest = &rest[..letters(rest, most)],
                LongLines::Split => {
                    while rest.len() > most {
                        let (piece, after) = rest.split_at(letters(rest, most));
                        part.ends = false;
                        self.dress.line(origin, part, piece, to);
                        if self.dress.is_raw() {
                            to.push(b'\n');
                        }
                        (rest, part) = (after, Part { begins: false, ends: true });
                    }
                }
                LongLines::Pass | LongLines::Drop => {}
            }
        }
        self.dress.line(origin, part, rest, to);
        if self.dress.is_raw() {
            to.extend_from_slice(ending);
        }
    }

    /// Whether every line gets an end, also the last one of a file that has none.
    fn changes_ends(&self) -> bool {
        !self.dress.is_raw() || self.encoding.is_some() || self.joining.is_some()
    }

    /// Takes a piece of a line that is longer than a window. It is chosen by its first piece, and never joined.
    fn take_piece(
        &mut self,
        input: Input<'_>,
        now: Instant,
        time: SystemTime,
        rewrite: Option<&mut dyn Rewrite>,
        to: &mut Vec<u8>,
    ) -> Taken {
        let (own, end) = if input.ends { content(input.bytes, input.line_end) } else { (input.bytes, &b""[..]) };
        if self.long.is_none() && !input.begins && own.is_empty() {
            // The end that a line lacked when it went out; JSON and logfmt have ended it themselves.
            to.extend_from_slice(if self.dress.is_raw() { end } else { b"" });
            return Taken { bytes: input.bytes.len(), then: Then::More };
        }
        // A letter is not cut in two, but where the file cuts it.
        let own = if input.ends { own } else { &own[..encoding::whole_letters(self.encoding, input.line_end, own)] };
        let taken = if input.ends { input.bytes.len() } else { own.len() };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let text = match self.encoding {
            Some(encoding) => {
                if !encoding::decode(encoding, own, input.line_end, input.offset == 0, &mut scratch) {
                    self.stats.undecodable.inc();
                }
                scratch.as_slice()
            }
            None => own,
        };
        let mut rewritten = std::mem::take(&mut self.rewritten);
        rewritten.clear();
        let mut text = text;
        if input.begins {
            let dropped = match (self.admit(text, taken, input.line_bytes, now), rewrite) {
                (Admission::Wait(until), _) => {
                    (self.scratch, self.rewritten) = (scratch, rewritten);
                    return Taken { bytes: 0, then: Then::At(until) };
                }
                (Admission::Drop, None) => true,
                (Admission::Drop, Some(rewrite)) => {
                    rewrite.passed_over(1);
                    true
                }
                (Admission::Pass, None) => false,
                (Admission::Pass, Some(rewrite)) => {
                    let kept = rewrite.record(Record { text, lines: 1, whole: input.ends }, &mut rewritten);
                    text = &rewritten;
                    !kept
                }
            };
            self.long = Some(LongLine { dropped, column: 0, done: false });
        }
        let origin = Origin { file: input.file, offset: input.offset, time };
        self.put_piece(input, text, origin, end, to);
        (self.scratch, self.rewritten) = (scratch, rewritten);
        if input.ends {
            self.long = None;
        }
        Taken { bytes: taken, then: Then::More }
    }

    fn put_piece(&mut self, input: Input<'_>, text: &[u8], origin: Origin<'_>, end: &[u8], to: &mut Vec<u8>) {
        // A run that begins in the middle of a line has no verdict: the rest of the line goes out.
        let mut long = self.long.unwrap_or(LongLine { dropped: false, column: 0, done: false });
        if long.dropped {
            return;
        }
        let mut part = Part { begins: input.begins, ends: false };
        let mut rest = text;
        if let Some((most, policy @ (LongLines::Split | LongLines::Truncate))) = self.limit {
            while !long.done && long.column + rest.len() as u64 > most {
                // An earlier piece may have filled the line exactly; then only the cut itself is left to do.
                let room = usize::try_from(most - long.column).unwrap_or(usize::MAX);
                if room > 0 {
                    part.ends = policy == LongLines::Truncate;
                    let (piece, after) = rest.split_at(letters(rest, room));
                    self.dress.line(origin, part, piece, to);
                    rest = after;
                }
                if self.dress.is_raw() && policy == LongLines::Split {
                    to.push(b'\n');
                }
                (part.begins, long.column) = (false, 0);
                long.done = policy == LongLines::Truncate;
            }
        }
        long.column += rest.len() as u64;
        part.ends = input.ends;
        if !long.done && (!rest.is_empty() || part.ends) {
            self.dress.line(origin, part, rest, to);
        }
        if input.ends && self.dress.is_raw() {
            match (end, self.encoding) {
                (b"", None) if !input.add_end => {}
                (b"", _) | (_, Some(_)) => to.push(b'\n'),
                (own, None) => to.extend_from_slice(own),
            }
        }
        self.long = Some(long);
    }
}

/// At most `most` bytes of UTF-8 that do not cut a letter; at least one byte.
fn letters(text: &[u8], most: usize) -> usize {
    if most >= text.len() {
        return text.len();
    }
    let floor = most.saturating_sub(3).max(1);
    // A continuation byte at the cut means that a letter would be torn.
    (floor..=most).rev().find(|cut| text[*cut] & 0xc0 != 0x80).unwrap_or(most)
}

/// The length of the line at `at`, its end included; the rest of the bytes where no end follows.
fn line_length(input: Input<'_>, at: usize) -> usize {
    let bytes = &input.bytes[at..];
    let found = match input.line_end {
        [byte] => memchr::memchr(*byte, bytes).map(|at| at + 1),
        [first, second] => {
            let odd = usize::from(!(input.offset + at as u64).is_multiple_of(2));
            let pairs = bytes.get(odd..).unwrap_or_default().chunks_exact(2);
            pairs.into_iter().position(|pair| pair == [*first, *second]).map(|pair| odd + 2 * pair + 2)
        }
        _ => None,
    };
    found.unwrap_or(bytes.len())
}

/// A line without its end, and the end.
fn content<'a>(line: &'a [u8], line_end: &[u8]) -> (&'a [u8], &'a [u8]) {
    match line.strip_suffix(line_end) {
        Some(content) => line.split_at(content.len()),
        None => (line, b""),
    }
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
