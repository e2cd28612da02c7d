//! `cargo xtask demo [--once]`: a pod as local processes, without Docker or a cluster.
//!
//! The containers of the pod are the rows of `CONTAINERS`; what they share is a folder in place of the pod's volumes. With
//! `--once` the demo drives requests, rotates the log three times meanwhile, stops everything with SIGTERM, and compares every line
//! written with every line read. Without it the pod runs until Ctrl-C, with commands to try.
//!
//! A tool joins with one row. Its `proof` gets every byte that the tool wrote to stdout and says whether that is right.

mod client;
mod compare;
mod pod;
mod screen;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::workspace;
use client::Client;
use compare::Comparison;
use pod::{Pod, eventually};
use screen::Screen;

/// Requests that `--once` sends.
const REQUESTS: usize = 1000;
const ROTATIONS: usize = 3;
/// How long a loaded machine may take for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to run the demo.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Drive it, rotate the log three times, stop it, compare what was written with what was read
    #[arg(long)]
    once: bool,
}

/// One container of the pod.
pub(crate) struct Container {
    /// Its name in the pod, which stands before each of its lines.
    name: &'static str,
    /// The crate and binary that it runs.
    tool: &'static str,
    role: Role,
    /// What it does here, for whoever watches.
    does: &'static str,
    args: fn(&Volumes) -> Vec<String>,
    /// Whether its stdout is right, where that can be known.
    proof: Option<Proof>,
}

/// Compares everything that a container wrote to stdout with what it should have written.
pub(crate) type Proof = fn(&Volumes, &[u8]) -> anyhow::Result<Comparison>;

/// When a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// To its end before the others start.
    Init,
    /// The app. It listens, and the others start when it is ready.
    App,
    /// Beside the app.
    Sidecar,
}

/// The pod, in the order in which a kubelet would start it.
const CONTAINERS: &[Container] = &[
    Container {
        name: "folders",
        tool: "init-writer",
        role: Role::Init,
        does: "makes the folder of the logs, once",
        args: |volumes| vec!["mkdir".into(), volumes.path("logs")],
        proof: None,
    },
    Container {
        name: "page",
        tool: "init-writer",
        role: Role::Init,
        does: "writes the date into the page, once",
        args: |volumes| vec!["date".into(), volumes.path("html/index.html")],
        proof: None,
    },
    Container {
        name: "web",
        tool: "demo-app",
        role: Role::App,
        does: "serves the page, writes an access log, and a log of its own with day-first stamps",
        args: |volumes| {
            let root = ["--root".into(), volumes.path("html")];
            let log = ["--access-log".into(), volumes.path(ACCESS_LOG)];
            let own = ["--app-log".into(), volumes.path(APP_LOG), "--app-log-every".into(), "20ms".into()];
            ["--listen".into(), "127.0.0.1:0".into()].into_iter().chain(root).chain(log).chain(own).collect()
        },
        proof: None,
    },
    Container {
        name: "door",
        tool: "tls-ambassador",
        role: Role::Sidecar,
        does: "takes TLS from outside and hands the requests to the app",
        args: |volumes| {
            let certificate = ["--cert".into(), certificate("tls.crt"), "--key".into(), certificate("tls.key")];
            let target = ["--target".into(), volumes.app().to_string(), "--admin-listen".into(), "127.0.0.1:0".into()];
            let listen = ["server", "--mode", "http", "--disable-authentication", "--threads", "1", "--listen"];
            let listen = listen.map(String::from).into_iter().chain([volumes.door.to_string()]);
            listen.chain(target).chain(certificate).collect()
        },
        proof: None,
    },
    Container {
        name: "tunnel",
        tool: "tls-ambassador",
        role: Role::Sidecar,
        does: "takes plain text and carries it over TLS to the door, which it verifies",
        args: |volumes| {
            let target = ["--target".into(), volumes.door.to_string(), "--admin-listen".into(), "127.0.0.1:0".into()];
            let trust = ["--cacert".into(), certificate("ca.crt"), "--threads".into(), "1".into()];
            let listen = ["client".into(), "--listen".into(), volumes.tunnel.to_string()];
            listen.into_iter().chain(target).chain(trust).collect()
        },
        proof: None,
    },
    Container {
        name: "log",
        tool: "log-tailer",
        role: Role::Sidecar,
        does: "streams the access log to stdout, through every rotation",
        args: |volumes| vec!["-n+1".into(), "-F".into(), volumes.path(ACCESS_LOG)],
        proof: Some(|volumes, read| Ok(compare::lines(&volumes.written(ACCESS_LOG)?, read))),
    },
    Container {
        name: "date",
        tool: "date-adapter",
        role: Role::Sidecar,
        does: "follows the app's own log and puts the year first in each stamp",
        args: |volumes| {
            let formats = ["-i", "%d/%m/%YT%T", "-f", "%Y/%m/%dT%T"].map(String::from);
            // All stop at once: it stays for the app's last line.
            let stay = ["--drain-min".into(), "1s".into()];
            ["-F".into(), volumes.path(APP_LOG)].into_iter().chain(formats).chain(stay).collect()
        },
        proof: Some(|volumes, read| Ok(compare::lines(&year_first(&std::fs::read(volumes.path(APP_LOG))?), read))),
    },
];

const ACCESS_LOG: &str = "logs/access.log";
const APP_LOG: &str = "logs/app.log";

/// What the app's own log looks like with the first ten bytes of each line, 01/12/2022, turned around.
fn year_first(log: &[u8]) -> Vec<u8> {
    let line = |line: &[u8]| match line {
        [d1, d2, b'/', m1, m2, b'/', y1, y2, y3, y4, rest @ ..] => {
            [&[*y1, *y2, *y3, *y4, b'/', *m1, *m2, b'/', *d1, *d2], rest].concat()
        }
        other => other.to_vec(),
    };
    log.split_inclusive(|byte| *byte == b'\n').flat_map(line).collect()
}

/// A file of the certificates that the compose demo uses as well; everybody knows their key.
fn certificate(name: &str) -> String {
    workspace::root().join("docker/compose/certs").join(name).display().to_string()
}

/// What the containers share: a folder, and their addresses.
pub(crate) struct Volumes {
    folder: tempfile::TempDir,
    /// Where the app listens, once it does.
    app: OnceLock<SocketAddr>,
    door: SocketAddr,
    tunnel: SocketAddr,
}

impl Volumes {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("podkit-demo-").tempdir();
        let folder = folder.context("cannot make a temporary folder")?;
        let [door, tunnel] = free_addresses().context("no free port on 127.0.0.1")?;
        Ok(Self { folder, app: OnceLock::new(), door, tunnel })
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Sidecars start after the app, so they know it.
    fn app(&self) -> SocketAddr {
        self.app.get().copied().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// A path below the folder, as an argument.
    fn path(&self, name: &str) -> String {
        self.root().join(name).display().to_string()
    }

    /// Every byte that was written to a log and its rotated siblings, the oldest first.
    fn written(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let siblings = (1..=ROTATIONS).rev().map(|number| self.path(&format!("{name}.{number}")));
        let mut written = Vec::new();
        for path in siblings.chain([self.path(name)]) {
            written.extend(std::fs::read(&path).with_context(|| format!("cannot read {path}"))?);
        }
        Ok(written)
    }
}

/// Two addresses that were free a moment ago.
fn free_addresses() -> std::io::Result<[SocketAddr; 2]> {
    let (one, two) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok([one.local_addr()?, two.local_addr()?])
}

/// Runs the demo.
///
/// # Errors
/// When a build fails, a container ends too early or with another code than 0, or a proof fails.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let binaries = build()?;
    let volumes = Volumes::new()?;
    let screen = Arc::new(Screen::new());
    screen.say(&format!("a pod in {}", volumes.root().display()));
    for container in CONTAINERS {
        screen.introduce(container);
    }
    let mut pod = Pod::start(CONTAINERS, &volumes, &binaries, &screen)?;
    if args.once { once(&mut pod, &volumes, &screen) } else { until_told(&mut pod, &volumes, &screen) }
}

/// The folder of the pod's binaries. The tests have built those that ship.
fn build() -> anyhow::Result<PathBuf> {
    if let Some(built) = workspace::variable("PODKIT_BIN_DIR") {
        return Ok(built.into());
    }
    let mut tools: Vec<&str> = CONTAINERS.iter().map(|container| container.tool).collect();
    tools.sort_unstable();
    tools.dedup();
    workspace::build_tools(&tools)
}

fn once(pod: &mut Pod<'_>, volumes: &Volumes, screen: &Screen) -> anyhow::Result<()> {
    let page = std::fs::read_to_string(volumes.path("html/index.html")).context("the page is missing")?;
    let client = Client::new(pod.address());
    let (status, body) = client.get("/?first")?;
    if (status, body.as_str()) != (200, page.as_str()) {
        bail!("the app answers {status} with {body:?}, init-writer wrote {page:?}");
    }
    screen.say(&format!("GET / answers what init-writer wrote: {}", page.trim()));
    through_tls(volumes, screen, &page)?;
    drive(pod, volumes, screen, &client)?;
    screen.say("SIGTERM to every container at once, as a kubelet does");
    let ends = pod.stop(PATIENCE)?;
    let mut wrong = 0;
    for end in ends {
        screen.say(&format!("{} ended with {}", end.name, end.status));
        wrong += usize::from(!end.status.success());
        if let Some(proof) = end.proof {
            let comparison = proof(volumes, &end.stdout)?;
            screen.say(&format!("{}: {comparison}", end.name));
            wrong += usize::from(!comparison.is_equal());
        }
    }
    if wrong > 0 {
        bail!("demo: {wrong} containers did not do what they promise");
    }
    screen
        .say(&format!("verdict: {} requests, {ROTATIONS} rotations, every line read once and in order", REQUESTS + 2));
    Ok(())
}

/// Asks for the page in plain text through tunnel, TLS and door; and the door without TLS, which must say no.
fn through_tls(volumes: &Volumes, screen: &Screen, page: &str) -> anyhow::Result<()> {
    let tunnel = Client::new(volumes.tunnel);
    // Sidecars are not waited for: the first requests may come before their sockets.
    let answer = OnceLock::new();
    eventually("the page through TLS", PATIENCE, || tunnel.get("/?tls").is_ok_and(|got| answer.set(got).is_ok()))?;
    let (status, body) = answer.into_inner().context("no answer")?;
    if (status, body.as_str()) != (200, page) {
        bail!("through TLS the app answers {status} with {body:?}, init-writer wrote {page:?}");
    }
    if let Ok((status, body)) = Client::new(volumes.door).get("/?plain") {
        bail!("the door answers plain text with {status} and {body:?}");
    }
    screen.say("GET / through the tunnel, TLS and the door answers the same; the door answers no plain text");
    Ok(())
}

/// Sends requests on one connection while the log is rotated.
fn drive(pod: &mut Pod<'_>, volumes: &Volumes, screen: &Screen, client: &Client) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| client.send(REQUESTS));
        for rotation in 1..=ROTATIONS {
            let due = rotation * REQUESTS / (ROTATIONS + 1);
            let reached = || client.answered.load(Ordering::Relaxed) >= due || sender.is_finished();
            eventually("requests to be answered", PATIENCE, || reached() || pod::interrupted())?;
            rotate(pod, volumes, rotation)?;
            screen.say(&format!("rotation {rotation} after {due} requests: renamed the log, sent SIGUSR1 to the app"));
        }
        sender.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
    })
}

/// What logrotate does with `create`: the numbers move up, the app opens a new file.
#[expect(clippy::disallowed_methods, reason = "kit-fs is for what ships; a developer's command plays logrotate")]
fn rotate(pod: &Pod<'_>, volumes: &Volumes, rotation: usize) -> anyhow::Result<()> {
    let log = |number: usize| match number {
        0 => volumes.path(ACCESS_LOG),
        _ => volumes.path(&format!("{ACCESS_LOG}.{number}")),
    };
    for number in (0..rotation).rev() {
        std::fs::rename(log(number), log(number + 1)).with_context(|| format!("cannot rename {}", log(number)))?;
    }
    pod.reopen_logs()?;
    eventually("the app to open its log again", PATIENCE, || Path::new(&log(0)).exists())
}

fn until_told(pod: &mut Pod<'_>, volumes: &Volumes, screen: &Screen) -> anyhow::Result<()> {
    let (url, app, log) = (format!("http://{}", pod.address()), pod.app_id()?, volumes.path(ACCESS_LOG));
    screen.say("try in another terminal, and watch the lines come out below:");
    for (command, what) in [
        (format!("curl {url}/"), "the page; one line in the log"),
        (
            format!("curl --cacert {} https://localhost:{}/", certificate("ca.crt"), volumes.door.port()),
            "the same over TLS",
        ),
        (format!("curl http://{}/", volumes.tunnel), "the same in plain text, which the tunnel carries over TLS"),
        (format!("mv {log} {log}.1; kill -USR1 {app}"), "a rotation; no line is lost"),
        (format!("for i in $(seq 1000); do curl -s {url}/$i >/dev/null; done"), "a thousand lines"),
        (format!("curl -X POST {url}/fail; curl -i {url}/ready"), "readiness goes; /recover brings it back"),
    ] {
        screen.say(&format!("  {command}    # {what}"));
    }
    screen.say("Ctrl-C stops the pod and removes its folder");
    screen.show_everything();
    while !pod::interrupted() {
        pod.check()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    screen.say("stopping: SIGTERM to every container");
    for end in pod.stop(PATIENCE)? {
        let lines = end.stdout.iter().filter(|byte| **byte == b'\n').count();
        screen.say(&format!("{} ended with {}, {lines} lines on stdout", end.name, end.status));
    }
    Ok(())
}
