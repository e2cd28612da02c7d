//! The files beside a log: which are there, which are new, and which are known.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use crate::FollowError;
use crate::candidate::{Candidate, Now, known_now};
use crate::engine::Engine;
use crate::generation::{Kind, is_regular, open};
use crate::gz;
use crate::identity::{Facts, Identity};
use crate::names::Origin;
use crate::siblings::{Age, Siblings, by_names, is_unreadable, learn, oldest_first, proof_of};
use crate::sink::Sink;
use crate::target::Target;

/// How often names that move on during the look are followed.
const MOST_ROUNDS: usize = 1000;

impl<S: Sink> Engine<S> {
    /// Files beside the log that are neither open nor known, oldest first.
    pub(crate) fn candidates(&mut self, target: usize) -> Result<Vec<Candidate>, FollowError> {
        let mut found: Vec<Candidate> = Vec::new();
        self.targets[target].generations.iter_mut().for_each(|one| one.name = None);
        // While renames go on a name can be missed, so the look is repeated until no event came in between, or, without
        // events, until it finds nothing more.
        for _ in 0..5 {
            let before = found.len();
            let whole = self.scan(target, &mut found)? && found.iter().all(Candidate::has_its_name);
            let moved = self.siblings_moved(target)? || (self.watcher.is_none() && found.len() > before);
            if whole && !moved {
                break;
            }
        }
        self.find_unseen(target, &mut found)?;
        for mut ahead in std::mem::take(&mut self.targets[target].ahead) {
            ahead.facts = Facts::of(&ahead.file).map_err(FollowError::Read)?;
            let identity = ahead.facts.identity;
            if !found.iter().any(|other| other.facts.identity.same(identity))
                && !self.is_taken(&self.targets[target], identity)
            {
                found.push(ahead);
            }
        }
        self.learn_direction(target, &found).map_err(FollowError::Read)?;
        let ages: Vec<Age<'_>> = found
            .iter()
            .map(|candidate| Age {
                serial: candidate.origin.map(Origin::serial),
                ..Age::of(candidate.path.file_name().unwrap_or_default(), &candidate.facts)
            })
            .collect();
        let direction = self.targets[target].numbers;
        let told = ages.iter().all(|age| age.serial.is_some()) || !found.iter().all(Candidate::has_its_name);
        let named = if told { None } else { by_names(&ages, direction) };
        let order = named.unwrap_or_else(|| oldest_first(&ages, direction));
        let mut slots: Vec<Option<Candidate>> = found.into_iter().map(Some).collect();
        Ok(order.into_iter().filter_map(|at| slots[at].take()).collect())
    }

    /// A file of which little or nothing was read cannot show by itself that it was truncated. A copy is made before the
    /// truncation, so after the read its event is there, if bytes of a later round were read. Whether copies, or another
    /// generation, come before the one at `at`, or it was truncated; what goes on with the line before then begins there.
    pub(crate) fn comes_later(&mut self, target: usize, at: usize) -> Result<bool, FollowError> {
        if !self.config.recover {
            return Ok(false);
        }
        let followed = &mut self.targets[target];
        let (newest, number, round) =
            (followed.next_number, followed.generations[at].number, followed.generations[at].round);
        let before = at.checked_sub(1).map(|before| followed.generations[before].number);
        self.siblings_moved(target)?;
        if self.targets[target].copy_hint || self.watcher.is_none() {
            self.look_beside(target)?;
        } else {
            self.judge_copies(target)?;
        }
        let followed = &mut self.targets[target];
        let place = followed.position(number);
        let begun_anew = place.is_none_or(|place| followed.generations[place].round != round);
        let later = followed.next_number != newest || followed.undecided.is_some() || begun_anew;
        let place = place.filter(|_| later);
        if let Some(generation) = place.and_then(|place| followed.generations.get_mut(place)) {
            generation.cancel_batch();
            let continues = std::mem::take(&mut generation.continues);
            let first = before.and_then(|before| followed.position(before)).map_or(0, |before| before + 1);
            if let Some(first) = followed.generations.get_mut(first) {
                first.continues |= continues;
            }
        }
        Ok(later)
    }

    /// What all files of the log tell about the numbers in their names.
    fn learn_direction(&mut self, target: usize, found: &[Candidate]) -> io::Result<()> {
        let followed = &mut self.targets[target];
        let mut proof = 0;
        for one in found {
            let name = one.path.file_name().filter(|_| one.origin.is_none() && one.has_its_name());
            for (older, younger) in followed.generations.iter().filter_map(|older| Some((older, name?))) {
                if let Some(name) = older.name.as_deref()
                    && one.came_after(older)?
                {
                    proof += proof_of(name, younger);
                }
            }
        }
        let open =
            followed.generations.iter().filter_map(|one| Some((one.name.as_deref()?, Facts::of(&one.file).ok()?)));
        let found = found.iter().filter_map(|one| Some((one.path.file_name()?, one.facts)));
        let ages: Vec<Age<'_>> = open.chain(found).map(|(name, facts)| Age::of(name, &facts)).collect();
        learn(&ages, proof, &mut followed.numbers);
        Ok(())
    }

    /// Learns which names the files have that are open. What is new is found by the next look.
    pub(crate) fn look_at_names(&mut self, target: usize) -> Result<(), FollowError> {
        self.targets[target].generations.iter_mut().for_each(|one| one.name = None);
        self.scan(target, &mut Vec::new()).map(drop)
    }

    /// Whether every name that was there still was when its file was opened.
    fn scan(&mut self, target: usize, found: &mut Vec<Candidate>) -> Result<bool, FollowError> {
        if matches!(self.config.siblings, Siblings::None) {
            return Ok(true);
        }
        let (mut whole, mut grown) = (true, Vec::new());
        for (folder, log) in self.sibling_places(target) {
            let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            let Ok(entries) = std::fs::read_dir(shown) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                if self.config.siblings.belong(&log, &name) {
                    whole &= self.consider(target, folder.join(&name), found, &mut grown)?;
                }
            }
        }
        self.reopen_grown(target, grown)?;
        Ok(whole)
    }

    /// Adds the file of a sibling's name to `found` unless it is open or known. False where the name is gone.
    fn consider(
        &mut self,
        target: usize,
        path: PathBuf,
        found: &mut Vec<Candidate>,
        grown: &mut Vec<(PathBuf, usize)>,
    ) -> Result<bool, FollowError> {
        if self.is_passed_over(&path) {
            return Ok(true);
        }
        let followed = &self.targets[target];
        let facts = match Facts::at(&path) {
            Ok(facts) => facts,
            Err(error) => return Ok(error.kind() != ErrorKind::NotFound),
        };
        if !is_regular(&facts) || self.is_taken(followed, facts.identity) {
            let followed = &mut self.targets[target];
            let ours = followed.generations.iter_mut().find(|one| one.identity.same(facts.identity));
            ours.into_iter().for_each(|one| one.name = path.file_name().map(OsStr::to_owned));
            let copy = followed.copies.iter_mut().find(|one| one.identity().same(facts.identity));
            copy.into_iter().for_each(|one| one.file.path.clone_from(&path));
            return Ok(true);
        }
        if let Some(at) = followed.known_as(facts.identity) {
            match known_now(&followed.known[at], &path, &facts)? {
                Now::Same => return Ok(true),
                Now::Grown => {
                    grown.push((path, at));
                    return Ok(true);
                }
                // The next copytruncate copied over the last one's file.
                Now::Other => {}
            }
        }
        let file = match open(&path) {
            Ok(file) => file,
            Err(error) => return Ok(error.kind() != ErrorKind::NotFound),
        };
        // The name may have passed to another file since.
        let Ok(now) = Facts::of(&file) else { return Ok(true) };
        let passed_on = !now.identity.same(facts.identity);
        if !passed_on || self.is_unknown(target, &now) {
            add(found, path, file, now);
        }
        Ok(true)
    }

    /// Names that are not looked at: content that cannot be read, another followed path, and a compressed file beside the
    /// plain one that it is made of, which is whole.
    fn is_passed_over(&self, path: &Path) -> bool {
        is_unreadable(path.file_name().unwrap_or_default())
            || (path.extension().is_some_and(|end| end == "gz") && path.with_extension("").exists())
            || self.targets.iter().any(|other| other.path() == path)
    }

    /// Finds every file that the events told of, whatever name it has by now, and where each of `found` came from.
    fn find_unseen(&mut self, target: usize, found: &mut Vec<Candidate>) -> Result<(), FollowError> {
        let (mut passed_over, mut grown) = (HashSet::new(), Vec::new());
        for _ in 0..MOST_ROUNDS {
            let mut unseen = self.targets[target].names.unseen();
            unseen.retain(|(_, origin)| !passed_over.contains(&origin.serial()));
            if unseen.is_empty() {
                break;
            }
            for (path, origin) in unseen {
                if self.is_passed_over(&path) {
                    passed_over.insert(origin.serial());
                    continue;
                }
                let opened = open(&path).and_then(|file| Ok((Facts::of(&file)?, file)));
                if let Ok((facts, _)) = &opened
                    && is_regular(facts)
                {
                    self.consider(target, path.clone(), found, &mut grown)?;
                }
                self.siblings_moved(target)?;
                if self.targets[target].names.of(&path) != Some(origin) {
                    // It moved on; under that name it may have been another file.
                    continue;
                }
                self.targets[target].names.found(&path);
                let Ok((facts, file)) = opened else { continue };
                if let Origin::Log(serial) = origin {
                    self.targets[target].renamed(facts.identity, serial);
                }
                let same = |candidate: &&mut Candidate| candidate.facts.identity.same(facts.identity);
                if self.is_unknown(target, &facts) {
                    // Another file had the name, or none, when it was considered.
                    add(found, path.clone(), file, facts);
                }
                if let Some(candidate) = found.iter_mut().find(same) {
                    (candidate.origin, candidate.path) = (Some(origin), path);
                }
            }
        }
        self.reopen_grown(target, grown)
    }

    /// Closed generations that were written once more.
    fn reopen_grown(&mut self, target: usize, grown: Vec<(PathBuf, usize)>) -> Result<(), FollowError> {
        let known: Vec<_> =
            grown.into_iter().map(|(path, at)| (path, self.targets[target].known[at].clone())).collect();
        for (path, known) in known {
            let Ok(file) = open(&path) else { continue };
            let Ok(facts) = Facts::of(&file) else { continue };
            if !facts.identity.same(known.trace.identity) || gz::is_gzip(&file).unwrap_or(false) {
                continue;
            }
            if known.trace.fits(&file, facts.size).map_err(FollowError::Read)? {
                let at = self.targets[target].known_as(known.trace.identity);
                at.map(|at| self.targets[target].known.remove(at));
                self.insert(target, 0, file, &facts, known.trace.offset, Kind::Log, known.slot)?;
                let again = &mut self.targets[target].generations[0];
                // Closed before anything that is found now: older than all that events told of.
                (again.replaced, again.serial) = (Some(Instant::now()), Some(0));
            }
        }
        Ok(())
    }

    /// Whether a file is neither open nor known, and can be followed.
    fn is_unknown(&self, target: usize, facts: &Facts) -> bool {
        let followed = &self.targets[target];
        is_regular(facts) && !self.is_taken(followed, facts.identity) && followed.known_as(facts.identity).is_none()
    }

    fn is_taken(&self, followed: &Target, identity: Identity) -> bool {
        let state = self.state.as_ref().and_then(|state| state.identity());
        followed.generations.iter().any(|generation| generation.identity.same(identity))
            || followed.copies.iter().any(|copy| copy.identity().same(identity))
            || state.is_some_and(|state| state.same(identity))
            || self
                .targets
                .iter()
                .any(|other| other.generations.iter().any(|generation| generation.identity.same(identity)))
    }

    pub(crate) fn followed_elsewhere(&self, target: usize, identity: Identity) -> bool {
        let others = self.targets.iter().enumerate().filter(|(at, _)| *at != target);
        others.flat_map(|(_, other)| &other.generations).any(|generation| generation.identity.same(identity))
    }

    /// Folders that hold siblings, and the name whose siblings they are: the path's own, its symlink's target's, and
    /// `--olddir`.
    fn sibling_places(&self, target: usize) -> Vec<(PathBuf, OsString)> {
        let followed = &self.targets[target];
        let own = followed.path().parent().map(Path::to_owned).unwrap_or_default();
        let mut places = Vec::new();
        if let Some((_, folder, name)) =
            followed.places.last().filter(|(_, folder, name)| *folder != own || name != followed.name())
        {
            places.push((folder.clone(), name.clone()));
        }
        places.push((own.clone(), followed.name().to_owned()));
        if let Some(olddir) = &self.config.olddir {
            places.push((own.join(olddir), followed.name().to_owned()));
        }
        places
    }
}

/// Adds an open file to what was found, or where it was found before, the name that it has now.
fn add(found: &mut Vec<Candidate>, path: PathBuf, file: File, facts: Facts) {
    match found.iter_mut().find(|other| other.facts.identity.same(facts.identity)) {
        Some(other) => other.path = path,
        None => {
            let compressed = Candidate::is_compressed(&file);
            found.push(Candidate { origin: None, path, file, facts, compressed });
        }
    }
}
