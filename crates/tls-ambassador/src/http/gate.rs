//! The one function that both fronts ask: may this request pass, and what is the app told about it?
//!
//! HTTP/1.1 and HTTP/2 differ in how a request arrives, never in who is let in, what is stripped, or what is said.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::authority;
use super::caller::Caller;
use super::config::Forwarded;
use super::forward::{Added, line};
use super::framing::Framing;
use super::names::same_name;
use super::request::{Refusal, Request, options, refuse};
use super::worker::Http;
use crate::jwt::{Failure, Identity, JwtConfig, Source};

/// A request that may pass.
#[derive(Debug)]
pub(super) struct Admitted {
    identity: Option<Rc<Identity>>,
    dropped: u128,
    forwarded_host: bool,
    own_lines: bool,
}

/// A request that may not, or not yet.
#[derive(Debug)]
pub(super) enum Denial {
    /// The answer, and the value of WWW-Authenticate.
    Refused {
        /// What to answer.
        refusal: Refusal,
        /// How to authenticate.
        challenge: Option<String>,
    },
    /// Ask again after [`Http::await_key`].
    KeyWanted,
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Denial {
        Denial::Refused { refusal, challenge: None }
    }
}

impl Admitted {
    /// What to write behind the request's own headers; `extra` is what [`admit`] filled.
    pub(super) fn added<'a>(&'a self, caller: &'a Caller, extra: &'a [u8]) -> Added<'a> {
        Added {
            connection: if self.own_lines { &caller.lines } else { &caller.certificate_lines },
            claims: self.identity.as_ref().map_or(&[], |identity| &identity.lines),
            request: extra,
            forwarded_host: self.forwarded_host,
            dropped: self.dropped,
        }
    }
}

/// Judges `request` from `caller`. Appends lines to `extra` that this request needs and others do not.
///
/// # Errors
/// What to answer, or what to wait for.
pub(super) fn admit(
    http: &Http,
    caller: &Caller,
    request: &Request<'_, '_>,
    extra: &mut Vec<u8>,
) -> Result<Admitted, Denial> {
    let config = &http.config;
    if config.check_server_name
        && let (Some(name), Some(asked)) = (&caller.server_name, request.authority.and_then(authority::host))
        && !name.eq_ignore_ascii_case(asked.trim_end_matches('.'))
    {
        return Err(refuse(421, "this host is not served on this connection").into());
    }
    if let (Some(most), Framing::Length(length)) = (config.max_body_bytes, request.facts.body)
        && length > most
    {
        return Err(refuse(413, "the body is too large").into());
    }
    let mut admitted = Admitted { identity: None, dropped: 0, forwarded_host: false, own_lines: true };
    if caller.needs_token {
        authenticate(http, request, &mut admitted)?;
    }
    say_where_from(http, caller, request, extra, &mut admitted);
    Ok(admitted)
}

fn authenticate(http: &Http, request: &Request<'_, '_>, admitted: &mut Admitted) -> Result<(), Denial> {
    let Some((config, verifier)) = http.shared.jwt.as_ref() else {
        return Err(refuse(403, "the client certificate is not allowed").into());
    };
    if config.skip_paths.iter().any(|path| path == request.target) && !request.bare {
        return Ok(());
    }
    let (token, bits) = match token_of(config, request) {
        Ok(found) => found,
        Err(error) => return Err(unauthorized(error)),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let checked = verifier.check(&mut http.tokens.borrow_mut(), token, i64::try_from(now).unwrap_or(i64::MAX));
    http.shared.metrics.token(&checked);
    match checked {
        Ok(identity) => {
            admitted.identity = Some(identity);
            if !config.forward {
                admitted.dropped |= bits;
            }
            Ok(())
        }
        Err(Failure::Invalid(invalid)) => Err(unauthorized(Some(invalid.0))),
        Err(Failure::Forbidden) => Err(Denial::Refused {
            refusal: refuse(403, "the token's claims do not suffice"),
            challenge: Some("Bearer error=\"insufficient_scope\"".to_string()),
        }),
        Err(Failure::NoKeys) => Err(refuse(503, "no keys to check tokens with").into()),
        Err(Failure::KeyWanted) => Err(Denial::KeyWanted),
    }
}

/// None: there was no token at all, which RFC 6750 section 3.1 wants answered without an error code.
fn unauthorized(error: Option<&'static str>) -> Denial {
    let challenge = match error {
        None => "Bearer".to_string(),
        Some(error) => format!("Bearer error=\"invalid_token\", error_description=\"{error}\""),
    };
    Denial::Refused { refusal: refuse(401, error.unwrap_or("a token is needed")), challenge: Some(challenge) }
}

/// The token, and the headers, as bits, that hold it.
fn token_of<'b>(config: &JwtConfig, request: &Request<'_, 'b>) -> Result<(&'b str, u128), Option<&'static str>> {
    let Source { header, bearer } = &config.source;
    let mut found = None;
    for (index, candidate) in request.headers.iter().enumerate() {
        if same_name(candidate.name.as_bytes(), header.as_bytes()) {
            // Two could be read differently by us and by the app.
            if found.replace((candidate.value, 1 << index)).is_some() {
                return Err(Some("two tokens"));
            }
        }
    }
    let (value, bits) = found.ok_or(None)?;
    let text = std::str::from_utf8(value).map_err(|_| Some("the token is not plain ASCII"))?;
    if !*bearer {
        return Ok((text, bits));
    }
    let (scheme, token) = text.split_once(' ').ok_or(Some("not a bearer token"))?;
    let token = token.trim_start_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Some("not a bearer token"));
    }
    Ok((token, bits))
}

/// Says, in the forms that are wanted, where the request came from: in our words, or in those of a trusted proxy with
/// our client's address behind them.
fn say_where_from(
    http: &Http,
    caller: &Caller,
    request: &Request<'_, '_>,
    extra: &mut Vec<u8>,
    admitted: &mut Admitted,
) {
    let said = request.facts.forwarding;
    let mode = http.config.forwarded;
    let rfc = matches!(mode, Forwarded::Rfc7239 | Forwarded::Both);
    let x = matches!(mode, Forwarded::XForwarded | Forwarded::Both);
    if said == 0 || !caller.trusted {
        admitted.dropped |= said;
        admitted.forwarded_host = x;
        if rfc {
            line(extra, b"Forwarded", caller.forwarded(request.authority).as_bytes());
        }
        return;
    }
    admitted.own_lines = false;
    let list = |name: &[u8]| {
        let mut bits = 0;
        let mut members: Vec<&[u8]> = Vec::new();
        for (index, header) in request.headers.iter().enumerate() {
            if said >> index & 1 == 1 && same_name(header.name.as_bytes(), name) {
                bits |= 1 << index;
                members.extend(options(header.value));
            }
        }
        (bits, members.join(&b", "[..]))
    };
    let mut extend = |name: &str, folded: &[u8], own: Option<String>| {
        let (bits, mut value) = list(folded);
        admitted.dropped |= bits;
        if let Some(own) = own {
            if !value.is_empty() {
                value.extend_from_slice(b", ");
            }
            value.extend_from_slice(own.as_bytes());
        }
        if !value.is_empty() {
            line(extra, name.as_bytes(), &value);
        }
    };
    if x {
        extend("X-Forwarded-For", b"x-forwarded-for", caller.address.map(|address| address.to_string()));
    }
    if rfc {
        extend("Forwarded", b"forwarded", Some(caller.forwarded(request.authority)));
    }
    let missing = |name: &[u8]| x && list(name).0 == 0;
    if missing(b"x-forwarded-proto") {
        line(extra, b"X-Forwarded-Proto", b"https");
    }
    if let (true, Some(port)) = (missing(b"x-forwarded-port"), caller.port) {
        line(extra, b"X-Forwarded-Port", port.to_string().as_bytes());
    }
    admitted.forwarded_host = missing(b"x-forwarded-host");
}
