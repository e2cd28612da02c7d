//! A few bytes that only the holder of an RSA key can read.

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

/// `plain` under the public key in `pem`, by RSAES-OAEP with SHA-1 (RFC 8017 section 7.1), as MySQL takes a password where its
/// connection has no TLS. At most 42 bytes less than the key has.
///
/// `None` where `pem` holds no RSA key of 2048 to 8192 bits, or `plain` is too long for it.
#[must_use]
pub fn sealed_by_rsa(pem: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&der).ok()?).ok()?;
    let mut sealed = vec![0; key.ciphertext_size()];
    let length = key.encrypt(&OAEP_SHA1_MGF1SHA1, plain, &mut sealed, None).ok()?.len();
    sealed.truncate(length);
    Some(sealed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    #[test]
    fn the_holder_of_the_key_reads_what_was_sealed_and_nothing_else_is_a_key() {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(&private.public_key()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (binary, text) = (folder.path().join("key.der"), folder.path().join("key.pem"));
        std::fs::write(&binary, der.as_ref()).unwrap();
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["pkey", "-pubin", "-inform", "DER", "-in"]).arg(&binary).arg("-out").arg(&text);
        assert!(openssl.status().unwrap().success());
        let pem = std::fs::read(&text).unwrap();

        let sealed = sealed_by_rsa(&pem, b"secret\0").unwrap();
        let private = OaepPrivateDecryptingKey::new(private).unwrap();
        let mut opened = vec![0; private.min_output_size()];
        assert_eq!(private.decrypt(&OAEP_SHA1_MGF1SHA1, &sealed, &mut opened, None).unwrap(), b"secret\0");
        assert!(sealed_by_rsa(&pem, &[0; 214]).is_some() && sealed_by_rsa(&pem, &[0; 215]).is_none());
        assert_eq!(sealed_by_rsa(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"x"), None);
        assert_eq!(sealed_by_rsa(b"", b"x"), None);
    }
}
