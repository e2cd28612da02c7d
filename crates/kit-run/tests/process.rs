//! The promises of a whole process: exit codes, termination message, signals.
//!
//! This test has a `main` of its own, because the process under test is this very program: started again with
//! `PODKIT_FIXTURE` set it becomes a tool, so that kit-run needs no binary that nobody ships.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use kit_run::{Context, Error, Tool};

#[derive(clap::Parser)]
struct Args {
    /// How long the work goes on after the request to stop
    #[arg(long, default_value = "0s", value_parser = kit_units::duration)]
    linger: Duration,
    /// End at once with this message
    #[arg(long)]
    fail: Option<String>,
    /// Meet a bug, in a task or thread of its own
    #[arg(long)]
    panic: bool,
}

impl Tool for Args {
    const NAME: &'static str = "fixture";
    const GRACE: Option<Duration> = Some(Duration::from_secs(5));
}

fn ready() {
    let mut stdout = std::io::stdout();
    stdout.write_all(b"ready\n").unwrap();
    stdout.flush().unwrap();
}

async fn run_async(args: Args, context: Context) -> Result<(), Error> {
    if let Some(message) = args.fail {
        return Err(Error::failed(message).hint("do not pass --fail"));
    }
    tracing::info!(linger = ?args.linger, "started");
    if args.panic {
        tokio::spawn(async { panic!("a task\nwent wrong") });
    }
    ready();
    context.shutdown().requested().await;
    tokio::time::sleep(args.linger).await;
    Ok(())
}

fn run_blocking(args: Args, context: Context) -> Result<(), Error> {
    if args.panic {
        std::thread::spawn(|| panic!("a thread went wrong"));
    }
    ready();
    while !context.shutdown().is_requested() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(args.linger);
    Ok(())
}

fn main() -> ExitCode {
    match std::env::var("PODKIT_FIXTURE").as_deref() {
        Ok("async") => return kit_run::main(run_async),
        Ok("blocking") => return kit_run::main_blocking(run_blocking),
        _ => {}
    }
    let tests: [(&str, fn()); 9] = [
        ("a_failure_is_two_lines_a_code_and_a_termination_message", a_failure_is_two_lines),
        ("a_panic_anywhere_is_two_lines_a_code_and_a_termination_message", a_panic_anywhere_is_two_lines),
        ("the_termination_message_is_cut_to_4096_bytes", the_termination_message_is_cut),
        ("a_missing_termination_log_is_not_created", a_missing_termination_log_is_not_created),
        ("a_signal_ends_idle_work_with_code_0_at_once", a_signal_ends_idle_work),
        ("work_that_outlives_its_grace_ends_with_code_4", work_that_outlives_its_grace),
        ("a_second_signal_ends_the_process_now", a_second_signal_ends_the_process_now),
        ("help_and_version_go_to_stdout_with_code_0", help_and_version_go_to_stdout),
        ("events_can_be_json_or_off", events_can_be_json_or_off),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    println!("\ntest result: ok. {} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out", tests.len());
    ExitCode::SUCCESS
}

fn fixture(kind: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("PODKIT_FIXTURE", kind).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts the fixture and returns once it has said that it runs.
fn started(kind: &str, args: &[&str]) -> Child {
    let mut child = fixture(kind).args(args).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn signal(child: &Child, signal: &str) {
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

fn failed(message: &str, termination_log: &Path) -> Output {
    fixture("async").arg("--fail").arg(message).env("FIXTURE_TERMINATION_LOG", termination_log).output().unwrap()
}

fn a_failure_is_two_lines() {
    let log = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(log.path(), "an older and longer message that must be gone afterwards").unwrap();
    let output = failed("cannot work", log.path());
    let expected = "error: cannot work\nhint: do not pass --fail\n";
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(1), expected));
    assert_eq!(std::fs::read_to_string(log.path()).unwrap(), expected);
}

fn a_panic_anywhere_is_two_lines() {
    for (kind, text) in [("async", "a task went wrong"), ("blocking", "a thread went wrong")] {
        let log = tempfile::NamedTempFile::new().unwrap();
        let output = fixture(kind).arg("--panic").env("FIXTURE_TERMINATION_LOG", log.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let told = stderr.lines().filter(|line| line.starts_with("error: ") || line.starts_with("hint: "));
        let told: Vec<&str> = told.collect();
        assert_eq!((output.status.code(), told.len()), (Some(1), 2), "{kind}: {stderr}");
        assert!(told[0].starts_with("error: a bug ended fixture: ") && told[0].ends_with(text), "{stderr}");
        assert_eq!(told[1], "hint: please report these two lines");
        assert_eq!(std::fs::read_to_string(log.path()).unwrap(), format!("{}\n{}\n", told[0], told[1]));
    }
}

fn the_termination_message_is_cut() {
    let log = tempfile::NamedTempFile::new().unwrap();
    // Two-byte letters behind the 7 of "error: " put a boundary in the middle of one.
    let output = failed(&"é".repeat(4000), log.path());
    assert_eq!(output.status.code(), Some(1));
    let message = std::fs::read_to_string(log.path()).unwrap();
    assert_eq!(message.len(), 4095, "the last whole letter before 4096 bytes");
}

fn a_missing_termination_log_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    assert_eq!(failed("x", &log).status.code(), Some(1));
    assert!(!log.exists());
}

fn a_signal_ends_idle_work() {
    for kind in ["async", "blocking"] {
        for name in ["-TERM", "-INT"] {
            let mut child = started(kind, &[]);
            signal(&child, name);
            assert_eq!(child.wait().unwrap().code(), Some(0), "{kind} {name}");
        }
    }
}

fn work_that_outlives_its_grace() {
    for kind in ["async", "blocking"] {
        let child = started(kind, &["--linger", "1h", "--grace", "50ms"]);
        signal(&child, "-TERM");
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{kind}");
        let expected = "error: the work was not finished 50ms after the request to stop\n\
                        hint: raise --grace, and terminationGracePeriodSeconds of the pod above it\n";
        assert!(stderr.ends_with(expected), "{kind}: {stderr}");
    }
}

fn a_second_signal_ends_the_process_now() {
    for kind in ["async", "blocking"] {
        let mut child = started(kind, &["--linger", "1h", "--grace", "1h"]);
        let begin = Instant::now();
        // Two signals that arrive before the process looks are one to it, so the second is sent until it is heard.
        let status = loop {
            signal(&child, "-TERM");
            std::thread::sleep(Duration::from_millis(50));
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{kind} does not end");
        };
        assert_eq!(status.code(), Some(4), "{kind}");
    }
}

fn help_and_version_go_to_stdout() {
    let version = fixture("async").arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("fixture {}\n", env!("CARGO_PKG_VERSION")));
    let help = fixture("blocking").arg("--help").output().unwrap();
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("[env: FIXTURE_LINGER]"));
}

fn events_can_be_json_or_off() {
    let stderr = |args: &[&str]| {
        let child = started("async", args);
        signal(&child, "-TERM");
        String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap()
    };
    let json = stderr(&["--log-format", "json"]);
    assert!(json.starts_with('{') && json.contains("\"message\":\"started\""), "{json}");
    assert_eq!(stderr(&["--log-level", "off"]), "");
}
