//! The repository's own commands, run as `cargo xtask NAME`.
//!
//! One module per command; `main.rs` is the table of them. Tests use the modules as a library, so that what they check is what
//! the commands do.
#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's command talks to the terminal; kit-run is for what ships"
)]

pub mod bench;
pub mod conformance;
pub mod demo;
pub mod engine;
pub mod engines;
pub mod image;
pub mod load;
pub mod new;
pub mod sizes;
pub mod test;
pub mod workspace;

use std::process::ExitCode;

/// Prints a failure as one line with its causes; 1 for a failure, 0 otherwise.
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure:#}");
            ExitCode::FAILURE
        }
    }
}
