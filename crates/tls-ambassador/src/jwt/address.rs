//! Where a key set may be fetched from.
//!
//! An operator's own https URL may point anywhere; plain http only to this machine. A URL that was *learnt* (discovery)
//! must not lead to loopback or link-local addresses, where metadata servers and neighbours listen, unless the issuer
//! itself is there. The check is on the addresses that are dialled, after the name was resolved.

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

/// An address that only this machine or this link can mean.
pub fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified(),
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
    fn j22_metadata_servers_are_near() {
        for near in ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "::ffff:169.254.169.254"] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        assert!(!is_near("10.0.0.1".parse().unwrap()));
    }
}
