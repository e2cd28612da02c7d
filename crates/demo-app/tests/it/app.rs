//! A running demo-app and the requests that tests send to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kit_test::Process;

/// How long a loaded machine may take for what takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A demo-app on a port of its own.
pub(crate) struct App {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl App {
    /// Starts it and waits until it listens.
    #[track_caller]
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let process = Process::spawn(command().args(["--listen", "127.0.0.1:0"]).args(arguments));
        let address = address_in(&process.wait_for_stderr("listening", PATIENCE));
        Self { process, address }
    }

    /// Where the admin endpoint is, if `--admin-listen 127.0.0.1:0` was given.
    #[track_caller]
    pub(crate) fn admin(&self) -> SocketAddr {
        address_in(&self.process.wait_for_stderr("admin endpoint open", PATIENCE))
    }

    /// One request on a connection of its own: the head and the body of the answer.
    #[track_caller]
    pub(crate) fn send(&self, request_line: &str, headers: &str) -> (String, String) {
        let mut stream = self.connect();
        write!(stream, "{request_line} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n{headers}\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not HTTP: {answer:?}"));
        (head.to_owned(), body.to_owned())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The status of a GET.
    #[track_caller]
    pub(crate) fn status(&self, path: &str) -> u16 {
        kit_test::http_get(self.address, path).status
    }
}

#[track_caller]
fn address_in(line: &str) -> SocketAddr {
    let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    address.unwrap_or_else(|| panic!("no address in {line:?}"))
}

/// The binary, without the variables of the machine that tests run on.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-app"));
    command.env_clear();
    command
}

/// Plays logrotate.
#[expect(clippy::disallowed_methods, reason = "kit-fs is for what ships")]
pub(crate) fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}
