//! Where lines end: in memory, and in a file without reading all of it.

use std::io;
use std::os::fd::AsFd;

use crate::identity::read_at;

/// What ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineEnd {
    /// A newline byte.
    #[default]
    Newline,
    /// A NUL byte (`-z`).
    Nul,
    /// A newline in UTF-16, little endian, at an even offset.
    Utf16Le,
    /// A newline in UTF-16, big endian, at an even offset.
    Utf16Be,
}

impl LineEnd {
    /// The bytes of one line end.
    #[must_use]
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Newline => b"\n",
            Self::Nul => b"\0",
            Self::Utf16Le => b"\n\0",
            Self::Utf16Be => b"\0\n",
        }
    }

    /// One past the first line end of `bytes`, which begin at `offset` of their file.
    #[must_use]
    pub fn first(self, bytes: &[u8], offset: u64) -> Option<usize> {
        match self {
            Self::Newline => memchr::memchr(b'\n', bytes).map(|at| at + 1),
            Self::Nul => memchr::memchr(0, bytes).map(|at| at + 1),
            Self::Utf16Le | Self::Utf16Be => {
                let places = memchr::memmem::find_iter(bytes, self.bytes());
                // An overlapping match can hide an aligned one by one byte only, so each place is tried twice.
                places.flat_map(|at| [at, at + 1]).find(|at| self.is_at(bytes, *at, offset)).map(|at| at + 2)
            }
        }
    }

    /// One past the last line end of `bytes`, which begin at `offset` of their file.
    #[must_use]
    pub fn last(self, bytes: &[u8], offset: u64) -> Option<usize> {
        match self {
            Self::Newline => memchr::memrchr(b'\n', bytes).map(|at| at + 1),
            Self::Nul => memchr::memrchr(0, bytes).map(|at| at + 1),
            Self::Utf16Le | Self::Utf16Be => {
                let mut at = bytes.len().checked_sub(2)?;
                loop {
                    if self.is_at(bytes, at, offset) {
                        return Some(at + 2);
                    }
                    at = at.checked_sub(1)?;
                }
            }
        }
    }

    fn is_at(self, bytes: &[u8], at: usize, offset: u64) -> bool {
        (offset + at as u64).is_multiple_of(2) && bytes.get(at..at + 2) == Some(self.bytes())
    }
}

/// One past the last line end in `start..end` of a file, found by reading backwards from `end`.
pub(crate) fn last_end(
    file: impl AsFd,
    line_end: LineEnd,
    start: u64,
    end: u64,
    buffer: &mut [u8],
) -> io::Result<Option<u64>> {
    // Most lines are short: the first look is small, later ones are as large as the buffer.
    let mut step = buffer.len().min(4096) as u64;
    let mut high = end;
    while high > start {
        let low = high.saturating_sub(step).max(start);
        let wanted = usize::try_from(high - low).unwrap_or(buffer.len());
        let read = read_at(&file, &mut buffer[..wanted], low)?;
        if let Some(found) = line_end.last(&buffer[..read], low) {
            return Ok(Some(low + found as u64));
        }
        // Two bytes of overlap, so that a UTF-16 newline on the border is seen.
        high = if low == start { start } else { low + 1 };
        step = buffer.len() as u64;
    }
    Ok(None)
}

/// One past the first line end at or after `start`, or how far the file was searched.
pub(crate) fn first_end(
    file: impl AsFd,
    line_end: LineEnd,
    start: u64,
    buffer: &mut [u8],
) -> io::Result<Result<u64, u64>> {
    let mut low = start;
    loop {
        let read = read_at(&file, buffer, low)?;
        if let Some(found) = line_end.first(&buffer[..read], low) {
            return Ok(Ok(low + found as u64));
        }
        if read < buffer.len() {
            // An odd last byte may be the first half of a line end.
            return Ok(Err((low + read as u64).saturating_sub(1).max(start)));
        }
        low += read as u64 - 1;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> std::fs::File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn utf16_newlines_count_only_at_even_offsets() {
        let text: Vec<u8> = "ab\ncd\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(LineEnd::Utf16Le.first(&text, 0), Some(6));
        assert_eq!(LineEnd::Utf16Le.last(&text, 0), Some(12));
        // U+0A00 followed by U+000A holds the byte pair 0A 00 also at an odd offset.
        let tricky: Vec<u8> = "\u{0A61}\u{0A00}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(LineEnd::Utf16Le.first(&tricky, 0), Some(6));
        assert_eq!(LineEnd::Utf16Be.first(b"\0a\0\n\0b", 0), Some(4));
    }

    #[test]
    fn the_last_line_end_is_found_across_every_buffer_border() {
        for length in [0_usize, 1, 15, 16, 17, 63, 64, 65, 200] {
            let mut bytes = b"first\n".to_vec();
            bytes.extend(std::iter::repeat_n(b'x', length));
            let found = last_end(file(&bytes), LineEnd::Newline, 0, bytes.len() as u64, &mut [0; 16]).unwrap();
            assert_eq!(found, Some(6), "{length} bytes after the newline");
        }
        assert_eq!(last_end(file(b"no end"), LineEnd::Newline, 0, 6, &mut [0; 4]).unwrap(), None);
        assert_eq!(last_end(file(b"a\nbcd"), LineEnd::Newline, 2, 5, &mut [0; 4]).unwrap(), None);
    }

    #[test]
    fn the_first_line_end_is_found_beyond_the_buffer_or_the_search_is_remembered() {
        let mut bytes = vec![b'x'; 1000];
        assert_eq!(first_end(file(&bytes), LineEnd::Newline, 0, &mut [0; 64]).unwrap(), Err(999));
        bytes.push(b'\n');
        assert_eq!(first_end(file(&bytes), LineEnd::Newline, 0, &mut [0; 64]).unwrap(), Ok(1001));
    }

    #[test]
    fn a_utf16_newline_on_the_border_of_two_reads_is_found() {
        let text: Vec<u8> = "abcdefg\nxyz".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for size in 3..20 {
            let mut buffer = vec![0; size];
            assert_eq!(first_end(file(&text), LineEnd::Utf16Le, 0, &mut buffer).unwrap(), Ok(16), "{size}");
            let last = last_end(file(&text), LineEnd::Utf16Le, 0, text.len() as u64, &mut buffer).unwrap();
            assert_eq!(last, Some(16), "{size}");
        }
    }
}
