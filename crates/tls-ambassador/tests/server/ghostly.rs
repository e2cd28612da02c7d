//! ghostunnel's ways where they differ from ours: what its own suite asks, beside what we do without `--compat`.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;

use kit_test::{eventually, free_port};
use serde_json::Value;

use super::support::pki::{Authority, Pair, text};
use super::support::{Door, Echo, PATIENCE, hello, peer, run};
use super::{OK, Pki, pki};

const GHOST: &str = "--compat=ghostunnel";

/// Of an authority that nobody here knows.
fn stranger(pki: &Pki) -> Pair {
    let elsewhere = pki.folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    Authority::new(&elsewhere, "other").issue("stranger")
}

#[test]
fn a_pin_is_one_rule_among_others_and_decides_alone_in_ghostunnel_s_ways() {
    let pki = pki();
    let stranger = stranger(&pki);
    let echo = Echo::start();
    let (pin, pin1) = (stranger.pin(), pki.client1.pin());
    let pins = ["--allow-spki-pin", pin.as_str(), "--allow-spki-pin", &pin1];
    let door = pki.mtls(&echo.target(), &pins);
    assert!(hello(&door, &pki.root, Some(&stranger)).contains("unknown ca"));
    let door = pki.mtls(&echo.target(), &[&pins[..], &[GHOST]].concat());
    assert!(hello(&door, &pki.root, Some(&stranger)).contains(OK));
    assert!(hello(&door, &pki.root, Some(&pki.client1)).contains(OK));
    assert!(!hello(&door, &pki.root, Some(&pki.client2)).contains(OK), "the authority signed it, and no pin is its");
    assert!(hello(&door, &pki.root, None).contains("certificate required"));
    // No authority is needed then, the plan says so, and what would not count is refused.
    let base =
        [&["check", "server", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1", GHOST][..], &pki.certs()].concat();
    let said = run(&[&base[..], &pins].concat());
    let plan = String::from_utf8_lossy(&said.stdout).into_owned() + &said.stderr;
    assert!(said.code == Some(0) && plan.contains("whatever the rest of the certificate says"), "{plan}");
    for (more, error) in [
        (["--allow-cn", "x"], "--allow-spki-pin alone decides, so other --allow rules would not count"),
        (["--proxy-protocol-mode", "tls-full"], "--proxy-protocol-mode tls-full tells names that nobody vouches for"),
    ] {
        let exit = run(&[&base[..], &pins, &more].concat());
        assert_eq!((exit.code, exit.stderr.lines().next()), (Some(2), Some(format!("error: {error}").as_str())));
    }
}

#[test]
fn a_limit_resets_both_sides_and_ends_them_in_order_in_ghostunnel_s_ways() {
    let pki = pki();
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = app.local_addr().unwrap().to_string();
    for ghost in [false, true] {
        let flags = ["--disable-authentication", "--idle-timeout", "2s"];
        let ways: &[&str] = if ghost { &[GHOST] } else { &[] };
        let door = pki.server(&target, &[&flags[..], ways].concat());
        let held = peer(&["hold", &door.port.to_string(), "--ca", text(&pki.root.ca.cert)]);
        let mut side = app.accept().unwrap().0;
        side.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 4096];
        let end = loop {
            match side.read(&mut buffer) {
                Ok(0) => break None,
                Ok(count) => side.write_all(&buffer[..count]).unwrap(),
                Err(error) => break Some(error.kind()),
            }
        };
        drop(held);
        assert_eq!(end, if ghost { None } else { Some(ErrorKind::ConnectionReset) });
        let counts = metrics(&door);
        let count = |name: &str| counts.iter().find(|item| item["metric"] == name).map(|item| item["value"].clone());
        assert_eq!(count("ghostunnel.conn.timeout"), Some(1.into()), "{counts:?}");
        assert_eq!(count("ghostunnel.conn.error"), Some(0.into()), "{counts:?}");
    }
}

fn metrics(door: &Door) -> Vec<Value> {
    let page = || kit_test::try_http_get(door.admin, "/_metrics").map(|answer| answer.body).unwrap_or_default();
    eventually("no connection is open", PATIENCE, || door.metric("tls_ambassador_connections_open") == 0.0);
    serde_json::from_str(&page()).unwrap()
}

#[test]
fn the_status_page_tries_the_app_when_it_is_asked_in_ghostunnel_s_ways() {
    let pki = pki();
    let port = free_port();
    let target = format!("127.0.0.1:{port}");
    let ours = pki.server(&target, &["--disable-authentication"]);
    let theirs = pki.server(&target, &["--disable-authentication", GHOST]);
    let asked = |door: &Door| {
        let answer = kit_test::try_http_get(door.admin, "/_status").unwrap();
        let page: Value = serde_json::from_str(&answer.body).unwrap();
        (answer.status, page)
    };
    // Ready means that it serves, unless somebody asked for more.
    assert_eq!((asked(&ours).0, theirs.status("/readyz")), (200, 200));
    let (status, page) = asked(&theirs);
    assert_eq!((status, &page["ok"], &page["backend_ok"]), (503, &false.into(), &false.into()), "{page}");
    assert_eq!((page["message"].as_str(), page["status"].as_str()), (Some("listening"), Some("critical")), "{page}");
    assert!(page["backend_error"].as_str().unwrap().contains(&target), "{page}");
    let app = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (status, page) = asked(&theirs);
    assert_eq!(
        (status, page["status"].as_str(), page["message"].as_str()),
        (200, Some("ok"), Some("listening")),
        "{page}"
    );
    drop(app);
}
