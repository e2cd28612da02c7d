//! The folders whose events can mean that a watched path has other content.
//!
//! Inotify is asked directly. A thread between it and us would have to be waited for when folders are added, and a
//! folder in which something happens all the time keeps such a thread from ever answering.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::net::unix::pipe;

/// As many symlinks as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Room for the events that one call takes: some hundred with short names, and more than one with the longest.
const EVENTS: usize = 4096;

/// How often that room is filled before others have their turn: what the kernel queues at most is taken in two pauses.
const AT_ONCE: u32 = 64;

/// Which names in a folder matter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    All,
    These(BTreeSet<OsString>),
}

impl Names {
    fn have(&self, name: &OsStr) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }

    fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::These(names), Self::These(more)) => names.extend(more),
        }
    }
}

type Wanted = BTreeMap<PathBuf, Names>;

/// The kernel's queue: registered with a runtime when somebody first waits, as watches are made before there is one.
#[derive(Debug)]
enum Queue {
    Plain(OwnedFd),
    /// No pipe, but tokio's type for a descriptor that one only reads from; its others need unsafe code.
    Registered(pipe::Receiver),
    /// Being registered, or refused.
    Gone,
}

impl Queue {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Plain(queue) => Some(queue.as_fd()),
            Self::Registered(queue) => Some(queue.as_fd()),
            Self::Gone => None,
        }
    }
}

/// Inotify's watches, kept equal to what the paths resolve to.
#[derive(Debug)]
pub(crate) struct Folders {
    queue: Queue,
    watched: BTreeMap<PathBuf, i32>,
    names: BTreeMap<i32, Names>,
    failure: Option<io::Error>,
}

impl Folders {
    pub(crate) fn new(paths: &[PathBuf]) -> Self {
        let (queue, failure) = match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(queue) => (Queue::Plain(queue), None),
            Err(error) => (Queue::Gone, Some(error.into())),
        };
        let mut folders = Self { queue, watched: BTreeMap::new(), names: BTreeMap::new(), failure };
        let _added = folders.follow(paths);
        folders
    }

    pub(crate) fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    /// Waits for an event that can matter; one that came before the call counts. Others are thrown away, at most once
    /// every `pause`, so that a busy folder does not keep us busy.
    pub(crate) async fn event(&mut self, pause: Duration) {
        self.register();
        loop {
            let Queue::Registered(queue) = &self.queue else { return std::future::pending().await };
            if queue.readable().await.is_err() {
                return std::future::pending().await;
            }
            for _ in 0..AT_ONCE {
                match take(queue, &self.names) {
                    Taken::Mattered => return,
                    Taken::More => {}
                    Taken::All => break,
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn register(&mut self) {
        self.queue = match std::mem::replace(&mut self.queue, Queue::Gone) {
            Queue::Plain(queue) => match pipe::Receiver::from_owned_fd_unchecked(queue) {
                Ok(queue) => Queue::Registered(queue),
                Err(error) => {
                    self.failure = Some(error);
                    Queue::Gone
                }
            },
            other => other,
        };
    }

    /// Watches what the paths lead to now: a swapped symlink leads elsewhere, a recreated folder has lost its watch.
    /// True when a folder was added.
    pub(crate) fn follow(&mut self, paths: &[PathBuf]) -> bool {
        let Some(queue) = self.queue.descriptor() else { return false };
        let mut wanted = Wanted::new();
        paths.iter().for_each(|path| leading_to(path, &mut wanted));
        let (mut watched, mut names) = (BTreeMap::new(), BTreeMap::<i32, Names>::new());
        self.failure = None;
        for (folder, interest) in wanted {
            // Added again even when known: for the same inode this changes nothing, for a recreated folder it matters.
            match inotify::add_watch(queue, &folder, flags()) {
                Ok(watch) => {
                    // Two names of one folder are one watch.
                    names.entry(watch).and_modify(|known| known.merge(interest.clone())).or_insert(interest);
                    watched.insert(folder, watch);
                }
                // It vanished meanwhile; what holds its name is watched as well.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => self.failure = Some(error.into()),
            }
        }
        for gone in self.names.keys().filter(|watch| !names.contains_key(watch)) {
            // A folder that was deleted has taken its watch along; there is nothing to repair.
            let _already_gone = inotify::remove_watch(queue, *gone);
        }
        let added = watched.iter().any(|(folder, watch)| self.watched.get(folder) != Some(watch));
        (self.watched, self.names) = (watched, names);
        added
    }
}

fn flags() -> WatchFlags {
    WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
}

/// What a part of the queue held.
enum Taken {
    /// Something that can matter; there may be more.
    Mattered,
    /// Nothing that matters; there may be more.
    More,
    /// Nothing that matters, and the queue is empty. Or it is broken: the poll then finds what changes.
    All,
}

fn take(queue: &pipe::Receiver, names: &BTreeMap<i32, Names>) -> Taken {
    let mut room = [0; EVENTS];
    match queue.try_read(&mut room) {
        Ok(count) => {
            let mattered = events(&room[..count]).any(|event| {
                // Without a name it is the folder itself that was moved or deleted.
                let matters = |names: &Names| event.name.is_empty() || names.have(OsStr::from_bytes(event.name));
                event.overflow || names.get(&event.watch).is_some_and(matters)
            });
            if mattered { Taken::Mattered } else { Taken::More }
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Taken::More,
        Err(_) => Taken::All,
    }
}

struct Event<'a> {
    watch: i32,
    /// More happened than the kernel keeps.
    overflow: bool,
    name: &'a [u8],
}

/// The records of one read (inotify(7)): watch, mask, cookie and length in the machine's order, then the name, filled up
/// with zeros.
fn events(mut bytes: &[u8]) -> impl Iterator<Item = Event<'_>> {
    std::iter::from_fn(move || {
        let (fields, rest) = bytes.split_first_chunk::<16>()?;
        let field = |at: usize| [fields[at], fields[at + 1], fields[at + 2], fields[at + 3]];
        let mask = ReadFlags::from_bits_retain(u32::from_ne_bytes(field(4)));
        let (name, rest) = rest.split_at_checked(usize::try_from(u32::from_ne_bytes(field(12))).ok()?)?;
        bytes = rest;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Event { watch: i32::from_ne_bytes(field(0)), overflow: mask.contains(ReadFlags::QUEUE_OVERFLOW), name })
    })
}

/// Every folder in which a name decides what `path` is: those of each symlink on the way and that of the file. For a
/// folder, all names in it, in its folders, and where the links in it lead. Of a path that does not exist, the first
/// missing name.
fn leading_to(path: &Path, wanted: &mut Wanted) {
    let Some(real) = walk(path, wanted) else { return };
    if !real.is_dir() {
        return;
    }
    add(wanted, &real, Names::All);
    for entry in fs::read_dir(&real).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_file() => {}
            // Kubelet's own folders change together with the link that leads to them.
            _ if entry.file_name().as_bytes().starts_with(b"..") => {}
            _ => {
                if let Some(real) = walk(&entry.path(), wanted).filter(|real| real.is_dir()) {
                    add(wanted, &real, Names::All);
                }
            }
        }
    }
}

/// Resolves `path` as the kernel does and notes the folders of its links and of its last name.
fn walk(path: &Path, wanted: &mut Wanted) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let mut ahead: VecDeque<OsString> = path.components().map(|part| part.as_os_str().to_owned()).collect();
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        match Path::new(&name).components().next() {
            Some(Component::Normal(_)) => {}
            Some(Component::ParentDir) => {
                here.pop();
                continue;
            }
            Some(Component::RootDir) => {
                here = PathBuf::from("/");
                continue;
            }
            _ => continue,
        }
        let next = here.join(&name);
        let Ok(metadata) = fs::symlink_metadata(&next) else {
            add(wanted, &here, Names::These(BTreeSet::from([name])));
            return None;
        };
        if metadata.is_symlink() || ahead.is_empty() {
            add(wanted, &here, Names::These(BTreeSet::from([name])));
        }
        if !metadata.is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        let target = fs::read_link(&next).ok().filter(|_| links <= MOST_LINKS)?;
        for part in target.components().rev() {
            ahead.push_front(part.as_os_str().to_owned());
        }
    }
    Some(here)
}

fn add(wanted: &mut Wanted, folder: &Path, names: Names) {
    match wanted.get_mut(folder) {
        Some(known) => known.merge(names),
        None => drop(wanted.insert(folder.to_owned(), names)),
    }
}
