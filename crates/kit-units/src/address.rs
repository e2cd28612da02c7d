//! Addresses to listen on: `:9090`, `127.0.0.1:9090`, `[::1]:9090`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::UnitError;

/// An IP address and port to bind. `:9090` stands for every IPv4 address of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenAddress(SocketAddr);

impl ListenAddress {
    /// The address as the standard library knows it.
    #[must_use]
    pub fn socket_addr(self) -> SocketAddr {
        self.0
    }

    /// Where a client on the same machine reaches it: loopback in place of "every address".
    #[must_use]
    pub fn reachable(self) -> SocketAddr {
        let mut address = self.0;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::IpAddr::V4(Ipv4Addr::LOCALHOST),
                SocketAddr::V6(_) => std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            });
        }
        address
    }
}

impl FromStr for ListenAddress {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let parsed = match text.strip_prefix(':') {
            Some(port) => port.parse::<u16>().ok().map(|port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
            None => text.replace("localhost:", "127.0.0.1:").parse().ok(),
        };
        parsed.map(Self).ok_or_else(|| {
            UnitError(format!("{text:?} is not an address to listen on; write :9090, 127.0.0.1:9090 or [::1]:9090"))
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str, reachable: &str) {
        let address: ListenAddress = text.parse().unwrap();
        assert_eq!((address.to_string().as_str(), address.reachable().to_string().as_str()), (expected, reachable));
    }

    #[test]
    fn a_port_alone_means_every_address() {
        check(":9090", "0.0.0.0:9090", "127.0.0.1:9090");
        check("[::]:9090", "[::]:9090", "[::1]:9090");
        check("127.0.0.1:80", "127.0.0.1:80", "127.0.0.1:80");
        check("localhost:80", "127.0.0.1:80", "127.0.0.1:80");
        check("[::1]:0", "[::1]:0", "[::1]:0");
    }

    #[test]
    fn names_and_missing_ports_are_refused() {
        for text in ["", "9090", "127.0.0.1", ":99999", "example.org:80", "::1:9090x"] {
            let expected =
                format!("{text:?} is not an address to listen on; write :9090, 127.0.0.1:9090 or [::1]:9090");
            assert_eq!(text.parse::<ListenAddress>(), Err(UnitError(expected)));
        }
    }
}
