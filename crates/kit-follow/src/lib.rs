//! Files followed across rotation, truncation and restart, every whole line handed over once.
//!
//! Promised, as long as the bytes still exist under the path or a sibling name when the loop looks: every line once, in
//! order, whole, through rename, create, late writes, dated names, compression and copytruncate; also while the output
//! is stuck. Memory does not grow with files, lines, backlog or rotations.
//!
//! Not promised: bytes that were deleted or overwritten before any look (they are counted), the state file after a
//! machine died, order between different paths.
//!
//! A path has generations, oldest first: files that are or were under its name, each with its offset. They are drained
//! in that order. The output is a [`Sink`] that never blocks the [`follow`] loop.
//!
//! ```text
//! FollowArgs -> Config -> follow(config, sink, host, stats) -> Outcome
//! app.log.2 (read)  app.log.1 (draining)  app.log (live)
//! ```

mod alarm;
mod args;
mod beside;
mod candidate;
mod checkpoints;
mod closing;
mod config;
mod copies;
mod engine;
mod events;
mod feed;
mod follow;
mod generation;
mod glob;
mod gz;
mod headers;
mod identity;
mod lines;
mod names;
mod output;
mod place;
mod reads;
mod reconcile;
mod resume;
mod siblings;
mod sink;
mod start;
mod state;
mod stats;
mod status;
mod stream;
mod target;
mod watch;
mod window;

pub use args::{ArgsError, FollowArgs, Partial};
pub use config::{Config, LineEnds, OnStateError, Watch};
pub use follow::{Command, FollowError, Host, Outcome, follow};
pub use headers::{Headers, When};
pub use lines::LineEnd;
pub use output::{Output, WINDOW};
pub use sink::{Piece, Sink, Source, Taken, Then};
pub use start::Start;
pub use state::StateError;
pub use stats::Stats;
