//! Which TLS is spoken: versions, suites and key exchanges of every configuration made here.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};

/// A version of TLS that rustls speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2 (RFC 5246), with AEAD suites and ephemeral keys only.
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// The limits within which peers may choose.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The oldest version that is spoken.
    pub min_version: Version,
    /// The newest version that is spoken.
    pub max_version: Version,
    /// Only X25519MLKEM768, which exists in TLS 1.3 only: peers without it fail.
    pub require_pq: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { min_version: Version::Tls12, max_version: Version::Tls13, require_pq: false }
    }
}

impl Policy {
    pub(crate) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(Version::Tls13, &rustls::version::TLS13), (Version::Tls12, &rustls::version::TLS12)];
        let min = if self.require_pq { Version::Tls13 } else { self.min_version };
        let spoken = all.into_iter().filter(|(version, _)| (min..=self.max_version).contains(version));
        spoken.map(|(_, version)| version).collect()
    }

    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        let hybrid: &'static dyn SupportedKxGroup = kx_group::X25519MLKEM768;
        let kx_groups = if self.require_pq {
            vec![hybrid]
        } else {
            vec![hybrid, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1]
        };
        Arc::new(CryptoProvider { kx_groups, ..default_provider() })
    }
}
