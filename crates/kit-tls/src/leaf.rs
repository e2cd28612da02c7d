//! What an end-entity certificate says of its owner.

use std::net::IpAddr;
use std::time::SystemTime;

use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{ObjectIdentifier, OctetString};
use x509_cert::der::oid::db::rfc4519::{COMMON_NAME, ORGANIZATIONAL_UNIT_NAME};
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The facts of one certificate. They are claims until a verifier has checked the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The whole subject as RFC 4514 writes it.
    pub subject: String,
    /// The common name, when there is exactly one: with several, one side may check another than the other side uses.
    pub cn: Option<String>,
    /// Organizational units in the order of the subject.
    pub ou: Vec<String>,
    /// Alternative names of type DNS, as written.
    pub dns: Vec<String>,
    /// Alternative names of type URI, as written; a SPIFFE id is one.
    pub uri: Vec<String>,
    /// Alternative names of type IP address.
    pub ip: Vec<IpAddr>,
    /// SHA-256 of the DER of the public key info: what pins name.
    pub spki_sha256: [u8; 32],
    /// The certificate itself.
    pub der: Vec<u8>,
    /// The certificate is valid from here.
    pub not_before: SystemTime,
    /// The certificate is valid until here.
    pub not_after: SystemTime,
}

/// The bytes are not an X.509 certificate.
#[derive(Debug, thiserror::Error)]
#[error("not an X.509 certificate: {0}")]
pub struct LeafError(String);

impl Leaf {
    /// Reads DER.
    ///
    /// # Errors
    /// When the bytes are not one X.509 v3 certificate.
    pub fn parse(der: &[u8]) -> Result<Self, LeafError> {
        let refused = |error: x509_cert::der::Error| LeafError(error.to_string());
        let certificate = Certificate::from_der(der).map_err(refused)?;
        let tbs = &certificate.tbs_certificate;
        let mut cn = values(&certificate, COMMON_NAME);
        let mut leaf = Self {
            subject: tbs.subject.to_string(),
            cn: if cn.len() == 1 { cn.pop() } else { None },
            ou: values(&certificate, ORGANIZATIONAL_UNIT_NAME),
            dns: Vec::new(),
            uri: Vec::new(),
            ip: Vec::new(),
            spki_sha256: crate::sha256(&tbs.subject_public_key_info.to_der().map_err(refused)?),
            der: der.to_vec(),
            not_before: tbs.validity.not_before.to_system_time(),
            not_after: tbs.validity.not_after.to_system_time(),
        };
        if let Some((_critical, names)) = tbs.get::<SubjectAltName>().map_err(refused)? {
            leaf.add_names(names);
        }
        Ok(leaf)
    }

    /// Subject and issuer in DER, to put a chain in order.
    pub(crate) fn names(der: &[u8]) -> Result<(Vec<u8>, Vec<u8>), LeafError> {
        let refused = |error: x509_cert::der::Error| LeafError(error.to_string());
        let certificate = Certificate::from_der(der).map_err(refused)?;
        let tbs = &certificate.tbs_certificate;
        Ok((tbs.subject.to_der().map_err(refused)?, tbs.issuer.to_der().map_err(refused)?))
    }

    fn add_names(&mut self, names: SubjectAltName) {
        for name in names.0 {
            match name {
                GeneralName::DnsName(name) => self.dns.push(name.as_str().to_owned()),
                GeneralName::UniformResourceIdentifier(uri) => self.uri.push(uri.as_str().to_owned()),
                GeneralName::IpAddress(bytes) => self.ip.extend(address(&bytes)),
                _ => {}
            }
        }
    }

    /// True when one of the DNS names covers `host`: the same name in any case, or `*.` for exactly one label.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.dns.iter().any(|name| {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(suffix) => parent == Some(suffix),
                None => name == host,
            }
        })
    }
}

fn values(certificate: &Certificate, kind: ObjectIdentifier) -> Vec<String> {
    let attributes = certificate.tbs_certificate.subject.0.iter().flat_map(|rdn| rdn.0.iter());
    attributes.filter(|attribute| attribute.oid == kind).filter_map(text).collect()
}

/// Strings that are UTF-8 or a subset of it. The two-byte and Latin kinds are not read: a rule never matches them.
fn text(attribute: &AttributeTypeAndValue) -> Option<String> {
    match attribute.value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            std::str::from_utf8(attribute.value.value()).ok().map(str::to_owned)
        }
        _ => None,
    }
}

fn address(bytes: &OctetString) -> Option<IpAddr> {
    let bytes = bytes.as_bytes();
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
