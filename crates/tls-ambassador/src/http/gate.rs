//! The one function that both fronts ask: may this request pass, and what is the app told about it?
//!
//! HTTP/1.1 and HTTP/2 differ in how a request arrives, never in who is let in, what is stripped, or what is said.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::authority;
use super::bearer;
use super::caller::Caller;
use super::config::Forwarded;
use super::forward::{Added, line};
use super::framing::Framing;
use super::names::same_name;
use super::reply::Advice;
use super::request::{Refusal, Request, options, refuse};
use super::trailers;
use super::worker::Http;
use crate::jwt::issuers::Judged;
use crate::jwt::{Failure, Identity, Issuers, Place};

/// A request that may pass.
#[derive(Debug)]
pub(super) struct Admitted {
    identity: Option<Rc<Identity>>,
    dropped: u128,
    target: Option<String>,
    forwarded_host: bool,
    own_lines: bool,
}

/// A request that may not, or not yet.
#[derive(Debug)]
pub(super) enum Denial {
    /// The answer.
    Refused {
        /// What to answer.
        refusal: Refusal,
        /// What to do about it.
        advice: Option<Advice>,
    },
    /// Ask again after [`Http::await_key`] for this issuer.
    KeyWanted(usize),
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Denial {
        Denial::Refused { refusal, advice: None }
    }
}

impl Admitted {
    /// Whom the access log names.
    pub(super) fn name<'a>(&'a self, caller: &'a Caller) -> Option<&'a str> {
        let subject = self.identity.as_ref().and_then(|identity| identity.subject.as_deref());
        subject.or(caller.certificate_name.as_deref())
    }

    /// Leaves out these headers too, as bits.
    pub(super) fn drop_also(&mut self, headers: u128) {
        self.dropped |= headers;
    }

    /// What to write behind the request's own headers; `extra` is what [`admit`] filled.
    pub(super) fn added<'a>(&'a self, caller: &'a Caller, extra: &'a [u8]) -> Added<'a> {
        Added {
            connection: if self.own_lines { &caller.lines } else { &caller.certificate_lines },
            claims: self.identity.as_ref().map_or(&[], |identity| &identity.lines),
            request: extra,
            target: self.target.as_deref(),
            forwarded_host: self.forwarded_host,
            dropped: self.dropped,
        }
    }
}

/// Counts `request` against the limit of who sends it. To be asked once for each request, before [`admit`].
///
/// # Errors
/// 429, and when to come again.
pub(super) fn count(http: &Http, caller: &Caller, request: &Request<'_, '_>) -> Result<(), Denial> {
    let Some(limiter) = &http.shared.limiter else { return Ok(()) };
    limiter.count(client_of(http, caller, request), Instant::now()).map_err(|wait| {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Denial::Refused {
            refusal: refuse(429, "too many requests"),
            advice: Some(("Retry-After", seconds.to_string())),
        }
    })
}

/// Whom a request comes from: the connection's peer, or whom a trusted proxy names last that is no such proxy itself.
fn client_of(http: &Http, caller: &Caller, request: &Request<'_, '_>) -> Option<IpAddr> {
    if !caller.trusted || request.facts.forwarding == 0 {
        return caller.address;
    }
    let named = |header: &&httparse::Header<'_>| same_name(header.name.as_bytes(), b"x-forwarded-for");
    let chain: Vec<&[u8]> = request.headers.iter().filter(named).flat_map(|header| options(header.value)).collect();
    for member in chain.into_iter().rev() {
        match std::str::from_utf8(member).ok().and_then(|text| text.parse::<IpAddr>().ok()) {
            Some(address) if http.config.is_trusted(address.to_canonical()) => {}
            Some(address) => return Some(address),
            // What stands in front of it was said by nobody who is believed.
            None => break,
        }
    }
    caller.address
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
    let mut admitted = Admitted { identity: None, dropped: 0, target: None, forwarded_host: false, own_lines: true };
    authenticate(http, caller, request, extra, &mut admitted)?;
    say_where_from(http, caller, request, extra, &mut admitted);
    trailers::announce(extra, request, config);
    Ok(admitted)
}

fn authenticate(
    http: &Http,
    caller: &Caller,
    request: &Request<'_, '_>,
    extra: &mut Vec<u8>,
    admitted: &mut Admitted,
) -> Result<(), Denial> {
    // A route of its own rules may take no tokens.
    let Some(issuers) = http.shared.issuers.as_ref().filter(|_| !caller.refused) else {
        let refused = refuse(403, "the client certificate is not allowed");
        return if caller.needs_token { Err(refused.into()) } else { Ok(()) };
    };
    if !caller.needs_token || (!request.bare && issuers.skips(request.target)) {
        hide_unchecked(issuers, request, extra, admitted);
        return Ok(());
    }
    let metrics = &http.shared.metrics;
    let token = match bearer::find(issuers.places(), request) {
        Ok(Some(token)) => token,
        Ok(None) => {
            metrics.no_token.inc();
            return if issuers.allow_missing() { Ok(()) } else { Err(unauthorized(None)) };
        }
        Err(error) => {
            metrics.nobodys_token.inc();
            return Err(unauthorized(Some(error)));
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let Judged { issuer, result } = issuers.judge(&mut http.tokens.borrow_mut(), token.text, token.place, now);
    match (result, issuer) {
        (Ok(identity), Some(issuer)) => {
            admitted.identity = Some(identity);
            if !issuers.all()[issuer].config.forward {
                hide([&issuers.places()[token.place]], request, extra, admitted);
            }
            Ok(())
        }
        (Err(Failure::Invalid(invalid)), issuer) => {
            if issuer.is_none() {
                metrics.nobodys_token.inc();
            }
            Err(unauthorized(Some(invalid.0)))
        }
        (Err(Failure::Forbidden), _) => Err(Denial::Refused {
            refusal: refuse(403, "the token's claims do not suffice"),
            advice: Some(("WWW-Authenticate", "Bearer error=\"insufficient_scope\"".to_string())),
        }),
        (Err(Failure::KeyWanted), Some(issuer)) => Err(Denial::KeyWanted(issuer)),
        (Ok(_) | Err(Failure::NoKeys | Failure::KeyWanted), _) => {
            Err(refuse(503, "no keys to check tokens with").into())
        }
    }
}

fn hide<'p>(
    places: impl IntoIterator<Item = &'p Place>,
    request: &Request<'_, '_>,
    extra: &mut Vec<u8>,
    admitted: &mut Admitted,
) {
    let hidden = bearer::hide(places, request);
    admitted.dropped |= hidden.dropped;
    admitted.target = hidden.target;
    if let Some(cookies) = hidden.cookies {
        line(extra, b"Cookie", &cookies);
    }
}

/// Where nobody looked at a token, none is passed on that the app could take for a good one. Authorization may be the
/// app's own business, as long as the app never gets to see a good token there.
fn hide_unchecked(issuers: &Issuers, request: &Request<'_, '_>, extra: &mut Vec<u8>, admitted: &mut Admitted) {
    let apps_own = |place: &&Place| matches!(place, Place::Header(source) if source.bearer) && !issuers.forwards();
    hide(issuers.places().iter().filter(|place| !apps_own(place)), request, extra, admitted);
}

/// None: there was no token at all, which RFC 6750 section 3.1 wants answered without an error code.
fn unauthorized(error: Option<&'static str>) -> Denial {
    let challenge = match error {
        None => "Bearer".to_string(),
        Some(error) => format!("Bearer error=\"invalid_token\", error_description=\"{error}\""),
    };
    let refusal = refuse(401, error.unwrap_or("a token is needed"));
    Denial::Refused { refusal, advice: Some(("WWW-Authenticate", challenge)) }
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
