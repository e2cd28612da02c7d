//! Gives back what only the start needed.
//!
//! Reading a command line, key files and the rest of a start runs through most of the program once. The kernel maps 16
//! pages of a program's file around each one that is touched, and they all stay in the process: more than all else in an
//! idle door. What runs afterwards is mapped again from the page cache when it runs, at the cost of one fault for 64 KiB.

use std::ffi::{c_int, c_void};
use std::time::Duration;

/// After this time the threads have begun to wait, and there is no more to the start.
const SETTLED: Duration = Duration::from_secs(1);

/// To be awaited beside the work from the time when it begins.
pub(crate) async fn once_settled() {
    tokio::time::sleep(SETTLED).await;
    forget_the_start();
}

/// Unmaps the pages of code and constants. They are the program's file, unchanged, and come back when they are touched.
#[expect(
    unsafe_code,
    reason = "no safe interface tells where the program lies; an idle door has less than half with it"
)]
fn forget_the_start() {
    // SAFETY: the callback has the type that the C library asks for and is given nothing; the library calls it before it
    // returns, with a description of the program that is valid meanwhile.
    unsafe { libc::dl_iterate_phdr(Some(forget), std::ptr::null_mut()) };
}

/// Called with the program itself first; a value other than 0 ends the iteration.
#[expect(unsafe_code, reason = "as above")]
unsafe extern "C" fn forget(program: *mut libc::dl_phdr_info, _size: usize, _nothing: *mut c_void) -> c_int {
    // SAFETY: the C library passes a valid description, whose headers are as many as it says; sysconf only answers.
    let (base, headers, page) = unsafe {
        let program = &*program;
        let headers = std::slice::from_raw_parts(program.dlpi_phdr, program.dlpi_phnum.into());
        (program.dlpi_addr as usize, headers, libc::sysconf(libc::_SC_PAGESIZE))
    };
    let Ok(page) = usize::try_from(page) else { return 1 };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let start = (base + header.p_vaddr as usize).next_multiple_of(page);
        let end = (base + header.p_vaddr as usize + header.p_memsz as usize) / page * page;
        if end > start {
            // SAFETY: whole pages of a segment that was mapped without the right to write, so that each still has the
            // content of its file and will have it again. Errors are of no consequence: the pages then stay.
            unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) };
        }
    }
    1
}
