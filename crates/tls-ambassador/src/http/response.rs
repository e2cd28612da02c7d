//! A response head from the app behind us, read strictly enough that its end is beyond doubt.
//!
//! An app is trusted not to lie, not to be free of bugs: a response whose length could be read in two ways becomes 502
//! rather than a connection out of step. Pure, as [`super::request`].

use httparse::Header;

use super::framing::Framing;
use super::names::{Class, classify, same_name};
use super::request::{Slots, content_length, ends_lines_in_full, options};

/// What is wrong with a response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// A response head that may be passed on.
#[derive(Debug)]
pub struct Response<'h, 'b> {
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase, perhaps empty.
    pub reason: &'b str,
    /// All headers in their order.
    pub headers: &'h [Header<'b>],
    /// Bit i: header i is not passed on.
    pub dropped: u128,
    /// The body that follows.
    pub body: Framing,
    /// The app keeps its connection open for another request.
    pub keep_alive: bool,
    /// The Upgrade header's place.
    pub upgrade: Option<usize>,
}

impl<'h, 'b> Response<'h, 'b> {
    /// Reads the head that is the whole of `head`; `to_head`: it answers a HEAD request.
    ///
    /// # Errors
    /// The response cannot be delimited or is not HTTP/1.x.
    pub fn parse(head: &'b [u8], slots: &'h mut Slots<'b>, to_head: bool) -> Result<Response<'h, 'b>, Malformed> {
        match Response::read(head, slots, to_head)? {
            Some((response, length)) if length == head.len() => Ok(response),
            _ => Err(Malformed("invalid response head")),
        }
    }

    /// Reads the head at the front of `bytes` and tells its length; None: not all of it is there.
    ///
    /// # Errors
    /// As for [`Response::parse`].
    pub fn read(
        bytes: &'b [u8],
        slots: &'h mut Slots<'b>,
        to_head: bool,
    ) -> Result<Option<(Response<'h, 'b>, usize)>, Malformed> {
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, slots) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed("invalid response head")),
        };
        let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
            return Err(Malformed("invalid status line"));
        };
        if !(100..=599).contains(&status) {
            return Err(Malformed("invalid status"));
        }
        let headers: &'h [Header<'b>] = parsed.headers;
        if !ends_lines_in_full(&bytes[..length], headers) {
            return Err(Malformed("bare line feed"));
        }
        let mut response = Response {
            status,
            reason: parsed.reason.unwrap_or_default(),
            headers,
            dropped: 0,
            body: Framing::Done,
            keep_alive: minor == 1,
            upgrade: None,
        };
        response.inspect(minor == 0, to_head)?;
        Ok(Some((response, length)))
    }

    /// 1xx: another head follows.
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// Whether header `index` is not passed on.
    pub fn is_dropped(&self, index: usize) -> bool {
        self.dropped >> index & 1 == 1
    }

    /// Leaves Transfer-Encoding out of what is passed on.
    pub fn drop_coding(&mut self) {
        for (index, header) in self.headers.iter().enumerate() {
            if classify(header.name.as_bytes()) == Class::TransferEncoding {
                self.dropped |= 1 << index;
            }
        }
    }

    fn inspect(&mut self, old: bool, to_head: bool) -> Result<(), Malformed> {
        let mut length = None;
        let mut chunked = false;
        let mut names_others = false;
        for (index, header) in self.headers.iter().enumerate() {
            let bit = 1u128 << index;
            match classify(header.name.as_bytes()) {
                Class::ContentLength => {
                    let value = content_length(header.value).ok_or(Malformed("invalid Content-Length"))?;
                    match length.replace(value) {
                        None => {}
                        Some(earlier) if earlier == value => self.dropped |= bit,
                        Some(_) => return Err(Malformed("differing Content-Length headers")),
                    }
                    if self.status == 204 || self.is_interim() {
                        self.dropped |= bit;
                    }
                }
                Class::TransferEncoding => {
                    if chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Malformed("unsupported Transfer-Encoding"));
                    }
                    chunked = true;
                    if self.status == 204 || self.is_interim() {
                        self.dropped |= bit;
                    }
                }
                Class::Connection => {
                    self.dropped |= bit;
                    for option in options(header.value) {
                        if option.eq_ignore_ascii_case(b"close") {
                            self.keep_alive = false;
                        } else if option.eq_ignore_ascii_case(b"keep-alive") {
                            self.keep_alive |= old;
                        } else if !option.eq_ignore_ascii_case(b"upgrade") {
                            names_others = true;
                        }
                    }
                }
                Class::Upgrade => {
                    self.dropped |= bit;
                    self.upgrade = Some(index);
                }
                Class::HopByHop => self.dropped |= bit,
                Class::Disguised => return Err(Malformed("framing header written with an underscore")),
                _ => {}
            }
        }
        if names_others {
            self.drop_named();
        }
        self.body = self.framing(length, chunked, old, to_head)?;
        if self.body == Framing::UntilClose {
            self.keep_alive = false;
        }
        Ok(())
    }

    fn framing(&self, length: Option<u64>, chunked: bool, old: bool, to_head: bool) -> Result<Framing, Malformed> {
        if to_head || self.is_interim() || matches!(self.status, 204 | 304) {
            return Ok(Framing::Done);
        }
        match (length, chunked) {
            (Some(_), true) => Err(Malformed("both Content-Length and Transfer-Encoding")),
            (None, true) if old => Err(Malformed("Transfer-Encoding in an HTTP/1.0 response")),
            (None, true) => Ok(Framing::chunked()),
            (Some(length), false) => Ok(Framing::length(length)),
            (None, false) => Ok(Framing::UntilClose),
        }
    }

    fn drop_named(&mut self) {
        for connection in self.headers.iter().filter(|header| classify(header.name.as_bytes()) == Class::Connection) {
            for option in options(connection.value) {
                let option = option.to_ascii_lowercase();
                for (index, header) in self.headers.iter().enumerate() {
                    let name = header.name.as_bytes();
                    if same_name(name, &option) && classify(name) == Class::Other {
                        self.dropped |= 1 << index;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::super::request::MAX_HEADERS;
    use super::*;
    use std::mem::MaybeUninit;

    fn read(head: &str, to_head: bool) -> Result<(u16, String, String, bool), Malformed> {
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let response = Response::parse(head.as_bytes(), &mut slots, to_head)?;
        let kept: Vec<&str> = (0..response.headers.len())
            .filter(|index| !response.is_dropped(*index))
            .map(|index| response.headers[index].name)
            .collect();
        let body = match response.body {
            Framing::Chunked(_) => "chunked".into(),
            other => format!("{other:?}"),
        };
        Ok((response.status, kept.join(","), body, response.keep_alive))
    }

    fn check(head: &str, to_head: bool, kept: &str, body: &str, keep_alive: bool) {
        let (_, is_kept, is_body, is_alive) = read(head, to_head).unwrap();
        assert_eq!((is_kept.as_str(), is_body.as_str(), is_alive), (kept, body, keep_alive), "{head}");
    }

    #[test]
    fn f21_bodies_end_as_the_rfc_says() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA: b\r\n\r\n", false, "Content-Length,A", "Length(3)", true);
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, "Content-Length", "Done", true);
        check("HTTP/1.1 304 \r\nContent-Length: 3\r\n\r\n", false, "Content-Length", "Done", true);
        check("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", false, "", "Done", true);
        check("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", false, "Transfer-Encoding", "chunked", true);
        check("HTTP/1.1 200 OK\r\n\r\n", false, "", "UntilClose", false);
        check("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", false, "Content-Length", "Length(3)", false);
        check(
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
            false,
            "Content-Length",
            "Done",
            true,
        );
        check(
            "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: t\r\nContent-Length: 0\r\n\r\n",
            false,
            "Content-Length",
            "Done",
            false,
        );
    }

    #[test]
    fn a_response_with_two_readings_is_malformed() {
        for (head, why) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                "both Content-Length and Transfer-Encoding",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "differing Content-Length headers"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "unsupported Transfer-Encoding"),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding in an HTTP/1.0 response"),
            ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "invalid response head"),
            ("HTTP/1.1 099 OK\r\n\r\n", "invalid status"),
            ("SSH-2.0-x\r\n\r\n", "invalid response head"),
        ] {
            assert_eq!(read(head, false), Err(Malformed(why)), "{head}");
        }
    }
}
