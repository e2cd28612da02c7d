//! TLS 1.3's key schedule (RFC 8446 section 7.1) over HMAC keys that are prepared once.
//!
//! A handshake derives some twenty values, several from each secret. aws-lc's HKDF hashes the secret anew for each of them,
//! two blocks of the four that a value costs; here that is done once for a secret. The first secret of a session without
//! a pre-shared key is the same for all sessions and is kept. With SHA-384, hashing is a third of a handshake's
//! instructions outside of the kernel, and this saves a sixth of it.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use rustls::crypto::tls13::{self, HkdfExpander, OkmBlock, OutputLengthError};
use rustls::crypto::{CryptoProvider, hmac::Tag};
use rustls::{CipherSuite, SupportedCipherSuite, Tls13CipherSuite};

/// Bytes of the longest digest (SHA-512's).
const MOST: usize = 64;

static SHA256: Hkdf = Hkdf { algorithm: hmac::HMAC_SHA256, early: LazyLock::new(|| early(hmac::HMAC_SHA256)) };
static SHA384: Hkdf = Hkdf { algorithm: hmac::HMAC_SHA384, early: LazyLock::new(|| early(hmac::HMAC_SHA384)) };

/// `suites` with this key schedule where they are of TLS 1.3. Each is made once for the process.
pub(crate) fn prepared(provider: CryptoProvider) -> CryptoProvider {
    static SUITES: LazyLock<Vec<(CipherSuite, &'static Tls13CipherSuite)>> = LazyLock::new(|| {
        let default = rustls::crypto::aws_lc_rs::default_provider();
        default.cipher_suites.iter().filter_map(SupportedCipherSuite::tls13).filter_map(with_prepared_keys).collect()
    });
    let prepared = |suite: SupportedCipherSuite| {
        let own = SUITES.iter().find(|(name, _)| *name == suite.suite() && suite.tls13().is_some());
        own.map_or(suite, |(_, own)| SupportedCipherSuite::Tls13(own))
    };
    CryptoProvider { cipher_suites: provider.cipher_suites.into_iter().map(prepared).collect(), ..provider }
}

fn with_prepared_keys(suite: &'static Tls13CipherSuite) -> Option<(CipherSuite, &'static Tls13CipherSuite)> {
    let hkdf_provider: &'static dyn tls13::Hkdf = match suite.common.suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => &SHA384,
        CipherSuite::TLS13_AES_128_GCM_SHA256 | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => &SHA256,
        _ => return None,
    };
    let rustls::crypto::CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit } = suite.common;
    let common = rustls::crypto::CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit };
    // Three of them, for as long as the process lives.
    let own = Tls13CipherSuite { common, hkdf_provider, aead_alg: suite.aead_alg, quic: suite.quic };
    Some((name, Box::leak(Box::new(own))))
}

/// `HKDF-Extract(0, 0)`.
fn early(algorithm: hmac::Algorithm) -> hmac::Key {
    let zeros = [0; MOST];
    extract(algorithm, None, &zeros[..algorithm.digest_algorithm().output_len()])
}

fn extract(algorithm: hmac::Algorithm, salt: Option<&[u8]>, secret: &[u8]) -> hmac::Key {
    let zeros = [0; MOST];
    let salt = salt.unwrap_or(&zeros[..algorithm.digest_algorithm().output_len()]);
    let secret = hmac::sign(&hmac::Key::new(algorithm, salt), secret);
    hmac::Key::new(algorithm, secret.as_ref())
}

struct Hkdf {
    algorithm: hmac::Algorithm,
    early: LazyLock<hmac::Key>,
}

impl tls13::Hkdf for Hkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        let zeros = [0; MOST];
        let zeros = &zeros[..self.algorithm.digest_algorithm().output_len()];
        Box::new(Expander(match salt {
            None => self.early.clone(),
            salt => extract(self.algorithm, salt, zeros),
        }))
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        Box::new(Expander(extract(self.algorithm, salt, secret)))
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        Box::new(Expander(hmac::Key::new(self.algorithm, okm.as_ref())))
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> Tag {
        Tag::new(hmac::sign(&hmac::Key::new(self.algorithm, key.as_ref()), message).as_ref())
    }
}

/// A secret that values are derived from.
struct Expander(hmac::Key);

impl Expander {
    /// T(1) | T(2) | ... of RFC 5869 section 2.3. The caller has checked the length.
    fn fill(&self, info: &[&[u8]], output: &mut [u8]) {
        let mut before: Option<hmac::Tag> = None;
        for (number, block) in (1..=u8::MAX).zip(output.chunks_mut(self.hash_len())) {
            let mut context = hmac::Context::with_key(&self.0);
            if let Some(before) = &before {
                context.update(before.as_ref());
            }
            info.iter().for_each(|part| context.update(part));
            context.update(&[number]);
            let tag = context.sign();
            block.copy_from_slice(&tag.as_ref()[..block.len()]);
            before = Some(tag);
        }
    }
}

impl HkdfExpander for Expander {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        if output.len() > 255 * self.hash_len() {
            return Err(OutputLengthError);
        }
        self.fill(info, output);
        Ok(())
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        let mut block = [0; MOST];
        let block = &mut block[..self.hash_len()];
        self.fill(info, block);
        OkmBlock::new(block)
    }

    fn hash_len(&self) -> usize {
        self.0.algorithm().digest_algorithm().output_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rustls' own key schedule, which is aws-lc's HKDF, says the same.
    #[test]
    fn every_derivation_is_that_of_aws_lc() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let own = prepared(provider.clone());
        assert_eq!(provider.cipher_suites.len(), own.cipher_suites.len());
        let mut compared = 0;
        for (theirs, ours) in provider.cipher_suites.iter().zip(&own.cipher_suites) {
            assert_eq!(theirs.suite(), ours.suite());
            let (Some(theirs), Some(ours)) = (theirs.tls13(), ours.tls13()) else { continue };
            let (theirs, ours) = (theirs.hkdf_provider, ours.hkdf_provider);
            let secret: Vec<u8> = (0..96).collect();
            let okm = theirs.extract_from_secret(None, &secret).expand_block(&[b"a secret"]);
            for (one, other) in [
                (theirs.extract_from_zero_ikm(None), ours.extract_from_zero_ikm(None)),
                (theirs.extract_from_zero_ikm(Some(&secret)), ours.extract_from_zero_ikm(Some(&secret))),
                (theirs.extract_from_secret(None, &secret), ours.extract_from_secret(None, &secret)),
                (theirs.extract_from_secret(Some(b"salt"), &secret), ours.extract_from_secret(Some(b"salt"), &secret)),
                (theirs.expander_for_okm(&okm), ours.expander_for_okm(&okm)),
            ] {
                assert_eq!(one.hash_len(), other.hash_len());
                for length in [1, 12, 32, 48, 49, 200] {
                    let (mut left, mut right) = (vec![0; length], vec![0; length]);
                    assert!(one.expand_slice(&[b"tls13 ", b"key"], &mut left).is_ok());
                    assert!(other.expand_slice(&[b"tls13 ", b"key"], &mut right).is_ok());
                    assert_eq!(left, right);
                }
                assert_eq!(one.expand_block(&[b"iv", b""]).as_ref(), other.expand_block(&[b"iv", b""]).as_ref());
                let mut most = vec![0; 255 * other.hash_len() + 1];
                assert!(other.expand_slice(&[], &mut most).is_err());
                most.pop();
                assert!(other.expand_slice(&[], &mut most).is_ok());
            }
            assert_eq!(theirs.hmac_sign(&okm, b"message").as_ref(), ours.hmac_sign(&okm, b"message").as_ref());
            compared += 1;
        }
        assert_eq!(compared, 3);
    }
}
