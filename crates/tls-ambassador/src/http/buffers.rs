//! Buffers lent to the connections of one thread while they hold bytes.
//!
//! An idle connection owns none, which is what keeps a thousand of them small. A few are kept for the next borrower.

use std::cell::{Cell, RefCell};

/// Bytes of one block: what is read from an app at once. Larger ones made rustls slower (one record each, all alive).
pub(super) const BLOCK: usize = 32 * 1024;
const TEXT: usize = 4 * 1024;
/// Grown texts are not kept: they would never shrink.
const KEEP_TEXT: usize = 64 * 1024;
/// As many texts as requests are under way at once on a busy thread: musl maps and unmaps a few pages for each that has to be
/// made anew.
const KEEP_TEXTS: usize = 64;
/// A block is held for the length of a read only.
const KEEP_BLOCKS: usize = 8;

/// What is kept for the next borrower; the last that came back is lent first.
#[derive(Debug)]
struct Shelf<T> {
    kept: RefCell<Vec<T>>,
    /// So many, from the front, nobody has borrowed since the last look.
    unused: Cell<usize>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Shelf<T> {
        Shelf { kept: RefCell::default(), unused: Cell::new(0) }
    }
}

impl<T> Shelf<T> {
    fn take(&self) -> Option<T> {
        let mut kept = self.kept.borrow_mut();
        let taken = kept.pop();
        self.unused.set(self.unused.get().min(kept.len()));
        taken
    }

    fn give(&self, back: T, most: usize) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < most {
            kept.push(back);
        }
    }

    fn forget_unused(&self) {
        let mut kept = self.kept.borrow_mut();
        kept.drain(..self.unused.get());
        self.unused.set(kept.len());
    }
}

/// The lender.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    texts: Shelf<Vec<u8>>,
    blocks: Shelf<Box<[u8]>>,
}

impl Buffers {
    /// An empty text to append to.
    pub(super) fn text(&self) -> Vec<u8> {
        self.texts.take().unwrap_or_else(|| Vec::with_capacity(TEXT))
    }

    /// Takes a text back, emptied; `text` is left without capacity.
    pub(super) fn give_text(&self, text: &mut Vec<u8>) {
        let mut text = std::mem::take(text);
        if text.capacity() > 0 && text.capacity() <= KEEP_TEXT {
            text.clear();
            self.texts.give(text, KEEP_TEXTS);
        }
    }

    /// A block of [`BLOCK`] initialised bytes, of whatever value.
    pub(super) fn block(&self) -> Box<[u8]> {
        self.blocks.take().unwrap_or_else(|| vec![0; BLOCK].into_boxed_slice())
    }

    /// Takes a block back.
    pub(super) fn give_block(&self, block: Box<[u8]>) {
        self.blocks.give(block, KEEP_BLOCKS);
    }

    /// Gives back to the system what nobody has borrowed since the last call.
    pub(super) fn forget_unused(&self) {
        self.texts.forget_unused();
        self.blocks.forget_unused();
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
        assert_eq!(buffers.texts.kept.borrow().len(), 1);
    }

    #[test]
    fn only_what_was_borrowed_since_the_last_look_is_kept() {
        let buffers = Buffers::default();
        let mut busy: Vec<Vec<u8>> = (0..5).map(|_| buffers.text()).collect();
        busy.iter_mut().for_each(|text| buffers.give_text(text));
        let kept = || buffers.texts.kept.borrow().len();
        buffers.forget_unused();
        assert_eq!(kept(), 5, "all five were under way at once");
        let (mut one, mut two) = (buffers.text(), buffers.text());
        buffers.give_text(&mut one);
        buffers.give_text(&mut two);
        buffers.forget_unused();
        assert_eq!(kept(), 2);
        buffers.forget_unused();
        assert_eq!(kept(), 0);
    }
}
