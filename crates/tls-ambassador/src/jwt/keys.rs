//! A set of public keys as RFC 7517 writes it, and the choice of one for a token.
//!
//! Keys for something else are passed over: symmetric ones, `use` other than `sig`, `key_ops` without `verify`, RSA under
//! 2048 bits, unknown types and curves. A set without a single usable key is refused whole: the last good one stays.

use kit_tls::signature::{Algorithm, Curve, PublicKey};

use super::json::Json;
use super::token::base64url;

/// Bytes of a set that are read.
pub const MAX_SET_BYTES: usize = 1024 * 1024;
/// Keys of a set that are taken.
pub const MAX_KEYS: usize = 100;

/// Why a set is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Larger than [`MAX_SET_BYTES`].
    #[error("the key set has more than 1 MiB")]
    TooLarge,
    /// More than [`MAX_KEYS`].
    #[error("the key set has more than 100 keys")]
    TooMany,
    /// Not a JSON object with a list called `keys`.
    #[error("not a JSON object with a list called \"keys\"")]
    NotASet,
    /// No key that checks signatures.
    #[error(
        "no usable key in the set: none is an RSA key of 2048 bits or more, P-256, P-384, P-521 or Ed25519 for signatures"
    )]
    Empty,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    public: PublicKey,
}

/// Usable keys; at least one.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

/// What a set says to a token's header.
#[derive(Debug)]
pub enum Choice<'k> {
    /// This key.
    Key(&'k PublicKey),
    /// No key of that name: a newer set may have it.
    Unknown,
    /// No key fits, and a newer set would not change that.
    None,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// It is not one, is too large, or has no usable key.
    pub fn parse(text: &[u8]) -> Result<KeySet, SetError> {
        if text.len() > MAX_SET_BYTES {
            return Err(SetError::TooLarge);
        }
        let set = Json::parse(text).map_err(|_| SetError::NotASet)?;
        let Some(Json::Array(list)) = set.get("keys") else { return Err(SetError::NotASet) };
        if list.len() > MAX_KEYS {
            return Err(SetError::TooMany);
        }
        let keys: Vec<Key> = list.iter().filter_map(key_of).collect();
        if keys.is_empty() { Err(SetError::Empty) } else { Ok(KeySet(keys)) }
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: an empty set is refused.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key for a token. Without a key id only one key may fit: trying several would tell a forger more than needed.
    pub fn choose(&self, algorithm: Algorithm, key_id: Option<&str>) -> Choice<'_> {
        let fits = |key: &&Key| key.public.fits(algorithm) && key.algorithm.is_none_or(|only| only == algorithm);
        let Some(id) = key_id else {
            let mut fitting = self.0.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => Choice::Key(&key.public),
                _ => Choice::None,
            };
        };
        let mut named = self.0.iter().filter(|key| key.id.as_deref() == Some(id)).peekable();
        if named.peek().is_none() {
            return Choice::Unknown;
        }
        named.find(fits).map_or(Choice::None, |key| Choice::Key(&key.public))
    }
}

fn key_of(json: &Json) -> Option<Key> {
    let text = |name: &str| json.get(name).and_then(Json::as_str);
    let number = |name: &str| text(name).and_then(base64url);
    if json.get("use").is_some_and(|purpose| purpose.as_str() != Some("sig")) {
        return None;
    }
    if let Some(operations) = json.get("key_ops") {
        let Json::Array(operations) = operations else { return None };
        if !operations.iter().any(|operation| operation.as_str() == Some("verify")) {
            return None;
        }
    }
    let public = match (text("kty")?, text("crv")) {
        ("RSA", _) => PublicKey::rsa(&number("n")?, &number("e")?),
        ("EC", Some("P-256")) => PublicKey::ec(Curve::P256, &number("x")?, &number("y")?),
        ("EC", Some("P-384")) => PublicKey::ec(Curve::P384, &number("x")?, &number("y")?),
        ("EC", Some("P-521")) => PublicKey::ec(Curve::P521, &number("x")?, &number("y")?),
        ("OKP", Some("Ed25519")) => PublicKey::ed25519(&number("x")?),
        _ => None,
    }?;
    let algorithm = match json.get("alg") {
        None => None,
        // A key for an algorithm that is not known here is a key for something else.
        Some(name) => Some(name.as_str().and_then(Algorithm::from_name)?),
    };
    Some(Key { id: text("kid").map(str::to_string), algorithm, public })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::super::token::to_base64url;
    use super::*;

    fn ec(more: &str) -> String {
        let x = to_base64url(&[1; 32]);
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"{more}}}"#)
    }

    fn set(keys: &[String]) -> Result<KeySet, SetError> {
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    #[test]
    fn j24_keys_for_something_else_are_passed_over() {
        let n = to_base64url(&[0xff; 128]);
        for other in [
            r#"{"kty":"oct","k":"AAAA"}"#.to_string(),
            ec(r#","use":"enc""#),
            ec(r#","key_ops":["sign"]"#),
            ec(r#","alg":"ECDH-ES""#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#),
            r#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}"#.to_string(),
            r#"{"kty":"EC","crv":"secp256k1","x":"AAAA","y":"AAAA"}"#.to_string(),
            "5".to_string(),
        ] {
            assert_eq!(set(std::slice::from_ref(&other)).unwrap_err(), SetError::Empty, "{other}");
            assert_eq!(set(&[other, ec(r#","use":"sig","key_ops":["verify"]"#)]).unwrap().len(), 1);
        }
    }

    #[test]
    fn j22_sets_that_are_no_sets_are_refused() {
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "<html>"] {
            assert_eq!(KeySet::parse(bad.as_bytes()).unwrap_err(), SetError::NotASet, "{bad}");
        }
        assert_eq!(KeySet::parse(br#"{"keys":[]}"#).unwrap_err(), SetError::Empty);
        assert_eq!(set(&vec![ec(""); MAX_KEYS + 1]).unwrap_err(), SetError::TooMany);
        assert_eq!(KeySet::parse(&vec![b' '; MAX_SET_BYTES + 1]).unwrap_err(), SetError::TooLarge);
    }

    #[test]
    fn j09_a_key_is_chosen_by_name_and_without_one_only_when_it_is_alone() {
        let two = set(&[ec(r#","kid":"a""#), ec(r#","kid":"b","alg":"ES256""#)]).unwrap();
        assert!(matches!(two.choose(Algorithm::Es256, Some("a")), Choice::Key(_)));
        assert!(matches!(two.choose(Algorithm::Es256, Some("c")), Choice::Unknown));
        assert!(matches!(two.choose(Algorithm::Rs256, Some("a")), Choice::None));
        assert!(matches!(two.choose(Algorithm::Es256, None), Choice::None));
        let one = set(&[ec("")]).unwrap();
        assert!(matches!(one.choose(Algorithm::Es256, None), Choice::Key(_)));
        assert!(matches!(one.choose(Algorithm::Es256, Some("a")), Choice::Unknown));
    }
}
