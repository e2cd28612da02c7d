//! What stands where the unwinder would be, in programs that a panic ends at once.
//!
//! Rust's standard library comes compiled for unwinding, and its own panic message can hold a backtrace. Both make the linker
//! take an unwinder, and with it a reader of debug information that decompresses and demangles. A program with
//! `panic = "abort"` never unwinds. It ships without unwind tables and symbols, so that its backtrace would be empty, and
//! its panics are told by the hook of this crate, which prints none. Without all that such a program is a twentieth smaller.

use std::ffi::{c_int, c_void};

/// `_URC_END_OF_STACK`: there are no frames.
const END_OF_STACK: c_int = 5;

/// Gives every function of the unwinder that the standard library names a body that is never reached.
macro_rules! never_called {
    ($($name:ident),*) => {
        $(
            // SAFETY: the name is the unwinder's, which is not linked because it is taken; nobody reads what it returns.
            #[expect(unsafe_code, reason = "the linker has to find the unwinder's names here")]
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> ! {
                std::process::abort()
            }
        )*
    };
}

never_called!(
    _Unwind_DeleteException,
    _Unwind_GetDataRelBase,
    _Unwind_GetIP,
    _Unwind_GetIPInfo,
    _Unwind_GetLanguageSpecificData,
    _Unwind_GetRegionStart,
    _Unwind_GetTextRelBase,
    _Unwind_RaiseException,
    _Unwind_Resume,
    _Unwind_SetGR,
    _Unwind_SetIP
);

/// Calls `each` for no frame at all.
// SAFETY: the name is the unwinder's, as above, and so are the types; neither argument is used.
#[expect(unsafe_code, reason = "the linker has to find the unwinder's names here")]
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(
    _each: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
    _argument: *mut c_void,
) -> c_int {
    END_OF_STACK
}
