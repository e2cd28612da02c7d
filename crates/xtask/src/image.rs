//! `cargo xtask image TOOL|--all`: images as archives, without a daemon.
//!
//! Written here instead of with a builder: the Dockerfile's image stages are three lines, an archive is a few JSON documents
//! and two tars, and so it needs no Linux packages, no root, and no version of a builder shows in the bytes. Tests hold that
//! `buildah` makes the same image of the same Dockerfile.
//!
//! ```text
//! target/images/bin/amd64/log-tailer    the binary, which is also a build context: --build-context bin=target/images/bin/amd64
//! target/images/log-tailer-amd64.tar    the archive
//! ```

pub mod archive;
pub mod binary;
pub mod elf;
mod foreign_c;
pub mod rows;
pub mod stages;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::workspace;
use rows::Row;
use stages::Stage;

/// What to build.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The image to build, by the name of its tool
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    tool: Option<String>,

    /// Build every row of docker/images.toml
    #[arg(long)]
    all: bool,

    /// Build for one architecture only
    #[arg(long, value_enum)]
    arch: Option<Arch>,

    /// Compile a second time from nothing and compare the digests
    #[arg(long)]
    verify: bool,

    /// Only compile and check the binaries
    #[arg(long, conflicts_with = "verify")]
    binaries: bool,
}

/// An architecture, by the name that images use for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arch {
    /// `x86_64`
    Amd64,
    /// `aarch64`
    Arm64,
}

impl Arch {
    /// All that images are built for.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The name in image configs and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The target that Rust compiles for.
    pub fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// The architecture of this machine, where it is one of ours.
    pub fn host() -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.target().starts_with(std::env::consts::ARCH))
    }
}

/// Where archives are put.
pub fn folder() -> PathBuf {
    workspace::target_dir().join("images")
}

/// Path of a tool's archive.
pub fn archive_path(tool: &str, arch: Arch) -> PathBuf {
    folder().join(format!("{tool}-{}.tar", arch.name()))
}

/// Path of the binary that is in the archive.
pub fn binary_path(tool: &str, arch: Arch) -> PathBuf {
    folder().join("bin").join(arch.name()).join(tool)
}

/// Builds what `args` name and prints one line per image.
///
/// # Errors
/// When a build fails, a binary is not what ships, or a budget is exceeded. Archives of earlier images are left in place.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let rows = rows::read(&workspace::root())?;
    let stages = stages::read(&workspace::root())?;
    let wanted = |row: &&Row| args.all || args.tool.as_ref() == Some(&row.tool);
    let chosen: Vec<&Row> = rows.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = rows.iter().map(|row| row.tool.as_str()).collect();
        bail!("docker/images.toml has no row {:?}; it has {}", args.tool.as_deref().unwrap_or(""), known.join(", "));
    }
    for row in chosen {
        let stage = stages.iter().find(|stage| stage.name == row.tool);
        let stage = stage.with_context(|| format!("docker/Dockerfile has no stage {}", row.tool))?;
        for arch in args.arch.map_or(Arch::ALL.to_vec(), |arch| vec![arch]) {
            build(row, stage, arch, args).with_context(|| format!("{} for {}", row.tool, arch.name()))?;
        }
    }
    Ok(())
}

fn build(row: &Row, stage: &Stage, arch: Arch, args: &Args) -> anyhow::Result<()> {
    let built = binary::build(&row.tool, arch, &workspace::target_dir())?;
    let binary = std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    elf::check(&binary, arch)?;
    within("the binary", binary.len(), row.binary)?;
    publish(&binary_path(&row.tool, arch), &binary, 0o555)?;
    if args.binaries {
        println!("{:16} {:5} {:>9} bytes", row.tool, arch.name(), binary.len());
        return Ok(());
    }
    let archive = assemble(row, stage, arch)?;
    within("the archive", archive.bytes.len(), row.archive)?;
    if args.verify {
        verify(row, &binary, arch)?;
    }
    publish(&archive_path(&row.tool, arch), &archive.bytes, 0o644)?;
    let size = archive.bytes.len();
    let verified = if args.verify { "  rebuilt: the same" } else { "" };
    println!("{:16} {:5} {size:>9} bytes  {}{verified}", row.tool, arch.name(), archive.manifest);
    Ok(())
}

/// The archive of a tool from the binary that [`run`] left in [`folder`].
///
/// # Errors
/// When that binary cannot be read.
pub fn assemble(row: &Row, stage: &Stage, arch: Arch) -> anyhow::Result<archive::Archive> {
    archive::assemble(stage, row, arch, &workspace::revision(), |source| {
        let path = binary_path(source.trim_start_matches('/'), arch);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    })
}

/// Compiles everything again in an empty folder.
fn verify(row: &Row, first: &[u8], arch: Arch) -> anyhow::Result<()> {
    let folder = workspace::target_dir().join("verify");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let again = std::fs::read(binary::build(&row.tool, arch, &folder)?)?;
    let (first, again) = (archive::digest(first), archive::digest(&again));
    if first != again {
        bail!("the second build of the binary differs: {first}, then {again}");
    }
    Ok(())
}

fn within(what: &str, bytes: usize, budget: u64) -> anyhow::Result<()> {
    if bytes as u64 > budget {
        bail!("{what} has {bytes} bytes, its budget in docker/images.toml is {budget}");
    }
    Ok(())
}

/// Writes a file through a neighbour, so that a run that is stopped leaves no half archive.
#[expect(
    clippy::disallowed_methods,
    reason = "kit-fs is for what ships; a developer's command does not depend on rooms"
)]
fn publish(path: &std::path::Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(path))?;
        let neighbour = path.with_extension("new");
        std::fs::write(&neighbour, bytes)?;
        std::fs::set_permissions(&neighbour, std::fs::Permissions::from_mode(mode))?;
        std::fs::rename(&neighbour, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
