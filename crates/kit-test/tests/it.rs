//! The helpers keep their word, above all when they fail.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use kit_test::{LinkOrder, Mount, Process, Signal, Tmpfs, eventually, free_port, http_get, try_http_get};

const PATIENCE: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Process {
    Process::spawn(Command::new("sh").args(["-c", script]))
}

fn panic_text(action: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(action).expect_err("a panic");
    panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap()
}

#[test]
fn eventually_looks_until_the_condition_holds() {
    let mut looks = 0;
    eventually("three looks", PATIENCE, || {
        looks += 1;
        looks == 3
    });
    assert_eq!(looks, 3);
}

#[test]
fn eventually_names_what_never_came() {
    let text = panic_text(|| eventually("a pig that flies", Duration::from_millis(5), || false));
    assert_eq!(text, "not within 5ms: a pig that flies");
}

#[test]
fn a_process_shows_its_streams_its_code_and_its_lines() {
    let process = shell("echo one; echo two >&2; printf three; exit 7");
    assert_eq!(process.wait_for_stdout("on", PATIENCE), "one");
    assert_eq!(process.wait_for_stderr("two", PATIENCE), "two");
    let exit = process.wait_within(PATIENCE);
    assert_eq!((exit.code, exit.signal), (Some(7), None));
    assert_eq!(exit.stdout, b"one\nthree");
    assert_eq!(exit.stderr, "two\n");
}

#[test]
fn a_line_is_awaited_whole() {
    let mut process = Process::spawn_fed(Command::new("cat").arg("-"));
    process.stdin().write_all(b"half").unwrap();
    eventually("the half line", PATIENCE, || process.stdout_contains("half"));
    process.stdin().write_all(b" and half\n").unwrap();
    assert_eq!(process.wait_for_stdout("half", PATIENCE), "half and half");
    process.close_stdin();
    assert_eq!(process.wait_within(PATIENCE).code, Some(0));
}

#[test]
fn a_missing_line_is_reported_with_what_came_instead() {
    let process = shell("echo something else; sleep 60");
    process.wait_for_stdout("something", PATIENCE);
    let wait = std::panic::AssertUnwindSafe(|| drop(process.wait_for_stdout("wanted", Duration::from_millis(50))));
    let text = panic_text(wait);
    assert!(text.contains(r#"no line with "wanted" on the stdout"#), "{text}");
    assert!(text.contains("stdout: something else"), "{text}");
}

#[test]
fn signals_arrive_and_are_reported() {
    let mut process = shell("trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    process.wait_for_stdout("ready", PATIENCE);
    process.signal(Signal::TERM);
    let exit = process.wait_within(PATIENCE);
    assert_eq!((exit.code, exit.stdout.as_slice()), (Some(3), b"ready\ngot it\n".as_slice()));
    let exit = shell("exec sleep 60").kill();
    assert_eq!((exit.code, exit.signal), (None, Some(9)));
}

#[test]
fn a_process_that_does_not_end_in_time_is_killed() {
    let process = shell("exec sleep 60");
    let id = process.id();
    let text = panic_text(std::panic::AssertUnwindSafe(|| drop(process.wait_within(Duration::from_millis(50)))));
    assert!(text.contains("still runs after 50ms"), "{text}");
    assert!(!fs::exists(format!("/proc/{id}/status")).unwrap());
}

#[test]
fn a_blocked_stdout_blocks_the_writer_and_loses_nothing() {
    let process = shell("head -c 300000 /dev/zero; echo written >&2");
    process.block_stdout();
    // The pipe holds 64 KiB and the read under way another 64.
    std::thread::sleep(Duration::from_millis(200));
    assert!(!process.stderr_contains("written"));
    process.unblock_stdout();
    process.wait_for_stderr("written", PATIENCE);
    assert_eq!(process.wait_within(PATIENCE).stdout.len(), 300_000);
}

#[test]
fn status_numbers_come_from_proc() {
    let process = shell("exec sleep 60");
    assert_eq!(process.status_number("Threads"), 1);
    assert_eq!(u64::from(process.id()), process.status_number("Pid"));
}

#[test]
fn a_mount_shows_its_keys_and_replaces_them_all_at_once() {
    for order in [LinkOrder::AfterSwap, LinkOrder::BeforeSwap] {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Mount::new(folder.path(), order, &[("a", b"1"), ("b", b"1"), ("user/name", b"me")]);
        assert_eq!(fs::read(mount.path("user/name")).unwrap(), b"me");
        assert_eq!(fs::read_link(mount.path("user")).unwrap().to_str(), Some("..data/user"));
        let before = fs::read_link(mount.path("..data")).unwrap();
        mount.publish(&[("a", b"2"), ("c", b"2")]);
        assert_eq!(fs::read(mount.path("a")).unwrap(), b"2");
        assert_eq!(fs::read(mount.path("c")).unwrap(), b"2");
        assert!(mount.path("b").symlink_metadata().is_err() && mount.path("user").symlink_metadata().is_err());
        assert!(!mount.root().join(before).exists(), "the old folder is removed");
        let after = fs::read_link(mount.path("..data")).unwrap();
        mount.publish(&[("a", b"2"), ("c", b"2")]);
        assert_eq!(fs::read_link(mount.path("..data")).unwrap(), after, "an equal content is not written");
    }
}

#[test]
fn the_two_orders_of_kubelet_differ_while_a_key_is_added() {
    let new_key_while_swapping = |order| {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Mount::new(folder.path(), order, &[("a", b"1")]);
        let (a, c) = (mount.path("a"), mount.path("c"));
        let mut seen = None;
        mount.publish_with_pause(&[("a", b"2"), ("c", b"2")], || {
            seen = Some((fs::read(a).unwrap(), c.symlink_metadata().is_ok(), c.exists()));
        });
        seen.unwrap()
    };
    assert_eq!(new_key_while_swapping(LinkOrder::AfterSwap), (b"2".to_vec(), false, false));
    assert_eq!(new_key_while_swapping(LinkOrder::BeforeSwap), (b"1".to_vec(), true, false));
}

#[test]
fn a_get_reads_plain_chunked_and_unbounded_bodies() {
    let check = |answer: &'static str, status: u16, body: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let count = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let response = http_get(address, "/metrics");
        assert_eq!((response.status, response.body.as_str()), (status, body));
        assert!(server.join().unwrap().starts_with("GET /metrics HTTP/1.1\r\n"));
    };
    check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokrest", 200, "ok");
    check(
        "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnot\r\n6\r\n ready\r\n0\r\n\r\n",
        503,
        "not ready",
    );
    check("HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end");
}

#[test]
fn a_free_port_is_free_and_given_once() {
    assert_ne!(free_port(), free_port());
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    // A process that a neighbouring test starts just now holds the socket of the look for a free port until it execs.
    let refused = || try_http_get(address, "/").unwrap_err().kind() == std::io::ErrorKind::ConnectionRefused;
    eventually("nobody listens", Duration::from_secs(10), refused);
    eventually("it can be taken", Duration::from_secs(10), || TcpListener::bind(address).is_ok());
}

#[test]
fn a_small_tmpfs_is_full_after_its_size_and_goes_away() {
    let Some(tmpfs) = Tmpfs::of_size("a_small_tmpfs_is_full", 64 * 1024) else { return };
    let error = fs::write(tmpfs.path().join("big"), vec![1; 128 * 1024]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let path = tmpfs.path().to_owned();
    drop(tmpfs);
    assert!(!path.exists());
}

#[test]
fn a_tool_is_looked_for_where_podkit_bin_dir_says() {
    // The variable belongs to the whole process, so a child asks: this very test binary.
    let ask = |folder: Option<&std::path::Path>| -> (ExitStatus, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child_names_the_tool", "--ignored", "--nocapture"]).env_remove("PODKIT_BIN_DIR");
        if let Some(folder) = folder {
            command.env("PODKIT_BIN_DIR", folder);
        }
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&text).into_owned())
    };
    let (status, text) = ask(None);
    assert!(!status.success() && text.contains("PODKIT_BIN_DIR is not set: run the tests with `cargo xtask test`"));
    let folder = tempfile::tempdir().unwrap();
    let (status, text) = ask(Some(folder.path()));
    assert!(!status.success() && text.contains("does not exist: run the tests with `cargo xtask test`"), "{text}");
    fs::write(folder.path().join("log-tailer"), "").unwrap();
    let (status, text) = ask(Some(folder.path()));
    assert!(status.success() && text.contains(folder.path().join("log-tailer").to_str().unwrap()), "{text}");
    assert_eq!(status.signal(), None);
}

#[test]
#[ignore = "a_tool_is_looked_for_where_podkit_bin_dir_says runs it in a process of its own"]
fn child_names_the_tool() {
    let start = Instant::now();
    println!("{} after {:?}", kit_test::tool("log-tailer").display(), start.elapsed());
}
