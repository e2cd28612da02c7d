//! What the events told about the files beside a log: each name's file, by where it came from.
//!
//! The events of a folder, in their order, are enough to know which file has which name, without a look that the next
//! rename makes wrong. A file that was renamed away from the log is a generation of it; one that was made under another
//! name is a copy, or the log's next file behind a symlink.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// How a file came to a name beside the log. The numbers rise with time, across both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was the log, and was renamed.
    Log(u64),
    /// It was made under a name of its own.
    Made(u64),
}

impl Origin {
    pub(crate) fn serial(self) -> u64 {
        match self {
            Self::Log(serial) | Self::Made(serial) => serial,
        }
    }
}

/// The file of one name.
#[derive(Debug, Clone, Copy)]
struct Entry {
    origin: Origin,
    /// A look has found the file.
    seen: bool,
}

/// The names beside one log.
#[derive(Debug, Default)]
pub(crate) struct Names {
    next: u64,
    entries: HashMap<PathBuf, Entry>,
    /// The last `moved from`, which waits for its other half.
    from: Option<(u32, Option<Entry>)>,
}

impl Names {
    /// More names than this are not remembered; births and names order the rest.
    const MOST: usize = 4096;

    fn add(&mut self, path: &Path, entry: Entry) {
        if self.entries.len() < Self::MOST {
            self.entries.insert(path.to_owned(), entry);
        }
    }

    fn origin(&mut self, kind: fn(u64) -> Origin) -> Entry {
        self.next += 1;
        Entry { origin: kind(self.next), seen: false }
    }

    /// A file was made under a name of its own. What is compressed takes the place in time of the plain file.
    pub(crate) fn made(&mut self, path: &Path) {
        let plain = path.extension().filter(|end| *end == "gz").and_then(|_| self.of(&path.with_extension("")));
        let entry = match plain {
            Some(plain) => Entry { origin: Origin::Made(plain.serial()), seen: false },
            None => self.origin(Origin::Made),
        };
        self.add(path, entry);
    }

    /// A name went away; `cookie` ties it to the name that came. `own`: it is the log's. Returns when the log lost it.
    pub(crate) fn moved_from(&mut self, path: &Path, cookie: u32, own: bool) -> Option<u64> {
        let entry = if own { Some(self.origin(Origin::Log)) } else { self.entries.remove(path) };
        self.from = Some((cookie, entry));
        entry.map(|entry| entry.origin.serial()).filter(|_| own)
    }

    /// A name beside the log came by a rename.
    pub(crate) fn moved_to(&mut self, path: &Path, cookie: u32) {
        self.entries.remove(path);
        if let Some((_, Some(entry))) = self.from.take().filter(|(other, _)| *other == cookie) {
            self.add(path, entry);
        }
    }

    /// A name went away for good. `own`: it is the log's. Returns when the log lost it.
    pub(crate) fn deleted(&mut self, path: &Path, own: bool) -> Option<u64> {
        self.entries.remove(path);
        own.then(|| self.origin(Origin::Log).origin.serial())
    }

    /// Events were lost: nothing is known any more.
    pub(crate) fn forget(&mut self) {
        self.entries.clear();
        self.from = None;
    }

    /// The number of the last origin: what later events tell of has a higher one.
    pub(crate) fn last(&self) -> u64 {
        self.next
    }

    pub(crate) fn of(&self, path: &Path) -> Option<Origin> {
        self.entries.get(path).map(|entry| entry.origin)
    }

    /// A look has found the file that has this name.
    pub(crate) fn found(&mut self, path: &Path) {
        if let Some(entry) = self.entries.get_mut(path) {
            entry.seen = true;
        }
    }

    /// Names whose files no look has found yet, oldest first.
    pub(crate) fn unseen(&self) -> Vec<(PathBuf, Origin)> {
        let unseen = self.entries.iter().filter(|(_, entry)| !entry.seen);
        let mut unseen: Vec<_> = unseen.map(|(path, entry)| (path.clone(), entry.origin)).collect();
        unseen.sort_by_key(|(_, origin)| origin.serial());
        unseen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder {
        names: Names,
        cookie: u32,
    }

    impl Folder {
        fn mv(&mut self, from: &str, to: &str) {
            self.cookie += 1;
            self.names.moved_from(Path::new(from), self.cookie, from == "l");
            self.names.moved_to(Path::new(to), self.cookie);
        }

        fn of(&self, name: &str) -> Option<Origin> {
            self.names.of(Path::new(name))
        }
    }

    #[test]
    fn an_origin_follows_the_file_through_a_chain_of_renames() {
        let mut folder = Folder { names: Names::default(), cookie: 0 };
        folder.mv("l", "l.1");
        folder.mv("l.1", "l.2");
        folder.mv("l", "l.1");
        assert_eq!(folder.of("l.2"), Some(Origin::Log(1)));
        assert_eq!(folder.of("l.1"), Some(Origin::Log(2)));
        folder.mv("other", "l.1");
        assert_eq!(folder.of("l.1"), None, "another file took the name");
        folder.names.deleted(Path::new("l.2"), false);
        assert_eq!(folder.of("l.2"), None);
    }

    #[test]
    fn copies_and_generations_share_one_order() {
        let mut folder = Folder { names: Names::default(), cookie: 0 };
        folder.names.made(Path::new("l.1"));
        folder.mv("l.1", "l.2");
        folder.mv("l", "l.1");
        let unseen: Vec<_> = folder.names.unseen();
        assert_eq!(unseen, [("l.2".into(), Origin::Made(1)), ("l.1".into(), Origin::Log(2))]);
        folder.names.found(Path::new("l.2"));
        folder.mv("l.2", "l.3");
        assert_eq!(folder.names.unseen(), [("l.1".into(), Origin::Log(2))]);
        assert_eq!(folder.of("l.3"), Some(Origin::Made(1)));
    }
}
