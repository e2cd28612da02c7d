//! Limits, suites, the log, configuration files and routes: flags of both directions that no scenario needs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kit_test::{Signal, eventually, free_port};
use support::pki::{Authority, Pair, text};
use support::{Door, Echo, PATIENCE, ambassador, hello, peer, run};
use tempfile::TempDir;

const OK: &str = "\"ok\": true";

struct Pki {
    folder: TempDir,
    root: Authority,
    server: Pair,
    client2: Pair,
}

fn pki() -> Pki {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let (server, client2) = (root.issue("server1"), root.issue("client2"));
    Pki { folder, root, server, client2 }
}

impl Pki {
    fn certs(&self) -> [&str; 4] {
        ["--cert", text(&self.server.cert), "--key", text(&self.server.key)]
    }

    fn open(&self, target: &str, flags: &[&str]) -> Door {
        Door::start("server", target, &[&self.certs()[..], &["--disable-authentication"], flags].concat()).ready()
    }

    fn written(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// What `openssl s_client` says with these flags.
fn s_client(port: u16, flags: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(flags).stdin(Stdio::null());
    let output = command.output().expect("openssl is installed");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn refused(mode: &str, flags: &[&str], expected: &str) {
    let base = [mode, "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1", "--admin-listen", "127.0.0.1:0"];
    let exit = run(&[&base, flags].concat());
    let first = exit.stderr.lines().next().unwrap_or_default();
    assert_eq!((exit.code, first), (Some(2), expected), "{flags:?}: {}", exit.stderr);
    assert!(exit.stderr.lines().nth(1).is_some_and(|line| line.starts_with("hint: ")), "{}", exit.stderr);
}

#[test]
fn only_the_suites_and_exchanges_that_were_named_are_spoken() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.open(&echo.target(), &["--cipher-suites", "CHACHA", "--tls-groups", "P-384,X25519"]);
    let said = s_client(door.port, &["-tls1_3"]);
    assert!(said.contains("Cipher is TLS_CHACHA20_POLY1305_SHA256"), "{said}");
    assert!(s_client(door.port, &["-tls1_2"]).contains("Cipher is ECDHE-ECDSA-CHACHA20-POLY1305"));
    let none = s_client(door.port, &["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"]);
    assert!(none.contains("alert handshake failure"), "{none}");
    assert!(s_client(door.port, &["-groups", "P-256"]).contains("handshake failure"));
    assert!(s_client(door.port, &["-groups", "P-384"]).contains("Server Temp Key: ECDH, secp384r1, 384 bits"));
}

#[test]
fn suites_and_exchanges_that_leave_nothing_or_do_not_exist_are_refused() {
    let pki = pki();
    let with = |flags: &[&str], expected: &str| {
        refused("server", &[&pki.certs()[..], &["--disable-authentication"], flags].concat(), expected);
    };
    with(
        &["--cipher-suites", "TLS13_AES_128_GCM_SHA256"],
        "error: --cipher-suites leaves nothing to speak TLS1.2 with",
    );
    with(&["--tls-groups", "X25519MLKEM768"], "error: --tls-groups leaves nothing to speak TLS1.2 with");
    with(
        &["--tls-groups", "X25519", "--require-pq"],
        "error: --tls-groups contradicts --require-pq, which leaves X25519MLKEM768 alone",
    );
    with(
        &["--tls-groups", "P-521"],
        "error: invalid value 'P-521' for '--tls-groups <NAMES>': \"P-521\" is no key exchange that is spoken here; there are X25519MLKEM768, X25519, P-256, P-384",
    );
    let exit = run(&["check", "server", "--listen", ":1", "--target", "127.0.0.1:1", "--cipher-suites", "RC4"]);
    assert!(exit.stderr.contains("\"RC4\" is no cipher suite that is spoken here; there are AES, CHACHA"));
}

#[test]
fn connections_beyond_the_limit_wait_or_are_closed_as_was_said() {
    let pki = pki();
    let echo = Echo::start();
    let hold = |door: &Door| {
        let held = peer(&["hold", &door.port.to_string(), "--ca", text(&pki.root.ca.cert)]);
        held.wait_for_stdout("open", PATIENCE);
        held
    };
    for flags in [&["--max-connections", "1"][..], &["--max-concurrent-conns", "1", "--max-conns-action", "reject"]] {
        let door = pki.open(&echo.target(), flags);
        let mut held = hold(&door);
        assert!(hello(&door, &pki.root, None).contains("\"ok\": false"));
        assert_eq!(door.metric("tls_ambassador_connections_total{"), 1.0);
        assert!(door.metrics().contains("result=\"limit\"} 1"), "{}", door.metrics());
        // Places are counted five times a second.
        eventually("not ready", PATIENCE, || door.status("/readyz") == 503);
        held.close_stdin();
        eventually("a place is free", PATIENCE, || hello(&door, &pki.root, None).contains(OK));
    }
}

#[test]
fn one_client_has_no_more_connections_than_it_may() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.open(&echo.target(), &["--max-conns-per-ip", "2"]);
    let port = door.port.to_string();
    let hold = || {
        let held = peer(&["hold", &port, "--ca", text(&pki.root.ca.cert)]);
        held.wait_for_stdout("open", PATIENCE);
        held
    };
    let (mut one, _two) = (hold(), hold());
    assert!(hello(&door, &pki.root, None).contains("\"ok\": false"));
    assert!(door.metrics().contains("result=\"limit\"} 1"), "{}", door.metrics());
    assert_eq!(echo.connections(), 2);
    one.close_stdin();
    eventually("a place is free", PATIENCE, || hello(&door, &pki.root, None).contains(OK));
}

#[test]
fn clients_that_dawdle_through_their_handshake_give_way_to_new_ones() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.open(&echo.target(), &["--max-handshakes", "5", "--connect-timeout", "60s"]);
    let began = Instant::now();
    let _dawdling: Vec<TcpStream> = (0..20)
        .map(|number| {
            let mut stream = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
            // Some say nothing at all.
            stream.write_all(&b"\x16\x03\x01"[..number % 4]).unwrap();
            stream
        })
        .collect();
    eventually("the oldest are ended", PATIENCE, || {
        assert!(hello(&door, &pki.root, None).contains(OK));
        door.metric("tls_ambassador_handshake_failures_total{reason=\"timeout\"") >= 15.0
    });
    assert!(began.elapsed() < Duration::from_secs(55), "not by --connect-timeout");
}

#[test]
fn a_signal_may_be_told_by_the_exit_code() {
    let pki = pki();
    let door = pki.open("127.0.0.1:1", &["--exit-zero-on-sigterm=false"]);
    let exit = door.stop();
    assert_eq!(exit.code, Some(143), "{}", exit.stderr);
    assert!(exit.stderr.contains("error: ended in order by a signal\n"), "{}", exit.stderr);
    let door = pki.open("127.0.0.1:1", &["--exit-zero-on-sigterm=false", "--quitquitquit"]);
    assert_eq!(run(&["shutdown", "--admin-listen", &door.admin.to_string()]).code, Some(0));
    assert_eq!(door.process.wait_within(PATIENCE).code, Some(0));
}

#[test]
fn a_failed_handshake_is_told_with_all_that_is_known_of_the_client() {
    let pki = pki();
    let echo = Echo::start();
    let rules = ["--cacert", text(&pki.root.ca.cert), "--allow-cn", "client1", "--min-tls-version", "TLS1.3"];
    let door = Door::start("server", &echo.target(), &[&pki.certs()[..], &rules].concat()).ready();
    let said = hello(&door, &pki.root, Some(&pki.client2));
    assert!(said.contains("\"ok\": false"), "{said}");
    door.process.wait_for_stderr("error on TLS handshake", PATIENCE);
    let line = |word: &str| {
        let stderr = door.process.stderr();
        stderr.lines().find(|line| line.contains("error on TLS handshake") && line.contains(word)).unwrap().to_owned()
    };
    let der = support::pki::openssl(&["x509", "-in", text(&pki.client2.cert), "-noout", "-fingerprint", "-sha256"]);
    let fingerprint = der.split('=').nth(1).unwrap().trim().replace(':', "").to_lowercase();
    let told = line("not_allowed");
    for expected in [
        "peer=127.0.0.1:",
        "reason=\"not_allowed\"",
        "sni=\"localhost\"",
        "offered=\"TLS1.3 TLS1.2\"",
        "subject=\"OU=client2,CN=client2\"",
        &format!("fingerprint=\"{fingerprint}\""),
    ] {
        assert!(told.contains(expected), "{expected} is missing in {told}");
    }
    s_client(door.port, &["-tls1_2", "-servername", "old.test"]);
    door.process.wait_for_stderr("offered=\"TLS1.2\"", PATIENCE);
    assert!(line("old.test").contains("reason=\"protocol\""), "{}", line("old.test"));
}

#[test]
fn a_flood_of_failures_is_no_flood_of_lines() {
    let pki = pki();
    let door = pki.open("127.0.0.1:1", &[]);
    let began = Instant::now();
    for _ in 0..200 {
        let mut client = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    }
    eventually("all have failed", PATIENCE, || door.metric("tls_ambassador_handshake_failures_total") >= 200.0);
    let seconds = began.elapsed().as_secs() + 2;
    let lines = door.process.stderr().matches("error on TLS handshake").count() as u64;
    assert!(lines <= seconds * 10 && lines < 200, "{lines} lines in {seconds} s");
    std::thread::sleep(Duration::from_millis(1100));
    TcpStream::connect(("127.0.0.1", door.port)).unwrap().write_all(b"x").unwrap();
    door.process.wait_for_stderr("left_out=", PATIENCE);
}

#[test]
fn a_file_has_the_flags_and_variables_and_typed_flags_win_over_it() {
    let pki = pki();
    let (one, two) = (Echo::start(), Echo::start());
    let (first, second) = (free_port(), free_port());
    let [_, cert, _, key] = pki.certs();
    let (cert2, key2) = (text(&pki.client2.cert), text(&pki.client2.key));
    let file = pki.written(
        "door.toml",
        &format!(
            "listen = [\"127.0.0.1:{first}\"]\ntarget = [\"{}\"]\ncert = \"{cert}\"\nkey = \"{key}\"\ndisable-authentication = true\n\
             admin-listen = \"127.0.0.1:1\"\nmin-tls-version = \"TLS1.3\"\nmax-tls-version = \"TLS1.3\"\n\
             [[route]]\nname = \"second\"\nlisten = \"127.0.0.1:{second}\"\ntarget = \"{}\"\ncert = \"{cert2}\"\nkey = \"{key2}\"\n",
            one.target(),
            two.target()
        ),
    );
    let admin = free_port();
    let mut command = ambassador();
    command.args(["server", "--config", text(&file), "--min-tls-version", "TLS1.2"]);
    command.env("TLS_AMBASSADOR_ADMIN_LISTEN", format!("127.0.0.1:{admin}"));
    command.env("TLS_AMBASSADOR_MAX_TLS_VERSION", "TLS1.2");
    let admin = ([127, 0, 0, 1], admin).into();
    let mut door = Door { process: kit_test::Process::spawn(&mut command), port: first, admin }.ready();
    let said = hello(&door, &pki.root, None);
    assert!(said.contains(OK) && said.contains("\"cn\": \"server1\"") && said.contains("TLSv1.2"), "{said}");
    assert_eq!((one.connections(), two.connections()), (1, 0));
    door.port = second;
    let said = hello(&door, &pki.root, None);
    assert!(said.contains(OK) && said.contains("\"cn\": \"client2\""), "{said}");
    assert_eq!((one.connections(), two.connections()), (1, 1));
    assert!(door.metrics().contains("listener=\"second\",result=\"ok\"} 1"), "{}", door.metrics());
    // Each route's files are followed.
    let renewed = pki.root.issue("renewed");
    std::fs::copy(&renewed.key, &pki.client2.key).unwrap();
    std::fs::copy(&renewed.cert, &pki.client2.cert).unwrap();
    door.process.wait_for_stderr("CN=renewed", PATIENCE);
    assert!(hello(&door, &pki.root, None).contains("\"cn\": \"renewed\""));
    door.port = first;
    assert!(hello(&door, &pki.root, None).contains("\"cn\": \"server1\""));
}

#[test]
fn a_wrong_file_is_refused_with_the_line() {
    let pki = pki();
    let check = |content: &str, expected: &str, hint: &str| {
        let file = pki.written("wrong.toml", content);
        let exit = run(&["check", "server", "--config", text(&file)]);
        let lines: Vec<&str> = exit.stderr.lines().collect();
        let path = text(&file);
        assert_eq!(exit.code, Some(2), "{content}: {}", exit.stderr);
        assert_eq!(lines[0], format!("error: {}", expected.replace("FILE", path)), "{content}");
        assert_eq!(lines[1], format!("hint: {}", hint.replace("FILE", path)), "{content}");
    };
    check("\nlistn = ':1'\n", "unknown key \"listn\" in line 2 of FILE", "did you mean listen?");
    check(
        "config = 'x'\n",
        "line 1 of FILE names another file",
        "--config is for the command line: one file holds all",
    );
    check(
        "idle-timeout = '5'\n",
        "invalid value '5' for '--idle-timeout <DURATION>': \"5\" needs a unit; write 5ms, 5s or 5m",
        "the value of --idle-timeout came from line 1 of FILE",
    );
    check(
        "[[route]]\nname='a'\nlisten=':1'\ntargt='x:1'\n",
        "invalid value 'a:listen=:1,targt=x:1' for '--route <ROUTE>': a route has no targt; did you mean target?",
        "the value of --route came from line 1 of FILE",
    );
    check("threads = [1, 2]\n", "threads stands in lines 1 and 1 of FILE", "--threads has one value");
    let exit = run(&["check", "server", "--config", "/nowhere/x.toml"]);
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.starts_with("error: cannot read --config /nowhere/x.toml: No such file"), "{}", exit.stderr);
    let exit = run(&["server"]);
    assert_eq!(
        (exit.code, exit.stderr.lines().next()),
        (Some(2), Some("error: nobody would be let in: there is no access rule"))
    );
    let exit = run(&["server", "--disable-authentication"]);
    assert_eq!((exit.code, exit.stderr.lines().next()), (Some(2), Some("error: there is nothing to listen on")));
}

#[test]
fn check_prints_the_plan_and_version_the_version() {
    let pki = pki();
    let route = "db:listen=:5432,target=127.0.0.1:5433,starttls=postgres";
    let base = ["check", "server", "--listen", ":9200", "--target", "127.0.0.1:9201", "--disable-authentication"];
    let exit = run(&[&base[..], &pki.certs(), &["--route", route]].concat());
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let lines: Vec<&str> = exit.stderr.lines().collect();
    assert_eq!(lines[0], "server 0.0.0.0:9200 -> 127.0.0.1:9201");
    assert_eq!(lines[1], "  let in: anybody (disable-authentication)");
    assert_eq!(lines[2], "server 0.0.0.0:5432 -> 127.0.0.1:5433, starttls postgres (db)");
    assert_eq!(lines[3], "  let in: anybody (disable-authentication)");
    assert!(lines[4].starts_with("certificate ") && lines[4].contains("CN=server1, valid until 20"), "{lines:?}");
    assert_eq!(lines[5], "  for localhost, server1, 127.0.0.1, ::1");
    assert_eq!(lines.last(), Some(&"health and metrics on 127.0.0.1:9091"));
    let exit = run(&["version"]);
    assert_eq!(exit.code, Some(0));
    assert_eq!(String::from_utf8(exit.stdout).unwrap(), format!("tls-ambassador {}\n", env!("CARGO_PKG_VERSION")));
}

/// What the log says of a connection that works, of one whose app is gone, and of one that is no TLS.
fn log(pki: &Pki, flags: &[&str]) -> String {
    let gone = free_port();
    let second = format!("127.0.0.1:{}", free_port());
    let echo = Echo::start();
    let pairs =
        ["--listen", &second, "--target", &format!("127.0.0.1:{gone}"), "--compat=ghostunnel", "--log-level=info"];
    let mut door = pki.open(&echo.target(), &[&pairs[..], flags].concat());
    assert!(hello(&door, &pki.root, None).contains(OK));
    TcpStream::connect(("127.0.0.1", door.port)).unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    door.port = second.rsplit(':').next().unwrap().parse().unwrap();
    assert!(hello(&door, &pki.root, None).contains("\"ok\": false"));
    eventually("all are over", PATIENCE, || door.metric("tls_ambassador_connections_total{") == 3.0);
    door.stop().stderr
}

#[test]
fn s48_each_kind_of_line_can_be_left_out() {
    let pki = pki();
    let kinds = ["opening pipe", "closed pipe", "error on dial", "error on TLS handshake"];
    let seen = |flags: &[&str]| {
        let log = log(&pki, flags);
        kinds.map(|kind| log.contains(kind))
    };
    assert_eq!(seen(&[]), [true, true, true, true]);
    assert_eq!(seen(&["--quiet", "conns"]), [false, false, true, true]);
    assert_eq!(seen(&["--quiet=conn-errs"]), [true, true, false, true]);
    assert_eq!(seen(&["--quiet=handshake-errs", "--quiet=conns"]), [false, false, true, false]);
    assert_eq!(log(&pki, &["--quiet=all"]), "");
}

#[test]
fn a_program_called_ghostunnel_wants_its_target_to_resolve() {
    let pki = pki();
    let folder = tempfile::tempdir().unwrap();
    let ghost = folder.path().join("ghostunnel.cover");
    std::os::unix::fs::symlink(ambassador().get_program(), &ghost).unwrap();
    let base = ["client", "--listen=127.0.0.1:0", "--target=nowhere.invalid:1", "--status=127.0.0.1:0"];
    let trust = format!("--cacert={}", text(&pki.root.ca.cert));
    let exit = kit_test::Process::spawn(Command::new(&ghost).args(base).arg(&trust)).wait_within(PATIENCE);
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("invalid target address nowhere.invalid:1: failed to lookup"), "{}", exit.stderr);
    let mut skipping = kit_test::Process::spawn(Command::new(&ghost).args(base).args([&trust, "--skip-resolve"]));
    skipping.wait_for_stderr("listening", PATIENCE);
    skipping.signal(Signal::TERM);
    assert_eq!(skipping.wait_within(PATIENCE).code, Some(0));
}

#[test]
fn an_end_during_a_handshake_or_a_dial_is_orderly() {
    let pki = pki();
    let echo = Echo::start();
    let mut door = pki.open(&echo.target(), &["--connect-timeout", "2s"]);
    let mut silent = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
    silent.write_all(b"\x16").unwrap();
    eventually("accepted", PATIENCE, || door.metric("tls_ambassador_connections_open") == 1.0);
    door.process.signal(Signal::TERM);
    let exit = door.process.wait_within(PATIENCE);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(silent.read(&mut [0; 100]).unwrap_or(0), 0);
}
