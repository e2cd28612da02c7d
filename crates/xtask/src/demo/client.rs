//! Numbered requests over one kept connection, as a browser or a proxy sends them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};

use super::pod::interrupted;

/// The client, and how many answers it has.
pub(crate) struct Client {
    address: SocketAddr,
    pub(crate) answered: AtomicUsize,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, answered: AtomicUsize::new(0) }
    }

    /// One request: the status and the body.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let mut connection = self.connect()?;
        exchange(&mut connection, path)
    }

    /// As many requests, each with a number of its own so that no two lines of the log are equal.
    pub(crate) fn send(&self, requests: usize) -> anyhow::Result<()> {
        let mut connection = self.connect()?;
        for number in 1..=requests {
            if interrupted() {
                bail!("interrupted");
            }
            let (status, _) = exchange(&mut connection, &format!("/?request={number}"))?;
            if status != 200 {
                bail!("request {number} was answered {status}");
            }
            self.answered.store(number, Ordering::Relaxed);
        }
        Ok(())
    }

    fn connect(&self) -> anyhow::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.address).with_context(|| format!("cannot connect to {}", self.address))?;
        stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(Duration::from_secs(30))))?;
        Ok(BufReader::new(stream))
    }
}

fn exchange(connection: &mut BufReader<TcpStream>, path: &str) -> anyhow::Result<(u16, String)> {
    // One write: Nagle's algorithm must not hold back half a head.
    connection.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: pod\r\n\r\n").as_bytes())?;
    let (mut status, mut length) = (0, 0);
    for (index, line) in connection.lines().enumerate() {
        let line = line?;
        if index == 0 {
            status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer is not HTTP")?;
        } else if line.is_empty() {
            break;
        } else if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.parse().context("the length is no number")?;
        }
    }
    if status == 0 {
        bail!("the connection ended without an answer");
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
