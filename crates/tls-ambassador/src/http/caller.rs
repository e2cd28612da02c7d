//! What is known of a client for the whole of its connection, in the words that the app gets with every request.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::config::{Forwarded, HttpConfig};
use super::forward::line;
use crate::PeerIdentity;
use crate::access::Verdict;
use crate::server::Arrival;
use crate::session::SessionFacts;

/// The client's side of every request on one connection.
#[derive(Debug)]
pub(super) struct Caller {
    /// Header lines that no request changes, each ended by CRLF.
    pub lines: Vec<u8>,
    /// The same without those that a trusted proxy may have said already.
    pub certificate_lines: Vec<u8>,
    /// Where it connects from; None over a unix socket.
    pub address: Option<IpAddr>,
    /// The port it connected to.
    pub port: Option<u16>,
    /// It is a proxy whose X-Forwarded-* are believed.
    pub trusted: bool,
    /// Only a token can let its requests in.
    pub needs_token: bool,
    /// Nothing can, not even a token.
    pub refused: bool,
    /// The server name it asked for in TLS.
    pub server_name: Option<String>,
    /// For the access log, where there is one: where it connects from, and whom its certificate names.
    pub peer: Option<String>,
    /// As above.
    pub certificate_name: Option<String>,
}

impl Caller {
    /// Gathers what `config` wants said.
    pub(super) fn new(config: &HttpConfig, facts: &SessionFacts, arrival: &Arrival) -> Caller {
        let address = arrival.peer.ip().map(|peer| peer.ip().to_canonical());
        let port = arrival.local.ip().map(|local| local.port());
        let mut certificate_lines = Vec::new();
        if config.xfcc
            && let Some(peer) = facts.peer.as_deref()
        {
            line(&mut certificate_lines, b"X-Forwarded-Client-Cert", client_certificate(peer).as_bytes());
        }
        if let Some(prefix) = &config.identity_prefix {
            identity_lines(&mut certificate_lines, prefix, facts.peer.as_deref());
        }
        let mut lines = Vec::new();
        if config.forwarded.says_x() {
            if let Some(address) = address {
                line(&mut lines, b"X-Forwarded-For", address.to_string().as_bytes());
            }
            line(&mut lines, b"X-Forwarded-Proto", b"https");
            if let Some(port) = port {
                line(&mut lines, b"X-Forwarded-Port", port.to_string().as_bytes());
            }
        }
        lines.extend_from_slice(&certificate_lines);
        Caller {
            lines,
            certificate_lines,
            address,
            port,
            trusted: address.is_some_and(|address| config.is_trusted(address)),
            needs_token: arrival.verdict != Verdict::Admitted,
            refused: arrival.verdict == Verdict::Refused,
            server_name: facts.sni.clone(),
            peer: config.access_log.then(|| arrival.peer.to_string()),
            certificate_name: facts.peer.as_deref().filter(|_| config.access_log).map(name_of),
        }
    }

    /// The element of `Forwarded` (RFC 7239) for this client and `authority`.
    pub(super) fn forwarded(&self, authority: Option<&[u8]>) -> String {
        let mut element = match self.address {
            Some(IpAddr::V6(address)) => format!("for=\"[{address}]\";proto=https"),
            Some(address) => format!("for={address};proto=https"),
            None => "for=unknown;proto=https".to_string(),
        };
        // The authority was checked; it has no quote or backslash.
        if let Some(authority) = authority.and_then(|authority| std::str::from_utf8(authority).ok()) {
            let _infallible = write!(element, ";host=\"{authority}\"");
        }
        element
    }
}

impl Forwarded {
    fn says_x(self) -> bool {
        matches!(self, Forwarded::XForwarded | Forwarded::Both)
    }
}

/// Envoy's form: `Hash=<SHA-256 of the certificate>;Subject="...";URI=...;DNS=...`.
fn client_certificate(peer: &PeerIdentity) -> String {
    let mut value = String::from("Hash=");
    for byte in kit_tls::sha256(&peer.der) {
        let _infallible = write!(value, "{byte:02x}");
    }
    let _infallible = write!(value, ";Subject=\"{}\"", quoted(&peer.subject));
    for uri in &peer.uri {
        let _infallible = write!(value, ";URI=\"{}\"", quoted(uri));
    }
    for name in &peer.dns {
        let _infallible = write!(value, ";DNS=\"{}\"", quoted(name));
    }
    value
}

fn name_of(peer: &PeerIdentity) -> String {
    let name = peer.cn.as_ref().or(peer.uri.first()).or(peer.dns.first());
    name.unwrap_or(&peer.subject).clone()
}

/// One line for each thing that a certificate says of its owner and that fits a header as it is; what does not is left out,
/// never bent. `Verify` is as nginx has it: SUCCESS for a certificate that was verified, NONE without one.
fn identity_lines(out: &mut Vec<u8>, prefix: &str, peer: Option<&PeerIdentity>) {
    let mut say = |name: &str, value: &str| {
        let plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.trim() == value;
        if plain && !value.is_empty() {
            line(out, format!("{prefix}{name}").as_bytes(), value.as_bytes());
        }
    };
    let Some(peer) = peer else { return say("Verify", "NONE") };
    say("Verify", "SUCCESS");
    say("Cn", peer.cn.as_deref().unwrap_or_default());
    say("Subject", &peer.subject);
    // A name with a comma would read as two.
    let list =
        |names: &[String]| names.iter().filter(|name| !name.contains(',')).cloned().collect::<Vec<_>>().join(",");
    say("Dns", &list(&peer.dns));
    say("Uri", &list(&peer.uri));
    let mut digest = String::new();
    for byte in kit_tls::sha256(&peer.der) {
        let _infallible = write!(digest, "{byte:02x}");
    }
    say("Cert-Sha256", &digest);
}

/// Fit for a quoted string in one line: quotes and backslashes escaped, all else than visible ASCII as %XX.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _infallible = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_cannot_end_its_quotes_or_its_line() {
        assert_eq!(quoted("CN=a\",URI=\"x\\\r\n\u{e9}"), "CN=a\\\",URI=\\\"x\\\\%0D%0A%C3%A9");
    }
}
