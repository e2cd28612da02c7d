//! The L list: start, readiness, drain, end, and the commands that neighbours run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kit_test::{Process, Signal, eventually, free_port, try_http_get};
use support::pki::{Authority, text};
use support::{Door, Echo, PATIENCE, ambassador, hello, peer, run};
use tempfile::TempDir;

const OK: &str = "\"ok\": true";

struct Pki {
    _folder: TempDir,
    root: Authority,
    flags: Vec<String>,
}

fn pki() -> Pki {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let server = root.issue("server1");
    let flags = ["--cert", text(&server.cert), "--key", text(&server.key), "--disable-authentication"];
    Pki { _folder: folder, root, flags: flags.map(str::to_owned).to_vec() }
}

impl Pki {
    fn start(&self, target: &str, more: &[&str]) -> Door {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Door::start("server", target, &flags).ready()
    }

    /// A client that holds a connection open.
    fn hold(&self, door: &Door) -> Process {
        let held = peer(&["hold", &door.port.to_string(), "--ca", text(&self.root.ca.cert)]);
        held.wait_for_stdout("open", PATIENCE);
        held
    }
}

#[test]
fn l01_l07_it_is_ready_before_the_app_exists() {
    let door = pki().start(&format!("127.0.0.1:{}", free_port()), &[]);
    assert_eq!((door.status("/startupz"), door.status("/livez"), door.status("/readyz")), (200, 200, 200));
}

#[test]
fn l03_told_to_stop_it_is_unready_and_accepts_until_the_delay_is_over() {
    let pki = pki();
    let echo = Echo::start();
    // Long enough for a client that a busy machine starts slowly.
    let delay = Duration::from_secs(10);
    let mut door = pki.start(&echo.target(), &["--shutdown-delay", "10s", "--grace", "60s"]);
    let began = Instant::now();
    door.process.signal(Signal::TERM);
    eventually("not ready", PATIENCE, || door.status("/readyz") == 503);
    assert!(began.elapsed() < delay);
    assert!(hello(&door, &pki.root, None).contains(OK));
    let exit = door.process.wait_within(PATIENCE);
    assert!(began.elapsed() >= delay);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
}

#[test]
fn l08_s35_s36_s39_a_drain_refuses_new_connections_and_lets_open_ones_finish() {
    let pki = pki();
    let echo = Echo::start();
    let mut door = pki.start(&echo.target(), &["--grace", "60s"]);
    let mut held = pki.hold(&door);
    door.process.signal(Signal::TERM);
    eventually("refused", PATIENCE, || TcpStream::connect(("127.0.0.1", door.port)).is_err());
    door.process.signal(Signal::HUP);
    writeln!(held.stdin(), "more").unwrap();
    held.wait_for_stdout(OK, PATIENCE);
    assert!(door.process.is_running());
    held.close_stdin();
    assert_eq!(door.process.wait_within(PATIENCE).code, Some(0));
}

#[test]
fn l06_sigint_and_sigterm_both_end_it_with_0() {
    let pki = pki();
    for signal in [Signal::TERM, Signal::INT] {
        let mut door = pki.start("127.0.0.1:1", &[]);
        door.process.signal(signal);
        let exit = door.process.wait_within(PATIENCE);
        assert_eq!(exit.code, Some(0), "{signal:?}: {}", exit.stderr);
    }
}

#[test]
fn s37_what_is_open_at_the_end_of_the_grace_is_cut_and_the_code_is_4() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.start(&echo.target(), &["--shutdown-timeout", "1s"]);
    let _held = pki.hold(&door);
    let exit = door.stop();
    assert_eq!(exit.code, Some(4));
    assert!(exit.stderr.contains("error: 1 connections were open when the grace period ended"), "{}", exit.stderr);
}

#[test]
fn l08_a_second_signal_ends_it_at_once() {
    let pki = pki();
    let echo = Echo::start();
    let mut door = pki.start(&echo.target(), &["--grace", "300s"]);
    let _held = pki.hold(&door);
    door.process.signal(Signal::TERM);
    eventually("draining", PATIENCE, || door.status("/readyz") == 503);
    door.process.signal(Signal::INT);
    assert_ne!(door.process.wait_within(PATIENCE).code, Some(0));
}

fn post(door: &Door, method: &str) -> String {
    let mut stream = TcpStream::connect(door.admin).unwrap();
    write!(stream, "{method} /quitquitquit HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn l04_s38_a_neighbour_can_end_it_by_post_where_that_was_allowed() {
    let pki = pki();
    let door = pki.start("127.0.0.1:1", &["--quitquitquit"]);
    assert_eq!(post(&door, "GET"), "HTTP/1.1 405 Method Not Allowed");
    let admin = door.admin.to_string();
    assert_eq!(run(&["shutdown", "--admin-listen", &admin]).code, Some(0));
    assert_eq!(door.process.wait_within(PATIENCE).code, Some(0));
    let door = pki.start("127.0.0.1:1", &[]);
    let exit = run(&["shutdown", "--admin-listen", &door.admin.to_string()]);
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("hint: start the ambassador with --quitquitquit"), "{}", exit.stderr);
}

#[test]
fn l05_wait_returns_when_it_is_ready_and_124_when_it_is_not() {
    let pki = pki();
    let admin = format!("127.0.0.1:{}", free_port());
    let waiting = Process::spawn(ambassador().args(["wait", "--max", "60s", "--admin-listen", &admin]));
    let flags: Vec<&str> = pki.flags.iter().map(String::as_str).collect();
    let base = ["server", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1", "--admin-listen", &admin];
    let _door = Process::spawn(ambassador().args(base).args(&flags));
    assert_eq!(waiting.wait_within(PATIENCE).code, Some(0));
    assert_eq!(run(&["healthcheck", "--admin-listen", &admin]).code, Some(0));
    let nobody = format!("127.0.0.1:{}", free_port());
    let exit = run(&["wait", "--max", "200ms", "--admin-listen", &nobody]);
    assert_eq!(exit.code, Some(124));
    assert!(exit.stderr.starts_with("error: not ready within 200ms: "), "{}", exit.stderr);
    assert_eq!(run(&["healthcheck", "--admin-listen", &nobody]).code, Some(1));
}

#[test]
fn check_says_what_would_be_served_and_opens_nothing() {
    let pki = pki();
    let flags: Vec<&str> = pki.flags.iter().map(String::as_str).collect();
    let base = ["check", "server", "--listen", ":9200", "--target", "127.0.0.1:9201"];
    let exit = run(&[base.as_slice(), &flags].concat());
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let plan = "server 0.0.0.0:9200 -> 127.0.0.1:9201\n  let in: anybody (disable-authentication)\ncertificate ";
    assert!(exit.stderr.starts_with(plan), "{}", exit.stderr);
}

#[test]
fn a_delay_that_leaves_nothing_of_the_grace_is_refused() {
    let pki = pki();
    let flags: Vec<&str> = pki.flags.iter().map(String::as_str).collect();
    let base = ["server", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1", "--shutdown-delay", "25s"];
    for before in [&[][..], &["check"]] {
        let exit = run(&[before, base.as_slice(), &flags].concat());
        assert_eq!(exit.code, Some(2));
        assert!(exit.stderr.starts_with("error: --shutdown-delay leaves nothing of --grace\n"), "{}", exit.stderr);
    }
}

#[test]
fn a_missing_command_and_a_wrong_place_for_a_socket_are_told_as_what_they_are() {
    for arguments in [&[][..], &["check"]] {
        let exit = run(arguments);
        assert_eq!((exit.code, exit.stderr.lines().next()), (Some(2), Some("error: a command is missing")));
    }
    let pki = pki();
    let flags: Vec<&str> = pki.flags.iter().map(String::as_str).collect();
    let base =
        ["server", "--listen", "unix:/nowhere/s.sock", "--target", "127.0.0.1:1", "--admin-listen", "127.0.0.1:0"];
    let exit = run(&[base.as_slice(), &flags].concat());
    assert_eq!(exit.code, Some(1));
    let expected = "error: cannot listen on unix:/nowhere/s.sock: No such file or directory (os error 2)\n\
                    hint: its folder must be there and writable, and nothing but a socket in its place\n";
    assert!(exit.stderr.ends_with(expected), "{}", exit.stderr);
}

#[test]
fn several_pairs_share_one_process() {
    let pki = pki();
    let (one, two) = (Echo::start(), Echo::start());
    let second = free_port();
    let listen = format!("127.0.0.1:{second}");
    let mut door = pki.start(&one.target(), &["--listen", &listen, "--target", &two.target()]);
    assert!(hello(&door, &pki.root, None).contains(OK));
    assert_eq!((one.connections(), two.connections()), (1, 0));
    door.port = second;
    assert!(hello(&door, &pki.root, None).contains(OK));
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

/// Debian's libfaketime: it lies to a program about the date, and leaves the monotonic clock alone. It cannot reach into a
/// static program, so this is always the one that cargo built for the tests.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

#[test]
fn l11_a_clock_that_jumps_back_breaks_no_timer() {
    let Some(library) = faketime() else {
        eprintln!("skipped: no libfaketime");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let (first, second) = (root.issue("first"), root.issue("second"));
    let served = tempfile::tempdir().unwrap();
    let place = |name: &str| served.path().join(name);
    let serve = |pair: &support::pki::Pair| {
        std::fs::write(place("tls.key"), pair.key_bytes()).unwrap();
        std::fs::write(place("tls.crt"), pair.cert_bytes()).unwrap();
    };
    serve(&first);
    std::fs::write(place("clock"), "+2h").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tls-ambassador"));
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", place("clock"));
    command.envs([("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]);
    let echo = Echo::start();
    let port = free_port();
    let (cert, key) = (place("tls.crt"), place("tls.key"));
    let flags = ["--cert", text(&cert), "--key", text(&key), "--disable-authentication", "--connect-timeout", "5s"];
    let flags = [&flags[..], &["--idle-timeout", "6s", "--grace", "3s"]].concat();
    let mut door = Door::launch(command, "server", &format!("127.0.0.1:{port}"), &echo.target(), &flags).ready();
    door.port = port;
    let clock = || {
        let page = try_http_get(door.admin, "/_status").unwrap().body;
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        page["time"].as_f64().unwrap()
    };
    let pki = Pki { _folder: folder, root, flags: Vec::new() };

    // Timers that began before the jump end in time after it: of a handshake that stalls, and of a connection that is idle.
    let ahead = clock();
    let mut stalled = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let idle = pki.hold(&door);
    std::fs::write(place("clock"), "+0").unwrap();
    let jumped = ahead - clock();
    assert!((7000.0..7300.0).contains(&jumped), "the clock went back by {jumped} s");
    stalled.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(stalled.read(&mut [0; 64]), Ok(0) | Err(_)), "the stalled handshake is cut");
    eventually("idle connection closed", PATIENCE, || door.metric("tls_ambassador_connections_open") < 1.0);
    drop(idle);

    // What is new works, and what waits for a time still does: the next certificate, the end of a drain.
    assert!(hello(&door, &pki.root, None).contains(OK));
    serve(&second);
    eventually("the second certificate is served", PATIENCE, || hello(&door, &pki.root, None).contains("second"));
    let _held = pki.hold(&door);
    let began = Instant::now();
    let exit = door.stop();
    assert_eq!(exit.code, Some(4), "{}", exit.stderr);
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
}
