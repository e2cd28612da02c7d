//! What of a generation can be handed over next, and whether its file still holds what it is expected to.

use std::io;

use tokio::time::Instant;

use super::{Generation, YOUNG};
use crate::identity::{Facts, Print, read_at, read_once};
use crate::lines::{LineEnd, first_end, last_end};
use crate::output::WINDOW;

/// What [`Generation::look`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// No whole line.
    Dry,
    /// Whole lines, in the buffer at that range.
    Lines { from: usize, to: usize },
    /// A batch in the file; `batch_end` is set.
    Batch,
    /// The content is not what it was: look for a copy and start over.
    Truncated,
}

/// What bounds one look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Nothing beyond this offset is handed over now.
    pub(crate) upto: u64,
    /// The longest batch of lines that is moved at once; 0 where everything goes through memory.
    pub(crate) bulk: u64,
    pub(crate) line_end: LineEnd,
    pub(crate) head: usize,
}

impl Generation {
    /// Finds what can be handed over next. Only between batches.
    pub(crate) fn look(&mut self, bounds: Bounds, buffer: &mut [u8]) -> io::Result<Look> {
        self.checked = Instant::now();
        if self.overtaken.is_some() {
            return Ok(Look::Truncated);
        }
        if self.marker_at != self.offset {
            return self.look_again(bounds, buffer);
        }
        if self.truncated && self.offset == 0 && !self.skip_hole()? {
            return Ok(Look::Dry);
        }
        if self.bulk {
            return self.look_far(bounds, buffer);
        }
        let lead = self.marker_bytes;
        let start = self.marker_at - lead as u64;
        let first = read_once(&self.file, &mut buffer[..lead + WINDOW], start)?;
        let more = read_at(&self.file, &mut buffer[first..lead + WINDOW], start + first as u64)?;
        let read = first + more;
        if read < lead || buffer[..lead] != self.marker[..lead] {
            return Ok(Look::Truncated);
        }
        // Only what one call read is of one content.
        if more > 0 && !self.fits_marker()? {
            return Ok(Look::Truncated);
        }
        let fresh = read - lead;
        // A young file may be written anew with the same last bytes.
        let young = (1..=YOUNG).contains(&self.offset) && self.head.bytes > 0;
        if young && !self.trace().head_fits(&self.file)? {
            return Ok(Look::Truncated);
        }
        if self.offset == 0 && !self.begins_as_known(&buffer[..fresh]) {
            return Ok(Look::Truncated);
        }
        self.saw(start + read as u64);
        if fresh < WINDOW && start + (read as u64) < self.seen {
            // Truncated and written anew where nothing could tell: what came since is to be waited for as any other.
            self.seen = start + read as u64;
            self.grew = Instant::now();
        }
        if fresh == 0 {
            return self.nothing_new();
        }
        self.touched = false;
        if fresh == WINDOW && bounds.bulk > 0 {
            self.bulk = true;
            return self.look_far(bounds, buffer);
        }
        self.look_near(bounds, buffer, lead, fresh)
    }

    fn look_near(&mut self, bounds: Bounds, buffer: &mut [u8], lead: usize, fresh: usize) -> io::Result<Look> {
        let allowed = usize::try_from(bounds.upto.saturating_sub(self.offset)).unwrap_or(usize::MAX).min(fresh);
        let data = &buffer[lead..lead + allowed];
        if let Some(end) = bounds.line_end.last(data, self.offset) {
            if self.head_grows(bounds.head) {
                self.read_head(bounds.head)?;
            }
            // A line that began in the generation before goes out alone, as a batch whose start is no line start.
            if self.continues {
                let first = bounds.line_end.first(data, self.offset).unwrap_or(end);
                return self.set_batch(self.offset + first as u64);
            }
            return Ok(Look::Lines { from: lead, to: lead + end });
        }
        if fresh < WINDOW {
            return Ok(Look::Dry);
        }
        self.long_line(bounds, buffer, self.offset + fresh as u64 - 1)
    }

    /// Whether bytes from the beginning begin as the head that was taken earlier.
    fn begins_as_known(&self, bytes: &[u8]) -> bool {
        let known = self.head.bytes as usize;
        known == 0 || bytes.get(..known).is_some_and(|head| Print::of(head) == self.head)
    }

    /// The head of a small file is taken again while it grows.
    fn head_grows(&self, head: usize) -> bool {
        (self.head.bytes as usize) < head && u64::from(self.head.bytes) < self.seen
    }

    /// After a batch that ended early: the file may have shrunk under it.
    fn look_again(&mut self, bounds: Bounds, buffer: &mut [u8]) -> io::Result<Look> {
        let marker = self.read_marker(self.offset)?;
        if !self.fits_marker()? {
            return Ok(Look::Truncated);
        }
        self.set_marker(self.offset, marker);
        self.searched = self.offset;
        self.look(bounds, buffer)
    }

    fn nothing_new(&mut self) -> io::Result<Look> {
        if !std::mem::take(&mut self.touched) {
            return Ok(Look::Dry);
        }
        // Written, but nothing new: truncated and not regrown, or rewritten in place.
        let size = Facts::of(&self.file)?.size;
        let other = size < self.offset || (self.head.bytes > 0 && !self.trace().head_fits(&self.file)?);
        Ok(if other { Look::Truncated } else { Look::Dry })
    }

    fn look_far(&mut self, bounds: Bounds, buffer: &mut [u8]) -> io::Result<Look> {
        let begins = self.offset > 0 || self.head.bytes == 0 || self.trace().head_fits(&self.file)?;
        if !begins || !self.fits_marker()? {
            return Ok(Look::Truncated);
        }
        let size = self.size()?;
        if size.saturating_sub(self.offset) < WINDOW as u64 {
            self.bulk = false;
            return self.look(bounds, buffer);
        }
        if self.head_grows(bounds.head) {
            self.read_head(bounds.head)?;
        }
        let target = size.min(bounds.upto).min(self.offset + bounds.bulk);
        let from = self.searched.max(self.offset);
        if target > from
            && !self.continues
            && let Some(end) = last_end(&self.file, bounds.line_end, from, target, buffer)?
        {
            return self.set_batch(end);
        }
        self.long_line(bounds, buffer, if self.continues { from } else { target.saturating_sub(1).max(from) })
    }

    /// A line longer than a batch becomes a batch when its end has been written, however long it is.
    fn long_line(&mut self, bounds: Bounds, buffer: &mut [u8], from: u64) -> io::Result<Look> {
        match first_end(&self.file, bounds.line_end, self.searched.max(from), buffer)? {
            Ok(end) if end <= bounds.upto => self.set_batch(end),
            Ok(_) => Ok(Look::Dry),
            Err(searched) => {
                self.searched = searched;
                Ok(Look::Dry)
            }
        }
    }

    /// The next bytes up to `end` are a batch. Its marker is taken now, before the file can change under it.
    pub(crate) fn set_batch(&mut self, end: u64) -> io::Result<Look> {
        let marker = self.read_marker(end)?;
        // A look may end in other content than it began in.
        if self.marker_at == self.offset && self.holds_other(self.marker_at)? {
            return Ok(Look::Truncated);
        }
        self.batch_start = self.offset;
        self.batch_end = end;
        self.set_marker(end, marker);
        self.searched = end;
        Ok(Look::Batch)
    }
}
