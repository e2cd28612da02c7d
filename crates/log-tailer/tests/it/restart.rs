//! Restarts with a state file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Pod, lines};

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
