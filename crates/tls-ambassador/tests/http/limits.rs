//! What a client may ask for how often, under which name, and how often the app is tried.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use kit_test::{eventually, free_port, http_get};

use super::lab::{App, Lab, PATIENCE, ok};

#[test]
fn a_client_over_its_rate_is_told_when_to_come_again() {
    let app = App::echo();
    let lab = Lab::open(&app, &["--rate-limit", "3/h"]);
    for http in ["--http1.1", "--http2", "--http1.1"] {
        assert_eq!(lab.status(&[http], "/"), "200");
    }
    for http in ["--http1.1", "--http2"] {
        let refused = lab.curl(&[http, "--include"], "/").to_lowercase();
        assert!(refused.contains(" 429 ") && refused.contains("{\"error\":\"too many requests\"}"), "{refused}");
        let after = refused.split("retry-after: ").nth(1).expect("it says when").split("\r\n").next().unwrap();
        let seconds: u64 = after.parse().unwrap();
        assert!((1..=1200).contains(&seconds), "{refused}");
    }
    assert_eq!(app.seen().matches("GET / ").count(), 3);
    let metrics = http_get(lab.admin, "/metrics").body;
    assert!(
        metrics.contains(r#"tls_ambassador_http_requests_total{code="429",method="GET",protocol="1"} 1"#),
        "{metrics}"
    );
}

#[test]
fn behind_a_trusted_proxy_each_client_has_its_own_rate() {
    let app = App::echo();
    let lab = Lab::open(&app, &["--rate-limit", "1/h", "--trusted-proxy", "127.0.0.0/8"]);
    let from = |chain: &str| lab.status(&["--header", &format!("X-Forwarded-For: {chain}")], "/");
    assert_eq!(from("192.0.2.1"), "200");
    assert_eq!(from("192.0.2.2, 127.0.0.9"), "200", "proxies of ours are passed over");
    assert_eq!(from("192.0.2.77, 192.0.2.1"), "429", "only the last one that is not ours was seen by somebody trusted");
    assert_eq!(from("192.0.2.2"), "429");
    assert_eq!(lab.status(&[], "/"), "200", "the proxy itself");
}

#[test]
fn the_host_asked_for_is_compared_with_the_server_name_where_that_is_asked_for() {
    let app = App::echo();
    let other = ["--header", "Host: other.example"];
    for (flags, expected) in
        [(&[][..], "200"), (&["--sni-host-check", "on"], "421"), (&["--sni-host-check", "off"], "200")]
    {
        let lab = Lab::open(&app, flags);
        for http in ["--http1.1", "--http2"] {
            assert_eq!(lab.status(&[&[http], &other[..]].concat(), "/"), expected, "{flags:?} {http}");
            assert_eq!(lab.status(&[http], "/"), "200", "its own name, whatever the port");
        }
    }
}

/// An app that listens only when it has been looked for in vain.
fn late(port: u16, admin: SocketAddr) {
    std::thread::spawn(move || {
        eventually("a dial in vain", PATIENCE, || {
            !http_get(admin, "/metrics").body.contains("tls_ambassador_backend_dial_failures_total 0\n")
        });
        let _app = App::on(port, |_, _| (ok(b"here"), true));
        std::thread::park();
    });
}

#[test]
fn an_app_that_is_about_to_listen_is_tried_again() {
    for http in ["--http1.1", "--http2"] {
        let port = free_port();
        let lab = Lab::open(&App::at(port), &["--retries", "10"]);
        late(port, lab.admin);
        let posted = lab.curl(&[http, "--data", "body"], "/");
        assert_eq!(posted, "here", "{http}: nothing had left, so a POST is safe");
        let metrics = http_get(lab.admin, "/metrics").body;
        let dialled = "tls_ambassador_backend_dial_seconds_count 1\n";
        assert!(metrics.contains(dialled), "{metrics}");
        let failures = metrics.split("tls_ambassador_backend_dial_failures_total ").nth(1).unwrap();
        let failures: u32 = failures.lines().next().unwrap().parse().unwrap();
        assert!((1..=10).contains(&failures), "{failures}");
    }
}

#[test]
fn without_retries_one_refusal_is_enough() {
    // Ends every connection after one answer without saying so.
    let app = App::start(|_, _| (ok(b"fine"), true));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let lab = Lab::open(&App::at(closed), &["--retries", "0"]);
    let began = Instant::now();
    assert_eq!(lab.status(&["--http1.1"], "/"), "502");
    assert_eq!(lab.status(&["--http2"], "/"), "502");
    assert!(began.elapsed() < Duration::from_secs(10));
    let metrics = http_get(lab.admin, "/metrics").body;
    assert!(metrics.contains("tls_ambassador_backend_dial_failures_total 2\n"), "{metrics}");
    let lab = Lab::open(&app, &["--retries", "0"]);
    assert_eq!(lab.status(&["--http1.1"], "/"), "200");
}

#[test]
fn values_that_cannot_be_meant_are_refused_at_start() {
    for (flags, error) in [
        (
            ["--rate-limit", "0/s"],
            "error: invalid value '0/s' for '--rate-limit <RATE>': \"0/s\" is not a rate; write 100/s, 600/m or 5000/h, from 1 to 1000000",
        ),
        (["--retries", "11"], "error: invalid value '11' for '--retries <N>': 11 is not in 0..=10"),
        (
            ["--identity-header-prefix", "X-"],
            "error: invalid value 'X-' for '--identity-header-prefix <PREFIX>': \"X-\" is not a prefix of header names; write it like X-Client-",
        ),
        (["--sni-host-check", "maybe"], "error: invalid value 'maybe' for '--sni-host-check <WHEN>'"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tls-ambassador"));
        command.args(["server", "--mode", "http", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1"]);
        let output =
            command.args(["--cert", "c", "--key", "k", "--disable-authentication"]).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_string();
        assert!(said.starts_with(error), "{said}");
    }
}
