//! The first look at a path: where to start, or how to go on from what the state file remembers.

use std::collections::VecDeque;
use std::fs::File;

use crate::FollowError;
use crate::candidate::{Candidate, fits, grown};
use crate::config::LineEnds;
use crate::copies::Copy;
use crate::engine::Engine;
use crate::generation::Kind;
use crate::gz;
use crate::identity::{Facts, Identity, Print, Trace, read_at};
use crate::lines::LineEnd;
use crate::sink::Sink;
use crate::state::{START_BYTES, Saved};
use crate::target::{Known, ORDER_BITS};

/// Files from before the first start that the state file remembers, the youngest.
const HISTORY_KEPT: usize = 8;

/// A file that may be what a record remembers.
struct Piece {
    candidate: Candidate,
    /// It is the file under the name.
    live: bool,
    record: Option<usize>,
}

impl Piece {
    /// Whether it lies beside the log and no record is of it.
    fn is_free(&self) -> bool {
        self.record.is_none() && !self.live
    }
}

impl<S: Sink> Engine<S> {
    /// The path led to a file the first time it was looked at.
    pub(crate) fn first_look(&mut self, target: usize, file: File, facts: &Facts) -> Result<(), FollowError> {
        self.learn_line_end(target, &file)?;
        let records = self.records(target);
        if !records.is_empty() {
            let live = Candidate::live(self.targets[target].path().to_owned(), file, *facts);
            return self.resume(target, records, Some(live));
        }
        let start = self.targets[target].start.take().unwrap_or_default();
        let line_end = self.targets[target].line_end;
        let offset = start.offset(&file, facts.size, line_end).map_err(FollowError::Read)?;
        self.push(target, file, facts, offset, Kind::Log, None)?;
        self.targets[target].generations.back_mut().into_iter().for_each(|one| one.led = true);
        self.set_aside_history(target, Some(facts.identity))
    }

    /// The path led nowhere the first time it was looked at. What lies beside it is history, unless it is remembered.
    pub(crate) fn first_missing(&mut self, target: usize) -> Result<(), FollowError> {
        self.targets[target].start = None;
        let records = self.records(target);
        if records.is_empty() {
            return self.set_aside_history(target, None);
        }
        self.resume(target, records, None)
    }

    fn set_aside_history(&mut self, target: usize, live: Option<Identity>) -> Result<(), FollowError> {
        let history = self.candidates(target)?.into_iter();
        let mut set_aside = VecDeque::new();
        for candidate in history.filter(|one| !live.is_some_and(|live| live.same(one.facts.identity))) {
            let identity = candidate.facts.identity;
            if live.is_some_and(|live| identity.born >= live.born) && self.keeps_shadow(target, &candidate)? {
                let newest = self.targets[target].next_number;
                self.targets[target].copies.push_back(Copy::new(candidate, 0, (None, newest)));
                continue;
            }
            set_aside.push_back(self.trace_beside(&candidate)?);
            if set_aside.len() > HISTORY_KEPT {
                set_aside.pop_front();
            }
            self.set_aside(target, &candidate)?;
        }
        // The next run takes what was made since for content that it has to read; births may tie.
        for trace in set_aside {
            self.save_closed(target, trace);
        }
        Ok(())
    }

    /// Whether a file is a copy of the log's content, which is needed when the log is truncated.
    fn keeps_shadow(&self, target: usize, candidate: &Candidate) -> Result<bool, FollowError> {
        let plain = !candidate.compressed && self.config.recover && !self.behind_symlink(target);
        Ok(plain && self.begins_as_open(target, candidate)?)
    }

    /// Whether a file holds all that was read of an open one.
    pub(crate) fn holds_what_was_read(&self, target: usize, candidate: &Candidate) -> Result<bool, FollowError> {
        for generation in self.targets[target].generations.iter().filter(|one| one.offset > 0) {
            if fits(candidate, &generation.trace())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// With `--encoding auto` the byte order mark decides what ends a line.
    pub(crate) fn learn_line_end(&mut self, target: usize, file: &File) -> Result<(), FollowError> {
        let mut mark = [0; 2];
        self.targets[target].line_end = match self.config.line_ends {
            LineEnds::Always(line_end) => line_end,
            LineEnds::ByMark => {
                let read = read_at(file, &mut mark, 0).map_err(FollowError::Read)?;
                match &mark[..read] {
                    [0xFF, 0xFE] => LineEnd::Utf16Le,
                    [0xFE, 0xFF] => LineEnd::Utf16Be,
                    _ => LineEnd::Newline,
                }
            }
        };
        Ok(())
    }

    /// What the state file remembers of this path, oldest first.
    fn records(&mut self, target: usize) -> Vec<(usize, Saved)> {
        let path = self.targets[target].path_digest();
        let (mut ours, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.saved).into_iter().partition(|(_, saved)| saved.path == path);
        self.saved = others;
        ours.sort_by_key(|(_, saved)| saved.order);
        ours
    }

    /// Matches records with files: by inode and content, else by content alone, compressed or not. Of the others those
    /// older than every match are history; younger ones were never read, as the state file remembers what was.
    fn resume(
        &mut self,
        target: usize,
        records: Vec<(usize, Saved)>,
        live: Option<Candidate>,
    ) -> Result<(), FollowError> {
        let newest = records.iter().map(|(_, saved)| saved.order >> ORDER_BITS).max().unwrap_or(0);
        self.targets[target].next_number = newest;
        let identity = live.as_ref().map(|live| live.facts.identity);
        let mut siblings = self.candidates(target)?;
        siblings.retain(|one| !identity.is_some_and(|live| live.same(one.facts.identity)));
        let mut pieces: Vec<Piece> =
            siblings.into_iter().map(|candidate| Piece { candidate, live: false, record: None }).collect();
        pieces.extend(live.map(|candidate| Piece { candidate, live: true, record: None }));
        let mut found = vec![false; records.len()];
        for by_identity in [true, false] {
            for (at, (_, saved)) in records.iter().enumerate() {
                if found[at] {
                    continue;
                }
                if let Some(piece) = matching(&pieces, saved, by_identity)? {
                    pieces[piece].record = Some(at);
                    found[at] = true;
                }
            }
        }
        self.pass_over_twins(target, &mut pieces)?;
        match_shorter(&mut pieces, &records, &mut found)?;
        match_unread(&mut pieces, &records, &mut found)?;
        self.give_up_lost(target, &pieces, &records, &found)?;
        order_by_truncation(&mut pieces, &records);
        // A file of which nothing was read may have been truncated since, as often as you like, and been renamed then, unless what
        // was seen of it was more than a few bytes: it tells no time, unless each file keeps a name of its own.
        let links = self.behind_symlink(target);
        let tells = |piece: &Piece| piece.record.is_some_and(|at| links || records[at].1.trace.tells());
        let oldest = pieces.iter().position(tells);
        let newest_birth = records.iter().map(|(_, saved)| saved.trace.identity.born).max().unwrap_or(0);
        let beside = |born: u64| !links && identity.is_some_and(|live| born >= live.born);
        let copies: Vec<bool> = pieces
            .iter()
            .map(|piece| !piece.live && !piece.candidate.compressed && beside(piece.candidate.facts.identity.born))
            .collect();
        // A copy of what the log held before it was truncated goes on in the log; any other one is a generation.
        let of_live = |saved: &Saved| identity.is_some_and(|live| saved.trace.identity.same(live));
        let mut unmatched = Vec::new();
        for ((index, piece), copy) in pieces.into_iter().enumerate().zip(copies) {
            // A compressed file is younger than its content; compressors keep the time of the last write.
            let (facts, packed) = (&piece.candidate.facts, piece.candidate.compressed);
            let born = if packed { facts.modified } else { facts.identity.born };
            let younger = match oldest {
                // Followed by the last run, and truncated since.
                _ if piece.record.is_none() && remembered(&records, facts.identity) => true,
                // What was made beside the log since the last run looked was never read.
                _ if copy => born >= newest_birth,
                Some(oldest) => index > oldest,
                None => born > newest_birth,
            };
            let record = piece.record.map(|at| records[at]);
            let offset = record.map(|(_, saved)| saved.trace.offset);
            tracing::debug!(path = %piece.candidate.path.display(), size = facts.size, packed, copy, younger, offset, "found beside the state file's records");
            if copy && record.is_none() && self.config.recover {
                unmatched.push((self.targets[target].generations.len(), piece.candidate, younger));
            } else {
                let kind =
                    if copy && record.is_some_and(|(_, saved)| of_live(&saved)) { Kind::Copy } else { Kind::Log };
                self.take_up(target, piece, record, younger, (copy, kind))?;
            }
        }
        self.take_up_copies(target, unmatched)
    }

    /// A file that is just being compressed is there twice: what is compressed of it is not read.
    fn pass_over_twins(&mut self, target: usize, pieces: &mut Vec<Piece>) -> Result<(), FollowError> {
        let mut at = 0;
        while at < pieces.len() {
            let piece = &pieces[at].candidate;
            let plain = pieces.iter().filter(|one| !one.candidate.compressed && piece.compressed);
            let twins: std::io::Result<Vec<bool>> =
                plain.map(|one| gz::begins(&piece.file, &one.candidate.file, self.config.head)).collect();
            if pieces[at].record.is_none() && twins.map_err(FollowError::Read)?.contains(&true) {
                let twin = pieces.remove(at);
                self.set_aside(target, &twin.candidate)?;
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// Copies that no record remembers: of what the log holds now, made while nobody looked, or history. Each comes with its
    /// place among the generations.
    fn take_up_copies(&mut self, target: usize, unmatched: Vec<(usize, Candidate, bool)>) -> Result<(), FollowError> {
        let mut before = 0;
        for (place, candidate, younger) in unmatched {
            // The log may have been truncated since it was opened: then it begins with nothing of that any more.
            let begins = candidate.facts.size == 0 || self.keeps_shadow(target, &candidate)?;
            if begins || (younger && self.holds_what_was_read(target, &candidate)?) {
                let newest = self.targets[target].next_number;
                self.targets[target].copies.push_back(Copy::new(candidate, 0, (None, newest)));
            } else if younger {
                self.insert_found(target, place + before, candidate, 0, Kind::Log)?;
                self.stats.recovered.inc();
                before += 1;
            } else {
                self.set_aside(target, &candidate)?;
            }
        }
        self.targets[target].copy_hint = true;
        Ok(())
    }

    fn take_up(
        &mut self,
        target: usize,
        piece: Piece,
        record: Option<(usize, Saved)>,
        younger: bool,
        (copy, kind): (bool, Kind),
    ) -> Result<(), FollowError> {
        let Piece { candidate, live, .. } = piece;
        let facts = candidate.facts;
        match record {
            Some((slot, saved)) if is_done(&candidate, live, copy, &saved) => {
                if facts.size < saved.trace.offset {
                    // Only as far as it goes it is known.
                    let known = Known::of(self.trace_beside(&candidate)?, &facts);
                    self.targets[target].learn(Known { slot: Some(slot), copy: true, ..known });
                } else {
                    let trace = Trace { identity: facts.identity, ..saved.trace };
                    self.targets[target].remember(trace, Some(slot), copy);
                }
                return Ok(());
            }
            Some((slot, saved)) => {
                self.push(target, candidate.file, &facts, saved.trace.offset, kind, Some(slot))?;
                let trace = Trace { identity: facts.identity, ..saved.trace };
                self.targets[target].generations.back_mut().into_iter().for_each(|one| one.goes_on(&trace));
            }
            None if younger || live => self.push(target, candidate.file, &facts, 0, kind, None)?,
            None => return self.set_aside(target, &candidate),
        }
        if live {
            self.targets[target].generations.back_mut().into_iter().for_each(|one| one.led = true);
        } else if let Some(generation) = self.targets[target].generations.back_mut() {
            generation.replaced = Some(tokio::time::Instant::now());
            if record.is_none() {
                self.stats.recovered.inc();
            }
        }
        Ok(())
    }

    /// Generations that were not read to their end and lie nowhere any more.
    fn give_up_lost(
        &mut self,
        target: usize,
        pieces: &[Piece],
        records: &[(usize, Saved)],
        found: &[bool],
    ) -> Result<(), FollowError> {
        for ((slot, saved), _) in records.iter().zip(found).filter(|((_, saved), found)| !saved.closed && !**found) {
            if !is_elsewhere(pieces, &saved.trace)? {
                let path = self.targets[target].shown();
                tracing::warn!(
                    path,
                    offset = saved.trace.offset,
                    "a generation that was being read is gone; what it had after this offset is lost"
                );
                self.stats.missed.inc();
                self.stats.lost("deleted", saved.seen.saturating_sub(saved.trace.offset));
            }
            if let Some(state) = self.state.as_mut() {
                let _ = state.save(&mut Some(*slot), &Saved { closed: true, ..*saved });
            }
        }
        Ok(())
    }
}

/// Whether all of a file was handed over, so that it need not be opened: it was closed, or it is a copy of what was read.
fn is_done(candidate: &Candidate, live: bool, copy: bool, saved: &Saved) -> bool {
    let no_more = candidate.facts.size <= saved.trace.offset;
    let itself = candidate.facts.identity.same(saved.trace.identity);
    let closed = saved.closed && (copy || candidate.compressed || no_more);
    !live && (closed || (!itself && !candidate.compressed && no_more))
}

/// A file that was copied or compressed before the last of it was written and read is shorter than what its record remembers.
fn match_shorter(pieces: &mut [Piece], records: &[(usize, Saved)], found: &mut [bool]) -> Result<(), FollowError> {
    for (at, (_, saved)) in records.iter().enumerate() {
        if found[at] || saved.start.bytes == 0 {
            continue;
        }
        for piece in pieces.iter_mut().filter(|piece| piece.record.is_none() && !piece.live) {
            // Younger content may begin alike.
            let older = piece.candidate.facts.modified <= saved.modified;
            if older && is_part(&piece.candidate, saved).map_err(FollowError::Read)? {
                piece.record = Some(at);
                found[at] = true;
                break;
            }
        }
    }
    Ok(())
}

/// Whether a file ends before what a record remembers, and begins as that does.
fn is_part(candidate: &Candidate, saved: &Saved) -> std::io::Result<bool> {
    let Candidate { file, facts, compressed, .. } = candidate;
    if *compressed {
        return gz::begins_with(file, saved.start, saved.trace.offset);
    }
    let whole_head = facts.size >= u64::from(saved.trace.head.bytes);
    let mut found = vec![0; saved.start.bytes as usize];
    let read = read_at(file, &mut found, 0)?;
    let begins = if whole_head { saved.trace.head_fits(file)? } else { Print::of(&found[..read]) == saved.start };
    Ok(begins && facts.size <= saved.trace.offset)
}

/// A generation of which nothing was read has too little content by which it is known when it was compressed: it is the file
/// between those of the records before and after it. Where something was there that file begins so, or one that was found out
/// of order does.
fn match_unread(pieces: &mut [Piece], records: &[(usize, Saved)], found: &mut [bool]) -> Result<(), FollowError> {
    for at in 0..records.len() {
        let (_, saved) = &records[at];
        if found[at] || saved.closed || saved.trace.offset > 0 {
            continue;
        }
        let piece_of = |record: usize| pieces.iter().position(|piece| piece.record == Some(record));
        let before = (0..at).filter_map(piece_of).max();
        let after = (at + 1..records.len()).find_map(piece_of);
        let between = match (before, after) {
            (Some(before), _) => before + 1,
            // What was written after that file was made, and first.
            (None, Some(after)) => {
                let born = saved.trace.identity.born;
                let since = |piece: &Piece| piece.is_free() && piece.candidate.facts.modified >= born;
                pieces[..after].iter().position(since).unwrap_or(after.wrapping_sub(1))
            }
            (None, None) => continue,
        };
        let unknown = saved.trace.is_blank() || is_elsewhere(pieces, &saved.trace)?;
        let place = if unknown { Some(between) } else { begun_as(pieces, &saved.trace, between)? };
        if let Some(piece) = place.and_then(|place| pieces.get_mut(place)).filter(|piece| piece.is_free()) {
            piece.record = Some(at);
            found[at] = true;
        }
    }
    Ok(())
}

/// Whether a file that another record remembers holds what this one has seen: that was copied, and truncated then.
fn is_elsewhere(pieces: &[Piece], trace: &Trace) -> Result<bool, FollowError> {
    for piece in pieces.iter().filter(|piece| piece.record.is_some()) {
        if fits(&piece.candidate, trace)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The file that begins as `trace` does: the one at `between`, else the only one that is younger than a file that is known.
fn begun_as(pieces: &[Piece], trace: &Trace, between: usize) -> Result<Option<usize>, FollowError> {
    let known = pieces.iter().position(|piece| piece.record.is_some()).unwrap_or(pieces.len());
    let mut begun = Vec::new();
    for (at, piece) in pieces.iter().enumerate().filter(|(_, piece)| piece.is_free()) {
        if (at == between || at > known) && fits(&piece.candidate, trace)? {
            begun.push(at);
        }
    }
    Ok(if begun.contains(&between) { Some(between) } else { begun.first().copied().filter(|_| begun.len() == 1) })
}

fn remembered(records: &[(usize, Saved)], identity: Identity) -> bool {
    records.iter().any(|(_, saved)| !saved.closed && saved.trace.identity.same(identity))
}

/// A copy that holds what a truncated file held comes before what that file holds now.
fn order_by_truncation(pieces: &mut Vec<Piece>, records: &[(usize, Saved)]) {
    for at in 1..pieces.len() {
        let Some((_, saved)) = pieces[at].record.map(|record| records[record]) else { continue };
        let is_file = |piece: &Piece| piece.candidate.facts.identity.same(saved.trace.identity);
        if let Some(place) = pieces[..at].iter().position(is_file) {
            let copy = pieces.remove(at);
            pieces.insert(place, copy);
        }
    }
}

/// Which file a record remembers.
fn matching(pieces: &[Piece], saved: &Saved, by_identity: bool) -> Result<Option<usize>, FollowError> {
    let trace = &saved.trace;
    // What was closed as so little is not known to go on in a file that begins so and is longer.
    let few = saved.closed && trace.offset < START_BYTES as u64;
    let mut compressed = None;
    for (index, piece) in pieces.iter().enumerate().filter(|(_, piece)| piece.record.is_none()) {
        let candidate = &piece.candidate;
        if by_identity {
            let same = candidate.facts.identity.same(trace.identity);
            if same && (trace.is_blank() || content_fits(candidate, trace)?) {
                return Ok(Some(index));
            }
        } else if trace.tells()
            && fits(candidate, trace)?
            && !(few && grown(candidate, trace).map_err(FollowError::Read)?)
        {
            if !candidate.compressed {
                return Ok(Some(index));
            }
            compressed.get_or_insert(index);
        }
    }
    Ok(compressed)
}

/// The record of a compressed generation has the head of the compressed bytes and an offset in the content.
fn content_fits(candidate: &Candidate, trace: &Trace) -> Result<bool, FollowError> {
    if candidate.compressed && trace.head_fits(&candidate.file).map_err(FollowError::Read)? {
        return Ok(true);
    }
    fits(candidate, trace)
}
