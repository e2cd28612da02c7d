//! The table of `cargo xtask` commands; each one is a module of the library.

use std::process::ExitCode;

use clap::Parser;
use xtask::{engines, image, load, sizes, test};

/// The repository's own commands
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Run a command with Docker and Kubernetes that know our images
    Engines(engines::Args),
    /// Build images as archives that docker, podman and containerd load
    Image(image::Args),
    /// Put images into the cluster that KUBECONFIG names
    Load(load::Args),
    /// Print the bytes of every binary and archive beside its budget
    Sizes(sizes::Args),
    /// Run everything that must hold, set-up included
    Test(test::Args),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Engines(args) => engines::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Sizes(args) => sizes::run(&args),
        Command::Test(args) => return test::run(&args),
    };
    xtask::exit_code(outcome)
}
