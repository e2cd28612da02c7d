//! Lines in, lines out: finds each line's stamp and rewrites it.
//!
//! Text is rewritten where it stands as long as stamps keep their length; the first stamp that does not opens an output
//! buffer, into which the untouched bytes between stamps are copied. Nothing but stamps is ever composed anew.
//!
//! ```text
//! buffer  [........|stamp|................\n|stamp|....\n] partial line
//!                                                         ^ kept for the next round, see stream.rs
//! ```

use memchr::memchr;

use crate::format::read::{self, Stamp};
use crate::format::write::{self, Places, Precision};
use crate::format::{Format, Item};
use crate::locale::Locale;
use crate::memo::{Memo, ROOM, Same, WINDOW};
use crate::moment::{Impossible, Rules};
use crate::output::Output;
use crate::place::{Finder, Place, Region};
use crate::years::Years;
use crate::zone::Dst;

/// Bytes that must lie behind the text in every buffer given to [`Adapter::lines`]: the memo compares whole words.
pub(crate) const PADDING: usize = WINDOW;

/// What happens to a line without a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnmatched {
    /// It goes out as it is.
    Pass,
    /// It is left out.
    Drop,
    /// The stamp of the line before is put in front of it.
    Inherit,
    /// The current time is put in front of it.
    Stamp,
    /// The run ends.
    Fail,
}

/// What happens to a line whose stamp names no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    /// It goes out as it is.
    Pass,
    /// It goes out with `[invalid-timestamp] ` in front.
    Tag,
    /// It is left out.
    Drop,
    /// The run ends.
    Fail,
}

/// What `--on-invalid tag` puts in front.
pub(crate) const TAG: &[u8] = b"[invalid-timestamp] ";

/// What happened to the lines so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines whose stamp was rewritten.
    pub rewritten: u64,
    /// Lines without a stamp.
    pub unmatched: u64,
    /// Lines whose stamp names no moment.
    pub invalid: u64,
    /// Lines whose day and month could be swapped.
    pub ambiguous: u64,
    /// Lines that a policy left out; each is also one of the above.
    pub dropped: u64,
    /// Stamps that the clocks skipped.
    pub gaps: u64,
    /// Stamps that occurred twice.
    pub folds: u64,
    /// Stamps whose year was inferred.
    pub years_inferred: u64,
    /// Stamps read, by the index of their format.
    pub hits: Vec<u64>,
}

impl Counts {
    /// Lines that were not rewritten.
    #[must_use]
    pub fn left_alone(&self) -> u64 {
        self.unmatched + self.invalid + self.ambiguous
    }

    /// Lines seen.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.rewritten + self.left_alone()
    }
}

/// One line worth a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its number in its file, from 1.
    pub line: u64,
    /// The stamp as written.
    pub stamp: String,
    /// Why it was left alone.
    pub reason: &'static str,
}

/// Everything that decides how lines are rewritten.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) inputs: Vec<Format>,
    pub(crate) output: Format,
    /// The output's items for a stamp inside a JSON string.
    pub(crate) quoted: Vec<Item>,
    pub(crate) place: Place,
    pub(crate) precision: Precision,
    pub(crate) rules: Rules,
    pub(crate) locales: Vec<&'static Locale>,
    pub(crate) output_locale: &'static Locale,
    pub(crate) on_unmatched: OnUnmatched,
    pub(crate) on_invalid: OnInvalid,
}

/// What is remembered of one file while others are read too.
#[derive(Clone, Debug)]
pub(crate) struct FileState {
    pub(crate) years: Years,
    /// The last stamp written, kept for `--on-unmatched inherit`.
    pub(crate) last: Vec<u8>,
    /// Lines of this file until the adapter turned to another, minus all lines until it turned to this one (wrapping).
    lines: u64,
}

/// Rewrites lines by a plan and remembers what helps with the next line.
#[derive(Clone, Debug)]
pub struct Adapter {
    pub(crate) plan: Plan,
    finders: Vec<Finder>,
    memo: Memo,
    /// The last stamp written, and what its parts are.
    pub(crate) rendered: Vec<u8>,
    places: Places,
    open_second: bool,
    /// Stamps in a row that the memo was of no use for.
    misses: u32,
    /// The output is a number, which may stand in a JSON number's place as it is.
    pub(crate) numeric: bool,
    pub(crate) counts: Counts,
    /// What is remembered of the file that is read.
    pub(crate) file: FileState,
    /// The first impossible or ambiguous stamp since it was last taken.
    pub(crate) impossible: Option<Report>,
    pub(crate) ambiguous: Option<Report>,
    /// Set by a policy `fail`: the run must end.
    pub(crate) failed: Option<Report>,
}

/// What became of one stamp.
pub(crate) enum Outcome {
    Rewritten,
    Ambiguous,
    Invalid(Impossible),
}

/// One line of a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) from: usize,
    /// Behind the last byte before the newline.
    pub(crate) to: usize,
    /// Behind the newline.
    pub(crate) next: usize,
    /// The text ends here only because the buffer does.
    pub(crate) unfinished: bool,
}

impl Adapter {
    pub(crate) fn new(plan: Plan, years: Years) -> Self {
        let finders = plan.inputs.iter().map(|format| Finder::new(format, &plan.locales)).collect();
        let numeric = plan.output.items.iter().all(|item| matches!(item, Item::Epoch { .. }));
        let counts = Counts { hits: vec![0; plan.inputs.len()], ..Counts::default() };
        Adapter {
            finders,
            memo: Memo::default(),
            rendered: Vec::with_capacity(64),
            places: Places::default(),
            open_second: false,
            misses: 0,
            numeric,
            counts,
            file: FileState { years, last: Vec::new(), lines: 0 },
            impossible: None,
            ambiguous: None,
            failed: None,
            plan,
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The names of the input formats, as they index [`Counts::hits`].
    pub fn formats(&self) -> impl Iterator<Item = &str> {
        self.plan.inputs.iter().map(|format| format.name.as_str())
    }

    /// The state of a file that was not read yet, last modified then (seconds since 1970).
    pub(crate) fn new_file(&self, modified: Option<i64>) -> FileState {
        FileState { years: self.file.years.another(modified), last: Vec::new(), lines: 0 }
    }

    /// Turns to another file; returns the state of the one before.
    pub(crate) fn change_file(&mut self, mut next: FileState) -> FileState {
        let lines = self.counts.lines();
        next.lines = next.lines.wrapping_sub(lines);
        self.memo.clear();
        let mut before = std::mem::replace(&mut self.file, next);
        before.lines = before.lines.wrapping_add(lines);
        before
    }

    /// The number of the line that comes next in its file.
    pub(crate) fn line_number(&self) -> u64 {
        self.counts.lines().wrapping_add(self.file.lines).wrapping_add(1)
    }

    /// Rewrites the lines of `buffer[..end]`; the last may lack its newline. [`PADDING`] bytes of any content follow `end`.
    pub(crate) fn lines(&mut self, buffer: &mut [u8], end: usize, output: &mut Output) {
        let mut from = 0;
        let quick = matches!(self.plan.place, Place::Start | Place::First);
        while from < end && self.failed.is_none() {
            if quick {
                from = self.same_again(buffer, from, end, output);
                if from == end {
                    break;
                }
            }
            let newline = memchr(b'\n', &buffer[from..end]).map(|found| from + found);
            let to = newline.unwrap_or(end);
            let next = newline.map_or(end, |at| at + 1);
            self.line(buffer, Line { from, to, next, unfinished: false }, output);
            from = next;
        }
    }

    /// Rewrites one record that ends at `end`, whatever bytes are in it; newlines may be.
    pub(crate) fn record(&mut self, buffer: &mut [u8], end: usize, output: &mut Output) {
        let quick = matches!(self.plan.place, Place::Start | Place::First);
        let fits = quick
            && self.memo.length < end
            && buffer.first_chunk().is_some_and(|window| self.memo.fits(window))
            && (self.memo.format == 0 || !self.another_fits(buffer, 0, end));
        if fits {
            self.reuse(buffer, 0, output);
            self.counts.rewritten += 1;
        } else {
            self.line(buffer, Line { from: 0, to: end, next: end, unfinished: false }, output);
        }
    }

    /// Whether the next lines are likely to keep their length.
    pub(crate) fn keeps_lengths(&self) -> bool {
        self.memo.in_place()
    }

    /// Counts lines that nobody showed, for the numbers of those that follow.
    pub(crate) fn pass_over(&mut self, lines: u64) {
        self.file.lines = self.file.lines.wrapping_add(lines);
    }

    /// Rewrites the first part of a line that is longer than the buffer: a stamp that may go on behind it is left.
    /// Returns whether the rest of the line goes out.
    pub(crate) fn head(&mut self, buffer: &mut [u8], end: usize, output: &mut Output) -> bool {
        let dropped = self.counts.dropped;
        self.line(buffer, Line { from: 0, to: end, next: end, unfinished: true }, output);
        self.counts.dropped == dropped
    }

    /// Rewrites the lines from `from` on whose stamp is the remembered one but for its open digits; returns where they end.
    fn same_again(&mut self, buffer: &mut [u8], from: usize, end: usize, output: &mut Output) -> usize {
        let memo = &self.memo;
        let simple = memo.plain && memo.format == 0 && self.plan.on_unmatched != OnUnmatched::Inherit;
        if !simple {
            return self.same_again_slowly(buffer, from, end, output);
        }
        let (at, lines) =
            if memo.in_place() { in_place(memo, buffer, from, end) } else { diverted(memo, buffer, from, end, output) };
        self.counts.rewritten += lines;
        self.counts.hits[0] += lines;
        self.misses = if lines > 0 { 0 } else { self.misses };
        at
    }

    fn same_again_slowly(&mut self, buffer: &mut [u8], mut from: usize, end: usize, output: &mut Output) -> usize {
        // The byte behind the stamp is compared too, and must be of this buffer.
        while from + self.memo.length < end {
            let fits = buffer[from..].first_chunk().is_some_and(|window| self.memo.fits(window));
            if !fits || (self.memo.format != 0 && self.another_fits(buffer, from, end)) {
                break;
            }
            self.reuse(buffer, from, output);
            self.counts.rewritten += 1;
            from = behind(buffer, from + self.memo.length, end);
        }
        from
    }

    /// Whether a format that is tried before the remembered one reads a stamp here.
    #[cold]
    fn another_fits(&self, buffer: &[u8], from: usize, end: usize) -> bool {
        let to = memchr(b'\n', &buffer[from..end]).map_or(end, |found| from + found);
        let earlier = &self.plan.inputs[..self.memo.format];
        earlier.iter().any(|format| read::stamp(&format.items, &self.plan.locales, &buffer[from..to], 0).is_some())
    }

    /// Applies the memo at `at`, where it fits.
    fn reuse(&mut self, buffer: &mut [u8], at: usize, output: &mut Output) {
        self.misses = 0;
        let memo = &self.memo;
        let Some(window) = buffer[at..].first_chunk_mut::<WINDOW>() else { return };
        self.counts.hits[memo.format] += 1;
        if self.plan.on_unmatched == OnUnmatched::Inherit {
            let mut image = [0; ROOM];
            let written = memo.append(window, &mut image);
            self.file.last.clear();
            self.file.last.extend_from_slice(&image[..written]);
        }
        if memo.in_place() {
            memo.rewrite(window);
        } else {
            let window = *window;
            output.exchange(buffer, at, at + memo.length, |room| memo.append(&window, room));
        }
        self.count_findings(self.memo.dst, self.memo.year_inferred);
    }

    fn count_findings(&mut self, dst: Option<Dst>, year_inferred: bool) {
        self.counts.gaps += u64::from(dst == Some(Dst::Gap));
        self.counts.folds += u64::from(dst == Some(Dst::Fold));
        self.counts.years_inferred += u64::from(year_inferred);
    }

    fn line(&mut self, buffer: &mut [u8], line: Line, output: &mut Output) {
        let Some((region, value)) = self.plan.place.region(&buffer[line.from..line.to]) else {
            return self.unmatched(buffer, line, output);
        };
        if let Some(value) = value {
            return self.json(buffer, line, value, output);
        }
        let (mut rewritten, mut worst) = (false, None);
        let mut rest = region;
        while let Some((at, end, outcome)) = self.stamp(buffer, line, rest, output) {
            match outcome {
                Outcome::Rewritten => rewritten = true,
                other => worst = worst.or(Some((at, end, other))),
            }
            if !matches!(self.plan.place, Place::All) {
                break;
            }
            rest.from = end.max(at + 1);
        }
        match (rewritten, worst) {
            (true, _) => self.counts.rewritten += 1,
            (false, Some((at, end, outcome))) => self.left(buffer, line, (at, end), &outcome, output),
            (false, None) => self.unmatched(buffer, line, output),
        }
    }

    /// Finds the first stamp of the region and rewrites it; returns where it was, relative to the line.
    fn stamp(
        &mut self,
        buffer: &mut [u8],
        line: Line,
        region: Region,
        output: &mut Output,
    ) -> Option<(usize, usize, Outcome)> {
        let text = &buffer[line.from..line.from + region.end];
        let mut best: Option<(usize, usize, Stamp, usize)> = None;
        for index in 0..self.plan.inputs.len() {
            let to = best.map_or(region.to, |(at, ..)| at);
            if let Some((at, stamp, end)) = self.search(index, text, region.from, to) {
                best = Some((at, index, stamp, end));
            }
        }
        let (at, index, stamp, end) = best?;
        if line.unfinished && end == text.len() {
            return None;
        }
        let follow = buffer[..line.next].get(line.from + end).copied();
        let outcome = self.rewrite(buffer, line, (at, end), region.end, follow, (index, stamp), output);
        Some((at, end, outcome))
    }

    /// The first stamp of one format that begins in `from..to`.
    pub(crate) fn search(&self, index: usize, text: &[u8], from: usize, to: usize) -> Option<(usize, Stamp, usize)> {
        let (format, finder) = (&self.plan.inputs[index], &self.finders[index]);
        let mut from = from;
        while let Some(at) = finder.candidate(text, from, to) {
            if let Some((stamp, end)) = read::stamp(&format.items, &self.plan.locales, text, at) {
                return Some((at, stamp, end));
            }
            from = at + 1;
        }
        None
    }

    /// Works out a stamp and puts the result in its place. A stamp that names no moment is given to the formats after
    /// its own before it counts as impossible.
    #[expect(clippy::too_many_arguments, reason = "the stamp, its place and its surroundings")]
    fn rewrite(
        &mut self,
        buffer: &mut [u8],
        line: Line,
        (at, end): (usize, usize),
        limit: usize,
        follow: Option<u8>,
        (index, stamp): (usize, Stamp),
        output: &mut Output,
    ) -> Outcome {
        let text = &buffer[line.from..line.from + limit];
        let (mut index, mut stamp, mut end) = (index, stamp, end);
        let first = loop {
            match self.compose(index, &stamp, text, false) {
                Outcome::Invalid(reason) => match self.next_fit(index, text, at) {
                    Some(next) => (index, stamp, end) = next,
                    None => break Outcome::Invalid(reason),
                },
                outcome => break outcome,
            }
        };
        if matches!(first, Outcome::Rewritten) {
            let follow = if end == limit { follow } else { text.get(end).copied() };
            self.remember(text, (at, end), follow, index, &stamp);
            let (at, end) = (line.from + at, line.from + end);
            output.replace(buffer, at, end, &self.rendered);
            if self.plan.on_unmatched == OnUnmatched::Inherit {
                self.file.last.clone_from(&self.rendered);
            }
        }
        first
    }

    /// Keeps what was just composed for the next line.
    fn remember(&mut self, text: &[u8], (at, end): (usize, usize), follow: Option<u8>, index: usize, stamp: &Stamp) {
        self.misses += 1;
        // Where no line is like the one before, remembering is most of the work: it is only tried now and then.
        if self.misses > 16 && !self.misses.is_multiple_of(16) {
            return;
        }
        self.memo.format = index;
        self.memo.learn(text, at, end, follow, stamp, &self.rendered, self.places, self.open_second);
    }

    pub(crate) fn next_fit(&self, index: usize, text: &[u8], at: usize) -> Option<(usize, Stamp, usize)> {
        (index + 1..self.plan.inputs.len()).find_map(|next| {
            let (stamp, end) = read::stamp(&self.plan.inputs[next].items, &self.plan.locales, text, at)?;
            Some((next, stamp, end))
        })
    }

    /// Renders a stamp into `self.rendered`.
    pub(crate) fn compose(&mut self, index: usize, stamp: &Stamp, text: &[u8], quoted: bool) -> Outcome {
        let plan = &mut self.plan;
        let format = &plan.inputs[index];
        let resolved = match plan.rules.resolve(format, stamp, text, &mut self.file.years) {
            Ok(resolved) => resolved,
            Err(reason) => return Outcome::Invalid(reason),
        };
        let swappable = stamp.day <= 12 && stamp.month <= 12 && stamp.day != stamp.month;
        if format.guesses_day && swappable {
            return Outcome::Ambiguous;
        }
        self.rendered.clear();
        let items = if quoted { &plan.quoted } else { &plan.output.items };
        let moment = &resolved.moment;
        self.memo.clear();
        self.places = write::moment(items, plan.output_locale, plan.precision, moment, &mut self.rendered);
        self.open_second = resolved.whole_minute && stamp.second < 60;
        self.memo.dst = resolved.dst;
        self.memo.year_inferred = resolved.year_inferred;
        self.counts.hits[index] += 1;
        self.count_findings(resolved.dst, resolved.year_inferred);
        Outcome::Rewritten
    }
}

/// The loop for stamps that keep their length. Returns where it stopped and how many lines it rewrote.
#[inline(never)]
fn in_place(memo: &Memo, buffer: &mut [u8], mut from: usize, end: usize) -> (usize, u64) {
    let mut lines = 0;
    let mut same = Same::new(memo);
    while from + memo.length < end {
        let Some(window) = buffer[from..].first_chunk_mut() else { break };
        if same.is(window) {
            same.rewrite(window);
        } else if memo.fits(window) {
            same.read(memo, window);
            memo.rewrite(window);
            same.wrote(window);
        } else {
            break;
        }
        lines += 1;
        from = behind(buffer, from + memo.length, end);
    }
    (from, lines)
}

/// The loop for stamps whose length changes.
#[inline(never)]
fn diverted(memo: &Memo, buffer: &mut [u8], mut from: usize, end: usize, output: &mut Output) -> (usize, u64) {
    let mut lines = 0;
    let (mut same, mut image, mut written) = (Same::new(memo), [0; ROOM], 0);
    while from + memo.length < end {
        let Some(window) = buffer[from..].first_chunk() else { break };
        if !same.is(window) {
            if !memo.fits(window) {
                break;
            }
            same.read(memo, window);
            written = memo.append(window, &mut image);
        }
        output.exchange(buffer, from, from + memo.length, |room| {
            *room = image;
            written
        });
        lines += 1;
        from = behind(buffer, from + memo.length, end);
    }
    (from, lines)
}

/// The place behind the next newline from `at` on. Messages are short: for the first bytes the call of memchr costs more
/// than the search.
#[inline(always)]
fn behind(buffer: &[u8], at: usize, end: usize) -> usize {
    const NEWLINES: u64 = u64::from_ne_bytes([b'\n'; 8]);
    const LOW_BITS: u64 = u64::from_ne_bytes([1; 8]);
    // High bits where bytes are newlines; the first of them is never wrong.
    let newlines = |bytes: [u8; 8]| {
        let zero_where = u64::from_le_bytes(bytes) ^ NEWLINES;
        zero_where.wrapping_sub(LOW_BITS) & !zero_where & (LOW_BITS << 7)
    };
    let mut from = at;
    for _ in 0..4 {
        let Some((one, rest)) = buffer[from..].split_first_chunk::<8>() else { break };
        let Some(two) = rest.first_chunk::<8>() else { break };
        let (one, two) = (newlines(*one), newlines(*two));
        if one | two != 0 {
            let (word, skipped) = if one != 0 { (one, 0) } else { (two, 8) };
            let found = from + skipped + word.trailing_zeros() as usize / 8;
            return (found + 1).min(end);
        }
        from += 16;
    }
    if from >= end {
        return end;
    }
    memchr(b'\n', &buffer[from..end]).map_or(end, |found| from + found + 1)
}
