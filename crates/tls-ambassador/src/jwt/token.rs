//! The compact form of a signed token (RFC 7515 section 3.1), taken apart without any leniency.
//!
//! Three segments of unpadded base64url with no stray bits; a header that names one known algorithm and no extension that
//! must be understood. `jku`, `jwk`, `x5u` and `x5c` are never looked at: keys come from the operator only.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use kit_tls::signature::Algorithm;

use super::json::Json;

/// Longer tokens are refused unread.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false),
);

/// Why a token is not taken. The text goes to the client's WWW-Authenticate and holds nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// A token in parts, its signature not checked.
#[derive(Debug)]
pub struct Token<'t> {
    /// The algorithm that the header names.
    pub algorithm: Algorithm,
    /// The key that the header names.
    pub key_id: Option<String>,
    /// What the signature is over.
    pub message: &'t [u8],
    /// The signature.
    pub signature: Vec<u8>,
    payload: &'t str,
}

impl<'t> Token<'t> {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// It is not exactly a signed token in compact form with a header that can be honoured.
    pub fn parse(text: &'t str) -> Result<Token<'t>, Invalid> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Invalid("the token is too long"));
        }
        let mut segments = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(Invalid("the token does not have three segments"));
        };
        let message = &text.as_bytes()[..header.len() + 1 + payload.len()];
        let signature = base64url(signature).ok_or(Invalid("the signature is not base64url"))?;
        let header = base64url(header).ok_or(Invalid("the header is not base64url"))?;
        let header = Json::parse(&header).map_err(|_| Invalid("the header is not plain JSON"))?;
        if !matches!(header, Json::Object(_)) {
            return Err(Invalid("the header is not plain JSON"));
        }
        let algorithm = header.get("alg").and_then(Json::as_str).and_then(Algorithm::from_name);
        let algorithm = algorithm.ok_or(Invalid("the algorithm is not allowed"))?;
        // No extension is known here, so every critical one is unknown; b64 is one of them.
        if header.get("crit").is_some() || header.get("b64").is_some() {
            return Err(Invalid("the header has a critical extension"));
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Json::String(id)) => Some(id.clone()),
            Some(_) => return Err(Invalid("the key id is not a string")),
        };
        Ok(Token { algorithm, key_id, message, signature, payload })
    }

    /// The claims. To be read after the signature was checked.
    ///
    /// # Errors
    /// They are not a JSON object with each name once.
    pub fn claims(&self) -> Result<Json, Invalid> {
        let claims = base64url(self.payload).ok_or(Invalid("the claims are not base64url"))?;
        match Json::parse(&claims) {
            Ok(claims @ Json::Object(_)) => Ok(claims),
            _ => Err(Invalid("the claims are not plain JSON")),
        }
    }
}

/// Unpadded base64url, as RFC 7515 section 2 wants it; None for anything else.
pub fn base64url(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// The other direction, for credentials that the tests make.
#[cfg(test)]
pub(super) fn to_base64url(bytes: &[u8]) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn token(header: &str) -> String {
        format!("{}.{}.AAAA", to_base64url(header.as_bytes()), to_base64url(b"{}"))
    }

    fn refused(text: &str) -> &'static str {
        Token::parse(text).expect_err(text).0
    }

    #[test]
    fn j06_j08_headers_that_cannot_be_honoured_are_refused() {
        for (header, why) in [
            (r#"{"alg":"none"}"#, "the algorithm is not allowed"),
            (r#"{"alg":"nOnE"}"#, "the algorithm is not allowed"),
            (r#"{"alg":"HS256"}"#, "the algorithm is not allowed"),
            (r#"{"typ":"JWT"}"#, "the algorithm is not allowed"),
            (r#"{"alg":["ES256"]}"#, "the algorithm is not allowed"),
            (r#"{"alg":"ES256","crit":["x"]}"#, "the header has a critical extension"),
            (r#"{"alg":"ES256","crit":[]}"#, "the header has a critical extension"),
            (r#"{"alg":"ES256","b64":false}"#, "the header has a critical extension"),
            (r#"{"alg":"ES256","alg":"RS256"}"#, "the header is not plain JSON"),
            (r#"{"alg":"ES256","kid":5}"#, "the key id is not a string"),
            (r#"["ES256"]"#, "the header is not plain JSON"),
            ("", "the header is not plain JSON"),
        ] {
            assert_eq!(refused(&token(header)), why, "{header}");
        }
        let good = token(r#"{"alg":"ES256","kid":"a","jku":"http://evil","jwk":{}}"#);
        let good = Token::parse(&good).unwrap();
        assert_eq!((good.algorithm, good.key_id.as_deref()), (Algorithm::Es256, Some("a")));
    }

    #[test]
    fn j11_only_the_compact_form_is_read() {
        let good = token(r#"{"alg":"ES256"}"#);
        assert!(Token::parse(&good).is_ok());
        for bad in [
            format!("{good}."),
            format!("{good}.AAAA"),
            good.rsplit_once('.').unwrap().0.to_string(),
            format!("{good}="),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}\n"),
            good.replace(".AAAA", ".AA+/"),
            good.replace(".AAAA", ".AB"),
            good.replace(".AAAA", ".A"),
            r#"{"payload":"e30","signatures":[]}"#.to_string(),
            String::new(),
            "..".to_string(),
            "x".repeat(MAX_TOKEN_BYTES + 1),
        ] {
            assert!(Token::parse(&bad).is_err(), "{bad}");
        }
    }
}
