//! What the kernel told, applied to the paths it concerns.

use std::io;
use std::path::{Path, PathBuf};

use crate::FollowError;
use crate::config::{Input, Watch};
use crate::copies::Copy;
use crate::engine::Engine;
use crate::identity::Facts;
use crate::siblings::Direction;
use crate::sink::{Sink, Source};
use crate::target::{Presence, Target};
use crate::watch::{Change, Watcher, What, is_remote, name_places, nearest_ancestor};

/// Stands for a directory that is not watched, where everything is polled.
const NO_WATCH: i32 = -1;

impl<S: Sink> Engine<S> {
    /// Chooses how to notice changes.
    pub(crate) fn choose_watch(&mut self) {
        if self.config.watch == Watch::Poll {
            self.polling = true;
        } else {
            match Watcher::new() {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => self.polls_from_now(&error),
            }
        }
        self.show_mode();
    }

    fn show_mode(&self) {
        let mode = |name: &str, on: bool| {
            self.stats.watch_mode.get_or_create(&vec![("mode".into(), name.into())]).set(i64::from(on));
        };
        mode("inotify", self.watcher.is_some());
        mode("poll", self.polling);
    }

    /// The kernel refused a watch: from here on everything is polled too.
    pub(crate) fn polls_from_now(&mut self, error: &io::Error) {
        if !self.polling {
            tracing::warn!(%error, poll = ?self.config.poll, "inotify does not work here, polling instead");
            self.polling = true;
            self.show_mode();
        }
    }

    /// Watches every directory in which a change could make the path lead to another file.
    pub(crate) fn watch_places(&mut self, target: usize) {
        let path = self.targets[target].path().to_owned();
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.config.watch == Watch::Auto && !self.polling && is_remote(parent) {
            tracing::info!(path = %path.display(), "network or FUSE file system, polling too");
            self.polling = true;
            self.show_mode();
        }
        let mut places = Vec::new();
        let mut refused = None;
        let mut wanted = name_places(&path);
        // Siblings in another folder tell of their renames too.
        if let Some(olddir) = &self.config.olddir {
            wanted.insert(0, (parent.join(olddir), path.file_name().unwrap_or_default().to_owned()));
        }
        if self.config.olddir.is_none() && wanted.len() > 1 {
            // Files behind a symlink keep their names: what counts them counts upwards.
            self.targets[target].numbers = Direction::Counted;
        }
        let Some(watcher) = self.watcher.as_mut() else {
            self.targets[target].places = wanted.into_iter().map(|(folder, name)| (NO_WATCH, folder, name)).collect();
            return;
        };
        for (folder, name) in wanted {
            match watcher.directory(&folder) {
                Ok(watch) => places.push((watch, folder, name)),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    let Some((ancestor, name)) = nearest_ancestor(&folder) else { continue };
                    if let Ok(watch) = watcher.directory(&ancestor) {
                        places.push((watch, ancestor, name));
                    }
                }
                Err(error) => refused = Some(error),
            }
        }
        self.targets[target].places = places;
        if let Some(error) = refused {
            self.polls_from_now(&error);
        }
    }

    /// Takes the events that are there. Returns whether there were any, and whether a name beside the given path changed.
    fn absorb(&mut self, about: Option<usize>) -> Result<(bool, bool), FollowError> {
        let Some(watcher) = self.watcher.as_mut() else { return Ok((false, false)) };
        let mut changes = std::mem::take(&mut self.changes);
        watcher.drain(&mut changes).map_err(FollowError::Watch)?;
        let (any, mut moved) = (!changes.is_empty(), false);
        for change in changes.drain(..) {
            match change {
                Change::Written(watch) => self.written(watch),
                Change::Overflow => self.overflow(),
                Change::DirectoryGone(watch) => self.directory_gone(watch),
                Change::Name { watch, name, what } => {
                    self.patterns_changed |= self.pattern_watches.contains(&watch) && what != What::Attributes;
                    for (index, target) in self.targets.iter_mut().enumerate() {
                        let beside = named(target, watch, &name, what, &self.config.siblings);
                        moved |= beside && about == Some(index);
                    }
                }
            }
        }
        self.changes = changes;
        self.targets.iter_mut().for_each(Target::note_reads);
        Ok((any, moved))
    }

    /// Takes the events that are there. Returns whether there were any.
    pub(crate) fn take_events(&mut self) -> Result<bool, FollowError> {
        self.absorb(None).map(|(any, _)| any)
    }

    /// Whether names beside the path changed since the last look at the events.
    pub(crate) fn siblings_moved(&mut self, target: usize) -> Result<bool, FollowError> {
        self.absorb(Some(target)).map(|(_, moved)| moved)
    }

    fn written(&mut self, watch: i32) {
        for target in &mut self.targets {
            for generation in target.generations.iter_mut().filter(|generation| generation.watch == Some(watch)) {
                generation.touched = true;
                target.ready = true;
            }
        }
    }

    fn overflow(&mut self) {
        self.stats.overflows.inc();
        tracing::debug!("the kernel dropped events, looking at everything");
        self.patterns_changed = true;
        for target in &mut self.targets {
            target.doubtful = true;
            target.ready = true;
            target.births = 0;
            target.names.forget();
            target.generations.iter_mut().for_each(|generation| generation.touched = true);
        }
    }

    fn directory_gone(&mut self, watch: i32) {
        if let Some(watcher) = self.watcher.as_mut() {
            watcher.forget_directory(watch);
        }
        for target in self.targets.iter_mut().filter(|target| target.places.iter().any(|place| place.0 == watch)) {
            target.doubtful = true;
        }
        self.patterns_changed |= self.pattern_watches.contains(&watch);
    }

    /// A look that trusts no event: each path, and the content of each open file.
    pub(crate) fn check_progress(&mut self) -> Result<(), FollowError> {
        for index in 0..self.targets.len() {
            let target = &mut self.targets[index];
            target.doubtful |= target.has_moved_on();
            for generation in &mut target.generations {
                let grown = generation.stream.is_none()
                    && Facts::of(&generation.file).is_ok_and(|facts| facts.size != generation.offset);
                if grown || self.polling {
                    generation.touched = true;
                    target.ready = true;
                }
            }
            target.copy_hint |= self.polling || target.copies.iter().any(Copy::is_empty);
            target.ready |= target.presence != Presence::There || target.generations.len() > 1;
        }
        if self.polling {
            self.patterns_changed = true;
        }
        Ok(())
    }

    /// Finds what the patterns describe now, and forgets what is gone and read.
    pub(crate) fn look_at_patterns(&mut self) {
        self.patterns_changed = false;
        let inputs = std::mem::take(&mut self.config.inputs);
        for input in &inputs {
            let Input::Pattern(glob) = input else { continue };
            let found = glob.find();
            if let Some(watcher) = self.watcher.as_mut() {
                for folder in &found.directories {
                    if let Ok(watch) = watcher.directory(folder)
                        && !self.pattern_watches.contains(&watch)
                    {
                        self.pattern_watches.push(watch);
                    }
                }
            }
            for path in found.files {
                self.take_found(path);
            }
        }
        self.config.inputs = inputs;
        let gone = |target: &Target| {
            target.from_pattern && target.generations.is_empty() && matches!(target.presence, Presence::Missing(_))
        };
        if self.in_flight.is_none() && self.unsaved.is_empty() {
            // Indices into the list are held by nobody now.
            self.targets.retain(|target| !gone(target));
        }
        self.patterns_seen = true;
    }

    fn take_found(&mut self, path: PathBuf) {
        if self.targets.iter().any(|target| target.path() == path) {
            return;
        }
        // A rotated file of a log that is followed already is one of its generations.
        let identity = Facts::at(&path).map(|facts| facts.identity);
        let open = |target: &Target| {
            target.generations.iter().any(|one| identity.as_ref().is_ok_and(|id| one.identity.same(*id)))
        };
        if self.targets.iter().any(open) {
            return;
        }
        // Known to another path as read or as history before it came under this name.
        let known = |target: &Target| identity.as_ref().is_ok_and(|id| target.known_as(*id).is_some());
        if self.patterns_seen && self.targets.iter().any(known) {
            return;
        }
        let start = if self.patterns_seen { crate::Start::Beginning } else { self.config.start };
        let mut target = self.new_target(path);
        target.from_pattern = true;
        target.start = Some(start);
        self.targets.push(target);
    }

    pub(crate) fn new_target(&mut self, path: PathBuf) -> Target {
        let name = path.clone().into_os_string();
        let source = Source { index: self.next_index, path, name };
        self.next_index += 1;
        Target::new(source, &self.stats, crate::LineEnd::default(), self.config.start)
    }
}

/// Applies one name's change to one path. Returns whether the name is one of its siblings.
fn named(
    target: &mut Target,
    watch: i32,
    name: &std::ffi::OsStr,
    what: What,
    siblings: &crate::siblings::Siblings,
) -> bool {
    let (mut beside, mut own_file, mut own_name) = (false, false, false);
    let mut folder = PathBuf::new();
    let count = target.places.len();
    for index in 0..count {
        let (place, at, own) = &target.places[index];
        if *place != watch {
            continue;
        }
        let is_own = own == name;
        if !is_own && !siblings.belong(own, name) {
            continue;
        }
        beside = true;
        folder.clone_from(at);
        if what == What::Attributes {
            target.doubtful |= is_own && matches!(target.presence, Presence::Missing(_));
            continue;
        }
        target.doubtful |= is_own;
        // A plain file that goes leaves its compressed copy to be looked at.
        target.copy_hint |= !is_own && !matches!(what, What::MovedFrom(_));
        own_file |= is_own && index + 1 == count;
        own_name |= is_own;
    }
    if beside && what != What::Attributes {
        name_changed(target, &folder.join(name), what, own_file, own_name);
    }
    beside
}

/// `own_file`: it is the name of the log's file, once symlinks are resolved; `own_name`: or one on the way there.
fn name_changed(target: &mut Target, path: &Path, what: What, own_file: bool, own_name: bool) {
    match what {
        What::Created | What::MovedTo(_) if own_file => target.births += 1,
        What::Created if !own_name => target.names.made(path),
        What::MovedTo(cookie) if !own_name => target.names.moved_to(path, cookie),
        What::MovedFrom(cookie) => {
            // Its new name may be gone before it is looked at.
            let since = target.names.moved_from(path, cookie, own_file);
            target.lost_its_name(since);
        }
        What::Deleted => {
            let since = target.names.deleted(path, own_file);
            target.lost_its_name(since);
        }
        What::Created | What::MovedTo(_) | What::Attributes => {}
    }
}
