//! The table of `cargo xtask` commands; each one is a module of the library.

use std::process::ExitCode;

use clap::Parser;
use xtask::{image, sizes};

/// The repository's own commands
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Build images as archives that docker, podman and containerd load
    Image(image::Args),
    /// Print the bytes of every binary and archive beside its budget
    Sizes(sizes::Args),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Image(args) => image::run(&args),
        Command::Sizes(args) => sizes::run(&args),
    };
    xtask::exit_code(outcome)
}
