//! Where to ask.

use std::fmt;
use std::str::FromStr;

use crate::authority;

/// An absolute http or https URL without user name; a query is part of its path, a fragment is refused.
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
    /// From the first `/` on; `/` if there is none.
    pub path: String,
}

/// The text is no URL that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a URL; write https://HOST/PATH or http://HOST/PATH")]
pub struct NotAUrl(pub String);

impl FromStr for Url {
    type Err = NotAUrl;

    fn from_str(text: &str) -> Result<Url, NotAUrl> {
        parse(text).ok_or_else(|| NotAUrl(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Url> {
    let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, rest) => (false, rest?),
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority::host(authority.as_bytes())?;
    let path = if path.is_empty() { "/" } else { path };
    if !path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#') {
        return None;
    }
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Some(Url {
        secure,
        host: host.to_string(),
        port: port.unwrap_or(if secure { 443 } else { 80 }),
        authority: authority.to_string(),
        path: path.to_string(),
    })
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority, self.path)
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
        assert_eq!(
            "ftp://x/".parse::<Url>().unwrap_err().to_string(),
            "\"ftp://x/\" is not a URL; write https://HOST/PATH or http://HOST/PATH"
        );
    }
}
