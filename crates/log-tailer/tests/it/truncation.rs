//! Truncation and copytruncate.

use std::fs::{self, OpenOptions};
use std::io::{Seek, Write};
use std::time::Duration;

use kit_test::eventually;

use crate::harness::{PATIENCE, Pod, Tail, WAYS, with};

#[test]
fn t41_a_truncated_file_is_read_from_its_beginning() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "one\ntwo\nthree\n");
        let tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("one\ntwo\nthree\n");
        fs::write(pod.path("f"), "short\n").unwrap();
        tail.prints("one\ntwo\nthree\nshort\n");
        tail.says("tail: f: file truncated");
    }
}

#[test]
fn t42_truncating_an_empty_file_says_nothing() {
    let pod = Pod::new();
    pod.append("f", "");
    let tail = pod.tail(&["-n+1", "-F", "f"]);
    fs::write(pod.path("f"), "").unwrap();
    pod.append("f", "x\n");
    tail.prints("x\n");
    assert!(!tail.0.stderr_contains("truncated"), "{}", tail.0.stderr());
}

#[test]
fn t43_copytruncate_with_a_writer_that_appends_loses_nothing() {
    for way in WAYS {
        let pod = Pod::new();
        let mut writer = pod.writer("f");
        writer.write_all(b"before-1\nbefore-2\n").unwrap();
        let tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("before-1\nbefore-2\n");
        pod.copytruncate("f", "f.1");
        writer.write_all(b"after\n").unwrap();
        tail.ends_with("before-1\nbefore-2\nafter\n");
    }
}

#[test]
fn t44_the_hole_of_a_writer_that_keeps_its_offset_is_skipped() {
    let pod = Pod::new();
    let mut writer = OpenOptions::new().create(true).truncate(false).write(true).open(pod.path("f")).unwrap();
    let first = "x".repeat(9_999) + "\n";
    writer.write_all(first.as_bytes()).unwrap();
    let tail = pod.tail(&["-n+1", "-F", "f"]);
    tail.prints(&first);
    pod.copytruncate("f", "f.1");
    tail.says("file truncated");
    assert_eq!(writer.stream_position().unwrap(), 10_000);
    writer.write_all(b"after\n").unwrap();
    tail.prints(first + "after\n");
}

#[test]
fn t45_what_was_not_read_before_the_truncation_is_read_from_the_copy() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "one\n");
        let mut tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("one\n");
        tail.stop();
        pod.append("f", "two\n");
        pod.copytruncate("f", "f.1");
        pod.append("f", "three\n");
        tail.go_on();
        tail.ends_with("one\ntwo\nthree\n");
    }
}

#[test]
fn t45_a_copy_that_is_made_before_a_truncation_was_noticed_is_of_what_came_after_it() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let mut tail = pod.tail(&["-n+1", "-F", "f"]);
    tail.prints("one\n");
    tail.stop();
    tail.0.block_stdout();
    // More than a pipe holds: the tailer is stuck in the first copy when it has to know what the second is.
    let two = "two\n".repeat(100_000);
    pod.append("f", &two);
    pod.copytruncate("f", "f-20261121-1");
    pod.append("f", "number three\n");
    pod.compress("f-20261121-1");
    fs::copy(pod.path("f"), pod.path("f-20261121-2")).unwrap();
    tail.go_on();
    tail.says("file truncated");
    fs::write(pod.path("f"), "four\n").unwrap();
    tail.0.unblock_stdout();
    tail.prints(format!("one\n{two}number three\nfour\n"));
}

/// A log of which one line was read, renamed to `older`, and a new one in its place that is followed while it is empty.
fn followed_anew(way: &[&str], older: &str) -> (Pod, Tail) {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let tail = pod.tail(&with(&["-n+1", "-F", "--log-level", "debug", "f"], way));
    tail.prints("one\n");
    pod.rename("f", older);
    pod.append("f", "");
    tail.says("following new file");
    (pod, tail)
}

#[test]
fn t45_a_copy_comes_before_what_its_file_held_later_and_was_deleted_with() {
    for way in WAYS {
        let (pod, mut tail) = followed_anew(way, "f-20261121-1");
        tail.stop();
        pod.append("f", "two\n");
        pod.copytruncate("f", "f-20261121-2");
        comes_after(&pod, "f-20261121-2");
        pod.append("f", "three\n");
        pod.remove("f");
        pod.append("f", "four\n");
        tail.go_on();
        tail.prints("one\ntwo\nthree\nfour\n");
    }
}

#[test]
fn t45_a_copy_comes_before_what_its_file_held_later_and_was_renamed_with() {
    for way in WAYS {
        let (pod, mut tail) = followed_anew(way, "f.9");
        comes_after(&pod, "f");
        tail.stop();
        // The larger number is the older one, although its file is younger.
        pod.append("f", "two\nha");
        pod.copytruncate("f", "f.2");
        pod.append("f", "lf\nthree\n");
        pod.rename("f", "f.1");
        pod.append("f", "four\n");
        tail.go_on();
        tail.prints("one\ntwo\nhalf\nthree\nfour\n");
    }
}

/// Waits until files are younger than that one: clocks of file systems tick. They are made elsewhere, not to wake the tailer.
fn comes_after(pod: &Pod, name: &str) {
    let made = fs::metadata(pod.path(name)).unwrap().modified().unwrap();
    let elsewhere = Pod::new();
    eventually("a younger file", PATIENCE, || {
        elsewhere.append("probe", "");
        let born = fs::metadata(elsewhere.path("probe")).unwrap().created().unwrap();
        elsewhere.remove("probe");
        born > made + Duration::from_millis(20)
    });
}

#[test]
fn t45_a_copy_that_was_found_empty_is_read_although_nothing_else_happens() {
    for way in WAYS {
        let (pod, mut tail) = followed_anew(way, "f-20261121-1");
        pod.append("f-20261121-2", "");
        tail.says("f-20261121-2 size=0 verdict=Unfinished");
        tail.stop();
        pod.append("f", "two\n");
        pod.copytruncate("f", "f-20261121-2");
        tail.go_on();
        tail.prints("one\ntwo\n");
        pod.append("f", "three\n");
        tail.prints("one\ntwo\nthree\n");
    }
}

#[test]
fn t45_two_copies_between_two_looks_come_before_what_their_file_held_at_last() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "one\n");
        let mut tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("one\n");
        tail.stop();
        pod.append("f", "two\n");
        pod.copytruncate("f", "f-20261121-1");
        pod.compress("f-20261121-1");
        pod.append("f", "three\n");
        pod.copytruncate("f", "f-20261121-2");
        pod.append("f", "four\n");
        pod.remove("f");
        pod.append("f", "five\n");
        tail.go_on();
        tail.prints("one\ntwo\nthree\nfour\nfive\n");
    }
}

#[test]
fn t45_a_copy_comes_before_the_rest_of_its_file_that_was_renamed_and_compressed_unread() {
    for way in WAYS {
        let (pod, mut tail) = followed_anew(way, "f-20261121-1");
        comes_after(&pod, "f");
        tail.stop();
        pod.append("f", "two\nha");
        pod.copytruncate("f", "f-20261121-2");
        pod.append("f", "lf\nthree\n");
        pod.rename("f", "f-20261121-3");
        pod.compress("f-20261121-3");
        pod.append("f", "four\n");
        tail.go_on();
        tail.prints("one\ntwo\nhalf\nthree\nfour\n");
    }
}

#[test]
fn t45_a_copy_that_was_there_first_stands_before_a_copy_of_what_its_file_held_then() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "two\n");
        let mut tail = pod.tail(&with(&["-n+1", "-F", "--log-level", "debug", "f"], way));
        tail.prints("two\n");
        pod.append("f.1", "");
        tail.says("f.1 size=0 verdict=Unfinished");
        tail.stop();
        // Found in the making, and without a name that could tell its age when its content is there.
        pod.append("f.1", "one\n");
        pod.remove("f.1");
        pod.append("f", "three\n");
        pod.copytruncate("f", "f.1");
        pod.append("f", "four\n");
        tail.go_on();
        tail.prints("two\none\nthree\nfour\n");
    }
}

#[test]
fn t45_a_copy_that_was_in_the_making_tells_by_its_name_how_old_its_file_is() {
    let pod = Pod::new();
    pod.append("f", "two\n");
    // A pause that is long enough to be stopped in.
    let way = ["--watch", "poll", "--poll", "500ms"];
    let mut tail = pod.tail(&with(&["-n+1", "-F", "--log-level", "debug", "f"], &way));
    tail.prints("two\n");
    pod.rename("f", "f.tmp");
    pod.append("f", "");
    tail.says("following new file");
    for name in ["f.2", "f.1"] {
        pod.append(name, "");
        tail.says(&format!("{name} size=0 verdict=Unfinished"));
    }
    tail.rests();
    tail.stop();
    pod.append("f.2", "one\n");
    pod.append("f.tmp", "three\n");
    pod.append("f.1", "two\nthree\n");
    pod.remove("f.tmp");
    pod.append("f", "four\n");
    tail.go_on();
    tail.prints("two\none\nthree\nfour\n");
}

#[test]
fn t46_a_file_that_regrew_past_the_old_offset_is_read_from_its_beginning() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "one\n");
        let mut tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("one\n");
        tail.stop();
        fs::write(pod.path("f"), "another and longer\nmore\n").unwrap();
        tail.go_on();
        tail.prints("one\nanother and longer\nmore\n");
    }
}

#[test]
fn t47_an_equal_beginning_does_not_hide_a_truncation() {
    let pod = Pod::new();
    let banner = "=".repeat(1500) + "\n";
    pod.append("f", format!("{banner}old 1\nold 2\n"));
    let mut tail = pod.tail(&["-n+1", "-F", "f"]);
    tail.prints(format!("{banner}old 1\nold 2\n"));
    tail.stop();
    fs::write(pod.path("f"), format!("{banner}new 1\nnew 2\nnew 3\n")).unwrap();
    tail.go_on();
    tail.prints(format!("{banner}old 1\nold 2\n{banner}new 1\nnew 2\nnew 3\n"));
}

#[test]
fn t47_an_equal_beginning_does_not_make_the_next_copy_one_of_what_was_read() {
    for way in WAYS {
        let pod = Pod::new();
        let banner = "=".repeat(1500) + "\n";
        pod.append("f", format!("{banner}one\n"));
        let mut tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints(format!("{banner}one\n"));
        tail.stop();
        pod.append("f", "two\n");
        pod.copytruncate("f", "f-20261121-1");
        pod.compress("f-20261121-1");
        pod.append("f", format!("{banner}3\n"));
        pod.copytruncate("f", "f-20261121-2");
        pod.append("f", "four\n");
        tail.go_on();
        tail.prints(format!("{banner}one\ntwo\n{banner}3\nfour\n"));
    }
}

#[test]
fn t47_an_equal_beginning_does_not_make_a_copy_one_of_a_closed_file_that_grew() {
    for way in WAYS {
        let pod = Pod::new();
        let banner = "=".repeat(1500) + "\n";
        pod.append("f", &banner);
        let mut tail = pod.tail(&with(&["-n+1", "-F", "f", "--rotate-wait", "100ms"], way));
        tail.prints(&banner);
        let open = tail.descriptors();
        pod.rename("f", "f-20261121-1");
        pod.append("f", format!("{banner}one\ntwo\n"));
        let before = format!("{banner}{banner}one\ntwo\n");
        tail.prints(&before);
        eventually("the first file to be closed", PATIENCE, || tail.descriptors() == open);
        tail.stop();
        pod.copytruncate("f", "f-20261121-2");
        pod.append("f", "three\n");
        tail.go_on();
        tail.prints(before + "three\n");
    }
}

#[test]
fn t47_an_equal_beginning_does_not_make_a_compressed_file_come_again() {
    for way in WAYS {
        let pod = Pod::new();
        let banner = "=".repeat(1500) + "\n";
        pod.append("f", &banner);
        let tail = pod.tail(&with(&["-n+1", "-F", "f", "--rotate-wait", "100ms"], way));
        tail.prints(&banner);
        let open = tail.descriptors();
        pod.rename("f", "f-20261121-1");
        pod.append("f", format!("{banner}one\ntwo\n"));
        let before = format!("{banner}{banner}one\ntwo\n");
        tail.prints(&before);
        pod.rename("f", "f-20261121-2");
        pod.append("f", "three\n");
        tail.prints(before.clone() + "three\n");
        eventually("the first two files to be closed", PATIENCE, || tail.descriptors() == open);
        pod.compress("f-20261121-2");
        pod.append("f", "four\n");
        tail.prints(before.clone() + "three\nfour\n");
        tail.ends_with(before + "three\nfour\n");
    }
}

#[test]
fn t47_an_equal_beginning_does_not_make_a_shorter_copy_an_older_one_of_what_was_read() {
    for way in WAYS {
        let pod = Pod::new();
        let banner = "=".repeat(1500) + "\n";
        let first = format!("{banner}one\nand more\n");
        pod.append("f", &first);
        let mut tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints(&first);
        // Nothing but the order of events, or times, tells that the copy was made after that was read.
        comes_after(&pod, "f");
        tail.rests();
        tail.stop();
        // Nothing is left of what was read that could be compared with the next copy.
        fs::write(pod.path("f"), format!("{banner}two\n")).unwrap();
        pod.copytruncate("f", "f.1");
        let last = format!("{banner}three\nand much more\n");
        pod.append("f", &last);
        tail.go_on();
        tail.prints(format!("{first}{banner}two\n{last}"));
    }
}

#[test]
fn t48_a_rewrite_in_place_of_the_same_size_is_read() {
    let pod = Pod::new();
    pod.append("f", "aaaa\n");
    let tail = pod.tail(&["-n+1", "-F", "f"]);
    tail.prints("aaaa\n");
    let mut file = OpenOptions::new().write(true).open(pod.path("f")).unwrap();
    file.write_all(b"bbbb\n").unwrap();
    tail.prints("aaaa\nbbbb\n");
}

#[test]
fn t49_a_copytruncate_between_two_runs_is_resumed_in_the_copy() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    let run = || String::from_utf8(pod.run(&["--exit-on-eof", "--state-file", "s", "f"]).stdout).unwrap();
    assert_eq!(run(), "one\n");
    pod.append("f", "two\n");
    pod.copytruncate("f", "f.1");
    pod.append("f", "three\n");
    assert_eq!(run(), "two\nthree\n");
    assert_eq!(run(), "");
}

#[test]
fn t50_a_storm_of_copytruncate_comes_whole_and_in_order() {
    const ROUNDS: usize = 100;
    let pod = Pod::new();
    let mut writer = pod.writer("f");
    writer.write_all(b"start\n").unwrap();
    let tail = pod.tail(&["-n+1", "-F", "f"]);
    tail.prints("start\n");
    let mut expected = "start\n".to_owned();
    for round in 0..ROUNDS {
        for number in 0..500 {
            // Rounds of different lengths: some regrow past the old offset before any look, some do not.
            let line = format!("round {round} line {number} {}\n", "x".repeat(round % 7 * 5));
            writer.write_all(line.as_bytes()).unwrap();
            expected += &line;
        }
        for number in (1..=round).rev() {
            pod.rename(&format!("f.{number}"), &format!("f.{}", number + 1));
        }
        pod.copytruncate("f", "f.1");
    }
    writer.write_all(b"end\n").unwrap();
    tail.prints(expected + "end\n");
}
