//! Tokens in other places than Authorization, requests without any, and what the app gets to see of them.

use kit_test::http_get;

use super::jwt::{Issuer, RULES, bearer};
use super::lab::{App, Lab};

fn lab(app: &App, issuer: &Issuer, flags: &[&str]) -> Lab {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys.json"), issuer.keys()).unwrap();
    Lab::start(app, &[&RULES[..], &["--jwt-jwks-file", "keys.json"], flags].concat(), dir)
}

#[test]
fn a_token_in_a_cookie_or_the_query_lets_in_and_is_taken_away() {
    let (app, issuer) = (App::echo(), Issuer::new("a"));
    let lab = lab(&app, &issuer, &["--jwt-cookie", "session", "--jwt-query", "access_token"]);
    let token = issuer.token(r#","sub":"ann""#);
    let cookie = format!("Cookie: theme=dark; session={token}; lang=en");
    let query = format!("/find?q=1&access_token={token}&page=2");
    for http in ["--http1.1", "--http2"] {
        let echoed = lab.curl(&[http, "--header", &cookie], "/find?q=1");
        assert!(echoed.starts_with("GET /find?q=1 HTTP/1.1\r\n"), "{http}: {echoed}");
        assert!(echoed.to_lowercase().contains("cookie: theme=dark; lang=en\r\n"), "{http}: {echoed}");
        assert!(echoed.contains("X-Forwarded-User: ann\r\n"), "{http}: {echoed}");
        let echoed = lab.curl(&[http, "--header", "Cookie: theme=dark"], &query);
        assert!(echoed.starts_with("GET /find?q=1&page=2 HTTP/1.1\r\n"), "{http}: {echoed}");
        assert!(echoed.to_lowercase().contains("cookie: theme=dark\r\n"), "{http}: {echoed}");
        let [flag, header] = bearer(&token);
        assert_eq!(lab.status(&[http, &flag, &header], "/"), "200", "the header still counts");
        assert_eq!(lab.status(&[http, &flag, &header, "--header", &cookie], "/"), "401", "two tokens");
        assert_eq!(lab.status(&[http, "--header", &cookie], &query), "401", "two tokens");
        assert_eq!(lab.status(&[http, "--header", &format!("Cookie: session={token}x")], "/"), "401");
        assert_eq!(lab.status(&[http, "--header", &format!("Cookie: Session={token}")], "/"), "401", "another name");
    }
    assert!(!app.seen().contains(&token[..40]), "no token reached the app");
    assert!(!lab.process.stderr().contains(&token[..40]), "tokens are not logged");
}

#[test]
fn forwarded_tokens_stay_where_they_were() {
    let (app, issuer) = (App::echo(), Issuer::new("a"));
    let lab = lab(&app, &issuer, &["--jwt-cookie", "session", "--jwt-query", "t", "--jwt-forward"]);
    let token = issuer.token("");
    let query = format!("/?t={token}");
    assert!(lab.curl(&[], &query).starts_with(&format!("GET {query} HTTP/1.1\r\n")));
    let cookie = format!("session={token}");
    assert!(lab.curl(&["--header", &format!("Cookie: {cookie}")], "/").contains(&cookie));
}

#[test]
fn requests_without_a_token_may_be_let_in_as_nobody() {
    let (app, issuer) = (App::echo(), Issuer::new("a"));
    let lab = lab(&app, &issuer, &["--jwt-allow-missing"]);
    let spoofed = ["--header", "X-Forwarded-User: root"];
    for http in ["--http1.1", "--http2"] {
        let nobody = lab.curl(&[&[http], spoofed.as_slice()].concat(), "/");
        assert!(nobody.starts_with("GET / ") && !nobody.contains("X-Forwarded-User"), "{http}: {nobody}");
        let [flag, header] = bearer(&issuer.token(r#","sub":"ann""#));
        assert!(lab.curl(&[http, &flag, &header], "/").contains("X-Forwarded-User: ann\r\n"));
        assert_eq!(lab.status(&[http, &flag, &format!("{header}x")], "/"), "401", "a bad token is no missing one");
        assert_eq!(lab.status(&[http, "--user", "ann:secret"], "/"), "401", "nor is another scheme");
    }
    let metrics = http_get(lab.admin, "/metrics").body;
    for line in [
        r#"tls_ambassador_jwt_total{issuer="",result="missing"} 2"#,
        r#"tls_ambassador_jwt_total{issuer="",result="invalid"} 2"#,
        r#"tls_ambassador_jwt_total{issuer="https://issuer.test",result="ok"} 2"#,
        r#"tls_ambassador_jwt_total{issuer="https://issuer.test",result="invalid"} 2"#,
        r#"tls_ambassador_jwks_fetch_total{issuer="https://issuer.test",result="ok"}"#,
        r#"tls_ambassador_jwks_age_seconds{issuer="https://issuer.test"}"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing: {metrics}");
    }
}

#[test]
fn j26_a_token_that_nobody_checked_does_not_reach_the_app() {
    let (app, issuer) = (App::echo(), Issuer::new("a"));
    let flags = ["--jwt-header", "X-Token", "--jwt-cookie", "session", "--jwt-skip-path", "/open"];
    let lab = lab(&app, &issuer, &flags);
    let forged = ["--header", "x_token: forged", "--header", "Cookie: session=forged; lang=en"];
    let own = [&forged[..], &["--header", "Authorization: Basic own"]].concat();
    for http in ["--http1.1", "--http2"] {
        let echoed = lab.curl(&[&[http], own.as_slice()].concat(), "/open");
        assert!(echoed.starts_with("GET /open ") && !echoed.contains("forged"), "{http}: {echoed}");
        let lower = echoed.to_lowercase();
        assert!(lower.contains("cookie: lang=en\r\n") && lower.contains("authorization: basic own\r\n"), "{echoed}");
    }
}

#[test]
fn names_and_hosts_of_token_flags_are_checked_at_start() {
    let refused = |flags: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tls-ambassador"));
        command.args(["server", "--mode", "http", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1"]);
        let output = command.args(["--cert", "c", "--key", "k"]).args(RULES).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_string()
    };
    for (flags, error) in [
        (
            ["--jwt-query", "a%20b"],
            "error: invalid value 'a%20b' for '--jwt-query <NAME>': \"a%20b\" is not a plain parameter name; use letters, digits and - . _ ~",
        ),
        (
            ["--jwt-cookie", "a b"],
            "error: invalid value 'a b' for '--jwt-cookie <NAME>': \"a b\" is not a cookie's name",
        ),
        (
            ["--jwt-allow-private-jwks", "https://k"],
            "error: invalid value 'https://k' for '--jwt-allow-private-jwks <HOST>': \"https://k\" is not a host; write it without scheme, port and path",
        ),
        (["--jwt-clock-skew", "2h"], "error: --jwt-clock-skew is longer than 1h"),
    ] {
        assert_eq!(refused(&flags), error);
    }
}

#[test]
fn j15_of_several_issuers_the_tokens_claim_chooses_one_with_rules_of_its_own() {
    let (app, ours, theirs) = (App::echo(), Issuer::new("k"), Issuer::new("k"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ours.json"), ours.keys()).unwrap();
    std::fs::write(dir.path().join("theirs.json"), theirs.keys()).unwrap();
    let config = "[[jwt]]\nissuer = 'https://issuer.test'\naudience = ['us', 'other']\njwks-file = 'ours.json'\n\n\
                  [[jwt]]\nissuer = 'https://partner.test'\naudience = 'us'\njwks-file = 'theirs.json'\n\
                  require = 'tenant=blue'\nclaim-header = 'tenant=X-Tenant'\n";
    std::fs::write(dir.path().join("config.toml"), config).unwrap();
    let lab = Lab::start(&app, &["--config", "config.toml"], dir);
    let partner = |signer: &Issuer, more: &str| {
        let claims = format!(r#"{{"iss":"https://partner.test","aud":"us","exp":{}{more}}}"#, super::jwt::now() + 60);
        signer.sign(r#"{"alg":"ES256","kid":"k"}"#, &claims)
    };
    let ask = |token: &str, flags: &[&str]| {
        let [flag, header] = bearer(token);
        lab.curl(&[&[flag.as_str(), header.as_str()], flags].concat(), "/")
    };
    for http in ["--http1.1", "--http2"] {
        let status = |token: &str| ask(token, &[http, "--output", "/dev/null", "--write-out", "%{http_code}"]);
        assert!(ask(&ours.token(r#","sub":"ann""#), &[http]).contains("X-Forwarded-User: ann\r\n"));
        let blue = r#","tenant":"blue""#;
        assert!(ask(&partner(&theirs, blue), &[http, "--header", "X-Tenant: red"]).contains("X-Tenant: blue\r\n"));
        assert_eq!(status(&partner(&theirs, r#","tenant":"red""#)), "403");
        assert_eq!(status(&partner(&ours, blue)), "401", "one issuer's key signs nothing for another");
        assert_eq!(status(&theirs.token("")), "401");
    }
    let metrics = http_get(lab.admin, "/metrics").body;
    assert!(
        metrics.contains(r#"tls_ambassador_jwt_total{issuer="https://partner.test",result="forbidden"} 2"#),
        "{metrics}"
    );
}
