//! One token and the key set that it verifies with, made by openssl.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;

/// Who issues the token.
pub const ISSUER: &str = "https://bench.example.org";
/// Whom it is for.
pub const AUDIENCE: &str = "bench";
/// The file with the key set.
pub const KEYS: &str = "jwks.json";
/// The file with the token.
pub const TOKEN: &str = "token";

/// Longer than any measurement.
const VALID: Duration = Duration::from_secs(24 * 3600);

/// Writes [`KEYS`] and [`TOKEN`] into `folder`: RS256 with 2048 bits, what most authorities issue.
///
/// # Errors
/// When openssl fails.
pub fn make(folder: &Path) -> anyhow::Result<()> {
    let openssl = |arguments: &[&str]| -> anyhow::Result<Vec<u8>> {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments).current_dir(folder).stderr(Stdio::null());
        let output = openssl.output().context("no openssl")?;
        anyhow::ensure!(output.status.success(), "openssl {arguments:?} failed");
        Ok(output.stdout)
    };
    openssl(&["genrsa", "-out", "jwt.key", "2048"])?;
    let modulus = String::from_utf8(openssl(&["rsa", "-in", "jwt.key", "-noout", "-modulus"])?)?;
    let digits = modulus.trim().strip_prefix("Modulus=").context("openssl tells no modulus")?;
    let pairs = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    let modulus = pairs.collect::<Result<Vec<u8>, _>>()?;
    let key = serde_json::json!({"kty": "RSA", "kid": "bench", "alg": "RS256", "n": url(&modulus), "e": "AQAB"});
    fs::write(folder.join(KEYS), serde_json::json!({ "keys": [key] }).to_string())?;

    let expires = (SystemTime::now() + VALID).duration_since(UNIX_EPOCH)?.as_secs();
    let head = serde_json::json!({"alg": "RS256", "kid": "bench"}).to_string();
    let claims = serde_json::json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "load", "exp": expires}).to_string();
    let signed = format!("{}.{}", url(head.as_bytes()), url(claims.as_bytes()));
    fs::write(folder.join("signed"), &signed)?;
    let signature = openssl(&["dgst", "-sha256", "-sign", "jwt.key", "signed"])?;
    fs::write(folder.join(TOKEN), format!("{signed}.{}", url(&signature)))?;
    Ok(())
}

/// The header that shows the token.
///
/// # Errors
/// When there is no token.
pub fn header(folder: &Path) -> anyhow::Result<String> {
    Ok(format!("Authorization: Bearer {}", fs::read_to_string(folder.join(TOKEN)).context("no token was made")?))
}

/// base64url without padding (RFC 4648 section 5).
fn url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number =
            group.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[number >> (18 - 6 * digit) & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::url;

    /// RFC 4648 section 10, without the padding.
    #[test]
    fn bytes_of_any_length_are_written_in_base64url() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(url(bytes.as_bytes()), text);
        }
        assert_eq!(url(&[0xff, 0xef, 0xfe]), "_-_-");
    }
}
