//! Lines on their way out: chosen, joined, cut, paced, decoded and dressed.
//!
//! Promised: memory is bounded by one window of input, whatever the length of a line; every byte that is not dropped
//! on purpose comes out, and what is dropped is counted by reason; JSON and logfmt stay valid for any bytes and can be
//! turned back into them. The order of work is: decode, join ([`LineArgs::multiline_start`]), choose, sample, cut
//! (`--max-line-bytes`), pace, dress. A tool that changes what lines say does so between choosing and cutting ([`Rewrite`]).
//!
//! Not promised: following, writing or waiting. [`Lines`] knows only bytes; whoever calls it offers lines, writes what
//! comes out, and offers again what was not taken.
//!
//! ```
//! use clap::Parser;
//! #[derive(clap::Parser)]
//! struct Args { #[command(flatten)] lines: kit_lines::LineArgs }
//! let args = Args::parse_from(["tool", "--include-lines", "error", "--prefix", "{name}: "]);
//! let mut lines = args.lines.lines(Default::default()).unwrap();
//! let mut out = Vec::new();
//! let input = kit_lines::Input::whole(b"/var/log/a.log", b"fine\nan error\n");
//! let taken = lines.take(input, std::time::Instant::now(), std::time::SystemTime::now(), &mut out);
//! assert_eq!((taken.bytes, out.as_slice()), (14, b"a.log: an error\n".as_slice()));
//! ```

mod args;
mod dress;
mod encoding;
mod lines;
mod rate;
mod stats;

pub use args::{Encoding, Format, LineArgs, LineError, LongLines};
pub use lines::{Input, Lines, Record, Rewrite, Taken, Then, WINDOW};
pub use rate::{Rate, RatePolicy};
pub use stats::LineStats;
