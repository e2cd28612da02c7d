//! Follows log files on a shared volume and writes every line to stdout, once.
//!
//! Promised: the lines of every generation, whole and in order, through every kind of rotation, as long as their bytes
//! exist when looked for; nothing is dropped while stdout is stuck; SIGTERM drains; with a state file a kill loses
//! nothing. Bytes pass untouched unless a flag asks otherwise.
//!
//! Not promised: bytes that were deleted or overwritten before any look, and order between different files.
//!
//! The app writes its log where it likes on a volume that both containers mount; it needs to know nothing of this tool.
//!
//! ```text
//! args: ["-n+1", "-F", "/var/log/nginx/access.log"]
//! ```

mod args;
mod compat;
mod either;
pub mod exit;
mod pod;
mod raw;
mod run;
mod worked;

pub use args::Args;
pub use run::run;
