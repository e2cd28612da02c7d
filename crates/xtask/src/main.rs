//! The table of `cargo xtask` commands; each one is a module of the library.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
use clap::Parser;
#[cfg(target_os = "linux")]
use xtask::{bench, conformance, demo, engines, image, load, new, sizes, test};

/// The repository's own commands
#[cfg(target_os = "linux")]
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Measure our tools beside the ones they replace
    Bench(bench::Args),
    /// Run suites that other people wrote against tls-ambassador
    Conformance(conformance::Args),
    /// Run a pod as local processes, without Docker or a cluster
    Demo(demo::Args),
    /// Run a command with Docker and Kubernetes that know our images
    Engines(engines::Args),
    /// Build images as archives that docker, podman and containerd load
    Image(image::Args),
    /// Put images into the cluster that KUBECONFIG names
    Load(load::Args),
    /// Write everything that a new tool has, in the shape that all of them have
    New(new::Args),
    /// Print the bytes of every binary and archive beside its budget
    Sizes(sizes::Args),
    /// Run everything that must hold, set-up included
    Test(test::Args),
}

#[cfg(not(target_os = "linux"))]
#[allow(clippy::print_stderr, reason = "the one line that this command has to say here")]
fn main() -> ExitCode {
    eprintln!("error: podkit's tools run on Linux, and so do its commands: use a Linux machine or container");
    ExitCode::from(2)
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Bench(args) => bench::run(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Engines(args) => engines::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Load(args) => load::run(&args),
        Command::New(args) => new::run(&args),
        Command::Sizes(args) => sizes::run(&args),
        Command::Test(args) => return test::run(&args),
    };
    xtask::exit_code(outcome)
}
