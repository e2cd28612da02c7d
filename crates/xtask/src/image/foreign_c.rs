//! A C compiler for the other architecture, for tools with C inside.
//!
//! zig compiles C for any musl target and comes as a Python package, so that no cross compiler of a distribution is needed.
//! Linking stays with Rust's own linker.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::Arch;
use crate::workspace;

/// Pinned, as the linker flags are checked with this one.
const ZIG: &str = "0.17.1";

/// Whether the tool has C code among its dependencies. All of it is cryptography's.
///
/// # Errors
/// When the lock file cannot be read.
pub(super) fn needed(tool: &str, arch: Arch) -> anyhow::Result<bool> {
    let mut tree = workspace::cargo();
    tree.args(["tree", "--quiet", "--locked", "--prefix", "none", "--package", tool, "--target", arch.target()]);
    Ok(workspace::capture(&mut tree)?.lines().any(|line| line.starts_with("aws-lc-sys ")))
}

/// The variables that make crates compile C with zig, which is installed into the target folder when it is not there.
///
/// # Errors
/// When Python or the package cannot be had.
pub(super) fn environment(arch: Arch) -> anyhow::Result<[(String, PathBuf); 2]> {
    let home = workspace::target_dir().join("tools").join(format!("zig-{ZIG}"));
    if !home.join("ziglang").exists() {
        let mut install = Command::new("python3");
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]);
        install.arg("--target").arg(&home).arg(format!("ziglang=={ZIG}"));
        workspace::run(&mut install)
            .context("C for another architecture needs zig, from the Python package ziglang")?;
    }
    let suffix = arch.target().replace('-', "_");
    let triple = arch.target().replace("-unknown", "");
    // The triple is zig's, not the one that build scripts name; sanitizers would ask for a runtime at link time.
    let compiler = format!(
        "for word; do shift; case $word in --target=*) ;; *) set -- \"$@\" \"$word\";; esac; done\n\
         exec {}/ziglang/zig cc -target {triple} -fno-sanitize=all \"$@\"\n",
        home.display()
    );
    let archiver = format!("exec {}/ziglang/zig ar \"$@\"\n", home.display());
    Ok([
        (format!("CC_{suffix}"), script(&home.join(format!("cc-{triple}")), &compiler)?),
        (format!("AR_{suffix}"), script(&home.join("ar"), &archiver)?),
    ])
}

fn script(path: &Path, text: &str) -> anyhow::Result<PathBuf> {
    let write = || {
        std::fs::write(path, format!("#!/bin/sh\n{text}"))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}
