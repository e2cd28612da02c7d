//! Signals, ends, what can be seen from outside.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kit_test::{Signal, eventually, free_port, http_get};

use crate::harness::{PATIENCE, Pod, lines};

#[test]
fn t12_t77_a_reader_that_leaves_ends_it_without_new_lines() {
    let pod = Pod::new();
    pod.append("f", lines(0, 5));
    let mut command = pod.command(&["-n+1", "-F", "f"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let reader = child.stdout.take().unwrap();
    let mut head = Command::new("head").arg("-n2").stdin(reader).stdout(Stdio::null()).spawn().unwrap();
    head.wait().unwrap();
    eventually("the tailer to notice", PATIENCE, || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn t13_it_ends_when_the_process_is_gone_and_not_before() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let mut app = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = app.id().to_string();
    let mut tail = pod.tail(&["-n+1", "-f", "--pid", &pid, "f"]);
    tail.prints("one\n");
    assert!(tail.0.is_running());
    app.kill().unwrap();
    app.wait().unwrap();
    assert_eq!(tail.0.wait_within(PATIENCE).code, Some(0));
}

#[test]
fn t74_an_idle_tailer_leaves_at_once() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let tail = pod.tail(&["-n+1", "-F", "--drain-quiet", "0s", "f"]);
    tail.prints("one\n");
    let asked = Instant::now();
    assert_eq!(tail.end().code, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn t74_t76_a_stuck_output_ends_with_code_4_and_the_bytes_left() {
    let pod = Pod::new();
    pod.append("f", "");
    let mut tail = pod.tail(&["-n+1", "-F", "--drain-timeout", "300ms", "f"]);
    tail.0.block_stdout();
    pod.append("f", lines(0, 200_000));
    tail.0.signal(Signal::TERM);
    tail.says("bytes not handed over");
    tail.0.unblock_stdout();
    assert_eq!(tail.0.wait_within(PATIENCE).code, Some(4));
}

#[test]
fn t75_lines_written_after_sigterm_come_too() {
    let pod = Pod::new();
    pod.append("f", "0\n");
    // Far longer than the lines take, also where a busy machine writes them slowly.
    let mut tail = pod.tail(&["-n+1", "-F", "--drain-min", "6s", "f"]);
    tail.prints("0\n");
    tail.0.signal(Signal::TERM);
    let mut expected = "0\n".to_owned();
    for number in 1..20 {
        pod.append("f", format!("{number}\n"));
        expected.push_str(&format!("{number}\n"));
        std::thread::sleep(Duration::from_millis(20));
    }
    let exit = tail.0.wait_within(PATIENCE);
    assert_eq!(String::from_utf8(exit.stdout).unwrap(), expected);
    assert_eq!(exit.code, Some(0));
}

#[test]
fn t79_metrics_say_what_was_read_written_and_rotated() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let address = format!("127.0.0.1:{}", free_port());
    let tail = pod.tail(&["-n+1", "-F", "--admin-listen", &address, "f"]);
    tail.prints("one\n");
    pod.rename("f", "f.1");
    pod.append("f", "two\n");
    tail.prints("one\ntwo\n");
    let address: SocketAddr = address.parse().unwrap();
    let metrics = http_get(address, "/metrics").body;
    for line in [
        "log_tailer_bytes_read_total{file=\"f\"} 8",
        "log_tailer_bytes_written_total 8",
        "log_tailer_lag_bytes{file=\"f\"} 0",
        "log_tailer_rotations_total{file=\"f\",kind=\"rename\"} 1",
        "log_tailer_generations_missed_total 0",
        "log_tailer_files_open 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(http_get(address, "/readyz").status, 200);
    assert_eq!(http_get(address, "/livez").status, 200);
    let asked = pod.run(&["healthcheck", "--admin-listen", &address.to_string()]);
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
}

#[test]
fn t80_an_idle_tailer_wakes_only_for_its_progress_check() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let tail = pod.tail(&["-n+1", "-F", "f"]);
    tail.prints("one\n");
    let before = tail.0.status_number("voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_secs(5));
    let woken = tail.0.status_number("voluntary_ctxt_switches") - before;
    assert!(woken <= 8, "woken {woken} times in 5 s");
}

#[test]
fn conditions_of_jobs_end_it() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let exit = pod.run(&["--exit-idle", "300ms", "f"]);
    assert_eq!((exit.code, exit.stdout.as_slice()), (Some(0), &b"one\n"[..]));
    let exit = pod.run(&["--wait-timeout", "300ms", "missing"]);
    assert_eq!(exit.code, Some(124));
    let tail = pod.tail(&["--until-file", "done", "f"]);
    tail.prints("one\n");
    pod.append("f", "two\n");
    pod.append("done", "");
    let exit = tail.0.wait_within(PATIENCE);
    assert_eq!((exit.code, exit.stdout.as_slice()), (Some(0), &b"one\ntwo\n"[..]));
}
