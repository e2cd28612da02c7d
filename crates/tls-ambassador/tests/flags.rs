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

#[test]
fn s12_s14_s16_a_keystore_serves_is_followed_and_keeps_serving_when_a_new_one_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let (store, password) = (folder.path().join("tls.p12"), folder.path().join("password"));
    let write = |name: &str, secret: &str| {
        let pair = root.issue(name);
        let new = folder.path().join("new.p12");
        let secret = format!("pass:{secret}");
        support::pki::openssl(&[
            "pkcs12",
            "-export",
            "-inkey",
            text(&pair.key),
            "-in",
            text(&pair.cert),
            "-out",
            text(&new),
            "-passout",
            &secret,
        ]);
        std::fs::copy(&new, &store).unwrap();
    };
    std::fs::write(&password, "one\n").unwrap();
    write("first", "one");
    let echo = Echo::start();
    let flags = ["--keystore", text(&store), "--storepass-file", text(&password), "--disable-authentication"];
    let door = Door::start("server", &echo.target(), &flags).ready();
    assert!(support::hello(&door, &root, None).contains("\"cn\": \"first\""));
    write("second", "one");
    door.process.wait_for_stderr("CN=second", PATIENCE);
    assert!(support::hello(&door, &root, None).contains("\"cn\": \"second\""));
    std::fs::write(&store, "nothing").unwrap();
    door.process.wait_for_stderr("it is neither PEM nor PKCS#12", PATIENCE);
    assert!(support::hello(&door, &root, None).contains("\"cn\": \"second\""));
    // A new password comes with a new archive.
    std::fs::write(&password, "two\n").unwrap();
    write("third", "two");
    door.process.wait_for_stderr("CN=third", PATIENCE);
    let base = ["server", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1", "--admin-listen", "127.0.0.1:0"];
    let typed = ["--disable-authentication", "--keystore", text(&store), "--storepass", "wrong"];
    let exit = run(&[&base[..], &typed].concat());
    assert_eq!(exit.code, Some(2));
    let expected =
        format!("error: cannot start with these files: cannot use keystore {}: the password is wrong", store.display());
    assert!(exit.stderr.contains(&expected), "{}", exit.stderr);
    assert!(exit.stderr.contains("hint: give the file with its password to --storepass-file"), "{}", exit.stderr);
    assert!(exit.stderr.contains("prefer --storepass-file") && !exit.stderr.contains("wrong\""), "{}", exit.stderr);
    let both = ["--disable-authentication", "--keystore", text(&store), "--cert", "x", "--key", "y"];
    let exit = run(&[&base[..], &both].concat());
    let first = exit.stderr.lines().next();
    assert_eq!(first, Some("error: --keystore holds certificate and key, and --cert or --key is there too"));
}
