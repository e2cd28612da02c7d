//! What a fresh machine lacks: Rust targets, Debian packages, cargo-deny.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::report::{Counts, Outcome};
use crate::engine::{installed, is_root};
use crate::image::Arch;
use crate::workspace;

/// Programs that tests start, and the Debian packages that bring them. A test whose program is missing says that it skipped.
const PROGRAMS: &[(&str, &str)] = &[
    ("buildah", "buildah"),
    ("busybox", "busybox-static"),
    ("cc", "gcc"),
    ("curl", "curl"),
    ("docker", "docker.io"),
    ("docker-compose", "docker-compose"),
    ("dockerd", "docker.io"),
    // Its library lies about the date to the programs that are told to load it.
    ("faketime", "faketime"),
    ("git", "git"),
    ("gzip", "gzip"),
    ("h2load", "nghttp2-client"),
    ("logrotate", "logrotate"),
    ("mariadbd", "mariadb-server"),
    ("mawk", "mawk"),
    ("musl-gcc", "musl-tools"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("perl", "perl"),
    // A module and not a program: an absolute path is looked for as it is.
    ("/usr/lib/python3/dist-packages/h2/connection.py", "python3-h2"),
    ("/usr/lib/python3/dist-packages/grpc/__init__.py", "python3-grpcio"),
    ("pg_ctlcluster", "postgresql"),
    ("podman", "podman"),
    ("python3", "python3"),
    ("qemu-aarch64-static", "qemu-user-static"),
    ("runc", "runc"),
    ("strace", "strace"),
];

const DENY: &str = "0.20.2";

/// Brings what can be brought, and says in one line what is missing for good.
///
/// # Errors
/// When an installation that was possible failed.
pub(crate) fn run() -> anyhow::Result<Outcome> {
    targets()?;
    packages()?;
    Ok(Outcome::Passed(Counts::ONE))
}

fn targets() -> anyhow::Result<()> {
    if !installed("rustup") {
        println!("rustup is not here: the targets {} must come with Rust", Arch::ALL.map(Arch::target).join(", "));
        return Ok(());
    }
    let list = workspace::capture(
        Command::new("rustup").args(["target", "list", "--installed"]).current_dir(workspace::root()),
    )?;
    for target in Arch::ALL.map(Arch::target).into_iter().filter(|target| !list.lines().any(|line| line == *target)) {
        workspace::run(Command::new("rustup").args(["target", "add", target]).current_dir(workspace::root()))?;
    }
    Ok(())
}

fn packages() -> anyhow::Result<()> {
    let missing = PROGRAMS.iter().filter(|(program, _)| !installed(program));
    let mut packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if !is_root() || !installed("apt-get") {
        println!("tests that need them will say that they skipped; what is missing comes with: {install}");
        return Ok(());
    }
    let _no_servers = KeepServersDown::begin();
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(["-qq", "-o", "DPkg::Lock::Timeout=300"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        // Hundreds of lines of unpacking; errors go to stderr.
        apt.stdout(Stdio::null());
        apt
    };
    let mut add = apt(&["install", "-y", "--no-install-recommends"]);
    add.args(&packages);
    println!("{install}");
    // The lists of a fresh machine are empty, those of an old one name versions that are gone.
    if workspace::run(&mut apt(&["update"])).is_ok() && workspace::run(&mut add).is_ok() {
        return Ok(());
    }
    // One package that this release does not have must not keep the others away.
    for package in packages {
        if workspace::run(&mut apt(&["install", "-y", "--no-install-recommends", package])).is_err() {
            println!("{package} cannot be installed: tests that need it will say that they skipped");
        }
    }
    Ok(())
}

/// Debian starts a server when its package is installed; tests start their own on ports of their own.
struct KeepServersDown(Option<PathBuf>);

impl KeepServersDown {
    fn begin() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let policy = Path::new("/usr/sbin/policy-rc.d");
        let refuse = || {
            std::fs::write(policy, "#!/bin/sh\nexit 101\n")?;
            std::fs::set_permissions(policy, std::fs::Permissions::from_mode(0o755))
        };
        // The machine's own policy stays.
        Self((!policy.exists() && refuse().is_ok()).then(|| policy.to_owned()))
    }
}

impl Drop for KeepServersDown {
    fn drop(&mut self) {
        if let Some(policy) = &self.0 {
            let _gone = std::fs::remove_file(policy);
        }
    }
}

/// The path of cargo-deny: the machine's, or one that is compiled once into the target folder.
///
/// Without optimisation that takes 70 s on two cores (its release profile, with fat LTO, several minutes), and a check of
/// this workspace still takes less than a second.
///
/// # Errors
/// When it is not there and cannot be built.
pub(crate) fn cargo_deny() -> anyhow::Result<PathBuf> {
    if installed("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let tools = workspace::target_dir().join("tools");
    let built = tools.join("bin/cargo-deny");
    if !built.exists() {
        let mut install = workspace::cargo();
        install.args(["install", "--quiet", "--locked", "--debug", "--root"]).arg(&tools);
        install.arg(format!("cargo-deny@{DENY}")).env("CARGO_PROFILE_DEV_DEBUG", "0");
        install.env("CARGO_TARGET_DIR", tools.join("build"));
        workspace::run(&mut install).context("cargo-deny is not installed and cannot be built")?;
        let _freed = std::fs::remove_dir_all(tools.join("build"));
    }
    Ok(built)
}
