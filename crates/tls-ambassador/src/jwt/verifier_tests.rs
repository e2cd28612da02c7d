//! Which tokens are believed, and with which keys.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::super::token::to_base64url;
use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

const NOW: i64 = 1_800_000_000;

struct Issuer {
    pair: EcdsaKeyPair,
    id: &'static str,
}

impl Issuer {
    fn new(id: &'static str) -> Issuer {
        Issuer { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), id }
    }

    fn set(&self) -> KeySet {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (to_base64url(&point[1..33]), to_base64url(&point[33..]));
        let id = self.id;
        let set = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"{id}","x":"{x}","y":"{y}"}}]}}"#);
        KeySet::parse(set.as_bytes()).unwrap()
    }

    fn token(&self, claims: &str) -> String {
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.id);
        let message = format!("{}.{}", to_base64url(header.as_bytes()), to_base64url(claims.as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", to_base64url(signature.as_ref()))
    }
}

fn claims(more: &str) -> String {
    format!(r#"{{"iss":"i","aud":"us","exp":{}{more}}}"#, NOW + 60)
}

fn verifier(cooldown: Duration) -> Verifier {
    let rules = Rules {
        issuers: vec!["i".into()],
        audiences: vec!["us".into()],
        leeway: 0,
        max_lifetime: None,
        required: Vec::new(),
        headers: vec![super::super::claims::ClaimHeader { claim: "sub".into(), header: "X-Forwarded-User".into() }],
    };
    Verifier::new(rules, vec![Algorithm::Es256], cooldown, Duration::from_secs(3600))
}

#[test]
fn a_good_token_tells_who_asks_until_it_expires() {
    let (issuer, verifier, mut cache) = (Issuer::new("a"), verifier(Duration::ZERO), Cache::default());
    let token = issuer.token(&claims(r#","sub":"ann""#));
    assert_eq!(verifier.check(&mut cache, &token, NOW).unwrap_err(), Failure::NoKeys);
    verifier.replace(issuer.set());
    assert_eq!(verifier.check(&mut cache, &token, NOW).unwrap().lines, b"X-Forwarded-User: ann\r\n");
    assert_eq!(cache.good.len(), 1);
    assert!(verifier.check(&mut cache, &token, NOW + 59).is_ok());
    let expired = Failure::Invalid(Invalid("the token is expired"));
    assert_eq!(verifier.check(&mut cache, &token, NOW + 60).unwrap_err(), expired, "also from the cache");
}

#[test]
fn j10_a_changed_token_is_refused_wherever_it_changed() {
    let (issuer, verifier, mut cache) = (Issuer::new("a"), verifier(Duration::ZERO), Cache::default());
    verifier.replace(issuer.set());
    let token = issuer.token(&claims(""));
    assert!(verifier.check(&mut cache, &token, NOW).is_ok());
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(verifier.check(&mut cache, &changed, NOW).is_err(), "byte {at}");
    }
    let forged = Issuer::new("a").token(&claims(""));
    let wrong = Failure::Invalid(Invalid("the signature is wrong"));
    assert_eq!(verifier.check(&mut cache, &forged, NOW).unwrap_err(), wrong);
}

#[test]
fn j19_an_unknown_key_asks_for_one_fetch_per_cooldown() {
    let (old, new, verifier) = (Issuer::new("a"), Issuer::new("b"), verifier(Duration::from_secs(3600)));
    let mut cache = Cache::default();
    verifier.replace(old.set());
    let token = new.token(&claims(""));
    assert_eq!(verifier.check(&mut cache, &token, NOW).unwrap_err(), Failure::KeyWanted);
    *verifier.asked.lock().unwrap() = Asked { at: Some(Instant::now()), under_way: false };
    let unknown = Failure::Invalid(Invalid("the token's key is unknown"));
    assert_eq!(verifier.check(&mut cache, &token, NOW).unwrap_err(), unknown);
    assert!(verifier.check(&mut cache, &old.token(&claims("")), NOW).is_ok());
    verifier.replace(new.set());
    assert!(verifier.check(&mut cache, &token, NOW).is_ok());
    assert!(verifier.check(&mut cache, &old.token(&claims("")), NOW).is_err(), "a withdrawn key is forgotten");
}

#[test]
fn j21_keys_that_are_too_old_are_no_keys() {
    let (issuer, mut cache) = (Issuer::new("a"), Cache::default());
    let mut verifier = verifier(Duration::ZERO);
    verifier.max_stale = Duration::ZERO;
    verifier.replace(issuer.set());
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(verifier.check(&mut cache, &issuer.token(&claims("")), NOW).unwrap_err(), Failure::NoKeys);
}

#[test]
fn what_a_thread_remembers_is_bounded() {
    let (issuer, verifier, mut cache) = (Issuer::new("a"), verifier(Duration::ZERO), Cache::default());
    verifier.replace(issuer.set());
    for index in 0..=REMEMBERED {
        assert!(verifier.check(&mut cache, &issuer.token(&claims(&format!(r#","n":{index}"#))), NOW).is_ok());
    }
    assert!(cache.good.len() <= REMEMBERED);
}

/// RFC 7515 appendix A.2 and A.3: the same claims, signed with RSA and on P-256 by somebody else's code.
const RFC_CLAIMS: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RFC_RSA: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const RFC_P256: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const RFC_KEYS: &str = r#"{"keys":[
  {"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
  {"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

#[test]
fn j18_the_rfcs_own_tokens_verify() {
    let rules = Rules {
        issuers: vec!["joe".into()],
        audiences: Vec::new(),
        leeway: 0,
        max_lifetime: None,
        required: Vec::new(),
        headers: Vec::new(),
    };
    let algorithms = vec![Algorithm::Rs256, Algorithm::Es256];
    let verifier = Verifier::new(rules, algorithms, Duration::ZERO, Duration::from_secs(3600));
    verifier.replace(KeySet::parse(RFC_KEYS.as_bytes()).unwrap());
    for (algorithm, signature) in [("RS256", RFC_RSA), ("ES256", RFC_P256)] {
        let header = to_base64url(format!(r#"{{"alg":"{algorithm}"}}"#).as_bytes());
        let token = format!("{header}.{RFC_CLAIMS}.{signature}");
        assert!(verifier.check(&mut Cache::default(), &token, 1_300_819_379).is_ok(), "{algorithm}");
        let expired = verifier.check(&mut Cache::default(), &token, 1_300_819_380).unwrap_err();
        assert_eq!(expired, Failure::Invalid(Invalid("the token is expired")), "{algorithm}");
    }
}
