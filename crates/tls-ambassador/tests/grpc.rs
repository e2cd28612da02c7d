//! gRPC through the door, with a client and an app that share no code with it (python3-grpcio).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

#[path = "http/lab.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod lab;

use std::process::Command;

use kit_test::Process;
use lab::{App, Lab, PATIENCE, ok};
use serde_json::{Value, json};

fn python() -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/grpc/peer.py"));
    // What the machine says of proxies is not meant for loopback.
    command.env_remove("https_proxy").env_remove("http_proxy").env_remove("HTTPS_PROXY").env_remove("HTTP_PROXY");
    command
}

/// A gRPC app without TLS.
fn app() -> (Process, App) {
    app_with(&[])
}

fn app_with(flags: &[&str]) -> (Process, App) {
    let process = Process::spawn_fed(python().arg("app").args(flags));
    let said = process.wait_for_stdout("}", PATIENCE);
    let said: Value = serde_json::from_str(said.lines().next().unwrap()).expect("python3-grpcio is installed");
    let port = u16::try_from(said["port"].as_u64().unwrap()).unwrap();
    (process, App::at(port))
}

fn call(lab: &Lab, scenario: &str) -> Value {
    let output =
        python().arg("call").arg(lab.port.to_string()).arg(lab.dir.path().join("tls.crt")).arg(scenario).output();
    let output = output.expect("python3 is installed");
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{scenario}: {error}: {problem}"))
}

#[test]
fn g15_messages_metadata_and_trailers_pass_in_both_directions() {
    let (_process, app) = app();
    let lab = Lab::open(&app, &["--upstream-h2c"]);
    assert_eq!(
        call(&lab, "unary"),
        json!({"bytes": 200_000, "initial": "1", "trailers": {"x-checksum": "200000", "blob-bin": "b'\\x00\\xff'"}})
    );
    let failed = call(&lab, "fail");
    assert_eq!((&failed["code"], &failed["details"]), (&json!("NOT_FOUND"), &json!("no such thing: 100%")));
    assert!(failed["trailers"].to_string().contains(r#"["x-why","because"]"#), "{failed}");
    assert_eq!(call(&lab, "count"), json!({"count": "500000"}));
    assert_eq!(call(&lab, "many"), json!({"right": 200}));
    let told = call(&lab, "meta");
    assert_eq!((&told["x-mine"], &told["x-forwarded-for"]), (&json!("kept"), &json!("127.0.0.1")), "{told}");
    assert_eq!((&told["x-forwarded-proto"], &told["x-forwarded-user"]), (&json!("https"), &Value::Null), "{told}");
}

#[test]
fn g18_j32_streams_are_not_held_back_and_a_cancelled_one_is_cancelled_at_the_app() {
    let (_process, app) = app();
    let lab = Lab::open(&app, &["--upstream-h2c"]);
    // The app says the next word when the client has heard the one before.
    assert_eq!(call(&lab, "tick"), json!({"said": ["0", "1", "2"]}));
    let expected: Vec<String> = (0..20).map(|number| format!("re: {number}")).collect();
    assert_eq!(call(&lab, "chat"), json!({ "said": expected }));
    assert_eq!(call(&lab, "cancel"), json!({"seen": "yes"}));
}

#[test]
fn a_client_that_takes_its_time_to_send_is_not_the_app_that_takes_its_time_to_answer() {
    let (_process, app) = app();
    let lab = Lab::open(&app, &["--upstream-h2c", "--upstream-timeout", "1s"]);
    assert_eq!(call(&lab, "slow"), json!({"count": "6"}));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let lab = Lab::open(&App::at(silent.local_addr().unwrap().port()), &["--upstream-h2c", "--upstream-timeout", "1s"]);
    assert_eq!(call(&lab, "meta")["code"], "UNAVAILABLE", "an app that says nothing");
}

#[test]
fn an_app_without_a_place_for_one_more_stream_is_not_waited_for_forever() {
    let (_process, app) = app_with(&["1"]);
    let lab = Lab::open(&app, &["--upstream-h2c", "--upstream-timeout", "2s"]);
    assert_eq!(call(&lab, "crowded"), json!({"code": "UNAVAILABLE", "soon": true, "again": "OK"}));
}

#[test]
fn a_refusal_and_an_absent_app_are_told_as_grpc_status() {
    let (process, app) = app();
    let dir = tempfile::tempdir().unwrap();
    let keys = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    std::fs::write(dir.path().join("keys.json"), keys).unwrap();
    let rules = ["--jwt-issuer", "https://login.example.org", "--jwt-audience", "app", "--jwt-jwks-file", "keys.json"];
    let lab = Lab::start(&app, &[&rules[..], &["--upstream-h2c"]].concat(), dir);
    let refused = call(&lab, "unary");
    assert_eq!(refused["code"], "UNAUTHENTICATED", "{refused}");
    assert!(refused["details"].as_str().is_some_and(|text| !text.is_empty()), "in our words: {refused}");

    let open = Lab::open(&app, &["--upstream-h2c"]);
    assert_eq!(call(&open, "unary")["bytes"], 200_000);
    drop(process);
    assert_eq!(call(&open, "unary")["code"], "UNAVAILABLE", "the app is gone");
    // HTTP/1.1 clients of the same door reach an app that speaks it.
    let plain = App::start(|_, _| (ok(b"plain"), false));
    let lab = Lab::open(&plain, &["--upstream-h2c"]);
    assert_eq!(lab.curl(&["--http1.1"], "/"), "plain");
    assert_eq!(lab.status(&["--http2"], "/"), "502", "this app speaks no HTTP/2");
}
