//! Buffers lent to the connections of one thread while they hold bytes.
//!
//! An idle connection owns none, which is what keeps a thousand of them small. A few are kept for the next borrower.

use std::cell::RefCell;

/// Bytes of one block: what is read from an app at once. Larger ones made rustls slower (one record each, all alive).
pub(super) const BLOCK: usize = 32 * 1024;
const TEXT: usize = 4 * 1024;
/// Grown texts are not kept: they would never shrink.
const KEEP_TEXT: usize = 64 * 1024;
const KEEP: usize = 8;

/// The lender.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    texts: RefCell<Vec<Vec<u8>>>,
    blocks: RefCell<Vec<Box<[u8]>>>,
}

impl Buffers {
    /// An empty text to append to.
    pub(super) fn text(&self) -> Vec<u8> {
        self.texts.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(TEXT))
    }

    /// Takes a text back, emptied; `text` is left without capacity.
    pub(super) fn give_text(&self, text: &mut Vec<u8>) {
        let mut text = std::mem::take(text);
        let mut texts = self.texts.borrow_mut();
        if text.capacity() > 0 && text.capacity() <= KEEP_TEXT && texts.len() < KEEP {
            text.clear();
            texts.push(text);
        }
    }

    /// A block of [`BLOCK`] initialised bytes, of whatever value.
    pub(super) fn block(&self) -> Box<[u8]> {
        self.blocks.borrow_mut().pop().unwrap_or_else(|| vec![0; BLOCK].into_boxed_slice())
    }

    /// Takes a block back.
    pub(super) fn give_block(&self, block: Box<[u8]>) {
        let mut blocks = self.blocks.borrow_mut();
        if blocks.len() < KEEP {
            blocks.push(block);
        }
    }
}

/// Bytes that arrived and were not used yet, at the front of a text.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    text: Vec<u8>,
    start: usize,
}

impl Inbox {
    /// What is there.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.text[self.start..]
    }

    /// Nothing is there.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.text.len()
    }

    /// Drops `count` bytes from the front.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.text.len());
        if self.is_empty() {
            self.text.clear();
            self.start = 0;
        }
    }

    /// The text to append to, with a buffer behind it and used bytes moved out of the way.
    pub(super) fn room(&mut self, buffers: &Buffers) -> &mut Vec<u8> {
        if self.text.capacity() == 0 {
            self.text = buffers.text();
        } else if self.start > 0 {
            self.text.drain(..self.start);
            self.start = 0;
        }
        &mut self.text
    }

    /// Gives an empty buffer back.
    pub(super) fn rest(&mut self, buffers: &Buffers) {
        if self.is_empty() && self.text.capacity() > 0 {
            self.start = 0;
            buffers.give_text(&mut self.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_owns_a_buffer_only_while_it_holds_bytes() {
        let buffers = Buffers::default();
        let mut inbox = Inbox::default();
        inbox.room(&buffers).extend_from_slice(b"hello");
        inbox.consume(2);
        assert_eq!(inbox.bytes(), b"llo");
        inbox.room(&buffers).extend_from_slice(b"!");
        assert_eq!(inbox.bytes(), b"llo!");
        inbox.consume(4);
        inbox.rest(&buffers);
        assert_eq!(inbox.text.capacity(), 0);
        assert_eq!(buffers.texts.borrow().len(), 1);
    }
}
