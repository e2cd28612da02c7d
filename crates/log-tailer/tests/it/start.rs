//! Starting, waiting, following.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, UNIX_EPOCH};

use crate::harness::{Pod, WAYS, lines, with};

#[test]
fn t01_t09_the_whole_file_comes_first_and_then_what_is_added() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "one\ntwo\n");
        let tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        pod.append("f", "three\n");
        tail.prints("one\ntwo\nthree\n");
        pod.append("f", "four\n");
        tail.ends_with("one\ntwo\nthree\nfour\n");
    }
}

#[test]
fn t02_counts_without_follow_print_and_exit_as_gnu_does() {
    let pod = Pod::new();
    pod.append("f", "a\nb\nc");
    for (arguments, expected) in [
        (&["-n", "2", "f"][..], "b\nc"),
        (&["-n0", "f"], ""),
        (&["-n+2", "f"], "b\nc"),
        (&["-c", "3", "f"], "b\nc"),
        (&["-c+4", "f"], "\nc"),
        (&["-1", "f"], "c"),
    ] {
        let exit = pod.run(arguments);
        assert_eq!(String::from_utf8(exit.stdout).unwrap(), expected, "{arguments:?}");
        assert_eq!(exit.code, Some(0));
    }
}

#[test]
fn t03_a_missing_file_is_waited_for_and_read_from_its_beginning() {
    for way in WAYS {
        let pod = Pod::new();
        let tail = pod.tail(&with(&["-F", "f"], way));
        tail.says("tail: cannot open 'f' for reading: No such file or directory");
        pod.append("f", lines(0, 20));
        tail.prints(lines(0, 20));
        tail.says("tail: 'f' has appeared;  following new file");
    }
}

#[test]
fn t04_a_missing_folder_is_waited_for() {
    let pod = Pod::new();
    let tail = pod.tail(&["-F", "a/b/f"]);
    tail.says("tail: cannot open 'a/b/f'");
    fs::create_dir_all(pod.path("a/b")).unwrap();
    pod.append("a/b/f", "x\n");
    tail.prints("x\n");
}

#[test]
fn t05_a_folder_that_is_made_again_is_watched_again() {
    let pod = Pod::new();
    fs::create_dir(pod.path("d")).unwrap();
    pod.append("d/f", "old\n");
    let tail = pod.tail(&["-n+1", "-F", "d/f"]);
    tail.prints("old\n");
    fs::remove_dir_all(pod.path("d")).unwrap();
    tail.says("tail: 'd/f' has become inaccessible: No such file or directory");
    fs::create_dir(pod.path("d")).unwrap();
    pod.append("d/f", "new\n");
    tail.prints("old\nnew\n");
}

#[test]
fn t06_a_directory_that_becomes_a_file_is_followed() {
    let pod = Pod::new();
    fs::create_dir(pod.path("f")).unwrap();
    let tail = pod.tail(&["-n+1", "-F", "f"]);
    tail.says("tail: error reading 'f': Is a directory");
    fs::remove_dir(pod.path("f")).unwrap();
    pod.append("f", "now\n");
    tail.prints("now\n");
}

#[test]
fn t08_without_retry_a_missing_file_ends_with_code_1() {
    let pod = Pod::new();
    let exit = pod.run(&["-f", "f"]);
    assert_eq!(exit.code, Some(1));
    let expected = "tail: cannot open 'f' for reading: No such file or directory\nerror: no files remaining\n\
        hint: use -F to wait for a file that is not there yet\n";
    assert_eq!(exit.stderr, expected);
}

#[test]
fn t10_lines_of_two_files_that_came_while_stopped_have_one_header_each() {
    let pod = Pod::new();
    pod.append("a", "a1\n");
    pod.append("b", "b1\n");
    let mut tail = pod.tail(&["-n+1", "-F", "a", "b"]);
    tail.prints("==> a <==\na1\n\n==> b <==\nb1\n");
    tail.stop();
    pod.append("a", "a2\n");
    pod.append("b", "b2\n");
    pod.append("a", "a3\n");
    tail.go_on();
    tail.prints("==> a <==\na1\n\n==> b <==\nb1\n\n==> a <==\na2\na3\n\n==> b <==\nb2\n");
}

#[test]
fn t14_by_descriptor_the_file_is_followed_wherever_it_goes() {
    let pod = Pod::new();
    pod.append("a", "one\n");
    let tail = pod.tail(&["-n+1", "-f", "a"]);
    tail.prints("one\n");
    pod.rename("a", "b");
    pod.append("a", "another file\n");
    pod.append("b", "two\n");
    tail.prints("one\ntwo\n");
}

#[test]
fn t15_a_symlink_that_is_pointed_elsewhere_gives_the_lines_of_both_targets() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("one.log", "1\n");
        symlink("one.log", pod.path("f")).unwrap();
        let tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("1\n");
        pod.append("two.log", "2\n");
        symlink("two.log", pod.path("f.new")).unwrap();
        pod.rename("f.new", "f");
        tail.prints("1\n2\n");
        pod.append("one.log", "late\n");
        tail.prints("1\n2\nlate\n");
    }
}

#[test]
fn t15_a_late_line_does_not_move_a_compressed_target_behind_the_next() {
    for way in WAYS {
        let pod = Pod::new();
        let point_to = |name: &str| {
            symlink(name, pod.path("f.new")).unwrap();
            pod.rename("f.new", "f");
        };
        pod.append("f.00001", "1\n");
        point_to("f.00001");
        let mut tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("1\n");
        tail.stop();
        for (name, next) in [("f.00001", "f.00002"), ("f.00002", "f.00003"), ("f.00003", "f.00004")] {
            pod.append(next, format!("{}\n", &next[6..]));
            point_to(next);
            // The first one stays open in the tailer, and is known again by its content.
            pod.compress(name);
        }
        // As gzip leaves them when a line came to the second while the third was written.
        for (name, seconds) in [("f.00002.gz", 2_000_000_000), ("f.00003.gz", 1_900_000_000)] {
            let packed = File::options().write(true).open(pod.path(name)).unwrap();
            packed.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        }
        tail.go_on();
        tail.prints("1\n2\n3\n4\n");
    }
}

#[test]
fn t15_a_dangling_symlink_is_waited_for() {
    let pod = Pod::new();
    symlink("target", pod.path("f")).unwrap();
    let tail = pod.tail(&["-F", "f"]);
    tail.says("tail: cannot open 'f'");
    pod.append("target", "x\n");
    tail.prints("x\n");
}

#[test]
fn t16_kubelets_atomic_swap_is_followed() {
    let pod = Pod::new();
    fs::create_dir(pod.path("m")).unwrap();
    let mut mount = kit_test::Mount::new(&pod.path("m"), kit_test::LinkOrder::AfterSwap, &[("f", b"one\n")]);
    let tail = pod.tail(&["-n+1", "-F", "m/f"]);
    tail.prints("one\n");
    mount.publish(&[("f", b"two\n")]);
    tail.prints("one\ntwo\n");
}

#[test]
fn t17_a_symlink_and_its_target_are_printed_once() {
    let pod = Pod::new();
    pod.append("f", "1\n");
    symlink("f", pod.path("link")).unwrap();
    let tail = pod.tail(&["f", "link"]);
    tail.prints("1\n");
    pod.append("f", "2\n");
    tail.ends_with("1\n2\n");
}

#[test]
fn t18_a_hard_link_that_takes_the_name_is_followed() {
    let pod = Pod::new();
    pod.append("now", "old\n");
    let tail = pod.tail(&["-n+1", "-F", "now"]);
    tail.prints("old\n");
    pod.append("b", "b1\n");
    fs::hard_link(pod.path("b"), pod.path("tmp")).unwrap();
    pod.rename("tmp", "now");
    tail.prints("old\nb1\n");
    pod.append("b", "b2\n");
    tail.prints("old\nb1\nb2\n");
}

#[test]
fn t19_a_storm_of_replacements_leaks_no_descriptor() {
    let pod = Pod::new();
    pod.append("f", "0\n");
    let tail = pod.tail(&["-n+1", "-F", "--rotate-wait", "0s", "f"]);
    tail.prints("0\n");
    let before = tail.descriptors();
    let mut expected = "0\n".to_owned();
    for number in 1..=100 {
        pod.append("g", format!("{number}\n"));
        pod.rename("g", "f");
        expected.push_str(&format!("{number}\n"));
        tail.prints(&expected);
    }
    kit_test::eventually("old descriptors to close", crate::harness::PATIENCE, || tail.descriptors() <= before + 1);
}

#[test]
fn t27_t28_patterns_find_new_files_and_three_files_rotate_together() {
    let pod = Pod::new();
    for name in ["a", "b"] {
        pod.append(&format!("{name}.log"), format!("{name}1\n"));
    }
    let tail = pod.tail(&["--prefix", "{file} ", "*.log"]);
    tail.prints("a.log a1\nb.log b1\n");
    pod.append("c.log", "c1\n");
    tail.prints("a.log a1\nb.log b1\nc.log c1\n");
    for round in 2..5 {
        for name in ["a", "b", "c"] {
            pod.rename(&format!("{name}.log"), &format!("{name}.log.{}", 10 - round));
            pod.append(&format!("{name}.log"), format!("{name}{round}\n"));
        }
    }
    kit_test::eventually("all lines", crate::harness::PATIENCE, || {
        tail.0.stdout().iter().filter(|b| **b == b'\n').count() == 12
    });
    for name in ["a", "b", "c"] {
        let text = String::from_utf8(tail.0.stdout()).unwrap();
        let own: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(&format!("{name}.log "))).collect();
        assert_eq!(own, (1..5).map(|round| format!("{name}{round}")).collect::<Vec<_>>());
    }
}
