//! One GET of a small document, with an end to everything: time, bytes, redirects (none are followed), and how near its
//! address may be.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kit_http::{GetError, Limits, Request};
use kit_tls::rustls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::address::{Reach, Url};
use super::keys::MAX_SET_BYTES;
use crate::session::TlsStream;
use crate::socket::Socket;

/// Time for the whole of one fetch.
const DEADLINE: Duration = Duration::from_secs(8);

/// Why a document could not be fetched. The URL stands with the caller.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No whole answer.
    #[error(transparent)]
    Get(#[from] GetError<DialError>),
    /// An answer other than 200.
    #[error("it answered {0}")]
    Status(u16),
    /// What is configured cannot be said in a request.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Why there is no connection to it.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nothing answers there.
    #[error("cannot reach it")]
    Io(#[from] std::io::Error),
    /// The server's certificate, or TLS itself.
    #[error("no TLS session")]
    Tls(#[from] Box<crate::session::Refusal>),
    /// The trusted authorities cannot be read.
    #[error("no trusted authorities")]
    Authorities(#[source] kit_tls::LoadError),
    /// The name leads where it must not.
    #[error("it leads to {0}, which is not allowed for it")]
    Address(IpAddr),
    /// Anybody on the way could give other keys.
    #[error("it leads to {0}, and plain http is for loopback addresses only")]
    Plain(IpAddr),
    /// No certificate can be for such a host.
    #[error("not a server name")]
    Name,
}

/// How to fetch.
#[derive(Debug)]
pub struct Rules<'a> {
    /// Trusted authorities; None: the public ones.
    pub authorities: Option<&'a Path>,
    /// Sent as a bearer token.
    pub credential: Option<&'a str>,
    /// Addresses that are nearer are not dialled. Plain http is for loopback only, whatever stands here.
    pub nearest: Reach,
}

/// A document and where it was.
#[derive(Debug)]
pub struct Fetched {
    /// At most [`MAX_SET_BYTES`].
    pub body: Vec<u8>,
    /// How near the server was that gave it.
    pub reach: Reach,
}

/// The body of a 200 answer.
///
/// # Errors
/// Anything else.
pub async fn get(url: &Url, rules: &Rules<'_>) -> Result<Fetched, FetchError> {
    let reach = Cell::new(Reach::Public);
    let connecting = async {
        let socket = dial(url, rules).await?;
        reach.set(Reach::of(socket.peer_addr()?.ip()));
        dressed(url, rules, Socket::tcp(socket)).await
    };
    let credential = rules.credential.map(|token| format!("Bearer {token}"));
    let mut headers =
        vec![("Accept", "application/json, */*"), ("User-Agent", concat!("podkit ", env!("CARGO_PKG_NAME")))];
    headers.extend(credential.as_deref().map(|credential| ("Authorization", credential)));
    let request = Request { headers: &headers, ..Request::to(url) };
    let answer = kit_http::get(connecting, &request, Limits { deadline: DEADLINE, body: Some(MAX_SET_BYTES) }).await?;
    if answer.status == 200 {
        Ok(Fetched { body: answer.body, reach: reach.get() })
    } else {
        Err(FetchError::Status(answer.status))
    }
}

/// Plain, or with TLS in it.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

async fn dressed(url: &Url, rules: &Rules<'_>, socket: Socket) -> Result<Box<dyn Stream>, DialError> {
    if !url.secure {
        return Ok(Box::new(socket));
    }
    let files = kit_tls::client::Files { authorities: rules.authorities.map(Path::to_path_buf), ..Default::default() };
    let material =
        kit_tls::client::load(&files, &kit_tls::client::Settings::default()).map_err(DialError::Authorities)?;
    let name = rustls::pki_types::ServerName::try_from(url.host.clone()).map_err(|_| DialError::Name)?;
    Ok(Box::new(TlsStream::connect(socket, Arc::clone(&material.config), name).await?))
}

/// Connects to the first address that answers, once all of them are allowed.
async fn dial(url: &Url, rules: &Rules<'_>) -> Result<TcpStream, DialError> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((url.host.as_str(), url.port)).await?.collect();
    for address in &addresses {
        if !url.secure && !address.ip().to_canonical().is_loopback() {
            return Err(DialError::Plain(address.ip()));
        }
        if Reach::of(address.ip()) > rules.nearest {
            return Err(DialError::Address(address.ip()));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn j22_an_address_that_is_nearer_than_allowed_is_not_dialled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://localhost:{}/keys", listener.local_addr().unwrap().port()).parse().unwrap();
        let rules = |nearest| Rules { authorities: None, credential: None, nearest };
        for nearest in [Reach::Public, Reach::Private] {
            let refused = get(&url, &rules(nearest)).await.unwrap_err().to_string();
            assert!(refused.ends_with(", which is not allowed for it"), "{nearest:?}: {refused}");
        }
        let far: Url = "http://10.0.0.1/keys".parse().unwrap();
        let refused = get(&far, &rules(Reach::Near)).await.unwrap_err().to_string();
        assert_eq!(refused, "it leads to 10.0.0.1, and plain http is for loopback addresses only");
        let server = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            let _some = socket.read(&mut asked).await.unwrap();
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
        };
        let near = rules(Reach::Near);
        let (fetched, ()) = tokio::join!(get(&url, &near), server);
        let fetched = fetched.unwrap();
        assert_eq!((fetched.body.as_slice(), fetched.reach), (&b"{}"[..], Reach::Near));
    }
}
