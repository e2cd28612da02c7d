//! Writes given content into a shared volume, once, then exits: an init container without a shell.
//!
//! Promised: the request, a whole plan included, is checked before the first step runs; steps run in order and stop at
//! the first error, which names step, file, reason and repair; every file appears whole or not at all; running again
//! changes nothing that is already so; with `--root` nothing outside of that directory is read or written.
//!
//! Not promised: that a plan as a whole is one transaction (steps that were done stay done), that a symlink at a
//! target is followed (it is replaced), or downloads.
//!
//! ```text
//! command line or plan -> Args / plan -> Vec<Step> -> check all -> run one after the other
//! ```
//!
//! ```text
//! init-writer date /contents/index.html
//! init-writer copy /etc/hostname /html/index.html
//! init-writer mkdir /mnt/html --owner 33:33
//! init-writer --plan /plan/plan.yaml --root /data
//! ```

mod args;
mod compat;
mod data;
mod date;
mod glob;
mod hint;
mod plan;
mod step;
mod template;
mod tree;
mod work;
mod yaml;

pub use args::Args;

use kit_run::{Context, Error};

/// Checks what was asked for, then does it.
///
/// # Errors
/// Exit code 2 before anything was changed when the request is wrong or a variable is unset; exit code 1 when a step
/// failed, with the steps before it done.
pub fn run(args: Args, context: Context) -> Result<(), Error> {
    work::run(args.try_into()?, &context)
}
