//! Whatever clients send, the app sees the requests that the door knows of, and no others.

use std::collections::HashMap;
use std::io::Write;
use std::process::Command;

use kit_test::{Process, Signal};
use serde_json::Value;

use super::lab::{App, Lab, PATIENCE};
use super::support::{full, seed};

/// How often each path stands among `paths`.
fn counted<'p>(paths: impl Iterator<Item = &'p str>) -> HashMap<&'p str, usize> {
    let mut counts = HashMap::new();
    for path in paths {
        *counts.entry(path).or_default() += 1;
    }
    counts
}

#[test]
fn f01_f23_the_app_sees_what_the_log_says_and_nothing_else() {
    let seed = seed().unwrap_or(1);
    let count = if full() { 20_000 } else { 400 };
    println!("seed {seed}, {count} connections");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/desync.py");
    let (seed, count) = (seed.to_string(), count.to_string());
    let mut peer = Process::spawn_fed(Command::new("/usr/bin/python3").args([script, &seed, &count]));
    let said: Value = serde_json::from_str(peer.wait_for_stdout("}", PATIENCE).lines().next().unwrap()).unwrap();
    let app = App::at(u16::try_from(said["port"].as_u64().unwrap()).unwrap());
    let waits = ["--header-timeout", "2s", "--body-timeout", "2s", "--idle-timeout", "2s"];
    let mut lab = Lab::open(&app, &[&["--access-log", "json", "--retries", "0"], &waits[..]].concat());
    let door = serde_json::json!({"port": lab.port, "ca": lab.dir.path().join("tls.crt")});
    writeln!(peer.stdin(), "{door}").unwrap();
    let said = peer.wait_for_stdout("\"seen\"", PATIENCE * 20);
    lab.process.signal(Signal::TERM);
    let log = String::from_utf8(lab.process.wait_within(PATIENCE).stdout).unwrap();
    let outcome: Value = serde_json::from_str(said.lines().find(|line| line.contains("\"seen\"")).unwrap()).unwrap();
    assert_eq!(outcome["bad"], serde_json::json!([]), "seed {seed}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let known = counted(lines.iter().filter_map(|line| line["path"].as_str()));
    let targets: Vec<&str> = outcome["seen"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(targets.len() > 100, "seed {seed}: most of what is not broken passes");
    for (path, times) in counted(targets.iter().map(|target| target.split('?').next().unwrap())) {
        let told = known.get(path).copied().unwrap_or_default();
        assert!(times <= told, "seed {seed}: the app saw {path} {times} times, the door {told} times");
    }
}
