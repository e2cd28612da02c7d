//! Fields behind a body: which of them are passed on.
//!
//! A receiver may merge trailers into the head, so nothing may stand there that frames or routes a message, belongs to one
//! hop, says how to read the body, or changes a client's state (RFC 9110 section 6.5.1). Those of a request say nothing
//! either that its head may not say, and nothing that its head alone is asked for: who sends it, with which token.

use super::config::HttpConfig;
use super::forward::line;
use super::framing::Framing;
use super::names::{Class, classify, is_token, same_name};
use super::request::{Request, options};

/// Lines that are read of one section; its bytes are bounded by the chunk reader.
const MOST: usize = 64;

/// Besides what [`classify`] knows and all that begins with `content-` or `if-`.
const IN_HEADS_ONLY: [&str; 14] = [
    "age",
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "expires",
    "location",
    "max-forwards",
    "range",
    "retry-after",
    "set-cookie",
    "vary",
    "warning",
    "www-authenticate",
];

/// Whether a trailer called `name` may be passed on.
pub(super) fn may_pass(name: &[u8]) -> bool {
    let begins = |known: &[u8]| name.get(..known.len()).is_some_and(|start| same_name(start, known));
    let in_heads = begins(b"content-") || begins(b"if-");
    classify(name) == Class::Other && !in_heads && !IN_HEADS_ONLY.iter().any(|known| same_name(name, known.as_bytes()))
}

/// Whether a request's trailer called `name` may be passed on.
pub(super) fn may_pass_in(config: &HttpConfig, name: &[u8]) -> bool {
    may_pass(name) && !config.strip_trailers.contains(name)
}

/// Calls `take` with each field of `section` that may be passed on. `section` is what the chunk reader found behind the last
/// chunk, its empty line included; more than it can hold is passed over whole.
pub(super) fn each(section: &[u8], mut take: impl FnMut(&str, &[u8])) {
    every(section, &mut |name, value| {
        if may_pass(name.as_bytes()) {
            take(name, value);
        }
    });
}

fn every(section: &[u8], take: &mut dyn FnMut(&str, &[u8])) {
    let mut slots = [httparse::EMPTY_HEADER; MOST];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut slots) else { return };
    for field in fields {
        take(field.name, field.value);
    }
}

/// Ends a chunked request behind its last chunk: what may pass of `section`, and the empty line.
pub(super) fn end_request(out: &mut Vec<u8>, section: &[u8], config: &HttpConfig) {
    if section.len() > b"\r\n".len() {
        every(section, &mut |name, value| {
            if may_pass_in(config, name.as_bytes()) {
                line(out, name.as_bytes(), value);
            }
        });
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends what `request` announces of its trailers, as far as those may pass.
pub(super) fn announce(out: &mut Vec<u8>, request: &Request<'_, '_>, config: &HttpConfig) {
    if !request.facts.announces || !matches!(request.facts.body, Framing::Chunked(_)) {
        return;
    }
    let announced = request.headers.iter().filter(|header| classify(header.name.as_bytes()) == Class::Trailer);
    let names = announced.flat_map(|header| options(header.value));
    let plain = |name: &&[u8]| name.iter().all(|byte| is_token(*byte)) && may_pass_in(config, name);
    let names: Vec<&[u8]> = names.filter(plain).collect();
    if !names.is_empty() {
        line(out, b"Trailer", &names.join(&b", "[..]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_for_itself_is_passed_on() {
        let section = b"X-Checksum: 5\r\nContent-Length: 3\r\nSet_Cookie: a=b\r\ngrpc-status: 0\r\nTE: x\r\nContent-Type: x\r\nX-Forwarded-For: 1\r\nServer-Timing:  db;dur=1 \r\n\r\n";
        let mut kept = Vec::new();
        each(section, |name, value| kept.push(format!("{name}={}", String::from_utf8_lossy(value))));
        assert_eq!(kept, ["X-Checksum=5", "grpc-status=0", "Server-Timing=db;dur=1"]);
        each(b"\r\n", |name, _| panic!("{name}"));
        each(&b"a: b\r\n".repeat(MOST + 1), |name, _| panic!("{name}"));
    }
}
