//! Why files did not become a configuration.

use std::io;
use std::path::PathBuf;

use crate::LeafError;

/// Files that cannot be used, by name.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is missing or unreadable.
    #[error("cannot read {what} {}", path.display())]
    Read {
        /// What the file is for: `certificate`, `key`, `CA file`, `CRL`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is there and holds nothing of the kind that is needed, or broken PEM.
    #[error("no {what} in {}{}", path.display(), reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Empty {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with the PEM, if it is not merely absent.
        reason: Option<String>,
    },
    /// The key is not the certificate's.
    #[error("{} and {} are not a pair: the key belongs to another certificate", certificate.display(), key.display())]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The key is of a kind that is not supported.
    #[error("cannot use key {}: {reason}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// The library's reason.
        reason: String,
    },
    /// The keystore cannot be opened.
    #[error("cannot use keystore {}: {reason}", path.display())]
    Keystore {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, or with the password.
        reason: String,
    },
    /// The certificate cannot be read as X.509.
    #[error("cannot use certificate {}", path.display())]
    Certificate {
        /// The certificate file.
        path: PathBuf,
        /// What is wrong in it.
        source: LeafError,
    },
    /// The certificate's time is over, or has not come. Only a reload is refused for this.
    #[error("certificate {} is {}", path.display(), state)]
    OutOfDate {
        /// The certificate file.
        path: PathBuf,
        /// "expired since ..." or "not valid before ...".
        state: String,
    },
    /// Files that are fine each do not make a configuration.
    #[error("cannot use {}: {reason}", path.display())]
    Unusable {
        /// The file at fault.
        path: PathBuf,
        /// The library's reason.
        reason: String,
    },
}

impl LoadError {
    /// The reason of a PEM key that nobody can read without a password.
    pub(crate) const LOCKED: &str = "it is under a password";

    /// The repair.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "check that the Secret's defaultMode (or fsGroup) lets this uid read it"
            }
            Self::Read { .. } => "check that the Secret is mounted and that the key has this name in it",
            Self::Empty { reason: Some(reason), .. } if reason == Self::LOCKED => {
                "write it without: openssl pkey -in FILE -out tls.key; or make a keystore of it, whose password --storepass-file has"
            }
            Self::Empty { .. } => "the file must be PEM, as cert-manager and kubectl create secret tls write it",
            Self::Mismatch { .. } => "take certificate and key from one Secret, or renew both together",
            Self::Key { .. } => {
                "use an ECDSA P-256, RSA (2048 bits or more) or Ed25519 key in PEM (PKCS#8, PKCS#1, SEC1)"
            }
            Self::Keystore { reason, .. } if reason.starts_with("the password is wrong") => {
                "give the file with its password to --storepass-file, or as storepass-file= to a route"
            }
            Self::Keystore { .. } => {
                "make PEM of it: openssl pkcs12 -in FILE -nodes -out tls.pem (a JKS first: keytool -importkeystore -deststoretype PKCS12)"
            }
            Self::Certificate { .. } => "look at it with: openssl x509 -in FILE -noout -text",
            Self::OutOfDate { .. } => "renew the certificate; the file is read again as soon as it changes",
            Self::Unusable { .. } => "look at it with: openssl x509 -in FILE -noout -text",
        }
    }

    /// True for what a swap that is under way looks like: another look may find it whole.
    pub(crate) fn may_heal(&self) -> bool {
        matches!(
            self,
            Self::Read { .. } | Self::Empty { .. } | Self::Mismatch { .. } | Self::Key { .. } | Self::Keystore { .. }
        )
    }
}
