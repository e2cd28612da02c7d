//! Where in a request a token stands, and the request without it.
//!
//! One request may carry one token (RFC 6750 section 2): two, in one place or in two, could be read differently here and
//! behind us, and are refused. A token that is taken away leaves the rest of its cookie header or query as it was.

use super::names::same_name;
use super::request::Request;
use crate::jwt::Place;

/// A token in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried<'b> {
    /// The bare token.
    pub(super) text: &'b str,
    /// Which of the places it stands in.
    pub(super) place: usize,
}

/// What to leave out of a request so that its token is gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hidden {
    /// Headers, as bits.
    pub(super) dropped: u128,
    /// What stays of the cookies that are dropped.
    pub(super) cookies: Option<Vec<u8>>,
    /// The target without the parameter.
    pub(super) target: Option<String>,
}

/// The token of `request`, if it carries any.
///
/// # Errors
/// Two tokens, or something in a token's place that is none.
pub(super) fn find<'b>(places: &[Place], request: &Request<'_, 'b>) -> Result<Option<Carried<'b>>, &'static str> {
    let mut found = None;
    for (index, place) in places.iter().enumerate() {
        let mut values: Vec<&'b [u8]> = Vec::new();
        match place {
            Place::Header(source) => {
                let named = |name: &str| same_name(name.as_bytes(), source.header.as_bytes());
                values.extend(request.headers.iter().filter(|header| named(header.name)).map(|header| header.value));
            }
            Place::Cookie(name) => {
                let all = cookies(request).flat_map(|(_, value)| crumbs(value));
                values.extend(all.filter(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value));
            }
            Place::Query(name) => {
                let all = query(request.target).into_iter().flat_map(parameters);
                values.extend(all.filter(|(known, _)| means(known, name)).map(|(_, value)| value.as_bytes()));
            }
        }
        for value in values {
            let text = std::str::from_utf8(value).map_err(|_| "the token is not plain ASCII")?;
            let text = match place {
                Place::Header(source) if source.bearer => bearer(text)?,
                _ => text,
            };
            if found.replace(Carried { text, place: index }).is_some() {
                return Err("two tokens");
            }
        }
    }
    Ok(found)
}

/// What to leave out so that no token in one of `places` is passed on.
pub(super) fn hide<'p>(places: impl IntoIterator<Item = &'p Place>, request: &Request<'_, '_>) -> Hidden {
    let mut hidden = Hidden::default();
    let (mut cookies, mut parameters): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for place in places {
        match place {
            Place::Header(source) => {
                for (index, header) in request.headers.iter().enumerate() {
                    if same_name(header.name.as_bytes(), source.header.as_bytes()) {
                        hidden.dropped |= 1 << index;
                    }
                }
            }
            Place::Cookie(name) => cookies.push(name),
            Place::Query(name) => parameters.push(name),
        }
    }
    if !cookies.is_empty() {
        hide_cookies(&cookies, request, &mut hidden);
    }
    if !parameters.is_empty() {
        hidden.target = without_parameters(request.target, &parameters);
    }
    hidden
}

/// The token behind the scheme `Bearer`, in any case.
fn bearer(text: &str) -> Result<&str, &'static str> {
    const NO_BEARER: &str = "not a bearer token";
    let (scheme, token) = text.split_once(' ').ok_or(NO_BEARER)?;
    let token = token.trim_start_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() { Err(NO_BEARER) } else { Ok(token) }
}

fn cookies<'r, 'b>(request: &'r Request<'_, 'b>) -> impl Iterator<Item = (usize, &'b [u8])> + use<'r, 'b> {
    let headers = request.headers.iter().enumerate();
    headers
        .filter(|(_, header)| same_name(header.name.as_bytes(), b"cookie"))
        .map(|(index, header)| (index, header.value))
}

/// Names and values of one Cookie header (RFC 6265 section 4.2), spaces around them left out.
fn crumbs(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|byte| *byte == b';').map(|crumb| {
        let equals = memchr::memchr(b'=', crumb).unwrap_or(crumb.len());
        let value = crumb.get(equals + 1..).unwrap_or_default();
        (crumb[..equals].trim_ascii(), value.trim_ascii())
    })
}

fn hide_cookies(names: &[&str], request: &Request<'_, '_>, hidden: &mut Hidden) {
    let mut kept: Vec<&[u8]> = Vec::new();
    let (mut headers, mut found) = (0, false);
    for (index, value) in cookies(request) {
        headers |= 1 << index;
        for crumb in value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|crumb| !crumb.is_empty()) {
            let name = crumbs(crumb).next().map_or(&[][..], |(name, _)| name);
            let is_token = names.iter().any(|known| known.as_bytes() == name);
            found |= is_token;
            if !is_token {
                kept.push(crumb);
            }
        }
    }
    if found {
        hidden.dropped |= headers;
        hidden.cookies = (!kept.is_empty()).then(|| kept.join(&b"; "[..]));
    }
}

/// What stands behind the first question mark.
fn query(target: &str) -> Option<&str> {
    target.split_once('?').map(|(_, query)| query)
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
}

/// Whether an app that decodes `written` reads `name`, which is plain: a token in disguise is a token.
fn means(written: &str, name: &str) -> bool {
    if !written.contains('%') {
        return written == name;
    }
    let mut decoded = Vec::with_capacity(written.len());
    let mut rest = written.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(value.unwrap_or(*byte));
        rest = if value.is_some() { &behind[2..] } else { behind };
    }
    decoded == name.as_bytes()
}

/// None: there is no such parameter.
fn without_parameters(target: &str, names: &[&str]) -> Option<String> {
    let (path, query) = target.split_once('?')?;
    let is_token = |parameter: &&str| {
        let written = parameter.split('=').next().unwrap_or(parameter);
        names.iter().any(|name| means(written, name))
    };
    query.split('&').find(is_token)?;
    let kept: Vec<&str> = query.split('&').filter(|parameter| !is_token(parameter)).collect();
    Some(if kept.is_empty() { path.to_string() } else { format!("{path}?{}", kept.join("&")) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::super::names::NameSet;
    use super::super::request::MAX_HEADERS;
    use super::*;
    use crate::jwt::Source;
    use std::mem::MaybeUninit;

    fn places() -> [Place; 3] {
        let source = Source { header: "authorization".into(), bearer: true };
        [Place::Header(source), Place::Cookie("tok".into()), Place::Query("access_token".into())]
    }

    fn with<T>(head: &str, look: impl FnOnce(&Request<'_, '_>) -> T) -> T {
        let head = format!("GET {head}Host: x\r\n\r\n");
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        look(&Request::parse(head.as_bytes(), &mut slots, &NameSet::identity([])).unwrap())
    }

    fn found(head: &str) -> Result<Option<(String, usize)>, &'static str> {
        with(head, |request| {
            find(&places(), request).map(|token| token.map(|token| (token.text.to_string(), token.place)))
        })
    }

    #[test]
    fn a_token_is_found_in_each_place_and_only_there() {
        let at = |text: &str, place| Ok(Some((text.to_string(), place)));
        assert_eq!(found("/ HTTP/1.1\r\nAuthorization: bearer  a.b.c\r\n"), at("a.b.c", 0));
        assert_eq!(found("/ HTTP/1.1\r\nCookie: x=1; tok=a.b.c; y=2\r\n"), at("a.b.c", 1));
        assert_eq!(found("/ HTTP/1.1\r\nCookie: x=1\r\nCookie:tok=a\r\n"), at("a", 1));
        assert_eq!(found("/p?x=1&access_token=a.b.c HTTP/1.1\r\n"), at("a.b.c", 2));
        assert_eq!(found("/p?%61ccess_token=a HTTP/1.1\r\n"), at("a", 2), "an app decodes it, so it counts");
        for none in ["/", "/access_token=a", "/?Access_Token=a", "/?xaccess_token=a", "/?x=access_token=a"] {
            assert_eq!(found(&format!("{none} HTTP/1.1\r\nCookie: Tok=a; xtok=b\r\n")), Ok(None), "{none}");
        }
    }

    #[test]
    fn two_tokens_and_what_is_no_token_are_refused() {
        for head in [
            "/ HTTP/1.1\r\nCookie: tok=a; tok=b\r\n",
            "/ HTTP/1.1\r\nCookie: tok=a\r\nCookie: tok=a\r\n",
            "/?access_token=a&%61ccess%5ftoken=b HTTP/1.1\r\n",
            "/?access_token=a HTTP/1.1\r\nCookie: tok=a\r\n",
            "/ HTTP/1.1\r\nAuthorization: Bearer a\r\nCookie: tok=a\r\n",
        ] {
            assert_eq!(found(head), Err("two tokens"), "{head}");
        }
        assert_eq!(found("/ HTTP/1.1\r\nAuthorization: Basic a\r\n"), Err("not a bearer token"));
        assert_eq!(found("/ HTTP/1.1\r\nCookie: tok=\r\n"), Ok(Some((String::new(), 1))), "an empty one is a bad one");
    }

    /// Whatever a client writes, what is passed on holds no token that we would find, and loses nothing else.
    #[test]
    fn nothing_is_found_in_what_was_hidden() {
        const PIECES: [&str; 14] =
            ["tok", "=", ";", " ", "a", "&", "access_token", "%61", "%", "ccess_token", "Tok", "\"", ",", "?"];
        let mut state = 42u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut hidden_ones = 0;
        for _ in 0..20_000 {
            let mut text = || (0..random(12)).map(|_| PIECES[random(14) as usize]).collect::<String>();
            let (cookie, query) = (text(), text().replace(' ', ""));
            let head = format!("/?{query} HTTP/1.1\r\nCookie: {cookie}\r\n");
            let all = places();
            let hidden = with(&head, |request| hide(&all, request));
            let target = hidden.target.clone().unwrap_or(format!("/?{query}"));
            let rest = match (&hidden.cookies, hidden.dropped) {
                (Some(rest), _) => String::from_utf8(rest.clone()).unwrap(),
                (None, 0) => cookie.clone(),
                (None, _) => String::new(),
            };
            hidden_ones += usize::from(hidden != Hidden::default());
            let again = format!("{target} HTTP/1.1\r\nCookie: {rest}\r\n");
            assert!(with(&again, |request| find(&all[1..], request).unwrap().is_none()), "{head} {again}");
            let others = |text: &str| {
                text.split(';')
                    .map(str::trim)
                    .filter(|crumb| !crumb.is_empty() && crumb.split('=').next().unwrap().trim() != "tok")
                    .count()
            };
            assert_eq!(others(&rest), others(&cookie), "{head} {again}");
        }
        assert!(hidden_ones > 1000, "{hidden_ones}");
    }

    #[test]
    fn what_is_hidden_leaves_the_rest_as_it_was() {
        let hidden = |head: &str, place: usize| with(head, |request| hide([&places()[place]], request));
        let one = hidden("/ HTTP/1.1\r\nA: b\r\nCookie: x=1; tok=a;y=\"2\"\r\nCookie: z=3\r\n", 1);
        assert_eq!((one.dropped, one.cookies.as_deref()), (0b110, Some(&b"x=1; y=\"2\"; z=3"[..])));
        let alone = hidden("/ HTTP/1.1\r\nCookie: tok=a\r\n", 1);
        assert_eq!((alone.dropped, alone.cookies), (1, None));
        assert_eq!(hidden("/ HTTP/1.1\r\nCookie: x=1\r\n", 1), Hidden::default());
        for (target, rest) in [
            ("/p?access_token=a", Some("/p")),
            ("/p?x=1&access_token=a&y=%20", Some("/p?x=1&y=%20")),
            ("/p?%61ccess_token=a&x", Some("/p?x")),
            ("/p?x=1", None),
            ("/p", None),
        ] {
            let hidden = hidden(&format!("{target} HTTP/1.1\r\n"), 2);
            assert_eq!(hidden.target.as_deref(), rest, "{target}");
        }
        let several =
            [Place::Cookie("a".into()), Place::Cookie("b".into()), Place::Query("q".into()), Place::Query("r".into())];
        let all = with("/?q=1&x=2&r=3 HTTP/1.1\r\nCookie: a=1; x=2; b=3\r\n", |request| hide(&several, request));
        assert_eq!((all.cookies.as_deref(), all.target.as_deref()), (Some(&b"x=2"[..]), Some("/?x=2")));
    }
}
