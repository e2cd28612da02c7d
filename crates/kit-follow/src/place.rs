//! Where among the generations a file belongs that was found beside the log: by its name, by what held what, or by its age.

use std::ffi::OsStr;

use crate::candidate::Candidate;
use crate::engine::Engine;
use crate::generation::Generation;
use crate::names::Origin;
use crate::siblings::{Direction, names_rise};
use crate::sink::Sink;
use crate::target::Target;

impl<S: Sink> Engine<S> {
    /// Where a copy belongs whose content came from no open file. `looked` and `beside` are those of [`crate::copies::Copy`].
    pub(crate) fn place(&self, target: usize, candidate: &Candidate, looked: u64, beside: (Option<u64>, u64)) -> usize {
        let links = self.behind_symlink(target);
        let by_name = self.place_by_name(target, candidate);
        let followed = &self.targets[target];
        let place = match by_name {
            Some(place) => followed.before_unread(place, candidate),
            None => place_by_age(followed, candidate, looked, links),
        };
        // What had the log's name after this was found came after it, or goes on where it ends.
        let born = candidate.facts.identity.born;
        // Of two copies of one file the one that was made first is of what that held first. Compressors keep its last write.
        let made = |one: &Generation| if one.stream.is_some() { one.modified() } else { one.identity.born };
        let held = |one: &Generation| one.copy_of.is_some() && one.copy_of == beside.0 && made(one) > born;
        let later =
            |one: &Generation| Some(one.number) == beside.0 || (one.number > beside.1 && (one.led || held(one)));
        followed.generations.iter().position(later).map_or(place, |last| place.min(last))
    }

    /// As [`Target::place_by_name`]; files behind a symlink are placed by their births.
    pub(crate) fn place_by_name(&self, target: usize, candidate: &Candidate) -> Option<usize> {
        if self.behind_symlink(target) { None } else { self.targets[target].place_by_name(candidate) }
    }
}

impl Target {
    /// Where a rotated file of which no event told belongs among the generations by its name: before the first that has a
    /// younger one. `None` where no name can be compared with it.
    fn place_by_name(&self, candidate: &Candidate) -> Option<usize> {
        let name = candidate.path.file_name().filter(|_| candidate.origin.is_none() && candidate.keeps_its_name())?;
        let mut after = None;
        for (at, generation) in self.generations.iter().enumerate() {
            let other = generation.name.as_deref().or_else(|| self.name_of_copy(generation));
            match other.and_then(|other| names_rise(name, other, self.numbers)) {
                Some(true) => return Some(at),
                Some(false) => after = Some(at + 1),
                None => {}
            }
        }
        // What has no name that tells, but for the file under the log's, was followed before this one was found.
        let live = usize::from(self.live().is_some() && !self.has_moved_on());
        after.map(|after| after.max(self.generations.len() - live))
    }

    /// Where a copy belongs that has a place by its name: files before that which have no name, and of which nothing was read,
    /// may have been truncated after they held it. That was their last write, or another one came later.
    fn before_unread(&self, place: usize, copy: &Candidate) -> usize {
        let may_have_held = |at: &usize| {
            let one = &self.generations[*at];
            let nameless = one.name.is_none() && self.name_of_copy(one).is_none();
            nameless && one.may_have_held(copy.compressed) && one.modified() >= copy.facts.modified
        };
        (0..place).rev().take_while(may_have_held).last().unwrap_or(place)
    }

    /// The name of what is left of a file that has none any more: a copy of its content.
    fn name_of_copy(&self, generation: &Generation) -> Option<&OsStr> {
        let is_live = self.live().is_some_and(|live| live.number == generation.number);
        let mut copies = self.copies.iter().filter(|copy| !is_live && copy.is_of(generation));
        copies.find(|copy| copy.file.has_its_name())?.file.path.file_name()
    }

    /// Whether the births of files under names of their own show that the numbers in these rise. What is compressed of a file
    /// has its name.
    fn counts_up<'a>(&'a self) -> bool {
        let plain = self.generations.iter().filter(|one| one.stream.is_none() && one.identity.born > 0);
        let name = |one: &'a Generation| one.name.as_deref().or_else(|| self.name_of_copy(one));
        let mut named: Vec<_> = plain.filter_map(|one| Some((one.identity.born, name(one)?))).collect();
        named.sort_unstable();
        let pairs = named.windows(2).filter(|pair| pair[0].0 < pair[1].0);
        let rises: Vec<bool> = pairs.filter_map(|pair| names_rise(pair[0].1, pair[1].1, Direction::Counted)).collect();
        !rises.is_empty() && rises.into_iter().all(|rises| rises)
    }
}

/// Where among the generations content belongs that came from no known one: before the file that went on after it.
fn place_by_age(followed: &Target, candidate: &Candidate, looked: u64, links: bool) -> usize {
    let facts = &candidate.facts;
    let count = followed.generations.len();
    let live = usize::from(followed.live().is_some());
    let older = |is_older: &dyn Fn(&Generation) -> bool| {
        // What was followed before the look that found it is older than what came between the looks.
        let earlier = |one: &&Generation| one.number <= looked || is_older(one);
        followed.generations.iter().take(count - live).take_while(earlier).count()
    };
    if links {
        let counted = followed.counts_up();
        return older(&|one| is_older_beside(one, candidate, counted));
    }
    if let Some(made) = candidate.origin.map(Origin::serial) {
        // What was the log when the copy was made was renamed later, if at all.
        let known = followed.generations.iter().take(count - live);
        let renamed_later = known.take_while(|one| one.serial.is_none_or(|renamed| renamed < made)).count();
        return renamed_later.min(older(&|one| one.serial.is_some_and(|renamed| renamed < made)));
    }
    if candidate.compressed {
        // What was not read may have been truncated after it held this.
        let is_older =
            |one: &Generation| one.time < facts.modified || (one.stream.is_some() && one.time == facts.modified);
        return older(&|one| !one.may_have_held(true) && is_older(one));
    }
    let born = facts.identity.born;
    let youngest = followed.generations.iter().rposition(|one| born == 0 || one.identity.born <= born);
    youngest.unwrap_or(0)
}

/// Whether a file behind a symlink is older than another, each made under a name of its own: by birth, and by name where
/// these tie, or where a compressor made one of them and names are `counted`, or events told the same of the two. A late
/// line to the older one makes that the last one written.
fn is_older_beside(one: &Generation, other: &Candidate, counted: bool) -> bool {
    let (packed, facts) = (one.stream.is_some(), &other.facts);
    let names = one.name.as_deref().zip(other.path.file_name());
    let by_name = names.and_then(|(one, other)| names_rise(one, other, Direction::Counted));
    let told = one.serial.zip(other.origin.map(Origin::serial)).map(|(one, other)| one < other);
    match by_name {
        Some(rises) if (counted || told == Some(rises)) && (packed || other.compressed) => rises,
        Some(rises) if !packed && !other.compressed && one.time == facts.identity.born => rises,
        _ if other.compressed => one.time < facts.modified || (packed && one.time == facts.modified),
        _ => one.time <= facts.identity.born,
    }
}
