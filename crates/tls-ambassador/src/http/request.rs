//! A request head, read strictly: what two servers could read in two ways is refused, never passed on.
//!
//! [`Scan`] finds the end of a head as bytes arrive, [`Request::read`] reads a whole one, and [`inspect`] judges a list
//! of headers; HTTP/2 requests pass through [`inspect`] too, so that both fronts have one opinion. Everything here is
//! pure: bytes in, facts or a [`Refusal`] out. The rules are those of RFC 9112 and RFC 9110 with every "may" taken as
//! "no" where servers are known to differ: both Content-Length and Transfer-Encoding, any coding but `chunked`,
//! differing lengths, folded lines, bare line feeds, two hosts, a fragment in the target.

use std::mem::MaybeUninit;

use httparse::Header;

use super::authority;
use super::framing::Framing;
use super::names::{Class, NameSet, classify, same_name};

/// Header lines taken in one message.
pub const MAX_HEADERS: usize = 100;

/// Room for the headers of one head.
pub type Slots<'b> = [MaybeUninit<Header<'b>>; MAX_HEADERS];

/// An answer that this proxy gives by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub struct Refusal {
    /// 4xx or 5xx.
    pub status: u16,
    /// One fragment for the answer's body; never a client's bytes.
    pub reason: &'static str,
}

/// A refusal with `status`.
pub const fn refuse(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

const fn bad(reason: &'static str) -> Refusal {
    refuse(400, reason)
}

/// Finds the empty line after a head without looking twice at a byte.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scan {
    seen: usize,
}

impl Scan {
    /// The length of the head with its empty line, once all of it is in `bytes`. `bytes` may only have grown since the
    /// last call.
    ///
    /// # Errors
    /// A line feed without a carriage return in front of it.
    pub fn head_length(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(at) = memchr::memchr(b'\n', &bytes[self.seen..]) {
            let at = self.seen + at;
            self.seen = at + 1;
            if at == 0 || bytes[at - 1] != b'\r' {
                return Err(bad("bare line feed"));
            }
            if at == 1 || (at >= 3 && bytes[at - 2] == b'\n') {
                return Ok(Some(at + 1));
            }
        }
        self.seen = bytes.len();
        Ok(None)
    }

    /// Nothing was looked at yet.
    pub fn is_fresh(&self) -> bool {
        self.seen == 0
    }
}

/// Whether a head is known to end within `bytes` without a look at its lines: what comes in one piece mostly ends with one.
pub fn ends_a_head(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n") && !begins_empty(bytes)
}

fn begins_empty(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(b'\r' | b'\n'))
}

/// Whether a head that httparse has read begins with its first line, and every line ends in CR and LF. It passes over empty
/// lines in front, takes LF alone for an end, and takes LF nowhere else.
pub fn ends_lines_in_full(head: &[u8], headers: &[Header<'_>]) -> bool {
    let begins_line = |header: &Header<'_>| {
        let before = head.get(..(header.name.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize));
        before.is_some_and(|before| before.ends_with(b"\r\n"))
    };
    !begins_empty(head) && head.ends_with(b"\r\n\r\n") && headers.iter().all(begins_line)
}

/// A request head that may be passed on.
#[derive(Debug)]
pub struct Request<'h, 'b> {
    /// The method's token; never CONNECT or TRACE.
    pub method: &'b str,
    /// What is asked for, from its path on. An absolute target has lost its scheme and authority.
    pub target: &'b str,
    /// The target had no path of its own: write `/` in front of it.
    pub bare: bool,
    /// HTTP/1.0 and not 1.1.
    pub old: bool,
    /// `host[:port]` asked for: that of an absolute target, else Host. None: an HTTP/1.0 request without one.
    pub authority: Option<&'b [u8]>,
    /// The target's authority differs from Host, which must be written anew.
    pub rewrite_host: bool,
    /// All headers in their order.
    pub headers: &'h [Header<'b>],
    /// What they mean.
    pub facts: Facts,
}

/// What a list of request headers means to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Bit i: header i is not passed on.
    pub dropped: u128,
    /// The body that follows.
    pub body: Framing,
    /// The Host header's place.
    pub host: Option<usize>,
    /// The Upgrade header's place, if the client asked for one that may be passed on.
    pub upgrade: Option<usize>,
    /// The client wants to keep the connection.
    pub keep_alive: bool,
    /// The client waits for 100 Continue before it sends the body.
    pub expects_continue: bool,
    /// The client takes trailers behind the response.
    pub trailers: bool,
    /// Some header announces trailers behind the body.
    pub announces: bool,
    /// Connection names other headers, which may stand among the trailers too: none of them is passed on then.
    pub names_others: bool,
    /// Some header says where the request came from (bits as in `dropped`).
    pub forwarding: u128,
}

impl Facts {
    /// Whether header `index` is not passed on.
    pub fn is_dropped(&self, index: usize) -> bool {
        self.dropped >> index & 1 == 1
    }
}

impl<'h, 'b> Request<'h, 'b> {
    /// Reads the head that is the whole of `head`, its empty line included.
    ///
    /// # Errors
    /// The answer to give; the connection cannot be used further.
    pub fn parse(head: &'b [u8], slots: &'h mut Slots<'b>, stripped: &NameSet) -> Result<Request<'h, 'b>, Refusal> {
        let (request, length) = Request::read(head, slots, stripped)?;
        if length == head.len() { Ok(request) } else { Err(bad("incomplete request head")) }
    }

    /// Reads the head at the front of `bytes`, all of which is there, and tells its length.
    ///
    /// # Errors
    /// As for [`Request::parse`].
    pub fn read(
        bytes: &'b [u8],
        slots: &'h mut Slots<'b>,
        stripped: &NameSet,
    ) -> Result<(Request<'h, 'b>, usize), Refusal> {
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(bytes, slots) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(_) => return Err(bad("incomplete request head")),
            Err(error) => return Err(refusal_of(error)),
        };
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(bad("incomplete request line"));
        };
        let headers: &'h [Header<'b>] = parsed.headers;
        if !ends_lines_in_full(&bytes[..length], headers) {
            return Err(bad("bare line feed"));
        }
        if matches!(method, "CONNECT" | "TRACE") {
            return Err(refuse(405, "method not allowed"));
        }
        let mut facts = inspect(headers, minor == 0, stripped)?;
        let host = facts.host.map(|index| headers[index].value);
        if host.is_none() && minor == 1 {
            return Err(bad("no Host header"));
        }
        let Target { path, bare, authority } = target_of(method, target)?;
        let rewrite_host = authority.is_some() && authority != host;
        if let (true, Some(index)) = (rewrite_host, facts.host) {
            facts.dropped |= 1 << index;
        }
        let authority = authority.or(host);
        let old = minor == 0;
        Ok((Request { method, target: path, bare, old, authority, rewrite_host, headers, facts }, length))
    }
}

fn refusal_of(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => refuse(431, "too many headers"),
        httparse::Error::Version => bad("unsupported HTTP version"),
        httparse::Error::HeaderName => bad("invalid header name"),
        httparse::Error::HeaderValue => bad("invalid header value"),
        httparse::Error::NewLine => bad("invalid line end"),
        _ => bad("invalid request line"),
    }
}

struct Target<'b> {
    path: &'b str,
    bare: bool,
    authority: Option<&'b [u8]>,
}

fn target_of<'b>(method: &str, target: &'b str) -> Result<Target<'b>, Refusal> {
    check_path(target)?;
    if target.starts_with('/') {
        return Ok(Target { path: target, bare: false, authority: None });
    }
    if target == "*" {
        return match method {
            "OPTIONS" => Ok(Target { path: target, bare: false, authority: None }),
            _ => Err(bad("invalid request target")),
        };
    }
    let rest = strip_prefix_fold(target, "http://").or_else(|| strip_prefix_fold(target, "https://"));
    let rest = rest.ok_or(bad("invalid request target"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !authority::is_valid(authority.as_bytes()) {
        return Err(bad("invalid host in the request target"));
    }
    Ok(Target { path, bare: !path.starts_with('/'), authority: Some(authority.as_bytes()) })
}

/// What may stand in a target: visible ASCII without a fragment.
///
/// # Errors
/// 400 with the reason.
pub fn check_path(target: &str) -> Result<(), Refusal> {
    match target.bytes().find(|byte| !matches!(byte, b'!'..=b'~') || *byte == b'#') {
        None => Ok(()),
        Some(b'#') => Err(bad("fragment in the request target")),
        Some(_) => Err(bad("invalid character in the request target")),
    }
}

fn strip_prefix_fold<'b>(text: &'b str, prefix: &str) -> Option<&'b str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// Judges the headers of a request; `stripped` are the names that no client may send.
///
/// # Errors
/// The answer to give when the headers contradict each other or themselves.
pub fn inspect(headers: &[Header<'_>], old: bool, stripped: &NameSet) -> Result<Facts, Refusal> {
    let mut facts = Facts {
        dropped: 0,
        body: Framing::Done,
        host: None,
        upgrade: None,
        keep_alive: !old,
        expects_continue: false,
        trailers: false,
        announces: false,
        names_others: false,
        forwarding: 0,
    };
    let mut seen = Seen { old, ..Seen::default() };
    for (index, header) in headers.iter().enumerate() {
        let bit = 1u128 << index;
        match classify(header.name.as_bytes()) {
            Class::Other if stripped.contains(header.name.as_bytes()) => facts.dropped |= bit,
            Class::Other => {}
            Class::Forwarding => facts.forwarding |= bit,
            Class::Host => {
                if facts.host.replace(index).is_some() {
                    return Err(bad("two Host headers"));
                }
                if !authority::is_valid(header.value) {
                    return Err(bad("invalid Host header"));
                }
            }
            Class::ContentLength => {
                let length = content_length(header.value).ok_or(bad("invalid Content-Length"))?;
                match seen.length.replace(length) {
                    None => {}
                    Some(earlier) if earlier == length => facts.dropped |= bit,
                    Some(_) => return Err(bad("differing Content-Length headers")),
                }
            }
            Class::Connection => {
                facts.dropped |= bit;
                seen.connection(header.value);
            }
            class => seen.rarer(class, index, header, &mut facts)?,
        }
    }
    seen.conclude(headers, &mut facts)?;
    Ok(facts)
}

#[derive(Default)]
struct Seen {
    /// The request is in HTTP/1.0.
    old: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: Option<usize>,
    close: bool,
    keep_alive: bool,
    wants_upgrade: bool,
    names_others: bool,
    takes_trailers: bool,
    names_te: bool,
}

impl Seen {
    fn connection(&mut self, value: &[u8]) {
        for option in options(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.wants_upgrade = true;
            } else {
                let te = option.eq_ignore_ascii_case(b"te");
                self.names_te |= te;
                // TE itself is never passed on as it is.
                self.names_others |= !te;
            }
        }
    }

    /// Header `index`, of a class that most requests have none of.
    fn rarer(&mut self, class: Class, index: usize, header: &Header<'_>, facts: &mut Facts) -> Result<(), Refusal> {
        match class {
            Class::TransferEncoding => {
                let again = std::mem::replace(&mut self.chunked, true);
                let chunked = !again && header.value.eq_ignore_ascii_case(b"chunked");
                return if chunked { Ok(()) } else { Err(bad("unsupported Transfer-Encoding")) };
            }
            Class::Expect if !self.old => {
                facts.expects_continue = true;
                let known = header.value.eq_ignore_ascii_case(b"100-continue");
                return if known { Ok(()) } else { Err(refuse(417, "unknown expectation")) };
            }
            Class::Upgrade if self.upgrade.replace(index).is_some() => return Err(bad("two Upgrade headers")),
            Class::Trailer => facts.announces = true,
            Class::HopByHop if same_name(header.name.as_bytes(), b"te") => {
                self.takes_trailers |= options(header.value).any(|option| option.eq_ignore_ascii_case(b"trailers"));
            }
            Class::Disguised => return Err(bad("framing header written with an underscore")),
            _ => {}
        }
        facts.dropped |= 1 << index;
        Ok(())
    }

    /// What all headers together mean.
    fn conclude(&self, headers: &[Header<'_>], facts: &mut Facts) -> Result<(), Refusal> {
        facts.body = match (self.length, self.chunked) {
            (Some(_), true) => return Err(bad("both Content-Length and Transfer-Encoding")),
            (None, true) if self.old => return Err(bad("Transfer-Encoding in an HTTP/1.0 request")),
            (None, true) => Framing::chunked(),
            (Some(length), false) => Framing::length(length),
            (None, false) => Framing::Done,
        };
        facts.expects_continue &= !facts.body.is_done();
        // TE means this hop only where Connection says so (RFC 9110 section 10.1.4).
        facts.trailers = self.takes_trailers && self.names_te && !self.old;
        facts.keep_alive = !self.close && (self.keep_alive || !self.old);
        if self.wants_upgrade && !self.old {
            facts.upgrade = self.upgrade.filter(|index| is_upgrade(headers[*index].value));
        }
        if self.names_others {
            drop_named(headers, facts);
            facts.names_others = true;
            facts.announces = false;
        }
        Ok(())
    }
}

/// The members of a comma-separated list, trimmed, empty ones left out.
pub fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
}

/// Drops what Connection names as meant for this hop, but never what frames or addresses the request.
fn drop_named(headers: &[Header<'_>], facts: &mut Facts) {
    for connection in headers.iter().filter(|header| classify(header.name.as_bytes()) == Class::Connection) {
        for option in options(connection.value) {
            let option = option.to_ascii_lowercase();
            for (index, header) in headers.iter().enumerate() {
                let name = header.name.as_bytes();
                if same_name(name, &option) && matches!(classify(name), Class::Other | Class::Forwarding) {
                    facts.dropped |= 1 << index;
                    facts.forwarding &= !(1 << index);
                }
            }
        }
    }
}

/// One protocol that may be tunnelled. h2c may not: its frames would pass unchecked.
fn is_upgrade(value: &[u8]) -> bool {
    !value.is_empty()
        && !value.contains(&b',')
        && !value.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"h2c"))
}

/// Digits only, at most 63 bits.
pub fn content_length(value: &[u8]) -> Option<u64> {
    authority::decimal(value).filter(|length| *length <= i64::MAX as u64)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
