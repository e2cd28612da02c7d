//! What is told to the app, to operators and to openssl: H's list about sessions, and S's about metrics and logs.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kit_test::eventually;

use super::support::pki::{Pair, text};
use super::support::{Door, Echo, PATIENCE, ambassador, ask, find, hello, run};
use super::{OK, Pki, pki};

/// `openssl s_client`, with one line sent; everything that it printed.
fn s_client(door: &Door, pki: &Pki, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{}", door.port), "-servername", "localhost"]);
    command.args(["-CAfile", text(&pki.root.ca.cert), "-verify_return_error"]).args(arguments);
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("openssl");
    // A session that was refused has closed its side already. The quit comes after the answer, which carries the tickets before it.
    let mut stdin = process.stdin.take().unwrap();
    let _sent = stdin.write_all(b"hello\n");
    let stdout = process.stdout.take().unwrap();
    let mut lines = std::io::BufReader::new(stdout);
    let mut printed = String::new();
    let mut line = Vec::new();
    while std::io::BufRead::read_until(&mut lines, b'\n', &mut line).is_ok_and(|count| count > 0) {
        printed.push_str(&String::from_utf8_lossy(&line));
        if line == b"hello\n" {
            let _sent = stdin.write_all(b"Q\n");
        }
        line.clear();
    }
    process.wait().unwrap();
    printed
}

#[test]
fn h03_sessions_are_resumed_by_ticket_unless_clients_show_certificates() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.server(&echo.target(), &["--disable-authentication"]);
    let session = pki.folder.path().join("session.pem");
    for version in ["-tls1_2", "-tls1_3"] {
        let first = s_client(&door, &pki, &[version, "-sess_out", text(&session)]);
        assert!(first.contains("New, TLSv1."), "{version}: {first}");
        let second = s_client(&door, &pki, &[version, "-sess_in", text(&session)]);
        assert!(second.contains("Reused, TLSv1."), "{version}: {second}");
    }
    assert_eq!(door.metric("tls_ambassador_handshakes_total"), 4.0);
    let resumed: f64 = door
        .metrics()
        .lines()
        .filter(|line| line.starts_with("tls_ambassador_handshakes_total") && line.contains("resumed=\"true\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert_eq!(resumed, 2.0, "{}", door.metrics());
    // A ticket would outlive a revocation.
    let door = pki.mtls(&echo.target(), &["--allow-all"]);
    let client = ["-cert", text(&pki.client1.cert), "-key", text(&pki.client1.key)];
    for version in ["-tls1_2", "-tls1_3"] {
        s_client(&door, &pki, &[&[version, "-sess_out", text(&session)], client.as_slice()].concat());
        let second = s_client(&door, &pki, &[&[version, "-sess_in", text(&session)], client.as_slice()].concat());
        assert!(!second.contains("Reused,"), "{version}: {second}");
    }
}

/// The TLVs of a PROXY header of version 2 over IPv4, those of TLS inside 0x20 as well.
fn additions(header: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    let mut all = Vec::new();
    let mut rest = &header[28..16 + length];
    while let [kind, high, low, tail @ ..] = rest {
        let (value, next) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        if *kind == 0x20 {
            all.push((0x20, value[..5].to_vec()));
            rest = &value[5..];
            assert!(next.is_empty(), "TLS is the last one");
        } else {
            all.push((*kind, value.to_vec()));
            rest = next;
        }
    }
    all
}

#[test]
fn h06_h08_the_app_is_told_protocol_name_and_version_and_of_no_certificate_that_was_not_shown() {
    let pki = pki();
    let echo = Echo::start();
    let flags = ["--disable-authentication", "--proxy-protocol-mode", "tls-full", "--alpn", "spoken"];
    let door = pki.server(&echo.target(), &flags);
    let ca = text(&pki.root.ca.cert);
    for (max, version) in [("1.3", "TLSv1.3"), ("1.2", "TLSv1.2")] {
        echo.first_bytes.lock().unwrap().clear();
        // The echo sends the header back as well, so the client's own check fails; the app has seen it by then.
        let _said = ask(&["echo", &door.port.to_string(), "--ca", ca, "--alpn", "spoken", "--max", max]);
        let header =
            find("the header", || echo.first_bytes.lock().unwrap().last().cloned().filter(|bytes| bytes.len() >= 28));
        let expected: Vec<(u8, Vec<u8>)> = vec![
            (0x01, b"spoken".to_vec()),
            (0x02, b"localhost".to_vec()),
            (0x20, vec![0x01, 0, 0, 0, 0]),
            (0x21, version.into()),
        ];
        assert_eq!(additions(&header), expected);
    }
}

#[test]
fn s47_metrics_are_prometheus_and_the_other_ways_are_refused_by_name() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.server(&echo.target(), &["--disable-authentication"]);
    assert!(hello(&door, &pki.root, None).contains(OK));
    for line in [
        "podkit_build_info{",
        "tls_ambassador_connections_total{",
        "tls_ambassador_handshakes_total{",
        "tls_ambassador_handshake_seconds_bucket{",
        "tls_ambassador_received_bytes_total 5",
        "tls_ambassador_sent_bytes_total 5",
        "tls_ambassador_certificate_not_after_timestamp_seconds{",
    ] {
        // Bytes are counted when the connection is over, which its client may see first.
        eventually(line, PATIENCE, || door.metrics().lines().any(|have| have.starts_with(line)));
    }
    let exit = run(&["server", "--listen", "systemd:http", "--target", "127.0.0.1:1"]);
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.contains("\"systemd:http\" takes a socket from an init system"), "{}", exit.stderr);
    for flag in [
        "--metrics-graphite",
        "--metrics-url",
        "--use-workload-api",
        "--keychain-identity",
        "--pkcs11-module",
        "--auto-acme-cert",
        "--allow-policy",
        "--syslog",
        "--proxy",
        "--allow-query",
    ] {
        let exit = run(&["server", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1", flag, "x"]);
        let first = exit.stderr.lines().next().unwrap_or_default().to_owned();
        assert_eq!(exit.code, Some(2), "{}", exit.stderr);
        // What is there for clients alone is an unknown flag; of the others it is said why, see `refused`.
        let named = match flag {
            "--proxy" => first == "error: unexpected argument '--proxy' found",
            flag => first.starts_with(&format!("error: {flag}: ")) && exit.stderr.contains("\nhint: "),
        };
        assert!(named, "{}", exit.stderr);
    }
}

#[test]
fn s48_the_log_level_decides_what_is_said_of_connections() {
    let pki = pki();
    let echo = Echo::start();
    let said_at = |level: &str| {
        // The level that `Door` sets stands before, and the last one wins nowhere: so a start of its own.
        let port = kit_test::free_port();
        let admin = kit_test::free_port();
        let mut command = ambassador();
        command.arg("server").arg("--listen").arg(format!("127.0.0.1:{port}")).args(["--target", &echo.target()]);
        command.arg("--admin-listen").arg(format!("127.0.0.1:{admin}")).args(pki.certs());
        command.args(["--disable-authentication", "--threads", "1", "--log-level", level]);
        let process = kit_test::Process::spawn(&mut command);
        let door = Door { process, port, admin: ([127, 0, 0, 1], admin).into() }.ready();
        assert!(hello(&door, &pki.root, None).contains(OK));
        let _garbled = super::support::plain(port, b"GET / HTTP/1.0\r\n\r\n");
        eventually("both are over", PATIENCE, || door.metric("tls_ambassador_connections_total") == 2.0);
        door.stop().stderr
    };
    assert_eq!(said_at("error"), "");
    let info = said_at("info");
    assert!(info.contains("error on TLS handshake") && !info.contains("connection open"), "{info}");
    let debug = said_at("debug");
    assert!(debug.contains("connection open") && debug.contains("connection closed"), "{debug}");
}

#[test]
fn a_certificate_that_no_rule_allows_is_told_so_and_json_has_each_name_once() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.mtls(&echo.target(), &["--allow-cn", "other", "--log-format", "json"]);
    assert!(!hello(&door, &pki.root, Some(&pki.client1)).contains(OK));
    door.process.wait_for_stderr("error on TLS handshake", PATIENCE);
    let said = door.process.stderr();
    let event = |message: &str| -> serde_json::Value {
        let lines = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.into_iter().find(|event| event["message"] == message).unwrap()
    };
    assert_eq!(event("error on TLS handshake")["error"], "no rule allows this certificate");
    assert_eq!(event("error on TLS handshake")["reason"], "not_allowed");
    assert_eq!(event("listening")["target"], echo.target());
    let listening = said.lines().find(|line| line.contains("\"listening\"")).unwrap();
    assert_eq!(listening.matches("\"target\":").count(), 1, "{listening}");
}

#[test]
fn s51_the_authorities_of_ssl_cert_file_are_trusted() {
    let pki = pki();
    let echo = Echo::start();
    let port = kit_test::free_port();
    let admin = kit_test::free_port();
    let mut command = ambassador();
    command.env("SSL_CERT_FILE", &pki.root.ca.cert);
    command.arg("server").arg("--listen").arg(format!("127.0.0.1:{port}")).args(["--target", &echo.target()]);
    command.arg("--admin-listen").arg(format!("127.0.0.1:{admin}")).args(pki.certs()).arg("--allow-all");
    let process = kit_test::Process::spawn(&mut command);
    let door = Door { process, port, admin: ([127, 0, 0, 1], admin).into() }.ready();
    assert!(hello(&door, &pki.root, Some(&pki.client1)).contains(OK));
    assert!(!hello(&door, &pki.root, None).contains(OK));
}

#[test]
fn l12_ipv6_alone_and_both_families_on_one_listener() {
    let pki = pki();
    let echo = Echo::start();
    let flags = [pki.certs().as_slice(), &["--disable-authentication"]].concat();
    let ca = text(&pki.root.ca.cert);
    for (listen, hosts) in [("[::1]", vec!["::1"]), ("[::]", vec!["::1", "127.0.0.1"])] {
        let port = kit_test::free_port();
        let mut door = Door::start_on("server", &format!("{listen}:{port}"), &echo.target(), &flags).ready();
        door.port = port;
        for host in hosts {
            let said = ask(&["echo", &port.to_string(), "--ca", ca, "--host", host]);
            assert!(said.contains(OK), "{listen} {host}: {said}");
        }
    }
}

/// A file that a test may make unreadable only for others than root.
fn unreadable(folder: &Path, pair: &Pair) -> std::path::PathBuf {
    let path = folder.join("secret.key");
    std::fs::write(&path, pair.key_bytes()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

#[test]
fn l09_as_nobody_without_any_right_it_starts_and_names_a_key_that_it_may_not_read() {
    let pki = pki();
    if !std::fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t0\t") {
        skipped("only root can become 65532");
        return;
    }
    let folder = pki.folder.path();
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // The binary's own folder may be closed to others.
    let binary = folder.join("tls-ambassador");
    std::fs::copy(ambassador().get_program(), &binary).unwrap();
    let private = unreadable(folder, &pki.server);
    let readable = folder.join("open.key");
    std::fs::write(&readable, pki.server.key_bytes()).unwrap();
    std::fs::set_permissions(&readable, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let start = |key: &Path, port: u16, admin: u16| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65532", "--regid=65532", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
        command.args(["--no-new-privs"]).arg(&binary).arg("server").current_dir("/").env_clear();
        command.arg("--listen").arg(format!("127.0.0.1:{port}")).args(["--target", "127.0.0.1:1"]);
        command.arg("--admin-listen").arg(format!("127.0.0.1:{admin}"));
        command.args(["--disable-authentication", "--cert", text(&pki.server.cert), "--key"]).arg(key);
        kit_test::Process::spawn(&mut command)
    };
    let exit = start(&private, 0, 0).wait_within(PATIENCE);
    let expected = format!(
        "error: cannot start with these files: cannot read key {}: Permission denied (os error 13)",
        private.display()
    );
    assert_eq!((exit.code, exit.stderr.lines().next()), (Some(2), Some(expected.as_str())), "{}", exit.stderr);
    // Where containers may not have low ports, as on a plain machine.
    if std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .is_ok_and(|least| least.trim() == "1024")
    {
        let exit = start(&readable, 443, 0).wait_within(PATIENCE);
        let lines: Vec<&str> = exit.stderr.lines().collect();
        let expected = "error: cannot listen on 127.0.0.1:443: Permission denied (os error 13)";
        assert_eq!((exit.code, lines[0]), (Some(1), expected), "{}", exit.stderr);
        assert!(lines[1].starts_with("hint: take a port above 1023"), "{}", exit.stderr);
    }
    let (port, admin) = (kit_test::free_port(), kit_test::free_port());
    let door = Door { process: start(&readable, port, admin), port, admin: ([127, 0, 0, 1], admin).into() }.ready();
    assert_eq!(door.stop().code, Some(0));
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}
