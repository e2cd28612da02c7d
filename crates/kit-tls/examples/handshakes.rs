//! A plain client for measurements: opens TLS 1.3 sessions one after the other, each with one request.
//!
//! ```text
//! handshakes ADDR CA full   x25519 400      400 full handshakes
//! handshakes ADDR CA full   hybrid 400      with X25519MLKEM768
//! handshakes ADDR CA resume x25519 400      one full handshake, then 400 by ticket
//! handshakes ADDR CA hold   x25519 1000     as full, but all stay open until stdin ends
//! ```
//! Two more arguments name a certificate and its key, which are shown to a server that asks.
//! Prints how long it took in seconds, or why it failed; every answer must be a 200, every handshake of the kind asked for.
#![allow(clippy::print_stdout, reason = "the measurement reads it")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use kit_tls::rustls;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

type Session = StreamOwned<ClientConnection, TcpStream>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, authority, way, group, count, own @ ..] = arguments.as_slice() else {
        return Err("usage: handshakes ADDR CA full|resume|hold x25519|hybrid COUNT [CERT KEY]".into());
    };
    let group: &'static dyn SupportedKxGroup =
        if group == "hybrid" { kx_group::X25519MLKEM768 } else { kx_group::X25519 };
    let config = Arc::new(config(&PathBuf::from(authority), group, way == "resume", own)?);
    let count: usize = count.parse()?;
    if way == "resume" {
        drop(session(address, &config)?);
    }
    let expected = if way == "resume" { HandshakeKind::Resumed } else { HandshakeKind::Full };
    let mut held = Vec::new();
    let start = Instant::now();
    for _ in 0..count {
        let session = session(address, &config)?;
        if session.conn.handshake_kind() != Some(expected) {
            return Err(format!("a handshake was {:?}, not {expected:?}", session.conn.handshake_kind()).into());
        }
        if way == "hold" {
            held.push(session);
        }
    }
    println!("{:.6}", start.elapsed().as_secs_f64());
    if way == "hold" {
        std::io::stdout().flush()?;
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

fn config(
    authority: &PathBuf,
    group: &'static dyn SupportedKxGroup,
    resume: bool,
    own: &[String],
) -> Result<ClientConfig, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority)? {
        roots.add(certificate?)?;
    }
    let provider = CryptoProvider { kx_groups: vec![group], ..default_provider() };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match own {
        [certificate, key] => {
            let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
        }
        _ => builder.with_no_client_auth(),
    };
    if !resume {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

/// A session on which one request was answered. Reading the answer also takes the ticket that came before it.
fn session(address: &str, config: &Arc<ClientConfig>) -> Result<Session, Box<dyn Error>> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
    let mut session = StreamOwned::new(connection, socket);
    session.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut block = [0; 4096];
    // The body is 1 KiB of `x`; whatever stands in the head, these are its last bytes.
    while !answer.ends_with(&[b'x'; 1024]) {
        let count = session.read(&mut block)?;
        if count == 0 {
            return Err("the answer broke off".into());
        }
        answer.extend_from_slice(&block[..count]);
    }
    if answer.starts_with(b"HTTP/1.1 200 ") { Ok(session) } else { Err("the answer is no 200".into()) }
}
