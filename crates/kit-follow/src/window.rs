//! A window of bytes over something that cannot be read twice: a pipe, or a compressed file.

use std::io::{self, Read};

use crate::lines::LineEnd;
use crate::output::WINDOW;

/// Bytes that were read and not yet handed over.
#[derive(Debug, Default)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    start: usize,
    /// Where the first byte of the window lies in the whole content.
    pub(crate) offset: u64,
    /// A line longer than the window is going out.
    pub(crate) in_line: bool,
    pub(crate) ended: bool,
}

/// What of a window can go out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ripe {
    pub(crate) bytes: usize,
    pub(crate) begins: bool,
    pub(crate) ends: bool,
}

impl Window {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads once if there is room. 0 is the end; an interrupted or empty read leaves the window as it was.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let old = self.buffer.len();
        if old >= WINDOW {
            return Ok(old);
        }
        self.buffer.resize(WINDOW, 0);
        let read = from.read(&mut self.buffer[old..]);
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        if matches!(read, Ok(0)) {
            self.ended = true;
        }
        read
    }

    /// Whole lines, or a part of a line that is longer than the window.
    pub(crate) fn ripe(&self, line_end: LineEnd) -> Option<Ripe> {
        let bytes = self.bytes();
        if self.in_line {
            let end = line_end.first(bytes, self.offset);
            let rest = (!bytes.is_empty()).then_some(bytes.len());
            let ends = end.is_some();
            return end.or(rest).map(|bytes| Ripe { bytes, begins: false, ends });
        }
        if let Some(end) = line_end.last(bytes, self.offset) {
            return Some(Ripe { bytes: end, begins: true, ends: true });
        }
        (bytes.len() >= WINDOW).then_some(Ripe { bytes: bytes.len(), begins: true, ends: false })
    }

    /// What is left where nothing more will come.
    pub(crate) fn rest(&self) -> Option<Ripe> {
        let bytes = self.bytes().len();
        (bytes > 0 || self.in_line).then_some(Ripe { bytes, begins: !self.in_line, ends: true })
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
    }

    /// Puts bytes in as if they had been read.
    pub(crate) fn preload(&mut self, bytes: &[u8], offset: u64) {
        self.buffer = bytes.to_vec();
        self.start = 0;
        self.offset = offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_longer_than_the_window_comes_in_pieces_that_say_so() {
        let mut content = vec![b'x'; WINDOW + 10];
        content.extend_from_slice(b"\nnext\npart");
        let mut from = content.as_slice();
        let mut window = Window::default();
        let mut pieces = Vec::new();
        while window.fill(&mut from).unwrap() > 0 || !window.bytes().is_empty() {
            let Some(ripe) = window.ripe(LineEnd::Newline) else { break };
            pieces.push((ripe.bytes, ripe.begins, ripe.ends));
            window.consume(ripe.bytes);
            window.in_line = !ripe.ends;
        }
        assert_eq!(pieces, [(WINDOW, true, false), (11, false, true), (5, true, true)]);
        assert_eq!(window.rest(), Some(Ripe { bytes: 4, begins: true, ends: true }));
        assert_eq!(window.offset, content.len() as u64 - 4);
    }
}
