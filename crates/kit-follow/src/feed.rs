//! Standard input and FIFOs: bytes that come once, from something that has no size and no generations.
//!
//! Promised: every byte once and in order, the output's stuckness held back to the writer. Standard input ends with its
//! writer, as GNU tail does it; a FIFO waits for the next writer. An unfinished last line waits as in a file.
//!
//! Not promised: bytes that were read and not handed over when the process is killed. So no state file goes with them.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::Start;
use crate::lines::LineEnd;
use crate::output::WINDOW;

/// Where the bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Feed {
    /// Standard input that is no regular file.
    Input,
    /// A FIFO by its name.
    Fifo(PathBuf),
}

/// The name that stands for standard input, as in GNU tail. A file of that name is `./-`.
const INPUT: &str = "-";
/// Standard input that is a regular file, followed as one.
const INPUT_FILE: &str = "/proc/self/fd/0";

impl Feed {
    /// What a FILE argument names, where that is no file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        if path.as_os_str() == INPUT {
            return (input_kind() != Some(FileType::RegularFile)).then_some(Self::Input);
        }
        let found = rustix::fs::stat(path).ok()?;
        (FileType::from_raw_mode(found.st_mode) == FileType::Fifo).then(|| Self::Fifo(path.to_owned()))
    }

    /// The path under which a regular file at standard input is followed.
    pub(crate) fn input_file(path: &Path) -> Option<PathBuf> {
        let is_file = path.as_os_str() == INPUT && input_kind() == Some(FileType::RegularFile);
        is_file.then(|| PathBuf::from(INPUT_FILE))
    }

    /// As headers and labels show it.
    pub(crate) fn shown(&self) -> PathBuf {
        match self {
            Self::Input => PathBuf::from("standard input"),
            Self::Fifo(path) => path.clone(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Input => PathBuf::from(INPUT),
            Self::Fifo(path) => path.clone(),
        }
    }

    /// Opens it without waiting for a writer.
    pub(crate) fn open(&self) -> io::Result<Mouth> {
        let descriptor = match self {
            Self::Input => io::stdin().as_fd().try_clone_to_owned()?,
            Self::Fifo(path) => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                rustix::fs::open(path, flags, Mode::empty())?
            }
        };
        Mouth::new(descriptor)
    }
}

fn input_kind() -> Option<FileType> {
    rustix::fs::fstat(io::stdin()).ok().map(|found| FileType::from_raw_mode(found.st_mode))
}

/// An open feed that is only read when something is there: the flags of an inherited descriptor belong to others too.
#[derive(Debug)]
pub(crate) enum Mouth {
    Waited(AsyncFd<OwnedFd>),
    /// Never makes one wait, such as /dev/null.
    Plain(File),
}

impl Mouth {
    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let spare = descriptor.try_clone()?;
        match crate::output::registered(descriptor, Interest::READABLE) {
            Ok(waited) => Ok(Self::Waited(waited)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Self::Plain(spare.into())),
            Err(error) => Err(error),
        }
    }

    /// Returns when a read gives something, if only the end.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        let Self::Waited(waited) = self else { return Ok(()) };
        loop {
            let mut guard = waited.readable().await?;
            if is_readable(waited.get_ref())? {
                guard.retain_ready();
                return Ok(());
            }
            guard.clear_ready();
        }
    }

    /// Bytes that wait inside.
    pub(crate) fn waiting(&self) -> u64 {
        match self {
            Self::Waited(waited) => rustix::io::ioctl_fionread(waited.get_ref()).unwrap_or(0),
            Self::Plain(_) => 0,
        }
    }
}

fn is_readable(descriptor: &OwnedFd) -> io::Result<bool> {
    let mut asked = [PollFd::new(descriptor, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut asked, Some(&now))? > 0)
}

/// `WouldBlock` where nothing is there, 0 where no writer is left.
impl Read for &Mouth {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Mouth::Plain(file) => (&*file).read(buffer),
            Mouth::Waited(waited) if !is_readable(waited.get_ref())? => Err(io::ErrorKind::WouldBlock.into()),
            Mouth::Waited(waited) => Ok(rustix::io::read(waited.get_ref(), buffer)?),
        }
    }
}

/// What is left out at the start, counted as GNU tail counts in a pipe: last lines and bytes are known at the end only.
#[derive(Debug)]
pub(crate) enum Lead {
    /// Nothing any more.
    Over,
    /// So many lines.
    Lines(u64),
    /// So many bytes.
    Bytes(u64),
    /// All but the last lines. Kept so far, and the length at which it is cut again.
    LastLines(u64, Vec<u8>, usize),
    /// All but the last bytes.
    LastBytes(u64, Vec<u8>),
}

impl Lead {
    pub(crate) fn new(start: Start) -> Self {
        match start {
            // Whatever comes through a pipe comes after the start.
            Start::Beginning | Start::End | Start::FromLine(0 | 1) | Start::FromByte(0 | 1) => Self::Over,
            Start::FromLine(from) => Self::Lines(from - 1),
            Start::FromByte(from) => Self::Bytes(from - 1),
            Start::LastLines(count) => Self::LastLines(count, Vec::new(), WINDOW),
            Start::LastBytes(count) => Self::LastBytes(count, Vec::new()),
        }
    }

    /// Whether everything is held back until the writer is gone.
    pub(crate) fn waits_for_end(&self) -> bool {
        matches!(self, Self::LastLines(..) | Self::LastBytes(..))
    }

    /// Takes bytes from the front that are not printed, or not yet. Returns how many.
    pub(crate) fn take(&mut self, bytes: &[u8], line_end: LineEnd) -> usize {
        match self {
            Self::Over => 0,
            Self::Bytes(left) => {
                let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= skipped as u64;
                if *left == 0 {
                    *self = Self::Over;
                }
                skipped
            }
            Self::Lines(left) => {
                let mut at = 0;
                while *left > 0 {
                    let Some(end) = line_end.first(&bytes[at..], at as u64) else { return bytes.len() };
                    (at, *left) = (at + end, *left - 1);
                }
                *self = Self::Over;
                at
            }
            Self::LastLines(count, kept, cut_at) => {
                kept.extend_from_slice(bytes);
                if kept.len() >= *cut_at {
                    kept.drain(..last_lines(kept, *count, line_end));
                    *cut_at = 2 * kept.len() + WINDOW;
                }
                bytes.len()
            }
            Self::LastBytes(count, kept) => {
                kept.extend_from_slice(bytes);
                let most = usize::try_from(*count).unwrap_or(usize::MAX);
                kept.drain(..kept.len().saturating_sub(most));
                bytes.len()
            }
        }
    }

    /// The writer is gone: what was kept goes out.
    pub(crate) fn end(&mut self, line_end: LineEnd) -> Vec<u8> {
        match std::mem::replace(self, Self::Over) {
            Self::LastLines(count, mut kept, _) => {
                kept.drain(..last_lines(&kept, count, line_end));
                kept
            }
            Self::LastBytes(_, kept) => kept,
            Self::Over | Self::Lines(_) | Self::Bytes(_) => Vec::new(),
        }
    }
}

/// Where the last `count` lines begin. A last line without its end counts.
fn last_lines(bytes: &[u8], count: u64, line_end: LineEnd) -> usize {
    let width = line_end.bytes().len();
    let mut at = if bytes.ends_with(line_end.bytes()) { bytes.len() - width } else { bytes.len() };
    if count == 0 {
        return bytes.len();
    }
    for _ in 0..count {
        match line_end.last(&bytes[..at], 0) {
            Some(end) => at = end - width,
            None => return 0,
        }
    }
    at + width
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: &str, content: &str, expected: &str) {
        for size in [1, 2, 3, 1000] {
            let mut lead = Lead::new(start.parse().unwrap());
            let mut printed = Vec::new();
            for bytes in content.as_bytes().chunks(size) {
                let gone = lead.take(bytes, LineEnd::Newline);
                printed.extend_from_slice(&bytes[gone..]);
            }
            printed.extend(lead.end(LineEnd::Newline));
            assert_eq!(String::from_utf8(printed).unwrap(), expected, "{start} of {content:?} in pieces of {size}");
        }
    }

    #[test]
    fn t11_every_count_starts_in_a_pipe_where_gnu_tail_starts() {
        check("beginning", "a\nb\n", "a\nb\n");
        check("end", "a\nb\n", "a\nb\n");
        check("lines=+2", "a\nb\nc", "b\nc");
        check("lines=+9", "a\nb\n", "");
        check("bytes=+3", "abcdef", "cdef");
        check("bytes=+9", "abc", "");
        check("lines=-1", "a\nb", "b");
        check("lines=-2", "a\n\nb\n", "\nb\n");
        check("lines=-9", "a\nb\n", "a\nb\n");
        check("lines=-0", "a\nb\n", "");
        check("bytes=-3", "foo\n", "oo\n");
        check("bytes=-0", "foo\n", "");
    }

    #[test]
    fn the_last_lines_of_a_long_pipe_take_the_memory_of_these_lines() {
        let mut lead = Lead::new(Start::LastLines(10));
        for number in 0..100_000 {
            lead.take(format!("line {number}\n").as_bytes(), LineEnd::Newline);
            let Lead::LastLines(_, kept, _) = &lead else { panic!("still the start") };
            assert!(kept.len() <= 2 * WINDOW, "{} bytes", kept.len());
        }
        let expected: String = (99_990..100_000).map(|number| format!("line {number}\n")).collect();
        assert_eq!(String::from_utf8(lead.end(LineEnd::Newline)).unwrap(), expected);
    }
}
