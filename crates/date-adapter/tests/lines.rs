//! log-tailer's flags for lines, at work around the adapter: standard input and followed files, by the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::disallowed_methods, reason = "the test is the one who writes the logs")]

mod support;

use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use kit_test::{Exit, Process, Signal};
use support::Random;

const LONG: Duration = Duration::from_secs(30);
const SEED_CASE: [&str; 4] = ["-i", "%d/%m/%YT%T", "-f", "%Y/%m/%dT%T"];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_date-adapter"));
    command.args(SEED_CASE).args(arguments);
    command
}

/// Standard input to its end.
fn piped(arguments: &[&str], input: &[u8]) -> Exit {
    let mut process = Process::spawn_fed(&mut command(arguments));
    // A run that a policy ends leaves before it has read everything.
    let _ = process.stdin().write_all(input);
    process.close_stdin();
    process.wait_within(LONG)
}

/// A followed file to its end, and its path.
fn followed(arguments: &[&str], input: &[u8]) -> (Exit, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ts.log");
    fs::write(&path, input).unwrap();
    let exit = Process::spawn(command(arguments).arg("--exit-on-eof").arg(&path)).wait_within(LONG);
    (exit, path.display().to_string())
}

/// What comes out, of a pipe and of a followed file; `FILE` stands for their names.
#[track_caller]
fn check(arguments: &[&str], input: &[u8], expected: &str) {
    let exit = piped(arguments, input);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(String::from_utf8_lossy(&exit.stdout), expected.replace("FILE", "-"), "{arguments:?} of a pipe");
    let (exit, path) = followed(arguments, input);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(String::from_utf8_lossy(&exit.stdout), expected.replace("FILE", &path), "{arguments:?} of a file");
}

#[test]
fn expressions_see_what_the_app_wrote() {
    let input = b"01/12/2022T16:25:21 error /a/T\n01/12/2022T16:25:22 info\n02/12/2022T16:25:23 error health\n";
    check(&["--include-lines", "error"], input, "2022/12/01T16:25:21 error /a/T\n2022/12/02T16:25:23 error health\n");
    check(&["--include-lines", "^01/12", "--exclude-lines", "info"], input, "2022/12/01T16:25:21 error /a/T\n");
    check(&["--include-lines", "^2022"], input, "");
    check(&["--sample", "2"], input, "2022/12/01T16:25:21 error /a/T\n2022/12/02T16:25:23 error health\n");
}

#[test]
fn lines_are_dressed_after_their_stamps_were_rewritten() {
    let input = b"01/12/2022T16:25:21 a \"q\"\nno stamp\n";
    let logfmt = ["--output", "logfmt", "--label", "pod=ents", "--prefix", "{offset} {label.pod} "];
    let text = String::from_utf8(piped(&logfmt, b"no\n01/12/2022T16:25:21\n").stdout).unwrap();
    let second = text.lines().nth(1).unwrap();
    assert!(second.starts_with("3 ents ts=20"), "{text}");
    assert!(second.ends_with(" file=- offset=3 pod=ents log=2022/12/01T16:25:21"), "{text}");
    for (exit, file) in [(piped(&["--output", "json", "--label", "pod=ents"], input), "-".to_owned()), {
        followed(&["--output", "json", "--label", "pod=ents"], input)
    }] {
        let text = String::from_utf8(exit.stdout).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["log"], "2022/12/01T16:25:21 a \"q\"");
        assert_eq!(
            (lines[0]["file"].as_str(), lines[0]["labels"]["pod"].as_str()),
            (Some(file.as_str()), Some("ents"))
        );
        // Offsets are those of the file that was read.
        assert_eq!((lines[1]["offset"].as_u64(), lines[1]["log"].as_str()), (Some(26), Some("no stamp")));
    }
    check(&["--prefix", "{file}@{offset}: "], input, "FILE@0: 2022/12/01T16:25:21 a \"q\"\nFILE@26: no stamp\n");
}

#[test]
fn a_record_of_joined_lines_has_one_stamp() {
    let input = b"01/12/2022T16:25:21 oops\n  at a\n  at b\n01/12/2022T16:25:22 fine\n";
    let joined = ["--multiline-start", r"^\d\d/", "--multiline-join", " | ", "--strict", "--match", "start"];
    check(&joined, input, "2022/12/01T16:25:21 oops |   at a |   at b\n2022/12/01T16:25:22 fine\n");
    // Newlines in a record do not make lines of it.
    let dressed = ["--multiline-start", r"^\d\d/", "--output", "json", "--on-unmatched", "drop"];
    let text = String::from_utf8(piped(&dressed, input).stdout).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["log"], "2022/12/01T16:25:21 oops\n  at a\n  at b");
}

#[test]
fn the_last_record_goes_after_a_silence_while_the_input_stays_open() {
    let arguments = ["--multiline-start", r"^\d\d/", "--multiline-timeout", "50ms"];
    let mut process = Process::spawn_fed(&mut command(&arguments));
    process.stdin().write_all(b"01/12/2022T16:25:21 oops\n  at a\n").unwrap();
    process.wait_for_stdout("2022/12/01T16:25:21 oops\\n  at a", LONG);
    process.stdin().write_all(b"02/12/2022T16:25:21 last").unwrap();
    process.signal(Signal::TERM);
    let exit = process.wait_within(LONG);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.ends_with(b"2022/12/02T16:25:21 last\n"), "{}", exit.stdout.escape_ascii());
}

#[test]
fn other_encodings_are_decoded_before_the_stamp_is_looked_for() {
    let text = "01/12/2022T16:25:21 café 😀\n02/12/2022T16:25:22 b\n";
    let expected = "2022/12/01T16:25:21 café 😀\n2022/12/02T16:25:22 b\n";
    let wide = |mark: &str, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        format!("{mark}{text}").encode_utf16().flat_map(order).collect()
    };
    check(&["--encoding", "utf-16le"], &wide("", u16::to_le_bytes), expected);
    check(&["--encoding", "utf-16be"], &wide("\u{feff}", u16::to_be_bytes), expected);
    check(&["--encoding", "auto"], &wide("\u{feff}", u16::to_le_bytes), expected);
    check(&["--encoding", "auto"], &wide("\u{feff}", u16::to_be_bytes), expected);
    check(&["--encoding", "auto"], text.as_bytes(), expected);
    check(&["--encoding", "latin1"], b"01/12/2022T16:25:21 caf\xe9\n", "2022/12/01T16:25:21 café\n");
}

#[test]
fn long_lines_are_cut_after_their_stamp_was_rewritten() {
    let input = b"01/12/2022T16:25:21 0123456789\nshort\n";
    check(&["--max-line-bytes", "25"], input, "2022/12/01T16:25:21 01234\n56789\nshort\n");
    check(&["--max-line-bytes", "25", "--long-lines", "truncate"], input, "2022/12/01T16:25:21 01234\nshort\n");
    check(&["--max-line-bytes", "25", "--long-lines", "drop"], input, "short\n");
    // Longer than any buffer: the stamp in its beginning is rewritten, and all of it comes.
    let tail = "x".repeat(1_000_000);
    let input = format!("01/12/2022T16:25:21 {tail}\n02/12/2022T16:25:21 next\n");
    let expected = format!("2022/12/01T16:25:21 {tail}\n2022/12/02T16:25:21 next\n");
    for exit in [piped(&["--sample", "1"], input.as_bytes()), followed(&["--sample", "1"], input.as_bytes()).0] {
        assert!(exit.stdout == expected.as_bytes(), "{} bytes came out", exit.stdout.len());
    }
}

#[test]
fn lines_wait_for_their_rate_or_are_dropped() {
    let input: String = (0..15).map(|second| format!("01/12/2022T16:25:{second:02} a\n")).collect();
    let expected = input.replace("01/12/2022", "2022/12/01");
    let start = Instant::now();
    check(&["--rate-limit", "10/s"], input.as_bytes(), &expected);
    // Ten may pass at once, the other five take half a second, for the pipe and for the file.
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    let exit = piped(&["--rate-limit", "10/s", "--rate-policy", "drop"], input.as_bytes());
    let came = exit.stdout.split_inclusive(|byte| *byte == b'\n').count();
    assert!((10..15).contains(&came), "{came} lines");
}

#[test]
fn lines_may_end_with_nul() {
    let input = b"01/12/2022T16:25:21 a\nb\x0002/12/2022T16:25:21 c\0";
    check(&["--zero-terminated"], input, "2022/12/01T16:25:21 a\nb\x002022/12/02T16:25:21 c\0");
}

#[test]
fn headers_say_which_file_lines_are_from() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| folder.path().join(name));
    for path in &paths {
        fs::write(path, "01/12/2022T16:25:21 x\n").unwrap();
    }
    let exit = Process::spawn(command(&["--headers", "auto", "--exit-on-eof"]).args(&paths)).wait_within(LONG);
    let [a, b] = paths.map(|path| path.display().to_string());
    let expected = format!("==> {a} <==\n2022/12/01T16:25:21 x\n\n==> {b} <==\n2022/12/01T16:25:21 x\n");
    assert_eq!(String::from_utf8(exit.stdout).unwrap(), expected);
}

#[test]
fn policies_and_line_numbers_hold_among_chosen_lines() {
    let input = b"skip\nskip\n01/12/2022T16:25:21 a\nno stamp\n31/02/2022T16:25:21 b\n";
    let exclude = ["--exclude-lines", "skip"];
    let with = |more: &[&'static str]| [&exclude[..], more].concat();
    check(&with(&["--on-unmatched", "drop", "--on-invalid", "tag"]), input, {
        "2022/12/01T16:25:21 a\n[invalid-timestamp] 31/02/2022T16:25:21 b\n"
    });
    check(&with(&["--on-unmatched", "inherit", "--on-invalid", "drop"]), input, {
        "2022/12/01T16:25:21 a\n2022/12/01T16:25:21 no stamp\n"
    });
    for exit in [piped(&with(&["--strict"]), input), followed(&with(&["--strict"]), input).0] {
        assert_eq!(exit.code, Some(5), "{}", exit.stderr);
        assert!(exit.stderr.contains("of 3 lines 1 had no stamp, 1 an impossible"), "{}", exit.stderr);
        assert!(exit.stderr.contains("line=5 "), "{}", exit.stderr);
    }
    for exit in
        [piped(&with(&["--on-unmatched", "fail"]), input), followed(&with(&["--on-unmatched", "fail"]), input).0]
    {
        assert_eq!((exit.code, exit.stdout.as_slice()), (Some(1), &b"2022/12/01T16:25:21 a\n"[..]));
        assert!(exit.stderr.contains("error: line 4: no stamp"), "{}", exit.stderr);
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_the_repair() {
    for (arguments, error, hint) in [
        (&["--include-lines", "a("][..], "error: invalid regular expression 'a(' for --include-lines", "hint: "),
        (&["--label", "a=b"], "error: --label is shown by nothing", "hint: add --output json"),
        (&["--prefix", "{nmae}"], "error: invalid --prefix: unknown placeholder {nmae}", "hint: placeholders are"),
        (&["-", "/var/log/a.log"], "error: standard input (-) cannot be read beside", "hint: start another"),
        (&["--rate-limit", "fast"], "error: ", "hint: "),
        (&["-F"], "error: -F is for followed files, and no FILE is named", "hint: name the log"),
        (&["--state-file", "/tmp/state"], "error: --state-file is for followed files", "hint: name the log"),
    ] {
        let exit = piped(arguments, b"");
        assert_eq!(exit.code, Some(2), "{arguments:?} {}", exit.stderr);
        assert!(exit.stderr.contains(error) && exit.stderr.contains(hint), "{arguments:?} {}", exit.stderr);
    }
    let exit = piped(&["-"], b"01/12/2022T16:25:21 a\n");
    assert_eq!((exit.code, exit.stdout.as_slice()), (Some(0), &b"2022/12/01T16:25:21 a\n"[..]));
}

#[test]
fn what_is_dropped_is_counted_by_its_reason() {
    let listen = format!("127.0.0.1:{}", kit_test::free_port());
    let arguments = ["--admin-listen", &listen, "--exclude-lines", "skip", "--on-unmatched", "drop"];
    let mut process = Process::spawn_fed(&mut command(&arguments));
    process.stdin().write_all(b"skip\nno\nno\n01/12/2022T16:25:21 a\n").unwrap();
    process.wait_for_stdout("2022/12/01T16:25:21 a", LONG);
    let address = listen.parse().unwrap();
    kit_test::eventually("the admin paths answer", LONG, || kit_test::try_http_get(address, "/metrics").is_ok());
    let metrics = kit_test::http_get(address, "/metrics").body;
    for line in [
        "date_adapter_lines_dropped_total{reason=\"exclude\"} 1",
        "date_adapter_lines_dropped_total{reason=\"policy\"} 2",
        "date_adapter_lines_total{result=\"unmatched\"} 2",
        "date_adapter_lines_total{result=\"rewritten\"} 1",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn a_test_line_is_dressed_too() {
    let exit = piped(&["--test-line", "01/12/2022T16:25:21 a", "--prefix", "app: ", "--explain"], b"");
    let text = String::from_utf8(exit.stdout).unwrap();
    assert!(text.contains("output        app: 2022/12/01T16:25:21 a\nresult        rewritten\n"), "{text}");
    assert!(text.contains("lines         decoded, joined, chosen"), "{text}");
    let exit = piped(&["--test-line", "01/12/2022T16:25:21 a", "--exclude-lines", "a"], b"");
    let text = String::from_utf8(exit.stdout).unwrap();
    assert!(text.contains("result        left out by the flags for lines"), "{text}");
}

/// The slow way through kit-lines and the fast one are the same where the flags choose everything.
#[test]
fn flags_that_choose_everything_change_nothing() {
    let mut random = Random::seeded("lines");
    let mut input = Vec::new();
    for _ in 0..3000 {
        match random.below(9) {
            0..=3 => {
                let (day, month, second) = (random.below(33), random.below(14), random.below(62));
                input.extend(format!("{day:02}/{month:02}/2022T16:25:{second:02}").bytes());
            }
            4 => input.extend((0..random.below(40)).map(|_| random.below(256) as u8).collect::<Vec<_>>()),
            5 => input.extend(vec![b'x'; random.below(300) as usize]),
            6 if random.below(100) == 0 => input.extend(vec![b'y'; 200_000]),
            _ => input.push(b'\n'),
        }
    }
    let plain = piped(&[], &input).stdout;
    assert!(plain.len() == input.len() && plain != input);
    assert!(piped(&["--sample", "1"], &input).stdout == plain, "of a pipe");
    assert!(followed(&["--sample", "1"], &input).0.stdout == plain, "of a file");
    assert!(followed(&[], &input).0.stdout == plain, "of a file, without a flag");
}
