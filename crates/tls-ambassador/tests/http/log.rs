//! The access log: what a line says, what it never says, and that nobody waits for it.

use std::collections::HashMap;

use kit_test::eventually;
use serde_json::Value;

use super::jwt::{Issuer, RULES, bearer};
use super::lab::{App, Lab, PATIENCE, ok};

/// The lines of stdout by their path; all of them when `count` are there.
fn lines(lab: &Lab, count: usize) -> HashMap<String, Value> {
    let text = || String::from_utf8_lossy(&lab.process.stdout()).into_owned();
    eventually(&format!("{count} lines"), PATIENCE, || text().lines().count() >= count);
    let parsed = text().lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
    assert_eq!(parsed.len(), count, "{parsed:?}");
    let name = |line: &Value| line["path"].as_str().map_or(format!("none {}", line["status"]), str::to_owned);
    parsed.into_iter().map(|line| (name(&line), line)).collect()
}

#[test]
fn j33_a_line_tells_who_asked_for_what_and_what_became_of_it() {
    let app = App::start(|head, body| match head.split(' ').nth(1).unwrap() {
        "/upload" | "/upload2" => (ok(body), false),
        _ => (ok(head.as_bytes()), false),
    });
    let issuer = Issuer::new("a");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys.json"), issuer.keys()).unwrap();
    let flags = ["--jwt-jwks-file", "keys.json", "--jwt-query", "t", "--access-log", "json"];
    let lab = Lab::start(&app, &[&RULES[..], &flags].concat(), dir);
    let token = issuer.token(r#","sub":"ann""#);
    let [flag, header] = bearer(&token);
    let echoed = lab.curl(&["--http1.1"], &format!("/one?t={token}&secret=1"));
    let id = ["--header", "X-Request-Id: mine-1"];
    lab.curl(&["--http2", &flag, &header, id[0], id[1]], "/two?secret=1");
    let odd = lab.curl(&["--http1.1", &flag, &header, "--header", "X-Request-Id: not one word"], "/odd");
    assert_eq!(lab.status(&["--http1.1"], "/refused?secret=1"), "401");
    assert_eq!(lab.status(&["--http2"], "/refused2?secret=1"), "401");
    lab.curl(&["--http1.1", &flag, &header, "--data", "12345"], "/upload");
    lab.curl(&["--http2", &flag, &header, "--data", "12345"], "/upload2");
    lab.raw_one("GET / HTTP/1.1\r\n broken\r\n\r\n");
    assert_eq!(lab.status(&["--http2", "--request", "TRACE"], "/trace?secret=1"), "405");
    let lines = lines(&lab, 9);
    let one = &lines["/one"];
    for (field, expected) in [
        ("sni", "localhost".into()),
        ("protocol", "HTTP/1.1".into()),
        ("method", "GET".into()),
        ("host", format!("localhost:{}", lab.port).into()),
        ("identity", "ann".into()),
        ("status", Value::from(200)),
        ("received_bytes", Value::from(0)),
        ("sent_bytes", Value::from(echoed.len())),
    ] {
        assert_eq!(one[field], expected, "{field}: {one}");
    }
    assert!(one["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{one}");
    assert!(one["time"].as_str().unwrap().ends_with('Z'), "{one}");
    let (whole, app_only) = (one["seconds"].as_f64().unwrap(), one["app_seconds"].as_f64().unwrap());
    assert!(0.0 < app_only && app_only <= whole && whole < 60.0, "{one}");
    let made = one["request_id"].as_str().unwrap();
    assert_eq!(made.len(), 32);
    assert!(echoed.contains(&format!("X-Request-Id: {made}\r\n")), "the app is told the same: {echoed}");
    assert_eq!(lines["/odd"]["request_id"].as_str().unwrap().len(), 32, "{lines:?}");
    assert!(odd.contains("X-Request-Id: ") && !odd.to_lowercase().contains("not one word"), "replaced: {odd}");
    let two = &lines["/two"];
    assert_eq!((&two["request_id"], &two["protocol"]), (&"mine-1".into(), &"HTTP/2".into()), "{two}");
    assert_eq!((&two["identity"], &two["status"]), (&"ann".into(), &Value::from(200)), "{two}");
    for path in ["/refused", "/refused2"] {
        let line = &lines[path];
        assert_eq!(
            (&line["status"], &line["identity"], &line["app_seconds"]),
            (&401.into(), &Value::Null, &Value::Null)
        );
    }
    for path in ["/upload", "/upload2"] {
        let line = &lines[path];
        assert_eq!((&line["received_bytes"], &line["sent_bytes"]), (&5.into(), &5.into()), "{line}");
    }
    assert_eq!((&lines["none 400"]["protocol"], &lines["none 400"]["method"]), (&"HTTP/1.1".into(), &Value::Null));
    assert_eq!((&lines["none 405"]["protocol"], &lines["none 405"]["method"]), (&"HTTP/2".into(), &Value::Null));
    let said = String::from_utf8_lossy(&lab.process.stdout()).into_owned();
    assert!(!said.contains("secret") && !said.contains(&token[..40]), "{said}");
}

#[test]
fn without_the_flag_stdout_stays_empty() {
    let app = App::start(|_, _| (ok(b"fine"), false));
    let quiet = Lab::open(&app, &["--access-log", "off"]);
    assert_eq!(quiet.status(&[], "/"), "200");
    assert!(quiet.process.stdout().is_empty());
}

#[test]
fn the_last_lines_are_written_before_the_end() {
    let app = App::start(|_, _| (ok(b"fine"), false));
    let mut lab = Lab::open(&app, &["--access-log", "json"]);
    let url = format!("https://localhost:{}/", lab.port);
    let many: Vec<&str> = std::iter::repeat_n(url.as_str(), 49).collect();
    assert_eq!(lab.curl(&many, "/"), "fine".repeat(50));
    lab.process.signal(kit_test::Signal::TERM);
    let exit = lab.process.wait_within(PATIENCE);
    assert_eq!((exit.code, String::from_utf8(exit.stdout).unwrap().lines().count()), (Some(0), 50));
}
