//! A byte stream in pieces of any size becomes whole lines for the [`Adapter`], in fixed memory.
//!
//! The unfinished line at the end of a piece waits for its rest; everything before it goes out, so that no whole line is
//! ever held back. Where lines change their length, what does not fill a block stays for the next one as long as more input
//! is there, and goes out with [`Stream::settle`]: a pipe takes 64 KiB at once, and a few bytes more wake its reader twice.
//! A line longer than [`HEAD`] is decided by its first [`HEAD`] bytes and then streamed through.

use std::io;

use memchr::{memchr, memrchr};

use crate::adapt::{Adapter, PADDING};
use crate::output::Output;

/// Bytes of a line in which its stamp must lie.
pub(crate) const HEAD: usize = BLOCK;
/// Bytes that are read and written at once: as much as a pipe holds by default.
const BLOCK: usize = 64 * 1024;

/// What becomes of the rest of a line whose beginning has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    GoesOut,
    IsLeftOut,
}

/// The buffer between a source of bytes and an adapter.
#[derive(Debug)]
pub struct Stream {
    buffer: Vec<u8>,
    /// Bytes of an unfinished line at the beginning of the buffer.
    held: usize,
    long: Option<Rest>,
    output: Output,
}

impl Default for Stream {
    fn default() -> Self {
        Stream { buffer: vec![0; BLOCK + PADDING], held: 0, long: None, output: Output::default() }
    }
}

impl Stream {
    /// Where the next bytes are to be read to: the rest of a block that the unfinished line begins.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.held..BLOCK]
    }

    /// Bytes of a line whose newline has not come yet.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether [`Stream::settle`] has something to write.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.output.diverted()
    }

    /// Writes the whole lines that wait for a block to be full. To be called before input is waited for.
    ///
    /// # Errors
    /// As [`Stream::take`].
    pub fn settle(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let bytes = self.output.bytes();
        let result = if bytes.is_empty() { Ok(()) } else { write(bytes) };
        self.output.clear();
        result
    }

    /// Takes `count` bytes that were read into [`Stream::space`]; all whole lines go to `write`, or wait for
    /// [`Stream::settle`].
    ///
    /// # Errors
    /// What `write` returned; the lines given to it are then gone.
    pub fn take(
        &mut self,
        adapter: &mut Adapter,
        count: usize,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut end = self.held + count;
        if self.long.is_some() || adapter.keeps_lengths() {
            self.settle(&mut write)?;
        }
        if let Some(rest) = self.long {
            // Nothing is held while a long line passes.
            let newline = memchr(b'\n', &self.buffer[..end]);
            let passed = newline.map_or(end, |at| at + 1);
            if rest == Rest::GoesOut {
                write(&self.buffer[..passed])?;
            }
            if newline.is_none() {
                return Ok(());
            }
            self.long = None;
            self.buffer.copy_within(passed..end, 0);
            end -= passed;
        }
        let searched = self.held.min(end);
        let whole = memrchr(b'\n', &self.buffer[searched..end]).map_or(0, |at| searched + at + 1);
        if whole > 0 {
            adapter.lines(&mut self.buffer, whole, &mut self.output);
            self.flush(whole, &mut write)?;
            self.buffer.copy_within(whole..end, 0);
        }
        self.held = end - whole;
        if self.held >= HEAD {
            let goes_out = adapter.head(&mut self.buffer, self.held, &mut self.output);
            self.flush(self.held, &mut write)?;
            self.long = Some(if goes_out { Rest::GoesOut } else { Rest::IsLeftOut });
            self.held = 0;
        }
        Ok(())
    }

    /// Takes bytes from elsewhere, of any length.
    ///
    /// # Errors
    /// As [`Stream::take`].
    pub fn push(
        &mut self,
        adapter: &mut Adapter,
        mut bytes: &[u8],
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while !bytes.is_empty() && adapter.failed.is_none() {
            let space = self.space();
            let count = bytes.len().min(space.len());
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.take(adapter, count, &mut write)?;
        }
        self.settle(write)
    }

    /// The input is over: a last line without newline goes out, rewritten like the others.
    ///
    /// # Errors
    /// As [`Stream::take`].
    pub fn finish(&mut self, adapter: &mut Adapter, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        self.long = None;
        if held > 0 {
            adapter.lines(&mut self.buffer, held, &mut self.output);
            self.flush(held, &mut write)?;
        }
        self.settle(write)
    }

    fn flush(&mut self, end: usize, write: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if !self.output.diverted() {
            return write(&self.buffer[..end]);
        }
        if !self.output.ended {
            self.output.upto(&self.buffer, end);
        }
        let bytes = self.output.bytes();
        let blocks = bytes.len() - bytes.len() % BLOCK;
        let result = if blocks > 0 { write(&bytes[..blocks]) } else { Ok(()) };
        self.output.written(blocks);
        result
    }
}
