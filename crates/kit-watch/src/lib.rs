//! Tells that "the content at this path is now another one".
//!
//! Promised: each change of content is reported once, however it was made: kubelet's swap of the `..data` symlink
//! (four inotify events), a rename over the file, a write in place, or a file that appears or vanishes. A report comes
//! only when the content has been still for a short quiet period, so a file that is being written is not reported
//! half way; content that never rests is reported after [`Settings::patience`]. A touch without a change is silent.
//! Where inotify cannot see a change (network volumes, exhausted watches) a poll finds it, by default every 30 s.
//! Neighbours that change all the time cost nothing but being counted: events are filtered by the names that the path
//! leads through, and content is looked at no more often than once every quiet period.
//!
//! Not promised: intermediate contents. Readers take the newest, and two files are never read as one unit: a reader
//! that needs a consistent set checks it itself and asks again.
//!
//! ```text
//! /certs/tls.crt -> ..data/tls.crt      watched: the names tls.crt and ..data in /certs,
//! /certs/..data  -> ..2026_11_21_1/     and tls.crt in the folder that the path resolves to
//! ```

mod content;
mod folders;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use content::Content;
use folders::Folders;

/// How patient a [`Watcher`] is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The content must not have changed for this long before it is reported.
    pub quiet: Duration,
    /// Content that keeps changing is reported at the latest after this time.
    pub patience: Duration,
    /// Pause between two looks without any event. A look reads every watched file.
    pub poll: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { quiet: Duration::from_millis(50), patience: Duration::from_millis(500), poll: Duration::from_secs(30) }
    }
}

/// Watches the contents of files and folders.
///
/// A path that does not exist is content too: its appearance is a change. A folder's content is its entries' names and
/// the contents of files in it and in its folders, names beginning with `..` (kubelet's own) left out. Of a file the
/// first 8 MiB are compared, and length and time stamp if there is more; what is no file (a device, a pipe) is not read.
#[derive(Debug)]
pub struct Watcher {
    paths: Vec<PathBuf>,
    settings: Settings,
    known: Vec<Content>,
    folders: Folders,
}

impl Watcher {
    /// Watches `paths` with the default patience; what is there now counts as known.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self::with_settings(paths, Settings::default())
    }

    /// Watches `paths`; what is there now counts as known.
    #[must_use]
    pub fn with_settings(paths: Vec<PathBuf>, settings: Settings) -> Self {
        // Events first, contents second: a change in between is then seen twice instead of never.
        let folders = Folders::new(&paths);
        let known = look(&paths);
        Self { paths, settings, known, folders }
    }

    /// Why changes are found by polling only; `None` while events work.
    #[must_use]
    pub fn polling_because(&self) -> Option<&io::Error> {
        self.folders.failure()
    }

    /// Waits until the content of at least one path is another than last reported, and at rest. Returns those paths in
    /// the order in which they were given.
    ///
    /// Cancel safe: what was not returned is reported by the next call. To be called within a tokio runtime, always the same.
    pub async fn changed(&mut self) -> Vec<PathBuf> {
        let mut next_look = Instant::now();
        loop {
            tokio::time::sleep_until(next_look).await;
            let now = look(&self.paths);
            next_look = Instant::now() + self.settings.quiet;
            if now != self.known {
                let settled = self.settled(now).await;
                let changed = self.take(settled);
                if !changed.is_empty() {
                    return changed;
                }
            }
            if self.folders.follow(&self.paths) {
                // What changed in a folder before its watch stood has sent no event.
                continue;
            }
            let _timed_out = tokio::time::timeout(self.settings.poll, self.folders.event(self.settings.quiet)).await;
        }
    }

    async fn settled(&mut self, mut last: Vec<Content>) -> Vec<Content> {
        let give_up = Instant::now() + self.settings.patience;
        while Instant::now() < give_up {
            tokio::time::sleep(self.settings.quiet).await;
            let now = look(&self.paths);
            if now == last {
                break;
            }
            last = now;
        }
        last
    }

    fn take(&mut self, now: Vec<Content>) -> Vec<PathBuf> {
        let differ = |((path, old), new): ((&PathBuf, &Content), &Content)| (old != new).then(|| path.clone());
        let changed = self.paths.iter().zip(&self.known).zip(&now).filter_map(differ).collect();
        self.known = now;
        changed
    }
}

fn look(paths: &[PathBuf]) -> Vec<Content> {
    paths.iter().map(|path| Content::at(path)).collect()
}
