//! Load on a door: wrk and h2load for requests, `handshakes` of kit-tls for sessions.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::doors::{Door, NGINX_MTLS, OURS_JWT, OURS_MTLS};
use super::tokens;
use crate::image::{Arch, binary};
use crate::workspace;

/// What wrk says at its end: requests, answers that are no 200 or did not come, microseconds of the 99th percentile, and
/// bytes, those of answers under way too.
const REPORT: &str = r#"
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("report %d %d %f %.0f\n", summary.requests, e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(99), summary.bytes))
end
"#;
/// Each connection waits between two requests, so that the door is not saturated and a late answer is its own fault.
const PACE: &str = "function delay() return 5 end\n";

/// Of a few seconds of load nothing is left after so many.
const PATIENCE_SECONDS: &str = "60";

/// h2load waited for an answer that did not come. With 1.52 and haproxy that is seen now and then.
#[derive(Debug, Clone, Copy)]
pub struct Stuck;

impl std::error::Error for Stuck {}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "h2load did not end within {PATIENCE_SECONDS} s")
    }
}

/// The programs that make load.
pub struct Load {
    folder: PathBuf,
    handshakes: PathBuf,
}

/// What a load did.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Requests answered.
    pub requests: f64,
    /// Microseconds within which 99 of 100 were.
    pub p99_us: f64,
    /// Bytes that came, those of answers under way too.
    pub bytes: f64,
}

/// Which handshakes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shake {
    /// With certificates, X25519.
    Full,
    /// With certificates, X25519MLKEM768.
    Hybrid,
    /// By ticket.
    Resumed,
}

impl Load {
    /// Looks for wrk and h2load, builds `handshakes` unless `client` is one, writes wrk's scripts into `folder`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(folder: &Path, client: Option<&Path>) -> anyhow::Result<Load> {
        for (program, package) in [("wrk", "wrk"), ("h2load", "nghttp2-client")] {
            let found = crate::bench::tail::subjects::in_path(program);
            ensure!(found.is_some(), "{program} is not installed: apt-get install {package}");
        }
        fs::write(folder.join("full.lua"), REPORT)?;
        fs::write(folder.join("paced.lua"), format!("{PACE}{REPORT}"))?;
        let handshakes = match client {
            Some(given) => std::path::absolute(given)?,
            None => binary::build_example("kit-tls", "handshakes", Arch::Amd64, &workspace::target_dir())?,
        };
        Ok(Load { folder: folder.to_owned(), handshakes })
    }

    /// HTTP/1.1 over `connections` that stay open.
    ///
    /// # Errors
    /// When an answer was wrong or did not come.
    pub fn wrk(&self, door: &Door, script: &str, connections: u32, seconds: u32, path: &str) -> anyhow::Result<Done> {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t", "1", "-c", &connections.to_string(), "-d", &format!("{seconds}s"), "--timeout", "10s", "-s"]);
        wrk.arg(self.folder.join(script));
        if door.name == OURS_JWT {
            wrk.args(["-H", &tokens::header(&self.folder)?]);
        }
        wrk.arg(format!("https://localhost:{}{path}", door.port));
        let text = workspace::capture(&mut wrk)?;
        let report: Vec<f64> = text
            .lines()
            .find_map(|line| line.strip_prefix("report "))
            .map(|line| line.split(' ').filter_map(|number| number.parse().ok()).collect())
            .unwrap_or_default();
        let [requests, errors, p99_us, bytes] = report[..] else { bail!("wrk says nothing: {text}") };
        ensure!(errors == 0.0, "{}: {errors} of {requests} requests failed", door.name);
        Ok(Done { requests, p99_us, bytes })
    }

    /// HTTP/2 over 32 connections with `streams` requests at once on each; the number of requests answered.
    ///
    /// # Errors
    /// When an answer was wrong; [`Stuck`] when one did not come.
    pub fn h2load(&self, door: &Door, streams: u32, seconds: u32) -> anyhow::Result<f64> {
        let mut h2load = Command::new("timeout");
        h2load.args([PATIENCE_SECONDS, "h2load", "-t", "1", "-c", "32"]);
        h2load.args(["-D", &seconds.to_string(), "-m", &streams.to_string()]);
        h2load.arg(format!("https://localhost:{}/", door.port));
        let output = workspace::output(&mut h2load)?;
        // As `timeout` tells it.
        if output.status.code() == Some(124) {
            bail!(Stuck);
        }
        let text = workspace::stdout(&h2load, &output)?;
        ensure!(text.contains("Application protocol: h2"), "{} does not speak HTTP/2: {text}", door.name);
        let number = |before: &str, after: &str| -> Option<f64> {
            let line = text.lines().find(|line| line.starts_with(before))?;
            line[before.len()..].split(", ").find_map(|part| part.trim().strip_suffix(after)?.trim().parse().ok())
        };
        let good = number("status codes:", "2xx").context("h2load counts no answers")?;
        let failed = number("requests:", "failed").context("h2load counts no failures")?;
        ensure!(good > 0.0 && failed == 0.0, "{}: {failed} HTTP/2 requests failed", door.name);
        Ok(good)
    }

    /// Sessions one after the other, each with one request.
    ///
    /// # Errors
    /// When one was not of the kind asked for.
    pub fn shake(&self, door: &Door, shake: Shake, count: u32) -> anyhow::Result<()> {
        let (way, group) = match shake {
            Shake::Full => ("full", "x25519"),
            Shake::Hybrid => ("full", "hybrid"),
            Shake::Resumed => ("resume", "x25519"),
        };
        workspace::capture(&mut self.sessions(door, way, group, count)).map(drop)
    }

    /// `count` sessions that stay open until the value is dropped.
    ///
    /// # Errors
    /// When one could not be opened.
    pub fn hold(&self, door: &Door, count: u32) -> anyhow::Result<Held> {
        let mut command = self.sessions(door, "hold", "x25519", count);
        let mut held = Held(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let mut line = String::new();
        BufReader::new(held.0.stdout.take().context("a piped stdout")?).read_line(&mut line)?;
        ensure!(!line.is_empty(), "{}: {count} sessions could not be opened", door.name);
        Ok(held)
    }

    fn sessions(&self, door: &Door, way: &str, group: &str, count: u32) -> Command {
        let mut command = Command::new(&self.handshakes);
        command.arg(format!("127.0.0.1:{}", door.port)).arg(self.folder.join("ca.crt"));
        command.args([way, group, &count.to_string()]);
        if [OURS_MTLS, NGINX_MTLS].contains(&door.name) {
            // Any certificate of the authority will do, and this is one.
            command.arg(self.folder.join("tls.crt")).arg(self.folder.join("tls.key"));
        }
        command
    }
}

/// Sessions that stay open.
pub struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
