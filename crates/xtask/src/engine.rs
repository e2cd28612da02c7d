//! The engines that tests run images in: a Docker daemon and a Kubernetes cluster.
//!
//! What runs already is used and left alone. What does not run is started where that is possible (Docker: root and `dockerd`;
//! Kubernetes: root and `../shared/k8s`) and stopped when the value is dropped. Where it is not possible, `start` says so in one
//! line and returns `None`, and the tests of that engine say that they skipped.
//!
//! Not promised: a cluster for everybody. `KUBECONFIG` names any other one (kind, k3d, minikube), see [`Cluster::load`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::workspace::{self, capture, run, variable};

/// A Docker daemon that answers.
#[derive(Debug)]
pub struct Docker {
    host: Option<OsString>,
    started: Option<Daemon>,
}

#[derive(Debug)]
struct Daemon {
    process: Child,
    folder: PathBuf,
}

impl Docker {
    /// The daemon that answers, or one that is started for as long as the value lives.
    ///
    /// # Errors
    /// When a daemon was started and does not come up; its last lines are in the message.
    pub fn start() -> anyhow::Result<Option<Self>> {
        if answers(None) {
            return Ok(Some(Self { host: variable("DOCKER_HOST"), started: None }));
        }
        let reason = if !installed("docker") {
            "docker is not installed"
        } else if !installed("dockerd") {
            "no daemon answers and dockerd is not installed"
        } else if !is_root() {
            "no daemon answers and starting one needs root"
        } else {
            return start_daemon().map(Some);
        };
        println!("Docker tests do not run: {reason}");
        Ok(None)
    }

    /// What `docker` needs in its environment to reach this daemon.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        self.host.iter().map(|host| ("DOCKER_HOST", host.clone())).collect()
    }

    /// Makes the images of these archives known to the daemon.
    ///
    /// # Errors
    /// When the daemon refuses one.
    pub fn load(&self, archives: &[PathBuf]) -> anyhow::Result<()> {
        for archive in archives {
            capture(Command::new("docker").args(["load", "--input"]).arg(archive).envs(self.environment()))?;
        }
        Ok(())
    }
}

fn answers(host: Option<&Path>) -> bool {
    let mut command = Command::new("docker");
    if let Some(socket) = host {
        command.env("DOCKER_HOST", unix(socket));
    }
    // `docker version` without a server prints the client's version and fails.
    let version = command.args(["version", "--format", "{{.Server.Version}}"]).stderr(Stdio::null()).output();
    version.is_ok_and(|output| output.status.success())
}

fn unix(socket: &Path) -> OsString {
    let mut host = OsString::from("unix://");
    host.push(socket);
    host
}

fn start_daemon() -> anyhow::Result<Docker> {
    // A short path: the kernel limits a socket's to 107 bytes. The data root must not lie on an overlay, which /tmp rarely is.
    let folder = std::env::temp_dir().join(format!("podkit-docker-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let socket = folder.join("docker.sock");
    let log = folder.join("log");
    let output = std::fs::File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
    let process = Command::new("dockerd")
        .arg("--data-root")
        .arg(folder.join("data"))
        .arg("--exec-root")
        .arg(folder.join("exec"))
        .arg("--pidfile")
        .arg(folder.join("pid"))
        .arg("--host")
        .arg(unix(&socket))
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("cannot share a log")?)
        .stderr(output)
        .spawn()
        .context("cannot start dockerd")?;
    let mut daemon = Daemon { process, folder };
    let deadline = Instant::now() + Duration::from_secs(90);
    while !answers(Some(&socket)) {
        let ended = daemon.process.try_wait().context("cannot watch dockerd")?;
        if ended.is_some() || Instant::now() > deadline {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(5).collect();
            bail!("dockerd did not come up; its last lines, newest first: {}", last.join(" | "));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("started dockerd, process {}", daemon.process.id());
    Ok(Docker { host: Some(unix(&socket)), started: Some(daemon) })
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM lets it stop its containers and its containerd; a daemon that hangs is killed.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(30);
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.process.kill();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Some(daemon) = self.started.take() {
            println!("stopping dockerd, process {}", daemon.process.id());
        }
    }
}

/// A Kubernetes cluster that answers.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: OsString,
    /// The folder with `load` and `down`, where the cluster is the shared one.
    shared: Option<PathBuf>,
    started: bool,
}

impl Cluster {
    /// The cluster that `KUBECONFIG` names, or the one of `../shared/k8s` (or `$PODKIT_SHARED/k8s`), which is stopped with the
    /// value unless it ran before.
    ///
    /// # Errors
    /// When the cluster that is named does not answer, or the shared one does not start.
    pub fn start() -> anyhow::Result<Option<Self>> {
        if let Some(kubeconfig) = variable("KUBECONFIG") {
            capture(kubectl(&kubeconfig).args(["get", "--raw", "/readyz"])).context("the cluster of KUBECONFIG")?;
            return Ok(Some(Self { kubeconfig, shared: None, started: false }));
        }
        let shared = shared().join("k8s");
        let reason = if !shared.join("up").exists() {
            "KUBECONFIG is not set"
        } else if !is_root() {
            "KUBECONFIG is not set and starting a cluster needs root"
        } else {
            let ran = ran_before();
            let kubeconfig = capture(Command::new(shared.join("up")).stderr(Stdio::inherit()))?.trim().into();
            println!("{} the cluster of {}", if ran { "found" } else { "started" }, shared.display());
            return Ok(Some(Self { kubeconfig, shared: Some(shared), started: !ran }));
        };
        println!("cluster tests do not run: {reason}");
        Ok(None)
    }

    /// What `kubectl` needs in its environment to reach this cluster.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![("KUBECONFIG", self.kubeconfig.clone())]
    }

    /// Puts the images of these archives where the cluster's nodes find them.
    ///
    /// # Errors
    /// When the cluster is of an unknown kind, or its loader fails.
    pub fn load(&self, archives: &[PathBuf]) -> anyhow::Result<()> {
        if let Some(shared) = &self.shared {
            capture(Command::new(shared.join("load")).args(archives))?;
            return Ok(());
        }
        for archive in archives {
            run(&mut self.loader(archive)?)?;
        }
        Ok(())
    }

    /// The command that loads one archive: by the name that kind, k3d and minikube give their contexts, or by `PODKIT_LOAD`.
    fn loader(&self, archive: &Path) -> anyhow::Result<Command> {
        if let Some(own) = variable("PODKIT_LOAD") {
            let mut command = Command::new(own);
            command.arg(archive);
            return Ok(command);
        }
        let context = capture(kubectl(&self.kubeconfig).args(["config", "current-context"]))?;
        let mut command = match context.trim().split_once('-').unwrap_or((context.trim(), "")) {
            ("kind", name) => {
                let mut command = Command::new("kind");
                command.args(["load", "image-archive", "--name", name]);
                command
            }
            ("k3d", name) => {
                let mut command = Command::new("k3d");
                command.args(["image", "import", "--cluster", name]);
                command
            }
            ("minikube", _) => {
                let mut command = Command::new("minikube");
                command.args(["image", "load"]);
                command
            }
            (other, _) => {
                bail!("no loader for the cluster {other:?}; PODKIT_LOAD names a program that takes an archive")
            }
        };
        command.arg(archive);
        Ok(command)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let (true, Some(shared)) = (self.started, &self.shared) {
            println!("stopping the cluster of {}", shared.display());
            let _ = Command::new(shared.join("down")).stdout(Stdio::null()).status();
        }
    }
}

/// Whether this machine has all that engines need (root and the shared cluster), so that no test of theirs may skip.
pub fn all_must_run() -> bool {
    is_root() && shared().join("k8s/up").exists()
}

fn ran_before() -> bool {
    let folder = variable("K8S_RUN").map_or_else(|| "/tmp/k8s-run".into(), PathBuf::from);
    let config = folder.join("admin.conf");
    config.exists() && capture(kubectl(config.as_os_str()).args(["get", "--raw", "/readyz"])).is_ok()
}

/// Material beside the repository that not everybody has.
fn shared() -> PathBuf {
    variable("PODKIT_SHARED").map_or_else(|| workspace::root().join("../shared"), PathBuf::from)
}

fn kubectl(kubeconfig: &std::ffi::OsStr) -> Command {
    let mut command = Command::new("kubectl");
    command.env("KUBECONFIG", kubeconfig).arg("--request-timeout=10s");
    command
}

/// Whether a program of this name is in the path; `/usr/sbin` is looked at as well, where users' paths may not lead.
pub(crate) fn installed(program: &str) -> bool {
    let path = variable("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.into_iter().any(|folder| folder.join(program).is_file())
}

/// Whether this process may do what only root may.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
