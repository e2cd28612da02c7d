//! Slow and resetting clients: memory stays bounded, and good clients are served meanwhile.

use std::process::Command;

use kit_test::{eventually, http_get};
use serde_json::Value;

use super::lab::{App, Lab, PATIENCE, ok};
use super::support::{full, rough, verdict};

/// The contract's bound for the whole process under attack.
const MOST_KIB: u64 = 64 << 10;

fn app() -> App {
    App::start(|_, _| (ok(b"fine"), true))
}

#[test]
fn heads_that_come_byte_by_byte_are_let_go_while_good_clients_are_served() {
    let app = app();
    let lab = Lab::open(&app, &["--header-timeout", "3s", "--threads", "2"]);
    let ca = lab.dir.path().join("tls.crt");
    let crowd = 200;
    let mut slow = rough(lab.port, &ca, "slow_heads", crowd);
    slow.wait_for_stdout("\"good\": 200", PATIENCE);
    let good = rough(lab.port, &ca, "asked", 1);
    good.wait_for_stdout("under way", PATIENCE);
    let open = || {
        let metrics = http_get(lab.admin, "/metrics").body;
        let line = metrics.lines().find(|line| line.starts_with("tls_ambassador_connections_open")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    };
    // The good client opens one at a time, so what is more than that is slow.
    eventually("the slow ones are gone", PATIENCE, || open() <= 2);
    let served = verdict(good, PATIENCE);
    assert!(served["good"].as_u64().unwrap() > 0 && served["failed"] == 0, "{served}");
    assert!(!app.seen().contains("X-A"), "no unfinished request reached the app");
    slow.close_stdin();
    let peak = lab.process.status_number("VmHWM");
    assert!(peak < MOST_KIB, "{peak} KiB");
}

#[test]
fn g12_rapid_resets_from_many_connections_keep_nobody_out_and_cost_no_memory() {
    let app = app();
    let lab = Lab::open(&app, &["--threads", "2"]);
    let ca = lab.dir.path().join("tls.crt");
    let good = rough(lab.port, &ca, "asked", 1);
    good.wait_for_stdout("under way", PATIENCE);
    let rounds = if full() { 200 } else { 8 };
    for _ in 0..rounds {
        let attackers: Vec<_> = ["rapid_reset", "continuation"]
            .map(|scenario| super::h2::client(&lab, scenario).stdout(std::process::Stdio::piped()).spawn().unwrap())
            .into();
        for attacker in attackers {
            let outcome: Value = serde_json::from_slice(&attacker.wait_with_output().unwrap().stdout).unwrap();
            let ended = outcome["closed"] == true || outcome["goaway"].as_u64().is_some_and(|code| code != 0);
            assert!(ended, "{outcome}");
        }
    }
    let served = verdict(good, PATIENCE);
    assert!(served["good"].as_u64().unwrap() > 5 && served["failed"] == 0, "{served}");
    let url = format!("https://127.0.0.1:{}/", lab.port);
    let output = Command::new("h2load").args(["-n", "200", "-c", "4", "-m", "10", &url]).output();
    let text = String::from_utf8_lossy(&output.expect("h2load is installed (nghttp2-client)").stdout).into_owned();
    assert!(text.contains("200 succeeded, 0 failed, 0 errored"), "{text}");
    let peak = lab.process.status_number("VmHWM");
    assert!(peak < MOST_KIB, "{peak} KiB");
}
