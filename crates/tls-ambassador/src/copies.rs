//! Copies and comparisons of bytes, for programs on musl.
//!
//! The C library's copy aligns byte by byte, then runs a string instruction: for the few dozen bytes of a header or a hash, that is
//! the start-up time of a copy of kilobytes, and TLS and HTTP/2 make hundreds of such copies. Here what is short is loaded
//! whole from both of its ends and stored whole, which takes two to four instructions of each kind and no loop. Only what is
//! longer than [`LONG`] is left to the string instruction.
//!
//! On processors other than x86-64 the C library's own are good, and glibc has better ones for all.

#![cfg(all(target_arch = "x86_64", any(test, target_env = "musl")))]
#![expect(
    unsafe_code,
    reason = "the compiler calls these by name; a fifteenth of what HTTP/2 costs went into the C library's"
)]

use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};

/// From here on the string instruction's start-up time is small beside the copy.
const LONG: usize = 4096;

/// One half of a step.
const HALF: usize = size_of::<__m128i>();
/// Bytes that a step of a loop moves.
const STEP: usize = 2 * HALF;

/// Reads a `T` wherever it lies.
macro_rules! load {
    ($type:ty, $at:expr) => {
        $at.cast::<$type>().read_unaligned()
    };
}

/// # Safety
/// `STEP` bytes can be read.
#[inline(always)]
unsafe fn load(from: *const u8) -> (__m128i, __m128i) {
    // SAFETY: as the caller promises; these loads need no alignment.
    unsafe { (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(HALF).cast())) }
}

/// # Safety
/// `STEP` bytes can be written.
#[inline(always)]
unsafe fn store(to: *mut u8, (low, high): (__m128i, __m128i)) {
    // SAFETY: as the caller promises; these stores need no alignment.
    unsafe {
        _mm_storeu_si128(to.cast(), low);
        _mm_storeu_si128(to.add(HALF).cast(), high);
    }
}

/// Copies up to `STEP` bytes, all of which are read before the first is written, so that they may overlap.
///
/// # Safety
/// `count` bytes can be read and written.
#[inline(always)]
unsafe fn short(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: each branch touches the first and the last bytes of what the caller promises, and never more than `count`.
    unsafe {
        macro_rules! both_ends {
            ($type:ty) => {{
                let last = count - size_of::<$type>();
                let (begin, end) = (load!($type, from), load!($type, from.add(last)));
                to.cast::<$type>().write_unaligned(begin);
                to.add(last).cast::<$type>().write_unaligned(end);
            }};
        }
        if count >= HALF {
            let (begin, end) = (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(count - HALF).cast()));
            _mm_storeu_si128(to.cast(), begin);
            _mm_storeu_si128(to.add(count - HALF).cast(), end);
        } else if count >= 8 {
            both_ends!(u64);
        } else if count >= 4 {
            both_ends!(u32);
        } else if count >= 2 {
            both_ends!(u16);
        } else if count == 1 {
            *to = *from;
        }
    }
}

/// Copies from the first byte to the last. The two may overlap if `to` comes first.
///
/// # Safety
/// `count` bytes can be read and written.
#[inline(always)]
unsafe fn forwards(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: every step lies within the `count` bytes that the caller promises. The last one is read before the first step
    // writes, since it may lie on bytes that a step has moved.
    unsafe {
        if count <= STEP {
            short(to, from, count);
        } else if count < LONG {
            let end = load(from.add(count - STEP));
            let mut done = 0;
            while done < count - STEP {
                store(to.add(done), load(from.add(done)));
                done += STEP;
            }
            store(to.add(count - STEP), end);
        } else {
            core::arch::asm!(
                "rep movsb",
                inout("rcx") count => _,
                inout("rdi") to => _,
                inout("rsi") from => _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Copies from the last byte to the first, where `to` lies behind `from` and they overlap.
///
/// # Safety
/// `count` bytes can be read and written.
#[inline(always)]
unsafe fn backwards(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: as above, with the first step's bytes read before anything is written.
    unsafe {
        if count <= STEP {
            return short(to, from, count);
        }
        let begin = load(from);
        let mut left = count;
        while left > STEP {
            left -= STEP;
            store(to.add(left), load(from.add(left)));
        }
        store(to, begin);
    }
}

/// Below 0, 0 or above 0, as the first byte that differs says.
///
/// # Safety
/// `count` bytes of both can be read.
#[inline(always)]
unsafe fn compared(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: each index is below the `count` that the caller promises, with its width.
    unsafe {
        let mut done = 0;
        while done + 8 <= count {
            let (one, other) = (load!(u64, left.add(done)), load!(u64, right.add(done)));
            if one != other {
                return if one.swap_bytes() < other.swap_bytes() { -1 } else { 1 };
            }
            done += 8;
        }
        while done < count {
            let (one, other) = (*left.add(done), *right.add(done));
            if one != other {
                return i32::from(one) - i32::from(other);
            }
            done += 1;
        }
        0
    }
}

/// The names that the compiler and C know.
#[cfg(not(test))]
mod names {
    /// # Safety
    /// As in C: `count` bytes can be read and written and do not overlap.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        // SAFETY: the same promise.
        unsafe { super::forwards(to, from, count) };
        to
    }

    /// # Safety
    /// As in C: `count` bytes can be read and written.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        // SAFETY: the same promise. Where `to` comes first the distance wraps around and is longer than anything.
        unsafe {
            if (to.addr().wrapping_sub(from.addr())) >= count {
                super::forwards(to, from, count);
            } else {
                super::backwards(to, from, count);
            }
        }
        to
    }

    /// # Safety
    /// As in C: `count` bytes of both can be read.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
        // SAFETY: the same promise.
        unsafe { super::compared(left, right, count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that differ at every place and length that a step could confuse.
    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap_or_default()).collect()
    }

    const LENGTHS: std::ops::Range<usize> = 0..200;
    const LONGER: [usize; 6] = [255, 256, 257, LONG - 1, LONG, LONG + 33];

    #[test]
    fn a_copy_is_the_same_and_touches_nothing_beside() {
        let from = bytes(2 * LONG);
        for count in LENGTHS.chain(LONGER) {
            for (at, to_at) in [(0, 0), (1, 0), (3, 5), (16, 9)] {
                let mut to = vec![0xee; count + 64];
                // SAFETY: both are longer than that.
                unsafe { forwards(to.as_mut_ptr().add(to_at), from.as_ptr().add(at), count) };
                assert_eq!(&to[to_at..to_at + count], &from[at..at + count]);
                assert!(to[..to_at].iter().chain(&to[to_at + count..]).all(|byte| *byte == 0xee), "{count}");
            }
        }
    }

    #[test]
    fn what_overlaps_is_moved_whole() {
        for count in LENGTHS.chain(LONGER) {
            for distance in [1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100] {
                let mut down = bytes(count + distance);
                let mut up = down.clone();
                let expected = down.clone();
                // SAFETY: both are `count + distance` long.
                unsafe {
                    forwards(down.as_mut_ptr(), down.as_ptr().add(distance), count);
                    backwards(up.as_mut_ptr().add(distance), up.as_ptr(), count);
                }
                assert_eq!(down[..count], expected[distance..], "{count} down by {distance}");
                assert_eq!(up[distance..], expected[..count], "{count} up by {distance}");
            }
        }
    }

    #[test]
    fn the_first_difference_decides() {
        for count in LENGTHS {
            let left = bytes(count);
            // SAFETY: both have that length.
            assert_eq!(unsafe { compared(left.as_ptr(), left.as_ptr(), count) }, 0);
            for at in 0..count {
                for (step, later) in [(1, 0), (128, 255), (255, 3)] {
                    let mut right = left.clone();
                    right[at] = right[at].wrapping_add(step);
                    right[at + 1..].iter_mut().for_each(|byte| *byte = byte.wrapping_add(later));
                    // SAFETY: both have that length.
                    let found = unsafe { compared(left.as_ptr(), right.as_ptr(), count) };
                    assert_eq!(found.signum(), left.cmp(&right) as i32, "{count} at {at}");
                }
            }
        }
    }
}
