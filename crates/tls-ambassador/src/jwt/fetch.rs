//! One GET of a small document, with an end to everything: time, bytes, redirects (none are followed).

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kit_tls::rustls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address::{Url, is_near};
use super::keys::MAX_SET_BYTES;
use crate::http::framing::Framing;
use crate::http::request::{MAX_HEADERS, Scan};
use crate::http::response::Response;
use crate::session::TlsStream;
use crate::socket::Socket;

/// Time for the whole of one fetch.
const DEADLINE: Duration = Duration::from_secs(8);
/// Bytes of a response with its head.
const MOST: usize = MAX_SET_BYTES + 64 * 1024;

/// Why a document could not be fetched. The URL stands with the caller.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing answers there, or the answer broke off.
    #[error("cannot reach it")]
    Io(#[from] std::io::Error),
    /// The server's certificate, or TLS itself.
    #[error("no TLS session")]
    Tls(#[from] crate::session::HandshakeError),
    /// The trusted authorities cannot be read.
    #[error("no trusted authorities")]
    Authorities(#[source] kit_tls::LoadError),
    /// 8 seconds were not enough.
    #[error("no whole answer within 8s")]
    Late,
    /// The name leads where it must not.
    #[error("it leads to {0}, which is not allowed for it")]
    Address(IpAddr),
    /// An answer other than 200.
    #[error("it answered {0}")]
    Status(u16),
    /// Not HTTP, or too much of it.
    #[error("{0}")]
    Malformed(&'static str),
}

/// How to fetch.
#[derive(Debug)]
pub struct Rules<'a> {
    /// Trusted authorities; None: the public ones.
    pub authorities: Option<&'a Path>,
    /// Sent as a bearer token.
    pub credential: Option<&'a str>,
    /// Loopback and link-local addresses may be dialled over https.
    pub near_allowed: bool,
}

/// The body of a 200 answer, at most [`MAX_SET_BYTES`].
///
/// # Errors
/// Anything else.
pub async fn get(url: &Url, rules: &Rules<'_>) -> Result<Vec<u8>, FetchError> {
    tokio::time::timeout(DEADLINE, get_now(url, rules)).await.unwrap_or(Err(FetchError::Late))
}

async fn get_now(url: &Url, rules: &Rules<'_>) -> Result<Vec<u8>, FetchError> {
    let socket = Socket::tcp(dial(url, rules).await?);
    if !url.secure {
        return exchange(socket, url, rules).await;
    }
    let files = kit_tls::client::Files { authorities: rules.authorities.map(Path::to_path_buf), ..Default::default() };
    let material =
        kit_tls::client::load(&files, &kit_tls::client::Settings::default()).map_err(FetchError::Authorities)?;
    let name = rustls::pki_types::ServerName::try_from(url.host.clone())
        .map_err(|_| FetchError::Malformed("not a server name"))?;
    let stream = TlsStream::connect(socket, Arc::clone(&material.config), name).await?;
    exchange(stream, url, rules).await
}

/// Connects to the first address that answers, once all of them are allowed.
async fn dial(url: &Url, rules: &Rules<'_>) -> Result<TcpStream, FetchError> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((url.host.as_str(), url.port)).await?.collect();
    for address in &addresses {
        let near = is_near(address.ip());
        let allowed = if url.secure {
            !near || rules.near_allowed
        } else {
            address.ip().to_canonical().is_loopback() && rules.near_allowed
        };
        if !allowed {
            return Err(FetchError::Address(address.ip()));
        }
    }
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    url: &Url,
    rules: &Rules<'_>,
) -> Result<Vec<u8>, FetchError> {
    let credential = rules.credential.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\nUser-Agent: podkit tls-ambassador\r\nConnection: close\r\n{credential}\r\n",
        url.path, url.authority
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let mut ended = false;
    loop {
        if let Some(body) = body_of(&answer, ended)? {
            return Ok(body);
        }
        if ended {
            return Err(FetchError::Malformed("it answered with less than a whole response"));
        }
        if answer.len() > MOST {
            return Err(FetchError::Malformed("it answered with more than 1 MiB"));
        }
        ended = stream.read_buf(&mut answer).await? == 0;
    }
}

/// The body, once all of it is there.
fn body_of(answer: &[u8], ended: bool) -> Result<Option<Vec<u8>>, FetchError> {
    let malformed = |_| FetchError::Malformed("it does not answer in HTTP/1.1");
    let Some(length) = Scan::default().head_length(answer).map_err(malformed)? else { return Ok(None) };
    let (head, mut rest) = answer.split_at(length);
    let mut slots = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
    let response = Response::parse(head, &mut slots, false).map_err(|error| FetchError::Malformed(error.0))?;
    if response.status != 200 {
        return Err(FetchError::Status(response.status));
    }
    let mut framing = response.body;
    let mut body = Vec::new();
    while !framing.is_done() && !rest.is_empty() {
        let run = framing.decode(rest).map_err(|_| FetchError::Malformed("its chunks are malformed"))?;
        body.extend_from_slice(&rest[run.skip..run.skip + run.data]);
        rest = &rest[run.skip + run.data..];
    }
    Ok((framing.is_done() || (ended && framing == Framing::UntilClose)).then_some(body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_body_is_taken_only_whole() {
        let whole = |answer: &[u8], ended| body_of(answer, ended).unwrap();
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", false), None);
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", false), Some(b"{}".to_vec()));
        assert_eq!(
            whole(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", false),
            Some(b"{}".to_vec())
        );
        assert_eq!(whole(b"HTTP/1.0 200 OK\r\n\r\n{}", false), None);
        assert_eq!(whole(b"HTTP/1.0 200 OK\r\n\r\n{}", true), Some(b"{}".to_vec()));
    }

    #[test]
    fn j22_redirects_are_not_followed() {
        let answer = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(body_of(answer, false).unwrap_err().to_string(), "it answered 302");
    }
}
