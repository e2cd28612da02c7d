//! Who asks, as the app is told: certificates, tokens and both, trusted proxies, and names that do not belong together.

use std::path::Path;
use std::process::Command;

use kit_test::{eventually, free_port, http_get};

use super::jwt::{Issuer, RULES, bearer, now};
use super::lab::{App, Lab, PATIENCE, ok};
use super::pki::{Authority, EC, Pair, openssl, text};

/// A folder with a server certificate of an authority of its own, and clients of that authority.
struct Stage {
    dir: tempfile::TempDir,
    root: Authority,
    client1: Pair,
    client2: Pair,
}

impl Stage {
    fn new() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let root = Authority::new(dir.path(), "root");
        let server = root.issue("server");
        std::fs::copy(&server.cert, dir.path().join("tls.crt")).unwrap();
        std::fs::copy(&server.key, dir.path().join("tls.key")).unwrap();
        let (client1, client2) = (root.issue("client1"), root.issue("client2"));
        Stage { dir, root, client1, client2 }
    }

    /// The lab, with what is needed to ask it.
    fn open(self, app: &App, flags: &[&str]) -> Asker {
        let Stage { dir, root, client1, client2 } = self;
        let ca = text(&root.ca.cert).to_owned();
        let lab = Lab::start(app, flags, dir);
        Asker { lab, ca, client1, client2 }
    }
}

struct Asker {
    lab: Lab,
    ca: String,
    client1: Pair,
    client2: Pair,
}

impl Asker {
    fn curl(&self, client: Option<&Pair>, arguments: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "20", "--cacert", &self.ca]).args(arguments);
        if let Some(pair) = client {
            command.arg("--cert").arg(&pair.cert).arg("--key").arg(&pair.key);
        }
        let output = command.arg(format!("https://localhost:{}/", self.lab.port)).output().expect("curl is installed");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    fn status(&self, client: Option<&Pair>, arguments: &[&str]) -> String {
        let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        self.curl(client, &[status.as_slice(), arguments].concat())
    }
}

/// What Envoy's form says of a certificate, with the digest as openssl computes it.
fn client_certificate_line(pair: &Pair, name: &str) -> String {
    let printed = openssl(&["x509", "-in", text(&pair.cert), "-noout", "-fingerprint", "-sha256"]);
    let digest = printed.trim().split('=').nth(1).unwrap().replace(':', "").to_lowercase();
    format!(
        "X-Forwarded-Client-Cert: Hash={digest};Subject=\"OU={name},CN={name}\";URI=\"spiffe://{name}\";DNS=\"localhost\";DNS=\"{name}\"\r\n"
    )
}

#[test]
fn j28_the_app_is_told_of_the_certificate_in_envoys_form_and_believes_nobody_elses() {
    let app = App::echo();
    let stage = Stage::new();
    let ca = text(&stage.root.ca.cert).to_owned();
    let asker = stage.open(&app, &["--cacert", &ca, "--allow-cn", "client1", "--xfcc"]);
    let lie = ["--header", "X-Forwarded-Client-Cert: Hash=00", "--header", "x_forwarded_client_cert: Hash=00"];
    let expected = client_certificate_line(&asker.client1, "client1");
    for http in ["--http1.1", "--http2"] {
        let echoed = asker.curl(Some(&asker.client1), &[&[http], lie.as_slice()].concat());
        assert!(echoed.contains(&expected), "{http}: {echoed}\nlacks {expected}");
        assert!(!echoed.contains("Hash=00"), "{http}: {echoed}");
    }
    assert!(asker.curl(Some(&asker.client2), &[]).starts_with("curl: ("), "another client gets no session");
}

#[test]
fn j28_the_app_is_told_of_the_certificate_in_headers_of_a_chosen_prefix() {
    let app = App::echo();
    let stage = Stage::new();
    let ca = text(&stage.root.ca.cert).to_owned();
    let flags = ["--cacert", &ca, "--disable-authentication", "--identity-header-prefix", "X-Client-"];
    let rules = ["--cacert", &ca, "--allow-cn", "client1", "--identity-header-prefix", "X-Client-"];
    let lies = ["--header", "x_client_cn: root", "--header", "X-Client-Anything: root"];
    let asker = stage.open(&app, &rules);
    let printed = openssl(&["x509", "-in", text(&asker.client1.cert), "-noout", "-fingerprint", "-sha256"]);
    let digest = printed.trim().split('=').nth(1).unwrap().replace(':', "").to_lowercase();
    let expected = format!(
        "X-Client-Verify: SUCCESS\r\nX-Client-Cn: client1\r\nX-Client-Subject: OU=client1,CN=client1\r\nX-Client-Dns: localhost,client1\r\nX-Client-Uri: spiffe://client1\r\nX-Client-Cert-Sha256: {digest}\r\n"
    );
    for http in ["--http1.1", "--http2"] {
        let echoed = asker.curl(Some(&asker.client1), &[&[http], lies.as_slice()].concat());
        assert!(echoed.contains(&expected), "{http}: {echoed}\nlacks {expected}");
        assert!(!echoed.contains("root"), "{http}: {echoed}");
    }
    let open = Stage::new().open(&app, &flags[2..]);
    let echoed = open.curl(None, &lies);
    assert!(echoed.contains("X-Client-Verify: NONE\r\n") && !echoed.contains("root"), "{echoed}");
    assert_eq!(echoed.matches("X-Client-").count(), 1, "{echoed}");
}

#[test]
fn j_a_certificate_or_a_token_lets_in_and_neither_does_not() {
    let (app, issuer) = (App::echo(), Issuer::new("a"));
    let stage = Stage::new();
    std::fs::write(stage.dir.path().join("keys.json"), issuer.keys()).unwrap();
    let ca = text(&stage.root.ca.cert).to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::new(elsewhere.path(), "other").issue("client1");
    let certificates = ["--cacert", &ca, "--allow-cn", "client1", "--client-auth", "optional"];
    let flags = [certificates.as_slice(), &RULES, &["--jwt-jwks-file", "keys.json"]].concat();
    let asker = stage.open(&app, &flags);
    let [flag, header] = bearer(&issuer.token(r#","sub":"ann""#));
    let token = [flag.as_str(), header.as_str()];
    for http in ["--http1.1", "--http2"] {
        assert_eq!(asker.status(Some(&asker.client1), &[http]), "200", "a certificate that a rule names");
        assert_eq!(asker.status(Some(&asker.client2), &[http]), "401", "another certificate, no token");
        assert_eq!(asker.status(None, &[http]), "401", "neither");
        assert_eq!(asker.status(Some(&asker.client2), &[&[http], token.as_slice()].concat()), "200", "with a token");
        let echoed = asker.curl(None, &[&[http], token.as_slice()].concat());
        assert!(echoed.contains("X-Forwarded-User: ann\r\n"), "{echoed}");
    }
    assert!(asker.curl(Some(&stranger), &token).starts_with("curl: ("), "a certificate of nobody's ends the handshake");
}

#[test]
fn j_the_keys_are_found_through_the_issuers_discovery_document() {
    let (app, issuer) = (App::echo(), std::sync::Arc::new(Issuer::new("a")));
    let keys = std::sync::Arc::clone(&issuer);
    // The issuer's address is known only when it listens, and it names itself.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let own = url.clone();
    let _authority = App::on(port, move |head, _| match head.split(' ').nth(1).unwrap() {
        "/.well-known/openid-configuration" => {
            (ok(format!(r#"{{"issuer":"{own}","jwks_uri":"{own}/keys"}}"#).as_bytes()), true)
        }
        "/keys" => (ok(keys.keys().as_bytes()), true),
        // Another issuer, which claims to be somebody else.
        "/liar/.well-known/openid-configuration" => {
            (ok(format!(r#"{{"issuer":"{own}","jwks_uri":"{own}/keys"}}"#).as_bytes()), true)
        }
        _ => (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(), true),
    });
    let start = |issuer: &str| {
        let flags = ["--jwt-issuer", issuer, "--jwt-audience", "us"];
        Lab::start(&app, &flags, tempfile::tempdir().unwrap())
    };
    let lab = start(&url);
    eventually("the keys are there", PATIENCE, || http_get(lab.admin, "/readyz").status == 200);
    let claims = format!(r#"{{"iss":"{url}","aud":"us","exp":{}}}"#, now() + 60);
    let [flag, header] = bearer(&issuer.sign(r#"{"alg":"ES256","kid":"a"}"#, &claims));
    assert_eq!(lab.status(&[&flag, &header], "/"), "200");
    let liar = start(&format!("{url}/liar"));
    eventually("it says what is wrong", PATIENCE, || liar.process.stderr_contains("no new token keys"));
    assert_eq!(http_get(liar.admin, "/readyz").status, 503);
    assert_eq!(liar.status(&[&flag, &header], "/"), "503");
}

#[test]
fn j31_the_iap_preset_takes_googles_header_and_strips_what_clients_say_of_themselves() {
    let (app, issuer) = (App::echo(), Issuer::new("a"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys.json"), issuer.keys()).unwrap();
    let flags = ["--jwt-preset", "iap", "--jwt-audience", "/projects/1/apps/a", "--jwt-jwks-file", "keys.json"];
    let lab = Lab::start(&app, &flags, dir);
    let token = |audience: &str, life: u64| {
        let claims = format!(
            r#"{{"iss":"https://cloud.google.com/iap","aud":"{audience}","iat":{},"exp":{},"sub":"accounts.google.com:1","email":"a@x.org"}}"#,
            now(),
            now() + life
        );
        format!("X-Goog-IAP-JWT-Assertion: {}", issuer.sign(r#"{"alg":"ES256","kid":"a"}"#, &claims))
    };
    let good = token("/projects/1/apps/a", 600);
    let spoofed = ["--header", "X-Goog-Authenticated-User-Email: root@x.org"];
    let echoed = lab.curl(&[&["--header", &good], spoofed.as_slice()].concat(), "/");
    assert!(echoed.contains("X-Forwarded-Email: a@x.org\r\n") && !echoed.contains("root"), "{echoed}");
    assert!(!echoed.to_lowercase().contains("x-goog-"), "the token is dropped: {echoed}");
    assert_eq!(lab.status(&["--header", &token("/projects/1/apps/b", 600)], "/"), "401");
    assert_eq!(lab.status(&["--header", &token("/projects/1/apps/a", 3600)], "/"), "401", "made to live too long");
    let [flag, header] = bearer(good.split(' ').nth(1).unwrap());
    assert_eq!(lab.status(&[&flag, &header], "/"), "401", "the preset knows one header");
}

#[test]
fn a_route_may_take_tokens_certificates_or_neither_and_nothing_of_its_neighbours() {
    let (app, issuer) = (App::echo(), Issuer::new("a"));
    let stage = Stage::new();
    std::fs::write(stage.dir.path().join("keys.json"), issuer.keys()).unwrap();
    let ca = text(&stage.root.ca.cert).to_owned();
    let ports = [free_port(), free_port(), free_port()];
    let rules = [
        "allow-cn=client1,client-auth=optional",
        "disable-authentication",
        "allow-cn=client2,client-auth=optional,allow-token",
    ];
    let routes =
        [0, 1, 2].map(|at| format!("r{at}:listen=127.0.0.1:{},target=127.0.0.1:{},{}", ports[at], app.port, rules[at]));
    let routed: Vec<&str> = routes.iter().flat_map(|route| ["--route", route]).collect();
    let skip = ["--cacert", &ca, "--jwt-skip-path", "/", "--jwt-jwks-file", "keys.json"];
    let mut asker = stage.open(&app, &[&RULES, &skip[..], &routed].concat());
    let [flag, token] = bearer(&issuer.token(r#","sub":"t""#));
    let [_, bad] = bearer("x.y.z");
    // Which of nothing, a good token, a bad one, client1 and client2 are let in, on one connection for several requests too.
    for (port, expected) in [
        (asker.lab.port, ["200", "200", "200", "200", "200"]),
        (ports[0], ["403", "403", "403", "200", "alert"]),
        (ports[1], ["200", "200", "200", "200", "200"]),
        (ports[2], ["401", "200", "401", "401", "200"]),
    ] {
        asker.lab.port = port;
        for http in ["--http1.1", "--http2"] {
            let path = if port == ports[2] { "?x" } else { "" };
            let ask = |client: Option<&Pair>, more: &[&str]| {
                let twice = format!("https://localhost:{port}/{path}");
                let said = asker.status(client, &[&[http, "--output", "/dev/null", &twice], more].concat());
                if said.contains("alert") || said.contains("curl: (") { "alert".to_owned() } else { said }
            };
            let said = [
                ask(None, &[]),
                ask(None, &[&flag, &token]),
                ask(None, &[&flag, &bad]),
                ask(Some(&asker.client1), &[]),
                ask(Some(&asker.client2), &[]),
            ];
            for (said, expected) in said.iter().zip(expected) {
                assert!(said.starts_with(expected), "{port} {http}: {said:?} and not {expected}");
            }
        }
    }
    // An open path of the token rules opens no route that takes no tokens.
    asker.lab.port = ports[0];
    assert_eq!(asker.status(None, &[]), "403");
    let echoed = {
        asker.lab.port = ports[1];
        asker.curl(None, &["--header", "X-Forwarded-User: root"])
    };
    assert!(!echoed.contains("root"), "{echoed}");
}

#[test]
fn g13_a_name_that_the_certificate_was_not_chosen_for_is_misdirected() {
    let stage = Stage::new();
    let certificates = stage.dir.path().join("more");
    std::fs::create_dir(&certificates).unwrap();
    for name in ["a.example", "b.example"] {
        let pair = stage.root.issue_with(name, EC, &format!("DNS:{name}"), 30);
        std::fs::copy(&pair.cert, certificates.join(format!("{name}.crt"))).unwrap();
        std::fs::copy(&pair.key, certificates.join(format!("{name}.key"))).unwrap();
    }
    let app = App::echo();
    let asker = stage.open(&app, &["--disable-authentication", "--cert-dir", "more"]);
    let outcome = super::h2::play_with(&asker.lab, "misdirected", Path::new(&asker.ca));
    assert_eq!((&outcome[0][0], &outcome[1][0]), (&"200".into(), &"421".into()), "{outcome}");
    let resolve = format!("a.example:{}:127.0.0.1", asker.lab.port);
    let ask = |host: &str| {
        let output = Command::new("curl")
            .args(["--silent", "--http1.1", "--max-time", "20", "--cacert", &asker.ca, "--resolve", &resolve])
            .args(["--output", "/dev/null", "--write-out", "%{http_code}", "--header", &format!("Host: {host}")])
            .arg(format!("https://a.example:{}/", asker.lab.port))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        (ask("a.example").as_str(), ask("A.EXAMPLE").as_str(), ask("b.example").as_str()),
        ("200", "200", "421")
    );
    assert!(!app.seen().contains("b.example"), "{}", app.seen());
}

#[test]
fn j26_what_a_trusted_proxy_says_is_kept_and_extended() {
    let app = App::echo();
    let says = [
        "--header",
        "X-Forwarded-For: 192.0.2.7",
        "--header",
        "X-Forwarded-Proto: http",
        "--header",
        "Forwarded: for=192.0.2.7;proto=http",
        "--header",
        "X-Forwarded-User: root",
    ];
    let lab = Lab::open(&app, &["--trusted-proxy", "127.0.0.0/8", "--forwarded", "both"]);
    for http in ["--http1.1", "--http2"] {
        let echoed = lab.curl(&[&[http], says.as_slice()].concat(), "/");
        for line in ["X-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n", "Forwarded: for=192.0.2.7;proto=http, for=127.0.0.1;"]
        {
            assert!(echoed.contains(line), "{http}: {line} is missing: {echoed}");
        }
        assert!(echoed.to_lowercase().contains("x-forwarded-proto: http\r\n"), "{http}: {echoed}");
        assert!(!echoed.contains("root"), "a proxy does not speak for users: {echoed}");
    }
    let lab = Lab::open(&app, &["--trusted-proxy", "10.0.0.0/8", "--forwarded", "both"]);
    let echoed = lab.curl(&says, "/");
    assert!(!echoed.contains("192.0.2.7") && echoed.contains("X-Forwarded-Proto: https\r\n"), "{echoed}");
}
