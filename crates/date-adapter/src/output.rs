//! Where the output of a buffer stands: the buffer itself as long as stamps keep their length, else a second one.

use crate::memo::ROOM;

/// Bytes that are copied at once. The C library of a static image calls `rep movs` for every copy whose length is not
/// known, which costs more than a short line; copies of fixed length become two instructions.
const STEP: usize = 32;

/// Output that differs from its buffer. Nothing in it and nothing copied: the buffer is the output.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    length: usize,
    /// Bytes of the buffer that are already here, or left out.
    pub(crate) copied: usize,
    /// The rest of the buffer does not go out.
    pub(crate) ended: bool,
}

impl Output {
    /// What has to be written instead of the buffer.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(crate) fn clear(&mut self) {
        (self.length, self.copied, self.ended) = (0, 0, false);
    }

    /// The first so many bytes are written; the rest stays in front of what the next buffer becomes.
    pub(crate) fn written(&mut self, count: usize) {
        self.bytes.copy_within(count..self.length, 0);
        (self.length, self.copied, self.ended) = (self.length - count, 0, false);
    }

    /// Whether the buffer must not be written as it is.
    pub(crate) fn diverted(&self) -> bool {
        self.copied != 0 || self.length != 0 || self.ended
    }

    /// Appends to `to` what came out of `buffer`, and begins anew.
    pub(crate) fn drain(&mut self, buffer: &[u8], to: &mut Vec<u8>) {
        if self.diverted() {
            if !self.ended {
                self.upto(buffer, buffer.len());
            }
            to.extend_from_slice(self.bytes());
        } else {
            to.extend_from_slice(buffer);
        }
        self.clear();
    }

    /// Copies what of the buffer has not been copied, up to `to`.
    #[inline(always)]
    pub(crate) fn upto(&mut self, buffer: &[u8], to: usize) {
        self.reserve(to - self.copied);
        self.follow(buffer, to);
    }

    /// As [`Self::upto`], where there is room.
    #[inline(always)]
    fn follow(&mut self, buffer: &[u8], to: usize) {
        let from = self.copied;
        self.copied = to;
        let count = to - from;
        let (mut at, mut done) = (self.length, 0);
        self.length += count;
        if count <= 8 * STEP {
            // The last step may copy bytes behind `to`, which the next ones overwrite.
            while done < count {
                let source = buffer.get(from + done..).and_then(|rest| rest.first_chunk::<STEP>());
                let target = self.bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<STEP>());
                let (Some(source), Some(target)) = (source, target) else { break };
                *target = *source;
                done += STEP;
                at += STEP;
            }
        }
        if done < count {
            self.bytes[at..at + count - done].copy_from_slice(&buffer[from + done..to]);
        }
    }

    /// Copies what of the buffer has not been copied, up to `at`, and appends what `write` puts in the place of
    /// `buffer[at..end]`.
    #[inline(always)]
    pub(crate) fn exchange(
        &mut self,
        buffer: &[u8],
        at: usize,
        end: usize,
        write: impl FnOnce(&mut [u8; ROOM]) -> usize,
    ) {
        self.reserve(at - self.copied + ROOM);
        self.follow(buffer, at);
        if let Some(room) = self.bytes.get_mut(self.length..).and_then(|rest| rest.first_chunk_mut()) {
            self.length += write(room);
        }
        self.copied = end;
    }

    /// Appends any bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Puts `new` in the place of `buffer[at..end]`.
    pub(crate) fn replace(&mut self, buffer: &mut [u8], at: usize, end: usize, new: &[u8]) {
        if new.len() == end - at {
            buffer[at..end].copy_from_slice(new);
        } else {
            self.upto(buffer, at);
            self.push(new);
            self.copied = end;
        }
    }

    /// Makes room for so many bytes and one step behind them.
    #[inline(always)]
    fn reserve(&mut self, count: usize) {
        if self.length + count + STEP > self.bytes.len() {
            self.grow(count);
        }
    }

    #[cold]
    fn grow(&mut self, count: usize) {
        // In steps of what one read may add, so that a buffer of usual lines is enlarged a few times at most.
        let wanted = (self.length + count + STEP).next_multiple_of(32 * 1024);
        self.bytes.resize(wanted, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_every_length_end_where_they_should() {
        let buffer: Vec<u8> = (0..2000u32).map(|n| n.to_le_bytes()[0]).collect();
        for count in (0..300).chain([1000, 1999, 2000]) {
            let mut output = Output::default();
            output.push(b"before");
            output.upto(&buffer, count);
            output.push(b"after");
            assert_eq!(output.bytes(), [b"before", &buffer[..count], b"after"].concat(), "{count}");
        }
    }

    #[test]
    fn a_replacement_of_the_same_length_stays_in_the_buffer() {
        let (mut buffer, mut output) = (*b"one two", Output::default());
        output.replace(&mut buffer, 0, 3, b"ONE");
        assert!(!output.diverted());
        output.replace(&mut buffer, 4, 7, b"2");
        assert_eq!((output.bytes(), output.copied), (&b"ONE 2"[..], 7));
    }
}
