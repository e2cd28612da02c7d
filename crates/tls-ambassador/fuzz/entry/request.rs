//! A head that passes is rewritten into one that passes again, with the same framing and nothing that was stripped. Read
//! without a look at its lines first, it ends in the same place, and none passes that the look refuses.
use std::mem::MaybeUninit;

use tls_ambassador::http::forward::{Added, Connection, is_as_it_goes_on, request_head, response_head};
use tls_ambassador::http::names::NameSet;
use tls_ambassador::http::request::{MAX_HEADERS, Request, Scan, ends_a_head};
use tls_ambassador::http::response::Response;

/// One input.
pub(crate) fn run(bytes: &[u8]) {
    one_end(&[bytes, b"\r\n\r\n"].concat());
    let Ok(Some(length)) = Scan::default().head_length(bytes) else { return };
    let head = &bytes[..length];
    let stripped = NameSet::identity([]);
    let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let Ok(request) = Request::parse(head, &mut slots, &stripped) else { return };
    let mut out = Vec::new();
    request_head(&mut out, Some(head), &request, &Added::default());
    assert_eq!(Scan::default().head_length(&out), Ok(Some(out.len())), "exactly one head");
    let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let again = Request::parse(&out, &mut slots, &stripped).expect("what is passed on can be read");
    assert_eq!(again.facts.body, request.facts.body, "one framing");
    assert_eq!(again.authority, request.authority);
    assert_eq!(again.target, if request.bare { format!("/{}", request.target) } else { request.target.to_string() });
    assert!(again.headers.iter().all(|header| !stripped.contains(header.name.as_bytes())), "no identity passes");
}

fn one_end(bytes: &[u8]) {
    let found = Scan::default().head_length(bytes).ok().flatten();
    let stripped = NameSet::identity([]);
    if ends_a_head(bytes) {
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let read = Request::read(bytes, &mut slots, &stripped).ok().map(|(_, length)| length);
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let passes = |length: &usize| Request::parse(&bytes[..*length], &mut slots, &stripped).is_ok();
        assert_eq!(read, found.filter(passes), "one end of a request's head");
    }
    let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let response = Response::read(bytes, &mut slots, false).ok().flatten();
    if let Some((response, length)) = &response
        && is_as_it_goes_on(&bytes[..*length], response, Connection::Silent)
    {
        let mut out = Vec::new();
        response_head(&mut out, &bytes[..*length], response, Connection::Silent);
        assert_eq!(out, bytes[..*length], "what goes on as it is would be written so");
    }
    let read = response.map(|(_, length)| length);
    let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let passes = |length: &usize| Response::parse(&bytes[..*length], &mut slots, false).is_ok();
    assert_eq!(read, found.filter(passes), "one end of a response's head");
}
