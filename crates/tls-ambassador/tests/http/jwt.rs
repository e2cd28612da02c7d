//! The J list: who gets in with a token, who does not, and what is asked of the place that has the keys.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use kit_test::{LinkOrder, Mount, eventually, http_get};

use super::lab::{App, Lab, PATIENCE, ok};

/// Somebody who signs tokens.
pub(super) struct Issuer {
    pair: EcdsaKeyPair,
    id: String,
}

impl Issuer {
    pub(super) fn new(id: &str) -> Issuer {
        Issuer { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), id: id.to_string() }
    }

    pub(super) fn keys(&self) -> String {
        let point = self.pair.public_key().as_ref();
        let (x, y, id) = (base64url(&point[1..33]), base64url(&point[33..]), &self.id);
        format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"{id}","x":"{x}","y":"{y}"}}]}}"#)
    }

    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", base64url(signature.as_ref()))
    }

    /// A token for an hour with `more` claims.
    pub(super) fn token(&self, more: &str) -> String {
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.id);
        self.sign(&header, &format!(r#"{{"iss":"https://issuer.test","aud":"us","exp":{}{more}}}"#, now() + 3600))
    }
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().enumerate().fold(0u32, |bits, (index, byte)| bits | u32::from(*byte) << (16 - 8 * index));
        for index in 0..=chunk.len() {
            out.push(char::from(LETTERS[(bits >> (18 - 6 * index) & 63) as usize]));
        }
    }
    out
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(super) const RULES: [&str; 4] = ["--jwt-issuer", "https://issuer.test", "--jwt-audience", "us"];

fn with_file(app: &App, issuer: &Issuer, flags: &[&str]) -> Lab {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys.json"), issuer.keys()).unwrap();
    Lab::start(app, &[&RULES[..], &["--jwt-jwks-file", "keys.json"], flags].concat(), dir)
}

pub(super) fn bearer(token: &str) -> [String; 2] {
    ["--header".into(), format!("Authorization: Bearer {token}")]
}

fn status(lab: &Lab, token: &str) -> String {
    let [flag, header] = bearer(token);
    lab.status(&[&flag, &header], "/")
}

#[test]
fn j01_j02_j03_j04_j05_j30_j33_only_a_whole_bearer_token_lets_in() {
    let (app, issuer) = (App::echo(), Issuer::new("a"));
    let lab = with_file(&app, &issuer, &[]);
    let token = issuer.token(r#","sub":"ann","email":"ann@x.org","groups":["dev","ops"]"#);
    let header = |value: String| format!("Authorization: {value}");
    for value in [
        "abcdef".to_string(),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Bearer {token} junk"),
        format!("Basic {token}"),
        format!("Bearer {token}="),
        format!("Bearer,{token}"),
        token.clone(),
    ] {
        assert_eq!(lab.status(&["--header", &header(value.clone())], "/"), "401", "{value}");
    }
    let good = header(format!("Bearer {token}"));
    assert_eq!(lab.status(&["--header", &good, "--header", &good], "/"), "401", "two tokens");
    let none = lab.curl(&["--include", "--user-agent", "kube-probe/1.30"], "/");
    assert!(none.contains("HTTP/2 401") && none.contains("www-authenticate: Bearer\r\n"), "{none}");
    let wrong = lab.curl(&["--http1.1", "--include", "--header", &header(format!("Bearer {token}x"))], "/");
    assert!(wrong.contains("WWW-Authenticate: Bearer error=\"invalid_token\", error_description="), "{wrong}");
    assert_eq!(app.seen(), "", "none of these reached the app");
    for http in ["--http1.1", "--http2"] {
        let good = lab
            .curl(&[http, "--header", &header(format!("bEaReR {token}")), "--header", "X_Forwarded_User: root"], "/");
        assert!(
            good.contains("X-Forwarded-User: ann\r\nX-Forwarded-Email: ann@x.org\r\nX-Forwarded-Groups: dev,ops\r\n"),
            "{good}"
        );
        assert!(!good.contains(&token) && !good.contains("root"), "the token and lies are dropped: {good}");
    }
    assert!(!lab.process.stderr().contains(&token[..40]), "tokens are not logged");
    let metrics = http_get(lab.admin, "/metrics").body;
    assert!(
        metrics.contains("tls_ambassador_jwt_total{issuer=\"https://issuer.test\",result=\"ok\"} 2\n"),
        "{metrics}"
    );
}

#[test]
fn j06_j07_j08_j12_j13_j14_j15_j16_what_a_token_must_say() {
    let (app, issuer) = (App::echo(), Issuer::new("a"));
    // Where a token's own pointers would lead: nobody may come.
    let canary = App::echo();
    let lab = with_file(&app, &issuer, &[]);
    let claims = format!(r#"{{"iss":"https://issuer.test","aud":"us","exp":{}}}"#, now() + 60);
    let url = format!("http://127.0.0.1:{}/", canary.port);
    for header in [
        r#"{"alg":"none"}"#.to_string(),
        r#"{"alg":"HS256","kid":"a"}"#.into(),
        r#"{"alg":"RS256","kid":"a"}"#.into(),
        r#"{"alg":"ES256","kid":"a","crit":["exp"]}"#.into(),
        format!(r#"{{"alg":"ES256","kid":"b","jku":"{url}","x5u":"{url}"}}"#),
    ] {
        assert_eq!(status(&lab, &issuer.sign(&header, &claims)), "401", "{header}");
    }
    assert_eq!(canary.connections(), 0);
    let header = r#"{"alg":"ES256","kid":"a"}"#;
    for claims in [
        r#"{"iss":"https://issuer.test","aud":"us"}"#.to_string(),
        format!(r#"{{"iss":"https://issuer.test","aud":"us","exp":"{}"}}"#, now() + 60),
        format!(r#"{{"iss":"https://issuer.test","aud":"us","exp":{}}}"#, now() - 31),
        format!(r#"{{"iss":"https://issuer.test","aud":"us","exp":{},"nbf":{}}}"#, now() + 600, now() + 300),
        format!(r#"{{"iss":"https://issuer.test/","aud":"us","exp":{}}}"#, now() + 60),
        format!(r#"{{"iss":"https://issuer.test","aud":["them"],"exp":{}}}"#, now() + 60),
        format!(r#"{{"iss":"https://issuer.test","aud":"us","aud":"us","exp":{}}}"#, now() + 60),
    ] {
        assert_eq!(status(&lab, &issuer.sign(header, &claims)), "401", "{claims}");
    }
    assert_eq!(status(&lab, &issuer.sign(header, &claims)), "200");
    assert_eq!(status(&lab, &issuer.sign(r#"{"alg":"ES256"}"#, &claims)), "200", "one key needs no name");
}

#[test]
fn j27_j29_claim_rules_and_paths_without_token() {
    let (app, issuer) = (App::echo(), Issuer::new("a"));
    let flags =
        ["--jwt-require", "email=*@x.org", "--jwt-claim-header", "tenant=X-Tenant", "--jwt-skip-path", "/healthz"];
    let lab = with_file(&app, &issuer, &flags);
    assert_eq!(status(&lab, &issuer.token(r#","email":"a@y.org""#)), "403");
    let [flag, header] = bearer(&issuer.token(r#","email":"a@x.org","tenant":"t\r\nX-Admin: 1","sub":"é""#));
    let echoed = lab.curl(&[&flag, &header, "--header", "x_tenant: root"], "/");
    assert!(echoed.contains("X-Forwarded-Email: a@x.org\r\n"), "{echoed}");
    assert!(
        !echoed.contains("X-Admin") && !echoed.contains("enant") && !echoed.contains("X-Forwarded-User"),
        "{echoed}"
    );
    let spoofed = ["--header", "X-Forwarded-User: root", "--header", "X-Forwarded-Uri: /healthz"];
    let open = lab.curl(&spoofed, "/healthz");
    assert!(open.starts_with("GET /healthz") && !open.contains("root"), "stripped on open paths too: {open}");
    for path in [
        "/healthz/../admin",
        "//healthz",
        "/healthz%2f..%2fadmin",
        "/healthz;x",
        "/healthz?x",
        "/HEALTHZ",
        "/%68ealthz",
        "/",
    ] {
        assert_eq!(lab.status(&spoofed, path), "401", "{path}");
    }
}

#[test]
fn j23_a_key_file_that_changes_is_read_again_and_a_bad_one_is_not() {
    let (app, old, new) = (App::echo(), Issuer::new("a"), Issuer::new("b"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("keys")).unwrap();
    let mut mount = Mount::new(&dir.path().join("keys"), LinkOrder::AfterSwap, &[("keys.json", old.keys().as_bytes())]);
    let flags = [&RULES[..], &["--jwt-jwks-file", "keys/keys.json", "--jwt-cooldown", "1s"]].concat();
    let lab = Lab::start(&app, &flags, dir);
    assert_eq!(status(&lab, &old.token("")), "200");
    mount.publish(&[("keys.json", b"{\"keys\":[]}")]);
    eventually("it says that the file is bad", PATIENCE, || lab.process.stderr().contains("no new token keys"));
    assert_eq!(status(&lab, &old.token("")), "200", "the last good keys stay");
    mount.publish(&[("keys.json", new.keys().as_bytes())]);
    eventually("the new key is in use", PATIENCE, || status(&lab, &new.token("")) == "200");
    assert_eq!(status(&lab, &old.token("")), "401");
}

/// A server of keys whose answer can be changed, and how often it was asked.
fn key_server(first: Vec<u8>) -> (App, Arc<Mutex<Vec<u8>>>, Arc<AtomicUsize>) {
    let (answer, asked) = (Arc::new(Mutex::new(first)), Arc::new(AtomicUsize::new(0)));
    let (now, count) = (Arc::clone(&answer), Arc::clone(&asked));
    let server = App::start(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        (now.lock().unwrap().clone(), true)
    });
    (server, answer, asked)
}

#[test]
fn j19_j20_j21_keys_from_a_url_rotate_with_one_fetch_and_survive_its_outage() {
    let (app, old, new) = (App::echo(), Issuer::new("a"), Issuer::new("b"));
    let (server, answer, asked) = key_server(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec());
    let url = format!("http://127.0.0.1:{}/keys", server.port);
    let flags = [&RULES[..], &["--jwt-jwks-url", &url, "--jwt-cooldown", "3s"]].concat();
    let lab = Lab::start(&app, &flags, tempfile::tempdir().unwrap());
    assert_eq!(status(&lab, &old.token("")), "503", "no keys yet");
    assert_eq!(http_get(lab.admin, "/readyz").status, 503);
    *answer.lock().unwrap() = ok(old.keys().as_bytes());
    eventually("ready without restart", PATIENCE, || http_get(lab.admin, "/readyz").status == 200);
    assert_eq!(status(&lab, &old.token("")), "200");
    let before = asked.load(Ordering::SeqCst);
    *answer.lock().unwrap() = ok(new.keys().as_bytes());
    assert_eq!(status(&lab, &new.token("")), "200", "the new key's first token fetches it");
    assert_eq!(asked.load(Ordering::SeqCst), before + 1);
    *answer.lock().unwrap() = ok(b"{\"keys\":[]}");
    for index in 0..20 {
        assert_eq!(status(&lab, &Issuer::new(&format!("random{index}")).token("")), "401");
    }
    let most = before + 1 + 8;
    assert!(asked.load(Ordering::SeqCst) < most, "one fetch per cool-down: {}", asked.load(Ordering::SeqCst) - before);
    assert_eq!(status(&lab, &new.token("")), "200", "bad keys do not replace good ones");
}

#[test]
fn j22_keys_come_only_from_where_the_operator_said() {
    let (app, issuer) = (App::echo(), Issuer::new("a"));
    let target = App::start({
        let keys = issuer.keys();
        move |_, _| (ok(keys.as_bytes()), true)
    });
    let moved =
        format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n", target.port);
    let (server, _, asked) = key_server(moved.into_bytes());
    let url = format!("http://127.0.0.1:{}/keys", server.port);
    let lab = Lab::start(&app, &[&RULES[..], &["--jwt-jwks-url", &url]].concat(), tempfile::tempdir().unwrap());
    eventually("it was asked", PATIENCE, || asked.load(Ordering::SeqCst) > 0);
    assert_eq!(status(&lab, &issuer.token("")), "503");
    assert_eq!(target.connections(), 0, "redirects are not followed");
}

#[test]
fn j_flags_that_leave_a_hole_are_refused_at_start() {
    let refused = |flags: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tls-ambassador"));
        command.args(["server", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1", "--cert", "c", "--key", "k"]);
        let output = command.args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_string()
    };
    assert_eq!(
        refused(&["--mode", "http", "--jwt-issuer", "https://i"]),
        "error: tokens need either --jwt-audience or --jwt-any-audience"
    );
    assert_eq!(
        refused(&["--jwt-issuer", "https://i", "--jwt-audience", "us"]),
        "error: --jwt-issuer is about requests, and --mode tcp sees none"
    );
    assert_eq!(
        refused(&[
            "--mode",
            "http",
            "--jwt-issuer",
            "https://i",
            "--jwt-audience",
            "us",
            "--jwt-jwks-url",
            "file:///etc/keys"
        ]),
        "error: invalid value 'file:///etc/keys' for '--jwt-jwks-url <URL>': \"file:///etc/keys\" is not a URL; write https://HOST/PATH or http://HOST/PATH"
    );
}

#[test]
fn j32_a_stream_that_was_let_in_outlives_its_token() {
    let app = App::start(|_, _| {
        std::thread::sleep(Duration::from_secs(3));
        (ok(b"late"), false)
    });
    let issuer = Issuer::new("a");
    let lab = with_file(&app, &issuer, &["--jwt-clock-skew", "0s"]);
    let claims = format!(r#"{{"iss":"https://issuer.test","aud":"us","exp":{}}}"#, now() + 2);
    let [flag, header] = bearer(&issuer.sign(r#"{"alg":"ES256"}"#, &claims));
    assert_eq!(lab.curl(&[&flag, &header], "/"), "late");
    assert_eq!(lab.status(&[&flag, &header], "/"), "401");
}
