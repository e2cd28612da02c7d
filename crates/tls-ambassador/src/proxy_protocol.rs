//! The PROXY protocol: who connects, told before the first byte.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::args::{ProxyIn, ProxyOut};
use crate::session::SessionFacts;
use crate::socket::PeerAddress;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its line end.
const LONGEST_LINE: usize = 107;
/// Addresses and additions of version 2 that are read over; more is no sane proxy.
const LONGEST_BLOCK: usize = 4096;

/// An IP network like `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// True when the address lies in it. An IPv4 address in IPv6 clothes counts as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (inside, mine) = (ip.to_canonical(), self.address);
        let shared = match (mine, inside) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => return false,
        };
        shared >= u32::from(self.bits)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no network; write 10.0.0.0/8, fd00::/8 or one address");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), str::parse).map_err(|_| refused())?;
        if bits > all { Err(refused()) } else { Ok(Self { address, bits }) }
    }
}

/// What a header said: the client's address and the one that it connected to. `None`: the proxy speaks for itself
/// (a health check), so the socket's own addresses hold.
pub type Addresses = Option<(SocketAddr, SocketAddr)>;

/// Reads the header, byte-exactly: what follows is left in the socket. The caller owns the deadline.
///
/// # Errors
/// When the bytes are no header of an accepted form.
pub async fn read(socket: &mut (impl AsyncRead + Unpin), form: ProxyIn) -> io::Result<Addresses> {
    let mut start = [0; 12];
    socket.read_exact(&mut start).await?;
    if start == SIGNATURE && form != ProxyIn::V1 {
        return read_binary(socket).await;
    }
    if start.starts_with(b"PROXY ") && form != ProxyIn::V2 {
        return read_line(socket, start.to_vec()).await;
    }
    Err(refused("the connection does not begin with a PROXY header"))
}

async fn read_line(socket: &mut (impl AsyncRead + Unpin), mut line: Vec<u8>) -> io::Result<Addresses> {
    while !line.ends_with(b"\r\n") {
        if line.len() >= LONGEST_LINE {
            return Err(refused("the PROXY line is too long"));
        }
        line.push(socket.read_u8().await?);
    }
    parse_line(&line)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 1111 443\r\n`.
///
/// # Errors
/// Anything else.
pub fn parse_line(line: &[u8]) -> io::Result<Addresses> {
    let text = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let mut words = text.split(' ');
    let malformed = || refused("the PROXY line is malformed");
    // Whoever ends a line at a bare line feed would find a second one behind it, which an UNKNOWN line would hide here.
    if text.contains(['\r', '\n']) || words.next() != Some("PROXY") {
        return Err(malformed());
    }
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let parsed = || -> Option<(SocketAddr, SocketAddr)> {
        let (source, destination): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let (source_port, destination_port) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let four = (family == "TCP4", source.is_ipv4(), destination.is_ipv4());
        let whole = words.next().is_none() && matches!(four, (true, true, true) | (false, false, false));
        let known = whole && matches!(family, "TCP4" | "TCP6");
        known.then_some((SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port)))
    };
    let mut parsed = parsed;
    parsed().map(Some).ok_or_else(malformed)
}

async fn read_binary(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Addresses> {
    let mut head = [0; 4];
    socket.read_exact(&mut head).await?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if length > LONGEST_BLOCK {
        return Err(refused("the PROXY header is too long"));
    }
    let mut block = vec![0; length];
    socket.read_exact(&mut block).await?;
    parse_block(head[0], head[1], &block)
}

/// Version and command, family, and what follows the length.
///
/// # Errors
/// An unknown version or command, a block that is too short for its family, or a family other than TCP.
pub fn parse_block(version: u8, family: u8, block: &[u8]) -> io::Result<Addresses> {
    match (version, family) {
        (0x20, _) | (0x21, 0x00) => Ok(None),
        (0x21, 0x11) => four(block).map(Some).ok_or_else(|| refused("the PROXY header is cut short")),
        (0x21, 0x21) => six(block).map(Some).ok_or_else(|| refused("the PROXY header is cut short")),
        (0x21, 0x31) if block.len() >= 216 => Ok(None),
        _ => Err(refused("the PROXY header is of an unknown kind")),
    }
}

fn four(block: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ip = |at: usize| block.get(at..at + 4)?.try_into().ok().map(|octets: [u8; 4]| Ipv4Addr::from(octets));
    Some(((ip(0)?, port(block, 8)?).into(), (ip(4)?, port(block, 10)?).into()))
}

fn six(block: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ip = |at: usize| block.get(at..at + 16)?.try_into().ok().map(|octets: [u8; 16]| Ipv6Addr::from(octets));
    Some(((ip(0)?, port(block, 32)?).into(), (ip(16)?, port(block, 34)?).into()))
}

fn port(block: &[u8], at: usize) -> Option<u16> {
    block.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn refused(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The header that tells a target who connected. Empty for [`ProxyOut::Off`].
#[must_use]
pub fn header(form: ProxyOut, peer: PeerAddress, local: PeerAddress, facts: &SessionFacts) -> Vec<u8> {
    match form {
        ProxyOut::Off => Vec::new(),
        ProxyOut::V1 => line(peer, local).into_bytes(),
        ProxyOut::Conn => binary(peer, local, &[]),
        ProxyOut::Tls => binary(peer, local, &additions(facts, false)),
        ProxyOut::TlsFull => binary(peer, local, &additions(facts, true)),
    }
}

fn line(peer: PeerAddress, local: PeerAddress) -> String {
    match (peer.ip(), local.ip()) {
        (Some(peer), Some(local)) if peer.is_ipv4() == local.is_ipv4() => {
            let family = if peer.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {} {} {} {}\r\n", peer.ip(), local.ip(), peer.port(), local.port())
        }
        _ => "PROXY UNKNOWN\r\n".to_owned(),
    }
}

fn binary(peer: PeerAddress, local: PeerAddress, additions: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    let family = match (peer.ip(), local.ip()) {
        (Some(SocketAddr::V4(peer)), Some(SocketAddr::V4(local))) => {
            block.extend_from_slice(&peer.ip().octets());
            block.extend_from_slice(&local.ip().octets());
            block.extend_from_slice(&peer.port().to_be_bytes());
            block.extend_from_slice(&local.port().to_be_bytes());
            0x11
        }
        (Some(peer), Some(local)) => {
            for ip in [peer.ip(), local.ip()] {
                let six = match ip {
                    IpAddr::V4(four) => four.to_ipv6_mapped(),
                    IpAddr::V6(six) => six,
                };
                block.extend_from_slice(&six.octets());
            }
            block.extend_from_slice(&peer.port().to_be_bytes());
            block.extend_from_slice(&local.port().to_be_bytes());
            0x21
        }
        _ => {
            // Two names of 108 bytes; clients of a unix socket have none.
            block.resize(216, 0);
            0x31
        }
    };
    block.extend_from_slice(additions);
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[0x21, family]);
    // Additions are cut to fit where they are made, so the length always fits.
    header.extend_from_slice(&u16::try_from(block.len()).unwrap_or(u16::MAX).to_be_bytes());
    header.extend_from_slice(&block);
    header
}

/// The TLVs of section 2.2: ALPN, authority, and TLS with its own parts.
fn additions(facts: &SessionFacts, certificate: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(alpn) = &facts.alpn {
        addition(&mut out, 0x01, alpn);
    }
    if let Some(sni) = &facts.sni {
        addition(&mut out, 0x02, sni.as_bytes());
    }
    let peer = facts.peer.as_ref().filter(|_| certificate);
    // Flags: TLS is used; a certificate came in this session; and in this connection. Then the result, 0 = verified.
    let flags = if peer.is_some() { 0x07 } else { 0x01 };
    let mut tls = vec![flags, 0, 0, 0, 0];
    addition(&mut tls, 0x21, facts.version.as_bytes());
    if let Some(peer) = peer {
        if let Some(cn) = &peer.cn {
            addition(&mut tls, 0x22, cn.as_bytes());
        }
        addition(&mut tls, 0x28, &peer.der);
    }
    addition(&mut out, 0x20, &tls);
    out
}

/// One TLV. A value that does not fit beside the rest of a header (a giant certificate) is left out.
fn addition(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    if out.len() + value.len() > 60_000 {
        return;
    }
    if let Ok(length) = u16::try_from(value.len()) {
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value);
    }
}

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;
