//! Fields behind a body: which of them are passed on.
//!
//! A receiver may merge trailers into the head, so nothing may stand there that frames or routes a message, belongs to one
//! hop, says how to read the body, or changes a client's state (RFC 9110 section 6.5.1).

use super::names::{Class, classify, same_name};

/// Lines that are read of one section; its bytes are bounded by the chunk reader.
const MOST: usize = 64;

/// Besides what [`classify`] knows and all that begins with `content-`.
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
    let content = name.get(..8).is_some_and(|start| same_name(start, b"content-"));
    classify(name) == Class::Other && !content && !IN_HEADS_ONLY.iter().any(|known| same_name(name, known.as_bytes()))
}

/// Calls `take` with each field of `section` that may be passed on. `section` is what the chunk reader found behind the last
/// chunk, its empty line included; more than it can hold is passed over whole.
pub(super) fn each(section: &[u8], mut take: impl FnMut(&str, &[u8])) {
    let mut slots = [httparse::EMPTY_HEADER; MOST];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut slots) else { return };
    for field in fields.iter().filter(|field| may_pass(field.name.as_bytes())) {
        take(field.name, field.value);
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
