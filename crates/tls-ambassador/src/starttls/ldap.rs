//! LDAP: an extended operation asks for TLS (RFC 4511 §4.14).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::refused;

/// LDAPMessage 1, ExtendedRequest, the name of StartTLS: `1.3.6.1.4.1.1466.20037`.
const REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// An answer has a message and a referral at most.
const LONGEST_ANSWER: usize = 16 << 10;

/// Asks a server for TLS. After `Ok` the next byte in either direction is TLS.
///
/// # Errors
/// When the server declines or breaks the protocol.
pub async fn ask(server: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    server.write_all(REQUEST).await?;
    let foreign = || refused("the server does not speak LDAP");
    let mut head = [0; 2];
    server.read_exact(&mut head).await?;
    if head[0] != 0x30 {
        return Err(foreign());
    }
    let length = match head[1] {
        short @ 0..=0x7f => usize::from(short),
        long @ 0x81..=0x84 => {
            let mut bytes = vec![0; usize::from(long & 0x7f)];
            server.read_exact(&mut bytes).await?;
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        _ => return Err(foreign()),
    };
    if length > LONGEST_ANSWER {
        return Err(foreign());
    }
    let mut answer = vec![0; length];
    server.read_exact(&mut answer).await?;
    // MessageID 1, ExtendedResponse, its length in one form or the other, and the result code.
    let rest = answer.strip_prefix(b"\x02\x01\x01\x78").ok_or_else(foreign)?;
    let body = match rest {
        [long @ 0x81..=0x84, rest @ ..] => rest.get(usize::from(long & 0x7f)..),
        [_, rest @ ..] => Some(rest),
        [] => None,
    };
    match body {
        Some([0x0a, 0x01, 0, ..]) => Ok(()),
        Some([0x0a, 0x01, code, ..]) => Err(refused(format!("the server does not offer TLS (LDAP result {code})"))),
        _ => Err(foreign()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    async fn answered(answer: &[u8]) -> Result<(), String> {
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(answer).await.unwrap();
        far.shutdown().await.unwrap();
        ask(&mut near).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn success_is_the_only_yes() {
        assert_eq!(answered(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00").await, Ok(()));
        let long = b"\x30\x84\x00\x00\x00\x10\x02\x01\x01\x78\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00";
        assert_eq!(answered(long).await, Ok(()));
        let declined = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00";
        assert_eq!(answered(declined).await, Err("the server does not offer TLS (LDAP result 2)".to_owned()));
        for other in [&b"HTTP/1.1 400"[..], b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x02\x01\x01"] {
            assert_eq!(answered(other).await, Err("the server does not speak LDAP".to_owned()), "{other:?}");
        }
    }
}
