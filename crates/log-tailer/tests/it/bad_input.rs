//! Whatever is wrong with the request or its surroundings: one clear line, the exit code of the README, nothing lost.

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Stdio;

use crate::harness::Pod;

/// Runs with a variable where one is given, and gives code, stdout and stderr.
fn run(pod: &Pod, variable: Option<(&str, &str)>, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = pod.command(arguments);
    let output = command.envs(variable).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_wrong_request_is_one_error_one_hint_and_code_2() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let check = |variable, arguments: &[&str], error: &str, hint: &str| {
        let expected = (Some(2), String::new(), format!("error: {error}\nhint: {hint}\n"));
        assert_eq!(run(&pod, variable, arguments), expected, "{arguments:?}");
    };
    check(
        None,
        &["--frobnicate", "f"],
        "unexpected argument '--frobnicate' found",
        "to pass '--frobnicate' as a value, use '-- --frobnicate'",
    );
    check(
        None,
        &["--poll", "250", "f"],
        "invalid value '250' for '--poll <DURATION>': \"250\" needs a unit; write 250ms, 250s or 250m",
        "see log-tailer --help",
    );
    check(None, &["--poll", "0s", "f"], "--poll 0s would never pause", "250ms is the default");
    check(
        Some(("LOG_TAILER_POL", "1s")),
        &["f"],
        "unknown environment variable LOG_TAILER_POL",
        "did you mean LOG_TAILER_POLL?",
    );
    check(
        Some(("LOG_TAILER_POLL", "soon")),
        &["f"],
        "invalid value 'soon' for '--poll <DURATION>': \"soon\" is not a duration; the units are d, h, m, s, ms, us and ns, as \
         in 1m30s",
        "the value of --poll came from the variable LOG_TAILER_POLL",
    );
    check(None, &[], "no FILE to follow", "name a file, for example: -n+1 -F /var/log/nginx/access.log");
    check(
        None,
        &["--state-file", "none/s", "f"],
        "cannot create the state file none/s: its folder does not exist",
        "mount a volume there, an emptyDir if a restart of the pod may start over, or create the folder",
    );
    check(
        None,
        &["--state-file", "f", "f"],
        "the state file f is one of the followed files",
        "name a file that holds no log",
    );
    check(
        None,
        &["--include-lines", "(", "f"],
        "invalid regular expression '(' for --include-lines: unclosed group",
        "the syntax is that of Rust's regex crate: no look-around, no back references; classes are ASCII",
    );
}

#[test]
fn a_directory_and_a_missing_file_end_it_with_code_1_unless_it_waits() {
    let pod = Pod::new();
    fs::create_dir(pod.path("d")).unwrap();
    let rest = "error: no files remaining\nhint: use -F to wait for a file that is not there yet\n";
    for (name, told) in [
        ("d", "tail: error reading 'd': Is a directory\n"),
        ("missing", "tail: cannot open 'missing' for reading: No such file or directory\n"),
    ] {
        assert_eq!(run(&pod, None, &["-f", name]), (Some(1), String::new(), format!("{told}{rest}")));
    }
    // Beside a file that is there they are told, and it goes on.
    pod.append("f", "one\n");
    let (code, out, _) = run(&pod, None, &["--exit-on-eof", "d", "missing", "f"]);
    assert_eq!((code, out.as_str()), (Some(0), "one\n"));
}

#[test]
fn t55_a_state_file_of_another_version_or_another_log_loses_no_line() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    pod.append("g", "other\n");
    let with_state = ["--exit-on-eof", "--state-file", "s"];
    let on = |name: &str, more: &[&str]| run(&pod, None, &[&with_state[..], more, &[name]].concat());
    assert_eq!(on("g", &[]).1, "other\n");
    assert_eq!(on("f", &[]).1, "one\n", "what is known of g says nothing of f");
    assert_eq!(on("g", &[]).1, "", "and g is still known");
    fs::OpenOptions::new().write(true).open(pod.path("s")).unwrap().write_all_at(&[7], 8).unwrap();
    let expected = "error: state file s has version 7; this program reads version 1\n\
        hint: remove it, or let --on-state-error beginning or end decide where to start\n";
    assert_eq!(on("f", &["--on-state-error", "fail"]), (Some(1), String::new(), expected.to_owned()));
    let (code, out, told) = on("f", &[]);
    assert_eq!((code, out.as_str()), (Some(0), "one\n"));
    assert!(told.contains("state file not usable, starting over"), "{told}");
}

#[test]
fn t55_a_file_that_is_no_state_file_is_kept_before_it_becomes_one() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    pod.append("notes", "not to be lost\n");
    let (code, out, told) = run(&pod, None, &["--exit-on-eof", "--state-file", "notes", "f"]);
    assert_eq!((code, out.as_str()), (Some(0), "one\n"));
    assert!(told.contains("what the state file held is kept"), "{told}");
    assert_eq!(fs::read_to_string(pod.path("notes.unusable")).unwrap(), "not to be lost\n");
}

#[test]
fn a_stdout_that_takes_nothing_ends_it_and_no_place_is_remembered() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let program = pod.command(&[]).get_program().to_owned();
    let with = |redirect: &str| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" --exit-on-eof --state-file s f {redirect}")]).arg(&program);
        let output = shell.current_dir(pod.path(".")).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let closed = "error: stdout is closed\n\
        hint: start log-tailer with stdout open, or send it to /dev/null to throw the lines away\n";
    assert_eq!(with(">&-"), (Some(1), closed.to_owned()));
    let full = "error: cannot write to stdout: No space left on device (os error 28)\n\
        hint: whatever stdout leads to must have room and accept writes\n";
    assert_eq!(with(">/dev/full"), (Some(1), full.to_owned()));
    assert_eq!(
        run(&pod, None, &["--exit-on-eof", "--state-file", "s", "f"]).1,
        "one\n",
        "nothing was handed over before"
    );
    pod.append("f", "thrown away\n");
    assert_eq!(with(">/dev/null"), (Some(0), String::new()));
}
