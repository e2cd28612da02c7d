//! SMTP and IMAP: a line of text asks for TLS.
//!
//! The local client does not know of TLS, so it is shown a greeting without any offer and begins anew inside the session, as
//! RFC 3207 §4.2 and RFC 3501 §6.2.1 want it after TLS anyway.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::refused;

/// Longer than any line that RFC 5321 §4.5.3.1 and servers of IMAP write here.
const LONGEST_LINE: usize = 4096;
/// A greeting and its kind have a handful of lines.
const MOST_LINES: usize = 100;

/// Asks an SMTP server for TLS; what the client is to be shown first.
///
/// # Errors
/// When the server declines or breaks the protocol.
pub async fn smtp(server: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Vec<u8>> {
    let greeting = reply(server).await?;
    if !greeting.starts_with("220") {
        return Err(refused("the server refuses the connection"));
    }
    server.write_all(b"EHLO localhost\r\n").await?;
    if !reply(server).await?.starts_with("250") {
        return Err(refused("the server does not speak ESMTP"));
    }
    server.write_all(b"STARTTLS\r\n").await?;
    if !reply(server).await?.starts_with("220") {
        return Err(refused("the server does not offer TLS"));
    }
    Ok(greeting.into_bytes())
}

/// Asks an IMAP server for TLS; what the client is to be shown first.
///
/// # Errors
/// When the server declines, or has logged the connection in already, after which RFC 3501 allows no TLS.
pub async fn imap(server: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Vec<u8>> {
    let greeting = line(server).await?;
    if !greeting.to_ascii_uppercase().starts_with("* OK") {
        return Err(refused("the server refuses the connection, or logs in before TLS"));
    }
    server.write_all(b"a STARTTLS\r\n").await?;
    for _ in 0..MOST_LINES {
        let answer = line(server).await?;
        match answer.to_ascii_uppercase() {
            told if told.starts_with("* BYE") => break,
            told if told.starts_with("* ") => {}
            // Its capabilities are those before TLS ("LOGINDISABLED"); the client asks for those that count.
            told if told.starts_with("A OK") => return Ok(b"* OK IMAP4rev1 behind TLS\r\n".to_vec()),
            _ => break,
        }
    }
    Err(refused("the server does not offer TLS"))
}

/// A reply with all its lines: `250-` goes on, `250 ` ends it.
async fn reply(server: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut reply = String::new();
    for _ in 0..MOST_LINES {
        let line = line(server).await?;
        reply.push_str(&line);
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(reply);
        }
    }
    Err(refused("the server's answer does not end"))
}

/// One line, and no byte more: what somebody slipped in behind it reaches the TLS handshake, which it breaks (CVE-2011-0411).
async fn line(server: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        if line.len() >= LONGEST_LINE {
            return Err(refused("a line of the server is too long"));
        }
        line.push(server.read_u8().await?);
    }
    String::from_utf8(line).map_err(|_| refused("the server does not speak this protocol"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// What a server that says all of `script` at once is asked, and what comes of it.
    async fn talk(script: &str, smtp: bool) -> (Result<String, String>, String) {
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(script.as_bytes()).await.unwrap();
        let result = if smtp { super::smtp(&mut near).await } else { imap(&mut near).await };
        drop(near);
        let mut asked = String::new();
        far.read_to_string(&mut asked).await.unwrap();
        let shown = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (result.map(shown).map_err(|error| error.to_string()), asked)
    }

    #[tokio::test]
    async fn smtp_is_asked_after_its_capabilities_and_the_client_sees_the_greeting() {
        let script = "220-mail\r\n220 ready\r\n250-mail\r\n250 STARTTLS\r\n220 go\r\n";
        let (shown, asked) = talk(script, true).await;
        assert_eq!(shown.unwrap(), "220-mail\r\n220 ready\r\n");
        assert_eq!(asked, "EHLO localhost\r\nSTARTTLS\r\n");
        let declined = "220 ready\r\n250 mail\r\n502 no\r\n";
        assert_eq!(talk(declined, true).await.0, Err("the server does not offer TLS".to_owned()));
        assert_eq!(talk("554 go away\r\n", true).await.0, Err("the server refuses the connection".to_owned()));
    }

    #[tokio::test]
    async fn imap_shows_a_greeting_without_the_capabilities_before_tls() {
        let script = "* OK [CAPABILITY STARTTLS LOGINDISABLED] hi\r\n* CAPABILITY x\r\na OK begin\r\n";
        let (shown, asked) = talk(script, false).await;
        assert_eq!((shown.unwrap().as_str(), asked.as_str()), ("* OK IMAP4rev1 behind TLS\r\n", "a STARTTLS\r\n"));
        for script in ["* OK hi\r\na NO\r\n", "* OK hi\r\na BAD x\r\n", "* OK hi\r\n* BYE\r\n"] {
            assert_eq!(talk(script, false).await.0, Err("the server does not offer TLS".to_owned()), "{script}");
        }
        assert!(talk("* PREAUTH hi\r\na OK\r\n", false).await.0.unwrap_err().contains("logs in before TLS"));
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let endless = "x".repeat(5000);
        assert_eq!(talk(&endless, true).await.0, Err("a line of the server is too long".to_owned()));
    }
}
