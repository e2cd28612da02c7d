//! No text makes the token reader, the key set or the claims panic, and none passes without a signature.
use tls_ambassador::jwt::json::Json;
use tls_ambassador::jwt::keys::KeySet;
use tls_ambassador::jwt::token::Token;

/// One input.
pub(crate) fn run(bytes: &[u8]) {
    let _set = KeySet::parse(bytes);
    let _json = Json::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = Token::parse(text) {
        assert_eq!(text.matches('.').count(), 2);
        assert!(text.as_bytes().starts_with(token.message));
        let _claims = token.claims();
    }
}
