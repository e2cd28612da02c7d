//! Lines that are also decoded, joined, chosen, cut, paced and dressed: the adapter between the steps of kit-lines.
//!
//! Records are rewritten after they were decoded, joined and chosen, so that expressions see what the app wrote, and before
//! they are cut and dressed. A record of several joined lines is one line to the adapter.

use std::time::{Instant, SystemTime};

use kit_follow::{LineEnd, LineEnds};
use kit_lines::{Input, Lines, Record, Rewrite, Taken, Then};

use crate::adapt::{Adapter, PADDING};
use crate::config::Worked;
use crate::output::Output;

/// What a record is copied into before its stamp is rewritten.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    buffer: Vec<u8>,
    output: Output,
}

impl Desk {
    /// Takes some or all of `input`, as [`Lines::take`] does, with stamps rewritten.
    pub(crate) fn take(
        &mut self,
        lines: &mut Lines,
        adapter: &mut Adapter,
        input: Input<'_>,
        to: &mut Vec<u8>,
    ) -> Taken {
        let mut inside = Inside { desk: self, adapter };
        lines.take_rewriting(input, Instant::now(), SystemTime::now(), Some(&mut inside), to)
    }
}

struct Inside<'a> {
    desk: &'a mut Desk,
    adapter: &'a mut Adapter,
}

impl Rewrite for Inside<'_> {
    fn record(&mut self, record: Record<'_>, to: &mut Vec<u8>) -> bool {
        let Inside { desk: Desk { buffer, output }, adapter } = self;
        // The run is about to end; what follows the failing line must not come out.
        if adapter.failed.is_some() {
            return false;
        }
        let end = record.text.len();
        buffer.clear();
        buffer.extend_from_slice(record.text);
        buffer.resize(end + PADDING, 0);
        let dropped = adapter.counts.dropped;
        if record.whole {
            adapter.record(buffer, end, output);
        } else {
            adapter.head(buffer, end, output);
        }
        output.drain(&buffer[..end], to);
        adapter.pass_over(record.lines - 1);
        adapter.counts.dropped == dropped && adapter.failed.is_none()
    }

    fn passed_over(&mut self, lines: u64) {
        self.adapter.pass_over(lines);
    }
}

/// Bytes that are read at once.
const READ: usize = 64 * 1024;
/// What JSON, logfmt and prefixes call standard input.
const NAME: &[u8] = b"-";

/// What follows after an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Offer again at once.
    Offer,
    /// Nothing can be done before more bytes have come.
    Read,
    /// More lines may belong to the record: read for [`Lines::hold`], then let it go.
    Hold,
    /// The rate allows the next line then.
    At(Instant),
}

/// Standard input on its way through kit-lines: what was read and not taken yet.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) lines: Lines,
    line_ends: LineEnds,
    desk: Desk,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    /// Where in the stream `from` is.
    offset: u64,
    /// The bytes continue a line whose beginning was taken.
    inside: bool,
}

impl Held {
    pub(crate) fn new(worked: Worked) -> Self {
        let Worked { lines, line_ends } = worked;
        let buffer = vec![0; kit_lines::WINDOW + READ];
        Held { lines, line_ends, desk: Desk::default(), buffer, from: 0, to: 0, offset: 0, inside: false }
    }

    /// Where the next bytes are to be read to.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        &mut self.buffer[self.to..]
    }

    /// So many bytes were read into [`Self::space`].
    pub(crate) fn filled(&mut self, count: usize) {
        self.to += count;
    }

    /// Works on what there is and appends what goes out to `to`. `over`: nothing will ever follow; `last`: nothing soon.
    pub(crate) fn offer(&mut self, adapter: &mut Adapter, over: bool, last: bool, to: &mut Vec<u8>) -> Next {
        let Some(line_end) = self.line_end(over) else { return Next::Read };
        let bytes = &self.buffer[self.from..self.to];
        let full = bytes.len() >= kit_lines::WINDOW;
        let (count, ends) = match (self.inside, line_end.first(bytes, self.offset)) {
            _ if bytes.is_empty() => return Next::Read,
            (true, Some(end)) => (end, true),
            (true, None) => (bytes.len(), over),
            (false, Some(_)) => (line_end.last(bytes, self.offset).unwrap_or(bytes.len()), true),
            (false, None) if over || full => (bytes.len(), over),
            (false, None) => return Next::Read,
        };
        let input = Input {
            file: NAME,
            offset: self.offset,
            bytes: &bytes[..count],
            line_end: line_end.bytes(),
            begins: !self.inside,
            ends,
            line_bytes: None,
            add_end: false,
            last: over || last || full,
        };
        let taken = self.desk.take(&mut self.lines, adapter, input, to);
        self.from += taken.bytes;
        self.offset += taken.bytes as u64;
        if taken.bytes > 0 {
            // Whole lines are taken whole, so only a piece of one can leave off inside.
            let piece = self.inside || !ends;
            self.inside = piece && !(ends && taken.bytes == count);
        }
        match taken.then {
            Then::At(time) => Next::At(time),
            Then::Held => Next::Hold,
            // What a piece leaves is a letter that is not complete yet.
            Then::More if !ends && taken.bytes < count => Next::Read,
            Then::More => Next::Offer,
        }
    }

    /// What ends a line here; nothing before enough bytes have come to know.
    fn line_end(&mut self, over: bool) -> Option<LineEnd> {
        if let LineEnds::Always(line_end) = self.line_ends {
            return Some(line_end);
        }
        let bytes = &self.buffer[self.from..self.to];
        let line_end = match bytes {
            [0xff, 0xfe, ..] => LineEnd::Utf16Le,
            [0xfe, 0xff, ..] => LineEnd::Utf16Be,
            [] | [_] if !over => return None,
            _ => LineEnd::Newline,
        };
        self.line_ends = LineEnds::Always(line_end);
        Some(line_end)
    }
}
