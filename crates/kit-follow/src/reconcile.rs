//! Where does the path lead now, and which generations came and went since the last look?

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use crate::FollowError;
use crate::config::Follow;
use crate::engine::Engine;
use crate::generation::{Generation, Kind, is_regular, open};
use crate::gz;
use crate::identity::{Facts, Identity, Trace, read_at};
use crate::sink::Sink;
use crate::target::{Known, Presence};

/// A file beside the log that was not seen before.
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) facts: Facts,
    pub(crate) compressed: bool,
    pub(crate) renamed: Option<u64>,
}

/// Where a path led when it was opened.
pub(crate) enum Led {
    File(File, Facts),
    Untailable(Identity, &'static str),
    Missing(io::Error),
}

impl<S: Sink> Engine<S> {
    /// Looks where one path leads and takes up what is new.
    pub(crate) fn reconcile(&mut self, target: usize) -> Result<(), FollowError> {
        self.targets[target].doubtful = false;
        let absent = matches!(self.targets[target].presence, Presence::Missing(_) | Presence::Untailable(_));
        let first = self.targets[target].presence == Presence::Unknown;
        if self.config.follow == Follow::Descriptor && !first && !(absent && self.config.retry) {
            return Ok(());
        }
        self.watch_places(target);
        match self.led(target) {
            Led::File(file, facts) => self.found(target, file, &facts)?,
            Led::Untailable(identity, what) => self.untailable(target, identity, what)?,
            Led::Missing(error) => self.missing(target, &error)?,
        }
        self.targets[target].ready = true;
        Ok(())
    }

    /// Stats first: opening is only needed when the path leads elsewhere.
    fn led(&self, target: usize) -> Led {
        let followed = &self.targets[target];
        let path = followed.path();
        let facts = match Facts::at(path) {
            Ok(facts) => facts,
            Err(error) => return Led::Missing(error),
        };
        if !is_regular(&facts) {
            return Led::Untailable(
                facts.identity,
                if facts.kind.is_dir() { "Is a directory" } else { "not a regular file" },
            );
        }
        if let Some(live) = followed.live()
            && live.identity.same(facts.identity)
            && let Ok(file) = live.file.try_clone()
        {
            return Led::File(file, facts);
        }
        match open(path).and_then(|file| Ok((Facts::of(&file)?, file))) {
            Ok((facts, file)) if is_regular(&facts) => Led::File(file, facts),
            Ok((facts, _)) => Led::Untailable(facts.identity, "not a regular file"),
            Err(error) => Led::Missing(error),
        }
    }

    fn found(&mut self, target: usize, file: File, facts: &Facts) -> Result<(), FollowError> {
        let followed = &self.targets[target];
        let is_live = followed.live().is_some_and(|live| live.identity.same(facts.identity));
        if is_live {
            if followed.births > 0 {
                // A name that was taken and is ours again: what came between may lie beside it.
                let taken = self.take_new(target, None)?;
                self.settle_births(target, taken + 1);
            }
            return Ok(());
        }
        if followed.presence == Presence::Elsewhere(facts.identity) {
            return Ok(());
        }
        if self.followed_elsewhere(target, facts.identity) {
            let path = self.targets[target].shown();
            tracing::info!(path, "leads to a file that is followed under another name; it is printed once");
            self.targets[target].presence = Presence::Elsewhere(facts.identity);
            return Ok(());
        }
        self.targets[target].was_there = true;
        let before = std::mem::replace(&mut self.targets[target].presence, Presence::There);
        if before == Presence::Unknown {
            return self.first_look(target, file, facts);
        }
        self.tell_new(target, &before);
        let taken = self.take_new(target, Some((file, *facts)))?;
        self.settle_births(target, taken);
        Ok(())
    }

    /// The file under the name becomes the youngest generation; a known one goes on where it was.
    pub(crate) fn push_live(&mut self, target: usize, file: File, facts: &Facts) -> Result<(), FollowError> {
        let followed = &mut self.targets[target];
        for generation in &mut followed.generations {
            generation.replaced.get_or_insert_with(Instant::now);
        }
        let open_one = followed.generations.iter().position(|generation| generation.identity.same(facts.identity));
        if let Some(at) = open_one
            && let Some(mut generation) = followed.generations.remove(at)
        {
            // Moved away and back.
            generation.replaced = None;
            followed.generations.push_back(generation);
            return Ok(());
        }
        let (offset, slot) = self.place_of_known(target, &file, facts)?;
        self.push(target, file, facts, offset, Kind::Log, slot)
    }

    /// Where a file that was closed before goes on; the beginning for any other.
    fn place_of_known(
        &mut self,
        target: usize,
        file: &File,
        facts: &Facts,
    ) -> Result<(u64, Option<usize>), FollowError> {
        let followed = &mut self.targets[target];
        let Some(at) = followed.known_as(facts.identity) else { return Ok((0, None)) };
        let known = followed.known[at].clone();
        if !known.trace.fits(file, facts.size).map_err(FollowError::Read)? {
            return Ok((0, known.slot));
        }
        followed.known.remove(at);
        Ok((known.trace.offset, known.slot))
    }

    /// Adds a generation at the end.
    pub(crate) fn push(
        &mut self,
        target: usize,
        file: File,
        facts: &Facts,
        offset: u64,
        kind: Kind,
        slot: Option<usize>,
    ) -> Result<(), FollowError> {
        let at = self.targets[target].generations.len();
        self.insert(target, at, file, facts, offset, kind, slot)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call makes a generation; a struct of the same fields would be named once"
    )]
    pub(crate) fn insert(
        &mut self,
        target: usize,
        at: usize,
        file: File,
        facts: &Facts,
        offset: u64,
        kind: Kind,
        slot: Option<usize>,
    ) -> Result<(), FollowError> {
        self.learn_line_end(target, &file)?;
        let head = self.config.head;
        let number = self.targets[target].number();
        let compressed = gz::is_gzip(&file).unwrap_or(false)
            && kind == Kind::Log
            && at != usize::MAX
            && self.is_sibling_name(target, &file);
        let mut generation = Generation::new(file, facts, number, offset, head, kind).map_err(FollowError::Read)?;
        generation.slot = slot;
        if compressed {
            generation = generation.decompress().map_err(FollowError::Read)?;
        } else if let Some(watcher) = self.watcher.as_mut() {
            match watcher.file(&generation.file) {
                Ok(watch) => generation.watch = Some(watch),
                Err(error) => self.polls_from_now(&error),
            }
        }
        self.stats.files_open.inc();
        let followed = &mut self.targets[target];
        let path = followed.shown();
        tracing::debug!(path, number, inode = facts.identity.inode, offset, size = facts.size, "generation opened");
        let at = at.min(followed.generations.len());
        followed.generations.insert(at, generation);
        followed.ready = true;
        self.save(target, at, false);
        Ok(())
    }

    /// A log that itself is compressed under its own name is data; only siblings are decompressed.
    fn is_sibling_name(&self, target: usize, file: &File) -> bool {
        let own = Facts::at(self.targets[target].path()).map(|facts| facts.identity);
        let this = Facts::of(file).map(|facts| facts.identity);
        !matches!((own, this), (Ok(own), Ok(this)) if own.same(this))
    }

    /// Takes up the file under the name, and generations that came and went since the last look. Returns how many.
    ///
    /// The file that was under the name when it was opened may have been renamed since; then it stands among its
    /// siblings, and those born after it come after it.
    pub(crate) fn take_new(&mut self, target: usize, live: Option<(File, Facts)>) -> Result<i64, FollowError> {
        let identity = live.as_ref().map(|(_, facts)| facts.identity);
        let candidates = self.candidates(target, None)?;
        let newest = self.targets[target].generations.back().map_or(0, |generation| generation.identity.born);
        let follower = live.as_ref().map(|(_, facts)| facts.identity.born);
        // Behind a symlink every file is created under a name of its own.
        let links = self.config.olddir.is_none() && self.targets[target].places.len() > 1;
        let (mut live, mut taken) = (live, 0);
        for candidate in candidates {
            if identity.is_some_and(|identity| identity.same(candidate.facts.identity)) {
                if let Some((file, facts)) = live.take() {
                    self.push_live(target, file, &facts)?;
                    taken += 1;
                }
                // Another file has the name by now.
                self.targets[target].doubtful = true;
                continue;
            }
            // It may have lost its name too late for the look beside it.
            let (born, plain) = (candidate.facts.identity.born, !candidate.compressed);
            let younger =
                |(_, facts): &mut (File, Facts)| plain && facts.identity.born > 0 && born > facts.identity.born;
            if let Some((file, facts)) = live.take_if(younger) {
                self.push_live(target, file, &facts)?;
                taken += 1;
                self.targets[target].doubtful = true;
            }
            let older = candidate.facts.identity.born > 0 && candidate.facts.identity.born < newest;
            if older {
                self.set_aside(target, &candidate)?;
                continue;
            }
            // What was renamed away from the log is a generation, even where it begins as another one does.
            let renamed = candidate.renamed.is_some();
            // Created under a name of its own and still empty: a copy that is only begun, or not compressed yet. The
            // next look tells; a generation came to its name by a rename, or was born before the file that followed.
            let birth = candidate.facts.identity.born;
            let followed = birth > 0 && follower.is_some_and(|follower| birth < follower);
            if candidate.facts.size == 0 && !renamed && !followed && !links {
                continue;
            }
            if !renamed && self.is_copy_of_known(target, &candidate)? {
                // It may still grow, up to what is read from the file itself.
                self.set_copy_aside(target, &candidate, u64::MAX)?;
                continue;
            }
            tracing::info!(path = %candidate.path.display(), size = candidate.facts.size, "generation found that was never under the name when looked at");
            self.stats.recovered.inc();
            let at = self.targets[target].generations.len();
            self.push(target, candidate.file, &candidate.facts, 0, Kind::Log, None)?;
            if let Some(generation) = self.targets[target].generations.get_mut(at) {
                generation.replaced = Some(Instant::now());
            }
            taken += 1;
        }
        if let Some((file, facts)) = live {
            self.push_live(target, file, &facts)?;
            taken += 1;
        }
        Ok(taken)
    }

    /// Remembers a file beside the log as not to be read.
    pub(crate) fn set_aside(&mut self, target: usize, candidate: &Candidate) -> Result<(), FollowError> {
        let trace = self.trace_beside(candidate)?;
        self.targets[target].remember(trace, None);
        Ok(())
    }

    /// Remembers a copy whose bytes before `from` were handed over, or will be from the file itself.
    fn set_copy_aside(&mut self, target: usize, candidate: &Candidate, from: u64) -> Result<(), FollowError> {
        let trace = self.trace_beside(candidate)?;
        self.targets[target].learn(Known { trace, slot: None, copied: Some(from) });
        Ok(())
    }

    fn trace_beside(&self, candidate: &Candidate) -> Result<Trace, FollowError> {
        let identity = candidate.facts.identity;
        if candidate.compressed {
            return Ok(Trace { identity, ..Trace::default() });
        }
        Trace::take(&candidate.file, identity, candidate.facts.size, self.config.head).map_err(FollowError::Read)
    }

    /// A file of which nothing was read cannot show that it was truncated; a copy beside it whose content is not the
    /// file's does. Returns whether generations were added.
    pub(crate) fn check_copies(&mut self, target: usize, at: usize) -> Result<bool, FollowError> {
        let (identity, head) = (self.targets[target].generations[at].identity, self.config.head);
        self.targets[target].copy_hint = false;
        let found = self.candidates(target, Some(identity))?;
        if !self.still_leads_to(target, identity) {
            // Renamed, not copied: the look at the path comes first.
            self.targets[target].doubtful = true;
            return Ok(false);
        }
        let generation = &mut self.targets[target].generations[at];
        generation.renew_head(head).map_err(FollowError::Read)?;
        let (mut pending, mut other) = (false, false);
        for candidate in found.iter().filter(|candidate| !candidate.compressed) {
            let generation = &self.targets[target].generations[at];
            let same = generation.shares_content(&candidate.file, candidate.facts.size).map_err(FollowError::Read)?;
            pending |= same || candidate.facts.size == 0;
            // A copy of an older generation says nothing about this one.
            other |= !same && candidate.facts.size > 0 && !self.is_copy_of_known(target, candidate)?;
        }
        self.targets[target].copy_hint |= pending;
        if other {
            self.truncated(target, at)?;
        }
        Ok(other)
    }

    /// Whether the path leads to that file now, and no event says that it may not have in between.
    fn still_leads_to(&self, target: usize, identity: Identity) -> bool {
        let followed = &self.targets[target];
        !followed.doubtful && Facts::at(followed.path()).is_ok_and(|facts| facts.identity.same(identity))
    }

    /// The content is not what it was. What was not read before lies in a copy, if anywhere.
    pub(crate) fn truncated(&mut self, target: usize, at: usize) -> Result<(), FollowError> {
        let generation = &self.targets[target].generations[at];
        let (trace, offset, seen) = (generation.trace(), generation.offset, generation.seen);
        let first_bytes = generation.first().to_vec();
        let identity = generation.identity;
        let shown = self.targets[target].shown();
        self.notices.push(format!("tail: {shown}: file truncated"));
        let interrupted = (self.in_flight == Some((target, generation.number)) && generation.in_batch())
            .then_some(generation.batch_end);
        if interrupted.is_some() {
            self.in_flight = None;
        }
        // Events that come in during the look may tell of the next copy, so the hint is cleared before it.
        self.targets[target].copy_hint = false;
        let mut candidates = if self.config.recover { self.candidates(target, Some(identity))? } else { Vec::new() };
        // An empty file is a copy that was only begun.
        self.targets[target].copy_hint |= candidates.iter().any(|candidate| candidate.facts.size == 0);
        candidates.retain(|candidate| candidate.facts.size > 0);
        candidates = self.without_copies(target, candidates, &trace)?;
        let mut ours = None;
        for (index, candidate) in candidates.iter().enumerate() {
            let short = candidate.facts.size >= offset && begins_with(&first_bytes, candidate)?;
            if short || fits(candidate, &trace)? {
                ours = Some(index);
                break;
            }
        }
        // A copy that is shorter than what was read has nothing to give, but must not be taken for a later round.
        let mut shorter = None;
        for (index, candidate) in candidates.iter().enumerate().filter(|_| ours.is_none()) {
            let short = begins_with(&first_bytes, candidate)?;
            if candidate.facts.size < trace.offset
                && !candidate.compressed
                && (short || trace.head_fits(&candidate.file).map_err(FollowError::Read)?)
            {
                shorter = Some(index);
                break;
            }
        }
        let kind = if candidates.is_empty() { "truncate" } else { "copytruncate" };
        self.stats.rotated(&shown, kind);
        let reached = ours.map_or(offset, |index| candidates[index].facts.size.max(offset));
        self.stats.lost(if ours.is_some() { "copytruncate" } else { "overwritten" }, seen.saturating_sub(reached));
        if !self.still_leads_to(target, identity) {
            // Renamed as well: what was never seen may be generations, which the look at the path takes up.
            self.targets[target].doubtful = true;
            candidates = ours.map(|index| candidates.swap_remove(index)).into_iter().collect();
            ours = ours.map(|_| 0);
        }
        for old in candidates.drain(..ours.or(shorter).unwrap_or(0).min(candidates.len())) {
            self.set_aside(target, &old)?;
        }
        let head = self.config.head;
        let generation = &mut self.targets[target].generations[at];
        generation.cancel_batch();
        generation.restart(head).map_err(FollowError::Read)?;
        generation.saved = None;
        let (mut place, mut first) = (at, true);
        for candidate in candidates {
            // A copy of what is in the file now, made since it was truncated: the file itself is read.
            let generation = &self.targets[target].generations[place];
            let resumed = first && ours.is_some();
            let size = candidate.facts.size;
            if !(resumed || candidate.compressed)
                && generation.shares_content(&candidate.file, size).map_err(FollowError::Read)?
            {
                self.targets[target].copy_hint = true;
                continue;
            }
            let from = match (std::mem::take(&mut first), ours, shorter) {
                (true, Some(_), _) => offset,
                (true, None, Some(_)) => candidate.facts.size,
                _ => 0,
            };
            if from >= candidate.facts.size && !candidate.compressed {
                self.set_copy_aside(target, &candidate, offset)?;
                continue;
            }
            self.stats.recovered_bytes.inc_by(candidate.facts.size - from.min(candidate.facts.size));
            let kind = if candidate.compressed { Kind::Log } else { Kind::Copy };
            self.insert(target, place, candidate.file, &candidate.facts, from, kind, None)?;
            let copy = &mut self.targets[target].generations[place];
            copy.replaced = Some(Instant::now());
            if let Some(end) = interrupted.filter(|end| from == offset && *end <= copy.seen && copy.stream.is_none()) {
                // The line that was going out goes on from the copy.
                copy.set_batch(end).map_err(FollowError::Read)?;
                copy.continues = true;
                self.in_flight = Some((target, copy.number));
            }
            place += 1;
        }
        self.save(target, place, false);
        Ok(())
    }

    /// Leaves out copies of what was read before, for example what an earlier round left, compressed by now.
    fn without_copies(
        &mut self,
        target: usize,
        all: Vec<Candidate>,
        ours: &Trace,
    ) -> Result<Vec<Candidate>, FollowError> {
        let mut kept = Vec::with_capacity(all.len());
        for candidate in all {
            if !fits(&candidate, ours)? && self.is_copy_of_known(target, &candidate)? {
                self.set_aside(target, &candidate)?;
            } else {
                kept.push(candidate);
            }
        }
        Ok(kept)
    }

    /// Counts generations that took the name and were never found.
    fn settle_births(&mut self, target: usize, found: i64) {
        let counted = self.watcher.is_some();
        let followed = &mut self.targets[target];
        followed.births -= found;
        if !counted {
            followed.births = 0;
        }
        if followed.births > 0 {
            let missed = u64::try_from(followed.births).unwrap_or(0);
            followed.births = 0;
            self.stats.missed.inc_by(missed);
            let path = followed.shown();
            tracing::warn!(path, missed, "generations were deleted before they could be opened; their lines are lost");
        }
    }

    fn tell_new(&mut self, target: usize, before: &Presence) {
        let shown = self.targets[target].shown();
        let symlink = self.targets[target].places.len() > 1;
        let (sentence, kind) = match before {
            Presence::Missing(_) | Presence::Unknown => ("has appeared;", "recreate"),
            Presence::There | Presence::Elsewhere(_) => {
                ("has been replaced;", if symlink { "symlink" } else { "rename" })
            }
            Presence::Untailable(_) => ("has become accessible;", "recreate"),
        };
        if !self.targets[target].generations.is_empty() || kind == "rename" {
            self.stats.rotated(&shown, if kind == "recreate" && !symlink { "rename" } else { kind });
        }
        self.notices.push(format!("tail: '{shown}' {sentence}  following new file"));
    }

    fn untailable(&mut self, target: usize, identity: Identity, what: &'static str) -> Result<(), FollowError> {
        let presence = Presence::Untailable(identity);
        let before = std::mem::replace(&mut self.targets[target].presence, presence.clone());
        if before == presence {
            return Ok(());
        }
        let shown = self.targets[target].shown();
        self.notices.push(match before {
            Presence::Unknown => format!("tail: error reading '{shown}': {what}"),
            _ => format!("tail: '{shown}' has been replaced with an untailable file"),
        });
        self.orphan(target)
    }

    fn missing(&mut self, target: usize, error: &io::Error) -> Result<(), FollowError> {
        let why = plain_reason(error);
        let before = std::mem::replace(&mut self.targets[target].presence, Presence::Missing(why.clone()));
        if before == Presence::Missing(why.clone()) {
            return if self.targets[target].births > 0 { self.orphan(target) } else { Ok(()) };
        }
        let shown = self.targets[target].shown();
        self.notices.push(match before {
            Presence::Unknown => format!("tail: cannot open '{shown}' for reading: {why}"),
            _ => format!("tail: '{shown}' has become inaccessible: {why}"),
        });
        if error.kind() == io::ErrorKind::PermissionDenied {
            tracing::warn!(
                path = shown,
                "not readable for this uid; set fsGroup or runAsGroup of the pod to the log's group, or make the log readable"
            );
        }
        if before == Presence::Unknown {
            return self.first_missing(target);
        }
        self.orphan(target)
    }

    /// The name leads nowhere: generations that lost it since the last look may lie beside it.
    fn orphan(&mut self, target: usize) -> Result<(), FollowError> {
        let followed = &mut self.targets[target];
        if let Some(last) = followed.generations.back_mut() {
            last.replaced.get_or_insert_with(Instant::now);
        }
        if followed.births > 0 || self.watcher.is_none() {
            let taken = self.take_new(target, None)?;
            self.settle_births(target, taken);
        }
        Ok(())
    }
}

/// Whether a file is shorter than `first`, the first bytes of another, and holds what they begin with: a copy that was
/// made before the last of these bytes were written.
pub(crate) fn begins_with(first: &[u8], candidate: &Candidate) -> Result<bool, FollowError> {
    let Ok(size) = usize::try_from(candidate.facts.size) else { return Ok(false) };
    if candidate.compressed || size == 0 || size >= first.len() {
        return Ok(false);
    }
    let mut found = vec![0; size];
    let read = read_at(&candidate.file, &mut found, 0).map_err(FollowError::Read)?;
    Ok(read == size && first.starts_with(&found))
}

/// What a known file is by now.
pub(crate) enum Now {
    Same,
    Grown,
    Other,
}

pub(crate) fn known_now(known: &Known, path: &Path) -> Result<Now, FollowError> {
    let trace = &known.trace;
    // Of compressed and empty files nothing but the identity is known.
    if trace.head.bytes == 0 {
        return Ok(Now::Same);
    }
    let Ok((file, facts)) = open(path).and_then(|file| Facts::of(&file).map(|facts| (file, facts))) else {
        return Ok(Now::Same);
    };
    if !facts.identity.same(trace.identity) || Candidate::is_compressed(&file) {
        return Ok(Now::Same);
    }
    Ok(match trace.fits(&file, facts.size).map_err(FollowError::Read)? {
        false => Now::Other,
        true if facts.size > trace.offset.max(known.copied.unwrap_or(0)) => Now::Grown,
        true => Now::Same,
    })
}

/// Whether a candidate's content is what the trace has seen.
pub(crate) fn fits(candidate: &Candidate, trace: &Trace) -> Result<bool, FollowError> {
    let fits = if candidate.compressed {
        gz::fits(&candidate.file, trace)
    } else {
        trace.fits(&candidate.file, candidate.facts.size)
    };
    fits.map_err(FollowError::Read)
}

/// The reason as GNU prints it, without the number that Rust adds.
pub(crate) fn plain_reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
