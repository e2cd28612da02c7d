//! Other ways to a server, and other local sides: proxies, STARTTLS of mail and LDAP, TLS locally, sessions in advance.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use kit_test::{Process, eventually};

use super::support::pki::text;
use super::support::{Door, PATIENCE, ask, plain, run, tls_server};
use super::{Pki, pki, works};

fn script(name: &str, arguments: &[&str]) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name);
    Process::spawn(Command::new("python3").arg(script).args(arguments))
}

/// A helper that says its port first.
fn listening(name: &str, arguments: &[&str]) -> (Process, u16) {
    let process = script(name, arguments);
    let said = process.wait_for_stdout("\"port\": ", PATIENCE);
    let digits = said.split("\"port\": ").nth(1).unwrap().chars().take_while(char::is_ascii_digit);
    let port = digits.collect::<String>().parse().unwrap();
    (process, port)
}

fn through(pki: &Pki, proxy: &str) -> Door {
    // Resolves nowhere but at the proxy.
    let flags = ["--cacert", pki.ca(), "--proxy", proxy, "--override-server-name", "localhost"];
    Door::start("client", "db.only-the-proxy-knows.invalid:5432", &flags).ready()
}

#[test]
fn c13_a_proxy_is_asked_for_the_name_once_and_resolves_it() {
    let pki = pki();
    let server = ["--cert", text(&pki.server1.cert), "--key", text(&pki.server1.key), "--server-first"];
    let (_server, port) = tls_server(&server);
    for (kind, asked) in [
        ("http", "CONNECT db.only-the-proxy-knows.invalid:5432 HTTP/1.1"),
        ("socks5", "1 db.only-the-proxy-knows.invalid:5432"),
    ] {
        for login in ["", "me:s@crEt"] {
            let (proxy, at) = listening("proxy.py", &[kind, &port.to_string(), "--login", login]);
            let user = if login.is_empty() { "" } else { "me:s%40crEt@" };
            let door = through(&pki, &format!("{kind}://{user}127.0.0.1:{at}"));
            let mut client = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(b"ping").unwrap();
            let mut answer = [0; 26];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"hello from the server\nping", "{kind} {login}");
            let said = String::from_utf8(proxy.stdout()).unwrap();
            assert_eq!(said.matches("\"asked\"").count(), 1, "{said}");
            assert!(said.contains(asked), "{said}");
            assert!(!door.process.stderr().contains("crEt"), "{}", door.process.stderr());
        }
    }
}

#[test]
fn a_proxy_that_refuses_is_named_and_nobody_gets_around_it() {
    let pki = pki();
    let (_server, port) = pki.serve(&pki.server1);
    let port = port.to_string();
    for (kind, more, expected) in [
        ("http", "--refuse", "refuses with status 403"),
        ("http", "--login=a:b", "wants another user or password (407)"),
        ("socks5", "--refuse", "refuses because of its rules"),
        ("socks5", "--login=a:b", "wants a login that it was not given"),
    ] {
        let (_proxy, at) = listening("proxy.py", &[kind, &port, more]);
        let door = through(&pki, &format!("{kind}://127.0.0.1:{at}"));
        assert!(!works(&door));
        door.process.wait_for_stderr(expected, PATIENCE);
        assert_eq!(door.metric("tls_ambassador_backend_dial_failures_total"), 1.0);
    }
    // Something that is no proxy.
    let (_none, at) = pki.serve(&pki.server1);
    let door = through(&pki, &format!("socks5://127.0.0.1:{at}"));
    assert!(!works(&door));
    eventually("counted", PATIENCE, || door.metric("tls_ambassador_backend_dial_failures_total") == 1.0);
}

#[test]
fn mail_clients_that_know_nothing_of_tls_reach_servers_that_insist_on_it() {
    let pki = pki();
    for (protocol, answer) in [
        ("smtp", "{\"offered\": false, \"answer\": \"inside\"}"),
        ("imap", "{\"capabilities\": [\"IMAP4REV1\", \"AUTH=PLAIN\"], \"login\": \"OK\"}"),
    ] {
        let server = ["serve", protocol, text(&pki.server1.cert), text(&pki.server1.key)];
        let (server, port) = listening("starttls.py", &server);
        for warm in ["0", "2"] {
            let door = pki.tunnel(port, &["--starttls", protocol, "--pool-warm", warm, "--run-connection-test"]);
            let client = script("starttls.py", &["ask", protocol, &door.port.to_string()]);
            let exit = client.wait_within(PATIENCE);
            let said = String::from_utf8(exit.stdout).unwrap();
            assert_eq!((said.trim(), exit.code), (answer, Some(0)), "{}", exit.stderr);
        }
        // A client that speaks TLS from the first byte sees the same.
        let local = ["--local-cert", text(&pki.server2.cert), "--local-key", text(&pki.server2.key)];
        let door = pki.tunnel(port, &[&["--starttls", protocol], &local[..]].concat());
        let client = script("starttls.py", &["ask", protocol, &door.port.to_string(), pki.ca()]);
        let exit = client.wait_within(PATIENCE);
        let said = String::from_utf8(exit.stdout).unwrap();
        assert_eq!((said.trim(), exit.code), (answer, Some(0)), "{}", exit.stderr);
        assert!(plain(door.port, b"EHLO x\r\n").is_err(), "plain bytes are no TLS");
        let heard = String::from_utf8(server.stdout()).unwrap();
        assert!(!heard.lines().any(|line| line.contains("LOGIN") && line.contains("\"inside\": false")), "{heard}");
    }
}

#[test]
fn ldap_is_asked_for_tls_before_the_first_byte_of_the_client() {
    let pki = pki();
    let (server, port) = listening("starttls.py", &["serve", "ldap", text(&pki.server1.cert), text(&pki.server1.key)]);
    let door = pki.tunnel(port, &["--starttls", "ldap"]);
    assert!(works(&door));
    server.wait_for_stdout("301d02010177188016312e332e362e312e342e312e313436362e3230303337", PATIENCE);
    let local = ["--starttls", "ldap", "--local-cert", text(&pki.server2.cert), "--local-key", text(&pki.server2.key)];
    let door = pki.tunnel(port, &local);
    let said = ask(&["echo", &door.port.to_string(), "--ca", pki.ca()]);
    assert!(said.contains("\"ok\": true") && said.contains("\"cn\": \"server2\""), "{said}");
}

#[test]
fn a_server_without_starttls_ends_the_connection_and_sees_nothing_of_it() {
    let pki = pki();
    let echo = super::support::Echo::start();
    for protocol in ["ldap", "smtp", "imap"] {
        let flags = ["--cacert", pki.ca(), "--starttls", protocol, "--connect-timeout", "2s"];
        let door = Door::start("client", &format!("localhost:{}", echo.port), &flags).ready();
        assert!(!works(&door), "{protocol}");
    }
    for first in echo.first_bytes.lock().unwrap().iter() {
        assert!(!first.windows(4).any(|window| window == b"ping"), "{first:?}");
    }
}

#[test]
fn the_local_side_speaks_tls_where_it_has_a_certificate_and_follows_it() {
    let pki = pki();
    let (_server, port) = pki.serve(&pki.server1);
    let folder = pki.folder.path();
    let (cert, key) = (folder.join("local.crt"), folder.join("local.key"));
    std::fs::copy(&pki.server2.cert, &cert).unwrap();
    std::fs::copy(&pki.server2.key, &key).unwrap();
    let door = pki.tunnel(port, &["--local-cert", text(&cert), "--local-key", text(&key)]);
    let hello = || ask(&["echo", &door.port.to_string(), "--ca", pki.ca()]);
    assert!(hello().contains("\"cn\": \"server2\""), "{}", hello());
    assert!(!works(&door), "plain bytes are no TLS");
    let renewed = pki.root.issue("renewed");
    std::fs::copy(&renewed.key, &key).unwrap();
    std::fs::copy(&renewed.cert, &cert).unwrap();
    door.process.wait_for_stderr("CN=renewed", PATIENCE);
    assert!(hello().contains("\"cn\": \"renewed\""), "{}", hello());
}

#[test]
fn sessions_in_advance_are_used_and_replaced_when_the_server_ends_them() {
    let pki = pki();
    let (mut server, port) = pki.serve(&pki.server1);
    let door = pki.tunnel(port, &["--pool-warm", "2"]);
    let sessions = || door.metric("tls_ambassador_handshakes_total");
    eventually("two sessions before anybody connects", PATIENCE, || sessions() == 2.0);
    assert!(works(&door));
    eventually("the one that was used is replaced", PATIENCE, || sessions() == 3.0);
    eventually("the connection is counted", PATIENCE, || door.metric("tls_ambassador_connections_total{") == 1.0);
    // All sessions end with their server; another one comes in its place.
    server.signal(kit_test::Signal::KILL);
    server.wait_within(PATIENCE);
    door.process.wait_for_stderr("no session in advance", PATIENCE);
    let again = ["serve", &port.to_string(), "--cert", text(&pki.server2.cert), "--key", text(&pki.server2.key)];
    let server = super::support::peer(&again);
    server.wait_for_stdout("\"port\"", PATIENCE);
    assert!(works(&door), "a connection does not wait for the pool, and gets no dead session");
    eventually("the pool is full again", PATIENCE, || sessions() >= 6.0);
}

#[test]
fn sessions_in_advance_are_opened_anew_with_new_files() {
    let pki = pki();
    let server = ["--cert", text(&pki.server1.cert), "--key", text(&pki.server1.key), "--ca", pki.ca()];
    let (process, port) = tls_server(&server);
    let both = pki.folder.path().join("client.pem");
    let content = |pair: &super::Pair| [pair.cert_bytes(), pair.key_bytes()].concat();
    std::fs::write(&both, content(&pki.client1)).unwrap();
    let door = pki.tunnel(port, &["--cert", text(&both), "--key", text(&both), "--pool-warm", "2"]);
    process.wait_for_stdout("\"peer\": \"client1\"", PATIENCE);
    std::fs::write(&both, content(&pki.root.issue("renewed"))).unwrap();
    process.wait_for_stdout("\"peer\": \"renewed\"", PATIENCE);
    assert!(works(&door));
}

#[test]
fn what_does_not_go_together_is_refused_in_one_line() {
    let pki = pki();
    let (cert, key) = (text(&pki.client1.cert), text(&pki.client1.key));
    let check = |flags: &[&str], expected: &str| {
        let exit = run(&[&["client", "--listen", "127.0.0.1:0", "--target", "localhost:1"], flags].concat());
        let first = exit.stderr.lines().next().unwrap_or_default().to_owned();
        assert_eq!((exit.code, first.as_str()), (Some(2), expected), "{flags:?}");
        assert!(exit.stderr.lines().nth(1).is_some_and(|hint| hint.starts_with("hint: ")), "{}", exit.stderr);
    };
    check(
        &["--proxy", "ftp://x"],
        "error: invalid value 'ftp://x' for '--proxy <URL>': there are proxies of http:// and socks5://, not of ftp://",
    );
    check(
        &["--pool-warm", "1", "--starttls", "mysql"],
        "error: --pool-warm cannot open MySQL sessions in advance: their TLS begins with the login",
    );
    check(&["--local-key", key], "error: --local-key without --local-cert");
    check(
        &["--unix-socket", "/run"],
        "error: --unix-socket names sockets as PostgreSQL does, and --starttls is not postgres",
    );
    check(&["--local-cert", cert], "error: --local-cert without --local-key");
}

#[test]
fn bytes_in_both_directions_are_those_that_were_sent() {
    let pki = pki();
    let (_server, port) = pki.serve(&pki.server1);
    let door = pki.tunnel(port, &[]);
    assert_eq!(plain(door.port, &[7; 1000]).unwrap(), vec![7; 1000]);
    eventually("closed", PATIENCE, || door.metric("tls_ambassador_connection_seconds_count") == 1.0);
    assert_eq!(door.metric("tls_ambassador_backend_dial_seconds_count"), 1.0);
    assert_eq!(door.metric("tls_ambassador_ca_bundle_certificates"), 1.0);
    assert_eq!(door.metric("tls_ambassador_sent_bytes_total"), 1000.0);
}

/// Carries bytes and changes the one at `at`.
fn damaging(mut from: TcpStream, mut to: TcpStream, at: Option<usize>) {
    let mut buffer = [0; 4096];
    let mut seen = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if let Some(at) = at.filter(|at| (seen..seen + count).contains(at)) {
            buffer[at - seen] ^= 1 << (at % 8);
        }
        seen += count;
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _gone = to.shutdown(std::net::Shutdown::Write);
}

/// Somebody between two ambassadors, whose flights are one record each, changes one byte of a connection: at the `at`th
/// byte from the client, or from the server.
fn in_between(server: u16, changes: Vec<(bool, usize)>) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for ((of_client, at), near) in changes.into_iter().zip(listener.incoming().flatten()) {
            let far = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let (near2, far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || damaging(near, far, of_client.then_some(at)));
            std::thread::spawn(move || damaging(far2, near2, (!of_client).then_some(at)));
        }
    });
    port
}

#[test]
fn a_byte_that_somebody_changed_ends_that_connection_in_order_wherever_it_is() {
    let pki = pki();
    let echo = super::support::Echo::start();
    let ours =
        ["--cert", text(&pki.server1.cert), "--key", text(&pki.server1.key), "--cacert", pki.ca(), "--allow-all"];
    let quick = ["--connect-timeout", "1s", "--close-timeout", "1s"];
    let server = Door::start("server", &echo.target(), &[&ours[..], &quick].concat()).ready();
    // All within the handshake and the 3000 bytes: behind our goodbye a debug build of rustls (0.23.46) takes the alert about a bad
    // record for a second one and asserts that there is none, which a release build does not.
    let changes: Vec<(bool, usize)> = (0..2600).step_by(53).flat_map(|at| [(true, at), (false, at)]).collect();
    let count = changes.len();
    let known = ["--cert", text(&pki.client1.cert), "--key", text(&pki.client1.key)];
    let tunnel = pki.tunnel(in_between(server.port, changes), &[&known[..], &quick].concat());
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let port = tunnel.port;
            std::thread::spawn(move || {
                let mine = (number..count).step_by(8);
                mine.filter(|_| plain(port, &[7; 3000]).is_ok_and(|answer| answer != [7; 3000])).count()
            })
        })
        .collect();
    let wrong: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(wrong, 0, "changed bytes never reach a client");
    for door in [&server, &tunnel] {
        eventually("none is open", PATIENCE, || door.metric("tls_ambassador_connections_open") == 0.0);
        assert!(!door.process.stderr().contains("panicked"), "{}", door.process.stderr());
    }
    assert!(tunnel.metric("tls_ambassador_handshake_failures_total") > count as f64 / 4.0);
}
