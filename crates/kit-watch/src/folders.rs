//! The folders whose events can mean that a watched path has other content, and one wake-up for all of them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Config, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Inotify's watches, kept equal to what the paths resolve to.
#[derive(Debug)]
pub(crate) struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    wake: Arc<Notify>,
    failure: Option<io::Error>,
}

impl Folders {
    pub(crate) fn new(paths: &[PathBuf]) -> Self {
        let wake = Arc::new(Notify::new());
        let told = Arc::clone(&wake);
        let on_event = move |event: notify::Result<notify::Event>| {
            // Reading a file is an event as well; answering it by reading again would never end.
            if event.is_ok_and(|event| event.kind.is_access() && !closed_after_write(&event)) {
                return;
            }
            told.notify_one();
        };
        let (watcher, failure) = match RecommendedWatcher::new(on_event, Config::default()) {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(io::Error::other(error))),
        };
        let mut folders = Self { watcher, watched: BTreeSet::new(), wake, failure };
        let _added = folders.follow(paths);
        folders
    }

    pub(crate) fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    /// Waits for an event in any of the folders; an event that came before the call counts.
    pub(crate) async fn event(&self) {
        self.wake.notified().await;
    }

    /// Watches what the paths lead to now: a swapped symlink leads elsewhere, a recreated folder has lost its watch.
    /// True when a folder was added.
    pub(crate) fn follow(&mut self, paths: &[PathBuf]) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let wanted: BTreeSet<PathBuf> = paths.iter().flat_map(|path| leading_to(path)).collect();
        for gone in self.watched.difference(&wanted) {
            // A folder that was deleted has taken its watch along; there is nothing to repair.
            let _already_gone = watcher.unwatch(gone);
        }
        let mut failure = None;
        let mut kept = BTreeSet::new();
        for folder in wanted {
            // Added again even when known: for the same inode this changes nothing, for a recreated folder it matters.
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(kept.insert(folder)),
                Err(error) => failure = Some(io::Error::other(error)),
            }
        }
        let added = !kept.is_subset(&self.watched);
        self.watched = kept;
        self.failure = failure;
        added
    }
}

fn closed_after_write(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

/// The path's own folder, the folder that it resolves to, and for a folder itself and the folders in it. A missing
/// parent is replaced by the nearest ancestor that exists, so that the folder's creation is seen.
fn leading_to(path: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    folders.extend(parent.ancestors().find(|ancestor| ancestor.is_dir()).map(Path::to_path_buf));
    let Ok(real) = path.canonicalize() else { return folders };
    folders.extend(real.parent().map(Path::to_path_buf));
    if real.is_dir() {
        let inner = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        folders.extend(
            inner
                .filter_map(|entry| entry.canonicalize().ok())
                .filter_map(|entry| if entry.is_dir() { Some(entry) } else { entry.parent().map(Path::to_path_buf) }),
        );
        folders.push(real);
    }
    folders
}
