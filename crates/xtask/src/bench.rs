//! `cargo xtask bench NAME`: our tools beside the ones they replace, in one interleaved run.
//!
//! Raw results go to `tests/bench/NAME.json`, the table made from them into the tool's README between two markers. A test
//! holds both together, so a table cannot be newer or kinder than its numbers.

pub mod date;
pub mod init;
pub mod machine;
pub mod readme;
pub mod results;
pub mod tail;
pub mod tls;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::image::{Arch, binary};
use crate::workspace;
use results::Results;

/// Medians of fewer rounds are noise and stand in no README.
pub const LEAST_ROUNDS: usize = 5;

/// Which measurement.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// init-writer beside the busybox one-liners that it replaces
    Init(init::Args),
    /// log-tailer beside GNU tail, busybox and (where `uu_tail` is in PATH) uutils
    Tail(tail::Args),
    /// date-adapter beside awk, perl and a bare loop
    Date(date::Args),
    /// tls-ambassador beside nginx, haproxy, hitch, stunnel and (where PyPI can be reached) envoy
    Tls(tls::Args),
    /// Copies a file to stdout by splice, or by read and write, as the limit to compare with
    #[command(hide = true)]
    Bare { way: tail::speed::Way, file: PathBuf },
}

/// Measures what `args` name.
///
/// # Errors
/// When a build or a measurement fails, or a tool's output is wrong where it has to be right. Files are then unchanged.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::Init(args) => init::run(args),
        What::Tail(args) => tail::run(args),
        What::Date(args) => date::run(args),
        What::Tls(args) => tls::run(args),
        What::Bare { way, file } => tail::speed::bare(*way, file),
    }
}

/// The binary to measure: `given`, else the one that ships, built now.
fn ours(tool: &str, given: Option<&Path>) -> anyhow::Result<PathBuf> {
    match given {
        Some(given) => Ok(std::path::absolute(given)?),
        None => binary::build(tool, Arch::Amd64, &workspace::target_dir()),
    }
}

/// Writes the raw results to `tests/bench/NAME.json` and the table into the tool's README, if there were rounds enough.
fn publish(tool: &str, name: &str, results: &Results, table: &str) -> anyhow::Result<()> {
    if results.rounds < LEAST_ROUNDS {
        eprintln!("fewer than {LEAST_ROUNDS} rounds: the table in {tool}'s README stays as it was");
        return Ok(());
    }
    let raw = workspace::root().join(format!("tests/bench/{name}.json"));
    fs::create_dir_all(raw.parent().context("a path with a parent")?)?;
    fs::write(&raw, serde_json::to_string_pretty(results)? + "\n")?;
    readme::replace(&workspace::root().join(format!("crates/{tool}/README.md")), name, table)
}
