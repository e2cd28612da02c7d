//! What is counted. Labels are bounded: listeners come from flags, everything else from fixed words.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use kit_tls::{Certificate, LoadError};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::relay::Outcome;
use crate::times::Times;

/// Labels of one to three words each.
type Labels<const N: usize> = [(&'static str, String); N];

/// All metrics of the doors. Clones of the fields count into the same cells.
#[derive(Debug)]
pub struct Metrics {
    /// What became of what was accepted, in ghostunnel's words.
    pub accepted: Accepted,
    /// What became of those that had a session, in ghostunnel's words.
    pub carried: Carried,
    /// Accepted and not yet over.
    pub connections_open: Gauge,
    connections: Family<Labels<2>, Counter>,
    handshakes: Family<Labels<4>, Counter>,
    handshake_failures: Family<Labels<1>, Counter>,
    /// From the start of a handshake to its end, failed ones not counted.
    pub handshake_seconds: Times,
    /// From accept to the end, failed handshakes not counted.
    pub connection_seconds: Times,
    /// Plain bytes towards the target.
    pub bytes_in: Counter,
    /// Plain bytes towards the client.
    pub bytes_out: Counter,
    /// Failures of accept itself, most often missing descriptors.
    pub accept_errors: Counter,
    /// Targets that could not be reached.
    pub dial_failures: Counter,
    /// From the start of a dial to the connection, a proxy's part in it too.
    pub dial_seconds: Histogram,
    /// 0 serving, 1 told to stop and still accepting, 2 draining.
    pub drain_state: Gauge,
    reloads: Family<Labels<1>, Counter>,
    last_reload: Gauge<f64, AtomicU64>,
    authorities: Gauge,
    not_after: Family<Labels<2>, Gauge<f64, AtomicU64>>,
}

/// Counts of accepted connections by what became of them, for a page that cannot read labels back.
#[derive(Debug, Default)]
pub struct Accepted {
    total: AtomicU64,
    success: AtomicU64,
    timeout: AtomicU64,
    error: AtomicU64,
}

impl Accepted {
    /// All, those with a session, those that took too long, those whose handshake failed.
    #[must_use]
    pub fn counts(&self) -> [u64; 4] {
        [&self.total, &self.success, &self.timeout, &self.error].map(|cell| cell.load(Ordering::Relaxed))
    }
}

/// Counts of connections that did not end by themselves, for the same page.
#[derive(Debug, Default)]
pub struct Carried {
    timeout: AtomicU64,
    error: AtomicU64,
}

impl Carried {
    /// Those that a limit ended, those that broke otherwise than by a reset.
    #[must_use]
    pub fn counts(&self) -> [u64; 2] {
        [&self.timeout, &self.error].map(|cell| cell.load(Ordering::Relaxed))
    }
}

impl Metrics {
    /// Makes and registers all of them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        // 250 us to 8 s: a handshake costs half a millisecond, a stuck one ends at the connect timeout.
        let buckets = exponential_buckets(0.000_25, 2.0, 16);
        let metrics = Self {
            accepted: Accepted::default(),
            carried: Carried::default(),
            connections_open: Gauge::default(),
            connections: Family::default(),
            handshakes: Family::default(),
            handshake_failures: Family::default(),
            handshake_seconds: Times::new(buckets),
            // 1 ms to 18 hours: a probe's connection, and a database's.
            connection_seconds: Times::new(exponential_buckets(0.001, 4.0, 14)),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            accept_errors: Counter::default(),
            dial_failures: Counter::default(),
            dial_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 18)),
            drain_state: Gauge::default(),
            reloads: Family::default(),
            last_reload: Gauge::default(),
            authorities: Gauge::default(),
            not_after: Family::default(),
        };
        macro_rules! add {
            ($($field:ident: $name:literal, $help:literal;)*) => {
                $(registry.register(concat!("tls_ambassador_", $name), $help, metrics.$field.clone());)*
            };
        }
        add! {
            connections_open: "connections_open", "Connections accepted and not yet over";
            connections: "connections", "Connections that ended, by listener and result";
            handshakes: "handshakes", "TLS handshakes that succeeded";
            handshake_failures: "handshake_failures", "TLS handshakes that failed, by reason";
            handshake_seconds: "handshake_seconds", "Duration of TLS handshakes that succeeded";
            connection_seconds: "connection_seconds", "Duration of connections that had a session";
            bytes_in: "received_bytes", "Plain bytes from those who connect";
            bytes_out: "sent_bytes", "Plain bytes to those who connect";
            accept_errors: "accept_errors", "Failures to accept a connection";
            dial_failures: "backend_dial_failures", "Targets that could not be reached";
            dial_seconds: "backend_dial_seconds", "Time to reach a target";
            drain_state: "drain_state", "0 serving, 1 told to stop and still accepting, 2 draining";
            reloads: "reload", "Reloads of certificate files, by result";
            last_reload: "reload_last_success_timestamp_seconds", "When files were last taken into use";
            authorities: "ca_bundle_certificates", "Authorities in use that were read from files or are compiled in";
            not_after: "certificate_not_after_timestamp_seconds", "When an own certificate in use expires";
        }
        Arc::new(metrics)
    }

    /// A connection ended.
    pub fn ended(&self, listener: &str, result: &'static str) {
        let labels = [("listener", listener.to_owned()), ("result", result.to_owned())];
        self.connections.get_or_create(&labels).inc();
    }

    /// What was carried between two sides did not end by itself.
    pub fn cut(&self, outcome: &Outcome) {
        let cell = match outcome {
            Outcome::Finished => return,
            Outcome::TimedOut => &self.carried.timeout,
            // A peer that has gone is no fault; its suite wants none told.
            Outcome::Broken(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return;
            }
            Outcome::Broken(_) => &self.carried.error,
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// A handshake succeeded.
    pub fn shook_hands(&self, facts: &crate::session::SessionFacts, seconds: f64) {
        let alpn = facts.alpn.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let labels = [
            ("version", facts.version.to_owned()),
            ("group", facts.group.clone()),
            ("resumed", facts.resumed.to_string()),
            // Only protocols that we offered can be chosen, so the label is bounded.
            ("alpn", alpn.into_owned()),
        ];
        self.handshakes.get_or_create(&labels).inc();
        self.accepted.success.fetch_add(1, Ordering::Relaxed);
        self.handshake_seconds.observe(seconds);
    }

    /// A handshake failed.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.handshake_failures.get_or_create(&[("reason", reason.to_owned())]).inc();
        let cell = if reason == "timeout" { &self.accepted.timeout } else { &self.accepted.error };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// When files were last taken into use, in seconds since 1970.
    #[must_use]
    pub fn last_reload(&self) -> f64 {
        self.last_reload.get()
    }

    /// A reload succeeded.
    pub fn reloaded(&self) {
        self.reloads.get_or_create(&[("result", "ok".to_owned())]).inc();
    }

    /// What is in use now, at the start or after a reload.
    pub fn loaded(&self, certificates: &[Certificate], authorities: usize) {
        self.last_reload.set(seconds(SystemTime::now()));
        self.authorities.set(i64::try_from(authorities).unwrap_or(i64::MAX));
        self.not_after.clear();
        for Certificate { path, leaf } in certificates {
            let cn = leaf.cn.clone().or_else(|| leaf.dns.first().cloned()).unwrap_or_default();
            let labels = [("path", path.display().to_string()), ("cn", cn)];
            self.not_after.get_or_create(&labels).set(seconds(leaf.not_after));
        }
    }

    /// Files were refused; the ones before stay in use.
    pub fn refused(&self, error: &LoadError) {
        let result = match error {
            LoadError::Mismatch { .. } => "mismatch",
            LoadError::OutOfDate { .. } => "out_of_date",
            LoadError::Read { .. } => "unreadable",
            _ => "invalid",
        };
        self.reloads.get_or_create(&[("result", result.to_owned())]).inc();
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Counts a connection as open for as long as it lives, however it ends.
#[derive(Debug)]
pub struct OpenConnection<'a>(&'a Metrics);

impl<'a> OpenConnection<'a> {
    /// One more.
    #[must_use]
    pub fn new(metrics: &'a Metrics) -> Self {
        metrics.connections_open.inc();
        metrics.accepted.total.fetch_add(1, Ordering::Relaxed);
        Self(metrics)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.connections_open.dec();
    }
}

/// The word for a failed handshake.
#[must_use]
pub fn reason(error: &crate::session::HandshakeError) -> &'static str {
    use crate::session::HandshakeError;
    use kit_tls::rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
    let HandshakeError::Tls(error) = error else { return "closed" };
    match error {
        Error::NoCertificatesPresented => "no_certificate",
        Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => "not_allowed",
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => "unknown_ca",
        Error::InvalidCertificate(CertificateError::Revoked | CertificateError::UnknownRevocationStatus) => "revoked",
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "expired",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "name",
        Error::InvalidCertificate(_) => "bad_certificate",
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => "no_common_group",
        Error::PeerIncompatible(_) => "protocol",
        Error::NoApplicationProtocol => "alpn",
        Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate) => "peer_distrusts",
        Error::AlertReceived(_) => "peer_refused",
        Error::InvalidMessage(_) => "garbage",
        Error::General(_) => "sni",
        _ => "tls",
    }
}
