//! The C list of the tunnel out: the real binary, Python's ssl as the server, plain sockets in front.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod support;
#[path = "client/tunnels.rs"]
mod tunnels;
#[path = "client/ways.rs"]
mod ways;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use kit_test::{Process, eventually, free_port};
use support::pki::{Authority, EC, Pair, text};
use support::{Door, PATIENCE, plain, run, tls_server};
use tempfile::TempDir;

struct Pki {
    folder: TempDir,
    root: Authority,
    server1: Pair,
    server2: Pair,
    client1: Pair,
}

fn pki() -> Pki {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let (server1, server2, client1) = (root.issue("server1"), root.issue("server2"), root.issue("client1"));
    Pki { folder, root, server1, server2, client1 }
}

impl Pki {
    fn ca(&self) -> &str {
        text(&self.root.ca.cert)
    }

    fn serve(&self, pair: &Pair) -> (Process, u16) {
        tls_server(&["--cert", text(&pair.cert), "--key", text(&pair.key)])
    }

    fn tunnel(&self, port: u16, flags: &[&str]) -> Door {
        let trust = ["--cacert", self.ca()];
        Door::start("client", &format!("localhost:{port}"), &[trust.as_slice(), flags].concat()).ready()
    }
}

/// Bytes through a tunnel come back.
fn works(door: &Door) -> bool {
    plain(door.port, b"ping").is_ok_and(|answer| answer == b"ping")
}

#[test]
fn c01_each_rule_accepts_its_server_and_alerts_the_other_one() {
    let pki = pki();
    let (_one, port1) = pki.serve(&pki.server1);
    let (two, port2) = pki.serve(&pki.server2);
    let only_ip = pki.root.issue_with("server3", EC, "DNS:localhost", 30);
    let (_three, port3) = pki.serve(&only_ip);
    let rules = [
        ("--verify-cn", "server1"),
        ("--verify-ou", "server1"),
        ("--verify-dns", "server1"),
        ("--verify-uri", "spiffe://server1"),
    ];
    for (flag, value) in rules {
        assert!(works(&pki.tunnel(port1, &[flag, value])), "{flag}");
        let door = pki.tunnel(port2, &[flag, value]);
        assert!(!works(&door), "{flag}");
        assert_eq!(door.metric("tls_ambassador_handshake_failures_total{reason=\"not_allowed\""), 1.0, "{flag}");
    }
    two.wait_for_stdout("alert access denied", PATIENCE);
    assert!(works(&pki.tunnel(port1, &["--verify-ip-san", "127.0.0.1"])));
    assert!(!works(&pki.tunnel(port3, &["--verify-ip", "127.0.0.1"])));
}

#[test]
fn c02_a_wrong_authority_or_name_is_refused() {
    let pki = pki();
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::new(elsewhere.path(), "other").issue("server1");
    let (server, port) = pki.serve(&stranger);
    assert!(!works(&pki.tunnel(port, &[])));
    server.wait_for_stdout("alert unknown ca", PATIENCE);
    let misnamed = pki.root.issue_with("server1", EC, "DNS:elsewhere", 30);
    let (_server, port) = pki.serve(&misnamed);
    let door = pki.tunnel(port, &[]);
    assert!(!works(&door));
    assert_eq!(door.metric("tls_ambassador_handshake_failures_total{reason=\"name\""), 1.0);
}

#[test]
fn c03_another_name_can_be_asked_for() {
    let pki = pki();
    let foobar = pki.root.issue_with("foobar", EC, "DNS:foobar", 30);
    let (_server, port) = pki.serve(&foobar);
    assert!(works(&pki.tunnel(port, &["--override-server-name", "foobar"])));
    let (_server, port) = pki.serve(&pki.server1);
    assert!(!works(&pki.tunnel(port, &["--override-server-name", "foobar"])));
}

#[test]
fn c04_c06_c07_the_certificate_is_shown_and_follows_its_files() {
    let pki = pki();
    let server = ["--cert", text(&pki.server1.cert), "--key", text(&pki.server1.key), "--ca", pki.ca()];
    let (process, port) = tls_server(&server);
    let both = pki.folder.path().join("client.pem");
    let content = |pair: &Pair| [pair.cert_bytes(), pair.key_bytes()].concat();
    std::fs::write(&both, content(&pki.client1)).unwrap();
    let door = pki.tunnel(port, &["--cert", text(&both), "--key", text(&both)]);
    assert!(works(&door));
    process.wait_for_stdout("\"peer\": \"client1\"", PATIENCE);
    let mut old = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
    old.write_all(b"old").unwrap();
    std::fs::write(&both, content(&pki.root.issue("renewed"))).unwrap();
    door.process.wait_for_stderr("CN=renewed", PATIENCE);
    assert!(works(&door));
    process.wait_for_stdout("\"peer\": \"renewed\"", PATIENCE);
    std::fs::write(&both, "nothing").unwrap();
    door.process.wait_for_stderr("reload refused", PATIENCE);
    assert!(works(&door));
    let mut echo = [0; 3];
    old.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"old");
    let without = pki.tunnel(port, &["--disable-authentication"]);
    assert!(!works(&without));
}

#[test]
fn c05_a_pin_alone_decides() {
    let pki = pki();
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::new(elsewhere.path(), "other").issue_with("x", EC, "DNS:elsewhere", -1);
    let (_server, port) = pki.serve(&stranger);
    assert!(works(&pki.tunnel(port, &["--verify-spki-pin", &stranger.pin()])));
    assert!(!works(&pki.tunnel(port, &["--verify-spki-pin", &pki.server1.pin()])));
}

#[test]
fn c08_c10_after_the_client_has_ended_the_answer_still_comes() {
    let pki = pki();
    let (_server, port) = pki.serve(&pki.server1);
    let door = pki.tunnel(port, &[]);
    let mut client = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (mut writer, sent) = (client.try_clone().unwrap(), bytes.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut answer = vec![0; bytes.len()];
    client.read_exact(&mut answer).unwrap();
    assert!(answer == bytes, "the echo differs");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    writing.join().unwrap();
    eventually("no connection is left", PATIENCE, || door.metric("tls_ambassador_connections_open") == 0.0);
}

#[test]
fn c09_c15_without_a_server_clients_are_closed_and_an_end_is_clean() {
    let pki = pki();
    let door = pki.tunnel(free_port(), &[]);
    assert!(!works(&door));
    assert_eq!(door.metric("tls_ambassador_backend_dial_failures_total"), 1.0);
    assert_eq!(door.stop().code, Some(0));
}

#[test]
fn c11_a_unix_socket_in_front_is_removed_at_the_end() {
    use std::os::unix::net::UnixStream;
    let pki = pki();
    let (_server, port) = pki.serve(&pki.server1);
    let front = support::socket_path(pki.folder.path());
    let listen = format!("unix:{}", front.display());
    let door = Door::start_on("client", &listen, &format!("localhost:{port}"), &["--cacert", pki.ca()]).ready();
    let mut stream = UnixStream::connect(&front).unwrap();
    stream.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    drop(stream);
    assert_eq!(door.stop().code, Some(0));
    assert!(!front.exists());
}

#[test]
fn c16_wrong_requests_end_with_code_2_and_one_line() {
    let pki = pki();
    let (cert, key) = (text(&pki.client1.cert), text(&pki.client1.key));
    let base = ["client", "--listen", "127.0.0.1:0", "--target", "localhost:1"];
    let check = |flags: &[&str], expected: &str| {
        let exit = run(&[&base, flags].concat());
        let first = exit.stderr.lines().next().unwrap_or_default().to_owned();
        assert_eq!((exit.code, first.as_str()), (Some(2), expected), "{flags:?}");
    };
    check(&["--cert", cert], "error: --cert without --key");
    check(
        &["--disable-authentication", "--cert", cert, "--key", key],
        "error: --disable-authentication contradicts --cert",
    );
    check(&["--cacert", key], &format!("error: cannot start with these files: no CA certificate in {key}"));
    check(
        &["--listen", ":1", "--target", "localhost:1"],
        "error: --listen 0.0.0.0:1 is reachable from outside of this pod, in plain text",
    );
    check(&["--listen", "127.0.0.1:2"], "error: 2 --listen and 1 --target do not pair");
    check(
        &["--proxy", "ftp://x"],
        "error: invalid value 'ftp://x' for '--proxy <URL>': there are proxies of http:// and socks5://, not of ftp://",
    );
}

#[test]
fn c14_a_name_that_does_not_resolve_is_no_reason_not_to_start_but_fails_the_connection_test() {
    let pki = pki();
    let flags = ["--cacert", pki.ca()];
    let door = Door::start("client", "nowhere.invalid:1", &flags).ready();
    assert!(!works(&door));
    assert_eq!(door.metric("tls_ambassador_backend_dial_failures_total"), 1.0);
    assert_eq!(door.status("/readyz"), 200);
    let base = ["client", "--listen", "127.0.0.1:0", "--target", "nowhere.invalid:1", "--run-connection-test"];
    let exit = run(&[base.as_slice(), &flags].concat());
    let first = exit.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    let expected = "error: the connection test to nowhere.invalid:1 failed: cannot connect: failed to lookup address";
    assert!(exit.code == Some(1) && first.starts_with(expected), "{}", exit.stderr);
}

#[test]
fn c17_many_clients_share_one_tunnel_process_and_are_counted() {
    let pki = pki();
    let (_server, port) = pki.serve(&pki.server1);
    let door = pki.tunnel(port, &[]);
    let clients: Vec<_> = (0..8u8)
        .map(|number| {
            let port = door.port;
            std::thread::spawn(move || {
                let bytes = vec![number; 100_000];
                plain(port, &bytes).is_ok_and(|answer| answer == bytes)
            })
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap()));
    eventually("no connection is left", PATIENCE, || door.metric("tls_ambassador_connections_open") == 0.0);
    assert_eq!(door.metric("tls_ambassador_connections_total"), 8.0);
    assert_eq!(door.metric("tls_ambassador_handshakes_total"), 8.0);
    assert_eq!((door.status("/livez"), door.status("/startupz"), door.status("/metrics")), (200, 200, 200));
}

#[test]
fn d10_a_server_that_speaks_first_does_not_stall() {
    let pki = pki();
    let server = ["--cert", text(&pki.server1.cert), "--key", text(&pki.server1.key), "--server-first"];
    let (_server, port) = tls_server(&server);
    let door = pki.tunnel(port, &[]);
    let mut client = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut greeting = [0; 22];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hello from the server\n");
}

#[test]
fn a_connection_test_tells_before_serving() {
    let pki = pki();
    let (_server, port) = pki.serve(&pki.server1);
    let _door = pki.tunnel(port, &["--run-connection-test"]);
    let dead = format!("localhost:{}", free_port());
    let exit =
        run(&["client", "--listen", "127.0.0.1:0", "--target", &dead, "--cacert", pki.ca(), "--run-connection-test"]);
    assert_eq!(exit.code, Some(1));
    assert!(
        exit.stderr.starts_with(&format!("error: the connection test to {dead} failed: cannot connect: ")),
        "{}",
        exit.stderr
    );
}

#[test]
fn two_ambassadors_agree_on_the_post_quantum_exchange() {
    let pki = pki();
    let echo = support::Echo::start();
    let (cert, key) = (text(&pki.server1.cert), text(&pki.server1.key));
    let flags = ["--cert", cert, "--key", key, "--disable-authentication", "--require-pq"];
    let server = Door::start("server", &echo.target(), &flags).ready();
    let tunnel = pki.tunnel(server.port, &["--require-pq"]);
    assert!(works(&tunnel));
    assert!(server.metrics().contains("group=\"X25519MLKEM768\""), "{}", server.metrics());
    // OpenSSL 3.0 has no such exchange, so it must fail.
    let said = support::hello(&server, &pki.root, None);
    assert!(said.contains("\"ok\": false"), "{said}");
}

/// rustls sends a flight of several messages as one record, OpenSSL one record for each: what follows a refused certificate is then
/// already there. It once made a connection end by a fault of ours.
#[test]
fn a_certificate_that_is_refused_in_the_middle_of_a_flight_is_refused_in_order() {
    let pki = pki();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Authority::new(elsewhere.path(), "other");
    let echo = support::Echo::start();
    let ours =
        ["--cert", text(&pki.server1.cert), "--key", text(&pki.server1.key), "--cacert", pki.ca(), "--allow-all"];
    let server = Door::start("server", &echo.target(), &ours).ready();
    // The client distrusts the server.
    let distrust = ["--cacert", text(&other.ca.cert)];
    let tunnel = Door::start("client", &format!("localhost:{}", server.port), &distrust).ready();
    assert!(!works(&tunnel));
    assert_eq!(tunnel.metric("tls_ambassador_handshake_failures_total{reason=\"unknown_ca\""), 1.0);
    server.process.wait_for_stderr("reason=\"peer_distrusts\"", PATIENCE);
    // The server distrusts the client.
    let stranger = other.issue("client1");
    let strange = ["--cert", text(&stranger.cert), "--key", text(&stranger.key)];
    assert!(!works(&pki.tunnel(server.port, &strange)));
    eventually("counted", PATIENCE, || {
        server.metric("tls_ambassador_handshake_failures_total{reason=\"unknown_ca\"") == 1.0
    });
    let known = ["--cert", text(&pki.client1.cert), "--key", text(&pki.client1.key)];
    assert!(works(&pki.tunnel(server.port, &known)));
    for door in [&server, &tunnel] {
        assert!(!door.process.stderr().contains("panicked"), "{}", door.process.stderr());
    }
}

#[test]
fn a_stalled_reader_does_not_grow_the_tunnel() {
    let pki = pki();
    let (_server, port) = pki.serve(&pki.server1);
    let door = pki.tunnel(port, &[]);
    let mut client = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
    client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // The echo is never read: everything on the way fills up, and then writing must block.
    let block = vec![7; 1 << 20];
    let mut written = 0;
    let blocked = (0..256).any(|_| match client.write(&block) {
        Ok(count) => {
            written += count;
            false
        }
        Err(_) => true,
    });
    assert!(blocked, "{written} bytes were taken and none was read");
    let status = std::fs::read_to_string(format!("/proc/{}/status", door.process.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 64 << 10, "{kilobytes} kB resident");
}
