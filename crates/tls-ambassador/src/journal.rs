//! What the log says of connections: in our words or ghostunnel's, less `--quiet`, and not more often than somebody reads.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use kit_tls::rustls::{CertificateError, Error};

use crate::PeerIdentity;
use crate::args::Quiet;
use crate::config::DoorConfig;
use crate::session::{HandshakeError, Refusal};
use crate::target::Target;

/// Lines about failed handshakes in one second; a flood of them must not become a flood of lines.
const LINES: u64 = 10;

/// What is left out of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hush {
    /// Everything.
    pub all: bool,
    /// Connections that open and close.
    pub connections: bool,
    /// Targets that cannot be reached, connections that break.
    pub connection_errors: bool,
    /// Handshakes that fail.
    pub handshake_errors: bool,
}

impl Hush {
    pub(crate) fn new(quiet: &[Quiet]) -> Self {
        let all = quiet.contains(&Quiet::All);
        let of = |what| all || quiet.contains(&what);
        Self {
            all,
            connections: of(Quiet::Conns),
            connection_errors: of(Quiet::ConnErrs),
            handshake_errors: of(Quiet::HandshakeErrs),
        }
    }
}

/// Bytes are carried from now on.
pub(crate) fn opened(door: &DoorConfig, peer: &dyn Display, target: &Target) {
    match (door.hush.connections, door.ghostunnel) {
        (true, _) => {}
        (false, true) => tracing::info!(%peer, %target, "opening pipe"),
        (false, false) => tracing::debug!(%peer, %target, "connection open"),
    }
}

/// A connection is over.
pub(crate) fn closed(door: &DoorConfig, peer: &dyn Display, listener: &str, result: &'static str) {
    match (door.hush.connections, door.ghostunnel) {
        (true, _) => {}
        (false, true) => tracing::info!(%peer, listener, result, "closed pipe"),
        (false, false) => tracing::debug!(%peer, listener, result, "connection closed"),
    }
}

/// One side broke while bytes were carried.
pub(crate) fn broken(door: &DoorConfig, peer: &dyn Display, error: &dyn Display) {
    match (door.hush.connection_errors, door.ghostunnel) {
        (true, _) => {}
        (false, true) => tracing::info!(%peer, %error, "error during copy"),
        (false, false) => tracing::debug!(%peer, %error, "error during copy"),
    }
}

/// A target could not be reached.
pub(crate) fn unreachable(door: &DoorConfig, peer: &dyn Display, target: &Target, error: &dyn Display) {
    if !door.hush.connection_errors {
        tracing::warn!(%peer, %target, %error, "error on dial");
    }
}

/// A handshake failed. `line` is what the other side is to us.
pub(crate) fn refused(door: &DoorConfig, peer: &dyn Display, listener: &str, reason: &'static str, refusal: &Refusal) {
    let Some(left_out) = handshake_line(door) else { return };
    let owner = refusal.certificate.as_deref().map(|der| (PeerIdentity::parse(der).ok(), fingerprint(der)));
    let (subject, fingerprint) = match &owner {
        Some((leaf, fingerprint)) => (leaf.as_ref().map(|leaf| leaf.subject.as_str()), Some(fingerprint.as_str())),
        None => (None, None),
    };
    let offered = refusal.hello.as_ref().map(|hello| hello.versions.as_str());
    let sni = refusal.sni();
    tracing::info!(
        %peer, listener, reason, sni, offered, subject, fingerprint, left_out, error = %Said(&refusal.error),
        "error on TLS handshake"
    );
}

/// The library's words, but for the one refusal that is ours and that it has no words for.
struct Said<'a>(&'a HandshakeError);

impl Display for Said<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            HandshakeError::Tls(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
                formatter.write_str("no rule allows this certificate")
            }
            other => other.fmt(formatter),
        }
    }
}

/// The server ended a session that looked well to us: what it thinks of our certificate comes after the handshake in TLS 1.3.
pub(crate) fn ended(door: &DoorConfig, peer: &dyn Display, target: &Target, listener: &str, error: &dyn Display) {
    let Some(left_out) = handshake_line(door) else { return };
    tracing::warn!(%peer, %target, listener, left_out, %error, "the server ended the session");
}

/// Something failed before there could be a handshake.
pub(crate) fn not_begun(door: &DoorConfig, peer: &dyn Display, listener: &str, error: &dyn Display) {
    let Some(left_out) = handshake_line(door) else { return };
    tracing::info!(%peer, listener, left_out, %error, "error before TLS");
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` has it, in lower case and without colons.
fn fingerprint(der: &[u8]) -> String {
    kit_tls::sha256(der).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A connection could not be taken from the kernel: no descriptors, no memory. Tried again many times a second, by every thread.
pub(crate) fn not_accepted(error: &dyn Display) {
    let Some(left_out) = ACCEPTS.line() else { return };
    tracing::warn!(%error, left_out, "cannot accept a connection");
}

static FAILURES: Throttle = Throttle::new(LINES);
static ACCEPTS: Throttle = Throttle::new(1);

/// As [`Throttle::line`], for a line about a handshake.
fn handshake_line(door: &DoorConfig) -> Option<Option<u64>> {
    if door.hush.handshake_errors { None } else { FAILURES.line() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Counts lines of one second. Races between threads may let a line too many through, which is no harm.
struct Throttle {
    /// Lines in one second.
    most: u64,
    second: AtomicU64,
    said: AtomicU64,
    left_out: AtomicU64,
}

impl Throttle {
    const fn new(most: u64) -> Self {
        Self { most, second: AtomicU64::new(0), said: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// `None` where a line is to be left out now, else how many were left out before it, if any.
    fn line(&self) -> Option<Option<u64>> {
        self.may_say(now()).map(|left_out| (left_out > 0).then_some(left_out))
    }

    /// `None` where the line is to be left out, because this second has had enough of them, else how many were left out before it.
    fn may_say(&self, now: u64) -> Option<u64> {
        if self.second.swap(now, Ordering::Relaxed) != now {
            self.said.store(0, Ordering::Relaxed);
        }
        if self.said.fetch_add(1, Ordering::Relaxed) < self.most {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_that_tell_how_many_were_left_out() {
        let throttle = Throttle::new(LINES);
        let said = (0..1000).filter(|_| throttle.may_say(5).is_some()).count();
        assert_eq!(said, 10);
        assert_eq!((throttle.may_say(6), throttle.may_say(6)), (Some(990), Some(0)));
        let one = Throttle::new(1);
        assert_eq!((one.may_say(7), one.may_say(7), one.may_say(8)), (Some(0), None, Some(1)));
    }
}
