//! The S list of the TLS door, and H's part about names: the real binary, an app behind it, Python's ssl in front.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod support;

#[path = "server/ghostly.rs"]
mod ghostly;
#[path = "server/hostile.rs"]
mod hostile;
#[path = "server/plan.rs"]
mod plan;
#[path = "server/refused.rs"]
mod refused;
#[path = "server/rough.rs"]
mod rough;
#[path = "server/routes.rs"]
mod routes;
#[path = "server/told.rs"]
mod told;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kit_test::{LinkOrder, Mount, eventually, free_port};
use support::pki::{Authority, EC, ED25519, Pair, RSA, text};
use support::{Door, Echo, PATIENCE, ask, hello, peer, run};
use tempfile::TempDir;

const OK: &str = "\"ok\": true";

/// An authority, the server's pair and two clients' pairs.
struct Pki {
    folder: TempDir,
    root: Authority,
    server: Pair,
    client1: Pair,
    client2: Pair,
}

fn pki() -> Pki {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let (server, client1, client2) = (root.issue("server1"), root.issue("client1"), root.issue("client2"));
    Pki { folder, root, server, client1, client2 }
}

impl Pki {
    fn certs(&self) -> Vec<&str> {
        vec!["--cert", text(&self.server.cert), "--key", text(&self.server.key)]
    }

    fn server(&self, target: &str, flags: &[&str]) -> Door {
        Door::start("server", target, &[&self.certs(), flags].concat()).ready()
    }

    fn mtls(&self, target: &str, flags: &[&str]) -> Door {
        self.server(target, &[&["--cacert", text(&self.root.ca.cert)], flags].concat())
    }

    /// A list of the authority with `client` alone.
    fn revoke(&self, client: &Pair) -> PathBuf {
        let folder = self.folder.path();
        std::fs::write(folder.join("index.txt"), "").unwrap();
        std::fs::write(folder.join("crlnumber"), "01\n").unwrap();
        let config = folder.join("ca.conf");
        let text_of = format!(
            "[ca]\ndefault_ca=c\n[c]\ndatabase={0}/index.txt\ncrlnumber={0}/crlnumber\ndefault_md=sha256\ndefault_crl_days=30\n",
            folder.display()
        );
        std::fs::write(&config, text_of).unwrap();
        let crl = folder.join("crl.pem");
        let (ca, key) = (text(&self.root.ca.cert), text(&self.root.ca.key));
        let base = ["ca", "-config", text(&config), "-cert", ca, "-keyfile", key];
        support::pki::openssl(&[base.as_slice(), &["-revoke", text(&client.cert)]].concat());
        support::pki::openssl(&[base.as_slice(), &["-gencrl", "-out", text(&crl)]].concat());
        crl
    }

    /// client1 gets through and client2 gets an alert.
    fn only_client1(&self, flags: &[&str]) {
        let echo = Echo::start();
        let door = self.mtls(&echo.target(), flags);
        let said = hello(&door, &self.root, Some(&self.client1));
        assert!(said.contains(OK), "{flags:?}: {said}");
        let said = hello(&door, &self.root, Some(&self.client2));
        assert!(said.contains("alert access denied") || said.contains("ALERT_ACCESS_DENIED"), "{flags:?}: {said}");
        assert_eq!(echo.connections(), 1);
        assert_eq!(door.metric("tls_ambassador_handshake_failures_total{reason=\"not_allowed\""), 1.0);
    }
}

#[test]
fn s01_every_certificate_of_the_authority_and_no_other() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.mtls(&echo.target(), &["--allow-all"]);
    assert!(hello(&door, &pki.root, Some(&pki.client1)).contains(OK));
    assert!(hello(&door, &pki.root, Some(&pki.client2)).contains(OK));
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::new(elsewhere.path(), "other").issue("client1");
    assert!(hello(&door, &pki.root, Some(&stranger)).contains("unknown ca"));
    assert!(hello(&door, &pki.root, None).contains("certificate required"));
}

#[test]
fn s02_s03_s04_s05_s06_each_rule_admits_its_client_only() {
    let pki = pki();
    pki.only_client1(&["--allow-dns", "client1"]);
    pki.only_client1(&["--allow-uri", "spiffe://client1"]);
    pki.only_client1(&["--allow-cn", "client1"]);
    pki.only_client1(&["--allow-ou", "client1"]);
    pki.only_client1(&["--allow-spki-pin", &pki.client1.pin()]);
    let elsewhere = pki.root.issue_with("client3", EC, "IP:192.0.2.99", 30);
    let echo = Echo::start();
    let door = pki.mtls(&echo.target(), &["--allow-ip-san", "127.0.0.1"]);
    assert!(hello(&door, &pki.root, Some(&pki.client1)).contains(OK));
    assert!(!hello(&door, &pki.root, Some(&elsewhere)).contains(OK));
    let (one, two) = (pki.client1.pin(), pki.client2.pin());
    let door = pki.mtls(&echo.target(), &["--allow-spki-pin", &one, "--allow-spki-pin", &two]);
    assert!(hello(&door, &pki.root, Some(&pki.client2)).contains(OK));
}

#[test]
fn s07_without_authentication_everybody_is_let_in() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.server(&echo.target(), &["--disable-authentication"]);
    assert!(hello(&door, &pki.root, None).contains(OK));
    assert!(hello(&door, &pki.root, Some(&pki.client1)).contains(OK));
}

#[test]
fn s08_s09_wrong_requests_end_with_code_2_and_one_line() {
    let pki = pki();
    let (cert, key) = (text(&pki.server.cert), text(&pki.server.key));
    let base = ["server", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1"];
    let check = |flags: &[&str], expected: &str| {
        let exit = run(&[&base, flags].concat());
        let first = exit.stderr.lines().next().unwrap_or_default().to_owned();
        assert_eq!((exit.code, first.as_str()), (Some(2), expected), "{flags:?}");
    };
    check(&["--cert", cert, "--key", key], "error: nobody would be let in: there is no access rule");
    check(&["--cert", cert, "--disable-authentication"], "error: --cert without --key");
    check(&["--key", key, "--disable-authentication"], "error: --key without --cert");
    check(&["--disable-authentication"], "error: a server needs a certificate");
    check(
        &["--cert", cert, "--key", key, "--disable-authentication", "--allow-cn", "a"],
        "error: --disable-authentication contradicts --allow rules and --client-auth",
    );
    check(
        &["--cert", cert, "--key", key, "--allow-cn", "a"],
        "error: client certificates cannot be verified without --cacert",
    );
    check(
        &["--cert", cert, "--key", key, "--allow-uri", "spiffe://**/**/**"],
        "error: invalid value 'spiffe://**/**/**' for '--allow-uri <PATTERN>': \"spiffe://**/**/**\": * must be a whole segment, and ** only the last one",
    );
    check(
        &[
            "--target",
            "10.0.0.1:1",
            "--listen",
            "127.0.0.1:0",
            "--cert",
            cert,
            "--key",
            key,
            "--disable-authentication",
        ],
        "error: --target 10.0.0.1:1 is not in this pod: the plain bytes would cross the network",
    );
    let other = text(&pki.client1.key);
    check(
        &["--cert", cert, "--key", other, "--disable-authentication"],
        &format!(
            "error: cannot start with these files: {cert} and {other} are not a pair: the key belongs to another certificate"
        ),
    );
}

#[test]
fn s10_s11_a_taken_port_ends_it_and_frees_the_other_one() {
    let pki = pki();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let base = [&["server", "--target", "127.0.0.1:1", "--disable-authentication"], pki.certs().as_slice()].concat();
    let free = format!("127.0.0.1:{}", free_port());
    let exit = run(&[&base, ["--listen", &taken, "--admin-listen", &free].as_slice()].concat());
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.starts_with(&format!("error: cannot listen on {taken}: ")), "{}", exit.stderr);
    let exit = run(&[&base, ["--listen", &free, "--admin-listen", &taken].as_slice()].concat());
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(TcpStream::connect(&free).is_err());
}

#[test]
fn s12_h10_every_kind_of_key_serves() {
    let pki = pki();
    let echo = Echo::start();
    for kind in [RSA, ED25519, EC] {
        let pair = pki.root.issue_with("kind", kind, "DNS:localhost", 30);
        let flags = ["--cert", text(&pair.cert), "--key", text(&pair.key), "--disable-authentication"];
        let door = Door::start("server", &echo.target(), &flags).ready();
        assert!(hello(&door, &pki.root, None).contains(OK), "{kind:?}");
    }
}

#[test]
fn s13_h05_the_newest_version_can_be_limited() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.server(&echo.target(), &["--disable-authentication", "--max-tls-version", "TLS1.2"]);
    assert!(hello(&door, &pki.root, None).contains("\"version\": \"TLSv1.2\""));
    let door = pki.server(&echo.target(), &["--disable-authentication", "--min-tls-version", "TLS1.3"]);
    let ca = text(&pki.root.ca.cert);
    let said = ask(&["echo", &door.port.to_string(), "--ca", ca, "--max", "1.2"]);
    assert!(said.contains("protocol version"), "{said}");
}

fn swap(mount: &mut Mount, pair: &Pair, authority: &Path) {
    let ca = std::fs::read(authority).unwrap();
    mount.publish(&[("tls.crt", &pair.cert_bytes()), ("tls.key", &pair.key_bytes()), ("ca.crt", &ca)]);
}

#[test]
fn l10_h04_s14_s15_s16_s17_a_swap_is_served_within_a_second_and_a_bad_one_never() {
    let pki = pki();
    let echo = Echo::start();
    let root = tempfile::tempdir().unwrap();
    let ca = std::fs::read(&pki.root.ca.cert).unwrap();
    let files: [(&str, &[u8]); 3] =
        [("tls.crt", &pki.server.cert_bytes()), ("tls.key", &pki.server.key_bytes()), ("ca.crt", &ca)];
    let mut mount = Mount::new(root.path(), LinkOrder::AfterSwap, &files);
    let path = |key: &str| mount.path(key).display().to_string();
    let (cert, key, cacert) = (path("tls.crt"), path("tls.key"), path("ca.crt"));
    let flags = ["--cert", &cert, "--key", &key, "--cacert", &cacert, "--allow-all"];
    let door = Door::start("server", &echo.target(), &flags).ready();
    let port = door.port.to_string();
    let (own_ca, client) = (text(&pki.root.ca.cert), &pki.client1);
    let mut old = peer(&["hold", &port, "--ca", own_ca, "--cert", text(&client.cert), "--key", text(&client.key)]);
    old.wait_for_stdout("server1", PATIENCE);

    let second = pki.root.issue("second");
    swap(&mut mount, &second, &pki.root.ca.cert);
    let began = Instant::now();
    door.process.wait_for_stderr("reloaded certificates=\"OU=second,CN=second\"", PATIENCE);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(hello(&door, &pki.root, Some(client)).contains("\"cn\": \"second\""));
    writeln!(old.stdin(), "still here").unwrap();
    old.wait_for_stdout(OK, PATIENCE);

    let elsewhere = tempfile::tempdir().unwrap();
    let other = Authority::new(elsewhere.path(), "other");
    let (third, stranger) = (other.issue("third"), other.issue("stranger"));
    swap(&mut mount, &third, &other.ca.cert);
    door.process.wait_for_stderr("CN=third", PATIENCE);
    assert!(hello(&door, &other, Some(&stranger)).contains(OK));
    assert!(!hello(&door, &other, Some(client)).contains(OK));

    // A certificate with the wrong key, then a CA file that is none: both refused, the third one still serves.
    let wrong_key = Pair { cert: pki.server.cert.clone(), key: pki.client1.key.clone() };
    swap(&mut mount, &wrong_key, &other.ca.cert);
    door.process.wait_for_stderr("are not a pair", PATIENCE);
    assert!(hello(&door, &other, Some(&stranger)).contains("\"cn\": \"third\""));
    swap(&mut mount, &third, &pki.server.key);
    door.process.wait_for_stderr("no CA certificate in ", PATIENCE);
    assert!(hello(&door, &other, Some(&stranger)).contains("\"cn\": \"third\""));
    assert_eq!(door.metric("tls_ambassador_reload_total{result=\"mismatch\""), 1.0);
    assert_eq!(door.metric("tls_ambassador_reload_total{result=\"invalid\""), 1.0);
    assert_eq!(door.metric("tls_ambassador_reload_total{result=\"ok\""), 2.0);
}

#[test]
fn an_expired_certificate_starts_unready_and_heals() {
    let pki = pki();
    let expired = pki.root.issue_with("old", EC, "DNS:localhost", -1);
    let used = tempfile::tempdir().unwrap();
    let both = used.path().join("tls.pem");
    let content = |pair: &Pair| [pair.cert_bytes(), pair.key_bytes()].concat();
    std::fs::write(&both, content(&expired)).unwrap();
    let flags = ["--cert", text(&both), "--key", text(&both), "--disable-authentication"];
    let door = Door::start("server", "127.0.0.1:1", &flags);
    eventually("not ready", PATIENCE, || door.status("/readyz") == 503);
    let body = kit_test::http_get(door.admin, "/readyz").body;
    assert!(body.starts_with(&format!("certificate: {} is expired since 20", both.display())), "{body}");
    assert_eq!(door.status("/livez"), 200);
    let check = run(&[&["check", "server", "--listen", ":0", "--target", "127.0.0.1:1"], flags.as_slice()].concat());
    assert_eq!(check.code, Some(2), "{}", check.stderr);
    std::fs::write(&both, content(&pki.server)).unwrap();
    eventually("ready", PATIENCE, || door.status("/readyz") == 200);
}

#[test]
fn s19_s21_the_end_of_one_side_reaches_the_other_and_no_byte_is_lost() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.server(&echo.target(), &["--disable-authentication"]);
    let said =
        ask(&["halfclose", &door.port.to_string(), "--ca", text(&pki.root.ca.cert), "--bytes", &(4 << 20).to_string()]);
    assert!(said.contains(OK), "{said}");
    eventually("no connection is left", PATIENCE, || door.metric("tls_ambassador_connections_open") == 0.0);
    assert_eq!(door.metric("tls_ambassador_received_bytes_total"), f64::from(4 << 20));
    assert_eq!(door.metric("tls_ambassador_sent_bytes_total"), f64::from(4 << 20));
}

#[test]
fn s20_s34_without_an_app_clients_are_closed_and_with_one_it_works() {
    let pki = pki();
    let port = free_port();
    let door = pki.server(&format!("127.0.0.1:{port}"), &["--disable-authentication"]);
    assert!(hello(&door, &pki.root, None).contains("\"ok\": false"));
    let _echo = Echo::on(TcpListener::bind(("127.0.0.1", port)).unwrap());
    assert!(hello(&door, &pki.root, None).contains(OK));
    assert_eq!(door.metric("tls_ambassador_backend_dial_failures_total"), 1.0);
}

#[test]
fn s22_s25_bulk_and_many_short_connections_leave_nothing_behind() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.server(&echo.target(), &["--disable-authentication"]);
    let (port, ca) = (door.port.to_string(), text(&pki.root.ca.cert));
    let clients: Vec<_> = (0..3).map(|_| peer(&["churn", &port, "--ca", ca, "--count", "30"])).collect();
    assert!(ask(&["bulk", &port, "--ca", ca, "--bytes", &(8 << 20).to_string()]).contains(OK));
    for client in clients {
        client.wait_for_stdout(OK, PATIENCE);
    }
    eventually("no connection is left", PATIENCE, || door.metric("tls_ambassador_connections_open") == 0.0);
    assert_eq!(door.metric("tls_ambassador_handshakes_total"), 91.0);
}

#[test]
fn l02_s27_the_third_of_two_connections_waits_and_the_pod_is_not_ready_meanwhile() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.server(&echo.target(), &["--disable-authentication", "--max-concurrent-conns", "2"]);
    let (port, ca) = (door.port.to_string(), text(&pki.root.ca.cert));
    let mut first = peer(&["hold", &port, "--ca", ca]);
    let second = peer(&["hold", &port, "--ca", ca]);
    first.wait_for_stdout("open", PATIENCE);
    second.wait_for_stdout("open", PATIENCE);
    let third = peer(&["hold", &port, "--ca", ca]);
    eventually("not ready", PATIENCE, || door.status("/readyz") == 503);
    let body = kit_test::http_get(door.admin, "/readyz").body;
    assert_eq!(body, "places: as many connections as --max-concurrent-conns allows\n");
    assert_eq!(echo.connections(), 2);
    first.close_stdin();
    third.wait_for_stdout("open", PATIENCE);
    drop((second, third));
    eventually("ready", PATIENCE, || door.status("/readyz") == 200);
}

#[test]
fn s28_s29_silent_and_garbled_clients_are_dropped_while_good_ones_are_served() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.server(&echo.target(), &["--disable-authentication", "--connect-timeout", "1s"]);
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(("127.0.0.1", door.port)).unwrap()).collect();
    for _ in 0..20 {
        let mut garbage = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
        garbage.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    }
    assert!(hello(&door, &pki.root, None).contains(OK));
    eventually("the silent ones time out", PATIENCE, || {
        door.metric("tls_ambassador_handshake_failures_total{reason=\"timeout\"") == 40.0
    });
    eventually("no connection is left", PATIENCE, || door.metric("tls_ambassador_connections_open") == 0.0);
    assert_eq!(door.metric("tls_ambassador_handshake_failures_total{reason=\"garbage\""), 20.0);
    for mut stream in silent {
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)));
    }
}

#[test]
fn s30_s31_connections_end_with_their_lifetime_or_their_idleness() {
    let pki = pki();
    let echo = Echo::start();
    for flags in [["--max-conn-lifetime", "500ms"], ["--idle-timeout", "300ms"]] {
        let door = pki.server(&echo.target(), &[["--disable-authentication"].as_slice(), &flags].concat());
        let mut held = peer(&["hold", &door.port.to_string(), "--ca", text(&pki.root.ca.cert)]);
        held.wait_for_stdout("open", PATIENCE);
        eventually("it is cut", PATIENCE, || door.metric("tls_ambassador_connections_open") == 0.0);
        assert_eq!(door.metric("tls_ambassador_connections_total"), 1.0);
        held.close_stdin();
    }
}

#[test]
fn s40_s41_s42_the_app_is_told_who_connects() {
    let pki = pki();
    let echo = Echo::start();
    let first = || echo.first_bytes.lock().unwrap().last().cloned().unwrap_or_default();
    for (form, family) in [("conn", 0x11), ("tls", 0x11), ("tls-full", 0x11)] {
        let door = pki.mtls(&echo.target(), &["--allow-all", "--proxy-protocol-mode", form]);
        // The echo sends the header back as well, so the client's own check fails; the app has seen it by then.
        let _said = hello(&door, &pki.root, Some(&pki.client1));
        let header = support::find("the header", || Some(first()).filter(|bytes| bytes.len() >= 28));
        assert_eq!(&header[..14], [b"\r\n\r\n\0\r\nQUIT\n\x21".as_slice(), &[family]].concat());
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        assert_eq!(
            (&header[16..24], &header[26..28]),
            ([127, 0, 0, 1, 127, 0, 0, 1].as_slice(), &door.port.to_be_bytes()[..])
        );
        let additions = &header[28..(16 + length).min(header.len())];
        match form {
            "conn" => assert_eq!(length, 12),
            "tls" => assert!(additions.ends_with(b"\x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.3"), "{additions:?}"),
            _ => {
                let needle = b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x07client1\x28";
                assert!(additions.windows(needle.len()).any(|window| window == needle), "{additions:?}");
            }
        }
        echo.first_bytes.lock().unwrap().clear();
    }
}

#[test]
fn a_trusted_proxy_speaks_for_its_client_and_nobody_else_does() {
    let pki = pki();
    let echo = Echo::start();
    let flags = ["--disable-authentication", "--proxy-protocol-mode", "v1", "--accept-proxy-protocol", "any"];
    let door = pki.server(&echo.target(), &[flags.as_slice(), &["--trusted-proxy", "127.0.0.0/8"]].concat());
    let header = r"PROXY TCP4 192.0.2.7 192.0.2.8 1111 443\r\n";
    let (port, ca) = (door.port.to_string(), text(&pki.root.ca.cert));
    let _said = ask(&["echo", &port, "--ca", ca, "--prefix", header]);
    let seen = echo.first_bytes.lock().unwrap().last().cloned().unwrap_or_default();
    assert!(seen.starts_with(b"PROXY TCP4 192.0.2.7 192.0.2.8 1111 443\r\n"), "{seen:?}");
    let door = pki.server(&echo.target(), &[flags.as_slice(), &["--trusted-proxy", "10.0.0.0/8"]].concat());
    let said = ask(&["echo", &door.port.to_string(), "--ca", ca, "--prefix", header]);
    assert!(!said.contains(OK), "{said}");
}

#[test]
fn s43_s44_unix_sockets_on_both_sides() {
    let pki = pki();
    let app = support::socket_path(pki.folder.path());
    let listener = UnixListener::bind(&app).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                let _ended = std::io::copy(&mut from, &mut to);
            });
        }
    });
    let front = pki.folder.path().join("f.sock");
    let flags = [pki.certs().as_slice(), &["--disable-authentication"]].concat();
    let listen = format!("unix:{},mode=0600", front.display());
    let door = Door::start_on("server", &listen, &format!("unix:{}", app.display()), &flags).ready();
    assert!(ask(&["echo", text(&front), "--ca", text(&pki.root.ca.cert)]).contains(OK));
    assert_eq!(door.stop().code, Some(0));
    assert!(!front.exists());
}

#[test]
fn h01_h02_certificates_are_chosen_by_name() {
    let pki = pki();
    let echo = Echo::start();
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, pair: &Pair| {
        std::fs::write(folder.path().join(format!("{name}.crt")), pair.cert_bytes()).unwrap();
        std::fs::write(folder.path().join(format!("{name}.key")), pair.key_bytes()).unwrap();
    };
    put("a", &pki.root.issue_with("exact", EC, "DNS:a.example.org", 30));
    put("w", &pki.root.issue_with("wild", EC, "DNS:*.example.org", 30));
    let dir = text(folder.path());
    let said = |door: &Door, name: &str| {
        ask(&["echo", &door.port.to_string(), "--ca", text(&pki.root.ca.cert), "--name", name])
    };
    let door = pki.server(&echo.target(), &["--disable-authentication", "--cert-dir", dir]);
    assert!(said(&door, "A.example.org").contains("\"cn\": \"exact\""));
    assert!(said(&door, "b.example.org").contains("\"cn\": \"wild\""));
    assert!(said(&door, "localhost").contains("\"cn\": \"server1\""));
    put("z", &pki.root.issue_with("later", EC, "DNS:later.test", 30));
    door.process.wait_for_stderr("CN=later", PATIENCE);
    assert!(said(&door, "later.test").contains("\"cn\": \"later\""));
    let strict = ["--disable-authentication", "--cert-dir", dir, "--sni-strict"];
    let door = Door::start("server", &echo.target(), &strict).ready();
    assert!(said(&door, "a.example.org").contains(OK));
    assert!(said(&door, "localhost").contains("\"ok\": false"));
}

#[test]
fn h07_a_revoked_client_is_refused() {
    let pki = pki();
    let echo = Echo::start();
    let crl = pki.revoke(&pki.client2);
    let door = pki.mtls(&echo.target(), &["--allow-all", "--crl", text(&crl)]);
    assert!(hello(&door, &pki.root, Some(&pki.client1)).contains(OK));
    let said = hello(&door, &pki.root, Some(&pki.client2));
    assert!(said.contains("certificate revoked"), "{said}");
}
