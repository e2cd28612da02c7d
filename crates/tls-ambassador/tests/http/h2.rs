//! The G list: HTTP/2 with Python's h2, and with curl and h2load where they are the better client.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::lab::{App, Lab, ok};

pub(super) fn client(lab: &Lab, scenario: &str) -> Command {
    client_with(lab, scenario, &lab.dir.path().join("tls.crt"))
}

fn client_with(lab: &Lab, scenario: &str, ca: &std::path::Path) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/h2_client.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).arg(scenario).arg(lab.port.to_string()).arg(ca);
    command
}

fn play(lab: &Lab, scenario: &str) -> Value {
    play_with(lab, scenario, &lab.dir.path().join("tls.crt"))
}

/// What a scenario of the client reports, with the authority that it is to trust.
pub(super) fn play_with(lab: &Lab, scenario: &str, ca: &std::path::Path) -> Value {
    let output = client_with(lab, scenario, ca).output().expect("python3 with h2 is installed (python3-h2)");
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{scenario}: {error}: {problem}"))
}

fn still_serves(lab: &Lab) {
    assert_eq!(lab.status(&["--http2"], "/good"), "200");
}

#[test]
fn g14_requests_of_one_connection_reach_the_app_as_http_1_1() {
    let app = App::start(|head, body| (ok(&[head.as_bytes(), body].concat()), false));
    let lab = Lab::open(&app, &[]);
    let twenty = play(&lab, "many");
    for (index, outcome) in twenty.as_array().unwrap().iter().enumerate() {
        let text = outcome[1].as_str().unwrap();
        assert!(text.starts_with(&format!("GET /{index} HTTP/1.1\r\nHost: localhost\r\n")), "{outcome}");
        assert!(text.contains("X-Forwarded-For: 127.0.0.1\r\n"), "{outcome}");
        assert_eq!((&outcome[0], &outcome[2]), (&"200".into(), &"ended".into()), "{outcome}");
    }
    let uploaded = play(&lab, "upload");
    assert!(uploaded[0][1].as_str().unwrap().ends_with("\r\n\r\nhello world"), "{uploaded}");
    let crumbs = play(&lab, "cookies");
    let text = crumbs[0][1].as_str().unwrap();
    assert!(text.contains("cookie: a=1; b=2\r\n") && !text.contains("root"), "{text}");
}

#[test]
fn g04_g05_g06_g07_g08_requests_with_two_readings_never_reach_the_app() {
    let app = App::echo();
    let lab = Lab::open(&app, &[]);
    let judged = play(&lab, "judged");
    for (name, outcome) in judged.as_object().unwrap() {
        let answered = outcome[0].as_str().is_some_and(|status| status.starts_with('4'));
        let reset = outcome[2] == "reset" || !outcome[3].is_null();
        assert!(answered || reset, "{name}: {outcome}");
    }
    assert_eq!(app.seen(), "", "nothing was passed on");
    assert_eq!(play(&lab, "short_body")[0][2], "reset", "fewer bytes than promised");
    still_serves(&lab);
}

#[test]
fn g02_g03_g09_g10_broken_frames_end_the_connection() {
    let app = App::echo();
    let lab = Lab::open(&app, &[]);
    for (name, outcome) in play(&lab, "broken_frames").as_object().unwrap() {
        let error = outcome["goaway"].as_u64();
        assert!(error.is_some_and(|code| code != 0) || outcome["closed"] == true, "{name}: {outcome}");
    }
    still_serves(&lab);
}

#[test]
fn g01_g11_g12_floods_end_the_connection_and_cost_no_memory() {
    let app = App::echo();
    let lab = Lab::open(&app, &[]);
    for scenario in ["rapid_reset", "continuation"] {
        let outcome = play(&lab, scenario);
        assert!(
            outcome["closed"] == true || outcome["goaway"].as_u64().is_some_and(|code| code != 0),
            "{scenario}: {outcome}"
        );
    }
    still_serves(&lab);
    let status = std::fs::read_to_string(format!("/proc/{}/status", lab.process.id())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 64 << 10, "{peak}");
}

#[test]
fn g12_a_client_that_never_opens_its_window_is_let_go() {
    let app = App::start(|_, _| (ok(&vec![b'x'; 4 << 20]), false));
    let lab = Lab::open(&app, &["--body-timeout", "1s"]);
    assert_eq!(play(&lab, "stalled")["ended"], true);
    still_serves(&lab);
}

#[test]
fn g16_head_and_broken_responses_end_as_they_should() {
    let app = App::start(|head, _| match head.split(' ').nth(1).unwrap() {
        "/head" => (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec(), false),
        "/chunks" => (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe".to_vec(), true),
        "/whole" => (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec(), false),
        _ => (Vec::new(), true),
    });
    let lab = Lab::open(&app, &[]);
    assert!(lab.curl(&["--http2", "--head"], "/head").contains("content-length: 9"));
    assert_eq!(lab.curl(&["--http2"], "/whole"), "hello");
    let broken = lab.curl(&["--http2"], "/chunks");
    assert!(broken.contains("curl: (92)"), "RST_STREAM and not an end: {broken}");
    assert_eq!(lab.status(&["--http2"], "/none"), "502");
}

#[test]
fn g17_sigterm_lets_open_streams_finish() {
    let app = App::start(|head, _| {
        if head.contains("/slow") {
            std::thread::sleep(Duration::from_secs(2));
        }
        (ok(b"finished"), false)
    });
    let mut lab = Lab::open(&app, &[]);
    let mut running = client(&lab, "drain").stdout(Stdio::piped()).spawn().unwrap();
    let mut out = std::io::BufReader::new(running.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "under way\n");
    kit_test::eventually("the app has it", super::lab::PATIENCE, || app.seen().contains("/slow"));
    lab.process.signal(kit_test::Signal::TERM);
    line.clear();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let outcome: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&outcome["body"], &outcome["ended"]), (&"finished".into(), &true.into()), "{outcome}");
    let goodbyes = outcome["goaway"].as_array().unwrap();
    assert!(!goodbyes.is_empty() && goodbyes.iter().all(|code| *code == 0), "{outcome}");
    assert_eq!(lab.process.wait_within(super::lab::PATIENCE).code, Some(0));
    running.wait().unwrap();
}

#[test]
fn g_h2load_sees_every_request_answered() {
    let app = App::start(|_, _| (ok(&[b'x'; 1024]), false));
    let lab = Lab::open(&app, &[]);
    let url = format!("https://127.0.0.1:{}/", lab.port);
    let output = Command::new("h2load").args(["-n", "500", "-c", "4", "-m", "10", &url]).output();
    let output = output.expect("h2load is installed (nghttp2-client)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("500 succeeded, 0 failed, 0 errored"), "{text}");
}
