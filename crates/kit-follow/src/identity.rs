//! What makes a file the same file: inode, birth, and a fingerprint of its content.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, StatxFlags};

use crate::state::START_BYTES;

/// Which file a name or descriptor stood for. Inodes are reused, births are not, so both count where both are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Identity {
    /// Major and minor number of the device.
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Nanoseconds since 1970 at which the inode was created; 0 where the file system does not say.
    pub(crate) born: u64,
}

impl Identity {
    /// Whether both mean one file.
    pub(crate) fn same(self, other: Self) -> bool {
        let born = self.born == other.born || self.born == 0 || other.born == 0;
        self.device == other.device && self.inode == other.inode && born
    }
}

/// What `statx` says of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) identity: Identity,
    pub(crate) size: u64,
    /// Nanoseconds since 1970 of the last write.
    pub(crate) modified: u64,
    pub(crate) links: u64,
    pub(crate) kind: FileType,
}

impl Facts {
    /// Of an open file.
    pub(crate) fn of(file: impl AsFd) -> io::Result<Self> {
        Self::ask(file, "", AtFlags::EMPTY_PATH)
    }

    /// Of what a path leads to now, symlinks followed.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Self::ask(rustix::fs::CWD, path, AtFlags::empty())
    }

    fn ask(from: impl AsFd, path: impl rustix::path::Arg + Copy, flags: AtFlags) -> io::Result<Self> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        match rustix::fs::statx(&from, path, flags, wanted) {
            Ok(found) => Ok(Self::from_statx(&found)),
            // Old seccomp profiles refuse statx; the plain call knows everything but the birth.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
                let found = rustix::fs::statat(&from, path, flags)?;
                Ok(Self {
                    identity: Identity { device: found.st_dev, inode: found.st_ino, born: 0 },
                    size: u64::try_from(found.st_size).unwrap_or(0),
                    modified: nanoseconds(found.st_mtime, found.st_mtime_nsec.try_into().unwrap_or(0)),
                    links: u64::from(found.st_nlink != 0),
                    kind: FileType::from_raw_mode(found.st_mode),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn from_statx(found: &rustix::fs::Statx) -> Self {
        let births = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        let born = if births { nanoseconds(found.stx_btime.tv_sec, found.stx_btime.tv_nsec) } else { 0 };
        let device = (u64::from(found.stx_dev_major) << 32) | u64::from(found.stx_dev_minor);
        Self {
            identity: Identity { device, inode: found.stx_ino, born },
            size: found.stx_size,
            modified: nanoseconds(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
            links: u64::from(found.stx_nlink),
            kind: FileType::from_raw_mode(found.stx_mode.into()),
        }
    }
}

/// Nanoseconds since 1970; times before count as 1970.
fn nanoseconds(seconds: i64, fraction: u32) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(u64::from(fraction))
}

/// How many bytes before the offset are remembered, to notice content that changed under us.
pub(crate) const MARKER_BYTES: usize = 256;

/// A number that differs when the bytes differ: multiply and fold, eight bytes a step. Not for adversaries.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = FACTOR ^ bytes.len() as u64;
    let mut mix = |word: u64| {
        state = (state ^ word).wrapping_mul(FACTOR);
        state ^= state >> 29;
    };
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(u64::from_le_bytes(last));
    mix(bytes.len() as u64);
    state
}

/// A digest of some bytes and their number. Empty matches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Print {
    pub(crate) bytes: u32,
    pub(crate) digest: u64,
}

impl Print {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX), digest: digest(bytes) }
    }
}

/// Enough of a file to know it again under another name, inode or compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trace {
    pub(crate) identity: Identity,
    /// The file's first bytes, at most `--fingerprint-size`.
    pub(crate) head: Print,
    /// Everything before it has been handed over.
    pub(crate) offset: u64,
    /// The last bytes before `offset`, at most [`MARKER_BYTES`].
    pub(crate) marker: Print,
}

/// Reads `buffer.len()` bytes at `offset`, fewer only at the end of the file.
pub(crate) fn read_at(file: impl AsFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read_once(&file, &mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Reads at most `buffer.len()` bytes at `offset` in one call: at the end of the file fewer, or none.
pub(crate) fn read_once(file: impl AsFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match rustix::io::pread(&file, &mut *buffer, offset) {
            Err(rustix::io::Errno::INTR) => {}
            read => return Ok(read?),
        }
    }
}

/// The print of the `bytes` that end at `end`; shorter than asked where the file is.
pub(crate) fn print_before(file: impl AsFd, end: u64, bytes: usize) -> io::Result<Print> {
    let bytes = bytes.min(usize::try_from(end).unwrap_or(usize::MAX));
    let mut buffer = vec![0; bytes];
    let read = read_at(file, &mut buffer, end - bytes as u64)?;
    Ok(Print::of(&buffer[..read]))
}

impl Trace {
    /// Takes the trace of an open file as if everything before `offset` had been read.
    pub(crate) fn take(file: impl AsFd + Copy, identity: Identity, offset: u64, head: usize) -> io::Result<Self> {
        let head = {
            let mut buffer = vec![0; head];
            let read = read_at(file, &mut buffer, 0)?;
            Print::of(&buffer[..read])
        };
        Ok(Self { identity, head, offset, marker: print_before(file, offset, MARKER_BYTES)? })
    }

    /// Whether an uncompressed file holds what this trace has seen: the same head, and the same bytes before the offset.
    pub(crate) fn fits(&self, file: impl AsFd + Copy, size: u64) -> io::Result<bool> {
        if size < self.offset || !self.head_fits(file)? {
            return Ok(false);
        }
        Ok(self.offset == 0 || print_before(file, self.offset, self.marker.bytes as usize)? == self.marker)
    }

    /// Whether it is known by more than a beginning that many files have.
    pub(crate) fn tells(&self) -> bool {
        self.offset > 0 || (self.head.bytes as usize >= START_BYTES && !self.is_blank())
    }

    /// Whether nothing of the content was handed over, or is known: all holes that a truncation leaves begin alike.
    pub(crate) fn is_blank(&self) -> bool {
        self.offset == 0 && (self.head.bytes == 0 || self.head == Print::of(&vec![0; self.head.bytes as usize]))
    }

    /// Whether the first bytes agree. A trace of an empty file fits nothing, as every file begins with nothing.
    pub(crate) fn head_fits(&self, file: impl AsFd) -> io::Result<bool> {
        let length = self.head.bytes as usize;
        Ok(length > 0 && print_before(file, length as u64, length)? == self.head)
    }
}

/// How many first bytes of two open files are compared.
pub(crate) const HEAD_BYTES: u64 = 1024;

/// Whether two files have the same head, and the same bytes before `end`.
pub(crate) fn alike(one: &File, other: &File, end: u64) -> io::Result<bool> {
    let before = |file: &File, end: u64, bytes: usize| print_before(file.as_fd(), end, bytes);
    let head = end.min(HEAD_BYTES);
    let whole_head = usize::try_from(head).unwrap_or(usize::MAX);
    Ok(head > 0
        && before(one, head, whole_head)? == before(other, head, whole_head)?
        && before(one, end, MARKER_BYTES)? == before(other, end, MARKER_BYTES)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn one_changed_byte_or_one_more_zero_changes_the_digest() {
        let line = b"2026-11-21T12:00:00Z GET /index.html 200\n".repeat(6);
        for place in 0..line.len() {
            let mut other = line.clone();
            other[place] ^= 1;
            assert_ne!(digest(&line), digest(&other), "byte {place}");
        }
        assert_ne!(digest(b"a"), digest(b"a\0"));
        assert_ne!(digest(b""), digest(b"\0"));
    }

    #[test]
    fn a_reused_inode_with_another_birth_is_another_file() {
        let old = Identity { device: 1, inode: 7, born: 10 };
        assert!(!old.same(Identity { born: 11, ..old }));
        assert!(old.same(Identity { born: 0, ..old }), "an unknown birth cannot tell files apart");
        assert!(!old.same(Identity { device: 2, ..old }));
    }

    #[test]
    fn a_trace_fits_a_grown_copy_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            File::create(&path).unwrap().write_all(bytes).unwrap();
            File::open(path).unwrap()
        };
        let live = write("live", b"one\ntwo\n");
        let trace = Trace::take(&live, Facts::of(&live).unwrap().identity, 4, 1024).unwrap();
        assert!(trace.fits(&write("copy", b"one\ntwo\nthree\n"), 14).unwrap());
        assert!(!trace.fits(&write("other", b"uno\ntwo\nthree\n"), 14).unwrap());
        assert!(!trace.fits(&write("short", b"one"), 3).unwrap());
        let empty = Trace::default();
        assert!(!empty.fits(&live, 8).unwrap(), "a trace of nothing fits nothing");
    }
}
