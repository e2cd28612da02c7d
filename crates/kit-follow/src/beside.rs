//! The files beside a log: which are there, which are new, and which hold what is known already.

use std::path::{Path, PathBuf};

use tokio::time::Instant;

use crate::FollowError;
use crate::engine::Engine;
use crate::generation::{Kind, is_regular, open};
use crate::gz;
use crate::identity::{Facts, Identity};
use crate::reconcile::{Candidate, Now, fits, known_now};
use crate::siblings::{Age, Siblings, is_unreadable, oldest_first};
use crate::sink::Sink;
use crate::target::Target;

impl<S: Sink> Engine<S> {
    /// Whether a file holds what an open or closed generation holds: made by copy, renamecopy or compression.
    pub(crate) fn is_copy_of_known(&self, target: usize, candidate: &Candidate) -> Result<bool, FollowError> {
        let followed = &self.targets[target];
        for generation in &followed.generations {
            let same = if candidate.compressed {
                gz::fits(&candidate.file, &generation.trace()).and_then(|fits| {
                    // Compressed before its writer added the last lines, which are read from the file itself.
                    let plain = generation.stream.is_none();
                    Ok(fits || (plain && gz::begins(&candidate.file, &generation.file, self.config.head)?))
                })
            } else {
                generation.shares_content(&candidate.file, candidate.facts.size)
            };
            if same.map_err(FollowError::Read)? {
                return Ok(true);
            }
        }
        // A copy may have been short when its trace was taken; it tells no more than what it was compressed to.
        for known in followed.known.iter().filter(|known| known.copied.is_none() || candidate.compressed) {
            if fits(candidate, &known.trace)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Files beside the log that are neither open, known nor the given one, oldest first.
    pub(crate) fn candidates(
        &mut self,
        target: usize,
        except: Option<Identity>,
    ) -> Result<Vec<Candidate>, FollowError> {
        let mut found: Vec<Candidate> = Vec::new();
        // While renames go on a name can be missed, so the look is repeated until no event came in between.
        for _ in 0..5 {
            self.scan(target, except, &mut found)?;
            if !self.siblings_moved(target)? {
                break;
            }
        }
        self.learn_renames(target, &mut found);
        let ages: Vec<Age<'_>> = found
            .iter()
            .map(|candidate| Age {
                name: candidate.path.file_name().unwrap_or_default(),
                renamed: candidate.renamed,
                born: candidate.facts.identity.born,
                modified: candidate.facts.modified,
            })
            .collect();
        let order = oldest_first(&ages, &mut self.targets[target].numbers_fall);
        let mut slots: Vec<Option<Candidate>> = found.into_iter().map(Some).collect();
        Ok(order.into_iter().filter_map(|at| slots[at].take()).collect())
    }

    /// A name that a scan saw may be younger than the events that were taken before it. Those of the scan itself have been
    /// taken by now, and they tell of every file that still has the name under which it was found.
    pub(crate) fn learn_renames(&self, target: usize, found: &mut [Candidate]) {
        let renames = &self.targets[target].renames;
        for candidate in found.iter_mut().filter(|candidate| candidate.renamed.is_none()) {
            let is_there = Facts::at(&candidate.path).is_ok_and(|facts| facts.identity.same(candidate.facts.identity));
            if is_there {
                candidate.renamed = candidate.path.file_name().and_then(|name| renames.rank(name));
            }
        }
    }

    pub(crate) fn scan(
        &mut self,
        target: usize,
        except: Option<Identity>,
        found: &mut Vec<Candidate>,
    ) -> Result<(), FollowError> {
        let followed = &self.targets[target];
        if matches!(self.config.siblings, Siblings::None) {
            return Ok(());
        }
        let mut grown = Vec::new();
        for (folder, log) in self.sibling_places(target) {
            let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            let Ok(entries) = std::fs::read_dir(shown) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                if !self.config.siblings.belong(&log, &name) || is_unreadable(&name) {
                    continue;
                }
                let path = folder.join(&name);
                // While a file is being compressed both are there; the plain one is whole.
                if path.extension().is_some_and(|end| end == "gz") && path.with_extension("").exists() {
                    continue;
                }
                if self.targets.iter().any(|other| other.path() == path) {
                    continue;
                }
                let Ok(facts) = Facts::at(&path) else { continue };
                if !is_regular(&facts) || self.is_taken(followed, facts.identity, except) {
                    continue;
                }
                if let Some(at) = followed.known_as(facts.identity) {
                    match known_now(&followed.known[at], &path)? {
                        Now::Same => continue,
                        Now::Grown => {
                            grown.push((path, at));
                            continue;
                        }
                        // The next copytruncate copied over the last one's file.
                        Now::Other => {}
                    }
                }
                let Ok(file) = open(&path) else { continue };
                // The name may have passed to another file since.
                let Ok(facts) = Facts::of(&file) else { continue };
                let again = found.iter().any(|other| other.facts.identity.same(facts.identity));
                if again
                    || self.is_taken(followed, facts.identity, except)
                    || followed.known_as(facts.identity).is_some()
                {
                    continue;
                }
                let compressed = Candidate::is_compressed(&file);
                found.push(Candidate { renamed: followed.renames.rank(&name), path, file, facts, compressed });
            }
        }
        self.reopen_grown(target, grown)
    }

    /// Closed generations that were written once more.
    pub(crate) fn reopen_grown(&mut self, target: usize, grown: Vec<(PathBuf, usize)>) -> Result<(), FollowError> {
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
                let offset = known.trace.offset.max(known.copied.unwrap_or(0));
                self.insert(target, 0, file, &facts, offset, Kind::Log, known.slot)?;
                self.targets[target].generations[0].replaced = Some(Instant::now());
            }
        }
        Ok(())
    }

    pub(crate) fn is_taken(&self, followed: &Target, identity: Identity, except: Option<Identity>) -> bool {
        let state = self.state.as_ref().and_then(|state| state.identity());
        except.is_some_and(|except| except.same(identity))
            || followed.generations.iter().any(|generation| generation.identity.same(identity))
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
    pub(crate) fn sibling_places(&self, target: usize) -> Vec<(PathBuf, std::ffi::OsString)> {
        let followed = &self.targets[target];
        let own = followed.path().parent().map(Path::to_owned).unwrap_or_default();
        let mut places = vec![(own.clone(), followed.name().to_owned())];
        if let Some((_, folder, name)) =
            followed.places.last().filter(|(_, folder, name)| *folder != own || name != followed.name())
        {
            places.push((folder.clone(), name.clone()));
        }
        if let Some(olddir) = &self.config.olddir {
            places.push((own.join(olddir), followed.name().to_owned()));
        }
        places
    }
}
