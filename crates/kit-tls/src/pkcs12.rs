//! PKCS#12 archives (RFC 7292): one key and its certificates behind a password.
//!
//! Promised: what OpenSSL 3, OpenSSL 1 (`-legacy`) and Java's keytool write: PBES2 with AES-128 or AES-256 and PBKDF2, and the old
//! SHA-1 schemes with 3DES or RC2. The archive's MAC is checked before anything in it is used.
//!
//! Not promised: several keys in one archive, keys of keytool's JCEKS and JKS stores, indefinite lengths (BER).

use aws_lc_rs::{cipher, digest, hmac, pbkdf2};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, InnerIvInit, KeyInit};

/// The contents of an archive, in DER.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    /// PKCS#8.
    pub(crate) key: Vec<u8>,
    /// In the archive's order.
    pub(crate) certificates: Vec<Vec<u8>>,
}

/// More would keep a start waiting for minutes; OpenSSL writes 2048 and keytool 10 000.
const MOST_ITERATIONS: u32 = 10_000_000;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 2;
const OCTETS: u8 = 4;
const OID: u8 = 6;
/// `[0]`, explicit; the implicit form of an octet string is 0x80.
const EXPLICIT_0: u8 = 0xa0;
const IMPLICIT_0: u8 = 0x80;

/// 1.2.840.113549.1.7.1 and .6.
const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
const ENCRYPTED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";
/// 1.2.840.113549.1.12.10.1, then 1 (key), 2 (key under a password), 3 (certificate).
const BAGS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01";
/// 1.2.840.113549.1.12.1, then 3 (3DES), 5 (RC2 with 128 bits), 6 (RC2 with 40).
const OLD_SCHEMES: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01";
/// 1.2.840.113549.1.5.13 and .12.
const PBES2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
const PBKDF2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
/// 1.2.840.113549.2, then 7 (HMAC with SHA-1), 9, 10, 11 (SHA-256, -384, -512).
const HMACS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02";
/// 2.16.840.1.101.3.4.1, then 2 (AES-128-CBC), 42 (AES-256-CBC).
const AES: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01";
/// 2.16.840.1.101.3.4.2, then 1, 2, 3 (SHA-256, -384, -512).
const SHA2: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02";
/// 1.3.14.3.2.26.
const SHA1: &[u8] = b"\x2b\x0e\x03\x02\x1a";

/// Opens an archive.
///
/// # Errors
/// What is wrong with it, or that the password is.
pub(crate) fn open(bytes: &[u8], password: &str) -> Result<Archive, String> {
    match bytes {
        [0xfe, 0xed, 0xfe, 0xed, ..] => return Err("it is a JKS keystore, which only Java reads".to_owned()),
        [0xce, 0xce, 0xce, 0xce, ..] => return Err("it is a JCEKS keystore, which only Java reads".to_owned()),
        _ => {}
    }
    let mut outside = Der(bytes);
    let mut pfx = outside.inside(SEQUENCE)?;
    pfx.take(INTEGER)?;
    let mut content = pfx.inside(SEQUENCE)?;
    if content.take(OID)? != DATA {
        return Err("it is signed by a key instead of a password".to_owned());
    }
    let safe = content.inside(EXPLICIT_0)?.take(OCTETS)?;
    let old = old_password(password);
    if !pfx.0.is_empty() {
        check(pfx.inside(SEQUENCE)?, safe, &old)?;
    }
    let mut archive = Archive::default();
    let mut parts = Der(safe).inside(SEQUENCE)?;
    while !parts.0.is_empty() {
        let mut part = parts.inside(SEQUENCE)?;
        let plain = match part.take(OID)? {
            DATA => part.inside(EXPLICIT_0)?.take(OCTETS)?.to_vec(),
            ENCRYPTED_DATA => {
                let mut encrypted = part.inside(EXPLICIT_0)?.inside(SEQUENCE)?;
                encrypted.take(INTEGER)?;
                let mut info = encrypted.inside(SEQUENCE)?;
                info.take(OID)?;
                decrypt(info.inside(SEQUENCE)?, info.take(IMPLICIT_0)?, password, &old)?
            }
            _ => return Err("a part of it is encrypted to a key instead of a password".to_owned()),
        };
        take_bags(Der(&plain).inside(SEQUENCE)?, &mut archive, password, &old)?;
    }
    if archive.key.is_empty() {
        return Err("it holds no private key".to_owned());
    }
    Ok(archive)
}

fn take_bags(mut bags: Der<'_>, archive: &mut Archive, password: &str, old: &[u8]) -> Result<(), String> {
    while !bags.0.is_empty() {
        let mut bag = bags.inside(SEQUENCE)?;
        let kind = bag.take(OID)?.strip_prefix(BAGS);
        let mut value = bag.inside(EXPLICIT_0)?;
        let key = match kind {
            Some([1]) => value.0.to_vec(),
            Some([2]) => {
                let mut key = value.inside(SEQUENCE)?;
                decrypt(key.inside(SEQUENCE)?, key.take(OCTETS)?, password, old)?
            }
            Some([3]) => {
                let mut certificate = value.inside(SEQUENCE)?;
                certificate.take(OID)?;
                archive.certificates.push(certificate.inside(EXPLICIT_0)?.take(OCTETS)?.to_vec());
                continue;
            }
            // Revocation lists, secrets and nested bags.
            _ => continue,
        };
        if !archive.key.is_empty() {
            return Err("it holds several private keys".to_owned());
        }
        archive.key = key;
    }
    Ok(())
}

/// A password as the old schemes and the MAC take it: UTF-16 with a zero at the end.
fn old_password(password: &str) -> Vec<u8> {
    password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect()
}

/// The MAC says whether the password is right, and that nobody changed the archive.
fn check(mut mac: Der<'_>, safe: &[u8], password: &[u8]) -> Result<(), String> {
    let mut info = mac.inside(SEQUENCE)?;
    let algorithm = info.inside(SEQUENCE)?.take(OID)?;
    let expected = info.take(OCTETS)?;
    let salt = mac.take(OCTETS)?;
    let iterations = if mac.0.is_empty() { 1 } else { mac.number()? };
    let (hash, hmac) = match (algorithm == SHA1, algorithm.strip_prefix(SHA2)) {
        (true, _) => (&digest::SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        (_, Some([1])) => (&digest::SHA256, hmac::HMAC_SHA256),
        (_, Some([2])) => (&digest::SHA384, hmac::HMAC_SHA384),
        (_, Some([3])) => (&digest::SHA512, hmac::HMAC_SHA512),
        _ => return Err("its MAC is of a kind that is not read here".to_owned()),
    };
    // Some programs take an empty password for none at all.
    let passwords: &[&[u8]] = if password.len() == 2 { &[password, &[]] } else { &[password] };
    let fits = |password: &[u8]| {
        let key = derive(hash, 3, password, salt, iterations, hash.output_len());
        hmac::verify(&hmac::Key::new(hmac, &key), safe, expected).is_ok()
    };
    if passwords.iter().any(|password| fits(password)) { Ok(()) } else { Err("the password is wrong".to_owned()) }
}

/// RFC 7292, appendix B.2.
fn derive(
    hash: &'static digest::Algorithm,
    purpose: u8,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    length: usize,
) -> Vec<u8> {
    let block = hash.block_len();
    let repeated =
        |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().cycle().take(bytes.len().div_ceil(block) * block).collect() };
    let mut input = [repeated(salt), repeated(password)].concat();
    let mut out = Vec::new();
    while out.len() < length {
        let mut round = digest::digest(hash, &[vec![purpose; block], input.clone()].concat());
        for _ in 1..iterations {
            round = digest::digest(hash, round.as_ref());
        }
        out.extend_from_slice(round.as_ref());
        let added = repeated(&round.as_ref()[..round.as_ref().len().min(block)]);
        for part in input.chunks_mut(block) {
            // part + added + 1, as numbers of a block each.
            let mut carry = 1;
            for (byte, more) in part.iter_mut().zip(&added[..block]).rev() {
                let sum = u16::from(*byte) + u16::from(*more) + carry;
                *byte = (sum & 0xff) as u8;
                carry = sum >> 8;
            }
        }
    }
    out.truncate(length);
    out
}

fn decrypt(mut algorithm: Der<'_>, bytes: &[u8], password: &str, old: &[u8]) -> Result<Vec<u8>, String> {
    let scheme = algorithm.take(OID)?;
    let mut parameters = algorithm.inside(SEQUENCE)?;
    if scheme == PBES2 {
        return decrypt_pbes2(parameters, bytes, password);
    }
    let salt = parameters.take(OCTETS)?;
    let iterations = parameters.number()?;
    let hash = &digest::SHA1_FOR_LEGACY_USE_ONLY;
    let key = |length| derive(hash, 1, old, salt, iterations, length);
    let start = derive(hash, 2, old, salt, iterations, 8);
    match scheme.strip_prefix(OLD_SCHEMES) {
        Some([3]) => unchain(des::TdesEde3::new_from_slice(&key(24)), &start, bytes),
        Some([5]) => unchain(Ok(rc2::Rc2::new_with_eff_key_len(&key(16), 128)), &start, bytes),
        Some([6]) => unchain(Ok(rc2::Rc2::new_with_eff_key_len(&key(5), 40)), &start, bytes),
        _ => Err(UNKNOWN.to_owned()),
    }
}

const UNKNOWN: &str = "it is encrypted in a way that is not read here";
/// The archive's MAC was right, or it has none; padding is all that tells then.
const UNREADABLE: &str = "the password is wrong, or the file is broken";

fn unchain<C>(cipher: Result<C, cbc::cipher::InvalidLength>, start: &[u8], bytes: &[u8]) -> Result<Vec<u8>, String>
where
    C: cbc::cipher::BlockCipher + cbc::cipher::BlockDecryptMut,
{
    let cipher = cipher.map_err(|_| UNKNOWN)?;
    let decryptor = cbc::Decryptor::inner_iv_slice_init(cipher, start).map_err(|_| UNKNOWN)?;
    let mut plain = bytes.to_vec();
    decryptor.decrypt_padded_mut::<Pkcs7>(&mut plain).map(<[u8]>::to_vec).map_err(|_| UNREADABLE.to_owned())
}

/// RFC 8018 §6.2.
fn decrypt_pbes2(mut parameters: Der<'_>, bytes: &[u8], password: &str) -> Result<Vec<u8>, String> {
    let mut derivation = parameters.inside(SEQUENCE)?;
    if derivation.take(OID)? != PBKDF2 {
        return Err(UNKNOWN.to_owned());
    }
    let mut how = derivation.inside(SEQUENCE)?;
    let salt = how.take(OCTETS)?;
    let iterations = std::num::NonZeroU32::new(how.number()?).ok_or(UNKNOWN)?;
    if how.next() == Some(INTEGER) {
        how.take(INTEGER)?;
    }
    let hmac = if how.0.is_empty() { Some(&[7][..]) } else { how.inside(SEQUENCE)?.take(OID)?.strip_prefix(HMACS) };
    let hash = match hmac {
        Some([7]) => pbkdf2::PBKDF2_HMAC_SHA1,
        Some([9]) => pbkdf2::PBKDF2_HMAC_SHA256,
        Some([10]) => pbkdf2::PBKDF2_HMAC_SHA384,
        Some([11]) => pbkdf2::PBKDF2_HMAC_SHA512,
        _ => return Err(UNKNOWN.to_owned()),
    };
    let mut encryption = parameters.inside(SEQUENCE)?;
    let (cipher, length) = match encryption.take(OID)?.strip_prefix(AES) {
        Some([2]) => (&cipher::AES_128, 16),
        Some([42]) => (&cipher::AES_256, 32),
        _ => return Err(UNKNOWN.to_owned()),
    };
    let start: [u8; 16] = encryption.take(OCTETS)?.try_into().map_err(|_| UNKNOWN)?;
    let mut key = vec![0; length];
    pbkdf2::derive(hash, iterations, salt, password.as_bytes(), &mut key);
    let key = cipher::UnboundCipherKey::new(cipher, &key).map_err(|_| UNKNOWN)?;
    let key = cipher::PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| UNKNOWN)?;
    let mut plain = bytes.to_vec();
    let context = cipher::DecryptionContext::Iv128(start.into());
    let plain = key.decrypt(&mut plain, context).map_err(|_| UNREADABLE)?;
    Ok(plain.to_vec())
}

/// What is left of some DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of the next value, which must be of this kind.
    fn take(&mut self, kind: u8) -> Result<&'a [u8], String> {
        let foreign = || "it is neither PEM nor PKCS#12".to_owned();
        let [tag, length, rest @ ..] = self.0 else { return Err(foreign()) };
        if *tag != kind {
            return Err(foreign());
        }
        let (length, rest) = match usize::from(*length) {
            short @ 0..=0x7f => (short, rest),
            long @ 0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(long & 0x7f).ok_or_else(foreign)?;
                (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return Err("its lengths are indefinite (BER)".to_owned()),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or("it is cut short")?;
        self.0 = rest;
        Ok(content)
    }

    fn inside(&mut self, kind: u8) -> Result<Self, String> {
        self.take(kind).map(Der)
    }

    /// A count of iterations.
    fn number(&mut self) -> Result<u32, String> {
        let bytes = self.take(INTEGER)?;
        let number = bytes.iter().fold(0_u64, |number, byte| (number << 8 | u64::from(*byte)) & 0xffff_ffff_ffff);
        match u32::try_from(number) {
            Ok(number) if bytes.len() <= 5 && number <= MOST_ITERATIONS => Ok(number),
            _ => Err("it wants too many iterations".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_archive_is_said_to_be_what_it_is() {
        let refused = |bytes: &[u8]| open(bytes, "").unwrap_err();
        assert_eq!(refused(b"\xfe\xed\xfe\xed\0\0"), "it is a JKS keystore, which only Java reads");
        assert_eq!(refused(b"\xce\xce\xce\xce\0\0"), "it is a JCEKS keystore, which only Java reads");
        assert_eq!(refused(b"hello"), "it is neither PEM nor PKCS#12");
        assert_eq!(refused(b"\x30\x80\0\0"), "its lengths are indefinite (BER)");
        assert_eq!(refused(b"\x30\x82\x10\x00\x02\x01\x03"), "it is cut short");
        assert_eq!(refused(b""), "it is neither PEM nor PKCS#12");
    }
}
