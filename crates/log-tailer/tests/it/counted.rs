//! What was lost is counted to the byte, what is owed goes out, and the status says where everything stands.

use std::fs::OpenOptions;
use std::net::SocketAddr;

use kit_test::{Signal, eventually, free_port, try_http_get};

use crate::harness::{PATIENCE, Pod, Tail, lines};

/// A tailer with metrics, and how to ask for one of them.
fn asked(pod: &Pod, arguments: &[&str]) -> (Tail, impl Fn(&str) -> u64 + use<>) {
    let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let own = address.to_string();
    let tail = pod.tail(&[arguments, &["--admin-listen", &own]].concat());
    let metric = move |name: &str| {
        let body = try_http_get(address, "/metrics").map_or(String::new(), |answer| answer.body);
        let line = body.lines().find_map(|line| line.strip_prefix(&format!("log_tailer_{name} ")));
        line.map_or(0, |number| number.parse().unwrap())
    };
    (tail, metric)
}

/// Waits until stdout has taken what fits and no more: splicing may fill a pipe with pages that are not full.
fn fills_the_pipe(metric: &impl Fn(&str) -> u64) {
    let mut before = 0;
    eventually("the pipe to be full", PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let last = std::mem::replace(&mut before, metric("bytes_written_total"));
        before >= 32 * 1024 && before == last
    });
}

#[test]
fn t79_bytes_that_neither_the_file_nor_its_copy_holds_are_counted_exactly() {
    let pod = Pod::new();
    pod.append("f", "start\n");
    let (tail, metric) = asked(&pod, &["-n+1", "-F", "f"]);
    tail.prints("start\n");
    tail.0.block_stdout();
    pod.append("f", lines(0, 50_000));
    fills_the_pipe(&metric);
    std::fs::copy(pod.path("f"), pod.path("f.1")).unwrap();
    pod.append("f", lines(50_000, 60_000));
    let all = 6 + lines(0, 60_000).len() as u64;
    let known = || metric("bytes_read_total{file=\"f\"}") + metric("lag_bytes{file=\"f\"}") == all;
    eventually("the last lines to be known", PATIENCE, known);
    OpenOptions::new().write(true).open(pod.path("f")).unwrap().set_len(0).unwrap();
    tail.says("file truncated");
    pod.append("f", "after\n");
    tail.0.unblock_stdout();
    tail.prints("start\n".to_owned() + &lines(0, 50_000) + "after\n");
    let lost = lines(50_000, 60_000).len() as u64;
    assert_eq!(metric("lost_bytes_total{reason=\"copytruncate\"}"), lost);
    assert_eq!(metric("lost_bytes_total{reason=\"overwritten\"}"), 0);
}

#[test]
fn t79_bytes_that_were_overwritten_without_a_copy_are_counted_exactly() {
    let pod = Pod::new();
    pod.append("f", "start\n");
    let (tail, metric) = asked(&pod, &["-n+1", "-F", "--copy", "f"]);
    tail.prints("start\n");
    tail.0.block_stdout();
    pod.append("f", lines(0, 50_000));
    fills_the_pipe(&metric);
    let all = 6 + lines(0, 50_000).len() as u64;
    let known = || metric("bytes_read_total{file=\"f\"}") + metric("lag_bytes{file=\"f\"}") == all;
    eventually("everything to be known", PATIENCE, known);
    OpenOptions::new().write(true).open(pod.path("f")).unwrap().set_len(0).unwrap();
    tail.says("file truncated");
    tail.0.unblock_stdout();
    let read = metric("bytes_read_total{file=\"f\"}");
    eventually("what was taken to be out", PATIENCE, || tail.0.stdout().len() as u64 == read);
    assert_eq!(metric("lost_bytes_total{reason=\"overwritten\"}"), all - read);
}

#[test]
fn t79_what_was_seen_of_a_round_that_is_read_from_a_copy_is_not_lost_with_the_next_round() {
    let pod = Pod::new();
    let banner = "=".repeat(1500) + "\n";
    pod.append("f", &banner);
    let (mut tail, metric) = asked(&pod, &["-n+1", "-F", "f"]);
    tail.prints(&banner);
    tail.0.block_stdout();
    pod.append("f", lines(0, 50_000));
    fills_the_pipe(&metric);
    tail.stop();
    pod.copytruncate("f", "f.1");
    pod.append("f", banner.clone() + &lines(50_000, 60_000));
    tail.go_on();
    tail.says("file truncated");
    let all = 2 * banner.len() as u64 + lines(0, 60_000).len() as u64;
    let known = || metric("bytes_read_total{file=\"f\"}") + metric("lag_bytes{file=\"f\"}") == all;
    eventually("everything to be known", PATIENCE, known);
    tail.stop();
    pod.copytruncate("f", "f.2");
    pod.append("f", banner.clone() + "few\n");
    tail.go_on();
    tail.says("content found that was under the name between two looks");
    pod.copytruncate("f", "f.3");
    let noticed = || tail.0.stderr().matches("file truncated").count() == 2;
    eventually("the last truncation to be noticed", PATIENCE, noticed);
    pod.append("f", "last\n");
    tail.0.unblock_stdout();
    let all = [&banner, &lines(0, 50_000), &banner, &lines(50_000, 60_000), &banner, "few\nlast\n"].concat();
    tail.prints(all);
    for reason in ["copytruncate", "overwritten"] {
        assert_eq!(metric(&format!("lost_bytes_total{{reason=\"{reason}\"}}")), 0, "{reason}");
    }
}

#[test]
fn t45_a_copy_that_ends_within_what_was_going_out_is_read_and_the_rest_is_counted() {
    let pod = Pod::new();
    pod.append("f", "start\n");
    let (mut tail, metric) = asked(&pod, &["-n+1", "-F", "f"]);
    tail.prints("start\n");
    tail.0.block_stdout();
    // All of it is one batch; the copy was made before the last lines were written.
    pod.append("f", lines(0, 50_000));
    fills_the_pipe(&metric);
    tail.stop();
    std::fs::write(pod.path("f.1"), "start\n".to_owned() + &lines(0, 30_000)).unwrap();
    OpenOptions::new().write(true).open(pod.path("f")).unwrap().set_len(0).unwrap();
    pod.append("f", "after\n");
    tail.go_on();
    tail.0.unblock_stdout();
    tail.prints("start\n".to_owned() + &lines(0, 30_000) + "after\n");
    assert_eq!(metric("lost_bytes_total{reason=\"copytruncate\"}"), lines(30_000, 50_000).len() as u64);
}

#[test]
fn t33_bytes_that_were_deleted_between_two_runs_are_counted() {
    let pod = Pod::new();
    pod.append("f", lines(0, 50_000));
    let (tail, metric) = asked(&pod, &["-n+1", "-F", "--state-file", "s", "f"]);
    tail.0.block_stdout();
    fills_the_pipe(&metric);
    let printed = tail.0.kill().stdout.len() as u64;
    pod.remove("f");
    pod.append("f", "new\n");
    let (tail, metric) = asked(&pod, &["-n+1", "-F", "--state-file", "s", "f"]);
    tail.prints("new\n");
    let all = lines(0, 50_000).len() as u64;
    let remembered = all - metric("lost_bytes_total{reason=\"deleted\"}");
    // Remembered is what stdout took in whole batches; up to one more may have been on its way.
    assert!(remembered > 0 && remembered <= printed && printed - remembered <= 64 * 1024, "{remembered} of {printed}");
    assert_eq!(metric("generations_missed_total"), 1);
}

#[test]
fn t35_the_newline_of_an_unfinished_line_comes_also_when_stdout_gets_stuck_in_it() {
    for copy in [&[][..], &["--copy"], &["--prefix", ""]] {
        let pod = Pod::new();
        let long = "x".repeat(300_000);
        pod.append("a", &long);
        pod.append("b", "end of b");
        let (mut tail, metric) = asked(&pod, &[copy, &["a", "b"]].concat());
        eventually("both to be open", PATIENCE, || metric("files_open") == 2);
        tail.0.block_stdout();
        tail.0.signal(Signal::TERM);
        fills_the_pipe(&metric);
        tail.0.unblock_stdout();
        let exit = tail.0.wait_within(PATIENCE);
        assert!(exit.stdout == format!("{long}\nend of b").into_bytes(), "{copy:?}: {} bytes", exit.stdout.len());
        assert_eq!(exit.code, Some(0));
    }
}

#[test]
fn t35_the_unfinished_line_of_a_closed_generation_gets_its_newline_also_when_stdout_gets_stuck_in_it() {
    let pod = Pod::new();
    let long = "x".repeat(300_000);
    pod.append("f", &long);
    let (tail, metric) = asked(&pod, &["-n+1", "-F", "--rotate-wait", "100ms", "f"]);
    eventually("it to be open", PATIENCE, || metric("files_open") == 1);
    tail.0.block_stdout();
    pod.rename("f", "f.1");
    pod.append("f", "");
    fills_the_pipe(&metric);
    pod.append("f", "next\n");
    tail.0.unblock_stdout();
    tail.ends_with(format!("{long}\nnext\n"));
}

#[test]
fn t79_sigusr1_says_as_json_where_every_file_stands() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let mut tail = pod.tail(&["-n+1", "-F", "f", "missing"]);
    tail.prints("==> f <==\none\n");
    pod.rename("f", "f.1");
    pod.append("f", "four\npart");
    tail.prints("==> f <==\none\nfour\n");
    tail.0.signal(Signal::USR1);
    let line = tail.0.wait_for_stderr("{\"files\":", PATIENCE);
    for part in [
        r#"{"path":"f","state":"open","generations":[{"number":1,"#,
        r#""offset":4,"size":4,"lag":0,"state":"rotated"},{"number":2,"#,
        r#""offset":5,"size":9,"lag":4,"state":"live"}]},{"path":"missing","state":"missing","generations":[]}],"#,
        r#""inotify":true,"polling":false,"unread":4}"#,
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    tail.prints("==> f <==\none\nfour\n");
}
