//! Standard input and FIFOs.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use kit_test::{Exit, Process};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::harness::{PATIENCE, Pod, Tail, lines};

/// Runs with `input` on standard input, which then ends.
fn fed(pod: &Pod, arguments: &[&str], input: &str) -> Exit {
    let mut process = Process::spawn_fed(&mut pod.command(arguments));
    process.stdin().write_all(input.as_bytes()).unwrap();
    process.close_stdin();
    process.wait_within(PATIENCE)
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn t11_standard_input_is_read_to_its_end_as_gnu_tail_reads_it() {
    let pod = Pod::new();
    for (arguments, expected) in [
        (&["-f", "-c3"][..], "oo\n"),
        (&["-f", "-c3", "-"], "oo\n"),
        (&["-n1"], "foo\n"),
        (&["-n+1", "-F", "-"], "a\nb\nfoo\n"),
        (&["-n+2"], "b\nfoo\n"),
        (&["-c+5"], "foo\n"),
        (&["-"], "a\nb\nfoo\n"),
        (&["--prefix", "> ", "-"], "> a\n> b\n> foo\n"),
        (&["-v", "-n1"], "==> standard input <==\nfoo\n"),
    ] {
        let exit = fed(&pod, arguments, "a\nb\nfoo\n");
        assert_eq!(String::from_utf8(exit.stdout).unwrap(), expected, "{arguments:?}");
        assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
    assert_eq!(fed(&pod, &["-n+1"], "no end").stdout, b"no end");
    assert_eq!(fed(&pod, &["--prefix", "> ", "-"], "a\nno end").stdout, b"> a\n> no end");
    let grouped = ["--multiline-start", "^[0-9]", "--multiline-join", "|", "-"];
    assert_eq!(fed(&pod, &grouped, "1 a\n b\n2 c\n d").stdout, b"1 a| b\n2 c| d\n");
    assert_eq!(fed(&pod, &["-n2", "--prefix", "> "], "a\nb\nno end").stdout, b"> b\n> no end");
    assert_eq!(fed(&pod, &["-n+1"], "").stdout, b"");
    let long = lines(0, 300_000);
    assert!(fed(&pod, &["-n+1"], &long).stdout == long.as_bytes(), "a long input passes whole");
}

#[test]
fn t11_a_file_as_standard_input_is_followed_as_a_file() {
    let pod = Pod::new();
    pod.append("f", "one\ntwo\n");
    let mut command = pod.command(&["-n", "1"]);
    let output = command.stdin(Stdio::from(std::fs::File::open(pod.path("f")).unwrap())).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"two\n"[..]));
}

#[test]
fn t11_a_fifo_outlives_its_writers_and_keeps_lines_whole() {
    let pod = Pod::new();
    fifo(&pod.path("p"));
    let tail = Tail(Process::spawn(&mut pod.command(&["-n+1", "-f", "p"])));
    let mut expected = String::new();
    for round in 0..5 {
        let mut writer = OpenOptions::new().write(true).open(pod.path("p")).unwrap();
        writer.write_all(b"half").unwrap();
        writer.write_all(format!(" {round}\n").as_bytes()).unwrap();
        expected.push_str(&format!("half {round}\n"));
        drop(writer);
        tail.prints(&expected);
    }
    tail.ends_with(&expected);
}

#[test]
fn t11_the_last_lines_of_a_fifo_come_when_its_writer_leaves_and_what_is_sent_later_follows() {
    let pod = Pod::new();
    fifo(&pod.path("p"));
    let tail = Tail(Process::spawn(&mut pod.command(&["-f", "p"])));
    let write = |text: String| OpenOptions::new().write(true).open(pod.path("p")).unwrap().write_all(text.as_bytes());
    write(lines(0, 20)).unwrap();
    tail.prints(lines(10, 20));
    write(lines(20, 40)).unwrap();
    tail.ends_with(lines(10, 40));
}

#[test]
fn t11_a_stuck_output_holds_the_writer_of_a_fifo_back_and_loses_nothing() {
    let pod = Pod::new();
    fifo(&pod.path("p"));
    let tail = Tail(Process::spawn(&mut pod.command(&["-n+1", "-F", "p"])));
    tail.0.block_stdout();
    let path = pod.path("p");
    let writer = std::thread::spawn(move || {
        OpenOptions::new().write(true).open(path).unwrap().write_all(lines(0, 100_000).as_bytes()).unwrap();
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!writer.is_finished(), "a megabyte does not fit into two pipes and a window");
    tail.0.unblock_stdout();
    writer.join().unwrap();
    tail.ends_with(lines(0, 100_000));
}

#[test]
fn t11_what_a_pipe_cannot_do_is_refused() {
    let pod = Pod::new();
    fifo(&pod.path("p"));
    pod.append("f", "one\n");
    let refused = |arguments: &[&str]| {
        let exit = pod.run(arguments);
        assert_eq!(exit.code, Some(2), "{arguments:?}");
        exit.stderr
    };
    assert_eq!(
        refused(&["-F", "p", "f"]),
        "error: p is no regular file and can only be followed alone\n\
         hint: start one follower for it and another one for the files\n"
    );
    assert_eq!(
        refused(&["--state-file", "s", "p"]),
        "error: --state-file cannot remember a place in p\n\
         hint: what a pipe has given is gone: leave --state-file out, or let the app write a file\n"
    );
    assert_eq!(refused(&[]).lines().next(), Some("error: no FILE to follow"), "our own form needs a FILE");
}
