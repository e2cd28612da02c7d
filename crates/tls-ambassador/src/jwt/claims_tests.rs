//! Which claims admit a request.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;

const NOW: i64 = 1_800_000_000;

fn rules() -> Rules {
    Rules {
        issuers: vec!["https://issuer".into()],
        audiences: vec!["us".into()],
        leeway: 30,
        max_lifetime: None,
        required: Vec::new(),
        headers: Vec::new(),
    }
}

fn judge(rules: &Rules, claims: &str) -> Result<i64, Rejected> {
    rules.judge(&Json::parse(claims.as_bytes()).unwrap(), NOW)
}

/// `claims` on top of a valid issuer and audience.
fn with(claims: &str) -> String {
    format!(r#"{{"iss":"https://issuer","aud":"us",{claims}}}"#)
}

fn why(rules: &Rules, claims: &str) -> &'static str {
    match judge(rules, claims) {
        Err(Rejected::Invalid(invalid)) => invalid.0,
        other => panic!("{claims}: {other:?}"),
    }
}

#[test]
fn j12_expiry_is_there_is_whole_seconds_and_is_not_over() {
    assert_eq!(why(&rules(), &with(r#""a":1"#)), "the token has no expiry");
    assert_eq!(judge(&rules(), &with(&format!(r#""exp":{}"#, NOW - 29))), Ok(NOW + 1));
    assert_eq!(why(&rules(), &with(&format!(r#""exp":{}"#, NOW - 30))), "the token is expired");
    for value in
        [format!("\"{}\"", NOW + 60), format!("{}.5", NOW + 60), "-1".into(), "null".into(), "[]".into(), "true".into()]
    {
        assert_eq!(
            why(&rules(), &with(&format!(r#""exp":{value}"#))),
            "a time claim is not a whole number of seconds",
            "{value}"
        );
        assert!(judge(&rules(), &with(&format!(r#""exp":{},"nbf":{value}"#, NOW + 60))).is_err(), "{value}");
    }
}

#[test]
fn j13_tokens_from_the_future_and_long_lived_ones_are_refused() {
    let claims = |more: String| with(&format!(r#""exp":{},{more}"#, NOW + 600));
    assert!(judge(&rules(), &claims(format!(r#""nbf":{}"#, NOW + 30))).is_ok());
    assert_eq!(why(&rules(), &claims(format!(r#""nbf":{}"#, NOW + 31))), "the token is not valid yet");
    assert_eq!(why(&rules(), &claims(format!(r#""iat":{}"#, NOW + 31))), "the token is issued in the future");
    let short = Rules { max_lifetime: Some(600), ..rules() };
    assert!(judge(&short, &claims(format!(r#""iat":{}"#, NOW - 60))).is_ok());
    assert_eq!(why(&short, &claims(format!(r#""iat":{}"#, NOW - 61))), "the token lives too long");
    assert_eq!(why(&short, &claims(r#""a":1"#.into())), "the token does not say when it was issued");
}

#[test]
fn j15_the_issuer_matches_exactly() {
    for issuer in [r#""https://issuer/""#, r#""HTTPS://issuer""#, r#""""#, "5", r#"["https://issuer"]"#] {
        let claims = format!(r#"{{"iss":{issuer},"aud":"us","exp":{}}}"#, NOW + 60);
        assert_eq!(why(&rules(), &claims), "the token is from another issuer", "{issuer}");
    }
    assert_eq!(why(&rules(), &format!(r#"{{"aud":"us","exp":{}}}"#, NOW + 60)), "the token is from another issuer");
}

#[test]
fn j16_the_audience_is_one_of_ours_exactly() {
    let claims = |audience: &str| format!(r#"{{"iss":"https://issuer",{audience}"exp":{}}}"#, NOW + 60);
    assert!(judge(&rules(), &claims(r#""aud":"us","#)).is_ok());
    assert!(judge(&rules(), &claims(r#""aud":["them","us"],"#)).is_ok());
    for audience in ["", r#""aud":"use","#, r#""aud":"u","#, r#""aud":["them"],"#, r#""aud":[],"#] {
        assert_eq!(why(&rules(), &claims(audience)), "the token is for another audience", "{audience}");
    }
    assert_eq!(why(&rules(), &claims(r#""aud":5,"#)), "the audience is not a string");
    assert_eq!(why(&rules(), &claims(r#""aud":["us",5],"#)), "the audience is not a list of strings");
    let any = Rules { audiences: Vec::new(), ..rules() };
    assert!(judge(&any, &claims("")).is_ok());
}

#[test]
fn j17_an_audience_is_no_pattern_and_matches_no_part() {
    let ours = "/projects/1/apps/*";
    let rules = Rules { audiences: vec![ours.into()], ..rules() };
    let claims = |audience: &str| format!(r#"{{"iss":"https://issuer","aud":"{audience}","exp":{}}}"#, NOW + 60);
    assert!(judge(&rules, &claims(ours)).is_ok(), "only what is written itself");
    for audience in
        ["x/projects/1/apps/*", "/projects/1/apps/*/y", "/projects/1/apps/a", "/PROJECTS/1/apps/*", ".*", ""]
    {
        assert_eq!(why(&rules, &claims(audience)), "the token is for another audience", "{audience}");
    }
}

#[test]
fn claim_rules_are_all_to_hold() {
    let required = |rules_text: &[(&str, &str)]| Rules {
        required: rules_text
            .iter()
            .map(|(claim, pattern)| Requirement { claim: (*claim).into(), pattern: (*pattern).into() })
            .collect(),
        ..rules()
    };
    let claims = with(&format!(r#""exp":{},"email":"a@x.org","groups":["dev","ops"],"admin":true,"o":{{}}"#, NOW + 60));
    for good in
        [&[("email", "*@x.org")][..], &[("groups", "ops"), ("admin", "true")], &[("email", "*")], &[("email", "a*x*g")]]
    {
        assert!(judge(&required(good), &claims).is_ok(), "{good:?}");
    }
    for bad in [
        &[("email", "x.org")][..],
        &[("groups", "op")],
        &[("groups", "dev"), ("admin", "false")],
        &[("none", "*")],
        &[("o", "*")],
        &[("email", "*@x")],
    ] {
        assert_eq!(judge(&required(bad), &claims), Err(Rejected::Forbidden), "{bad:?}");
    }
}

#[test]
fn j27_values_that_do_not_fit_a_header_are_left_out() {
    let header = |value: &str| {
        let rules = Rules { headers: vec![ClaimHeader { claim: "c".into(), header: "X-C".into() }], ..rules() };
        let claims = format!(r#"{{"c":{value}}}"#);
        String::from_utf8(rules.lines(&Json::parse(claims.as_bytes()).unwrap())).unwrap()
    };
    assert_eq!(header(r#""a b""#), "X-C: a b\r\n");
    assert_eq!(header(r#"["a","b,c","d\r\ne","f"]"#), "X-C: a,f\r\n");
    assert_eq!(header("5"), "X-C: 5\r\n");
    let long = format!("\"{}\"", "a".repeat(32 * 1024));
    for value in
        [r#""a\r\nX-Admin: 1""#, r#""a\u0000""#, r#""é""#, r#""""#, r#"" a""#, "null", "{}", "[]", long.as_str()]
    {
        assert_eq!(header(value), "", "{value}");
    }
}
