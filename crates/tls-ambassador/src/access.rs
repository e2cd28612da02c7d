//! Who may in: the one decision that the tcp and the http door share.

use std::net::IpAddr;

use crate::PeerIdentity;

/// The outcome for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A certificate rule matched, or everybody is let in on purpose.
    Admitted,
    /// No certificate rule lets it in; a token may.
    TokenRequired,
    /// Nothing lets it in.
    Refused,
}

/// What the operator allows. Rules are alternatives: one that matches is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `--disable-authentication`: no certificate is asked for.
    pub everyone: bool,
    /// `--allow-all`: every certificate that verifies.
    pub any_certificate: bool,
    /// Rules over the facts of a verified certificate.
    pub rules: Rules,
    /// A token may admit where no certificate does.
    pub token: bool,
}

impl Access {
    /// The decision for a connection whose verified certificate is `peer`.
    #[must_use]
    pub fn judge(&self, peer: Option<&PeerIdentity>) -> Verdict {
        let known = peer.is_some_and(|peer| self.any_certificate || self.rules.match_any(peer));
        match () {
            () if self.everyone || known => Verdict::Admitted,
            () if self.token => Verdict::TokenRequired,
            () => Verdict::Refused,
        }
    }

    /// True when the operator said nothing at all: nobody is let in by forgetting.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        !self.everyone && !self.any_certificate && !self.token && self.rules.is_empty()
    }
}

/// Facts of a certificate, any of which is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The common name, exactly.
    pub cn: Vec<String>,
    /// An organizational unit, exactly.
    pub ou: Vec<String>,
    /// A DNS name, in any case.
    pub dns: Vec<String>,
    /// A URI, with wildcards.
    pub uri: Vec<UriPattern>,
    /// An IP address.
    pub ip: Vec<IpAddr>,
    /// SHA-256 of the public key info.
    pub spki_pin: Vec<[u8; 32]>,
}

impl Rules {
    /// True when there is no rule, which matches nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True when at least one rule matches.
    #[must_use]
    pub fn match_any(&self, peer: &PeerIdentity) -> bool {
        peer.cn.as_ref().is_some_and(|cn| self.cn.contains(cn))
            || peer.ou.iter().any(|ou| self.ou.contains(ou))
            || peer.dns.iter().any(|name| self.dns.iter().any(|rule| rule.eq_ignore_ascii_case(name)))
            || peer.uri.iter().any(|uri| self.uri.iter().any(|rule| rule.matches(uri)))
            || peer.ip.iter().any(|ip| self.ip.contains(ip))
            || self.spki_pin.contains(&peer.spki_sha256)
    }
}

/// `spiffe://cluster.local/ns/*/sa/web`: `*` stands for one whole segment, a last `**` for one or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriPattern(Vec<String>);

impl UriPattern {
    /// True when every segment matches.
    #[must_use]
    pub fn matches(&self, uri: &str) -> bool {
        let mut segments = uri.split('/');
        for pattern in &self.0 {
            let Some(segment) = segments.next() else { return false };
            match pattern.as_str() {
                "**" => return !segment.is_empty(),
                // An empty segment is no name: `spiffe://*/x` must not let in `spiffe:///x`.
                "*" if !segment.is_empty() => {}
                other if other == segment => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }
}

impl std::fmt::Display for UriPattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.join("/"))
    }
}

impl std::str::FromStr for UriPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let segments: Vec<String> = text.split('/').map(str::to_owned).collect();
        let last = segments.len().saturating_sub(1);
        for (index, segment) in segments.iter().enumerate() {
            let whole = segment == "*" || (segment == "**" && index == last);
            if segment.contains('*') && !whole {
                return Err(format!("{text:?}: * must be a whole segment, and ** only the last one"));
            }
        }
        if text.is_empty() { Err("an empty pattern matches nothing".to_owned()) } else { Ok(Self(segments)) }
    }
}

/// A pin: `sha256:` and 64 hexadecimal digits, or `sha256/` and base64 as curl and HPKP write it.
///
/// # Errors
/// Other forms, with the two that are read.
pub fn spki_pin(text: &str) -> Result<[u8; 32], String> {
    let refused = || format!("{text:?} is no pin; write sha256:<64 hex digits> or sha256/<base64>");
    let digest = text.strip_prefix("sha256").ok_or_else(refused)?;
    let bytes = match digest.strip_prefix(':') {
        Some(hex) if hex.len() == 64 && hex.is_ascii() => {
            let digits = |at| u8::from_str_radix(hex.get(at..at + 2).unwrap_or_default(), 16).ok();
            (0..64).step_by(2).map(digits).collect::<Option<Vec<u8>>>()
        }
        Some(text) => base64(text),
        None => digest.strip_prefix('/').map(|text| text.trim_start_matches('/')).and_then(base64),
    };
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(refused)
}

/// Base64 with its padding; anything else is `None`. Pins are the only use, so that a crate for it is not needed.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    let mut out = Vec::new();
    let mut bits = 0_u32;
    let mut held = 0;
    for byte in body.bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == byte)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
