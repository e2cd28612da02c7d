//! `cargo xtask engines COMMAND...`: runs a command with a Docker daemon and a Kubernetes cluster that know our images.
//!
//! ```text
//! cargo xtask image --all --arch amd64
//! cargo xtask engines cargo test -p podkit-tests docker
//! ```
//!
//! The command's environment then holds `DOCKER_HOST` and `KUBECONFIG` for what runs, `PODKIT_IMAGE_DIR`, and in
//! `PODKIT_REQUIRE` the engines whose tests must not skip.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::engine::{Cluster, Docker, all_must_run};
use crate::{image, load, workspace};

/// What to run.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Runs the command and stops what was started for it.
///
/// # Errors
/// When an engine that can run does not, an image is refused, or the command fails.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let engines = Engines::start()?;
    let Some((program, rest)) = args.command.split_first() else { return Ok(()) };
    workspace::run(Command::new(program).args(rest).envs(engines.environment()))
}

/// The engines that run, with our images and the peers of the examples loaded. Dropping it stops what it started.
#[derive(Debug)]
pub struct Engines {
    // The cluster goes first: its network rules lie upon Docker's.
    cluster: Option<Cluster>,
    docker: Option<Docker>,
}

impl Engines {
    /// Starts what can be started and loads the archives of `target/images`.
    ///
    /// # Errors
    /// When an engine that can run does not, or it refuses an image.
    pub fn start() -> anyhow::Result<Self> {
        let engines = Self { docker: Docker::start()?, cluster: Cluster::start()? };
        if engines.docker.is_some() || engines.cluster.is_some() {
            peers()?;
        }
        let archives: Vec<PathBuf> = load::built()?;
        if let Some(docker) = &engines.docker {
            docker.load(&archives)?;
        }
        if let Some(cluster) = &engines.cluster {
            cluster.load(&archives)?;
        }
        Ok(engines)
    }

    /// What tests need to find the engines and the images.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let docker = self.docker.iter().flat_map(Docker::environment);
        let cluster = self.cluster.iter().flat_map(Cluster::environment);
        let names = [("docker", self.docker.is_some()), ("cluster", self.cluster.is_some())];
        let required: Vec<&str> =
            names.into_iter().filter(|(_, runs)| *runs || all_must_run()).map(|(name, _)| name).collect();
        let always =
            [("PODKIT_REQUIRE", required.join(" ").into()), ("PODKIT_IMAGE_DIR", image::folder().into_os_string())];
        docker.chain(cluster).chain(always).collect()
    }
}

/// Makes the images of other programs that the examples name; elsewhere than on Debian the engines pull them.
fn peers() -> anyhow::Result<()> {
    if !std::path::Path::new("/usr/bin/apt-get").exists() {
        return Ok(());
    }
    for peer in load::PEERS {
        let archive = load::peer_archive(peer);
        if !archive.exists() {
            workspace::run(Command::new(workspace::root().join(format!("docker/peers/{peer}.sh"))).arg(archive))?;
        }
    }
    Ok(())
}
