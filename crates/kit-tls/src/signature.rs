//! Signature checks for tokens: a key knows which algorithms fit it, and no algorithm can be talked into another key.
//!
//! Keys come as the numbers of RFC 7517/7518 (big endian). Signatures are those of RFC 7515: fixed length for ECDSA, never
//! DER. Verification only; nothing here is secret.

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

/// The asymmetric algorithms of RFC 7518 section 3.1 and RFC 8037. There is no "none" and no HMAC on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 10] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::EdDsa,
    ];

    /// The name in a token's `alg`, in exactly this spelling.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Es512 => "ES512",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// A curve of RFC 7518 section 6.2.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// secp256r1
    P256,
    /// secp384r1
    P384,
    /// secp521r1
    P521,
}

impl Curve {
    fn coordinate_bytes(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }
}

/// A key that signatures are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ec { curve: Curve, point: Vec<u8> },
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// An RSA key of 2048 to 8192 bits; None for any other.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<PublicKey> {
        let modulus = without_leading_zeros(modulus);
        let exponent = without_leading_zeros(exponent);
        let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
        if !(2048..=8192).contains(&bits) || exponent.is_empty() || exponent.len() > 8 || exponent == [1] {
            return None;
        }
        Some(PublicKey(Kind::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() }))
    }

    /// A point, each coordinate in full length; None for other lengths. A point off its curve verifies nothing.
    pub fn ec(curve: Curve, x: &[u8], y: &[u8]) -> Option<PublicKey> {
        if x.len() != curve.coordinate_bytes() || y.len() != curve.coordinate_bytes() {
            return None;
        }
        let mut point = vec![4];
        point.extend_from_slice(x);
        point.extend_from_slice(y);
        Some(PublicKey(Kind::Ec { curve, point }))
    }

    /// An Ed25519 key of 32 bytes.
    pub fn ed25519(x: &[u8]) -> Option<PublicKey> {
        Some(PublicKey(Kind::Ed25519(x.try_into().ok()?)))
    }

    /// Whether this kind of key, on this curve, is what `algorithm` works with.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        matches!(
            (&self.0, algorithm),
            (
                Kind::Rsa { .. },
                Algorithm::Rs256
                    | Algorithm::Rs384
                    | Algorithm::Rs512
                    | Algorithm::Ps256
                    | Algorithm::Ps384
                    | Algorithm::Ps512
            ) | (Kind::Ec { curve: Curve::P256, .. }, Algorithm::Es256)
                | (Kind::Ec { curve: Curve::P384, .. }, Algorithm::Es384)
                | (Kind::Ec { curve: Curve::P521, .. }, Algorithm::Es512)
                | (Kind::Ed25519(_), Algorithm::EdDsa)
        )
    }

    /// Whether `signature` over `message` was made with this key and `algorithm`. False when they do not fit each other.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            _ if !self.fits(algorithm) => false,
            Kind::Rsa { modulus, exponent } => {
                let parameters = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    _ => &signature::RSA_PSS_2048_8192_SHA512,
                };
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, message, signature).is_ok()
            }
            Kind::Ec { curve, point } => {
                let parameters = match curve {
                    Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED,
                    Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED,
                    Curve::P521 => &signature::ECDSA_P521_SHA512_FIXED,
                };
                UnparsedPublicKey::new(parameters, point).verify(message, signature).is_ok()
            }
            Kind::Ed25519(key) => UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature).is_ok(),
        }
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    };

    fn pair() -> EcdsaKeyPair {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
    }

    fn public(pair: &EcdsaKeyPair) -> PublicKey {
        let point = pair.public_key().as_ref();
        PublicKey::ec(Curve::P256, &point[1..33], &point[33..]).unwrap()
    }

    #[test]
    fn j10_only_the_fixed_form_of_the_right_key_verifies() {
        let signer = pair();
        let key = public(&signer);
        let signature = signer.sign(&SystemRandom::new(), b"message").unwrap();
        assert!(key.verify(Algorithm::Es256, b"message", signature.as_ref()));
        assert!(!key.verify(Algorithm::Es256, b"messagf", signature.as_ref()));
        assert!(!public(&pair()).verify(Algorithm::Es256, b"message", signature.as_ref()));
        assert!(!key.verify(Algorithm::Es256, b"message", &signature.as_ref()[..63]));
        let mut longer = signature.as_ref().to_vec();
        longer.push(0);
        assert!(!key.verify(Algorithm::Es256, b"message", &longer));
        let pkcs8 = signer.to_pkcs8v1().unwrap();
        let der = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
        let signature = der.sign(&SystemRandom::new(), b"message").unwrap();
        assert!(!key.verify(Algorithm::Es256, b"message", signature.as_ref()), "DER is not JOSE");
    }

    #[test]
    fn j06_an_algorithm_never_meets_another_kind_of_key() {
        let key = public(&pair());
        for algorithm in Algorithm::ALL {
            assert_eq!(key.fits(algorithm), algorithm == Algorithm::Es256, "{}", algorithm.name());
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for name in ["none", "None", "nOnE", "HS256", "es256", "", "ES256 "] {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn j10_weak_and_malformed_keys_are_none() {
        assert!(PublicKey::rsa(&[0xff; 255], &[1, 0, 1]).is_none(), "2040 bits");
        assert!(PublicKey::rsa(&[0xff; 256], &[1]).is_none());
        assert!(PublicKey::rsa(&[0xff; 256], &[]).is_none());
        assert!(PublicKey::rsa(&[], &[1, 0, 1]).is_none());
        assert!(PublicKey::rsa(&[0xff; 256], &[0, 1, 0, 1]).is_some());
        assert!(PublicKey::ec(Curve::P256, &[1; 31], &[1; 32]).is_none());
        assert!(PublicKey::ed25519(&[1; 31]).is_none());
        let off_curve = PublicKey::ec(Curve::P256, &[1; 32], &[1; 32]).unwrap();
        assert!(!off_curve.verify(Algorithm::Es256, b"message", &[1; 64]));
    }
}
