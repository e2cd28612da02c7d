//! PEM files: certificates, keys, authorities, revocation lists.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::{Leaf, LoadError};

/// Larger than any chain or CA bundle; a file that never ends (a device, a log) must not fill the memory.
const MAX_FILE: u64 = 8 << 20;

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, LoadError> {
    use std::io::Read;
    let refused = |source| LoadError::Read { what, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(refused)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(refused)?;
    Ok(bytes)
}

fn all<T: PemObject>(what: &'static str, path: &Path) -> Result<Vec<T>, LoadError> {
    let bytes = read(what, path)?;
    let empty = |reason| LoadError::Empty { what, path: path.to_owned(), reason };
    let found: Result<Vec<T>, _> = T::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| empty(Some(why(error))))?;
    if found.is_empty() { Err(empty(None)) } else { Ok(found) }
}

/// What is wrong with a PEM file, where the library would print its lines as lists of numbers.
fn why(error: pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("the line -----END {}----- is missing", String::from_utf8_lossy(&end_marker))
        }
        pem::Error::IllegalSectionStart { .. } => "a line -----BEGIN ...----- is broken".to_owned(),
        other => other.to_string(),
    }
}

/// A chain and its key, checked to belong together, with the facts of the leaf.
pub(crate) fn pair(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<(Arc<CertifiedKey>, Leaf), LoadError> {
    let chain: Vec<CertificateDer<'static>> = all("certificate", cert)?;
    let key_bytes = read("key", key)?;
    let secret = PrivateKeyDer::from_pem_slice(&key_bytes).map_err(|error| {
        let reason = (!matches!(error, pem::Error::NoItemsFound)).then(|| why(error));
        LoadError::Empty { what: "private key", path: key.to_owned(), reason }
    })?;
    let unusable = |source| LoadError::Certificate { path: cert.to_owned(), source };
    let leaf = Leaf::parse(chain.first().map(|leaf| leaf.as_ref()).unwrap_or_default()).map_err(unusable)?;
    let certified = CertifiedKey::from_der(chain, secret, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            LoadError::Mismatch { certificate: cert.to_owned(), key: key.to_owned() }
        }
        other => LoadError::Key { path: key.to_owned(), reason: other.to_string() },
    })?;
    Ok((Arc::new(certified), leaf))
}

/// Every certificate in the file as a trust anchor. One that is no CA certificate makes the file unusable: a store
/// that silently lacks an authority would refuse peers for no visible reason.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, LoadError> {
    let mut roots = RootCertStore::empty();
    for der in all::<CertificateDer<'static>>("CA certificate", path)? {
        let refused = |error: rustls::Error| LoadError::Unusable { path: path.to_owned(), reason: error.to_string() };
        roots.add(der).map_err(refused)?;
    }
    Ok(roots)
}

pub(crate) fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, LoadError> {
    all("CRL", path)
}
