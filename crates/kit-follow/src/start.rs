//! Where the reading of a file begins when nothing is remembered of it.

use std::io;
use std::os::fd::AsFd;
use std::str::FromStr;

use crate::identity::read_at;
use crate::lines::{LineEnd, first_end, last_end};

/// The first byte to read. Files that appear later are always read from their beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// The whole file.
    #[default]
    Beginning,
    /// Only what comes.
    End,
    /// The last lines, that many (`tail -n 10`).
    LastLines(u64),
    /// From that line on, counted from 1 (`tail -n +5`).
    FromLine(u64),
    /// The last bytes, that many (`tail -c 10`).
    LastBytes(u64),
    /// From that byte on, counted from 1 (`tail -c +5`).
    FromByte(u64),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse::<u64>().ok();
        let counted = match text.split_once('=') {
            Some(("lines", count)) => match count.strip_prefix('+') {
                Some(from) => number(from).map(Self::FromLine),
                None => number(count.strip_prefix('-').unwrap_or(count)).map(Self::LastLines),
            },
            Some(("bytes", count)) => match count.strip_prefix('+') {
                Some(from) => number(from).map(Self::FromByte),
                None => number(count.strip_prefix('-').unwrap_or(count)).map(Self::LastBytes),
            },
            _ => match text {
                "beginning" => Some(Self::Beginning),
                "end" => Some(Self::End),
                _ => None,
            },
        };
        counted.ok_or_else(|| {
            format!(
                "\"{text}\" is no place to start; write beginning, end, lines=-10, lines=+5, bytes=-100 or bytes=+7"
            )
        })
    }
}

impl Start {
    /// The offset in an open file of `size` bytes.
    pub(crate) fn offset(self, file: impl AsFd + Copy, size: u64, line_end: LineEnd) -> io::Result<u64> {
        let mut buffer = vec![0; 64 * 1024];
        Ok(match self {
            Self::Beginning | Self::FromLine(0 | 1) | Self::FromByte(0 | 1) => 0,
            Self::End | Self::LastLines(0) => size,
            Self::LastBytes(count) => size.saturating_sub(count),
            Self::FromByte(from) => (from - 1).min(size),
            Self::FromLine(from) => {
                let mut at = 0;
                for _ in 1..from {
                    match first_end(file, line_end, at, &mut buffer)? {
                        Ok(end) => at = end,
                        Err(_) => return Ok(size),
                    }
                }
                at
            }
            Self::LastLines(count) => {
                // A last line without its end counts as a line.
                let mut last = [0; 2];
                let width = line_end.bytes().len() as u64;
                let tail = size.saturating_sub(width);
                let read = read_at(file, &mut last[..line_end.bytes().len()], tail)?;
                let mut at = if &last[..read] == line_end.bytes() { tail } else { size };
                for _ in 0..count {
                    match last_end(file, line_end, 0, at, &mut buffer)? {
                        Some(end) => at = end.saturating_sub(width),
                        None => return Ok(0),
                    }
                }
                (at + width).min(size)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(start: &str, content: &str, expected: &str) {
        let start: Start = start.parse().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let offset = start.offset(&file, content.len() as u64, LineEnd::Newline).unwrap();
        assert_eq!(&content[usize::try_from(offset).unwrap()..], expected, "{start:?} of the file {content:?}");
    }

    #[test]
    fn t02_every_count_starts_where_gnu_tail_starts() {
        check("beginning", "a\nb\n", "a\nb\n");
        check("end", "a\nb\n", "");
        check("lines=-1", "a\nb\n", "b\n");
        check("lines=-1", "a\nb", "b");
        check("lines=-2", "a\n\nb\n", "\nb\n");
        check("lines=-10", "a\nb\n", "a\nb\n");
        check("lines=-0", "a\nb\n", "");
        check("lines=2", "a\nb\nc\n", "b\nc\n");
        check("lines=+0", "a\nb\n", "a\nb\n");
        check("lines=+1", "a\nb\n", "a\nb\n");
        check("lines=+2", "a\nb\nc", "b\nc");
        check("lines=+9", "a\nb\n", "");
        check("bytes=-3", "abcdef", "def");
        check("bytes=-9", "abc", "abc");
        check("bytes=+3", "abcdef", "cdef");
        check("bytes=+9", "abc", "");
        check("lines=-1", "", "");
        check("lines=-1", "\n", "\n");
        check("lines=-2", "\n\n\n", "\n\n");
    }

    #[test]
    fn counts_across_the_buffer_border_hold() {
        for length in [65_535, 65_536, 65_537, 131_072] {
            let long = "x".repeat(length);
            check("lines=-1", &format!("a\n{long}\n"), &format!("{long}\n"));
            check("lines=+2", &format!("{long}\nlast\n"), "last\n");
        }
    }

    #[test]
    fn a_wrong_start_names_the_right_ones() {
        let error = "middle".parse::<Start>().unwrap_err();
        assert_eq!(
            error,
            "\"middle\" is no place to start; write beginning, end, lines=-10, lines=+5, bytes=-100 or bytes=+7"
        );
    }
}
