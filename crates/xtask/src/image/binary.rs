//! Compiles the static binary of one tool.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::{Arch, foreign_c, rows};
use crate::workspace;

/// Builds `tool` with the profile that ships and returns the path of the binary.
///
/// One package at a time: a workspace build would unify features and make the binary larger. No path of this machine gets into
/// it, and `RUSTFLAGS` of the caller are not used, so that the same commit gives the same bytes elsewhere.
///
/// # Errors
/// When the target's standard library is missing and cannot be installed, or when the build fails.
pub fn build(tool: &str, arch: Arch, target_dir: &Path) -> anyhow::Result<PathBuf> {
    Ok(compile(tool, &[], arch, target_dir)?.join(tool))
}

/// Builds the example `name` of `package` as [`build`] builds a tool, which shares what both are made of.
///
/// # Errors
/// As for [`build`].
pub fn build_example(package: &str, name: &str, arch: Arch, target_dir: &Path) -> anyhow::Result<PathBuf> {
    Ok(compile(package, &["--example", name], arch, target_dir)?.join("examples").join(name))
}

/// The folder that holds what was built.
fn compile(package: &str, what: &[&str], arch: Arch, target_dir: &Path) -> anyhow::Result<PathBuf> {
    let target = arch.target();
    let sysroot =
        workspace::capture(Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace::root()))?;
    let sysroot = PathBuf::from(sysroot.trim());
    if !sysroot.join("lib/rustlib").join(target).exists() {
        workspace::run(Command::new("rustup").args(["target", "add", target]).current_dir(workspace::root()))
            .context("the target's standard library is missing")?;
    }
    let lean = rows::read(&workspace::root())?.iter().any(|row| row.tool == package && row.lean);
    let profile = if lean { "dist-lean" } else { "dist" };
    let mut build = workspace::cargo();
    build.args(["build", "--quiet", "--locked", "--profile", profile, "--package", package, "--target", target]);
    build.args(what);
    build.arg("--target-dir").arg(target_dir);
    build.env("CARGO_ENCODED_RUSTFLAGS", flags(arch, &sysroot, lean).join("\u{1f}"));
    build.env("CARGO_INCREMENTAL", "0");
    // aws-lc would gather randomness of its own from the processor's timing, which takes 0.1 s of every start; getrandom(2)
    // is enough for a process that cannot start before the kernel is seeded.
    build.env("AWS_LC_SYS_NO_JITTER_ENTROPY", "1");
    // What counts in it is assembly, so that its C does not need more (with -Os a handshake takes a tenth more: it copies byte by
    // byte), and nothing unwinds through it. AES-GCM for AVX-512 alone has 0.7 MB; without it processors that have VAES encrypt
    // as fast as those that have only AES-NI.
    build.env("AWS_LC_SYS_CFLAGS", "-O2 -fno-asynchronous-unwind-tables -DMY_ASSEMBLER_IS_TOO_OLD_FOR_512AVX");
    build.env("PODKIT_REVISION", workspace::revision());
    if Arch::host() != Some(arch) && foreign_c::needed(package, arch)? {
        build.envs(foreign_c::environment(arch)?);
    }
    workspace::run(&mut build)?;
    Ok(target_dir.join(target).join(profile))
}

fn flags(arch: Arch, sysroot: &Path, lean: bool) -> Vec<String> {
    let cargo_home = workspace::variable("CARGO_HOME").map(PathBuf::from);
    let home = workspace::variable("HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| home.map(|home| home.join(".cargo"))).unwrap_or_default();
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![
        remap(&workspace::root(), "/podkit"),
        remap(&cargo_home, "/cargo"),
        remap(sysroot, "/rust"),
        // Relocations are resolved before `main`, so nothing writable points into code.
        "-Crelro-level=full".to_owned(),
    ];
    // A static-pie relocates itself when it starts, by a table of 24 bytes a pointer. Packed it is a hundred times smaller;
    // musl reads that since 1.2.4.
    flags.push(match arch {
        Arch::Amd64 => "-Clink-arg=-Wl,-z,pack-relative-relocs".to_owned(),
        Arch::Arm64 => "-Clink-arg=-zpack-relative-relocs".to_owned(),
    });
    if lean {
        flags.push("-Cforce-unwind-tables=no".to_owned());
        // Relative to the workspace, where cargo starts the compiler and that the linker: an absolute path would change the bytes.
        let arguments = ["--no-eh-frame-hdr", "-Tcrates/xtask/src/image/lean.ld"];
        let through = if arch == Arch::Arm64 { "" } else { "-Wl," };
        flags.extend(arguments.map(|argument| format!("-Clink-arg={through}{argument}")));
    }
    if arch == Arch::Arm64 {
        flags.extend(arm64_link(&sysroot.join("lib/rustlib").join(arch.target()).join("lib/self-contained")));
    }
    flags
}

/// Links with the linker, the musl and the start files that come with Rust: no cross compiler is needed as long as there is no C.
///
/// Rust 1.95 makes position-dependent programs for this target. All its objects are position-independent, so that naming the
/// start files of a static-pie (`rcrt1.o` relocates the program before `main`) instead of Rust's choice is enough.
fn arm64_link(start_files: &Path) -> Vec<String> {
    let mut flags = vec![
        "-Clinker=rust-lld".to_owned(),
        "-Clink-self-contained=no".to_owned(),
        format!("-Lnative={}", start_files.display()),
    ];
    flags.extend(["-pie", "--no-dynamic-linker", "-ztext"].map(|argument| format!("-Clink-arg={argument}")));
    let objects = ["rcrt1.o", "crti.o", "crtbeginS.o", "crtendS.o", "crtn.o"];
    flags.extend(objects.map(|object| format!("-Clink-arg={}", start_files.join(object).display())));
    flags
}
