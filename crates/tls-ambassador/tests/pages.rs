//! The pages beside health and metrics, on TCP, over TLS and on a unix socket, and what neighbours may change.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kit_test::{Process, eventually, free_port};
use serde_json::Value;
use support::pki::{Authority, Pair, text};
use support::{Door, Echo, PATIENCE, ambassador, hello, run};
use tempfile::TempDir;

struct Pki {
    folder: TempDir,
    root: Authority,
    server: Pair,
}

fn pki() -> Pki {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let server = root.issue("server1");
    Pki { folder, root, server }
}

impl Pki {
    fn open(&self, target: &str, flags: &[&str]) -> Door {
        let certs = ["--cert", text(&self.server.cert), "--key", text(&self.server.key), "--disable-authentication"];
        Door::start("server", target, &[&certs, flags].concat())
    }
}

/// What `curl` gets: the status and the body.
fn curl(arguments: &[&str]) -> (String, String) {
    let output = Command::new("curl").args(["-s", "-w", "\n%{http_code}"]).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.to_owned(), body.trim().to_owned())
}

#[test]
fn other_programs_names_and_the_version_are_there() {
    let door = pki().open("127.0.0.1:1", &[]).ready();
    for path in ["/healthz", "/liveness", "/readiness", "/startup", "/ping", "/_metrics/prometheus", "/_metrics/json"] {
        assert_eq!(door.status(path), 200, "{path}");
    }
    let url = |path: &str| format!("http://{}{path}", door.admin);
    assert_eq!(curl(&[&url("/version")]).1, format!("tls-ambassador {}", env!("CARGO_PKG_VERSION")));
    assert!(curl(&[&url("/_metrics?format=prometheus")]).1.contains("# TYPE tls_ambassador_connections_open gauge"));
    assert!(door.metrics().contains("process_open_fds "), "told from inside the sandbox");
    assert!(door.metric("process_resident_memory_bytes") > 1e6);
}

#[test]
fn neighbours_may_ask_for_a_reload_and_change_the_level_of_the_log() {
    let pki = pki();
    let door = pki.open("127.0.0.1:1", &[]).ready();
    let url = |path: &str| format!("http://{}{path}", door.admin);
    assert_eq!(curl(&[&url("/reload")]).0, "405");
    assert_eq!(curl(&["-X", "POST", &url("/reload")]).0, "200");
    eventually("reloaded", PATIENCE, || door.metric("tls_ambassador_reload_total{result=\"ok\"") == 1.0);
    assert_eq!(curl(&[&url("/log-level")]).1, "debug");
    assert_eq!(curl(&["-T", "-", &url("/log-level")]).0, "400");
    assert_eq!(curl(&["-X", "PUT", "-d", "loud", &url("/log-level")]).0, "400");
    assert_eq!(curl(&["-X", "PUT", "-d", "error", &url("/log-level")]), ("200".to_owned(), "error".to_owned()));
    let before = door.process.stderr();
    TcpStream::connect(("127.0.0.1", door.port)).unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    eventually("failed", PATIENCE, || door.metric("tls_ambassador_handshake_failures_total") == 1.0);
    assert_eq!(door.process.stderr(), before, "nothing is said at this level");
    assert_eq!(curl(&["-X", "PUT", "-d", "info", &url("/log-level")]).0, "200");
    TcpStream::connect(("127.0.0.1", door.port)).unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    door.process.wait_for_stderr("error on TLS handshake", PATIENCE);
}

#[test]
fn what_changes_something_is_taken_from_loopback_only() {
    let pki = pki();
    let echo = Echo::start();
    let Some(own) = own_address() else { return };
    let certs = ["--cert", text(&pki.server.cert), "--key", text(&pki.server.key), "--disable-authentication"];
    let admin = format!("0.0.0.0:{}", free_port());
    let listen = format!("127.0.0.1:{}", free_port());
    let target = echo.target();
    let base = ["server", "--listen", &listen, "--target", &target, "--admin-listen", &admin, "--quitquitquit"];
    let process = Process::spawn(ambassador().args(base).args(certs));
    process.wait_for_stderr("listening", PATIENCE);
    let port = admin.rsplit(':').next().unwrap();
    let (near, far) = (format!("http://127.0.0.1:{port}"), format!("http://{own}:{port}"));
    assert_eq!(curl(&[&format!("{far}/readyz")]).0, "200");
    assert_eq!(curl(&[&format!("{far}/log-level")]).0, "200");
    for (method, path) in
        [("POST", "/reload"), ("PUT", "/log-level"), ("POST", "/_shutdown"), ("POST", "/quitquitquit")]
    {
        assert_eq!(curl(&["-X", method, "-d", "info", &format!("{far}{path}")]).0, "403", "{path}");
    }
    assert_eq!(curl(&["-X", "POST", &format!("{near}/_shutdown")]).0, "200");
    assert_eq!(process.wait_within(PATIENCE).code, Some(0));
}

/// An address of this machine that is not loopback.
fn own_address() -> Option<String> {
    let output = Command::new("hostname").arg("-I").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    said.split_whitespace().find(|address| !address.contains(':')).map(str::to_owned)
}

/// An app whose page is well or not.
fn app(well: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let well = Arc::clone(well);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _count = stream.read(&mut [0; 4096]);
            let status = if well.load(Ordering::SeqCst) { "200 OK" } else { "503 No" };
            let _gone = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    port
}

#[test]
fn s46_the_status_page_follows_readiness_and_the_check_of_the_app() {
    let well = Arc::new(AtomicBool::new(true));
    let page = format!("http://127.0.0.1:{}/healthz", app(&well));
    let door = pki().open("127.0.0.1:1", &["--target-status", &page]).ready();
    let url = format!("http://{}/_status", door.admin);
    let asked = || {
        let (status, body) = curl(&[&url]);
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let (status, said) = asked();
    assert_eq!((status.as_str(), &said["ok"], &said["status"]), ("200", &true.into(), &"listening".into()), "{said}");
    assert!(said["last_reload"].as_f64().unwrap() > 1e9 && said["forward_address"] == "127.0.0.1:1", "{said}");
    well.store(false, Ordering::SeqCst);
    eventually("not ok", PATIENCE, || asked().1["ok"] == false);
    let (status, said) = asked();
    assert_eq!((status.as_str(), &said["backend_ok"]), ("503", &false.into()), "{said}");
    assert!(said["backend_error"].as_str().unwrap().contains("answers 503"), "{said}");
    well.store(true, Ordering::SeqCst);
    eventually("ok again", PATIENCE, || asked().1["ok"] == true);
}

#[test]
fn s45_health_and_metrics_are_told_on_a_unix_socket_and_over_tls_with_the_renewed_certificate() {
    let pki = pki();
    let echo = Echo::start();
    let socket = support::socket_path(pki.folder.path());
    let door = pki.open(&echo.target(), &["--admin-socket", text(&socket), "--admin-tls"]);
    let ca = text(&pki.root.ca.cert);
    let url = format!("https://localhost:{}/readyz", door.admin.port());
    eventually("ready over TLS", PATIENCE, || curl(&["--cacert", ca, &url]).0 == "200");
    assert_eq!(curl(&["--unix-socket", text(&socket), "http://x/readyz"]).0, "200");
    assert_eq!(curl(&["--unix-socket", text(&socket), "-X", "POST", "http://x/reload"]).0, "200");
    assert!(TcpStream::connect(door.admin).is_ok());
    let renewed = pki.root.issue("renewed");
    std::fs::copy(&renewed.key, &pki.server.key).unwrap();
    std::fs::copy(&renewed.cert, &pki.server.cert).unwrap();
    door.process.wait_for_stderr("CN=renewed", PATIENCE);
    let seen = support::ask(&["echo", &door.admin.port().to_string(), "--ca", ca]);
    assert!(seen.contains("echo differs") || seen.contains("closed after"), "HTTP answers, no echo: {seen}");
    let mut shown = shown_of(Command::new("sh").arg("-c").arg(format!(
        "openssl s_client -connect 127.0.0.1:{} </dev/null 2>/dev/null | openssl x509 -noout -subject",
        door.admin.port()
    )));
    shown.retain(|letter| letter != ' ');
    assert!(shown.contains("CN=renewed"), "{shown}");
    assert!(hello(&door, &pki.root, None).contains("\"cn\": \"renewed\""));
    assert_eq!(door.stop().code, Some(0));
    assert!(UnixStream::connect(&socket).is_err() && !socket.exists());
}

/// What a neighbour's command comes to: its exit code and its first two lines.
fn neighbour(arguments: &[&str]) -> (Option<i32>, String) {
    let exit = run(arguments);
    (exit.code, exit.stderr.lines().take(2).collect::<Vec<_>>().join("; "))
}

#[test]
fn neighbours_ask_over_tls_whoever_shows_the_certificate_that_they_were_given() {
    let pki = pki();
    let cert = text(&pki.server.cert).to_owned();
    let door = pki.open("127.0.0.1:1", &["--admin-tls", "--quitquitquit"]);
    let at = door.admin.to_string();
    let tls = ["--admin-listen", &at, "--admin-tls", "--cert", &cert];
    let ask = |command: &[&str], tls: &[&str]| neighbour(&[command, tls].concat());
    assert_eq!(ask(&["wait", "--max", "60s"], &tls), (Some(0), String::new()));
    assert_eq!(ask(&["healthcheck"], &tls), (Some(0), String::new()));
    assert_eq!(ask(&["healthcheck", "--path", "/livez"], &tls).0, Some(0));
    let (code, said) = ask(&["healthcheck", "--path", "/nowhere"], &tls);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("https://{at}/nowhere answers 404")), "{said}");
    // In plain text nobody understands it, and another certificate is not believed.
    let (code, said) = ask(&["healthcheck"], &tls[..2]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the answer is not HTTP") && said.contains("with --admin-tls and the same"), "{said}");
    let other = pki.root.issue("server1");
    let strange = ["--admin-listen", &at, "--admin-tls", "--cert", text(&other.cert)];
    for command in [&["healthcheck"][..], &["shutdown"]] {
        let (code, said) = ask(command, &strange);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("cannot ask https://{at}/")), "{said}");
        assert!(said.contains(": it shows another public key than the given certificate has; hint: "), "{said}");
    }
    let (code, said) = ask(&["wait", "--max", "100ms"], &strange);
    assert!(code == Some(124) && said.starts_with("error: not ready within 100ms"), "{said}");
    // A certificate that is not there yet is waited for.
    let began = std::time::Instant::now();
    let late = ["--admin-listen", &at, "--admin-tls", "--cert", "/nowhere/tls.crt"];
    let (code, said) = ask(&["wait", "--max", "500ms"], &late);
    assert!(code == Some(2) && said.contains("cannot read certificate /nowhere/tls.crt"), "{said}");
    assert!(began.elapsed() >= std::time::Duration::from_millis(400));
    // The variables that a container has serve its probe as they are.
    let mut probe = ambassador();
    probe.arg("healthcheck").env("TLS_AMBASSADOR_ADMIN_LISTEN", &at).env("TLS_AMBASSADOR_ADMIN_TLS", "true");
    probe.env("TLS_AMBASSADOR_CERT", &cert).env("TLS_AMBASSADOR_KEY", text(&pki.server.key));
    assert_eq!(Process::spawn(&mut probe).wait_within(PATIENCE).code, Some(0));
    // A renewed certificate is asked for as soon as it is there.
    let renewed = pki.root.issue("renewed");
    std::fs::copy(&renewed.key, &pki.server.key).unwrap();
    std::fs::copy(&renewed.cert, &pki.server.cert).unwrap();
    assert_eq!(ask(&["wait", "--max", "60s"], &tls), (Some(0), String::new()));
    door.process.wait_for_stderr("CN=renewed", PATIENCE);
    assert_eq!(ask(&["shutdown"], &tls), (Some(0), String::new()));
    assert_eq!(door.process.wait_within(PATIENCE).code, Some(0));
}

#[test]
fn neighbours_know_a_keystore_and_say_what_is_missing() {
    let pki = pki();
    let folder = pki.folder.path();
    let (store, word) = (folder.join("tls.p12"), folder.join("word"));
    let (key, cert) = (text(&pki.server.key), text(&pki.server.cert));
    support::pki::openssl(&[
        "pkcs12",
        "-export",
        "-inkey",
        key,
        "-in",
        cert,
        "-out",
        text(&store),
        "-passout",
        "pass:one",
    ]);
    std::fs::write(&word, "one\n").unwrap();
    let files = ["--keystore", text(&store), "--storepass-file", text(&word), "--admin-tls"];
    let door = Door::start("server", "127.0.0.1:1", &[&files[..], &["--disable-authentication"]].concat());
    let at = door.admin.to_string();
    let asked = neighbour(&[&["wait", "--max", "60s", "--admin-listen", &at], &files[..]].concat());
    assert_eq!(asked, (Some(0), String::new()));
    let refused =
        |arguments: &[&str]| neighbour(&[&["shutdown", "--admin-listen", &at, "--admin-tls"], arguments].concat());
    assert_eq!(
        refused(&[]).1,
        "error: --admin-tls does not say which certificate the ambassador shows; hint: give the same --cert or --keystore as to the ambassador"
    );
    let (code, said) = refused(&["--keystore", text(&store)]);
    assert_eq!(code, Some(2));
    assert!(
        said.starts_with("error: cannot tell which certificate the ambassador shows: cannot use keystore "),
        "{said}"
    );
    let (code, said) = refused(&files[..4]);
    assert_eq!(code, Some(1));
    assert!(said.contains("/quitquitquit answers 405; hint: start the ambassador with --quitquitquit"), "{said}");
}

fn shown_of(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn a_page_over_tls_without_a_certificate_is_refused() {
    let base = ["client", "--listen", "127.0.0.1:0", "--target", "localhost:1", "--admin-tls", "--disable-sandbox"];
    let exit = run(&base);
    assert_eq!(
        (exit.code, exit.stderr.lines().next()),
        (Some(2), Some("error: --admin-tls has no certificate to show"))
    );
}

#[test]
fn ghostunnel_s_page_of_metrics_has_its_names_and_counts() {
    let pki = pki();
    let echo = Echo::start();
    let folder = tempfile::tempdir().unwrap();
    let ghost = folder.path().join("ghostunnel");
    std::os::unix::fs::symlink(ambassador().get_program(), &ghost).unwrap();
    // The foreign suite holds its ports with sockets of its own meanwhile.
    let (port, status) = (reserved(), reserved());
    let mut command = Command::new(&ghost);
    command.args(["server", "--disable-authentication", "--connect-timeout=1s", "--enable-pprof"]);
    command.arg(format!("--listen=localhost:{}", port.1).replace("localhost", "127.0.0.1"));
    command.arg(format!("--target=localhost:{}", echo.port)).arg(format!("--status=127.0.0.1:{}", status.1));
    command.args(["--cert", text(&pki.server.cert), "--key", text(&pki.server.key)]);
    let door = Door { process: Process::spawn(&mut command), port: port.1, admin: ([127, 0, 0, 1], status.1).into() };
    let (ca, at) = (text(&pki.root.ca.cert), format!("https://localhost:{}", status.1));
    eventually("ready", PATIENCE, || curl(&["--cacert", ca, &format!("{at}/_status")]).0 == "200");
    assert!(hello(&door, &pki.root, None).contains("\"ok\": true"));
    let _silent = TcpStream::connect(("127.0.0.1", port.1)).unwrap();
    TcpStream::connect(("127.0.0.1", port.1)).unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let metric = |name: &str| {
        let body = curl(&["--cacert", ca, &format!("{at}/_metrics")]).1;
        let all: Vec<Value> = serde_json::from_str(&body).unwrap();
        let found = all.iter().find(|item| item["metric"] == format!("ghostunnel.{name}"));
        found.unwrap_or_else(|| panic!("{name} is missing in {body}"))["value"].as_f64().unwrap()
    };
    eventually("all three are told", PATIENCE, || {
        (metric("accept.success"), metric("accept.timeout"), metric("accept.error")) == (1.0, 1.0, 1.0)
    });
    assert_eq!(metric("accept.total"), 3.0);
    eventually("none is open", PATIENCE, || metric("conn.open") == 0.0);
    for name in ["lifetime", "handshake"] {
        assert_eq!(metric(&format!("conn.{name}.count")), 1.0);
        for part in ["min", "max", "mean", "50-percentile", "75-percentile", "95-percentile", "99-percentile"] {
            assert!(metric(&format!("conn.{name}.{part}")) > 0.0, "{name} {part}");
        }
    }
    let tasks = curl(&["--cacert", ca, &format!("{at}/debug/pprof/goroutine?debug=1")]).1;
    assert!(tasks.starts_with("goroutine profile: total "), "{tasks}");
    assert!(door.process.stderr_contains("opening pipe") && door.process.stderr_contains("closed pipe"));
}

/// A port that a socket of ours holds for sharing and does not listen on.
fn reserved() -> (socket2::Socket, u16) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}
