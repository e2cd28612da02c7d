//! The other side: `<tool> healthcheck`, for exec probes in images without a shell.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use kit_units::ListenAddress;

/// The `healthcheck` subcommand: asks a running tool in the same pod and tells by the exit code.
#[derive(Debug, Clone, clap::Args)]
pub struct HealthcheckArgs {
    /// Where the running tool listens, as given to it
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<ListenAddress>,

    /// What to ask: /livez, /readyz or /startupz
    #[arg(long, value_name = "PATH", default_value = "/readyz")]
    pub path: String,

    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = kit_units::duration)]
    pub timeout: Duration,
}

/// Why the tool is not healthy, or could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    /// Neither the flag nor the variable tells where to ask: a wrong request.
    #[error("healthcheck does not know where to ask")]
    NoAddress,
    /// The path is not one that can stand in a request line: a wrong request.
    #[error("--path {0:?} is not a path; it starts with / and holds no blanks")]
    Path(String),
    /// No answer came.
    #[error("cannot ask {scheme}://{address}{path}")]
    Unreachable {
        /// How it was asked: `http` or `https`.
        scheme: &'static str,
        /// Where it was asked.
        address: SocketAddr,
        /// What was asked for.
        path: String,
        /// Why there was no answer.
        source: io::Error,
    },
    /// The answer was not 200.
    #[error("{scheme}://{address}{path} answers {status}: {reason}")]
    Unhealthy {
        /// How it was asked: `http` or `https`.
        scheme: &'static str,
        /// Where it was asked.
        address: SocketAddr,
        /// What was asked for.
        path: String,
        /// The status of the answer.
        status: u16,
        /// The answer's body on one line.
        reason: String,
    },
}

impl HealthcheckError {
    /// The repair.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoAddress => {
                "give --admin-listen with the address that the tool itself was given, or set its variable"
            }
            Self::Path(_) => "write --path /readyz, /livez or /startupz",
            Self::Unreachable { .. } => "the tool must run with --admin-listen on this address",
            Self::Unhealthy { .. } => "the tool's own log says more",
        }
    }

    /// 2 for a wrong request, 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoAddress | Self::Path(_) => 2,
            Self::Unreachable { .. } | Self::Unhealthy { .. } => 1,
        }
    }
}

/// Asks once and returns when the answer is 200. Blocks for at most twice `timeout`: a connect and an exchange.
///
/// # Errors
/// Whenever the exit code must not be 0: see [`HealthcheckError`].
pub fn healthcheck(args: &HealthcheckArgs) -> Result<(), HealthcheckError> {
    healthcheck_by(args, "http", |address, path| ask("GET", address, path, args.timeout))
}

/// As [`healthcheck`], asked by `asker`, which gets the address and the path and returns status and body; for a listener that
/// does not speak plain text. `scheme` stands in error texts.
///
/// # Errors
/// As [`healthcheck`].
pub fn healthcheck_by(
    args: &HealthcheckArgs,
    scheme: &'static str,
    asker: impl FnOnce(SocketAddr, &str) -> io::Result<(u16, String)>,
) -> Result<(), HealthcheckError> {
    let address = args.admin_listen.ok_or(HealthcheckError::NoAddress)?.reachable();
    let path = args.path.clone();
    if !path.starts_with('/') || path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(HealthcheckError::Path(path));
    }
    let (status, body) = match asker(address, &path) {
        Ok(answer) => answer,
        Err(source) => return Err(HealthcheckError::Unreachable { scheme, address, path, source }),
    };
    if status == 200 {
        return Ok(());
    }
    let reason = body.lines().collect::<Vec<_>>().join("; ");
    Err(HealthcheckError::Unhealthy { scheme, address, path, status, reason })
}

/// A request without body over HTTP/1.0, whose answer ends with the connection.
#[must_use]
pub fn question(method: &str, address: SocketAddr, path: &str) -> String {
    format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n")
}

/// Asks once over plain text: status and at most 4 KiB of body.
///
/// # Errors
/// Nobody answers in time, or not in HTTP.
pub fn ask(method: &str, address: SocketAddr, path: &str, timeout: Duration) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    let deadline = Instant::now() + timeout;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(question(method, address, path).as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while answer.len() < 4096 {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            // Who was told to end may do so before it has said all.
            Err(_) if !answer.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    answer_of(&answer)
}

/// Status and body of what came back.
///
/// # Errors
/// It is not HTTP.
pub fn answer_of(bytes: &[u8]) -> io::Result<(u16, String)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))?;
    Ok((status, body.to_owned()))
}
