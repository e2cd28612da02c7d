//! Memory that a thread gives back and takes again without asking the C library.
//!
//! A request and a handshake take and give back dozens of small blocks, the same ones each time. musl's allocator looks for each
//! in a bit map, under a lock of the whole process: a tenth of what HTTP/2 costs in instructions. Here a thread that asks for
//! it with [`keep`] lays small blocks that it gives back on a shelf of its own, one stack for each size, and takes the next from there.
//!
//! The sizes are those of musl, so that no block is larger than without this. A shelf holds at most [`MOST`] bytes of each size, or one block;
//! what does not fit goes back to the C library, as does everything on threads without a shelf, and the shelf when [`Kept`] is dropped.

#![expect(unsafe_code, reason = "an allocator cannot be safe code; HTTP/2 has a twelfth fewer instructions with it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

/// Most bytes of each size that a shelf holds; of what is larger, one block.
const MOST: u16 = 4096;
/// musl's unit. Of each block it needs 4 bytes itself.
const UNIT: usize = 16;
/// What musl's size classes have for the caller, up to the first that holds a record of TLS.
const SIZES: [u16; 37] = [
    12, 28, 44, 60, 76, 92, 108, 124, 140, 156, 188, 236, 284, 316, 396, 492, 572, 668, 796, 1004, 1148, 1340, 1628,
    2028, 2332, 2716, 3260, 4076, 4668, 5436, 6540, 8172, 9340, 10908, 13084, 16364, 18700,
];
const LARGEST: usize = SIZES[SIZES.len() - 1] as usize;
/// Every block is given for this alignment, which the C library keeps without being told.
const ALIGNMENT: usize = 8;

/// The size for each number of units.
const BY_UNITS: [u8; (LARGEST + 4) / UNIT + 1] = {
    let mut table = [0; (LARGEST + 4) / UNIT + 1];
    let (mut units, mut size) = (0, 0);
    while units < table.len() {
        if SIZES[size as usize] as usize + 4 < units * UNIT {
            size += 1;
        }
        table[units] = size;
        units += 1;
    }
    table
};

/// Blocks of one size: a stack whose links lie in the blocks themselves.
struct Stack {
    top: Cell<*mut u8>,
    /// How many more it takes.
    room: Cell<u16>,
}

thread_local! {
    static SHELF: [Stack; SIZES.len()] = const { [const { Stack { top: Cell::new(ptr::null_mut()), room: Cell::new(0) } }; SIZES.len()] };
}

/// How many blocks of a size a shelf holds.
fn room(size: u16) -> u16 {
    (MOST / size).max(1)
}

/// Has the thread that called [`keep`] keep its blocks.
#[derive(Debug)]
pub(crate) struct Kept(PhantomData<*mut u8>);

/// From now on blocks that this thread gives back stay with it.
pub(crate) fn keep() -> Kept {
    SHELF.with(|shelf| {
        for (stack, size) in shelf.iter().zip(SIZES) {
            stack.room.set(room(size));
        }
    });
    Kept(PhantomData)
}

impl Drop for Kept {
    fn drop(&mut self) {
        SHELF.with(|shelf| {
            for (index, stack) in shelf.iter().enumerate() {
                stack.room.set(0);
                while let Some(block) = stack.take() {
                    // SAFETY: it was given for this layout, and nobody has it.
                    unsafe { System.dealloc(block, layout_of(index)) };
                }
                stack.room.set(0);
            }
        });
    }
}

impl Stack {
    #[inline]
    fn take(&self) -> Option<*mut u8> {
        let block = self.top.get();
        if block.is_null() {
            return None;
        }
        // SAFETY: `give` wrote the link when the block came here, and nobody has it since.
        self.top.set(unsafe { block.cast::<*mut u8>().read() });
        self.room.set(self.room.get().wrapping_add(1));
        Some(block)
    }

    /// Whether it was taken.
    ///
    /// # Safety
    /// The block is of this stack's size and nobody's.
    #[inline]
    unsafe fn give(&self, block: *mut u8) -> bool {
        let Some(room) = self.room.get().checked_sub(1) else { return false };
        self.room.set(room);
        // SAFETY: the smallest size has room for a pointer, and the alignment is a pointer's.
        unsafe { block.cast::<*mut u8>().write(self.top.get()) };
        self.top.set(block);
        true
    }
}

/// The size that a layout gets, unless it is too large or asks for an alignment of its own.
#[inline]
fn size_of_layout(layout: Layout) -> Option<usize> {
    let small = layout.size() <= LARGEST && layout.align() <= ALIGNMENT;
    small.then(|| usize::from(BY_UNITS[(layout.size() + 4).div_ceil(UNIT)]))
}

#[inline]
fn layout_of(index: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and no size comes near the largest.
    unsafe { Layout::from_size_align_unchecked(usize::from(SIZES[index]), ALIGNMENT) }
}

/// The allocator of the whole program.
#[derive(Debug)]
pub(crate) struct Blocks;

// SAFETY: a block is the system allocator's for the layout of its size, and goes back to it with that layout, or lies on one
// thread's shelf. Which of both a layout gets is decided by the layout alone, so that it is the same when it is given back.
unsafe impl GlobalAlloc for Blocks {
    // Not in place at each of thousands of calls: that would be 50 KB.
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(index) = size_of_layout(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: sizes are not zero.
        SHELF.with(|shelf| shelf[index].take()).unwrap_or_else(|| unsafe { System.alloc(layout_of(index)) })
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, and that of `alloc`.
        unsafe {
            match size_of_layout(layout) {
                None => System.dealloc(block, layout),
                Some(index) => {
                    if !SHELF.with(|shelf| shelf[index].give(block)) {
                        System.dealloc(block, layout_of(index));
                    }
                }
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise; a block is at least as long as its layout.
        unsafe {
            if size_of_layout(layout).is_none() {
                return System.alloc_zeroed(layout);
            }
            let block = self.alloc(layout);
            if !block.is_null() {
                ptr::write_bytes(block, 0, layout.size());
            }
            block
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: the alignment is valid, and so is the size with it.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (size_of_layout(layout), size_of_layout(wanted)) {
            // SAFETY: the caller's promise.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (old, new) if old == new => block,
            // SAFETY: the caller's promise; the copy is as long as the shorter of both.
            _ => unsafe {
                let moved = self.alloc(wanted);
                if !moved.is_null() {
                    ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                    self.dealloc(block, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap_or_else(|_| Layout::new::<u8>())
    }

    #[test]
    fn a_layout_gets_the_smallest_size_that_holds_it() {
        for size in 1..=LARGEST {
            let found = size_of_layout(layout(size, 8)).map(|index| usize::from(SIZES[index]));
            let expected = SIZES.into_iter().map(usize::from).find(|known| *known >= size);
            assert_eq!(found, expected, "{size}");
        }
        assert_eq!(size_of_layout(layout(LARGEST + 1, 8)), None);
        assert_eq!(size_of_layout(layout(16, 16)), None);
    }

    fn shelved() -> usize {
        SHELF.with(|shelf| {
            let held = |(stack, size): (&Stack, u16)| usize::from(room(size).wrapping_sub(stack.room.get()));
            shelf.iter().zip(SIZES).map(held).sum()
        })
    }

    #[test]
    fn what_is_given_back_is_given_again_up_to_the_most_and_all_of_it_goes_back_in_the_end() {
        let body = || {
            let kept = keep();
            let one = Box::new([1_u8; 100]);
            let address = ptr::from_ref(&*one).addr();
            drop(one);
            let again = Box::new([2_u8; 105]);
            assert_eq!(ptr::from_ref(&*again).addr(), address, "the same size");
            let many: Vec<Box<[u8; 1000]>> = (0..50).map(|_| Box::new([3; 1000])).collect();
            drop(many);
            let held = SHELF.with(|shelf| shelf[19].room.get());
            assert_eq!((SIZES[19], held), (1004, 0), "4 of them, no more");
            drop((again, kept));
            SHELF.with(|shelf| {
                assert!(shelf.iter().all(|stack| stack.top.get().is_null() && stack.room.get() == 0));
            });
        };
        std::thread::spawn(body).join().expect("the assertions above");
    }

    #[test]
    fn a_block_grows_and_shrinks_with_its_bytes() {
        let body = || {
            let _kept = keep();
            assert_eq!(shelved(), 0);
            for zeroed in [false, true] {
                let mut bytes = if zeroed { vec![0_u8; 3] } else { vec![0; 0] };
                let mut expected = bytes.len();
                for round in 0_u16..20_000 {
                    bytes.push(u8::try_from(round % 251).unwrap_or_default());
                    expected += 1;
                    if round % 500 == 499 {
                        bytes.shrink_to_fit();
                    }
                }
                assert_eq!(bytes.len(), expected);
                let tail = &bytes[expected - 20_000..];
                assert!(tail.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
                bytes.truncate(10);
                bytes.shrink_to_fit();
                assert_eq!(bytes.len(), 10);
            }
        };
        std::thread::spawn(body).join().expect("the assertions above");
    }

    #[test]
    fn what_is_zeroed_is_zero_though_it_was_used() {
        let body = || {
            let _kept = keep();
            for size in [1, 12, 13, 500, 5000, LARGEST, LARGEST + 1] {
                drop(vec![0xff_u8; size]);
                assert!(vec![0_u8; size].iter().all(|byte| *byte == 0), "{size}");
            }
        };
        std::thread::spawn(body).join().expect("the assertions above");
    }
}
