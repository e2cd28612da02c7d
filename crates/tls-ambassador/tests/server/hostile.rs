//! Clients that want to use it up: memory stays bounded, and good clients are served meanwhile.

use std::time::Duration;

use kit_test::eventually;

use super::pki;
use super::support::{Echo, PATIENCE, full, hello, rough, verdict};

/// The contract's bound for the whole process under attack.
const MOST_KIB: u64 = 64 << 10;

/// Attempts in the short run; a hundred thousand in the full one.
const ATTEMPTS: usize = 4_000;

#[test]
fn many_attempts_that_never_become_sessions_keep_nobody_out() {
    let attempts = if full() { 100_000 } else { ATTEMPTS };
    let pki = pki();
    let echo = Echo::start();
    let door = pki.server(&echo.target(), &["--disable-authentication", "--connect-timeout", "2s"]);
    let good = rough(door.port, &pki.root.ca.cert, "good", 1);
    good.wait_for_stdout("under way", PATIENCE);
    let hostile = rough(door.port, &pki.root.ca.cert, "attempts", attempts);
    let told = verdict(hostile, Duration::from_secs(900));
    assert_eq!((&told["good"], &told["failed"]), (&attempts.into(), &0.into()), "every attempt was made: {told}");
    let served = verdict(good, PATIENCE);
    assert!(served["good"].as_u64().unwrap() > 5 && served["failed"] == 0, "{served}");
    eventually("no connection is left", PATIENCE, || door.metric("tls_ambassador_connections_open") == 0.0);
    let failures = door.metric("tls_ambassador_handshake_failures_total");
    assert!(failures >= attempts as f64 / 4.0, "{failures} of {attempts} are counted as failed handshakes");
    let peak = door.process.status_number("VmHWM");
    assert!(peak < MOST_KIB, "{peak} KiB");
    report(&format!("{attempts} attempts: peak {peak} KiB, good clients meanwhile: {served}"));
}

#[test]
fn half_open_handshakes_cost_little_and_end_with_the_connect_timeout() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.server(&echo.target(), &["--disable-authentication", "--connect-timeout", "20s"]);
    let crowd = 800;
    let mut hostile = rough(door.port, &pki.root.ca.cert, "half_open", crowd);
    hostile.wait_for_stdout("\"good\": 800", PATIENCE);
    eventually("all are held", PATIENCE, || {
        let gone = door.metric("tls_ambassador_handshake_failures_total{reason=\"timeout\"");
        door.metric("tls_ambassador_connections_open") + gone >= crowd as f64
    });
    assert!(hello(&door, &pki.root, None).contains(super::OK), "a good client is served beside them");
    eventually("all are dropped", PATIENCE, || {
        door.metric("tls_ambassador_handshake_failures_total{reason=\"timeout\"") == crowd as f64
    });
    hostile.close_stdin();
    let peak = door.process.status_number("VmHWM");
    assert!(peak < MOST_KIB, "{peak} KiB");
    report(&format!("{crowd} half-open handshakes: peak {peak} KiB"));
}

#[expect(clippy::print_stderr, reason = "the numbers are what one wants to see")]
fn report(text: &str) {
    eprintln!("{text}");
}
