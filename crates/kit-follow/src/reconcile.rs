//! Where does the path lead now, and which generations came and went since the last look?

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;

use tokio::time::Instant;

use crate::FollowError;
use crate::candidate::Candidate;
use crate::config::Follow;
use crate::copies::Copy;
use crate::engine::Engine;
use crate::generation::{Generation, Kind, is_regular, open};
use crate::gz;
use crate::identity::{Facts, Identity, Trace};
use crate::names::Origin;
use crate::siblings::{Direction, names_rise};
use crate::sink::Sink;
use crate::target::{Known, Presence, Target};

/// How often a path is looked at anew that leads elsewhere before the look is over.
const MOST_LOOKS: usize = 5;

/// What a file beside the log is to it.
#[derive(Debug, PartialEq, Eq)]
enum Class {
    /// It had the log's name.
    Generation,
    /// Its content tells.
    Copy,
    /// It is older than what is followed.
    History,
    /// It was made for the log's name, a symlink that does not lead to it yet.
    Ahead,
    /// The log's name has passed on during the look: the next look tells.
    Doubtful,
}

/// Where a path led when it was opened.
pub(crate) enum Led {
    File(File, Facts),
    Untailable(Identity, &'static str),
    Missing(io::Error),
}

/// The file under the log's name.
struct Current {
    identity: Identity,
    /// Its own name, where that is another.
    name: Option<OsString>,
}

impl Current {
    /// The file that was just found there, or the one that is followed.
    fn of(followed: &Target, found: Option<Identity>, candidates: &[Candidate]) -> Option<Self> {
        let Some(identity) = found else {
            return followed.live().map(|live| Self { identity: live.identity, name: live.name.clone() });
        };
        let itself = candidates.iter().find(|candidate| candidate.facts.identity.same(identity));
        Some(Self { identity, name: itself.and_then(|one| one.path.file_name()).map(OsStr::to_owned) })
    }

    /// Whether a file beside it is younger, by its birth, or its name where clocks are too coarse.
    fn is_older(&self, other: &Candidate, direction: Direction) -> bool {
        let (born, since) = (self.identity.born, other.facts.identity.born);
        match (born.cmp(&since), &self.name, other.path.file_name()) {
            (Ordering::Equal, Some(name), Some(other)) => names_rise(name, other, direction).unwrap_or(true),
            (order, ..) => order.is_le(),
        }
    }
}

impl<S: Sink> Engine<S> {
    /// Looks where one path leads and takes up what is new.
    pub(crate) fn reconcile(&mut self, target: usize) -> Result<(), FollowError> {
        let mut taken = false;
        // Copies belong before the file that has the name: they are judged once it is known which one that is.
        for _ in 0..MOST_LOOKS {
            self.targets[target].doubtful = false;
            let absent = matches!(self.targets[target].presence, Presence::Missing(_) | Presence::Untailable(_));
            let first = self.targets[target].presence == Presence::Unknown;
            if self.config.follow == Follow::Descriptor && !first && !(absent && self.config.retry) {
                return Ok(());
            }
            self.watch_places(target);
            taken |= match self.led(target) {
                Led::File(file, facts) => self.found(target, file, &facts)?,
                Led::Untailable(identity, what) => self.untailable(target, identity, what)?,
                Led::Missing(error) => self.missing(target, &error)?,
            };
            if !self.has_doubts(target) {
                break;
            }
        }
        if taken {
            self.judge_copies(target)?;
            self.settle_births(target);
        }
        self.targets[target].ready = true;
        Ok(())
    }

    /// Whether the path may lead elsewhere than it did when it was looked at. Without events it is asked.
    pub(crate) fn has_doubts(&self, target: usize) -> bool {
        self.targets[target].doubtful || (self.watcher.is_none() && self.targets[target].has_moved_on())
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

    /// Takes up the file under the name. Whether there may be something new beside it.
    fn found(&mut self, target: usize, file: File, facts: &Facts) -> Result<bool, FollowError> {
        let followed = &self.targets[target];
        let is_live = followed.live().is_some_and(|live| live.identity.same(facts.identity));
        if is_live {
            let again = followed.births > 0;
            if again {
                // A name that was taken and is ours again: what came between may lie beside it.
                self.take_new(target, None, 1)?;
            }
            return Ok(again);
        }
        if followed.presence == Presence::Elsewhere(facts.identity) {
            return Ok(false);
        }
        if self.followed_elsewhere(target, facts.identity) {
            let path = self.targets[target].shown();
            tracing::info!(path, "leads to a file that is followed under another name; it is printed once");
            self.targets[target].presence = Presence::Elsewhere(facts.identity);
            return Ok(false);
        }
        self.targets[target].was_there = true;
        let before = std::mem::replace(&mut self.targets[target].presence, Presence::There);
        if before == Presence::Unknown {
            self.first_look(target, file, facts)?;
            return Ok(false);
        }
        self.tell_new(target, &before);
        self.take_new(target, Some((file, *facts)), 0)?;
        Ok(true)
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
            (generation.replaced, generation.serial) = (None, None);
            generation.order = followed.order_at(followed.generations.len(), generation.number);
            followed.generations.push_back(generation);
            return Ok(());
        }
        let (offset, slot) = self.place_of_known(target, &file, facts)?;
        self.push(target, file, facts, offset, Kind::Log, slot)?;
        self.targets[target].generations.back_mut().into_iter().for_each(|one| one.led = true);
        Ok(())
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
        let at = at.min(followed.generations.len());
        tracing::debug!(
            path,
            number,
            at,
            inode = facts.identity.inode,
            offset,
            size = facts.size,
            ?kind,
            "generation opened"
        );
        generation.order = followed.order_at(at, number);
        followed.generations.insert(at, generation);
        followed.ready = true;
        if offset == 0 {
            self.save(target, at, false);
        } else {
            self.save_when_out(target, at);
        }
        Ok(())
    }

    /// Adds a file that was found beside the log, before the generation at `at`.
    pub(crate) fn insert_found(
        &mut self,
        target: usize,
        at: usize,
        found: Candidate,
        offset: u64,
        kind: Kind,
    ) -> Result<&mut Generation, FollowError> {
        let named = found.keeps_its_name();
        self.insert(target, at, found.file, &found.facts, offset, kind, None)?;
        let generation = &mut self.targets[target].generations[at];
        generation.name = found.path.file_name().filter(|_| named).map(OsStr::to_owned);
        generation.replaced = Some(Instant::now());
        generation.serial = found.origin.map(Origin::serial);
        Ok(generation)
    }

    /// A log that itself is compressed under its own name is data; only siblings are decompressed.
    fn is_sibling_name(&self, target: usize, file: &File) -> bool {
        let own = Facts::at(self.targets[target].path()).map(|facts| facts.identity);
        let this = Facts::of(file).map(|facts| facts.identity);
        !matches!((own, this), (Ok(own), Ok(this)) if own.same(this))
    }

    /// Takes up the file under the name, generations that came and went since the last look, and copies. `counted` files
    /// that took the name are followed already.
    ///
    /// The file that was under the name when it was opened may have been renamed since; then it stands among its
    /// siblings, and those that came after it come after it.
    fn take_new(&mut self, target: usize, live: Option<(File, Facts)>, counted: i64) -> Result<(), FollowError> {
        let identity = live.as_ref().map(|(_, facts)| facts.identity);
        let looked = self.targets[target].next_number;
        let candidates = self.candidates(target)?;
        let newest = self.targets[target].generations.back().map_or(0, |generation| generation.identity.born);
        let current = Current::of(&self.targets[target], identity, &candidates);
        let named = current.as_ref().map(|current| current.identity);
        self.targets[target].name_packed(&candidates, named, self.config.head).map_err(FollowError::Read)?;
        // What lies beside a file that has the name after the look came before that, or holds what that held.
        let beside = current.as_ref().filter(|current| !candidates.is_empty() && self.leads_to(target, current));
        let beside = beside.map(|current| current.identity);
        let (mut live, mut taken, mut copies) = (live, counted, Vec::new());
        let is_there = candidates.iter().any(|one| identity.is_some_and(|live| live.same(one.facts.identity)));
        for candidate in candidates {
            // Deleted since it was opened: what is younger came after it.
            let since = candidate.facts.identity.born;
            if let Some((file, facts)) =
                live.take_if(|(_, facts)| !is_there && (1..since).contains(&facts.identity.born))
            {
                self.push_live(target, file, &facts)?;
                taken += 1;
            }
            if identity.is_some_and(|identity| identity.same(candidate.facts.identity)) {
                if let Some((file, facts)) = live.take() {
                    self.push_live(target, file, &facts)?;
                    self.targets[target].name_last(&candidate);
                    if let Some(Origin::Log(serial)) = candidate.origin {
                        self.targets[target].renamed(facts.identity, serial);
                    }
                    taken += 1;
                }
                // Another file has the name by now, unless that is a symlink.
                let led = |current: &Current| self.leads_to(target, current);
                let passed_on = !self.behind_symlink(target) || !current.as_ref().is_some_and(led);
                self.targets[target].doubtful |= passed_on;
                continue;
            }
            match self.class(target, &candidate, current.as_ref(), newest)? {
                Class::Copy if self.config.recover => copies.push(candidate),
                Class::Copy | Class::History => self.set_aside(target, &candidate)?,
                Class::Doubtful => self.targets[target].doubtful = true,
                Class::Ahead => self.targets[target].ahead.push(candidate),
                Class::Generation => {
                    tracing::info!(path = %candidate.path.display(), size = candidate.facts.size, "generation found that was never under the name when looked at");
                    self.stats.recovered.inc();
                    let last = self.targets[target].generations.len();
                    let at = self.place_by_name(target, &candidate).unwrap_or(last);
                    self.insert_found(target, at, candidate, 0, Kind::Log)?;
                    taken += 1;
                }
            }
        }
        if let Some((file, facts)) = live {
            self.push_live(target, file, &facts)?;
            taken += 1;
        }
        let followed = &mut self.targets[target];
        followed.births -= taken;
        let beside = followed.generations.iter().find(|one| beside.is_some_and(|beside| beside.same(one.identity)));
        let beside = (beside.map(|one| one.number), followed.next_number);
        followed.copies.extend(copies.into_iter().map(|copy| Copy::new(copy, looked, beside)));
        Ok(())
    }

    /// What a file beside the log is, as far as its name, birth and size tell. `newest` is the birth of the youngest generation
    /// that is followed.
    fn class(
        &self,
        target: usize,
        candidate: &Candidate,
        current: Option<&Current>,
        newest: u64,
    ) -> Result<Class, FollowError> {
        if candidate.compressed {
            return Ok(Class::Copy);
        }
        let links = self.behind_symlink(target);
        match candidate.origin {
            Some(Origin::Log(_)) => return Ok(Class::Generation),
            _ if links => return self.class_behind_link(target, candidate, current),
            Some(Origin::Made(_)) => return Ok(Class::Copy),
            None => {}
        }
        // The file under the name is the last that was born under it: what is younger was made beside it.
        let born = candidate.facts.identity.born;
        if let Some(current) = current.filter(|current| born >= current.identity.born) {
            return Ok(if born == 0 || self.leads_to(target, current) { Class::Copy } else { Class::Doubtful });
        }
        Ok(if born == 0 || !self.is_unseen(target, candidate)? {
            Class::Copy
        } else if born < newest {
            Class::History
        } else if self.config.recover
            && self.targets[target].may_be_of_truncated(candidate).map_err(FollowError::Read)?
        {
            Class::Copy
        } else {
            Class::Generation
        })
    }

    /// Behind a symlink every file is made under a name of its own, before the link leads to it, and has content later.
    fn class_behind_link(
        &self,
        target: usize,
        candidate: &Candidate,
        current: Option<&Current>,
    ) -> Result<Class, FollowError> {
        let empty = candidate.facts.size == 0;
        let Some(current) = current.filter(|current| current.is_older(candidate, self.targets[target].numbers)) else {
            return Ok(if empty { Class::Generation } else { Class::Copy });
        };
        Ok(if !self.leads_to(target, current) {
            Class::Doubtful
        } else if !empty && self.begins_as_open(target, candidate)? {
            Class::Copy
        } else {
            Class::Ahead
        })
    }

    /// Whether the log's name still leads to that file.
    fn leads_to(&self, target: usize, current: &Current) -> bool {
        Facts::at(self.targets[target].path()).is_ok_and(|facts| facts.identity.same(current.identity))
    }

    /// Whether an open generation begins with all that a file holds.
    pub(crate) fn begins_as_open(&self, target: usize, candidate: &Candidate) -> Result<bool, FollowError> {
        for generation in &self.targets[target].generations {
            if generation.shares_content(&candidate.file, candidate.facts.size).map_err(FollowError::Read)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks for files beside the log.
    pub(crate) fn look_beside(&mut self, target: usize) -> Result<(), FollowError> {
        self.siblings_moved(target)?;
        if self.targets[target].doubtful {
            self.reconcile(target)?;
        }
        self.find_copies(target)?;
        // What was found may be younger than the file that had the name.
        if self.has_doubts(target) {
            self.reconcile(target)?;
        }
        self.judge_copies(target)
    }

    /// Opens what is new beside the log.
    pub(crate) fn find_copies(&mut self, target: usize) -> Result<(), FollowError> {
        // Events that come in during the look may tell of the next copy, so the hint is cleared before it.
        self.targets[target].copy_hint = false;
        if !matches!(self.targets[target].presence, Presence::Unknown | Presence::Elsewhere(_)) {
            self.take_new(target, None, 0)?;
        }
        Ok(())
    }

    /// Remembers a file beside the log as not to be read.
    pub(crate) fn set_aside(&mut self, target: usize, candidate: &Candidate) -> Result<(), FollowError> {
        let trace = self.trace_beside(candidate)?;
        self.targets[target].learn(Known::of(trace, &candidate.facts));
        Ok(())
    }

    pub(crate) fn trace_beside(&self, candidate: &Candidate) -> Result<Trace, FollowError> {
        let identity = candidate.facts.identity;
        if candidate.compressed {
            return Ok(Trace { identity, ..Trace::default() });
        }
        Trace::take(&candidate.file, identity, candidate.facts.size, self.config.head).map_err(FollowError::Read)
    }

    /// Counts generations that took the name and were never found.
    fn settle_births(&mut self, target: usize) {
        let counted = self.watcher.is_some();
        let followed = &mut self.targets[target];
        // Events that came during the look tell of files that the next look finds.
        if followed.doubtful && counted {
            return;
        }
        let births = std::mem::take(&mut followed.births);
        if births > 0 && counted {
            let missed = u64::try_from(births).unwrap_or(0);
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

    fn untailable(&mut self, target: usize, identity: Identity, what: &'static str) -> Result<bool, FollowError> {
        let presence = Presence::Untailable(identity);
        let before = std::mem::replace(&mut self.targets[target].presence, presence.clone());
        if before == presence {
            return Ok(false);
        }
        let shown = self.targets[target].shown();
        self.notices.push(match before {
            Presence::Unknown => format!("tail: error reading '{shown}': {what}"),
            _ => format!("tail: '{shown}' has been replaced with an untailable file"),
        });
        self.orphan(target)
    }

    fn missing(&mut self, target: usize, error: &io::Error) -> Result<bool, FollowError> {
        let why = plain_reason(error);
        let before = std::mem::replace(&mut self.targets[target].presence, Presence::Missing(why.clone()));
        if before == Presence::Missing(why.clone()) {
            return if self.targets[target].births > 0 { self.orphan(target) } else { Ok(false) };
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
            self.first_missing(target)?;
            return Ok(false);
        }
        self.orphan(target)
    }

    /// The name leads nowhere: generations that lost it since the last look may lie beside it. Whether they were looked for.
    fn orphan(&mut self, target: usize) -> Result<bool, FollowError> {
        let followed = &mut self.targets[target];
        if let Some(last) = followed.generations.back_mut() {
            last.replaced.get_or_insert_with(Instant::now);
        }
        let look = followed.births > 0 || self.watcher.is_none();
        if look {
            self.take_new(target, None, 0)?;
        }
        Ok(look)
    }
}

/// The reason as GNU prints it, without the number that Rust adds.
pub(crate) fn plain_reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
