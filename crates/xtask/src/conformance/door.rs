//! tls-ambassador as the suites meet it: an app behind it, certificates that openssl makes.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use kit_test::Process;

use super::Bench;
use crate::workspace;

/// How long a start may take on a loaded machine.
const START: Duration = Duration::from_secs(30);

/// demo-app on a port of its own, ready.
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

/// tls-ambassador on a port of its own, ready; stopped when it is dropped.
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], kit_test::free_port()))
}

/// Starts `command` and waits until `admin` says that it is ready.
fn start(command: &mut Command, admin: SocketAddr, path: &str) -> anyhow::Result<Process> {
    command.env_clear().env("PATH", workspace::variable("PATH").unwrap_or_default());
    let mut process = Process::spawn(command);
    let deadline = std::time::Instant::now() + START;
    while !kit_test::try_http_get(admin, path).is_ok_and(|answer| answer.status == 200) {
        if !process.is_running() || std::time::Instant::now() > deadline {
            bail!("{command:?} did not become ready: {}", process.stderr().trim());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}

impl App {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(bench: &Bench<'_>) -> anyhow::Result<App> {
        let address = local();
        let mut command = Command::new(bench.binaries.join("demo-app"));
        command.args(["--listen", &address.to_string()]);
        let process = start(&mut command, address, "/ready")?;
        Ok(App { address, _process: process })
    }
}

impl Door {
    /// `tls-ambassador server --mode http` in front of `app`, with tls.crt and tls.key of `folder` and `flags`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(bench: &Bench<'_>, app: &App, folder: &Path, flags: &[&str]) -> anyhow::Result<Door> {
        let (address, admin) = (local(), local());
        let mut command = Command::new(bench.binaries.join("tls-ambassador"));
        command.current_dir(folder).args(["server", "--mode", "http", "--cert", "tls.crt", "--key", "tls.key"]);
        command.args(["--listen", &address.to_string(), "--target", &app.address.to_string()]);
        command.args(["--admin-listen", &admin.to_string()]).args(flags);
        let process = start(&mut command, admin, "/readyz")?;
        Ok(Door { address, _process: process })
    }
}

/// Writes tls.crt, which signs itself for localhost and 127.0.0.1, and tls.key; `algorithm` is openssl's `-newkey`.
///
/// # Errors
/// When there is no openssl or it refuses.
pub fn certificate(folder: &Path, algorithm: &str) -> anyhow::Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder).args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    openssl.args(["-newkey", algorithm, "-keyout", "tls.key", "-out", "tls.crt"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    workspace::capture(&mut openssl).context("a certificate for the door").map(drop)
}
