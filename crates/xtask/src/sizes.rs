//! `cargo xtask sizes`: the bytes of what was built beside their budgets.

use anyhow::bail;

use crate::image::{self, Arch, rows};
use crate::workspace;

/// Takes no options.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Prints one line per binary and archive under `target/images`.
///
/// # Errors
/// When nothing was built yet.
pub fn run(_: &Args) -> anyhow::Result<()> {
    let bytes = |path: std::path::PathBuf| path.metadata().ok().map(|data| data.len());
    let mut lines = Vec::new();
    for row in rows::read(&workspace::root())? {
        for arch in Arch::ALL {
            let binary = bytes(image::binary_path(&row.tool, arch));
            let archive = bytes(image::archive_path(&row.tool, arch));
            if binary.is_none() && archive.is_none() {
                continue;
            }
            let cell = |bytes: Option<u64>, budget: u64| match bytes {
                Some(bytes) => format!("{bytes:>9} {:>3} %", bytes * 100 / budget.max(1)),
                None => format!("{:>9}      ", "-"),
            };
            let (binary, archive) = (cell(binary, row.binary), cell(archive, row.archive));
            lines.push(format!("{:16} {:5} {binary} {archive}", row.tool, arch.name()));
        }
    }
    if lines.is_empty() {
        bail!("nothing was built yet: cargo xtask image --all");
    }
    println!("{:16} {:5} {:>15} {:>15}", "tool", "arch", "binary (budget)", "archive (budget)");
    println!("{}", lines.join("\n"));
    Ok(())
}
