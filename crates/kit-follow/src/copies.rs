//! Copies beside a log: made by copytruncate before the log is emptied, by renamecopy, by a compressor, or by hand.
//!
//! A copy stays open from the first look on, and each look judges it by its content:
//!
//! ```text
//!             begins as an open generation does          that generation is truncated
//!   new copy ----------------------------------> shadow --------------------------------> read from our offset on
//!      |  holds what was read to its end                 that generation is closed
//!      |----------------------------------> known <---------------------------------------|
//!      |  neither: a round that came and went between two looks
//!      '----------------------------------> read whole, before the file that went on
//! ```
//!
//! An empty copy, or one that is shorter than a closed generation with the same beginning, is in the making: the next
//! look judges it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::time::Duration;

use tokio::time::Instant;

use crate::FollowError;
use crate::candidate::{Candidate, begins_with, fits, grown};
use crate::engine::{Engine, UNDECIDED_PAUSE};
use crate::generation::{Generation, Kind};
use crate::gz;
use crate::identity::{Facts, Identity, Trace, alike};
use crate::names::Origin;
use crate::reads::Reads;
use crate::sink::Sink;
use crate::state::START_BYTES;
use crate::target::Known;

/// A copy that looks as if it were being made may hold the log's next lines back for so long, and is judged as it is
/// once it has not grown for so long.
const IN_THE_MAKING: Duration = Duration::from_secs(1);

/// A file beside the log that was not renamed away from it.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) file: Candidate,
    /// The generation whose content it holds, and how often that had been truncated, by what is in the file: the next look
    /// may have to notice the last truncation first.
    shadow: Option<(u64, u32)>,
    found: Instant,
    grew: Instant,
    /// The last number of a generation before the look that found it.
    looked: u64,
    /// The generation that had the log's name when that look was over, and the last number then.
    beside: (Option<u64>, u64),
}

impl Copy {
    pub(crate) fn new(file: Candidate, looked: u64, beside: (Option<u64>, u64)) -> Self {
        Self { file, shadow: None, found: Instant::now(), grew: Instant::now(), looked, beside }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.file.facts.identity
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.size() == 0
    }

    pub(crate) fn is_of(&self, generation: &Generation) -> bool {
        self.shadow == Some((generation.number, generation.round))
    }

    fn size(&self) -> u64 {
        self.file.facts.size
    }

    /// The size now.
    fn measure(&mut self) -> io::Result<u64> {
        let facts = Facts::of(&self.file.file)?;
        if facts.size != self.size() {
            self.grew = Instant::now();
        }
        self.file.facts = facts;
        Ok(facts.size)
    }
}

/// What a copy is.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing yet, or not enough to tell.
    Unfinished,
    /// It begins as that generation does.
    Shadow(u64, u32),
    /// All of it was handed over.
    Known,
    /// It was handed over up to there, and has grown since.
    Grown(u64),
    /// Content that no look has seen.
    Unseen,
}

impl<S: Sink> Engine<S> {
    /// Judges every copy and takes up what no look has seen. Compressed ones come last: they may hold what a plain one does,
    /// and only plain ones can be compared with them.
    pub(crate) fn judge_copies(&mut self, target: usize) -> Result<(), FollowError> {
        (self.targets[target].undecided, self.targets[target].making) = (None, None);
        for compressed in [false, true] {
            let mut at = 0;
            while at < self.targets[target].copies.len() {
                let ours = self.targets[target].copies[at].file.compressed == compressed;
                at = if ours { self.judge_copy(target, at)? } else { at + 1 };
            }
        }
        Ok(())
    }

    /// Judges one copy. Returns which one is next.
    fn judge_copy(&mut self, target: usize, at: usize) -> Result<usize, FollowError> {
        let size = self.targets[target].copies[at].measure().map_err(FollowError::Read)?;
        let verdict = self.judge(target, &self.targets[target].copies[at])?;
        let path = &self.targets[target].copies[at].file.path;
        tracing::debug!(path = %path.display(), size, ?verdict, "copy judged");
        match verdict {
            Verdict::Unfinished => {
                let copy = &self.targets[target].copies[at];
                let due = copy.found + IN_THE_MAKING;
                let now = Instant::now();
                match size {
                    _ if due <= now => {}
                    // It may stay so: nothing waits for it, but no event tells when it is written either.
                    0 => self.targets[target].making = Some(now + UNDECIDED_PAUSE),
                    _ => self.targets[target].undecided = Some(due),
                }
                return Ok(at + 1);
            }
            Verdict::Shadow(number, round) => {
                self.targets[target].copies[at].shadow = Some((number, round));
                return Ok(at + 1);
            }
            Verdict::Known => self.settle(target, at)?,
            Verdict::Grown(offset) => self.adopt(target, at, offset)?,
            // The plain one is not judged yet, and is read then.
            Verdict::Unseen if self.plain_twin(target, at)?.is_some() => self.settle(target, at)?,
            // A truncation that no look has noticed yet explains the copy.
            Verdict::Unseen => match self.truncated_unnoticed(target, at)? {
                Some(truncated) => {
                    self.truncated(target, truncated)?;
                    return Ok(0);
                }
                None => {
                    self.find_shadows(target)?;
                    self.adopt(target, at, 0)?;
                }
            },
        }
        Ok(at)
    }

    /// The plain copy with the content of a compressed one, where it waits beside that.
    fn plain_twin(&self, target: usize, at: usize) -> Result<Option<usize>, FollowError> {
        let copies = &self.targets[target].copies;
        let packed = &copies[at].file;
        let plain = |(_, copy): &(usize, &Copy)| packed.compressed && !copy.file.compressed && copy.size() > 0;
        for (twin, copy) in copies.iter().enumerate().filter(plain) {
            let trace = self.trace_beside(&copy.file)?;
            if fits(packed, &trace)? && !grown(packed, &trace).map_err(FollowError::Read)? {
                return Ok(Some(twin));
            }
        }
        Ok(None)
    }

    /// Copies of what is open are none of anything else, and tell by their names where that stands among the others.
    fn find_shadows(&mut self, target: usize) -> Result<(), FollowError> {
        for at in 0..self.targets[target].copies.len() {
            if self.targets[target].copies[at].shadow.is_some() {
                continue;
            }
            // It may have been empty when it was found.
            self.targets[target].copies[at].measure().map_err(FollowError::Read)?;
            if let Verdict::Shadow(number, round) = self.judge(target, &self.targets[target].copies[at])? {
                self.targets[target].copies[at].shadow = Some((number, round));
            }
        }
        Ok(())
    }

    /// Whether nothing that was read, or is open, holds a file's content.
    pub(crate) fn is_unseen(&self, target: usize, candidate: &Candidate) -> Result<bool, FollowError> {
        let empty = candidate.facts.size == 0;
        if !empty {
            // It may be a copy of what a generation held until it was truncated, which no look has noticed yet.
            for generation in &self.targets[target].generations {
                // Where nothing was read all that begin with the same banner fit.
                let held =
                    |one: &Generation| Ok(one.offset > 0 || (one.stream.is_none() && one.round_now()? > one.round));
                if fits(candidate, &generation.trace())? && held(generation).map_err(FollowError::Read)? {
                    return Ok(false);
                }
            }
        }
        Ok(empty || matches!(self.judged(target, candidate, true)?, Verdict::Unseen | Verdict::Unfinished))
    }

    fn judge(&self, target: usize, copy: &Copy) -> Result<Verdict, FollowError> {
        let followed = &self.targets[target];
        if copy.size() == 0 {
            return Ok(Verdict::Unfinished);
        }
        let is_open = |shadow: &(u64, u32)| followed.generations.iter().any(|one| (one.number, one.round) == *shadow);
        // Decompressing it again would tell nothing new.
        if copy.file.compressed
            && let Some((number, round)) = copy.shadow.filter(is_open)
        {
            return Ok(Verdict::Shadow(number, round));
        }
        self.judged(target, &copy.file, copy.grew.elapsed() < IN_THE_MAKING)
    }

    /// What a file that is not empty is by its content. `fresh`: it may still be written.
    fn judged(&self, target: usize, copy: &Candidate, fresh: bool) -> Result<Verdict, FollowError> {
        let followed = &self.targets[target];
        // The youngest first: of files that begin alike, a copy is of the last one that was there when it was made.
        for generation in followed.generations.iter().rev().filter(|one| one.stream.is_none()) {
            if let Some(round) = begun_round(generation, copy, self.config.head).map_err(FollowError::Read)? {
                return Ok(Verdict::Shadow(generation.number, round));
            }
        }
        for generation in followed.generations.iter().filter(|one| one.stream.is_some()) {
            if fits(copy, &generation.trace())? {
                return Ok(Verdict::Known);
            }
        }
        let mut grown_from = None;
        for known in &followed.known {
            if !fits(copy, &known.trace)? {
                continue;
            }
            if !grown(copy, &known.trace).map_err(FollowError::Read)? {
                return Ok(Verdict::Known);
            }
            // Two copies may begin alike, so may files with a banner: the one of which most was read tells. A few bytes do not.
            if !known.copy && known.trace.offset >= START_BYTES as u64 {
                grown_from = grown_from.max(Some(known.trace.offset));
            }
        }
        // And so may a file that is closed and one that was truncated.
        if let Some(offset) = grown_from
            && !self.was_truncated_after(target, copy, offset)?
        {
            return Ok(Verdict::Grown(offset));
        }
        for known in followed.known.iter().filter(|known| fresh && !copy.compressed && !known.copy) {
            if copy.facts.size < known.trace.offset && known.trace.head_fits(&copy.file).map_err(FollowError::Read)? {
                return Ok(Verdict::Unfinished);
            }
        }
        Ok(Verdict::Unseen)
    }

    /// Whether a file holds what was read of an open one, more than `offset`, and that was truncated since.
    fn was_truncated_after(&self, target: usize, copy: &Candidate, offset: u64) -> Result<bool, FollowError> {
        for one in self.targets[target].generations.iter().filter(|one| one.stream.is_none() && one.offset > offset) {
            if fits(copy, &one.trace())? && one.round_now().map_err(FollowError::Read)? > one.round {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Which generation's content is not what it was, although no look has told so yet. One that was written anew beyond
    /// our offset, with the same first lines, is known by a copy that was made while it had the name, and goes on otherwise.
    fn truncated_unnoticed(&mut self, target: usize, copy: usize) -> Result<Option<usize>, FollowError> {
        let followed = &self.targets[target];
        let copy = &followed.copies[copy].file;
        if let Some(live) = followed.live().filter(|_| followed.births == 0 && !followed.doubtful)
            && live.offset > 0
            && live.stream.is_none()
            && !copy.compressed
            && matches!(copy.origin, Some(Origin::Made(_)))
            && fits(copy, &live.trace())?
        {
            return Ok(Some(followed.generations.len() - 1));
        }
        for (at, generation) in self.targets[target].generations.iter_mut().enumerate() {
            if generation.stream.is_none() && generation.is_other_content().map_err(FollowError::Read)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// A copy of which nothing is to be read any more: its trace stays known.
    fn settle(&mut self, target: usize, at: usize) -> Result<(), FollowError> {
        let Some(copy) = self.targets[target].copies.remove(at) else { return Ok(()) };
        let trace = self.trace_beside(&copy.file)?;
        let slot = self.save_closed(target, trace);
        self.targets[target].learn(Known { slot, copy: true, ..Known::of(trace, &copy.file.facts) });
        Ok(())
    }

    /// Copies of a generation that is closed are never to be read.
    pub(crate) fn settle_shadows(&mut self, target: usize, number: u64) -> Result<(), FollowError> {
        let is_shadow = |copy: &Copy| copy.shadow.is_some_and(|(of, _)| of == number);
        while let Some(at) = self.targets[target].copies.iter().position(is_shadow) {
            self.settle(target, at)?;
        }
        Ok(())
    }

    /// A copy becomes a generation, read from `offset` on.
    fn adopt(&mut self, target: usize, at: usize, offset: u64) -> Result<(), FollowError> {
        let links = self.behind_symlink(target);
        let file = &self.targets[target].copies[at].file;
        if self.watcher.is_none() && !file.keeps_its_name() {
            // Names have moved on since it was found, and tell only where all are of one time.
            self.look_at_names(target)?;
        }
        let copy = self.targets[target].copies.remove(at);
        let Some(Copy { file: candidate, looked, beside, .. }) = copy else { return Ok(()) };
        let place = self.place(target, &candidate, looked, beside);
        let followed = &mut self.targets[target];
        // A file took the name and is gone, and this is what is left of it: told by events, else by a new file there.
        let came = followed.births > 0 && !followed.doubtful;
        let next = followed.generations.get(place);
        // Unless a file that was there before it, of which nothing is known, stands after it: that was truncated.
        let there = match next.filter(|next| next.number <= looked) {
            Some(next) => next.was_there_before(&candidate).map_err(FollowError::Read)?,
            None => false,
        };
        let new = self.watcher.is_none() && !there && followed.live().is_some_and(|live| live.number > looked);
        if came {
            followed.births -= 1;
            self.stats.recovered.inc();
        }
        let truncated = there || followed.generations.get(place).is_some_and(Generation::was_truncated);
        let whole = came || new || candidate.compressed || links || !truncated;
        let kind = if whole { Kind::Log } else { Kind::Copy };
        let size = Facts::of(&candidate.file).map_err(FollowError::Read)?.size;
        tracing::info!(path = %candidate.path.display(), size, offset, "content found that was under the name between two looks");
        self.stats.recovered_bytes.inc_by(size.saturating_sub(offset));
        let modified = candidate.facts.modified;
        let generation = self.insert_found(target, place, candidate, offset, kind)?;
        if generation.stream.is_some() {
            generation.time = modified;
        } else if kind == Kind::Copy {
            generation.may_begin_with_hole();
        }
        // What was seen of the file that goes on, and not read, may have been this.
        match self.targets[target].generations.get_mut(place + 1) {
            Some(next) if next.may_have_held(false) => next.forget_size().map_err(FollowError::Read),
            _ => Ok(()),
        }
    }

    /// The content is not what it was. What was not read before lies in a copy, if anywhere.
    pub(crate) fn truncated(&mut self, target: usize, at: usize) -> Result<(), FollowError> {
        let Generation { number, round, .. } = self.targets[target].generations[at];
        tracing::debug!(path = self.targets[target].shown(), number, "content is not what it was");
        if self.config.recover {
            self.find_copies(target)?;
            if self.has_doubts(target) {
                // It lost its name as well. That look judges copies, and may have come to this one.
                self.reconcile(target)?;
            }
        }
        let followed = &self.targets[target];
        let Some(at) = followed.position(number).filter(|at| followed.generations[*at].round == round) else {
            return Ok(());
        };
        let generation = &self.targets[target].generations[at];
        let (trace, offset, seen, reads) = (generation.trace(), generation.offset, generation.seen, generation.reads);
        let first = generation.first().to_vec();
        let shown = self.targets[target].shown();
        self.notices.push(format!("tail: {shown}: file truncated"));
        let interrupted =
            (self.in_flight == Some((target, number)) && generation.in_batch()).then_some(generation.batch_end);
        if interrupted.is_some() {
            self.in_flight = None;
        }
        // Which ones are of other files is to be known first: with a banner they all begin alike.
        self.find_shadows(target)?;
        let ours = self.copy_of(target, at, &trace)?;
        let any = ours.is_some() || !self.targets[target].copies.is_empty();
        self.stats.rotated(&shown, if any { "copytruncate" } else { "truncate" });
        let copied = match ours {
            Some(copy) if !self.targets[target].copies[copy].file.compressed => {
                self.targets[target].copies[copy].size()
            }
            Some(_) => seen,
            None => 0,
        };
        let reason = if ours.is_some() { "copytruncate" } else { "overwritten" };
        // What another copy may hold yet is not lost.
        let mut others = self.targets[target].copies.iter().enumerate().filter(|(index, _)| Some(*index) != ours);
        if others.all(|(_, copy)| copy.shadow.is_some()) {
            self.stats.lost(reason, seen.saturating_sub(copied.max(offset)));
        }
        let whole = ours.map(|copy| &self.targets[target].copies[copy].file);
        let whole = whole.map(|copy| Ok((copy.file.try_clone()?, copy.compressed)));
        let whole = whole.transpose().map_err(FollowError::Read)?;
        let head = self.config.head;
        let generation = &mut self.targets[target].generations[at];
        generation.cancel_batch();
        generation.restart(head).map_err(FollowError::Read)?;
        generation.saved = None;
        let continued = match ours.and_then(|copy| self.targets[target].copies.remove(copy)) {
            Some(copy) if copied > offset || copy.file.compressed => {
                self.go_on_in(target, at, copy, offset, interrupted)?;
                true
            }
            Some(copy) => {
                // All of it was handed over before.
                self.targets[target].copies.push_front(copy);
                self.settle(target, 0)?;
                false
            }
            None => false,
        };
        self.forget_older_copies(target, number, (&trace, offset), reads, &first, whole.as_ref())?;
        self.save_when_out(target, at + usize::from(continued));
        self.targets[target].copy_hint |= !self.targets[target].copies.is_empty();
        Ok(())
    }

    /// The copy that holds what a trace has seen: of several the one that holds most.
    fn copy_of(&mut self, target: usize, at: usize, trace: &Trace) -> Result<Option<usize>, FollowError> {
        let followed = &mut self.targets[target];
        let generation = &followed.generations[at];
        let first = generation.first();
        let of_another = |copy: &Copy| {
            let Some((of, round)) = copy.shadow else { return false };
            let is_its = |one: &Generation| (one.number, one.round) == (of, round);
            let later = of == generation.number && round > generation.round;
            later || followed.generations.iter().any(|one| one.number != generation.number && is_its(one))
        };
        let mut best: Option<(u64, usize)> = None;
        for (index, copy) in followed.copies.iter_mut().enumerate().filter(|(_, copy)| !of_another(copy)) {
            let size = copy.measure().map_err(FollowError::Read)?;
            let short = size >= trace.offset && begins_with(first, &copy.file)?;
            let shadow = copy.is_of(generation);
            // A batch that did not go out may reach beyond the copy, and the trace is of its end.
            let within = generation.in_batch()
                && size >= generation.offset
                && (shadow || generation.reads.are_in(&copy.file.file, size).map_err(FollowError::Read)?);
            if !(short || within || fits(&copy.file, trace)?) || holds_known(&copy.file, &followed.known)? {
                continue;
            }
            // Content that begins alike and comes later is another round.
            if best.is_none() || (shadow && best.is_some_and(|(most, _)| size > most)) {
                best = Some((size, index));
            }
        }
        let Some((_, best)) = best else { return Ok(None) };
        // What is compressed of an open file is known as that; the other way round it is not.
        Ok(self.plain_twin(target, best)?.or(Some(best)))
    }

    /// Copies of what a generation held before it was truncated, shorter than what was read of it, `offset`. `whole` is a copy that
    /// holds all of that, and whether it is compressed; without one only the beginning tells, and when they were made.
    fn forget_older_copies(
        &mut self,
        target: usize,
        number: u64,
        (trace, offset): (&Trace, u64),
        reads: Reads,
        first: &[u8],
        whole: Option<&(File, bool)>,
    ) -> Result<(), FollowError> {
        let Some(at) = self.targets[target].position(number) else { return Ok(()) };
        let round = self.targets[target].generations[at].round;
        let mut index = 0;
        while index < self.targets[target].copies.len() {
            let copy = &mut self.targets[target].copies[index];
            let size = copy.measure().map_err(FollowError::Read)?;
            let shadow = copy.shadow.is_some_and(|(of, then)| of == number && then < round);
            let unjudged = copy.shadow.is_none() && !copy.file.compressed && size > 0 && size < offset;
            // Two rounds can come and go before a truncation is noticed: a shadow may be of the second.
            let part = match whole {
                _ if !unjudged && !shadow => Ok(false),
                Some((whole, false)) if copy.file.compressed => gz::begins(&copy.file.file, whole, self.config.head),
                _ if copy.file.compressed => Ok(true),
                _ if reads.rule_out(&copy.file.file, size, copy.file.origin).map_err(FollowError::Read)? => Ok(false),
                Some((whole, false)) => alike(whole, &copy.file.file, size),
                // More than the beginning: other rounds may begin with the same banner.
                Some((whole, true)) => Trace::take(&copy.file.file, copy.identity(), size, self.config.head)
                    .and_then(|trace| gz::fits(whole, &trace)),
                None if begins_with(first, &copy.file)? => Ok(true),
                None => trace.head_fits(&copy.file.file),
            };
            if part.map_err(FollowError::Read)? {
                self.settle(target, index)?;
                // Of those that were never judged only the first can be a copy of that content.
                if !shadow {
                    return Ok(());
                }
            } else {
                copy.shadow = copy.shadow.filter(|_| !shadow);
                index += 1;
            }
        }
        Ok(())
    }

    /// What was not read before the truncation comes from the copy.
    fn go_on_in(
        &mut self,
        target: usize,
        at: usize,
        copy: Copy,
        offset: u64,
        interrupted: Option<u64>,
    ) -> Result<(), FollowError> {
        if interrupted.is_some() {
            // Its line has begun to go out: until the copy has ended that, the record of what was there is right.
            self.save_later(target, self.targets[target].generations[at].number);
        }
        let (candidate, of) = (copy.file, self.targets[target].generations[at].number);
        self.stats.recovered_bytes.inc_by(candidate.facts.size.saturating_sub(offset));
        let kind = if candidate.compressed { Kind::Log } else { Kind::Copy };
        // Later rounds may have been found before the truncation was noticed.
        let at = self.place_by_name(target, &candidate).map_or(at, |place| place.min(at));
        let generation = self.insert_found(target, at, candidate, offset, kind)?;
        generation.copy_of = Some(of);
        generation.size().map_err(FollowError::Read)?;
        let (number, packed) = (generation.number, generation.stream.is_some());
        let Some(end) = interrupted else { return Ok(()) };
        // The line that was going out goes on from the copy, and nothing comes between. What of the batch was written after
        // the copy was made is lost.
        let end = if packed || end <= generation.seen { Some(end) } else { self.end_of_line(target, at, offset)? };
        if let Some(end) = end {
            let generation = &mut self.targets[target].generations[at];
            if !packed {
                generation.set_batch(end).map_err(FollowError::Read)?;
                generation.continues = true;
            }
            self.in_flight = Some((target, number));
        }
        Ok(())
    }

    /// Whether the log's name is a symlink to files of changing names, each made under its own.
    pub(crate) fn behind_symlink(&self, target: usize) -> bool {
        self.config.olddir.is_none() && self.targets[target].places.len() > 1
    }
}

/// The round of a generation that begins with all that a copy holds: it may have been truncated before the copy was made.
fn begun_round(generation: &Generation, copy: &Candidate, head: usize) -> io::Result<Option<u32>> {
    loop {
        let round = generation.round_now()?;
        let begins = begins(generation, copy, head)?;
        // Truncated during the comparison: it tells nothing.
        if generation.round_now()? == round {
            return Ok(begins.then_some(round));
        }
    }
}

/// Whether a generation begins with all that a copy holds. A copy of it can only be shorter.
fn begins(generation: &Generation, copy: &Candidate, head: usize) -> io::Result<bool> {
    if copy.compressed {
        return gz::begins(&copy.file, &generation.file, head);
    }
    let size = copy.facts.size;
    Ok(size <= Facts::of(&generation.file)?.size && generation.shares_content(&copy.file, size)?)
}

/// Whether a file holds what was handed over before, and no more.
fn holds_known(copy: &Candidate, known: &VecDeque<Known>) -> Result<bool, FollowError> {
    for known in known {
        if fits(copy, &known.trace)? && !grown(copy, &known.trace).map_err(FollowError::Read)? {
            return Ok(true);
        }
    }
    Ok(false)
}
