//! Restarts with a state file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use kit_test::eventually;

use crate::harness::{PATIENCE, Pod, lines};

fn run(pod: &Pod) -> String {
    let exit = pod.run(&["--exit-on-eof", "--state-file", "s", "f"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    String::from_utf8(exit.stdout).unwrap()
}

#[test]
fn t51_after_a_restart_only_new_lines_come() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    assert_eq!(run(&pod), "one\n");
    pod.append("f", "two\n");
    assert_eq!(run(&pod), "two\n");
    assert_eq!(run(&pod), "");
}

#[test]
fn t52_rotations_between_two_runs_are_read_in_order() {
    let pod = Pod::new();
    pod.append("f", "1\n");
    assert_eq!(run(&pod), "1\n");
    pod.append("f", "2\n");
    pod.rename("f", "f.1");
    pod.append("f", "3\n");
    pod.rename("f.1", "f.2");
    pod.rename("f", "f.1");
    pod.append("f", "4\n");
    assert_eq!(run(&pod), "2\n3\n4\n");
    assert_eq!(run(&pod), "");
}

#[test]
fn t32_a_generation_compressed_between_two_runs_goes_on_at_its_offset() {
    let pod = Pod::new();
    pod.append("f", "1\n");
    assert_eq!(run(&pod), "1\n");
    pod.append("f", "2\n");
    pod.rename("f", "f.1");
    pod.compress("f.1");
    pod.append("f", "3\n");
    assert_eq!(run(&pod), "2\n3\n");
    assert_eq!(run(&pod), "");
}

#[test]
fn t32_a_line_that_was_begun_before_its_file_was_compressed_between_two_runs_is_not_said_to_be_lost() {
    let pod = Pod::new();
    pod.append("f", "1\n");
    assert_eq!(run(&pod), "1\n");
    pod.rename("f", "f-20261121-1");
    pod.append("f", "beg");
    assert_eq!(run(&pod), "");
    pod.append("f", "un\n");
    pod.rename("f", "f-20261121-2");
    pod.compress("f-20261121-2");
    pod.append("f", "3\n");
    let exit = pod.run(&["--exit-on-eof", "--state-file", "s", "f"]);
    assert_eq!(String::from_utf8(exit.stdout).unwrap(), "begun\n3\n");
    assert!(!exit.stderr.contains("is gone"), "{}", exit.stderr);
}

#[test]
fn t49_a_copy_that_begins_as_a_short_one_of_the_last_run_did_is_read() {
    let pod = Pod::new();
    pod.append("f", "1\n");
    let tail = pod.tail(&["--state-file", "s", "f"]);
    tail.prints("1\n");
    pod.copytruncate("f", "f-20261121-1");
    pod.append("f", "2\n");
    tail.prints("1\n2\n");
    tail.ends_with("1\n2\n");
    pod.remove("f-20261121-1");
    pod.append("f", "3\n");
    pod.copytruncate("f", "f-20261121-2");
    pod.append("f", "1\n4\n");
    pod.copytruncate("f", "f-20261121-3");
    pod.append("f", "5\n");
    assert_eq!(run(&pod), "3\n1\n4\n5\n");
}

#[test]
fn t49_a_file_that_is_known_as_a_hole_does_not_make_what_it_held_later_history() {
    use std::os::unix::fs::FileExt;
    let pod = Pod::new();
    pod.append("f", "1\n");
    assert_eq!(run(&pod), "1\n");
    // A writer without O_APPEND goes on where it was.
    let writer = fs::File::options().write(true).open(pod.path("f")).unwrap();
    let truncate_and_write = |line: &[u8], at| {
        writer.set_len(0).unwrap();
        writer.write_all_at(line, at).unwrap();
    };
    truncate_and_write(b"un", 8192);
    assert_eq!(run(&pod), "");
    truncate_and_write(b"2\n", 8194);
    pod.copytruncate("f", "f-20261121-1");
    pod.compress("f-20261121-1");
    truncate_and_write(b"3\n", 8196);
    pod.rename("f", "f-20261121-2");
    pod.append("f", "4\n");
    // What is compressed of a hole is data.
    assert_eq!(run(&pod).replace('\0', ""), "2\n3\n4\n");
    assert_eq!(run(&pod), "");
}

#[test]
fn t49_a_file_that_is_known_by_a_few_bytes_does_not_make_what_it_held_later_history() {
    let pod = Pod::new();
    pod.append("f", "1\n");
    assert_eq!(run(&pod), "1\n");
    fs::write(pod.path("f"), "").unwrap();
    pod.append("f", "all lines begin ");
    assert_eq!(run(&pod), "");
    pod.append("f", "so 2\n");
    pod.copytruncate("f", "f-20261121-1");
    pod.compress("f-20261121-1");
    pod.append("f", "all lines begin so 3\n");
    assert_eq!(run(&pod), "all lines begin so 2\nall lines begin so 3\n");
    assert_eq!(run(&pod), "");
}

#[test]
fn t33_what_lay_unread_behind_a_stuck_output_is_found_in_its_order_after_a_kill() {
    let pod = Pod::new();
    let arguments = ["-n+1", "-F", "--log-level", "debug", "--state-file", "s", "f"];
    pod.append("f", "0\n");
    let tail = pod.tail(&arguments);
    tail.prints("0\n");
    tail.0.block_stdout();
    let first = lines(1, 40_000);
    pod.append("f", &first);
    // Each new file has content before it has the name, so that its truncation is noticed.
    let next = |line: &str| {
        pod.append("next", line);
        pod.rename("next", "f");
    };
    pod.rename("f", "f-20261121-1");
    next("a\n");
    let told = |text: &str, times| {
        eventually(text, PATIENCE, || tail.0.stderr().matches(text).count() == times);
    };
    told("following new file", 1);
    pod.copytruncate("f", "f-20261121-2");
    told("file truncated", 1);
    // What it holds now is copied and goes, and the next one is truncated, which all is seen.
    let hole = fs::File::options().write(true).open(pod.path("f")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&hole, b"b\n", 8192).unwrap();
    pod.rename("f", "f.tmp");
    next("c\n");
    told("following new file", 2);
    fs::copy(pod.path("f.tmp"), pod.path("f-20261121-3")).unwrap();
    pod.remove("f.tmp");
    tail.says("f-20261121-3 size=8194 verdict=Shadow");
    pod.copytruncate("f", "f-20261121-4");
    told("file truncated", 2);
    let mut printed = tail.0.kill().stdout;
    printed.truncate(printed.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    let exit = pod.run(&[&["--exit-on-eof"], arguments.as_slice()].concat());
    let again = String::from_utf8(exit.stdout).unwrap().replace('\0', "");
    assert!(again.ends_with("line 39999\na\nb\nc\n"), "{} {}", &again[again.len() - 100..], exit.stderr);
    let printed = String::from_utf8(printed).unwrap();
    let all = format!("0\n{first}");
    assert!(all.starts_with(&printed) && all.ends_with(again.trim_end_matches("a\nb\nc\n")), "{}", exit.stderr);
    assert!(!exit.stderr.contains("is gone"), "{}", exit.stderr);
}

#[test]
fn t33_what_was_compressed_unread_is_read_although_the_generation_before_it_is_gone() {
    let pod = Pod::new();
    let arguments = ["-n+1", "-F", "--state-file", "s", "f"];
    pod.append("f", "0\n");
    let tail = pod.tail(&arguments);
    tail.prints("0\n");
    tail.0.block_stdout();
    pod.append("f", lines(1, 40_000));
    let rotate = |name: &str, times| {
        pod.rename("f", name);
        pod.append("f", "");
        let told = || tail.0.stderr().matches("following new file").count() == times;
        eventually("the new file to be followed", PATIENCE, told);
    };
    rotate("f-20261121-1", 1);
    pod.append("f", "a\n");
    let modified = fs::metadata(pod.path("f")).unwrap().modified().unwrap();
    rotate("f-20261121-2", 2);
    drop(tail.0.kill());
    // As compressors do.
    pod.compress("f-20261121-2");
    let packed = fs::File::options().write(true).open(pod.path("f-20261121-2.gz")).unwrap();
    packed.set_modified(modified).unwrap();
    pod.append("f", "b\n");
    pod.copytruncate("f", "f-20261121-3");
    pod.remove("f-20261121-1");
    pod.append("f", "c\n");
    pod.rename("f", "f-20261121-4");
    pod.append("f", "d\n");
    let exit = pod.run(&[&["--exit-on-eof"], arguments.as_slice()].concat());
    assert_eq!(String::from_utf8(exit.stdout).unwrap(), "a\nb\nc\nd\n", "{}", exit.stderr);
}

#[test]
fn t53_a_file_behind_a_symlink_that_was_compressed_unread_comes_before_the_next() {
    let pod = Pod::new();
    let point_to = |name: &str| {
        let _ = fs::remove_file(pod.path("f"));
        std::os::unix::fs::symlink(name, pod.path("f")).unwrap();
    };
    pod.append("f.00001", "1\n");
    point_to("f.00001");
    assert_eq!(run(&pod), "1\n");
    pod.append("f.00002", "");
    point_to("f.00002");
    assert_eq!(run(&pod), "");
    // Nothing is left of what was read: only names tell that 3 comes after 2, as gzip keeps the time of the last write.
    pod.remove("f.00001");
    pod.append("f.00003", "3\n");
    pod.compress("f.00003");
    let packed = fs::File::options().write(true).open(pod.path("f.00003.gz")).unwrap();
    packed.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
    pod.append("f.00004", "4\n");
    point_to("f.00004");
    assert_eq!(run(&pod), "3\n4\n");
}

#[test]
fn t33_a_truncation_does_not_count_lines_as_handed_over_that_no_pipe_took() {
    let pod = Pod::new();
    let arguments = ["--exclude-lines", "^never$", "--state-file", "s", "f"];
    pod.append("f", "");
    let tail = pod.tail(&arguments);
    tail.0.block_stdout();
    // Several times what the pipe and its reader take: the tailer has lines inside that it has read.
    let all = lines(1, 400).replace('\n', &format!(" {}\n", "x".repeat(1000)));
    pod.append("f", &all);
    let mut blocked = 0;
    eventually("a tailer that is stuck", PATIENCE, || {
        let status = fs::read_to_string(format!("/proc/{}/io", tail.0.id())).unwrap();
        let read = status.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse::<u64>().unwrap();
        std::mem::replace(&mut blocked, read) == read && read > 100_000
    });
    pod.copytruncate("f", "f.1");
    pod.append("f", "next\n");
    tail.says("file truncated");
    let mut printed = String::from_utf8(tail.0.kill().stdout).unwrap();
    printed.truncate(printed.rfind('\n').map_or(0, |end| end + 1));
    let exit = pod.run(&[&["--exit-on-eof"], arguments.as_slice()].concat());
    let again = String::from_utf8(exit.stdout).unwrap();
    let missing = (all + "next\n").lines().filter(|line| !printed.contains(line) && !again.contains(line)).count();
    assert_eq!(missing, 0, "{}", exit.stderr);
    assert!(printed.len() + again.len() <= 400 * 1024 + 64 * 1024, "{} and {}", printed.len(), again.len());
}

#[test]
fn t53_an_unfinished_line_stays_for_the_next_run() {
    let pod = Pod::new();
    pod.append("f", "whole\npartial");
    assert_eq!(run(&pod), "whole\n");
    pod.append("f", " line\n");
    assert_eq!(run(&pod), "partial line\n");
}

#[test]
fn t55_a_state_file_that_cannot_be_used_has_a_defined_end() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    for content in ["", "garbage, not a state file"] {
        fs::write(pod.path("s"), content).unwrap();
        assert_eq!(run(&pod), "one\n", "{content:?}");
    }
    fs::write(pod.path("s"), "garbage").unwrap();
    let exit = pod.run(&["--exit-on-eof", "--state-file", "s", "--on-state-error", "fail", "f"]);
    assert_eq!(exit.code, Some(1));
    let expected = "error: state file s is not a state file\n\
        hint: remove it, or let --on-state-error beginning or end decide where to start\n";
    assert_eq!(exit.stderr, expected);
    let exit = pod.run(&["--exit-on-eof", "--state-file", "s", "--on-state-error", "end", "f"]);
    assert_eq!(exit.stdout, b"");
    let exit = pod.run(&["--state-file", "none/s", "f"]);
    assert_eq!(exit.code, Some(2));
    let exit = pod.run(&["--state-file", "f", "f"]);
    assert_eq!(exit.code, Some(2));
    assert_eq!(fs::read_to_string(pod.path("f")).unwrap(), "one\n", "a log is never overwritten");
}

#[test]
fn t56_the_state_file_is_for_its_owner_only() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    run(&pod);
    let mode = fs::metadata(pod.path("s")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn t57_t58_content_tells_files_apart_and_together_when_inodes_do_not() {
    let pod = Pod::new();
    pod.append("f", lines(0, 10));
    assert_eq!(run(&pod), lines(0, 10));
    // Another file under the same name, perhaps with the same inode.
    pod.remove("f");
    pod.append("f", "other content\n");
    assert_eq!(run(&pod), "other content\n");
    // The same content in another inode, as after a move to another volume.
    fs::copy(pod.path("f"), pod.path("moved")).unwrap();
    pod.remove("f");
    pod.rename("moved", "f");
    pod.append("f", "more\n");
    assert_eq!(run(&pod), "more\n");
}

#[test]
fn t59_a_second_follower_with_the_same_state_file_refuses() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let first = pod.tail(&["--state-file", "s", "f"]);
    first.prints("one\n");
    let exit = pod.run(&["--state-file", "s", "f"]);
    assert_eq!(exit.code, Some(1));
    let expected = format!(
        "error: state file s in use by process {}\nhint: give every follower a --state-file of its own\n",
        first.0.id()
    );
    assert_eq!(exit.stderr, expected);
}
