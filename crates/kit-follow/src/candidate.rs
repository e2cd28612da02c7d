//! A file beside a log that is not followed: what it is, and what its content tells.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::FollowError;
use crate::generation::{Generation, is_regular, open};
use crate::gz;
use crate::identity::{Facts, HEAD_BYTES, Trace, read_at};
use crate::names::Origin;
use crate::target::Known;

/// A file beside the log that was not seen before.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) facts: Facts,
    pub(crate) compressed: bool,
    /// How it came to its name, where events told.
    pub(crate) origin: Option<Origin>,
}

impl Candidate {
    /// The file under the log's own name.
    pub(crate) fn live(path: PathBuf, file: File, facts: Facts) -> Self {
        debug_assert!(is_regular(&facts), "only files are followed");
        // A log that is compressed under its own name is data.
        Self { path, file, facts, compressed: false, origin: None }
    }

    /// Whether the name that it was found under still leads to it.
    pub(crate) fn has_its_name(&self) -> bool {
        Facts::at(&self.path).is_ok_and(|facts| facts.identity.same(self.facts.identity))
    }

    /// Whether that name still tells its age: a compressed file that has taken its place kept the name, unless it is one of
    /// another file, whose turn with that name came later.
    pub(crate) fn keeps_its_name(&self) -> bool {
        let mut compressed = self.path.clone().into_os_string();
        compressed.push(".gz");
        self.has_its_name() || (!self.path.exists() && self.is_compressed_as(Path::new(&compressed)).unwrap_or(false))
    }

    /// Whether a compressed file was made of this one. Compressors keep the time of the last write; where one does not, the
    /// content tells.
    fn is_compressed_as(&self, path: &Path) -> io::Result<bool> {
        let facts = Facts::of(&self.file)?;
        let packed = open(path)?;
        if Facts::of(&packed)?.modified == facts.modified {
            return Ok(true);
        }
        let head = facts.size.min(HEAD_BYTES);
        gz::begins(&packed, &self.file, usize::try_from(head).unwrap_or_default())
    }

    /// Whether it can only be younger than a file that had the log's name at an earlier look, without an event that told so: it
    /// was not beside that then, and is no copy of it. Births tie where all of them are of one tick.
    pub(crate) fn came_after(&self, one: &Generation) -> io::Result<bool> {
        let trace = one.trace();
        let known = one.led && one.round == 0 && one.stream.is_none() && !trace.is_blank();
        if !known
            || one.may_have_been(self)?
            || self.compressed
            || self.facts.size == 0
            || self.facts.identity.born < one.identity.born
        {
            return Ok(false);
        }
        let size = self.facts.size;
        let copy = one.shares_content(&self.file, size)? || trace.fits(&self.file, size)?;
        // What was truncated since may have held anything.
        Ok(!copy && one.round_now()? == 0)
    }

    /// Whether the file begins as gzip does.
    pub(crate) fn is_compressed(file: &File) -> bool {
        gz::is_gzip(file).unwrap_or(false)
    }
}

/// Whether a file is shorter than `first`, the first bytes of another, and holds what they begin with: a copy that was
/// made before the last of these bytes were written.
pub(crate) fn begins_with(first: &[u8], candidate: &Candidate) -> Result<bool, FollowError> {
    let Ok(size) = usize::try_from(candidate.facts.size) else { return Ok(false) };
    if candidate.compressed || size == 0 || size >= first.len() {
        return Ok(false);
    }
    let mut found = vec![0; size];
    let read = read_at(&candidate.file, &mut found, 0).map_err(FollowError::Read)?;
    Ok(read == size && first.starts_with(&found))
}

/// What a known file is by now.
pub(crate) enum Now {
    Same,
    Grown,
    Other,
}

pub(crate) fn known_now(known: &Known, path: &Path, facts: &Facts) -> Result<Now, FollowError> {
    let trace = &known.trace;
    if known.seen == Some((facts.size, facts.modified)) {
        return Ok(Now::Same);
    }
    // Of compressed and empty files nothing but the identity is known.
    if trace.head.bytes == 0 {
        return Ok(Now::Same);
    }
    let Ok((file, facts)) = open(path).and_then(|file| Facts::of(&file).map(|facts| (file, facts))) else {
        return Ok(Now::Same);
    };
    if !facts.identity.same(trace.identity) || Candidate::is_compressed(&file) {
        return Ok(Now::Same);
    }
    Ok(match trace.fits(&file, facts.size).map_err(FollowError::Read)? {
        false => Now::Other,
        true if facts.size > trace.offset && !known.copy => Now::Grown,
        true => Now::Same,
    })
}

/// Whether a candidate's content is what the trace has seen.
pub(crate) fn fits(candidate: &Candidate, trace: &Trace) -> Result<bool, FollowError> {
    let fits = if candidate.compressed {
        gz::fits(&candidate.file, trace)
    } else {
        trace.fits(&candidate.file, candidate.facts.size)
    };
    fits.map_err(FollowError::Read)
}

/// Whether a candidate that fits a trace holds more than that.
pub(crate) fn grown(candidate: &Candidate, trace: &Trace) -> io::Result<bool> {
    if candidate.compressed {
        gz::is_longer(&candidate.file, trace.offset)
    } else {
        Ok(candidate.facts.size > trace.offset)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn a_name_is_kept_by_what_is_compressed_of_the_file_and_lost_to_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, packed) = (dir.path().join("f.1"), dir.path().join("f.1.gz"));
        let pack = |content: &[u8]| {
            let mut encoder = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap();
        };
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let file = open(&path).unwrap();
        let facts = Facts::of(&file).unwrap();
        let candidate = Candidate { path: path.clone(), file, facts, compressed: false, origin: None };
        assert!(candidate.keeps_its_name());
        std::fs::remove_file(&path).unwrap();
        assert!(!candidate.keeps_its_name(), "gone");
        pack(b"three\n");
        assert!(!candidate.keeps_its_name(), "compressed of another file that had the name");
        pack(b"one\ntwo\n");
        assert!(candidate.keeps_its_name(), "compressed of this one");
        pack(b"");
        let modified = candidate.file.metadata().unwrap().modified().unwrap();
        File::options().write(true).open(&packed).unwrap().set_modified(modified).unwrap();
        assert!(candidate.keeps_its_name(), "the time of the last write tells without a look at the content");
    }
}
