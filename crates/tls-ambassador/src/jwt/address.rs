//! Where a key set may be fetched from.
//!
//! An operator's own https URL may point anywhere; plain http only to this machine. A URL that was *learnt* (discovery)
//! must not lead nearer than the issuer itself is: not to a private network unless the issuer is in one, not to loopback or
//! link-local addresses, where metadata servers and neighbours listen, unless the issuer is there. The check is on the
//! addresses that are dialled, after the name was resolved.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::http::authority;

/// An absolute http or https URL without user, query or fragment being special.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// https and not http.
    pub secure: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, the scheme's own if none was written.
    pub port: u16,
    /// As it stands in the URL, for the Host header.
    pub authority: String,
    /// From the first `/` on.
    pub path: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let refused = || format!("{text:?} is not a URL; write https://HOST/PATH");
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(refused()),
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority::host(authority.as_bytes()).ok_or_else(refused)?;
        let path = if path.is_empty() { "/" } else { path };
        if !path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#') {
            return Err(refused());
        }
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        Ok(Url {
            secure,
            host: host.to_string(),
            port: port.unwrap_or(if secure { 443 } else { 80 }),
            authority: authority.to_string(),
            path: path.to_string(),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// From how far away an address can be meant; what comes later is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The whole world.
    Public,
    /// A private network: this cluster, this house.
    Private,
    /// This machine or this link.
    Near,
}

impl Reach {
    /// That of `address`.
    #[must_use]
    pub fn of(address: IpAddr) -> Reach {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [first, second, ..] = address.octets();
                // RFC 6598: what carriers, and some clusters, use behind their gateways.
                let shared = first == 100 && (64..128).contains(&second);
                if address.is_loopback() || address.is_link_local() || address.is_unspecified() {
                    Reach::Near
                } else if address.is_private() || shared {
                    Reach::Private
                } else {
                    Reach::Public
                }
            }
            IpAddr::V6(address) => {
                if address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified() {
                    Reach::Near
                } else if address.is_unique_local() {
                    Reach::Private
                } else {
                    Reach::Public
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_url_is_shown_as_it_was_written() {
        let url: Url = "https://issuer.example:8443/a?b".parse().unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str(), url.secure),
            ("issuer.example", 8443, "/a?b", true)
        );
        assert_eq!(url.to_string(), "https://issuer.example:8443/a?b");
        let url: Url = "http://[::1]".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str(), url.secure), ("::1", 80, "/", false));
    }

    #[test]
    fn j22_other_schemes_users_and_spaces_are_refused() {
        for bad in [
            "file:///etc/passwd",
            "ftp://x/",
            "issuer",
            "https://",
            "https://u@x/",
            "https://x/ y",
            "https://x/#y",
            "HTTPS//x",
        ] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
    }

    #[test]
    fn j22_metadata_servers_are_near_and_clusters_private() {
        for near in ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "::ffff:169.254.169.254"] {
            assert_eq!(Reach::of(near.parse().unwrap()), Reach::Near, "{near}");
        }
        for private in ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"] {
            assert_eq!(Reach::of(private.parse().unwrap()), Reach::Private, "{private}");
        }
        for public in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:4860:4860::8888"] {
            assert_eq!(Reach::of(public.parse().unwrap()), Reach::Public, "{public}");
        }
        assert!(Reach::Public < Reach::Private && Reach::Private < Reach::Near);
    }
}
