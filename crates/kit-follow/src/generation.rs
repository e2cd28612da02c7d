//! One file that is or was the log: what of it has been handed over, and what can be next.

mod look;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use tokio::time::Instant;

use crate::candidate::Candidate;
use crate::gz::Gz;
use crate::identity::{Facts, Identity, MARKER_BYTES, Print, Trace, alike, read_at};
use crate::output::WINDOW;
use crate::reads::Reads;
use crate::state::START_BYTES;
use crate::window::Window;

pub(crate) use look::{Bounds, Look};

/// Bytes that the loop's one buffer has: a window, and before it the marker that is compared with each read.
pub(crate) const BUFFER: usize = WINDOW + MARKER_BYTES;

/// How a generation came to be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is, or was, the file under the name.
    Log,
    /// A copy that copytruncate made: its end goes on in the file that was truncated.
    Copy,
}

/// Content that cannot be read twice.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) decoder: Gz,
    pub(crate) window: Window,
    /// Size of the compressed file when its decoder was made; a larger one means that it is still being written.
    pub(crate) compressed: u64,
    /// Decompression failed at the window's end.
    pub(crate) broken: bool,
}

/// One file and how far it has been handed over.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    /// Its place among the generations of all runs, for the state file.
    pub(crate) order: u64,
    pub(crate) file: File,
    pub(crate) identity: Identity,
    pub(crate) kind: Kind,
    pub(crate) stream: Option<Box<Stream>>,
    /// Everything before has been handed over.
    pub(crate) offset: u64,
    /// Where the content begins: behind the hole that a truncation may have left.
    begin: u64,
    /// Bytes from `offset` to here are promised to the sink, which takes nothing else before.
    pub(crate) batch_end: u64,
    /// Where the current batch began.
    pub(crate) batch_start: u64,
    /// The first bytes of the next batch go on with a line of the generation before.
    pub(crate) continues: bool,
    /// The current batch is a last line that will never get its end.
    pub(crate) add_end: bool,
    /// A line end is owed after the current batch: a sink that moves bytes gets it as a piece of its own.
    pub(crate) owes_end: bool,
    marker: Box<[u8; MARKER_BYTES]>,
    marker_bytes: usize,
    /// The marker holds the bytes before this offset.
    marker_at: u64,
    head: Print,
    /// When the first byte of the head was read, nanoseconds since 1970.
    head_since: u64,
    /// The bytes of the head, for copies that are shorter than it.
    first: Vec<u8>,
    /// The largest size that was seen since the last truncation.
    pub(crate) seen: u64,
    /// No line ends between `offset` and here.
    searched: u64,
    /// When bytes were last found.
    pub(crate) grew: Instant,
    /// When it was last found to hold what it is expected to.
    checked: Instant,
    /// It had the log's name when it was opened.
    pub(crate) led: bool,
    /// The number of the generation that held its content until that was truncated.
    pub(crate) copy_of: Option<u64>,
    /// When another file took its name.
    pub(crate) replaced: Option<Instant>,
    pub(crate) watch: Option<i32>,
    pub(crate) slot: Option<usize>,
    /// What the state file holds of it.
    pub(crate) saved: Option<u64>,
    /// What an earlier run had seen of it, where it was truncated before it could be looked at.
    overtaken: Option<Trace>,
    /// When its content began, or, of content that is only in a compressed file, ended: nanoseconds since 1970.
    pub(crate) time: u64,
    /// The name that the last look found it under, beside the log.
    pub(crate) name: Option<OsString>,
    /// When it was renamed away from the log, as a number of [`crate::names::Names`].
    pub(crate) serial: Option<u64>,
    /// How far this round had been read, and when.
    pub(crate) reads: Reads,
    /// How often its content has started over.
    pub(crate) round: u32,
    truncated: bool,
    bulk: bool,
    /// An event said that it was written; the head is compared where nothing is new.
    pub(crate) touched: bool,
    /// Whole lines are there that the sink held back, or a partial line.
    pub(crate) waiting: bool,
}

/// A batch of which nothing was moved for so long is compared with the file again.
const STALE: Duration = Duration::from_millis(10);

/// Up to this offset the first bytes are compared too.
const YOUNG: u64 = 4096;

/// Opens a file for following: never waits, never becomes a controlling terminal.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: OwnedFd = rustix::fs::open(path, flags, Mode::empty())?;
    Ok(file.into())
}

impl Generation {
    /// Follows an open file from `offset`.
    pub(crate) fn new(
        file: File,
        facts: &Facts,
        number: u64,
        offset: u64,
        head: usize,
        kind: Kind,
    ) -> io::Result<Self> {
        let mut generation = Self {
            number,
            order: 0,
            file,
            identity: facts.identity,
            kind,
            stream: None,
            offset,
            begin: 0,
            batch_end: offset,
            batch_start: offset,
            continues: false,
            add_end: false,
            owes_end: false,
            marker: Box::new([0; MARKER_BYTES]),
            marker_bytes: 0,
            marker_at: offset,
            head: Print::default(),
            head_since: 0,
            first: Vec::new(),
            seen: facts.size,
            searched: offset,
            grew: Instant::now(),
            checked: Instant::now(),
            led: false,
            copy_of: None,
            replaced: None,
            watch: None,
            slot: None,
            saved: None,
            overtaken: None,
            time: facts.identity.born,
            name: None,
            serial: None,
            reads: Reads::default(),
            round: 0,
            truncated: false,
            bulk: false,
            touched: false,
            waiting: false,
        };
        generation.mark(offset)?;
        generation.read_head(head)?;
        Ok(generation)
    }

    /// Follows a compressed file from an offset in its content.
    pub(crate) fn decompress(mut self) -> io::Result<Self> {
        let mut decoder = Gz::open(&self.file)?;
        let _ = decoder.skip(self.offset)?;
        let mut window = Window::default();
        window.preload(&[], self.offset);
        let compressed = Facts::of(&self.file)?.size;
        self.stream = Some(Box::new(Stream { decoder, window, compressed, broken: false }));
        Ok(self)
    }

    fn read_head(&mut self, head: usize) -> io::Result<()> {
        let mut buffer = vec![0; head];
        let read = read_at(&self.file, &mut buffer, 0)?;
        buffer.truncate(read);
        if self.head.bytes == 0 {
            self.head_since = now();
        }
        self.head = Print::of(&buffer);
        self.first = buffer;
        Ok(())
    }

    /// The first bytes, at most the head's length, as they were when the head was taken.
    pub(crate) fn first(&self) -> &[u8] {
        &self.first
    }

    /// What it begins with, for the state file; nothing of compressed content.
    pub(crate) fn start(&self) -> Print {
        let first = if self.stream.is_some() { &[] } else { self.first() };
        Print::of(&first[..first.len().min(START_BYTES)])
    }

    /// The last write, nanoseconds since 1970.
    pub(crate) fn modified(&self) -> u64 {
        Facts::of(&self.file).map_or(0, |facts| facts.modified)
    }

    /// Remembers the bytes before `offset`.
    fn mark(&mut self, offset: u64) -> io::Result<()> {
        let marker = self.read_marker(offset)?;
        self.set_marker(offset, marker);
        Ok(())
    }

    /// The bytes before `offset`, and how many these are.
    fn read_marker(&self, offset: u64) -> io::Result<([u8; MARKER_BYTES], usize)> {
        let mut marker = [0; MARKER_BYTES];
        let bytes = usize::try_from(offset).unwrap_or(MARKER_BYTES).min(MARKER_BYTES);
        let read = read_at(&self.file, &mut marker[..bytes], offset - bytes as u64)?;
        Ok((marker, read))
    }

    fn set_marker(&mut self, offset: u64, (marker, bytes): ([u8; MARKER_BYTES], usize)) {
        (*self.marker, self.marker_bytes, self.marker_at) = (marker, bytes, offset);
    }

    /// Goes on where `trace` ends. The file may have been truncated since that was compared with its content.
    pub(crate) fn goes_on(&mut self, trace: &Trace) {
        let whole = self.trace().marker == trace.marker;
        self.overtaken = (!whole && self.stream.is_none()).then_some(*trace);
    }

    /// What tells this file and place again.
    pub(crate) fn trace(&self) -> Trace {
        if let Some(trace) = self.overtaken {
            return trace;
        }
        let marker = Print::of(&self.marker[..self.marker_bytes]);
        Trace { identity: self.identity, head: self.head, offset: self.marker_at, marker }
    }

    /// Whether its content may have been truncated and written anew beyond the offset with the same bytes before that.
    pub(crate) fn is_young(&self) -> bool {
        self.offset - self.begin <= YOUNG
    }

    /// Whether nothing was read of this round, so that what is unknown may be what the file held before. What is compressed
    /// can as well be a file that came later, unless this one is known to have been truncated.
    pub(crate) fn may_have_held(&self, compressed: bool) -> bool {
        self.kind == Kind::Log && self.stream.is_none() && self.offset == self.begin && (!compressed || self.round > 0)
    }

    /// Whether it may have held a file's content when that was made, so that no look would know: nothing of it was read, and
    /// what is known of its beginning is little, or was learnt later, or is what that file begins with. One without a name of its
    /// own was written since: what came after it was made after its last write.
    pub(crate) fn may_have_been(&self, other: &Candidate) -> io::Result<bool> {
        let trace = self.trace();
        let unknown = |trace: &Trace| !trace.tells() || self.head_since >= other.facts.identity.born;
        let since = self.name.is_some() || self.modified() > other.facts.identity.born;
        Ok(self.led && since && self.may_have_held(false) && (unknown(&trace) || trace.head_fits(&other.file)?))
    }

    /// Whether it had the log's name before a file was made beside it, and may have been that: if it comes after what that
    /// holds, it was truncated.
    pub(crate) fn was_there_before(&self, other: &Candidate) -> io::Result<bool> {
        Ok((1..other.facts.identity.born).contains(&self.identity.born) && self.may_have_been(other)?)
    }

    /// Whether a truncation was noticed, so that it goes on with a line that ends a copy; a copy of such a file does.
    pub(crate) fn was_truncated(&self) -> bool {
        self.kind == Kind::Copy || self.round > 0 || self.overtaken.is_some()
    }

    /// As [`Reads::note`].
    pub(crate) fn note_read(&mut self, serial: u64) {
        if self.marker_at == self.offset && self.stream.is_none() {
            let mut reads = self.reads;
            reads.note(serial, self.offset, || self.trace());
            self.reads = reads;
        }
    }

    /// A copy of a file that had been truncated may begin with the same hole as that.
    pub(crate) fn may_begin_with_hole(&mut self) {
        self.truncated = true;
    }

    /// Whether a batch is being handed over.
    pub(crate) fn in_batch(&self) -> bool {
        self.offset < self.batch_end
    }

    /// Bytes that are there and were not handed over; 0 for compressed ones, whose length nobody knows.
    pub(crate) fn unread(&self) -> u64 {
        match &self.stream {
            Some(stream) => stream.window.bytes().len() as u64,
            None => Facts::of(&self.file).map_or(0, |facts| facts.size).saturating_sub(self.offset),
        }
    }

    /// The size now, remembered as seen.
    pub(crate) fn size(&mut self) -> io::Result<u64> {
        let size = Facts::of(&self.file)?.size;
        self.saw(size);
        Ok(size)
    }

    /// The size counts from here on: what had been seen before is found elsewhere.
    pub(crate) fn forget_size(&mut self) -> io::Result<()> {
        self.seen = Facts::of(&self.file)?.size;
        Ok(())
    }

    fn saw(&mut self, size: u64) {
        if size > self.seen {
            self.seen = size;
            self.grew = Instant::now();
        }
    }

    fn fits_marker(&self) -> io::Result<bool> {
        let mut found = [0; MARKER_BYTES];
        let found = &mut found[..self.marker_bytes];
        let read = read_at(&self.file, found, self.marker_at - self.marker_bytes as u64)?;
        Ok(read == self.marker_bytes && found[..] == self.marker[..self.marker_bytes])
    }

    /// Whether the content is not what was handed over: for looks without an event.
    pub(crate) fn is_other_content(&mut self) -> io::Result<bool> {
        let size = Facts::of(&self.file)?.size;
        let other = self.holds_other(size)?;
        // The size of other content is nothing that was lost.
        if !other {
            self.saw(size);
        }
        Ok(other)
    }

    fn holds_other(&self, size: u64) -> io::Result<bool> {
        let begins = self.offset > 0 || self.head.bytes == 0 || self.trace().head_fits(&self.file)?;
        Ok(self.overtaken.is_some() || !begins || size < self.marker_at || !self.fits_marker()?)
    }

    /// The round that the file's content is of: the next one where a truncation has not been noticed yet.
    pub(crate) fn round_now(&self) -> io::Result<u32> {
        Ok(self.round + u32::from(self.holds_other(Facts::of(&self.file)?.size)?))
    }

    /// Before bytes of a batch are moved: whether it stood still since the last time, and the content is another by now.
    /// `waited`: the output took nothing more before.
    pub(crate) fn is_stale(&mut self, waited: bool) -> io::Result<bool> {
        let before = std::mem::replace(&mut self.checked, Instant::now());
        Ok((waited || self.checked - before >= STALE) && self.is_other_content()?)
    }

    /// After bytes of a batch were read: whether the file still holds that batch, so that these were its bytes.
    pub(crate) fn holds_batch(&self) -> io::Result<bool> {
        Ok(!self.holds_other(self.marker_at)?)
    }

    /// Bytes of a batch whose marker was taken in advance went out.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.offset += bytes;
    }

    /// Lines from the buffer went out: `gone` is what the buffer holds up to the new offset, marker included.
    pub(crate) fn advance_in(&mut self, gone: &[u8], bytes: usize) {
        self.offset += bytes as u64;
        let marker = gone.len().min(MARKER_BYTES);
        self.marker[..marker].copy_from_slice(&gone[gone.len() - marker..]);
        self.marker_bytes = marker;
        self.marker_at = self.offset;
        self.searched = self.offset;
    }

    /// The rest of the batch will be looked for anew.
    pub(crate) fn cancel_batch(&mut self) {
        self.batch_end = self.offset;
    }

    /// Starts over with the content that is there now.
    pub(crate) fn restart(&mut self, head: usize) -> io::Result<()> {
        self.offset = 0;
        self.begin = 0;
        self.batch_end = 0;
        self.owes_end = false;
        self.batch_start = 0;
        self.searched = 0;
        self.truncated = true;
        self.overtaken = None;
        self.round += 1;
        self.reads = Reads::default();
        self.bulk = false;
        self.touched = false;
        self.mark(0)?;
        self.head = Print::default();
        self.read_head(head)?;
        self.seen = Facts::of(&self.file)?.size;
        self.grew = Instant::now();
        Ok(())
    }

    /// As a look does before it reads from the beginning.
    pub(crate) fn pass_hole(&mut self) -> io::Result<()> {
        if self.truncated && self.offset == 0 { self.skip_hole().map(drop) } else { Ok(()) }
    }

    /// Passes over the hole that a writer left which kept its offset over a truncation. False where only a hole is.
    fn skip_hole(&mut self) -> io::Result<bool> {
        let data = match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(0)) {
            Ok(data) => data,
            // Nothing but a hole, or nothing at all.
            Err(rustix::io::Errno::NXIO) => return Ok(false),
            Err(_) => return Ok(true),
        };
        if data == 0 {
            return Ok(true);
        }
        // The kernel filled the rest of the hole's last block with zeros.
        let mut block = vec![0; 64 * 1024];
        let read = read_at(&self.file, &mut block, data)?;
        let zeros = block[..read].iter().take_while(|byte| **byte == 0).count();
        self.offset = data + zeros as u64;
        self.begin = self.offset;
        self.batch_end = self.offset;
        self.searched = self.offset;
        self.mark(self.offset)?;
        self.truncated = false;
        Ok(true)
    }

    /// Whether the two hold the same content as far as both go: the same head and the same bytes before the shorter end.
    pub(crate) fn shares_content(&self, other: &File, size: u64) -> io::Result<bool> {
        if self.stream.is_some() {
            return Ok(false);
        }
        // Read now: the head that was taken when the file was opened may be empty, and a copy in the making is short.
        alike(&self.file, other, size.min(Facts::of(&self.file)?.size))
    }
}

/// Nanoseconds since 1970, by the clock that files have their times of.
fn now() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether a path may be followed as a file.
pub(crate) fn is_regular(facts: &Facts) -> bool {
    facts.kind == FileType::RegularFile
}
