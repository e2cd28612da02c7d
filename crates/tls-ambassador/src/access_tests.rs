//! Rules one by one, pins and patterns as they are written.

use std::time::SystemTime;

use super::*;

fn peer() -> PeerIdentity {
    PeerIdentity {
        subject: "CN=client1,OU=ops".to_owned(),
        cn: Some("client1".to_owned()),
        ou: vec!["ops".to_owned(), "dev".to_owned()],
        dns: vec!["client1.example.org".to_owned()],
        uri: vec!["spiffe://cluster/ns/a/sa/web".to_owned()],
        ip: vec!["127.0.0.1".parse().unwrap()],
        spki_sha256: [7; 32],
        der: Vec::new(),
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH,
    }
}

#[test]
fn any_one_rule_is_enough_and_none_admits_nobody() {
    let text = |text: &str| vec![text.to_owned()];
    let matching = [
        Rules { cn: text("client1"), ..Rules::default() },
        Rules { ou: text("dev"), cn: text("other"), ..Rules::default() },
        Rules { dns: text("CLIENT1.example.org"), ..Rules::default() },
        Rules { uri: vec!["spiffe://cluster/ns/*/sa/web".parse().unwrap()], ..Rules::default() },
        Rules { ip: vec!["127.0.0.1".parse().unwrap()], ..Rules::default() },
        Rules { spki_pin: vec![[7; 32]], ..Rules::default() },
    ];
    for rules in matching {
        assert!(rules.match_any(&peer()), "{rules:?}");
    }
    let other = Rules { cn: text("client"), ou: text("Ops"), dns: text("example.org"), ..Rules::default() };
    assert!(!other.match_any(&peer()));
    assert!(!Rules::default().match_any(&peer()));
}

#[test]
fn a_certificate_or_a_token_or_nobody() {
    let rules = Rules { cn: vec!["client1".to_owned()], ..Rules::default() };
    let both = Access { rules: rules.clone(), token: true, ..Access::default() };
    assert_eq!(both.judge(Some(&peer())), Verdict::Admitted);
    assert_eq!(both.judge(None), Verdict::TokenRequired);
    let certificates = Access { rules, ..Access::default() };
    assert_eq!(certificates.judge(None), Verdict::Refused);
    assert_eq!(Access { any_certificate: true, ..Access::default() }.judge(None), Verdict::Refused);
    assert_eq!(Access { any_certificate: true, ..Access::default() }.judge(Some(&peer())), Verdict::Admitted);
    assert_eq!(Access { everyone: true, ..Access::default() }.judge(None), Verdict::Admitted);
    assert_eq!(Access::default().judge(Some(&peer())), Verdict::Refused);
    assert!(Access::default().is_silent() && !both.is_silent());
}

#[test]
fn a_star_is_one_segment_and_two_are_the_rest() {
    let matches = |pattern: &str, uri: &str| pattern.parse::<UriPattern>().unwrap().matches(uri);
    assert!(matches("spiffe://a/*/c", "spiffe://a/b/c"));
    assert!(matches("spiffe://a/**", "spiffe://a/b/c/d"));
    for uri in ["spiffe://a/b/c/d", "spiffe://a//c", "spiffe://a/b", "spiffe://a/b/c/", "xspiffe://a/b/c"] {
        assert!(!matches("spiffe://a/*/c", uri), "{uri}");
    }
    assert!(!matches("spiffe://a/**", "spiffe://a"));
    assert!(!matches("spiffe://a/**", "spiffe://a/"));
}

#[test]
fn s09_a_pattern_with_a_star_inside_is_refused() {
    for pattern in ["spiffe://**/**/**", "spiffe://a/b*", "spiffe://**/a"] {
        let expected = format!("{pattern:?}: * must be a whole segment, and ** only the last one");
        assert_eq!(pattern.parse::<UriPattern>(), Err(expected));
    }
}

#[test]
fn pins_are_read_in_hex_and_in_base64() {
    let zero = format!("sha256:{}", "00".repeat(32));
    assert_eq!(spki_pin(&zero), Ok([0; 32]));
    assert_eq!(spki_pin("sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), Ok([0; 32]));
    assert_eq!(spki_pin("sha256//__________________________________________8="), Err(
        "\"sha256//__________________________________________8=\" is no pin; write sha256:<64 hex digits> or sha256/<base64>"
            .to_owned()
    ));
    for text in ["", "sha256", "sha256:00", "sha1:00", "sha256/AAAA", "sha512:00"] {
        assert!(spki_pin(text).is_err(), "{text}");
    }
}
