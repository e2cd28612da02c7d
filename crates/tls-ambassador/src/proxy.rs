//! A proxy on the way to the server: HTTP's CONNECT (RFC 9110 §9.3.6) or SOCKS5 (RFC 1928, with RFC 1929's passwords).
//!
//! Promised: the target's name is resolved by the proxy and not here, and no byte behind the proxy's answer is taken for part of it.
//! Not promised: TLS to the proxy itself, and other ways to log in than user and password.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::socket::Socket;
use crate::target::Target;

/// Longer than any answer to CONNECT that proxies give.
const LONGEST_ANSWER: usize = 16 << 10;

/// How a proxy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connect,
    Socks5,
}

/// A proxy, as its URL names it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    login: Option<(String, String)>,
}

/// The password does not belong into logs.
impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.kind == Kind::Connect { "http" } else { "socks5" };
        let login = if self.login.is_some() { "[redacted]@" } else { "" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(formatter, "{scheme}://{login}{host}:{}", self.port)
    }
}

impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The text may hold a password, so it is not repeated.
        let refused = || "no proxy is written so; write http://[USER:PASSWORD@]HOST:PORT or socks5://...".to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(refused)?;
        let (kind, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Connect, 80),
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            other => return Err(format!("there are proxies of http:// and socks5://, not of {other}://")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (Some((decoded(user).ok_or_else(refused)?, decoded(password).ok_or_else(refused)?)), address)
            }
            None => (None, rest),
        };
        let port_is_given = address.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            && (!address.contains('[') || !address.ends_with(']'));
        let address = if port_is_given { address.to_owned() } else { format!("{address}:{port}") };
        match address.parse() {
            Ok(Target::Tcp { host, port }) => Ok(Self { kind, host, port, login }),
            _ => Err(refused()),
        }
    }
}

/// `%40` and its kind as the bytes they stand for.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let pair = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

fn failed(reason: impl Into<String>) -> io::Error {
    io::Error::other(reason.into())
}

impl Proxy {
    /// A connection to `host`, as far as the proxy says so. The caller owns the deadline.
    ///
    /// # Errors
    /// When the proxy cannot be reached, refuses, or is none.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<Socket> {
        let reached = TcpStream::connect((self.host.as_str(), self.port)).await;
        let mut stream = reached.map_err(|error| io::Error::new(error.kind(), format!("proxy {self}: {error}")))?;
        match self.kind {
            Kind::Connect => self.ask_connect(&mut stream, host, port).await?,
            Kind::Socks5 => self.ask_socks(&mut stream, host, port).await?,
        }
        Ok(Socket::tcp(stream))
    }

    async fn ask_connect(&self, stream: &mut TcpStream, host: &str, port: u16) -> io::Result<()> {
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some((user, password)) = &self.login {
            let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            request.push_str(&format!("Proxy-Authorization: Basic {token}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let head = head(stream).await?;
        let status = head.split(|byte| *byte == b' ').nth(1).and_then(|status| std::str::from_utf8(status).ok());
        match status {
            Some(status) if head.starts_with(b"HTTP/1.") && status.starts_with('2') && status.len() == 3 => Ok(()),
            Some("407") => Err(failed(format!("proxy {self} wants another user or password (407)"))),
            Some(status) if head.starts_with(b"HTTP/1.") => {
                let status: String = status.chars().filter(char::is_ascii_digit).take(3).collect();
                Err(failed(format!("proxy {self} refuses with status {status}")))
            }
            _ => Err(failed(format!("proxy {self} does not speak HTTP"))),
        }
    }

    async fn ask_socks(&self, stream: &mut TcpStream, host: &str, port: u16) -> io::Result<()> {
        const NO_LOGIN: u8 = 0;
        const PASSWORD: u8 = 2;
        let methods: &[u8] = if self.login.is_some() { &[5, 2, NO_LOGIN, PASSWORD] } else { &[5, 1, NO_LOGIN] };
        stream.write_all(methods).await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        match (chosen, &self.login) {
            ([5, NO_LOGIN], _) => {}
            ([5, PASSWORD], Some((user, password))) => {
                let mut login = vec![1];
                for part in [user, password] {
                    login
                        .push(u8::try_from(part.len()).map_err(|_| failed("SOCKS5 takes no longer user or password"))?);
                    login.extend_from_slice(part.as_bytes());
                }
                stream.write_all(&login).await?;
                let mut answer = [0; 2];
                stream.read_exact(&mut answer).await?;
                if answer[1] != 0 {
                    return Err(failed(format!("proxy {self} wants another user or password")));
                }
            }
            ([5, _], _) => return Err(failed(format!("proxy {self} wants a login that it was not given"))),
            _ => return Err(failed(format!("proxy {self} does not speak SOCKS5"))),
        }
        let mut request = vec![5, 1, 0];
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => {
                request.push(1);
                request.extend_from_slice(&ip.octets());
            }
            Ok(IpAddr::V6(ip)) => {
                request.push(4);
                request.extend_from_slice(&ip.octets());
            }
            Err(_) => {
                request.push(3);
                request.push(u8::try_from(host.len()).map_err(|_| failed("SOCKS5 takes no longer name"))?);
                request.extend_from_slice(host.as_bytes());
            }
        }
        request.extend_from_slice(&port.to_be_bytes());
        stream.write_all(&request).await?;
        self.socks_answer(stream).await
    }

    /// Reads the answer to its last byte: what follows is the server's.
    async fn socks_answer(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let [version, reply, _, kind] = head;
        if version != 5 {
            return Err(failed(format!("proxy {self} does not speak SOCKS5")));
        }
        let reason = match reply {
            0 => None,
            1 => Some("a failure of its own"),
            2 => Some("its rules"),
            3 => Some("an unreachable network"),
            4 => Some("an unreachable host"),
            5 => Some("a refused connection"),
            6 => Some("a timeout"),
            _ => Some("something that RFC 1928 does not know"),
        };
        if let Some(reason) = reason {
            return Err(failed(format!("proxy {self} refuses because of {reason}")));
        }
        let address = match kind {
            1 => 4,
            4 => 16,
            3 => usize::from(stream.read_u8().await?),
            _ => return Err(failed(format!("proxy {self} does not speak SOCKS5"))),
        };
        let mut bound = vec![0; address + 2];
        stream.read_exact(&mut bound).await.map(drop)
    }
}

/// An HTTP head with its empty line, and no byte more: what follows belongs to the server.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut ahead = [0; 1024];
    while head.len() < LONGEST_ANSWER {
        let count = stream.peek(&mut ahead).await?;
        if count == 0 {
            return Err(failed("the proxy closed the connection"));
        }
        let before = head.len();
        head.extend_from_slice(&ahead[..count]);
        let end = head.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        head.truncate(end.unwrap_or(head.len()));
        stream.read_exact(&mut ahead[..head.len() - before]).await?;
        if end.is_some() {
            return Ok(head);
        }
    }
    Err(failed("the proxy's answer is too long"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_proxy_is_read_from_its_url_and_shown_without_its_password() {
        let shown = |text: &str| text.parse::<Proxy>().map(|proxy| proxy.to_string());
        assert_eq!(shown("http://proxy:3128"), Ok("http://proxy:3128".to_owned()));
        assert_eq!(shown("http://proxy"), Ok("http://proxy:80".to_owned()));
        assert_eq!(shown("socks5h://[::1]/"), Ok("socks5://[::1]:1080".to_owned()));
        assert_eq!(shown("http://me:s%40crEt@proxy:1"), Ok("http://[redacted]@proxy:1".to_owned()));
        let proxy: Proxy = "http://me:s%40crEt@proxy:1".parse().unwrap();
        assert_eq!(proxy.login, Some(("me".to_owned(), "s@crEt".to_owned())));
        assert!(!format!("{proxy:?}").contains("crEt"));
    }

    #[test]
    fn other_urls_are_refused_without_repeating_a_password() {
        let refused = |text: &str| text.parse::<Proxy>().unwrap_err();
        assert_eq!(refused("ftp://x"), "there are proxies of http:// and socks5://, not of ftp://");
        for text in ["proxy:3128", "http://", "http://me:secret@", "http://a b", "http://x:0", "http://%zz@x"] {
            let said = refused(text);
            assert!(said.starts_with("no proxy is written so"), "{text}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
