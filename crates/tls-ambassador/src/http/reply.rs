//! Answers that this proxy gives by itself: one JSON line, and nothing of the request in it.

use super::forward::{line, status_digits};
use super::request::Refusal;

/// A header, name and value, that says what to do about a refusal.
pub(super) type Advice = (&'static str, String);

/// Appends a whole response; `close` says that the connection ends.
pub(super) fn write(out: &mut Vec<u8>, refusal: Refusal, advice: Option<&Advice>, to_head: bool, close: bool) {
    let body = body(refusal);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&status_digits(refusal.status));
    out.push(b' ');
    out.extend_from_slice(phrase(refusal.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    line(out, b"Content-Type", b"application/json");
    line(out, b"Content-Length", body.len().to_string().as_bytes());
    if let Some((name, value)) = advice {
        line(out, name.as_bytes(), value.as_bytes());
    }
    if close {
        line(out, b"Connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
    if !to_head {
        out.extend_from_slice(body.as_bytes());
    }
}

/// The answer's body; reasons are our own plain fragments and need no escaping.
pub(super) fn body(refusal: Refusal) -> String {
    format!("{{\"error\":\"{}\"}}\n", refusal.reason)
}

fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::super::request::refuse;
    use super::*;

    #[test]
    fn an_answer_is_whole_and_says_how_to_authenticate() {
        let mut out = Vec::new();
        let advice = ("WWW-Authenticate", "Bearer".to_string());
        write(&mut out, refuse(401, "no token"), Some(&advice), false, true);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 21\r\nWWW-Authenticate: Bearer\r\nConnection: close\r\n\r\n{\"error\":\"no token\"}\n"
        );
    }
}
