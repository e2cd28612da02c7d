//! Heads as they go on: copied in the longest runs that need no change, with our own lines at the end.
//!
//! The order is the guard: what the client may not say is left out first, hop-by-hop names after it, and what this proxy
//! says itself is written last, so that nothing in a request can remove or shadow it (CVE-2025-48865).

use httparse::Header;

use super::request::Request;
use super::response::Response;

/// Lines that this proxy adds to a request, each ended by CRLF.
#[derive(Debug, Default, Clone, Copy)]
pub struct Added<'a> {
    /// What holds for the whole connection: the client's address, the certificate.
    pub connection: &'a [u8],
    /// The token's claims.
    pub claims: &'a [u8],
    /// What holds for this request alone.
    pub request: &'a [u8],
    /// Say `X-Forwarded-Host` with the authority that was asked for.
    pub forwarded_host: bool,
    /// What to ask for instead of the request's own target.
    pub target: Option<&'a str>,
    /// Headers, by bits, that are not passed on besides those that the request itself rules out.
    pub dropped: u128,
}

/// Appends the head to send to the app. `head` is the block that `request` was parsed from; without one (HTTP/2) the
/// headers are written one by one.
pub fn request_head(out: &mut Vec<u8>, head: Option<&[u8]>, request: &Request<'_, '_>, added: &Added<'_>) {
    let line_as_is = added.target.is_none() && head.is_some_and(|head| asks_in_our_words(head, request));
    if !line_as_is {
        out.extend_from_slice(request.method.as_bytes());
        out.push(b' ');
        if request.bare {
            out.push(b'/');
        }
        out.extend_from_slice(added.target.unwrap_or(request.target).as_bytes());
        out.extend_from_slice(if request.old { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
        if let (true, Some(authority)) = (request.rewrite_host, request.authority) {
            line(out, b"Host", authority);
        }
    }
    copy_headers(out, head, request.headers, request.facts.dropped | added.dropped, line_as_is);
    if let Some(index) = request.facts.upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        line(out, b"Upgrade", request.headers[index].value);
    } else if request.facts.trailers {
        out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }
    out.extend_from_slice(added.connection);
    if let (true, Some(authority)) = (added.forwarded_host, request.authority) {
        line(out, b"X-Forwarded-Host", authority);
    }
    out.extend_from_slice(added.request);
    out.extend_from_slice(added.claims);
    out.extend_from_slice(b"\r\n");
}

/// Whether the first line is the method, a space, the target that goes on, and 11 bytes that only the version can be.
fn asks_in_our_words(head: &[u8], request: &Request<'_, '_>) -> bool {
    let target = request.method.len() + 1;
    !request.bare
        && !request.rewrite_host
        && place_of(head, request.method) == 0
        && place_of(head, request.target) == target
        && start_of(head, request.headers, 0) == target + request.target.len() + " HTTP/1.1\r\n".len()
}

/// What the client is told about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Nothing: HTTP/1.1 stays open.
    Silent,
    /// It stays open although the client speaks HTTP/1.0.
    KeepAlive,
    /// It ends after this response.
    Close,
    /// It changes its protocol.
    Upgrade,
}

/// Appends the head to send to the client; `head` is the block that `response` was parsed from.
pub fn response_head(out: &mut Vec<u8>, head: &[u8], response: &Response<'_, '_>, connection: Connection) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&status_digits(response.status));
    out.push(b' ');
    out.extend_from_slice(response.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    copy_headers(out, Some(head), response.headers, response.dropped, false);
    match connection {
        Connection::Silent => {}
        Connection::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Connection::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Connection::Upgrade => {
            out.extend_from_slice(b"Connection: upgrade\r\n");
            if let Some(index) = response.upgrade {
                line(out, b"Upgrade", response.headers[index].value);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether [`response_head`] would write `head` as it stands.
pub fn is_as_it_goes_on(head: &[u8], response: &Response<'_, '_>, connection: Connection) -> bool {
    connection == Connection::Silent
        && response.dropped == 0
        && head.starts_with(b"HTTP/1.1 ")
        && start_of(head, response.headers, 0) == "HTTP/1.1 200 \r\n".len() + response.reason.len()
}

/// `status` as three digits.
pub fn status_digits(status: u16) -> [u8; 3] {
    let digit = |value: u16| b'0' + u8::try_from(value % 10).unwrap_or(0);
    [digit(status / 100), digit(status / 10), digit(status)]
}

/// Appends one header line. Neither part may hold CR or LF; callers pass parsed or checked text.
pub fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the headers that are not `dropped`, and before them, with `line_too`, the first line of `head` as it is.
fn copy_headers(out: &mut Vec<u8>, head: Option<&[u8]>, headers: &[Header<'_>], dropped: u128, line_too: bool) {
    let Some(head) = head else {
        for (index, header) in headers.iter().enumerate() {
            if dropped >> index & 1 == 0 {
                line(out, header.name.as_bytes(), header.value);
            }
        }
        return;
    };
    let mut start = if line_too { 0 } else { start_of(head, headers, 0) };
    let mut index = 0;
    loop {
        // A run of kept headers, then one of dropped headers.
        index += (dropped >> index.min(127)).trailing_zeros() as usize;
        let end = start_of(head, headers, index);
        if start < end {
            out.extend_from_slice(head.get(start..end).unwrap_or_default());
        }
        if index >= headers.len() {
            return;
        }
        index += (!dropped >> index).trailing_zeros() as usize;
        start = start_of(head, headers, index);
    }
}

/// A header's line starts at its name and ends where the next name, or the empty line, starts.
fn start_of(head: &[u8], headers: &[Header<'_>], index: usize) -> usize {
    headers.get(index).map_or(head.len() - 2, |header| place_of(head, header.name))
}

/// Where `part` lies in `head`; nowhere in it if it is no part of it.
fn place_of(head: &[u8], part: &str) -> usize {
    (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::super::names::NameSet;
    use super::super::request::MAX_HEADERS;
    use super::*;
    use std::mem::MaybeUninit;

    fn forwarded(head: &str, added: &Added<'_>) -> String {
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let set = NameSet::identity([]);
        let request = Request::parse(head.as_bytes(), &mut slots, &set).unwrap();
        let mut out = Vec::new();
        request_head(&mut out, Some(head.as_bytes()), &request, added);
        let mut one_by_one = Vec::new();
        request_head(&mut one_by_one, None, &request, added);
        assert_eq!(out, one_by_one, "runs and single lines say the same");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn runs_are_copied_and_our_lines_come_last() {
        let added = Added { connection: b"X-Forwarded-For: 10.0.0.1\r\n", forwarded_host: true, ..Added::default() };
        assert_eq!(
            forwarded(
                "GET /a HTTP/1.1\r\nX-Forwarded-User: root\r\nHost: x\r\nConnection: close\r\nTE: x\r\nA: b\r\nB: c\r\nRemote_User: r\r\n\r\n",
                &added
            ),
            "GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\nB: c\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: x\r\n\r\n"
        );
        assert_eq!(forwarded("GET / HTTP/1.0\r\n\r\n", &Added::default()), "GET / HTTP/1.0\r\n\r\n");
    }

    #[test]
    fn f12_the_targets_authority_becomes_the_host() {
        assert_eq!(
            forwarded("GET http://a.example?q HTTP/1.1\r\nHost: b\r\nA: b\r\n\r\n", &Added::default()),
            "GET /?q HTTP/1.1\r\nHost: a.example\r\nA: b\r\n\r\n"
        );
    }

    #[test]
    fn every_mask_of_dropped_headers_copies_the_rest() {
        let head = "GET / HTTP/1.1\r\nHost: x\r\nB: 1\r\nC: 2\r\nD: 3\r\n\r\n";
        for dropped in 0..16u128 {
            let out = forwarded(head, &Added { dropped, ..Added::default() });
            for (index, line) in ["Host: x\r\n", "B: 1\r\n", "C: 2\r\n", "D: 3\r\n"].iter().enumerate() {
                assert_eq!(out.contains(line), dropped >> index & 1 == 0, "{dropped:b} {line}");
            }
        }
    }

    #[test]
    fn f18_an_upgrade_is_asked_for_in_our_words() {
        assert_eq!(
            forwarded(
                "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nA: b\r\n\r\n",
                &Added::default()
            ),
            "GET /ws HTTP/1.1\r\nHost: x\r\nA: b\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
    }

    #[test]
    fn a_client_that_takes_trailers_is_told_of_in_our_words() {
        let said =
            |more: &str| forwarded(&format!("GET / HTTP/1.1\r\nHost: x\r\n{more}A: b\r\n\r\n"), &Added::default());
        let told = "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nConnection: TE\r\nTE: trailers\r\n\r\n";
        assert_eq!(said("TE: deflate, Trailers\r\nConnection: te\r\n"), told);
        let silent = "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
        for not in ["TE: trailers\r\n", "Connection: TE\r\n", "TE: deflate\r\nConnection: TE\r\n"] {
            assert_eq!(said(not), silent, "{not}");
        }
    }

    #[test]
    fn a_response_says_what_the_connection_does() {
        let head = b"HTTP/1.0 200 Fine\r\nKeep-Alive: 1\r\nContent-Length: 0\r\n\r\n";
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let response = Response::parse(head, &mut slots, false).unwrap();
        let mut out = Vec::new();
        response_head(&mut out, head, &response, Connection::Close);
        assert_eq!(out, b"HTTP/1.1 200 Fine\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn a_head_goes_on_as_it_is_only_where_it_would_be_written_so() {
        for (head, as_is) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 \r\nA:b \r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 304 Not Modified\r\n\r\n", true),
            ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.1 200 \u{e9}\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: 5\r\n\r\n", false),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", false),
        ] {
            let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
            let response = Response::parse(head.as_bytes(), &mut slots, false).unwrap();
            let mut out = Vec::new();
            response_head(&mut out, head.as_bytes(), &response, Connection::Silent);
            assert_eq!(is_as_it_goes_on(head.as_bytes(), &response, Connection::Silent), as_is, "{head:?}");
            assert_eq!(out == head.as_bytes(), as_is, "{head:?}");
            assert!(!is_as_it_goes_on(head.as_bytes(), &response, Connection::Close), "{head:?}");
        }
    }
}
