//! The state file: how far each generation has been handed over, kept through SIGKILL.
//!
//! A header of 128 bytes, then one slot per generation: two records of 128 bytes that are written in turn, so that a
//! torn write leaves the older one. Records are written with pwrite after the output took the bytes; that survives
//! the death of the process, and of a machine only as far as the kernel had written it back.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::identity::{Facts, Identity, Print, Trace, digest, read_at};

const MAGIC: &[u8; 8] = b"PKFOLLOW";
const VERSION: u32 = 1;
const RECORD: usize = 128;
const SLOT: u64 = 2 * RECORD as u64;
const HEADER: u64 = RECORD as u64;
/// Written when the file is made, so that a disk that fills later still has room for the first generations.
const FIRST_BYTES: usize = 4096;
/// Closed generations that are remembered, so that their compressed copies are known again.
const CLOSED_KEPT: usize = 64;
/// More slots than this are not a state file of ours.
const MOST_SLOTS: u64 = 65_536;

/// One generation as the state file remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Saved {
    /// Digest of the followed path.
    pub(crate) path: u64,
    pub(crate) trace: Trace,
    /// The larger, the younger, among all generations of one path.
    pub(crate) order: u64,
    /// Everything was handed over and the file was closed.
    pub(crate) closed: bool,
    /// The size it had; 0 in records of earlier programs.
    pub(crate) seen: u64,
    /// Its first bytes, at most [`START_BYTES`]: a copy made before the last of it was written may be shorter than the head
    /// of the trace. Nothing in records of earlier programs.
    pub(crate) start: Print,
    /// The last write to it, nanoseconds since 1970.
    pub(crate) modified: u64,
}

/// How many first bytes are remembered apart from the trace.
pub(crate) const START_BYTES: usize = 64;

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder is not there.
    #[error("cannot create the state file {}: its folder does not exist", path.display())]
    NoFolder {
        /// The state file.
        path: PathBuf,
    },
    /// It could not be opened or created.
    #[error("cannot open the state file {}", path.display())]
    Open {
        /// The state file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process follows with it.
    #[error("state file {} in use by process {holder}", path.display())]
    InUse {
        /// The state file.
        path: PathBuf,
        /// The other process, as it sees itself: in its own container that is often 1.
        holder: u32,
    },
    /// The content is of a later version, damaged, or something else entirely.
    #[error("state file {} {problem}", path.display())]
    Content {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It is one of the followed files.
    #[error("the state file {} is one of the followed files", path.display())]
    Followed {
        /// The state file.
        path: PathBuf,
    },
}

impl StateError {
    /// The repair.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoFolder { .. } => {
                "mount a volume there, an emptyDir if a restart of the pod may start over, or create the folder"
            }
            Self::Open { .. } => {
                "the folder must be writable for the uid and gid that this container runs as; see fsGroup"
            }
            Self::InUse { .. } => "give every follower a --state-file of its own",
            Self::Content { .. } => "remove it, or let --on-state-error beginning or end decide where to start",
            Self::Followed { .. } => "name a file that holds no log",
        }
    }

    /// Whether the request was wrong, not the world.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self, Self::NoFolder { .. } | Self::Open { .. } | Self::Followed { .. })
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    sequence: u64,
    closed: bool,
    used: bool,
}

/// The file, what each slot remembers, and whether unusable content was dropped.
pub(crate) type Opened = (StateFile, Vec<(usize, Saved)>, bool);

/// An open, locked state file.
#[derive(Debug)]
pub(crate) struct StateFile {
    file: File,
    pub(crate) path: PathBuf,
    slots: Vec<Slot>,
    sequence: u64,
    /// The header stands in the file. Without it no record is found again.
    headed: bool,
    /// The last write failed, and that has been said.
    failing: bool,
}

impl StateFile {
    /// Opens, locks and reads the file, or makes it. `reset` starts over where the content cannot be used;
    /// the last value says whether that happened.
    ///
    /// # Errors
    /// Any [`StateError`]; the file is then as it was.
    pub(crate) fn open(path: &Path, reset: bool) -> Result<Opened, StateError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            return Err(StateError::NoFolder { path: path.to_owned() });
        }
        let failed = |source| StateError::Open { path: path.to_owned(), source };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(failed)?;
        if let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(failed(error.into()));
            }
            let mut pid = [0; 4];
            let _ = read_at(&file, &mut pid, 12);
            return Err(StateError::InUse { path: path.to_owned(), holder: u32::from_le_bytes(pid) });
        }
        let mut state =
            Self { file, path: path.to_owned(), slots: Vec::new(), sequence: 0, headed: false, failing: false };
        let mut was_reset = false;
        let saved = match state.load().map_err(failed)? {
            Ok(saved) => saved,
            Err(problem) if !reset => return Err(StateError::Content { path: path.to_owned(), problem }),
            Err(problem) => {
                state.spare_foreign(&problem)?;
                tracing::warn!(path = %path.display(), problem, "state file not usable, starting over");
                was_reset = true;
                state.slots.clear();
                state.file.set_len(0).map_err(failed)?;
                Vec::new()
            }
        };
        // A full disk is met again, and told, with the first record.
        let _ = state.write_header();
        Ok((state, saved, was_reset))
    }

    /// Which file it is, so that it is not followed itself.
    pub(crate) fn identity(&self) -> Option<Identity> {
        Facts::of(&self.file).ok().map(|facts| facts.identity)
    }

    /// A file that no follower made is somebody's: a copy of it stays before it is written over.
    fn spare_foreign(&self, problem: &str) -> Result<(), StateError> {
        let mut magic = [0; MAGIC.len()];
        if read_at(&self.file, &mut magic, 0).is_ok_and(|read| read == MAGIC.len()) && &magic == MAGIC {
            return Ok(());
        }
        let mut spare = self.path.clone().into_os_string();
        spare.push(".unusable");
        let spare = PathBuf::from(spare);
        if let Err(error) = std::fs::copy(&self.path, &spare) {
            let problem = format!("{problem}, and cannot be kept as {} ({error})", spare.display());
            return Err(StateError::Content { path: self.path.clone(), problem });
        }
        tracing::warn!(path = %self.path.display(), kept = %spare.display(), "what the state file held is kept");
        Ok(())
    }

    fn load(&mut self) -> io::Result<Result<Vec<(usize, Saved)>, String>> {
        let size = Facts::of(&self.file)?.size;
        let mut header = [0; RECORD];
        let read = read_at(&self.file, &mut header, 0)?;
        // A machine that died before the first write-back leaves zeros.
        if header[..read].iter().all(|byte| *byte == 0) {
            return Ok(Ok(Vec::new()));
        }
        if read < RECORD || &header[..8] != MAGIC {
            return Ok(Err("is not a state file".into()));
        }
        let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if version != VERSION {
            return Ok(Err(format!("has version {version}; this program reads version {VERSION}")));
        }
        // Of the last pair only the first record may have been written.
        let count = size.saturating_sub(HEADER).div_ceil(SLOT).min(MOST_SLOTS);
        let mut saved = Vec::new();
        for index in 0..usize::try_from(count).unwrap_or(0) {
            let mut pair = [0; 2 * RECORD];
            read_at(&self.file, &mut pair, HEADER + index as u64 * SLOT)?;
            let (first, second) = pair.split_at(RECORD);
            let newest = [decode(first), decode(second)].into_iter().flatten().max_by_key(|(sequence, _)| *sequence);
            let Some((sequence, record)) = newest else {
                if pair.iter().any(|byte| *byte != 0) {
                    return Ok(Err(format!("is damaged in slot {index}")));
                }
                self.slots.push(Slot::default());
                continue;
            };
            self.sequence = self.sequence.max(sequence);
            self.slots.push(Slot { sequence, closed: record.closed, used: true });
            saved.push((index, record));
        }
        Ok(Ok(saved))
    }

    /// The magic, the version and who holds the lock.
    fn write_header(&mut self) -> io::Result<()> {
        let mut bytes = [0; FIRST_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&std::process::id().to_le_bytes());
        let wanted = if self.slots.is_empty() { FIRST_BYTES } else { RECORD };
        write_at(&self.file, &bytes[..wanted], 0)?;
        self.headed = true;
        Ok(())
    }

    /// Remembers a generation, in its slot or, the first time, in a free one.
    ///
    /// # Errors
    /// When the write failed; the older record is then still there.
    pub(crate) fn save(&mut self, slot: &mut Option<usize>, saved: &Saved) -> io::Result<()> {
        let index = *slot.get_or_insert_with(|| self.free_slot());
        self.sequence += 1;
        self.slots[index] = Slot { sequence: self.sequence, closed: saved.closed, used: true };
        let place = HEADER + index as u64 * SLOT + (self.sequence % 2) * RECORD as u64;
        let header = if self.headed { Ok(()) } else { self.write_header() };
        let written = header.and_then(|()| write_at(&self.file, &encode(self.sequence, saved), place));
        match (&written, self.failing) {
            (Err(error), false) => {
                tracing::warn!(path = %self.path.display(), %error, "state file cannot be written; following goes on, a restart would repeat lines");
            }
            (Ok(()), true) => tracing::info!(path = %self.path.display(), "state file is written again"),
            _ => {}
        }
        self.failing = written.is_err();
        written
    }

    /// An unused slot, else the oldest closed one where enough are kept, else a new one.
    fn free_slot(&mut self) -> usize {
        if let Some(unused) = self.slots.iter().position(|slot| !slot.used) {
            return unused;
        }
        let closed = self.slots.iter().enumerate().filter(|(_, slot)| slot.closed);
        if closed.clone().count() >= CLOSED_KEPT
            && let Some((index, _)) = closed.min_by_key(|(_, slot)| slot.sequence)
        {
            return index;
        }
        self.slots.push(Slot::default());
        self.slots.len() - 1
    }
}

fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

fn encode(sequence: u64, saved: &Saved) -> [u8; RECORD] {
    let trace = &saved.trace;
    let prints = (u64::from(trace.head.bytes) << 32) | u64::from(trace.marker.bytes);
    let words = [
        sequence,
        saved.path,
        trace.identity.device,
        trace.identity.inode,
        trace.identity.born,
        prints,
        trace.head.digest,
        trace.offset,
        trace.marker.digest,
        saved.order,
        u64::from(saved.closed) | (u64::from(saved.start.bytes) << 8),
        saved.seen,
        saved.start.digest,
        saved.modified,
    ];
    let mut record = [0; RECORD];
    for (at, word) in words.iter().enumerate() {
        record[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    let sum = digest(&record[..RECORD - 8]);
    record[RECORD - 8..].copy_from_slice(&sum.to_le_bytes());
    record
}

fn decode(record: &[u8]) -> Option<(u64, Saved)> {
    let (words, _) = record.as_chunks::<8>();
    let word = |at: usize| words.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if word(0) == 0 || word(15) != digest(record.get(..RECORD - 8)?) {
        return None;
    }
    let [head, marker] = [word(5) >> 32, word(5) & 0xFFFF_FFFF].map(|bytes| u32::try_from(bytes).unwrap_or(0));
    let trace = Trace {
        identity: Identity { device: word(2), inode: word(3), born: word(4) },
        head: Print { bytes: head, digest: word(6) },
        offset: word(7),
        marker: Print { bytes: marker, digest: word(8) },
    };
    let start = Print { bytes: u32::try_from(word(10) >> 8).unwrap_or(0), digest: word(12) };
    let (closed, modified) = (word(10) & 1 == 1, word(13));
    Some((word(0), Saved { path: word(1), trace, order: word(9), closed, seen: word(11), start, modified }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(offset: u64) -> Saved {
        let trace = Trace {
            identity: Identity { device: 1, inode: 2, born: 3 },
            head: Print::of(b"head"),
            offset,
            marker: Print::of(b"marker"),
        };
        Saved { path: 9, trace, order: 4, closed: false, seen: 30, start: Print::of(b"start"), modified: 7 }
    }

    #[test]
    fn what_was_saved_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let (mut state, found, _) = StateFile::open(&path, false).unwrap();
        assert!(found.is_empty());
        let (mut first, mut second) = (None, None);
        state.save(&mut first, &saved(10)).unwrap();
        state.save(&mut second, &saved(20)).unwrap();
        state.save(&mut first, &saved(11)).unwrap();
        drop(state);
        let (_, found, _) = StateFile::open(&path, false).unwrap();
        assert_eq!(found, [(0, saved(11)), (1, saved(20))]);
    }

    #[test]
    fn a_torn_record_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let (mut state, _, _) = StateFile::open(&path, false).unwrap();
        let mut slot = None;
        for offset in 1..=4 {
            state.save(&mut slot, &saved(offset)).unwrap();
        }
        // Sequence 4 is even: the first record of the pair is the newest.
        write_at(&state.file, b"torn", HEADER + 50).unwrap();
        drop(state);
        let (_, found, _) = StateFile::open(&path, false).unwrap();
        assert_eq!(found, [(0, saved(3))]);
    }

    #[test]
    fn every_generation_is_read_back_whichever_record_of_the_last_pair_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        for count in 1..40 {
            let _ = std::fs::remove_file(&path);
            let (mut state, _, _) = StateFile::open(&path, false).unwrap();
            for order in 0..count {
                state.save(&mut None, &Saved { order, ..saved(order) }).unwrap();
            }
            drop(state);
            let (_, found, _) = StateFile::open(&path, false).unwrap();
            assert_eq!(found.len() as u64, count);
        }
    }

    #[test]
    fn a_later_version_garbage_and_damage_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let problem = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            StateFile::open(&path, false).unwrap_err().to_string()
        };
        let name = path.display();
        assert_eq!(problem(b"a log line\n"), format!("state file {name} is not a state file"));
        let mut later = [0; RECORD];
        later[..8].copy_from_slice(MAGIC);
        later[8] = 7;
        assert_eq!(problem(&later), format!("state file {name} has version 7; this program reads version 1"));
        let mut damaged = [0; 3 * RECORD];
        damaged[..8].copy_from_slice(MAGIC);
        damaged[8] = 1;
        damaged[RECORD + 3] = 9;
        assert_eq!(problem(&damaged), format!("state file {name} is damaged in slot 0"));
        let (_, found, _) = StateFile::open(&path, true).unwrap();
        assert!(found.is_empty(), "a reset starts over");
    }

    #[test]
    fn a_second_opener_is_told_who_holds_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let _held = StateFile::open(&path, false).unwrap();
        let error = StateFile::open(&path, false).unwrap_err();
        let expected = format!("state file {} in use by process {}", path.display(), std::process::id());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn slots_of_closed_generations_are_used_again_when_enough_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (mut state, _, _) = StateFile::open(&dir.path().join("state"), false).unwrap();
        for order in 0..1000 {
            let mut slot = None;
            state.save(&mut slot, &Saved { order, ..saved(1) }).unwrap();
            state.save(&mut slot, &Saved { order, closed: true, ..saved(1) }).unwrap();
        }
        assert_eq!(state.slots.len(), CLOSED_KEPT);
    }
}
