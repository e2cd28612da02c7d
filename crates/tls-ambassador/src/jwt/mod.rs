//! Signed tokens (RFC 7519) as a rule of access: who may, and what the app is told of them.
//!
//! Promised: a token lets a request in only with a signature of a key of the configured set, made with an allowed
//! algorithm that fits the key, by the configured issuer, for a configured audience, unexpired. Whatever is unclear is a
//! refusal: names twice in JSON, times that are no whole seconds, critical extensions, padding. Keys come only from
//! where the operator said; nothing inside a token can name a key's place. Of several issuers a token's own claim chooses
//! the one whose keys and rules judge it.
//!
//! ```text
//! Authorization: Bearer eyJ... -> Token -> KeySet -> Rules -> Identity { X-Forwarded-User: ... }
//!                                           ^ Keeper: file, URL, discovery
//! ```

pub mod address;
pub mod args;
pub mod block;
pub mod claims;
pub mod fetch;
pub mod issuers;
pub mod json;
pub mod keeper;
pub mod keys;
pub mod token;
pub mod verifier;

pub use args::{JwtArgs, JwtConfig, Source};
pub use issuers::{Issuers, Place};
pub use verifier::{Cache, Failure, Identity, Verifier};
