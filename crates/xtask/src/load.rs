//! `cargo xtask load`: puts the images of `target/images` into the cluster that `KUBECONFIG` names.

use std::path::PathBuf;

use anyhow::bail;

use crate::engine::Cluster;
use crate::image::{self, Arch, rows};
use crate::workspace;

/// The programs whose images scripts in `docker/peers` make.
pub(crate) const PEERS: [&str; 2] = ["nginx", "postgres"];

/// The archive of one of [`PEERS`].
pub(crate) fn peer_archive(peer: &str) -> PathBuf {
    image::folder().join("peers").join(peer).with_extension("tar")
}

/// What to load.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Archives to load instead of all images of this machine's architecture
    archives: Vec<PathBuf>,
}

/// Loads the archives; pods then find them by the names in their manifests.
///
/// # Errors
/// When there is no cluster, no archive, or the cluster's loader fails.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let archives = if args.archives.is_empty() { built()? } else { args.archives.clone() };
    if archives.is_empty() {
        bail!("nothing was built yet: cargo xtask image --all");
    }
    if workspace::variable("KUBECONFIG").is_none() {
        bail!("KUBECONFIG is not set");
    }
    let Some(cluster) = Cluster::start()? else { bail!("there is no cluster") };
    cluster.load(&archives)?;
    for archive in archives {
        println!("loaded {}", archive.display());
    }
    Ok(())
}

/// The archives of this machine's architecture, and of the peers that the examples need.
///
/// # Errors
/// When `docker/images.toml` cannot be read.
pub fn built() -> anyhow::Result<Vec<PathBuf>> {
    let rows = rows::read(&workspace::root())?;
    let host = Arch::host().unwrap_or(Arch::Amd64);
    let ours = rows.iter().map(|row| image::archive_path(&row.tool, host));
    Ok(ours.chain(PEERS.map(peer_archive)).filter(|path| path.exists()).collect())
}
