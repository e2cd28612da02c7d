//! Certificate, key and CA files as rustls configurations that follow their files.
//!
//! Promised: a [`Material`] is consistent (the key belongs to the certificate, every file was readable and whole) and a
//! [`Store`] replaces it only by another consistent one. A half-written or half-swapped pair is read again for half a
//! second and then refused; the last good material stays in use. TLS 1.2 and 1.3 with AEAD suites, X25519MLKEM768
//! offered first, no early data. This crate alone names the crypto provider.
//!
//! Not promised: that a certificate is valid today. Its dates are in [`Material::certificates`]; [`Store::open`] takes
//! an expired one so that the caller can say so, and [`Store::follow`] never replaces a good one by an expired one.
//!
//! ```text
//! files -> server::load / client::load -> Material -> Store -> watch::Receiver<Arc<Material>> -> each new connection
//!            ^ again, when kit-watch says so
//! ```

pub mod client;
mod error;
mod hkdf;
mod leaf;
mod pem;
mod pkcs12;
mod provider;
mod sealing;
pub mod server;
pub mod signature;
mod store;
mod verify;

pub use error::LoadError;
pub use leaf::{Leaf, LeafError};
pub use pem::{Password, leaf as leaf_in};
pub use provider::{Policy, Version, group, suites};
pub use rustls;
pub use sealing::sealed_by_rsa;
pub use store::{Certificate, Event, Material, Store};
pub use verify::{Admit, take_refused_certificate};

/// SHA-256, for pins and for names of things in logs.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}
