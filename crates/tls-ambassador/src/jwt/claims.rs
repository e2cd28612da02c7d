//! What a token's claims must say, and what the app is told of them.
//!
//! Times are whole seconds: a claim of any other kind is no claim but an error (CVE-2026-25537). `exp` and the issuer must
//! be there. Headers for the app are made of visible ASCII only: what cannot be said so is left out, never bent.

use super::json::Json;
use super::token::Invalid;

/// Longest value of one header made from a claim.
const MAX_HEADER_VALUE: usize = 4096;

/// What is asked of the claims of one issuer.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `iss` must be one of these, exactly.
    pub issuers: Vec<String>,
    /// `aud` must be or have one of these; empty: any, or none.
    pub audiences: Vec<String>,
    /// Seconds by which the clocks may differ.
    pub leeway: i64,
    /// Longest time from `iat` to `exp` in seconds, `leeway` on both sides apart; then `iat` must be there.
    pub max_lifetime: Option<i64>,
    /// All of these must hold, else 403.
    pub required: Vec<Requirement>,
    /// Headers made from claims.
    pub headers: Vec<ClaimHeader>,
}

/// One `claim=pattern`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The claim's name.
    pub claim: String,
    /// What its value, or a member of it, must be; `*` stands for anything.
    pub pattern: String,
}

/// One header for the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimHeader {
    /// The claim's name.
    pub claim: String,
    /// The header's name, a token.
    pub header: String,
}

/// Claims that do not let a request in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// 401.
    Invalid(Invalid),
    /// 403.
    Forbidden,
}

impl From<Invalid> for Rejected {
    fn from(invalid: Invalid) -> Rejected {
        Rejected::Invalid(invalid)
    }
}

impl Rules {
    /// Judges claims at `now` (seconds since 1970) and returns the second after which they must not be used.
    ///
    /// # Errors
    /// What the request is to be answered with.
    pub fn judge(&self, claims: &Json, now: i64) -> Result<i64, Rejected> {
        let expires = time(claims, "exp")?.ok_or(Invalid("the token has no expiry"))?;
        let end = expires.saturating_add(self.leeway);
        if now >= end {
            return Err(Invalid("the token is expired").into());
        }
        if time(claims, "nbf")?.is_some_and(|start| start > now.saturating_add(self.leeway)) {
            return Err(Invalid("the token is not valid yet").into());
        }
        let issued = time(claims, "iat")?;
        if issued.is_some_and(|issued| issued > now.saturating_add(self.leeway)) {
            return Err(Invalid("the token is issued in the future").into());
        }
        if let Some(longest) = self.max_lifetime {
            let issued = issued.ok_or(Invalid("the token does not say when it was issued"))?;
            if expires.saturating_sub(issued) > longest.saturating_add(2 * self.leeway) {
                return Err(Invalid("the token lives too long").into());
            }
        }
        let issuer = claims.get("iss").and_then(Json::as_str);
        if !issuer.is_some_and(|issuer| self.issuers.iter().any(|known| known == issuer)) {
            return Err(Invalid("the token is from another issuer").into());
        }
        if !self.audiences.is_empty() && !self.is_for_us(claims.get("aud"))? {
            return Err(Invalid("the token is for another audience").into());
        }
        if self.required.iter().all(|requirement| requirement.holds(claims)) {
            Ok(end)
        } else {
            Err(Rejected::Forbidden)
        }
    }

    fn is_for_us(&self, audience: Option<&Json>) -> Result<bool, Invalid> {
        let ours = |name: &str| self.audiences.iter().any(|known| known == name);
        match audience {
            None => Ok(false),
            Some(Json::String(name)) => Ok(ours(name)),
            Some(Json::Array(names)) => {
                let names: Option<Vec<&str>> = names.iter().map(Json::as_str).collect();
                Ok(names.ok_or(Invalid("the audience is not a list of strings"))?.into_iter().any(ours))
            }
            Some(_) => Err(Invalid("the audience is not a string")),
        }
    }

    /// The claim `sub`, if it is plain text of one line.
    pub fn subject(&self, claims: &Json) -> Option<Box<str>> {
        claims.get("sub").and_then(header_value).map(String::into_boxed_str)
    }

    /// The header lines that the app gets for these claims.
    pub fn lines(&self, claims: &Json) -> Vec<u8> {
        let mut lines = Vec::new();
        for wanted in &self.headers {
            if let Some(value) = claims.get(&wanted.claim).and_then(header_value) {
                crate::http::forward::line(&mut lines, wanted.header.as_bytes(), value.as_bytes());
            }
        }
        lines
    }
}

/// A time claim: absent, or whole seconds since 1970.
fn time(claims: &Json, name: &str) -> Result<Option<i64>, Invalid> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::Integer(seconds)) if *seconds >= 0 => Ok(Some(*seconds)),
        Some(_) => Err(Invalid("a time claim is not a whole number of seconds")),
    }
}

impl Requirement {
    fn holds(&self, claims: &Json) -> bool {
        match claims.get(&self.claim) {
            None | Some(Json::Null | Json::Object(_)) => false,
            Some(Json::Array(members)) => members.iter().any(|member| self.matches(member)),
            Some(value) => self.matches(value),
        }
    }

    fn matches(&self, value: &Json) -> bool {
        scalar(value).is_some_and(|text| glob(self.pattern.as_bytes(), text.as_bytes()))
    }
}

/// `*` stands for any run of characters; everything else for itself, from start to end.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&[u8]> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = memchr::memmem::find(rest, part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Integer(number) => Some(number.to_string()),
        Json::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// A scalar, or a list of scalars joined by commas, that fits one header line.
fn header_value(value: &Json) -> Option<String> {
    let value = match value {
        Json::Array(members) => {
            // A member with a comma would read as two.
            let members = members.iter().filter_map(scalar).filter(|text| !text.contains(',') && is_plain(text));
            members.collect::<Vec<_>>().join(",")
        }
        other => scalar(other)?,
    };
    (is_plain(&value) && value.len() <= MAX_HEADER_VALUE).then_some(value)
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == text
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
