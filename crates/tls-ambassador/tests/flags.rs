//! Flags that no scenario of the field needs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use kit_test::eventually;
use support::pki::{Authority, text};
use support::{Door, Echo, PATIENCE, run};

/// What openssl says of a TLS 1.2 session, whose ticket comes within the handshake.
fn session(port: u16, way: &str, file: &Path) -> String {
    let address = format!("127.0.0.1:{port}");
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-tls1_2", "-connect", &address, way, text(file)]).stdin(Stdio::null());
    let output = openssl.output().expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().find(|line| line.contains("TLSv1.2, Cipher")).unwrap_or(&said).to_owned()
}

#[test]
fn sessions_are_resumed_unless_tickets_are_off_or_clients_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let pair = root.issue("server");
    let echo = Echo::start();
    let files = ["--cert", text(&pair.cert), "--key", text(&pair.key)];
    for (switch, resumed) in [(&[][..], true), (&["--session-tickets", "off"], false)] {
        let flags = [&files[..], &["--disable-authentication"], switch].concat();
        let door = Door::start("server", &echo.target(), &flags).ready();
        // Without a ticket openssl has nothing to save, and says so when it is to use it.
        let saved = folder.path().join(format!("{resumed}.session"));
        assert!(session(door.port, "-sess_out", &saved).starts_with("New"));
        let second = session(door.port, "-sess_in", &saved);
        assert_eq!(second.starts_with("Reused"), resumed, "{switch:?}: {second}");
    }
    let checked =
        ["check", "server", "--listen", ":0", "--target", "127.0.0.1:1", "--allow-all", "--session-tickets", "on"];
    let exit = run(&[&checked[..], &files, &["--cacert", text(&root.ca.cert)]].concat());
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.contains("--session-tickets on"), "{exit:?}");
}

#[test]
fn files_are_read_again_by_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let pair = root.issue("server");
    let echo = Echo::start();
    let flags =
        ["--cert", text(&pair.cert), "--key", text(&pair.key), "--disable-authentication", "--timed-reload", "200ms"];
    let door = Door::start("server", &echo.target(), &flags).ready();
    let reloads = || door.metric("tls_ambassador_reload_total{result=\"ok\"");
    eventually("reloads without any change", PATIENCE, || reloads() >= 3.0);
}
