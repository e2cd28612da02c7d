//! What a file is to hold: bytes at hand, or another file, copied without holding it in memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Large enough that a copy is bound by the disk, small enough for a 3 MiB process.
const CHUNK: usize = 128 * 1024;

/// The kernel copies this much between two questions whether to stop.
const KERNEL_CHUNK: usize = 16 * 1024 * 1024;

/// What a file is to hold.
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// What `from` holds, read from its start; holes stay holes.
    Copy {
        /// A regular file open for reading.
        from: &'a File,
        /// Asked between chunks; `true` ends the copy with [`io::ErrorKind::Interrupted`] and leaves the target alone.
        stop: &'a dyn Fn() -> bool,
    },
}

impl fmt::Debug for Content<'_> {
    /// Never the bytes: they may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.debug_tuple("Bytes").field(&bytes.len()).finish(),
            Self::Copy { from, .. } => f.debug_tuple("Copy").field(from).finish(),
        }
    }
}

impl Content<'_> {
    /// Whether `file` holds exactly this.
    pub(crate) fn is_in(&self, file: &File) -> io::Result<bool> {
        match self {
            Self::Bytes(bytes) => Ok(file.metadata()?.len() == bytes.len() as u64 && holds(file, bytes)?),
            Self::Copy { from, stop } => same(from, file, stop),
        }
    }

    pub(crate) fn write_to(&self, file: &mut File) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => file.write_all(bytes),
            Self::Copy { from, stop } => copy(from, file, stop),
        }
    }
}

fn holds(file: &File, expected: &[u8]) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK.min(expected.len() + 1)];
    let mut offset = 0;
    loop {
        let read = file.read_at(&mut chunk, offset as u64)?;
        if read == 0 {
            return Ok(offset == expected.len());
        }
        if expected.get(offset..offset + read) != Some(&chunk[..read]) {
            return Ok(false);
        }
        offset += read;
    }
}

fn same(from: &File, file: &File, stop: &dyn Fn() -> bool) -> io::Result<bool> {
    if from.metadata()?.len() != file.metadata()?.len() {
        return Ok(false);
    }
    let mut chunk = vec![0; CHUNK];
    let mut other = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        stopped(stop)?;
        let read = from.read_at(&mut chunk, offset)?;
        if read == 0 {
            return Ok(file.read_at(&mut other[..1], offset)? == 0);
        }
        let there = file.read_exact_at(&mut other[..read], offset);
        match there {
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        if chunk[..read] != other[..read] {
            return Ok(false);
        }
        offset += read as u64;
    }
}

/// Copies data segment by data segment, then gives the file its length if it ends in a hole.
fn copy(from: &File, to: &mut File, stop: &dyn Fn() -> bool) -> io::Result<()> {
    let size = from.metadata()?.len();
    let mut offset = 0;
    // Files of proc and sysfs have made-up sizes, so they go to the plain loop below.
    while offset < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return to.set_len(size),
            Err(_) => break,
        };
        let Ok(end) = rustix::fs::seek(from, SeekFrom::Hole(start)) else { break };
        let copied = copy_segment(from, to, start, end - start, stop)?;
        offset = start + copied;
        if offset < end {
            break;
        }
    }
    copy_rest(from, to, offset, stop)
}

/// Copies up to `length` bytes at `start` to the same place; how many there were.
fn copy_segment(from: &File, to: &File, start: u64, length: u64, stop: &dyn Fn() -> bool) -> io::Result<u64> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < start + length {
        stopped(stop)?;
        let wanted = usize::try_from(start + length - read_at).unwrap_or(usize::MAX).min(KERNEL_CHUNK);
        match rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), wanted) {
            Ok(0) => break,
            Ok(_) => {}
            // Two file systems, or one that cannot: the caller reads and writes instead.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                return copy_by_hand(from, to, read_at, start + length, stop).map(|end| end - start);
            }
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(read_at - start)
}

/// Copies from `offset` to at most `end` to the same place; where the data ended.
fn copy_by_hand(from: &File, to: &File, offset: u64, end: u64, stop: &dyn Fn() -> bool) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut at = offset;
    while at < end {
        stopped(stop)?;
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK);
        let read = from.read_at(&mut chunk[..wanted], at)?;
        if read == 0 {
            break;
        }
        to.write_all_at(&chunk[..read], at)?;
        at += read as u64;
    }
    Ok(at)
}

/// Whatever follows the size that the file claimed: all of it for proc, what was appended meanwhile, mostly nothing.
fn copy_rest(from: &File, to: &mut File, offset: u64, stop: &dyn Fn() -> bool) -> io::Result<()> {
    let mut chunk = vec![0; 4096];
    let (mut from, mut at) = (from, offset);
    rustix::fs::seek(from, SeekFrom::Start(offset))?;
    loop {
        stopped(stop)?;
        let read = from.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all_at(&chunk[..read], at)?;
        at += read as u64;
        chunk.resize(CHUNK, 0);
    }
}

fn stopped(stop: &dyn Fn() -> bool) -> io::Result<()> {
    if stop() { Err(io::Error::new(io::ErrorKind::Interrupted, "stopped by a signal")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::os::unix::fs::MetadataExt;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn copied(from: &File) -> File {
        let mut to = tempfile::tempfile().unwrap();
        copy(from, &mut to, &|| false).unwrap();
        to
    }

    #[test]
    fn equality_needs_every_byte_and_the_length() {
        let check = |content: &[u8], held: &[u8], expected: bool| {
            let from = file(content);
            let content = [Content::Bytes(content), Content::Copy { from: &from, stop: &|| false }];
            for content in content {
                assert_eq!(content.is_in(&file(held)).unwrap(), expected, "{content:?}");
            }
        };
        check(b"", b"", true);
        check(b"abc", b"abc", true);
        check(b"abc", b"abd", false);
        check(b"abc", b"abcd", false);
        check(b"abc", b"ab", false);
        let long = vec![7; CHUNK * 2 + 5];
        check(&long, &long, true);
        let mut other = long.clone();
        other[CHUNK * 2 + 4] = 8;
        check(&long, &other, false);
    }

    #[test]
    fn a_sparse_file_keeps_its_holes_and_its_length() {
        let from = file(b"start");
        from.set_len(64 * 1024 * 1024).unwrap();
        from.write_all_at(b"middle", 32 * 1024 * 1024).unwrap();
        let to = copied(&from);
        assert!(same(&from, &to, &|| false).unwrap());
        assert_eq!(to.metadata().unwrap().len(), 64 * 1024 * 1024);
        assert!(to.metadata().unwrap().blocks() * 512 < 1024 * 1024, "the holes were written");
    }

    #[test]
    fn a_file_without_a_size_is_copied_to_its_end() {
        let to = copied(&File::open("/proc/self/status").unwrap());
        assert!(to.metadata().unwrap().len() > 100);
    }

    #[test]
    fn both_ways_of_copying_give_the_same_bytes() {
        let long: Vec<u8> = (0..CHUNK * 3 + 17).map(|i| (i * 31 % 251) as u8).collect();
        let from = file(&long);
        let by_hand = tempfile::tempfile().unwrap();
        assert_eq!(copy_by_hand(&from, &by_hand, 0, long.len() as u64, &|| false).unwrap(), long.len() as u64);
        assert!(Content::Bytes(&long).is_in(&by_hand).unwrap());
        assert!(Content::Bytes(&long).is_in(&copied(&from)).unwrap());
    }

    #[test]
    fn a_copy_can_be_stopped_between_chunks() {
        let from = file(&vec![1; CHUNK * 4]);
        let asked = Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > 2
        };
        let to = tempfile::tempfile().unwrap();
        let error = copy_by_hand(&from, &to, 0, CHUNK as u64 * 4, &stop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert_eq!(to.metadata().unwrap().len(), CHUNK as u64 * 2);
    }
}
