//! Connections that real networks have: tiny writes, resets, crowds, missing descriptors, apps that come and go.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit_test::{Process, eventually, free_port};
use serde_json::Value;

use super::support;
use super::support::pki::text;
use super::support::{Door, Echo, PATIENCE, ambassador, ask, hello, peer};
use super::{OK, Pki, pki};

/// A client of `rough.py`.
fn rough(door: &Door, pki: &Pki, scenario: &str, count: usize) -> Process {
    support::rough(door.port, &pki.root.ca.cert, scenario, count)
}

fn play(door: &Door, pki: &Pki, scenario: &str, count: usize) -> Value {
    support::verdict(rough(door, pki, scenario, count), PATIENCE)
}

fn nothing_is_left(door: &Door) {
    eventually("no connection is left", PATIENCE, || door.metric("tls_ambassador_connections_open") == 0.0);
}

fn descriptors(door: &Door) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", door.process.id())).unwrap().count()
}

/// Once all workers have opened theirs: it is ready before the last of them runs.
fn steady_descriptors(door: &Door) -> usize {
    let (mut last, mut same) = (0, 0);
    eventually("all workers run", PATIENCE, || {
        let now = descriptors(door);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same == 20
    });
    last
}

#[test]
fn s23_tiny_and_odd_writes_arrive_whole_and_at_once() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.server(&echo.target(), &["--disable-authentication"]);
    assert_eq!(play(&door, &pki, "tiny", 1)["good"], 1);
}

#[test]
fn s24_clients_of_different_units_are_served_at_the_same_time() {
    let pki = pki();
    let echo = Echo::start();
    let door = pki.mtls(&echo.target(), &["--allow-ou", "client1", "--allow-ou", "client2"]);
    let (port, ca) = (door.port.to_string(), text(&pki.root.ca.cert));
    let mut clients: Vec<Process> = [&pki.client1, &pki.client2, &pki.client1]
        .iter()
        .map(|pair| peer(&["hold", &port, "--ca", ca, "--cert", text(&pair.cert), "--key", text(&pair.key)]))
        .collect();
    for client in &clients {
        client.wait_for_stdout("open", PATIENCE);
    }
    assert!(!hello(&door, &pki.root, Some(&pki.server)).contains(OK), "a third unit is not among them");
    for client in &mut clients {
        writeln!(client.stdin(), "more").unwrap();
        client.wait_for_stdout(OK, PATIENCE);
    }
}

#[test]
fn s26_with_four_places_a_crowd_is_served_and_the_places_come_back() {
    let pki = pki();
    let echo = Echo::start();
    let flags = ["--disable-authentication", "--max-concurrent-conns", "4", "--connect-timeout", "2s"];
    let door = pki.server(&echo.target(), &flags);
    let crowd = play(&door, &pki, "churn", 8);
    assert_eq!((&crowd["good"], &crowd["failed"]), (&96.into(), &0.into()), "{crowd}");
    nothing_is_left(&door);
    let before = echo.connections();
    let mut four = rough(&door, &pki, "held", 4);
    four.wait_for_stdout("\"good\": 4", PATIENCE);
    // Four are in; a fifth may not reach the app before one of them has gone.
    let fifth = peer(&["hold", &door.port.to_string(), "--ca", text(&pki.root.ca.cert)]);
    assert_eq!(echo.connections(), before + 4);
    four.close_stdin();
    fifth.wait_for_stdout("open", PATIENCE);
}

#[test]
fn s32_an_abrupt_end_on_one_side_is_no_clean_end_on_the_other() {
    let pki = pki();
    let ends = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let seen = Arc::clone(&ends);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || {
                let mut buffer = [0; 65536];
                let end = loop {
                    match stream.read(&mut buffer) {
                        Ok(0) => break "clean",
                        Ok(count) => {
                            if stream.write_all(&buffer[..count]).is_err() {
                                break "reset";
                            }
                        }
                        Err(_) => break "reset",
                    }
                };
                seen.lock().unwrap().push(end);
            });
        }
    });
    let door = pki.server(&target, &["--disable-authentication"]);
    assert_eq!(play(&door, &pki, "abort", 20)["good"], 20);
    eventually("the app has seen every end", PATIENCE, || ends.lock().unwrap().len() == 20);
    assert_eq!(*ends.lock().unwrap(), ["reset"; 20], "a reset is told as a reset");
    nothing_is_left(&door);
    assert!(hello(&door, &pki.root, None).contains(OK));

    let door = pki.server(&resetting_app(usize::MAX).0, &["--disable-authentication"]);
    let told = play(&door, &pki, "told", 20);
    assert_eq!((&told["good"], &told["failed"]), (&20.into(), &0.into()), "{told}");
    nothing_is_left(&door);
}

/// An app that resets its first `resets` connections after their first bytes and echoes on the others.
fn resetting_app(resets: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let number = count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(got @ 1..) = stream.read(&mut buffer) {
                    if number < resets {
                        // Closing with this set sends RST.
                        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                        return;
                    }
                    if stream.write_all(&buffer[..got]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (target, served)
}

#[test]
fn s33_without_descriptors_it_waits_and_goes_on_when_there_are_some() {
    let pki = pki();
    let echo = Echo::start();
    let (port, admin) = (free_port(), free_port());
    let mut command = Command::new("prlimit");
    command.arg("--nofile=64:64").arg(ambassador().get_program()).arg("server");
    command.arg("--listen").arg(format!("127.0.0.1:{port}")).args(["--target", &echo.target()]);
    command.arg("--admin-listen").arg(format!("127.0.0.1:{admin}")).args(pki.certs());
    command.args(["--disable-authentication", "--threads", "2", "--connect-timeout", "300s"]);
    let process = Process::spawn(&mut command);
    let door = Door { process, port, admin: ([127, 0, 0, 1], admin).into() }.ready();
    let mut crowd = rough(&door, &pki, "crammed", 100);
    crowd.wait_for_stdout("\"good\": 100", PATIENCE);
    // The program that ships has other words of a C library.
    let words = ["Too many open files", "No file descriptors available"];
    let lines = words.map(|words| format!("cannot accept a connection error={words} (os error 24)"));
    eventually("the lack is told", PATIENCE, || lines.iter().any(|line| door.process.stderr_contains(line)));
    crowd.close_stdin();
    nothing_is_left(&door);
    for _ in 0..6 {
        assert!(hello(&door, &pki.root, None).contains(OK));
    }
    assert!(door.metric("tls_ambassador_accept_errors_total") > 0.0);
}

#[test]
fn s25_s34_an_app_that_comes_and_goes_leaves_nothing_behind() {
    let pki = pki();
    let port = free_port();
    let door = pki.server(&format!("127.0.0.1:{port}"), &["--disable-authentication"]);
    let (door_port, ca) = (door.port.to_string(), text(&pki.root.ca.cert));
    let baseline = steady_descriptors(&door);
    for _ in 0..3 {
        assert!(ask(&["echo", &door_port, "--ca", ca]).contains("\"ok\": false"), "no app");
    }
    assert_eq!(door.metric("tls_ambassador_backend_dial_failures_total"), 3.0);
    let (target, served) = resetting_app(6);
    let flapping = pki.server(&target, &["--disable-authentication"]);
    let told = play(&flapping, &pki, "told", 6);
    assert_eq!(told["good"], 6, "{told}");
    let said = ask(&["echo", &flapping.port.to_string(), "--ca", ca, "--count", "10"]);
    assert_eq!(said.matches(OK).count(), 10, "{said}");
    assert_eq!(served.load(Ordering::SeqCst), 16);
    for door in [&door, &flapping] {
        nothing_is_left(door);
    }
    eventually("every descriptor is closed", PATIENCE, || descriptors(&door) <= baseline);
}
