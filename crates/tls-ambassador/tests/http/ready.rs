//! Readiness that depends on the app, in both modes.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kit_test::{eventually, http_get};

use super::lab::{App, Lab, PATIENCE, ok};
use super::pki::{Authority, text};
use super::support::{Door, Echo, run};

/// An app whose page says 503 while it is ill.
fn app() -> (App, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&well);
    let app = App::start(move |head, _| match head.starts_with("GET /healthz ") && !state.load(Ordering::SeqCst) {
        true => (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec(), true),
        false => (ok(b"fine"), true),
    });
    (app, well)
}

#[test]
fn the_apps_own_page_decides_and_may_change_its_mind() {
    let (app, well) = app();
    let page = format!("http://127.0.0.1:{}/healthz", app.port);
    let lab = Lab::open(&app, &["--target-status", &page]);
    let why = format!("app: {page} answers 503\n");
    eventually("not ready, and why", PATIENCE, || http_get(lab.admin, "/readyz").body == why);
    assert_eq!(lab.status(&[], "/"), "200", "requests pass all the same");
    for state in [true, false, true] {
        well.store(state, Ordering::SeqCst);
        let expected = if state { 200 } else { 503 };
        eventually("it follows", PATIENCE, || http_get(lab.admin, "/readyz").status == expected);
    }
    assert!(lab.process.stderr_contains("the app is not well: not ready"));
}

/// A door before an app that is not there yet: not ready, with the reason, until the app is.
fn waits_for_its_app(mode: &str, flags: &[&str]) {
    let target = format!("127.0.0.1:{}", kit_test::free_port());
    let door = Door::start(mode, &target, &[flags, &["--ready-check-target"]].concat());
    let why = format!("app: {target} takes no connection: ");
    eventually("not ready, and why", PATIENCE, || {
        kit_test::try_http_get(door.admin, "/readyz").is_ok_and(|answer| answer.body.starts_with(&why))
    });
    let _echo = Echo::on(TcpListener::bind(&target).unwrap());
    door.ready();
}

#[test]
fn a_target_that_takes_no_connection_is_not_ready_in_tcp_mode_too() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Authority::new(folder.path(), "root").issue("server");
    waits_for_its_app("server", &["--cert", text(&pair.cert), "--key", text(&pair.key), "--disable-authentication"]);
}

#[test]
fn a_tunnel_may_wait_for_its_database_before_it_is_ready() {
    waits_for_its_app("client", &["--override-server-name", "localhost"]);
}

#[test]
fn a_page_over_tls_is_refused_in_one_line() {
    let check = ["check", "server", "--listen", ":0", "--target", "127.0.0.1:1", "--cert", "c", "--key", "k"];
    let exit = run(&[&check[..], &["--disable-authentication", "--target-status", "https://localhost/x"]].concat());
    assert_eq!(exit.code, Some(2));
    let line = "error: --target-status https://localhost/x is not a page in plain text\n";
    assert!(exit.stderr.starts_with(line), "{}", exit.stderr);
}
