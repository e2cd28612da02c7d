//! Loopback: a free port, and a GET that needs no client library.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A port of 127.0.0.1 that nobody listens on, for tools that cannot be told port 0. It lies below the range that
/// the kernel gives out for port 0 and for outgoing connections, so tests running beside do not get it by chance;
/// within one process it is never given twice.
///
/// # Panics
/// When none is free.
#[must_use]
pub fn free_port() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let (first, count) = (10_000, 20_000);
    // Processes start at different places: neighbours by id are 50 ports apart.
    let start = std::process::id().wrapping_mul(50) % count;
    let ports = (0..count).map(|_| first + (start + ASKED.fetch_add(1, Ordering::Relaxed)) % count);
    let mut ports = ports.filter_map(|port| u16::try_from(port).ok());
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

/// The answer to a GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body, decoded when it came in chunks.
    pub body: String,
}

/// GET `http://<address><path>` within 10 s.
///
/// # Panics
/// When nobody answers or the answer is not HTTP/1.1.
#[must_use]
#[track_caller]
pub fn http_get(address: SocketAddr, path: &str) -> Response {
    match try_http_get(address, path) {
        Ok(response) => response,
        Err(error) => panic!("GET http://{address}{path}: {error}"),
    }
}

/// As [`http_get`], for a server that may not listen yet.
///
/// # Errors
/// When the connection is refused, times out after 10 s or does not carry an HTTP/1.1 answer.
pub fn try_http_get(address: SocketAddr, path: &str) -> io::Result<Response> {
    let limit = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    // In one write: a small server that reads once and closes would reset the connection on the rest.
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let status_line = line(&mut reader)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| malformed(&status_line))?;
    let mut headers = Vec::new();
    loop {
        let header = line(&mut reader)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or_else(|| malformed(&header))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let mut body = Vec::new();
    if header("transfer-encoding") == Some("chunked") {
        read_chunks(&mut reader, &mut body)?;
    } else if let Some(length) = header("content-length") {
        body.resize(length.parse().map_err(|_| malformed(length))?, 0);
        reader.read_exact(&mut body)?;
    } else {
        reader.read_to_end(&mut body)?;
    }
    Ok(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let size = line(reader)?;
        let size = u64::from_str_radix(size.split(';').next().unwrap_or_default(), 16).map_err(|_| malformed(&size))?;
        if size == 0 {
            return Ok(());
        }
        reader.by_ref().take(size).read_to_end(body)?;
        line(reader)?;
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn malformed(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP/1.1: {line:?}"))
}
