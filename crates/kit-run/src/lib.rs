//! A process: arguments and environment in, exit code out.
//!
//! Promised to every tool that starts through [`main`] or [`main_blocking`]:
//!
//! - each flag also has an environment name (`LOG_TAILER_POLL`), a flag wins, an unknown `LOG_TAILER_*` is refused;
//! - `--log-level`, `--log-format` and, for long-running tools, `--grace` exist and mean the same everywhere;
//! - SIGTERM and SIGINT ask for a [`Shutdown`], also as PID 1; a second one ends the process at once;
//! - an end with a code other than 0 prints `error:` and `hint:` once and leaves the same text, cut to 4096 bytes, in
//!   `/dev/termination-log` where that file exists.
//!
//! Not promised: reaping of orphans. A tool that starts children waits for them itself.
//!
//! ```text
//! argv + env -> Tool::compat -> clap -> A -> run(A, Context) -> Ok | Error -> exit code
//! ```

mod context;
mod error;
mod logs;
mod process;
mod request;
mod shutdown;
mod stdout;
#[cfg(panic = "abort")]
mod unwinding;

pub use context::{Context, Environment, Signal, SignalStream};
pub use error::Error;
pub use logs::{log_level, notice, set_log_level};
pub use process::{main, main_blocking};
pub use request::{Common, LogFormat, Setting, Tool, edits, parse};
pub use shutdown::{Shutdown, Trigger};
pub use stdout::stdout;

/// Exit codes that every tool shares. A tool's own codes are constants in its `exit.rs`.
pub mod exit {
    /// The work failed.
    pub const FAILED: u8 = 1;
    /// The request was wrong: a flag, a variable or a configuration file.
    pub const REQUEST: u8 = 2;
    /// The grace period ended with work left.
    pub const WORK_LEFT: u8 = 4;
    /// What was waited for did not happen in time, as in coreutils' `timeout`.
    pub const TIMED_OUT: u8 = 124;
}
