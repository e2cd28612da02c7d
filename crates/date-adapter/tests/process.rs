//! The real binary: streams, exit codes, signals, the admin paths.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use kit_test::{Process, Signal};

const LONG: Duration = Duration::from_secs(30);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_date-adapter"));
    command.args(arguments);
    command
}

const SEED_CASE: [&str; 4] = ["-i", "%d/%m/%YT%T", "-f", "%Y/%m/%dT%T"];

/// Runs with this standard input to the end.
fn fed(arguments: &[&str], input: &[u8]) -> kit_test::Exit {
    let mut process = Process::spawn_fed(&mut command(arguments));
    process.stdin().write_all(input).unwrap();
    process.close_stdin();
    process.wait_within(LONG)
}

#[test]
fn da17_a_line_comes_out_while_the_input_stays_open() {
    let utc = ["-i", "%d/%m/%YT%T", "--from-zone", "UTC"];
    let dressed = [&SEED_CASE[..], &["--prefix", ""]].concat();
    // Lines that keep their length, lines that grow, and lines that go through kit-lines.
    for (arguments, date, tail) in
        [(&SEED_CASE[..], "2022/12/01", ""), (&utc, "2022-12-01", "Z"), (&dressed, "2022/12/01", "")]
    {
        let mut process = Process::spawn_fed(&mut command(arguments));
        let mut waits = Vec::new();
        for second in 0..20 {
            let start = Instant::now();
            writeln!(process.stdin(), "01/12/2022T16:25:{second:02} x").unwrap();
            process.wait_for_stdout(&format!("{date}T16:25:{second:02}{tail} x"), LONG);
            waits.push(start.elapsed());
        }
        waits.sort();
        // The median stands a loaded machine; nothing else may hold a line back.
        assert!(waits[10] < Duration::from_millis(100), "{arguments:?} {waits:?}");
        process.close_stdin();
        assert_eq!(process.wait_within(LONG).code, Some(0));
    }
}

#[test]
fn an_unfinished_line_waits_for_its_end_and_goes_out_with_the_input() {
    let mut process = Process::spawn_fed(&mut command(&SEED_CASE));
    process.stdin().write_all(b"01/12/2022T16:25:21 a\n01/12/2022T").unwrap();
    process.wait_for_stdout("2022/12/01T16:25:21 a", LONG);
    process.stdin().write_all(b"16:25:22 b").unwrap();
    process.close_stdin();
    let exit = process.wait_within(LONG);
    assert_eq!(exit.stdout, b"2022/12/01T16:25:21 a\n2022/12/01T16:25:22 b");
}

#[test]
fn sigterm_writes_what_has_arrived_and_ends_with_0() {
    let mut process = Process::spawn_fed(&mut command(&SEED_CASE));
    writeln!(process.stdin(), "01/12/2022T16:25:21 a").unwrap();
    process.wait_for_stdout("2022/12/01T16:25:21 a", LONG);
    process.stdin().write_all(b"02/12/2022T16:25:21 b\n03/12/2022T16:25:21 last").unwrap();
    process.signal(Signal::TERM);
    let exit = process.wait_within(LONG);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(
        String::from_utf8(exit.stdout).unwrap(),
        "2022/12/01T16:25:21 a\n2022/12/02T16:25:21 b\n2022/12/03T16:25:21 last"
    );
}

#[test]
fn a_reader_that_left_ends_the_run_with_0_even_when_no_line_comes() {
    use std::process::Stdio;
    let mut child =
        command(&SEED_CASE).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    let start = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        assert!(start.elapsed() < LONG, "it still waits for input");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(code, Some(0));
}

#[test]
fn an_output_that_takes_nothing_is_an_error_with_the_repair() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ts.log");
    std::fs::write(&path, "01/12/2022T16:25:21 a\n").unwrap();
    for followed in [true, false] {
        let mut command = command(&SEED_CASE);
        if followed {
            command.arg("--exit-on-eof").arg(&path);
        } else {
            command.stdin(std::fs::File::open(&path).unwrap());
        }
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("error: cannot write to stdout: No space left on device"), "{told}");
        assert!(told.contains("hint: whatever stdout leads to must have room"), "{told}");
    }
}

#[test]
fn a_closed_output_is_an_error_and_no_line_vanishes_in_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ts.log"), "01/12/2022T16:25:21 a\n").unwrap();
    let program = command(&[]).get_program().to_owned();
    for input in ["< ts.log", "--exit-on-eof ts.log"] {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" \"$@\" {input} >&-")]).arg(&program).args(SEED_CASE);
        let output = shell.current_dir(&folder).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.ends_with(
            "error: stdout is closed\nhint: start date-adapter with stdout open, or send it to /dev/null to throw the lines away\n"
        ), "{told}");
    }
}

#[test]
fn strict_ends_with_5_after_everything_was_written() {
    let strict = [&SEED_CASE[..], &["--strict"]].concat();
    let exit = fed(&strict, b"01/12/2022T16:25:21 a\nno stamp\n31/02/2022T16:25:21 b\n");
    assert_eq!(exit.code, Some(5));
    assert_eq!(exit.stdout, b"2022/12/01T16:25:21 a\nno stamp\n31/02/2022T16:25:21 b\n");
    assert!(
        exit.stderr.contains("error: of 3 lines 1 had no stamp, 1 an impossible and 0 an ambiguous one"),
        "{}",
        exit.stderr
    );
    assert_eq!(fed(&strict, b"01/12/2022T16:25:21 a\n").code, Some(0));
}

#[test]
fn a_policy_that_ends_the_run_says_which_line() {
    let exit =
        fed(&[&SEED_CASE[..], &["--on-invalid", "fail"]].concat(), b"01/12/2022T16:25:21 a\n31/02/2022T16:25:21 b\n");
    assert_eq!((exit.code, exit.stdout.as_slice()), (Some(1), &b"2022/12/01T16:25:21 a\n"[..]));
    assert!(exit.stderr.contains("error: line 2: no such day \"31/02/2022T16:25:21\""), "{}", exit.stderr);
}

#[test]
fn impossible_dates_are_told_once_with_line_and_reason() {
    let exit = fed(&SEED_CASE, &b"31/02/2022T16:25:21 b\n".repeat(1000));
    assert_eq!(exit.code, Some(0));
    assert_eq!(exit.stderr.matches("impossible date").count(), 1, "{}", exit.stderr);
    assert!(exit.stderr.contains("line=1 stamp=\"31/02/2022T16:25:21\" reason=\"no such day\""), "{}", exit.stderr);
}

#[test]
fn ambiguous_dates_are_told_once_with_the_repair() {
    let exit = fed(&["-i", "auto", "-f", "%F %T"], &b"01/12/2022 16:25:21 b\n".repeat(1000));
    assert_eq!(exit.stderr.matches("--day-first or --month-first").count(), 1, "{}", exit.stderr);
}

#[test]
fn contradictory_requests_end_with_2_and_the_repair() {
    for (arguments, error, hint) in [
        (
            &["-i", "%d/%m/%YT%T"][..],
            "error: the output needs to know the zone of the stamps, and the input \"%d/%m/%YT%T\" does not say it",
            "hint: add --from-zone",
        ),
        (&[], "error: no input format is given", "hint: say what the stamps look like"),
        (&["-i", "%d %T", "-f", "%T"], "error: the format \"%d %T\" has a day without a month", "hint: add %m or %b"),
        (&["-i", "rfc3339", "-z", "Mars/Base"], "error: \"Mars/Base\" is not a zone", "hint: write an IANA name"),
        (&["-i", "auto", "--day-first", "--month-first"], "error: ", "hint: "),
        (
            &["-i", "rfc3339", "-f", "%T", "--precision", "ms"],
            "error: --precision has nothing to set",
            "hint: write %.f",
        ),
    ] {
        let exit = fed(arguments, b"");
        assert_eq!(exit.code, Some(2), "{arguments:?} {}", exit.stderr);
        assert!(exit.stderr.contains(error) && exit.stderr.contains(hint), "{arguments:?} {}", exit.stderr);
    }
}

#[test]
fn the_environment_names_formats_one_per_line_and_tz_the_local_zone() {
    let mut command = command(&[]);
    command.env("DATE_ADAPTER_INPUT_FORMAT", "%d.%m.%Y %T\n%d/%m/%Y %T").env("TZ", "Asia/Kathmandu");
    command.env("DATE_ADAPTER_FROM_ZONE", "local");
    let mut process = Process::spawn_fed(&mut command);
    process.stdin().write_all(b"01.12.2022 16:25:21 a\n01/12/2022 16:25:21 b\n").unwrap();
    process.close_stdin();
    let exit = process.wait_within(LONG);
    assert_eq!(String::from_utf8(exit.stdout).unwrap(), "2022-12-01T16:25:21+05:45 a\n2022-12-01T16:25:21+05:45 b\n");
}

#[test]
fn test_line_and_explain_tell_what_the_flags_mean() {
    let exit = fed(&["-i", "clf", "-z", "UTC", "--explain", "--test-line", "x [10/Oct/2000:13:55:36 -0700] y"], b"");
    let text = String::from_utf8(exit.stdout).unwrap();
    assert_eq!(exit.code, Some(0));
    for line in [
        "output        x [2000-10-10T20:55:36Z] y",
        "result        rewritten",
        "format        clf as %d/%b/%Y:%H:%M:%S %z",
        "zones         stamps without a zone: refused (none has to be); output: UTC",
    ] {
        assert!(text.lines().any(|other| other == line), "{line:?} is not in\n{text}");
    }
    let exit = fed(&["-i", "clf", "--test-line", "[31/Feb/2000:13:55:36 -0700]"], b"");
    assert_eq!(exit.code, Some(1));
    assert!(
        String::from_utf8(exit.stdout).unwrap().contains("impossible: no such day: \"31/Feb/2000:13:55:36 -0700\"")
    );
}

#[test]
fn the_admin_paths_tell_health_and_counts() {
    let port = kit_test::free_port();
    let listen = format!("127.0.0.1:{port}");
    let arguments = [&SEED_CASE[..], &["--admin-listen", &listen]].concat();
    let mut process = Process::spawn_fed(&mut command(&arguments));
    process.stdin().write_all(b"01/12/2022T16:25:21 a\nno\n31/02/2022T00:00:00 b\n").unwrap();
    process.wait_for_stdout("31/02/2022T00:00:00 b", LONG);
    let address = listen.parse().unwrap();
    kit_test::eventually("the admin paths answer", LONG, || kit_test::try_http_get(address, "/metrics").is_ok());
    let metrics = kit_test::http_get(address, "/metrics").body;
    for line in [
        "date_adapter_lines_total{result=\"rewritten\"} 1",
        "date_adapter_lines_total{result=\"unmatched\"} 1",
        "date_adapter_lines_total{result=\"invalid\"} 1",
        "date_adapter_format_hits_total{format=\"%d/%m/%YT%T\"} 1",
        "date_adapter_bytes_read_total 47",
        "date_adapter_bytes_written_total 47",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} is not in\n{metrics}");
    }
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(kit_test::http_get(address, path).status, 200, "{path}");
    }
    let check = Process::spawn(&mut command(&["healthcheck", "--admin-listen", &listen])).wait_within(LONG);
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    process.signal(Signal::TERM);
    assert_eq!(process.wait_within(LONG).code, Some(0));
    let check = Process::spawn(&mut command(&["healthcheck", "--admin-listen", &listen])).wait_within(LONG);
    assert_eq!(check.code, Some(1));
}

#[test]
fn da21_memory_stays_small_with_the_zone_database_in_use() {
    let arguments = ["-i", "%d/%m/%YT%T", "--from-zone", "Europe/Paris", "-z", "America/New_York"];
    let mut process = Process::spawn_fed(&mut command(&arguments));
    let block: String =
        (0..2000).map(|n| format!("{:02}/12/2022T16:25:{:02} message {n}\n", n % 28 + 1, n % 60)).collect();
    for _ in 0..100 {
        process.stdin().write_all(block.as_bytes()).unwrap();
    }
    process.stdin().write_all(b"the end\n").unwrap();
    process.wait_for_stdout("the end", LONG);
    let anonymous = process.status_number("RssAnon");
    // The gates (768 KiB anonymous, 3 MiB in all) are for the shipped build, see the bench; this one is unoptimised.
    assert!(anonymous <= 2048, "{anonymous} KiB anonymous");
    process.close_stdin();
    assert_eq!(process.wait_within(LONG).code, Some(0));
}
