//! Which TLS is spoken: versions, suites and key exchanges of every configuration made here.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite, SupportedProtocolVersion};

use crate::hkdf;

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
    /// Cipher suites, best first; empty: all that there are.
    pub suites: Vec<CipherSuite>,
    /// Key exchanges, best first; empty: all that there are.
    pub groups: Vec<NamedGroup>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_version: Version::Tls12,
            max_version: Version::Tls13,
            require_pq: false,
            suites: Vec::new(),
            groups: Vec::new(),
        }
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
        let every = default_provider();
        let named = |id: &CipherSuite| every.cipher_suites.iter().find(|suite| suite.suite() == *id).copied();
        let cipher_suites = match self.suites.as_slice() {
            [] => every.cipher_suites.clone(),
            some => some.iter().filter_map(named).collect(),
        };
        let known = GROUPS.map(|(_, group)| group);
        let group = |id: &NamedGroup| known.iter().find(|group| group.name() == *id).copied();
        let kx_groups = match self.groups.as_slice() {
            _ if self.require_pq => vec![kx_group::X25519MLKEM768],
            [] => known.to_vec(),
            some => some.iter().filter_map(group).collect(),
        };
        Arc::new(hkdf::prepared(CryptoProvider { cipher_suites, kx_groups, ..every }))
    }

    /// The first of the spoken versions for which no cipher suite or no key exchange is left, if any.
    #[must_use]
    pub fn unusable_version(&self) -> Option<&'static str> {
        let provider = self.provider();
        self.versions().into_iter().find_map(|spoken| {
            let modern = spoken.version == rustls::ProtocolVersion::TLSv1_3;
            let suite = provider.cipher_suites.iter().any(|suite| (suite.tls13().is_some()) == modern);
            let group = provider.kx_groups.iter().any(|group| modern || group.name() != NamedGroup::X25519MLKEM768);
            (!suite || !group).then_some(if modern { "TLS1.3" } else { "TLS1.2" })
        })
    }
}

/// Key exchanges by the names that flags use, best first.
const GROUPS: [(&str, &dyn SupportedKxGroup); 4] = [
    ("X25519MLKEM768", kx_group::X25519MLKEM768),
    ("X25519", kx_group::X25519),
    ("P-256", kx_group::SECP256R1),
    ("P-384", kx_group::SECP384R1),
];

/// A key exchange by its name, in any case; `secp256r1` and `secp384r1` are understood too.
///
/// # Errors
/// Another name, with those that there are.
pub fn group(name: &str) -> Result<NamedGroup, String> {
    let name = match name.to_ascii_lowercase().as_str() {
        "secp256r1" | "p256" => "P-256".to_owned(),
        "secp384r1" | "p384" => "P-384".to_owned(),
        _ => name.to_owned(),
    };
    let found = GROUPS.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
    found.map(|(_, group)| group.name()).ok_or_else(|| {
        let all = GROUPS.map(|(name, _)| name).join(", ");
        format!("{name:?} is no key exchange that is spoken here; there are {all}")
    })
}

/// Cipher suites by one name: a suite's own (`TLS13_AES_256_GCM_SHA384`, or as IANA writes it), or `AES` or `CHACHA`
/// for all of that cipher.
///
/// # Errors
/// Another name, with those that there are. Suites without AEAD do not exist here.
pub fn suites(name: &str) -> Result<Vec<CipherSuite>, String> {
    let every = default_provider().cipher_suites;
    let title = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
    let wanted = |suite: &&SupportedCipherSuite| {
        let title = title(suite);
        match name.to_ascii_uppercase().as_str() {
            "AES" => title.contains("_AES_"),
            "CHACHA" => title.contains("_CHACHA20_"),
            exact => title == exact || title.replace("TLS13_", "TLS_") == exact,
        }
    };
    let found: Vec<CipherSuite> = every.iter().filter(wanted).map(SupportedCipherSuite::suite).collect();
    if found.is_empty() {
        let all = every.iter().map(title).collect::<Vec<_>>().join(", ");
        return Err(format!("{name:?} is no cipher suite that is spoken here; there are AES, CHACHA, {all}"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_stand_for_all_suites_of_a_cipher_and_names_for_one() {
        assert_eq!(suites("aes").map(|found| found.len()), Ok(6));
        assert_eq!(suites("CHACHA").map(|found| found.len()), Ok(3));
        let one = Ok(vec![CipherSuite::TLS13_AES_256_GCM_SHA384]);
        assert_eq!(suites("TLS13_AES_256_GCM_SHA384"), one);
        assert_eq!(suites("TLS_AES_256_GCM_SHA384"), one);
        let refused = suites("TLS_RSA_WITH_AES_128_CBC_SHA").unwrap_err();
        assert!(refused.starts_with("\"TLS_RSA_WITH_AES_128_CBC_SHA\" is no cipher suite that is spoken here"));
    }

    #[test]
    fn key_exchanges_have_the_names_of_flags_and_of_iana() {
        assert_eq!(group("P-256"), group("secp256r1"));
        assert_eq!(group("x25519mlkem768"), Ok(NamedGroup::X25519MLKEM768));
        let refused =
            "\"P-521\" is no key exchange that is spoken here; there are X25519MLKEM768, X25519, P-256, P-384";
        assert_eq!(group("P-521"), Err(refused.to_owned()));
    }

    #[test]
    fn what_is_chosen_is_all_that_is_offered() {
        let policy = Policy {
            suites: suites("CHACHA").unwrap_or_default(),
            groups: vec![NamedGroup::secp384r1],
            ..Policy::default()
        };
        let provider = policy.provider();
        assert_eq!((provider.cipher_suites.len(), provider.kx_groups.len()), (3, 1));
        assert_eq!(policy.unusable_version(), None);
        let modern = Policy { suites: vec![CipherSuite::TLS13_AES_128_GCM_SHA256], ..Policy::default() };
        assert_eq!(modern.unusable_version(), Some("TLS1.2"));
        let hybrid = Policy { groups: vec![NamedGroup::X25519MLKEM768], ..Policy::default() };
        assert_eq!(hybrid.unusable_version(), Some("TLS1.2"));
    }
}
