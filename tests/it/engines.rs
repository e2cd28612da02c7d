//! What `cargo xtask test` and `cargo xtask engines` put beside the tests: images, a Docker daemon, a cluster, programs.
//!
//! A test that lacks its engine says so and passes, unless `PODKIT_REQUIRE` names the engine: then it fails. Images are no
//! engine: without them a test fails and names the command that builds them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use xtask::image::Arch;
use xtask::workspace::variable;

/// The folder of the archives.
fn images() -> PathBuf {
    let folder = variable("PODKIT_IMAGE_DIR");
    folder.expect("PODKIT_IMAGE_DIR is not set: run the tests with `cargo xtask test`").into()
}

/// The archive of a tool.
pub(crate) fn archive(tool: &str, arch: Arch) -> PathBuf {
    images().join(format!("{tool}-{}.tar", arch.name()))
}

/// The binary that is in the archive.
pub(crate) fn binary(tool: &str, arch: Arch) -> PathBuf {
    images().join("bin").join(arch.name()).join(tool)
}

/// Whether a program of this machine can be used.
pub(crate) fn program(name: &str) -> Option<()> {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    present(name, found.is_ok_and(|status| status.success()))
}

/// Whether a Docker daemon answers.
pub(crate) fn docker() -> Option<()> {
    present("docker", answers(Command::new("docker").arg("version")))
}

/// Whether the cluster of `KUBECONFIG` answers.
pub(crate) fn cluster() -> Option<()> {
    let named = variable("KUBECONFIG").is_some();
    present("cluster", named && answers(Command::new("kubectl").args(["get", "--raw", "/readyz"])))
}

fn answers(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The same for what is found in another way.
pub(crate) fn present(name: &str, found: bool) -> Option<()> {
    if !found {
        let required = variable("PODKIT_REQUIRE").unwrap_or_default();
        let required = required.to_string_lossy();
        assert!(!required.split_whitespace().any(|word| word == name), "{name} is required here and does not answer");
        eprintln!("skipped: {name} is not there");
    }
    found.then_some(())
}

/// What a command wrote to stdout; its end with anything but 0 fails the test with everything that it wrote.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}
