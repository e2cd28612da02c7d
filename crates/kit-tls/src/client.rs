//! The connecting side: which servers are trusted, and the certificate shown to them.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::{ClientConfig, RootCertStore};

use crate::verify::{AdmittedServers, Trust};
use crate::{Admit, Certificate, LoadError, Material, Password, Policy, pem};

/// Where a client's material is.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The certificate (chain, leaf first) shown to servers that ask, and its key.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// Of a pair that is one PKCS#12 file.
    pub password: Password,
    /// The authorities that sign servers; `None`: the public ones that are compiled in.
    pub authorities: Option<PathBuf>,
    /// Revoked server certificates. A server whose issuer has no list in it is refused.
    pub revocations: Option<PathBuf>,
}

impl Files {
    /// Everything that a [`crate::Store`] has to watch.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let pair = self.pair.iter().flat_map(|(certificate, key)| [certificate, key]).chain(self.password.path());
        pair.chain(&self.authorities).chain(&self.revocations).cloned().collect()
    }
}

/// How a client behaves, whatever its files hold.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Versions and key exchanges.
    pub policy: Policy,
    /// Protocols offered by ALPN, best first; empty: none.
    pub alpn: Vec<Vec<u8>>,
    /// SHA-256 of public keys. With any, they alone decide: chain, dates and name are not looked at.
    pub pins: Vec<[u8; 32]>,
    /// An additional rule for the server's certificate.
    pub admit: Option<Admit>,
}

/// Reads all files and makes one configuration of them.
///
/// # Errors
/// The first file that cannot be used.
pub fn load(files: &Files, settings: &Settings) -> Result<Material<ClientConfig>, LoadError> {
    let provider = settings.policy.provider();
    let first = files.paths().into_iter().next().unwrap_or_default();
    let unusable = |reason: String| LoadError::Unusable { path: first.clone(), reason };
    let (trust, authorities) = match settings.pins.as_slice() {
        [] => chain(files, &provider)?,
        pins => (Trust::Pins(pins.to_vec()), 0),
    };
    let verifier = AdmittedServers { trust, admit: settings.admit.clone(), provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&settings.policy.versions());
    let builder = builder.map_err(|error| unusable(error.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut certificates = Vec::new();
    let mut config = match &files.pair {
        Some((certificate, key)) => {
            let (certified, leaf) = pem::pair(certificate, key, &files.password, &provider)?;
            certificates.push(Certificate { path: certificate.clone(), leaf });
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols.clone_from(&settings.alpn);
    // A resumed session skips the verifier: a narrowed rule, a new CA or a revocation would not be seen.
    config.resumption = Resumption::disabled();
    Ok(Material { config: Arc::new(config), certificates, authorities })
}

fn chain(
    files: &Files,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<(Trust<dyn ServerCertVerifier>, usize), LoadError> {
    let roots = match &files.authorities {
        Some(path) => pem::authorities(path)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let authorities = roots.len();
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if let Some(path) = &files.revocations {
        builder = builder.with_crls(pem::revocations(path)?).only_check_end_entity_revocation();
    }
    let at_fault = files.revocations.as_ref().or(files.authorities.as_ref()).cloned().unwrap_or_default();
    let unusable = |error| LoadError::Unusable { path: at_fault, reason: format!("{error}") };
    let verifier: Arc<dyn ServerCertVerifier> = builder.build().map_err(unusable)?;
    Ok((Trust::Chain(verifier), authorities))
}
