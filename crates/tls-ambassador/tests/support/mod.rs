//! A running ambassador, an app behind it, and peers that share no code with it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "a module of several test files")]

#[path = "../../../kit-tls/tests/pki/mod.rs"]
pub mod pki;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit_test::{Exit, Process, eventually, eventually_some, free_port, try_http_get};

/// Long enough for a loaded machine; only a failing test waits it out.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test: in a full run the one that ships, where it was built.
pub fn ambassador() -> Command {
    let shipped =
        variable("PODKIT_BIN_DIR").filter(|_| full()).map(|folder| PathBuf::from(folder).join("tls-ambassador"));
    let mut command = Command::new(shipped.unwrap_or_else(|| env!("CARGO_BIN_EXE_tls-ambassador").into()));
    // The machine that runs the tests may name public authorities; a test says whom it trusts.
    command.env_remove("SSL_CERT_FILE");
    command
}

/// A started ambassador. `port` is where it accepts.
pub struct Door {
    pub process: Process,
    pub port: u16,
    pub admin: SocketAddr,
}

impl Door {
    /// Starts `server` or `client` with a listener on loopback, without waiting for anything.
    pub fn start(mode: &str, target: &str, flags: &[&str]) -> Self {
        let port = free_port();
        let mut door = Self::start_on(mode, &format!("127.0.0.1:{port}"), target, flags);
        door.port = port;
        door
    }

    pub fn start_on(mode: &str, listen: &str, target: &str, flags: &[&str]) -> Self {
        Self::launch(ambassador(), mode, listen, target, flags)
    }

    /// As [`Door::start_on`], with a command that may have variables of its own.
    pub fn launch(mut command: Command, mode: &str, listen: &str, target: &str, flags: &[&str]) -> Self {
        let admin: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        command.args([mode, "--listen", listen, "--target", target, "--admin-listen", &admin.to_string()]);
        command.args(["--threads", "2", "--log-level", "debug"]).args(flags);
        Self { process: Process::spawn(&mut command), port: 0, admin }
    }

    pub fn ready(self) -> Self {
        eventually(&format!("ready; stderr: {}", self.process.stderr()), PATIENCE, || self.status("/readyz") == 200);
        self
    }

    /// The status of an admin path; 0 when nobody answers.
    pub fn status(&self, path: &str) -> u16 {
        try_http_get(self.admin, path).map_or(0, |response| response.status)
    }

    pub fn metrics(&self) -> String {
        try_http_get(self.admin, "/metrics").map(|response| response.body).unwrap_or_default()
    }

    /// The sum of all series whose line starts with `name`.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics();
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub fn stop(mut self) -> Exit {
        self.process.signal(kit_test::Signal::TERM);
        self.process.wait_within(PATIENCE)
    }
}

/// Runs the ambassador to its end.
pub fn run(arguments: &[&str]) -> Exit {
    Process::spawn(ambassador().args(arguments)).wait_within(PATIENCE)
}

/// An app that echoes, and counts its connections.
pub struct Echo {
    pub port: u16,
    pub first_bytes: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Echo {
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn on(listener: TcpListener) -> Self {
        let port = listener.local_addr().unwrap().port();
        let first_bytes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&first_bytes);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || echo(stream, &seen));
            }
        });
        Self { port, first_bytes }
    }

    pub fn target(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn connections(&self) -> usize {
        self.first_bytes.lock().unwrap().len()
    }
}

fn echo(mut stream: TcpStream, seen: &Mutex<Vec<Vec<u8>>>) {
    let mut buffer = vec![0; 65536];
    let index = {
        let mut seen = seen.lock().unwrap();
        seen.push(Vec::new());
        seen.len() - 1
    };
    let mut first = true;
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if std::mem::take(&mut first) {
            seen.lock().unwrap()[index] = buffer[..count].to_vec();
        }
        if stream.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
}

/// A peer of Python's ssl, with what it says on stdout.
pub fn peer(arguments: &[&str]) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/peer.py");
    Process::spawn_fed(Command::new("python3").arg(script).args(arguments))
}

/// Runs a peer to its end and returns what it said.
pub fn ask(arguments: &[&str]) -> String {
    let mut process = peer(arguments);
    process.close_stdin();
    String::from_utf8(process.wait_within(PATIENCE).stdout).unwrap()
}

/// A TLS server of Python's ssl; its port.
pub fn tls_server(arguments: &[&str]) -> (Process, u16) {
    let process = peer(&[&["serve", "0"], arguments].concat());
    let said = process.wait_for_stdout("\"port\"", PATIENCE);
    let digits: String = said.split("\"port\": ").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    (process, digits.parse().unwrap())
}

/// `hello` through a door: what the client said.
pub fn hello(door: &Door, authority: &pki::Authority, client: Option<&pki::Pair>) -> String {
    let port = door.port.to_string();
    let mut arguments = vec!["echo", &port, "--ca", pki::text(&authority.ca.cert)];
    if let Some(client) = client {
        arguments.extend(["--cert", pki::text(&client.cert), "--key", pki::text(&client.key)]);
    }
    ask(&arguments)
}

/// A plain exchange with a local port: sends, and reads as many bytes.
pub fn plain(port: u16, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// A client of `rough.py`, which ends when its stdin is closed or its work is done.
pub fn rough(port: u16, ca: &Path, scenario: &str, count: usize) -> Process {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/rough.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(scenario).arg(port.to_string()).arg(ca).arg(count.to_string());
    Process::spawn_fed(&mut command)
}

/// The last line that a client of `rough.py` said, once it has ended.
pub fn verdict(mut process: Process, patience: Duration) -> serde_json::Value {
    process.close_stdin();
    let exit = process.wait_within(patience);
    let said = String::from_utf8(exit.stdout).unwrap();
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {said}{}", exit.stderr))
}

/// Whether long tests run whole instead of a part (`cargo xtask test --full`).
pub fn full() -> bool {
    variable("PODKIT_FULL").is_some()
}

/// The seed that a test run is told, for one that failed with another.
pub fn seed() -> Option<u64> {
    variable("PODKIT_FUZZ_SEED")?.to_str()?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "what a test run is told, not a tool")]
pub fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// A free unix socket path, short enough for `sun_path`.
pub fn socket_path(folder: &Path) -> PathBuf {
    folder.join("s.sock")
}

/// Polls until `look` finds something.
pub fn find<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_some(what, PATIENCE, look)
}
