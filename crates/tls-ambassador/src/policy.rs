//! Versions, cipher suites and key exchanges, checked against each other.

use kit_run::Error;
use kit_tls::{Policy, Version};

use crate::args::{DoorArgs, TlsVersion};

/// What may be spoken.
///
/// # Errors
/// Flags that contradict each other or leave nothing to speak.
pub(crate) fn policy(door: &DoorArgs) -> Result<Policy, Error> {
    let version = |version| match version {
        TlsVersion::Tls12 => Version::Tls12,
        TlsVersion::Tls13 => Version::Tls13,
    };
    if door.min_tls_version > door.max_tls_version {
        return Err(Error::request("--min-tls-version is newer than --max-tls-version").hint("swap them"));
    }
    if door.require_pq && door.max_tls_version == TlsVersion::Tls12 {
        return Err(
            Error::request("--require-pq needs TLS 1.3, which --max-tls-version rules out").hint("keep one of them")
        );
    }
    if door.require_pq && !door.tls_groups.is_empty() {
        return Err(Error::request("--tls-groups contradicts --require-pq, which leaves X25519MLKEM768 alone")
            .hint("keep --require-pq to refuse all others, or --tls-groups X25519MLKEM768,... to prefer it"));
    }
    let mut suites = Vec::new();
    for suite in door.cipher_suites.iter().flat_map(|named| &named.0) {
        if !suites.contains(suite) {
            suites.push(*suite);
        }
    }
    let policy = Policy {
        min_version: version(door.min_tls_version),
        max_version: version(door.max_tls_version),
        require_pq: door.require_pq,
        suites,
        groups: door.tls_groups.clone(),
    };
    match policy.unusable_version() {
        None => Ok(policy),
        Some(version) => {
            let flag = if door.cipher_suites.is_empty() { "--tls-groups" } else { "--cipher-suites" };
            Err(Error::request(format!("{flag} leaves nothing to speak {version} with"))
                .hint(format!("name one more, or rule {version} out by --min-tls-version or --max-tls-version")))
        }
    }
}
