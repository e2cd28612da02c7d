//! Which of several issuers judges a token.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::super::args::JwtArgs;
use super::super::token::to_base64url;
use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

const NOW: i64 = 1_800_000_000;

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Signer {
        Signer(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// Both signers call their key the same: only the issuer tells them apart.
    fn keys(&self) -> KeySet {
        let point = self.0.public_key().as_ref();
        let (x, y) = (to_base64url(&point[1..33]), to_base64url(&point[33..]));
        let set = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"k","x":"{x}","y":"{y}"}}]}}"#);
        KeySet::parse(set.as_bytes()).unwrap()
    }

    fn token(&self, issuer: &str, audience: &str) -> String {
        let claims = format!(r#"{{"iss":"{issuer}","aud":"{audience}","sub":"{issuer}","exp":{}}}"#, NOW + 60);
        let message = format!("{}.{}", to_base64url(br#"{"alg":"ES256","kid":"k"}"#), to_base64url(claims.as_bytes()));
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", to_base64url(signature.as_ref()))
    }
}

fn config(issuer: &str, audience: &str) -> JwtConfig {
    let args = JwtArgs {
        jwt_issuer: Some(issuer.into()),
        jwt_audience: vec![audience.into()],
        jwt_cookie: (issuer == "https://b").then(|| "b".to_string()),
        ..JwtArgs::default()
    };
    JwtConfig::from_args(args).unwrap().unwrap()
}

fn issuers(configs: &[JwtConfig]) -> Result<Issuers, Error> {
    let admin = Admin::new("test");
    let metrics = admin.register(Metrics::register);
    Issuers::new(configs, &admin, &metrics)
}

#[test]
fn the_claim_chooses_the_issuer_whose_keys_and_rules_judge() {
    let issuers = issuers(&[config("https://a", "for-a"), config("https://b", "for-b")]).unwrap();
    let (a, b) = (Signer::new(), Signer::new());
    issuers.all()[0].verifier.replace(a.keys());
    issuers.all()[1].verifier.replace(b.keys());
    let mut caches = issuers.caches();
    // Twice: judged, and remembered.
    for _ in 0..2 {
        for (signer, issuer, audience, place, expected) in [
            (&a, "https://a", "for-a", 0, Ok(0)),
            (&b, "https://b", "for-b", 0, Ok(1)),
            (&b, "https://b", "for-b", 1, Ok(1)),
            (&a, "https://a", "for-a", 1, Err("the token stands in the wrong place")),
            (&a, "https://b", "for-b", 0, Err("the signature is wrong")),
            (&b, "https://a", "for-a", 0, Err("the signature is wrong")),
            (&a, "https://a", "for-b", 0, Err("the token is for another audience")),
            (&a, "https://c", "for-a", 0, Err("the token is from another issuer")),
        ] {
            let judged = issuers.judge(&mut caches, &signer.token(issuer, audience), place, NOW);
            match (expected, judged.result) {
                (Ok(index), Ok(identity)) => {
                    assert_eq!((judged.issuer, identity.subject.as_deref()), (Some(index), Some(issuer)));
                }
                (Err(why), Err(failure)) => assert_eq!(failure, Invalid(why).into(), "{issuer} {audience} {place}"),
                (expected, result) => panic!("{issuer} {audience} {place}: {expected:?} {result:?}"),
            }
        }
    }
    assert!(issuers.judge(&mut caches, "no.token.at-all", 0, NOW).result.is_err());
}

#[test]
fn an_issuer_without_keys_does_not_stop_the_others() {
    let issuers = issuers(&[config("https://a", "us"), config("https://b", "us")]).unwrap();
    let (a, b) = (Signer::new(), Signer::new());
    issuers.all()[1].verifier.replace(b.keys());
    let mut caches = issuers.caches();
    assert!(issuers.judge(&mut caches, &b.token("https://b", "us"), 0, NOW).result.is_ok());
    let waiting = issuers.judge(&mut caches, &a.token("https://a", "us"), 0, NOW);
    assert_eq!((waiting.issuer, waiting.result.unwrap_err()), (Some(0), Failure::NoKeys));
}

#[test]
fn one_issuer_stands_in_one_place() {
    let error = issuers(&[config("https://a", "x"), config("https://a", "y")]).unwrap_err();
    assert_eq!(error.to_string(), "the issuer \"https://a\" is configured twice");
}
