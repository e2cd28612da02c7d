//! What servers say in plain text before TLS.
//!
//! All of it fails closed: a peer that does not want TLS is told so in its own protocol and disconnected. Messages are
//! read byte-exactly from the socket, so plain bytes that somebody slipped in behind a request for TLS reach the TLS
//! handshake, which they break, and never the session inside (CVE-2021-23214, CVE-2021-23222).

pub mod ldap;
pub mod mysql;
pub mod postgres;
pub mod text;

use std::io;

/// The peer broke the protocol, or declined TLS.
pub(crate) fn refused(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}
