//! Verifiers that ask one more question than the chain: may this peer in?

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::Leaf;

/// Decides on a certificate whose chain is already verified. `false` ends the handshake with an alert.
#[derive(Clone)]
pub struct Admit(Arc<dyn Fn(&Leaf) -> bool + Send + Sync>);

impl Admit {
    /// Asks `rule`.
    pub fn when(rule: impl Fn(&Leaf) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }

    fn check(&self, der: &CertificateDer<'_>) -> Result<(), Error> {
        let leaf = Leaf::parse(der).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if (self.0)(&leaf) {
            Ok(())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }
}

impl fmt::Debug for Admit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Admit")
    }
}

thread_local! {
    static JUDGED: std::cell::Cell<Option<Vec<u8>>> = const { std::cell::Cell::new(None) };
}

/// The certificate (DER) that a verifier refused last on this thread, once: for logs, since a failed handshake keeps none.
#[must_use]
pub fn take_refused_certificate() -> Option<Vec<u8>> {
    JUDGED.take()
}

/// Keeps a refused certificate for [`take_refused_certificate`].
fn remember<T>(judged: Result<T, Error>, certificate: &CertificateDer<'_>) -> Result<T, Error> {
    if judged.is_err() {
        JUDGED.set(Some(certificate.to_vec()));
    }
    judged
}

/// The key must be one of these (SHA-256 of the public key info); nothing else of the certificate counts.
fn check_pins(pins: &[[u8; 32]], end_entity: &CertificateDer<'_>) -> Result<(), Error> {
    let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    if pins.contains(&Leaf::parse(end_entity).map_err(bad)?.spki_sha256) {
        Ok(())
    } else {
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }
}

/// How a peer's certificate is judged before `admit` is asked; `V` is the trait of those who judge chains.
#[derive(Debug)]
pub(crate) enum Trust<V: ?Sized> {
    /// Chain and dates, and a server's name, as everybody does.
    Chain(Arc<V>),
    /// The key itself is known, so whoever signed it, dates and name say nothing more.
    Pins(Vec<[u8; 32]>),
}

/// A client verifier: trust first, then the additional rule.
#[derive(Debug)]
pub(crate) struct AdmittedClients {
    pub(crate) trust: Trust<dyn ClientCertVerifier>,
    /// Whether a client without a certificate is refused.
    pub(crate) mandatory: bool,
    pub(crate) admit: Option<Admit>,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl AdmittedClients {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match &self.trust {
            Trust::Chain(inner) => {
                inner.verify_client_cert(end_entity, intermediates, now)?;
            }
            Trust::Pins(pins) => check_pins(pins, end_entity)?,
        }
        if let Some(admit) = &self.admit {
            admit.check(end_entity)?;
        }
        Ok(ClientCertVerified::assertion())
    }
}

impl ClientCertVerifier for AdmittedClients {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.trust {
            Trust::Chain(inner) => inner.root_hint_subjects(),
            Trust::Pins(_) => &[],
        }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        remember(self.judge(end_entity, intermediates, now), end_entity)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A server verifier: trust first, then the additional rule.
#[derive(Debug)]
pub(crate) struct AdmittedServers {
    pub(crate) trust: Trust<dyn ServerCertVerifier>,
    pub(crate) admit: Option<Admit>,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl AdmittedServers {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Trust::Chain(inner) => {
                inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
            }
            Trust::Pins(pins) => check_pins(pins, end_entity)?,
        }
        if let Some(admit) = &self.admit {
            admit.check(end_entity)?;
        }
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for AdmittedServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        remember(self.judge(end_entity, intermediates, server_name, ocsp_response, now), end_entity)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
