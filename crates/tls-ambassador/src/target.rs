//! Where connections go: `HOST:PORT` or `unix:PATH`.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use crate::proxy::Proxy;
use crate::socket::Socket;

/// An address that is dialled for every connection anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A name or address, and a port. Names are resolved at each dial.
    Tcp {
        /// Without brackets.
        host: String,
        /// Not zero.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Connects, trying every address of the name in turn, all within `deadline`.
    ///
    /// # Errors
    /// The last address's failure, or `TimedOut`.
    pub async fn dial(&self, deadline: Duration) -> io::Result<Socket> {
        let connecting = async {
            match self {
                Self::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).await.map(Socket::tcp),
                Self::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
            }
        };
        tokio::time::timeout(deadline, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// As [`Target::dial`], through a proxy where there is one and the target is not a unix socket.
    ///
    /// # Errors
    /// As for [`Target::dial`], and when the proxy refuses.
    pub async fn dial_through(&self, proxy: Option<&Proxy>, deadline: Duration) -> io::Result<Socket> {
        let (Some(proxy), Self::Tcp { host, port }) = (proxy, self) else { return self.dial(deadline).await };
        let connecting = proxy.connect(host, *port);
        tokio::time::timeout(deadline, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// True when bytes for it do not leave the pod: a loopback address, `localhost` or a unix socket.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => {
                host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("invalid target address {text:?}; write HOST:PORT, [IPv6]:PORT or unix:PATH");
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(refused()) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(refused)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let plausible = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let name = !host.is_empty() && bracketed.is_none() && host.bytes().all(plausible);
        let six = bracketed.is_some() && host.parse::<std::net::Ipv6Addr>().is_ok();
        if name || six { Ok(Self::Tcp { host: host.to_owned(), port }) } else { Err(refused()) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_was_written() {
        for text in ["127.0.0.1:9201", "[::1]:80", "db.example.org:5432", "unix:/run/app.sock"] {
            assert_eq!(text.parse::<Target>().map(|target| target.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_forms_that_are() {
        for text in
            ["", "9201", ":9201", "host:", "host:0", "host:65536", "::1:80", "[host]:80", "unix:", "a b:1", "invalid"]
        {
            let expected = format!("invalid target address {text:?}; write HOST:PORT, [IPv6]:PORT or unix:PATH");
            assert_eq!(text.parse::<Target>(), Err(expected));
        }
    }

    #[test]
    fn only_loopback_and_unix_sockets_are_local() {
        let local = |text: &str| text.parse::<Target>().unwrap().is_local();
        assert!(
            local("127.0.0.1:1")
                && local("localhost:1")
                && local("[::1]:1")
                && local("unix:/s")
                && local("127.8.8.8:1")
        );
        assert!(!local("10.0.0.1:1") && !local("localhost.example.org:1") && !local("0.0.0.0:1"));
    }
}
