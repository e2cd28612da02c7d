//! Where followed lines go.

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::lines::LineEnd;

/// A followed path, as a sink may show it.
#[derive(Debug)]
pub struct Source {
    /// Position among all followed paths; never reused.
    pub index: usize,
    /// As the user wrote it, or as the pattern found it.
    pub path: PathBuf,
    /// What messages call it: the path, or `standard input`.
    pub name: OsString,
}

/// Bytes of one source, offered to a [`Sink`].
///
/// Usually whole lines. A line that is longer than the window comes in several pieces, and nothing else comes between.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// The path it was read from.
    pub source: &'a Source,
    /// Where the bytes begin in their file; in the decompressed content for a compressed one.
    pub offset: u64,
    /// The bytes, line ends included.
    pub bytes: &'a [u8],
    /// Whether they begin a line.
    pub begins: bool,
    /// Whether they end a line. The last line of a file may end without its line end.
    pub ends: bool,
    /// What ends a line in this file.
    pub line_end: LineEnd,
    /// The length of the one line that these bytes are a part of, where that is known and longer than the window.
    pub line_bytes: Option<u64>,
    /// The last line lacks its line end and will never get it: write one, so that it cannot glue to the next.
    pub add_end: bool,
    /// Nothing may be held back for lines to come: the file is done, the process ends, or the hold time is over.
    pub last: bool,
}

/// What a [`Sink`] did with a [`Piece`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How many of the bytes need not be offered again. A sink that leaves some must leave whole lines, unless it moves
    /// bytes unchanged ([`Sink::moves`]).
    pub bytes: usize,
    /// Why not all of them.
    pub then: Then,
}

/// What follows after a [`Taken`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Offer on.
    More,
    /// The output takes nothing now: wait for [`Sink::ready`].
    Blocked,
    /// The rest may belong together with lines to come: offer again when there are more, or after [`Sink::hold`].
    Held,
    /// Offer again at that time.
    At(Instant),
}

/// Takes followed bytes and hands them on. Never blocks: the loop must go on watching while the output is stuck.
#[expect(async_fn_in_trait, reason = "the loop is single-threaded and generic over its sink")]
pub trait Sink {
    /// Takes some or all of a piece.
    ///
    /// # Errors
    /// When the output failed for good; `BrokenPipe` means that its reader left.
    fn take(&mut self, piece: Piece<'_>) -> io::Result<Taken>;

    /// Whether bytes go out exactly as they are, so that they may be moved by [`Self::splice`] or cut anywhere.
    fn moves(&self) -> bool {
        false
    }

    /// Moves bytes from a file to the output inside the kernel. `WouldBlock` where the output takes nothing now; fewer
    /// bytes than asked are usual, 0 means that the file is shorter or another by now. `holds` tells that: it is to be asked
    /// once the bytes are taken and before the first of them goes out.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn splice(
        &mut self,
        source: &Source,
        file: BorrowedFd<'_>,
        (offset, bytes): (u64, u64),
        holds: &dyn Fn() -> io::Result<bool>,
    ) -> io::Result<usize> {
        let _ = (source, file, offset, bytes, holds);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Pushes out what was taken. True when the output has accepted everything: offsets may be remembered.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn flush(&mut self) -> io::Result<bool>;

    /// Returns when a blocked output may take something again.
    ///
    /// # Errors
    /// As [`Self::take`].
    async fn ready(&self) -> io::Result<()>;

    /// Returns when the output's reader is gone; never where that cannot be seen.
    async fn gone(&self);

    /// How long whole lines may be [`Then::Held`] before they are offered for the last time.
    fn hold(&self) -> Duration {
        Duration::MAX
    }
}
