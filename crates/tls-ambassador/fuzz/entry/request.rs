//! A head that passes is rewritten into one that passes again, with the same framing and nothing that was stripped.
use std::mem::MaybeUninit;

use tls_ambassador::http::forward::{Added, request_head};
use tls_ambassador::http::names::NameSet;
use tls_ambassador::http::request::{MAX_HEADERS, Request, Scan};

/// One input.
pub(crate) fn run(bytes: &[u8]) {
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
