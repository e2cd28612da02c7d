//! `cargo xtask test [--full]`: everything that must hold, on a fresh machine as well.
//!
//! Stages run one after the other and go on after a failure, so that one run shows all that is wrong; each is timed, and the
//! table at the end says what passed, failed or was skipped and why. The last line counts tests, where a stage without tests of
//! its own counts as one. The exit code is 0 only when nothing failed.
//!
//! The tests see these variables:
//!
//! | name | what |
//! |---|---|
//! | `PODKIT_BIN_DIR` | the static binaries that go into the images, for this machine's architecture |
//! | `PODKIT_FULL` | `1` with `--full`: long tests run whole instead of a tenth |
//! | `DOCKER_HOST`, `KUBECONFIG`, `PODKIT_REQUIRE`, `PODKIT_IMAGE_DIR` | the engines and images, see [`crate::engines`] |

mod report;
mod setup;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::engines::Engines;
use crate::image::{self, Arch};
use crate::workspace;
use report::{Counts, Outcome, Report};

/// How much to test.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run the long tests whole, and build every image for both architectures, twice
    #[arg(long)]
    full: bool,

    /// Run only the stages of these names, separated by commas; set-up always runs
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
}

/// One step of the run.
struct Stage {
    name: &'static str,
    run: fn(&Args) -> anyhow::Result<Outcome>,
}

const STAGES: &[Stage] = &[
    Stage { name: "set-up", run: |_| setup::run() },
    Stage { name: "fmt", run: |_| plain(cargo(&["fmt", "--all", "--check"])) },
    Stage {
        name: "clippy",
        run: |_| plain(cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
    },
    Stage {
        name: "docs",
        run: |_| plain(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings")),
    },
    Stage { name: "deny", run: |_| deny() },
    Stage { name: "advisories", run: |_| advisories() },
    Stage { name: "rooms", run: |_| rooms_alone() },
    Stage { name: "binaries", run: |_| binaries() },
    Stage { name: "tests", run: tests },
    Stage { name: "demo", run: |_| plain(xtask(&["demo", "--once"]).env("PODKIT_BIN_DIR", binary_folder()?)) },
    Stage { name: "images", run: images },
    Stage { name: "spec-pods", run: spec_and_pods },
    Stage { name: "engines", run: engines },
];

/// The image that is built for foreign architectures too: all of it is Rust.
const CHEAP_IMAGE: &str = "demo-app";

/// The modules of `tests/` that need Docker or a cluster.
const ENGINE_TESTS: [&str; 2] = ["docker::", "cluster::"];

/// Runs the stages, prints the table and the line with the sums.
///
/// Returns a failure when a stage failed, or when `--only` names one that does not exist.
pub fn run(args: &Args) -> ExitCode {
    let known: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
    if let Some(unknown) = args.only.iter().find(|name| !known.contains(&name.as_str())) {
        eprintln!("error: no stage is called {unknown:?}\nhint: there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let wanted = |stage: &&Stage| {
        args.only.is_empty() || stage.name == "set-up" || args.only.iter().any(|name| name == stage.name)
    };
    let mut report = Report::default();
    for stage in STAGES.iter().filter(wanted) {
        report.stage(stage.name, || (stage.run)(args));
    }
    println!("{report}{report:#}");
    ExitCode::from(u8::from(report.failed() > 0))
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(arguments);
    cargo
}

/// Another of our commands in a process of its own: the tests replace the binary that runs this.
fn xtask(arguments: &[&str]) -> Command {
    let mut cargo = cargo(&["run", "--quiet", "--package", "xtask", "--"]);
    cargo.args(arguments);
    cargo
}

/// A stage that is one command.
fn plain(mut command: impl std::borrow::BorrowMut<Command>) -> anyhow::Result<Outcome> {
    workspace::run(command.borrow_mut())?;
    Ok(Outcome::Passed(Counts::ONE))
}

fn deny() -> anyhow::Result<Outcome> {
    plain(
        Command::new(setup::cargo_deny()?)
            .args(["check", "bans", "licenses", "sources"])
            .current_dir(workspace::root()),
    )
}

/// Known vulnerabilities; their database is elsewhere, and no release waits for a network.
fn advisories() -> anyhow::Result<Outcome> {
    let deny = || -> anyhow::Result<Command> {
        let mut deny = Command::new(setup::cargo_deny()?);
        deny.current_dir(workspace::root());
        Ok(deny)
    };
    if let Err(error) = workspace::capture(deny()?.args(["fetch", "db"])) {
        let reason = error.to_string();
        let last = reason.lines().last().unwrap_or_default().trim().to_owned();
        return Ok(Outcome::Skipped(format!("the database of advisories cannot be reached: {last}")));
    }
    plain(deny()?.args(["check", "--disable-fetch", "advisories"]))
}

/// A room must build with its own dependencies' features, not with those that its neighbours turn on. Tools are built alone
/// anyway, by the stage `binaries`.
fn rooms_alone() -> anyhow::Result<Outcome> {
    let mut passed = 0;
    for name in workspace::crates()?.iter().filter(|name| name.starts_with("kit-")) {
        workspace::run(&mut cargo(&["check", "--quiet", "--package", name]))
            .with_context(|| format!("{name} alone"))?;
        passed += 1;
    }
    Ok(Outcome::Passed(Counts { passed, ..Counts::default() }))
}

fn host() -> anyhow::Result<Arch> {
    Arch::host().with_context(|| format!("there are no images for {}", std::env::consts::ARCH))
}

fn binaries() -> anyhow::Result<Outcome> {
    plain(xtask(&["image", "--all", "--binaries", "--arch", host()?.name()]))
}

/// The folder of the binaries that the stage above built.
fn binary_folder() -> anyhow::Result<PathBuf> {
    let path = image::binary_path("", host()?);
    Ok(path.components().collect())
}

/// `cargo test` with what the tests may ask for.
fn cargo_test(args: &Args, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut test = cargo(&["test", "--no-fail-fast"]);
    test.args(arguments).env("PODKIT_BIN_DIR", binary_folder()?);
    if args.full {
        test.env("PODKIT_FULL", "1");
    }
    Ok(test)
}

fn tests(args: &Args) -> anyhow::Result<Outcome> {
    report::count(&mut cargo_test(args, &["--workspace", "--exclude", "podkit-tests", "--", "--show-output"])?)
}

/// What crosses crates, without the engines, which have a stage of their own.
fn spec_and_pods(args: &Args) -> anyhow::Result<Outcome> {
    let mut arguments = vec!["--package", "podkit-tests", "--", "--show-output"];
    arguments.extend(ENGINE_TESTS.iter().flat_map(|module| ["--skip", module]));
    let mut test = cargo_test(args, &arguments)?;
    test.env("PODKIT_IMAGE_DIR", image::folder());
    if crate::engine::all_must_run() {
        test.env("PODKIT_REQUIRE", "buildah busybox logrotate nginx podman qemu-aarch64-static");
    }
    report::count(&mut test)
}

/// Every image for this machine's architecture, one for the other: link-time optimisation of all of them for two
/// architectures takes longer than a change may wait. `--full` builds all, twice.
fn images(args: &Args) -> anyhow::Result<Outcome> {
    if args.full {
        return plain(xtask(&["image", "--all", "--verify"]));
    }
    let host = host()?;
    plain(xtask(&["image", "--all", "--arch", host.name()]))?;
    for foreign in Arch::ALL.into_iter().filter(|arch| *arch != host) {
        plain(xtask(&["image", CHEAP_IMAGE, "--arch", foreign.name()]))?;
    }
    Ok(Outcome::Passed(Counts::ONE))
}

/// The images in a real Docker and the manifests in a real Kubernetes. Where an engine runs, its tests must not skip: they fail
/// instead, told so by `PODKIT_REQUIRE`.
fn engines(args: &Args) -> anyhow::Result<Outcome> {
    let engines = Engines::start()?;
    // One at a time: containers, pods and their ports are shared by all of them.
    let mut arguments = vec!["--package", "podkit-tests", "--", "--show-output", "--test-threads", "1"];
    arguments.extend(ENGINE_TESTS);
    report::count(cargo_test(args, &arguments)?.envs(engines.environment()))
}
