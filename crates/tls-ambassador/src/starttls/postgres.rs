//! PostgreSQL: eight bytes that ask for TLS, one byte that answers.
//!
//! Source: <https://www.postgresql.org/docs/17/protocol-flow.html>, sections 53.2.9 to 53.2.11.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::refused;

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// AuthenticationSASL's code.
const SASL: [u8; 4] = [0, 0, 0, 10];
/// PostgreSQL takes no longer startup message (`MAX_STARTUP_PACKET_LENGTH`).
const LONGEST_STARTUP: usize = 10_000;
/// Longer than any list of mechanisms, any error with its details and hints.
const LONGEST_ANSWER: usize = 64 << 10;
/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// A client asks for encryption at most once of each kind.
const ASKS: usize = 4;

/// Asks a server for TLS. After `Ok` the next byte in either direction is TLS.
///
/// # Errors
/// When the server declines, answers with an error or breaks the protocol; its text is not passed on, since nobody has
/// verified who wrote it (CVE-2024-10977).
pub async fn ask(server: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    server.write_all(&request(SSL_REQUEST)).await?;
    match server.read_u8().await? {
        b'S' => Ok(()),
        b'N' => Err(refused("the server does not offer TLS")),
        b'E' => Err(refused("the server answers the request for TLS with an error")),
        _ => Err(refused("the server does not speak PostgreSQL")),
    }
}

/// Reads a local client's first message, which the tunnel sends on inside TLS. A client that asks for encryption on
/// the local side is told that there is none here, and goes on as clients do.
///
/// # Errors
/// When the client ends or insists.
pub async fn first_message(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Vec<u8>> {
    for _ in 0..ASKS {
        let mut head = [0; 8];
        client.read_exact(&mut head).await?;
        match code(&head) {
            Some(SSL_REQUEST | GSSENC_REQUEST) => client.write_all(b"N").await?,
            _ if head[0] == TLS_HANDSHAKE => return Err(refused("the client speaks TLS to the tunnel's plain side")),
            _ => return Ok(head.to_vec()),
        }
    }
    Err(refused("the client asks for encryption again and again"))
}

/// Carries a tunnel's login to the point where both sides agree on it: the client's first message, of which `head` was
/// read, and the server's answer, without the mechanisms that bind a login to the TLS session. The client knows no session, and libpq
/// ends a connection that offers them without TLS.
///
/// # Errors
/// When a side ends or breaks the protocol, or the server offers nothing else.
pub async fn begin(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
    head: &[u8],
) -> io::Result<()> {
    let number = |bytes: &[u8]| bytes.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
    let (length, code) = head.split_at(4);
    let rest = number(length).checked_sub(head.len()).filter(|rest| *rest <= LONGEST_STARTUP);
    let rest = rest.ok_or_else(|| refused("the client's first message is not PostgreSQL's"))?;
    let mut first = head.to_vec();
    first.resize(head.len() + rest, 0);
    client.read_exact(&mut first[head.len()..]).await?;
    server.write_all(&first).await?;
    server.flush().await?;
    if code == CANCEL_REQUEST.to_be_bytes() {
        // Never answered.
        return Ok(());
    }
    for _ in 0..ASKS {
        let mut message = vec![0; 5];
        server.read_exact(&mut message).await?;
        let length = number(&message[1..]).checked_sub(4).filter(|length| *length <= LONGEST_ANSWER);
        let length = length.ok_or_else(|| refused("the server does not speak PostgreSQL"))?;
        message.resize(5 + length, 0);
        server.read_exact(&mut message[5..]).await?;
        let (kind, body) = (message[0], &message[5..]);
        let shown = match body.strip_prefix(&SASL) {
            Some(mechanisms) if kind == b'R' => without_binding(mechanisms)?,
            _ => message,
        };
        client.write_all(&shown).await?;
        // What the server does not know of the protocol's version (v) comes before the answer itself.
        if kind != b'v' {
            return Ok(());
        }
    }
    Err(refused("the server does not answer the login"))
}

/// AuthenticationSASL with the mechanisms of a list, each ended by a zero, that need no TLS on the client's side.
fn without_binding(mechanisms: &[u8]) -> io::Result<Vec<u8>> {
    let names = mechanisms.split(|byte| *byte == 0).filter(|name| !name.is_empty() && !name.ends_with(b"-PLUS"));
    let mut body = SASL.to_vec();
    for name in names {
        body.extend_from_slice(name);
        body.push(0);
    }
    if body.len() == SASL.len() {
        return Err(refused("the server insists on channel binding, which a tunnel cannot pass on"));
    }
    body.push(0);
    let mut message = vec![b'R'];
    message.extend_from_slice(&u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
    message.extend_from_slice(&body);
    Ok(message)
}

/// What a client at a TLS door did first.
#[derive(Debug, PartialEq, Eq)]
pub enum Opening {
    /// It asked for TLS and was told yes; the handshake follows.
    Asked,
    /// It began with TLS: these bytes belong to the handshake, and ALPN must say `postgresql`.
    Direct(Vec<u8>),
}

/// Brings a client to the start of its handshake.
///
/// # Errors
/// When the client wants to talk in plain text; it has been told why not.
pub async fn invite(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Opening> {
    for _ in 0..ASKS {
        let mut head = [0; 8];
        client.read_exact(&mut head).await?;
        match code(&head) {
            Some(SSL_REQUEST) => {
                client.write_all(b"S").await?;
                return Ok(Opening::Asked);
            }
            // TLS may still follow: the client asks for it next.
            Some(GSSENC_REQUEST) => client.write_all(b"N").await?,
            _ if head[0] == TLS_HANDSHAKE => return Ok(Opening::Direct(head.to_vec())),
            _ => {
                client
                    .write_all(&error("28000", "this server accepts TLS only; use sslmode=require or verify-full"))
                    .await?;
                return Err(refused("the client does not ask for TLS"));
            }
        }
    }
    Err(refused("the client asks for encryption again and again"))
}

fn request(code: u32) -> [u8; 8] {
    let [a, b, c, d] = code.to_be_bytes();
    [0, 0, 0, 8, a, b, c, d]
}

/// The code of a message that is nothing but a code.
fn code(head: &[u8; 8]) -> Option<u32> {
    let (length, code) = head.split_at(4);
    (length == [0, 0, 0, 8]).then(|| code.iter().fold(0, |code, byte| code << 8 | u32::from(*byte)))
}

/// An ErrorResponse that ends the connection.
#[must_use]
pub fn error(sqlstate: &str, message: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{sqlstate}\0M{message}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    let mut out = vec![b'E'];
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(fields.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_requests_are_those_of_the_manual() {
        assert_eq!(request(SSL_REQUEST), [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
        assert_eq!(code(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30]), Some(GSSENC_REQUEST));
        assert_eq!(code(&[0, 0, 0, 9, 0x04, 0xd2, 0x16, 0x2f]), None);
    }

    #[test]
    fn mechanisms_that_bind_to_tls_are_left_out() {
        let list = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
        assert_eq!(without_binding(list).unwrap(), b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0");
        let error = without_binding(b"SCRAM-SHA-256-PLUS\0\0").unwrap_err().to_string();
        assert_eq!(error, "the server insists on channel binding, which a tunnel cannot pass on");
    }

    #[test]
    fn an_error_response_counts_its_own_length() {
        let response = error("08006", "x");
        assert_eq!(response, b"E\0\0\0\x1dSFATAL\0VFATAL\0C08006\0Mx\0\0");
        assert_eq!(usize::from(response[4]), response.len() - 1);
    }
}
