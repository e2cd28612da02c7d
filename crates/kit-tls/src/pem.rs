//! Files: certificates, keys, authorities and revocation lists in PEM, and keystores.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::{Leaf, LoadError, pkcs12};

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

/// A chain and its key, checked to belong together, with the facts of the leaf. One file with both may be PEM or PKCS#12.
pub(crate) fn pair(
    cert: &Path,
    key: &Path,
    password: &Password,
    provider: &CryptoProvider,
) -> Result<(Arc<CertifiedKey>, Leaf), LoadError> {
    if cert == key {
        let bytes = read("keystore", cert)?;
        if !is_pem(&bytes) {
            return keystore(cert, &bytes, password, provider);
        }
    }
    let chain: Vec<CertificateDer<'static>> = all("certificate", cert)?;
    let key_bytes = read("key", key)?;
    let secret = PrivateKeyDer::from_pem_slice(&key_bytes).map_err(|error| {
        let locked = key_bytes.windows(9).any(|window| window == b"ENCRYPTED");
        let reason = match error {
            _ if locked => Some(LoadError::LOCKED.to_owned()),
            pem::Error::NoItemsFound => None,
            error => Some(why(error)),
        };
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

/// What the first certificate of a PEM file says, or that of a keystore's key.
///
/// # Errors
/// A file that cannot be read or holds no certificate.
pub fn leaf(path: &Path, password: &Password) -> Result<Leaf, LoadError> {
    let bytes = read("certificate", path)?;
    if is_pem(&bytes) {
        let chain: Vec<CertificateDer<'static>> = all("certificate", path)?;
        let first = chain.first().map(|leaf| leaf.as_ref()).unwrap_or_default();
        return Leaf::parse(first).map_err(|source| LoadError::Certificate { path: path.to_owned(), source });
    }
    let provider = crate::Policy::default().provider();
    keystore(path, &bytes, password, &provider).map(|(_, leaf)| leaf)
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(10).any(|window| window == b"-----BEGIN")
}

/// A PKCS#12 archive. Its certificates have no order that could be relied on: the leaf is the key's, and each issuer follows.
fn keystore(
    path: &Path,
    bytes: &[u8],
    password: &Password,
    provider: &CryptoProvider,
) -> Result<(Arc<CertifiedKey>, Leaf), LoadError> {
    let refused = |reason: String| LoadError::Keystore { path: path.to_owned(), reason };
    let archive = pkcs12::open(bytes, &password.read()?).map_err(refused)?;
    let unusable = |source| LoadError::Certificate { path: path.to_owned(), source };
    let mut rest = Vec::new();
    for der in archive.certificates {
        rest.push((Leaf::names(&der).map_err(unusable)?, CertificateDer::from(der)));
    }
    let key = || PrivateKeyDer::Pkcs8(archive.key.clone().into());
    let of_key = |(_, der): &(_, CertificateDer<'static>)| {
        CertifiedKey::from_der(vec![der.clone()], key(), provider).is_ok_and(|certified| certified.keys_match().is_ok())
    };
    // Says what is wrong with the key itself, before no certificate fits it.
    provider
        .key_provider
        .load_private_key(key())
        .map_err(|error| LoadError::Key { path: path.to_owned(), reason: error.to_string() })?;
    let at = rest.iter().position(of_key).ok_or_else(|| refused("no certificate in it is its key's".to_owned()))?;
    let mut chain = vec![rest.swap_remove(at)];
    while let Some(at) = chain.last().and_then(|((_, issuer), _)| rest.iter().position(|((name, _), _)| name == issuer))
    {
        chain.push(rest.swap_remove(at));
    }
    let chain: Vec<CertificateDer<'static>> = chain.into_iter().map(|(_, der)| der).collect();
    let leaf = Leaf::parse(chain.first().map(|leaf| leaf.as_ref()).unwrap_or_default()).map_err(unusable)?;
    let certified = CertifiedKey::from_der(chain, key(), provider);
    certified.map(|certified| (Arc::new(certified), leaf)).map_err(|error| refused(error.to_string()))
}

/// The password of keystores.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Password {
    /// There is none, or it is empty.
    #[default]
    Empty,
    /// This one.
    Text(String),
    /// The first line of this file, read again with the keystore.
    File(PathBuf),
}

/// The password itself does not belong into logs.
impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => formatter.write_str("Empty"),
            Self::Text(_) => formatter.write_str("[redacted]"),
            Self::File(path) => write!(formatter, "File({})", path.display()),
        }
    }
}

impl Password {
    /// The file, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            _ => None,
        }
    }

    fn read(&self) -> Result<String, LoadError> {
        match self {
            Self::Empty => Ok(String::new()),
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let bytes = read("password file", path)?;
                let text = String::from_utf8_lossy(&bytes);
                Ok(text.lines().next().unwrap_or_default().to_owned())
            }
        }
    }
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
