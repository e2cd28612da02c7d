//! Files, health, Elasticsearch's shape, the end, and refusals.

use std::fs;
use std::io::{Read, Write};
use std::time::Duration;

use kit_test::{Process, Signal, eventually, http_get};

use crate::app::{App, PATIENCE, command};

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn files_come_with_their_type_and_length() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("index.html"), "<h1>hello</h1>").unwrap();
    // Larger than one chunk of the server and than a socket's buffer.
    let large: Vec<u8> = (0..3_000_001_u32).map(|n| b'a' + (n % 23) as u8).collect();
    fs::write(root.path().join("large.txt"), &large).unwrap();
    let app = App::start(&["--root", root.path().to_str().unwrap()]);

    let (head, body) = app.send("GET /", "");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert_eq!(header(&head, "content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(header(&head, "content-length"), Some("14"));
    assert_eq!(body, "<h1>hello</h1>");
    assert!(http_get(app.address, "/large.txt").body.as_bytes() == large);

    let (head, body) = app.send("HEAD /index.html", "");
    assert_eq!((header(&head, "content-length"), body.as_str()), (Some("14"), ""));
    let modified = header(&head, "last-modified").unwrap().to_owned();
    let (head, body) = app.send("GET /", &format!("If-Modified-Since: {modified}\r\n"));
    assert!(head.starts_with("HTTP/1.1 304"), "{head}");
    assert_eq!(body, "");
}

#[test]
fn what_is_not_there_is_404_and_what_is_not_done_is_405() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    fs::create_dir(folder.path().join("root")).unwrap();
    let app = App::start(&["--root", folder.path().join("root").to_str().unwrap()]);
    for path in ["/", "/nothing", "/../secret", "/%2e%2e/secret", "/..%2fsecret"] {
        let (head, body) = app.send(&format!("GET {path}"), "");
        assert!(head.starts_with("HTTP/1.1 404"), "{path}: {head}");
        assert_eq!(body, "not found\n");
    }
    let (head, _) = app.send("DELETE /", "");
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
    assert_eq!(header(&head, "allow"), Some("GET, HEAD"));
    let (head, _) = app.send("GET /fail", "");
    assert_eq!(header(&head, "allow"), Some("POST"));
}

#[test]
fn it_is_ready_late_unhealthy_later_and_fails_and_recovers_on_request() {
    let app = App::start(&["--ready-after", "2s", "--unhealthy-after", "3s"]);
    let answer = http_get(app.address, "/ready");
    assert_eq!((answer.status, answer.body.as_str()), (503, "ready 2s after the start\n"));
    assert_eq!(app.status("/healthz"), 200);
    eventually("/ready to succeed", PATIENCE, || app.status("/ready") == 200);
    eventually("/healthz to fail", PATIENCE, || app.status("/healthz") == 503);
    assert_eq!(app.status("/ready"), 200, "readiness has nothing to do with --unhealthy-after");

    assert!(app.send("POST /recover", "").0.starts_with("HTTP/1.1 200"));
    assert_eq!(app.status("/healthz"), 200);
    assert!(app.send("POST /fail", "Content-Length: 0\r\n").0.starts_with("HTTP/1.1 200"));
    let answer = http_get(app.address, "/healthz");
    assert_eq!((answer.status, answer.body.as_str()), (503, "told to fail by POST /fail\n"));
    assert_eq!(app.status("/ready"), 503);
}

#[test]
fn the_admin_endpoint_and_the_healthcheck_follow_the_readiness() {
    let app = App::start(&["--admin-listen", "127.0.0.1:0"]);
    let admin = app.admin();
    let healthcheck = || {
        let mut check = command();
        check.arg("healthcheck").env("DEMO_APP_ADMIN_LISTEN", admin.to_string());
        Process::spawn(&mut check).wait_within(PATIENCE)
    };
    assert_eq!(healthcheck().code, Some(0));
    assert_eq!(http_get(admin, "/livez").status, 200);
    app.send("POST /fail", "");
    let exit = healthcheck();
    assert_eq!(exit.code, Some(1));
    let expected = format!(
        "error: not healthy: http://{admin}/readyz answers 503: ready: told to fail by POST /fail\n\
         hint: the tool's own log says more\n"
    );
    assert_eq!(exit.stderr, expected);
    let metrics = http_get(admin, "/metrics").body;
    assert!(metrics.contains("demo_app_requests_total{code=\"200\"} 1\n"), "{metrics}");
    assert!(metrics.contains("podkit_build_info{tool=\"demo-app\""), "{metrics}");
}

#[test]
fn it_can_look_like_elasticsearch() {
    let app = App::start(&["--shape", "elasticsearch"]);
    let (head, body) = app.send("GET /", "");
    assert_eq!(header(&head, "x-elastic-product"), Some("Elasticsearch"));
    assert_eq!(header(&head, "content-type"), Some("application/json; charset=UTF-8"));
    assert!(body.contains("You Know, for Search"), "{body}");
    for path in
        ["/_cluster/health", "/_nodes/stats", "/_all/_stats", "/_cat/indices?v", "/_search?q=logs", "/_cluster/health/"]
    {
        assert_eq!(app.status(path), 200, "{path}");
    }
    assert_eq!(app.status("/_nothing"), 404);
    assert_eq!(app.status("/healthz"), 200, "its own paths are there too");
    assert!(app.send("POST /articles/_search", "Content-Length: 0\r\n").0.starts_with("HTTP/1.1 200"));
}

#[test]
fn sigterm_closes_idle_connections_and_ends_at_once() {
    let mut app = App::start(&[]);
    let mut idle = app.connect();
    write!(idle, "GET /healthz HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).unwrap();
    let start = std::time::Instant::now();
    app.process.signal(Signal::TERM);
    let exit = app.process.wait_within(PATIENCE);
    assert_eq!((exit.code, exit.stdout), (Some(0), Vec::new()));
    assert!(start.elapsed() < Duration::from_secs(5), "it waited for the grace period of 10s");
}

#[test]
fn sigterm_lets_a_running_answer_finish() {
    let root = tempfile::tempdir().unwrap();
    let large = vec![b'x'; 64 << 20];
    fs::write(root.path().join("large"), &large).unwrap();
    let mut app = App::start(&["--root", root.path().to_str().unwrap(), "--grace", "30s"]);
    let mut reader = app.connect();
    write!(reader, "GET /large HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
    let mut first = [0; 12];
    reader.read_exact(&mut first).unwrap();
    app.process.signal(Signal::TERM);
    let address = app.address;
    eventually("new connections to be refused", PATIENCE, || std::net::TcpStream::connect(address).is_err());
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&large[..1 << 20]) && rest.len() > large.len(), "{} bytes came", rest.len());
    assert_eq!(app.process.wait_within(PATIENCE).code, Some(0));
}

#[test]
fn an_answer_that_nobody_takes_ends_the_grace_period_with_code_4() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("large"), vec![b'x'; 64 << 20]).unwrap();
    let mut app = App::start(&["--root", root.path().to_str().unwrap(), "--grace", "300ms"]);
    let mut reader = app.connect();
    write!(reader, "GET /large HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
    reader.read_exact(&mut [0; 12]).unwrap();
    app.process.signal(Signal::TERM);
    let exit = app.process.wait_within(PATIENCE);
    assert_eq!(exit.code, Some(4));
    let expected = "error: 1 connections were still busy after the grace period of 300ms\n\
                    hint: raise --grace, and terminationGracePeriodSeconds with it\n";
    assert!(exit.stderr.ends_with(expected), "{}", exit.stderr);
}

/// Runs it with `arguments`, which it must refuse, and returns what it wrote.
#[track_caller]
fn refusal(arguments: &[&str], code: i32) -> String {
    let exit = Process::spawn(command().args(arguments)).wait_within(PATIENCE);
    assert_eq!(exit.code, Some(code), "{}", exit.stderr);
    exit.stderr
}

#[test]
fn refusals_are_one_line_and_the_repair() {
    assert_eq!(
        refusal(&["--access-log", "/nothing/here/access.log"], 1),
        "error: cannot open the access log /nothing/here/access.log: No such file or directory (os error 2)\n\
         hint: its folder must exist and be writable for this user; in a pod fsGroup makes an emptyDir so\n"
    );
    assert_eq!(
        refusal(&["--ready-after", "20"], 2),
        "error: invalid value '20' for '--ready-after <DURATION>': \"20\" needs a unit; write 20ms, 20s or 20m\n\
         hint: see demo-app --help\n"
    );
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    assert_eq!(
        refusal(&["--listen", &taken], 1),
        format!(
            "error: cannot listen on --listen {taken}: Address already in use (os error 98)\n\
             hint: containers of a pod share their ports: give each its own, above 1023 unless it may bind lower ones\n"
        )
    );
}

#[test]
fn a_misspelt_variable_is_refused_and_a_right_one_is_a_flag() {
    let exit = Process::spawn(command().env("DEMO_APP_LISTN", ":1")).wait_within(PATIENCE);
    assert_eq!(exit.code, Some(2));
    assert_eq!(
        exit.stderr,
        "error: unknown environment variable DEMO_APP_LISTN\nhint: did you mean DEMO_APP_LISTEN?\n"
    );
    // As Kubernetes sets it for a Service called demo-app.
    let mut app = Process::spawn(
        command()
            .env("DEMO_APP_PORT", "tcp://10.0.0.1:80")
            .env("DEMO_APP_SERVICE_HOST", "10.0.0.1")
            .args(["--listen", "127.0.0.1:0"]),
    );
    app.wait_for_stderr("listening", PATIENCE);
    app.signal(Signal::TERM);
    assert_eq!(app.wait_within(PATIENCE).code, Some(0));
}
