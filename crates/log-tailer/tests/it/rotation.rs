//! Rotation by rename.

use std::fs;
use std::io::Write;

use crate::harness::{Pod, WAYS, exists, lines, with};

#[test]
fn t22_t23_lines_to_the_renamed_file_come_too() {
    for way in WAYS {
        let pod = Pod::new();
        let mut old = pod.writer("f");
        old.write_all(b"First line\n").unwrap();
        let tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("First line\n");
        pod.rename("f", "f.1");
        pod.append("f", "New file line\n");
        tail.prints("First line\nNew file line\n");
        old.write_all(b"Last line\n").unwrap();
        tail.ends_with("First line\nNew file line\nLast line\n");
    }
}

#[test]
fn t24_t25_late_lines_without_a_new_file_come_before_it() {
    for way in WAYS {
        let pod = Pod::new();
        let mut expected = "start\n".to_owned();
        let mut writer = pod.writer("f");
        writer.write_all(b"start\n").unwrap();
        let tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("start\n");
        for round in 0..4 {
            pod.rename("f", &format!("f.{}", 9 - round));
            for late in 0..20 {
                let line = format!("round {round} late {late}\n");
                writer.write_all(line.as_bytes()).unwrap();
                expected.push_str(&line);
            }
            writer = pod.writer("f");
        }
        tail.prints(&expected);
    }
}

#[test]
fn t29_a_file_that_is_renamed_while_it_is_caught_up_comes_whole() {
    let pod = Pod::new();
    let all = lines(0, 200_000);
    pod.append("f", &all);
    let tail = pod.tail(&["-n+1", "-F", "f"]);
    kit_test::eventually("some output", crate::harness::PATIENCE, || !tail.0.stdout().is_empty());
    pod.rename("f", "f.1");
    pod.append("f", "new\n");
    tail.prints(all + "new\n");
}

#[test]
fn t30_three_rotations_while_stopped_come_in_their_order() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "0\n");
        let mut tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("0\n");
        tail.stop();
        for round in 1..=3 {
            for older in (1..round).rev() {
                pod.rename(&format!("f.{older}"), &format!("f.{}", older + 1));
            }
            pod.rename("f", "f.1");
            pod.append("f", format!("{round}\n"));
        }
        tail.go_on();
        tail.prints("0\n1\n2\n3\n");
    }
}

#[test]
fn t31_dated_names_olddir_and_renamecopy_lose_nothing() {
    let pod = Pod::new();
    fs::create_dir(pod.path("old")).unwrap();
    pod.append("f", "0\n");
    let mut tail = pod.tail(&["-n+1", "-F", "--olddir", "old", "f"]);
    tail.prints("0\n");
    tail.stop();
    pod.rename("f", "old/f-20261119");
    pod.append("f", "1\n");
    pod.rename("f", "old/f-20261120");
    pod.append("f", "2\n");
    tail.go_on();
    tail.prints("0\n1\n2\n");
    // renamecopy: the content moves to a new inode, and must not be read again.
    pod.rename("f", "f.tmp");
    pod.append("f", "3\n");
    fs::copy(pod.path("f.tmp"), pod.path("f.1")).unwrap();
    pod.remove("f.tmp");
    tail.prints("0\n1\n2\n3\n");
    pod.rename("f", "f.2");
    pod.append("f", "4\n");
    tail.ends_with("0\n1\n2\n3\n4\n");
}

#[test]
fn t32_a_generation_that_is_compressed_at_once_is_read_from_its_descriptor_or_its_copy() {
    let pod = Pod::new();
    pod.append("f", "0\n");
    let mut tail = pod.tail(&["-n+1", "-F", "f"]);
    tail.prints("0\n");
    tail.stop();
    pod.append("f", "1\n");
    pod.rename("f", "f.2");
    pod.append("f", "2\n");
    pod.rename("f", "f.1");
    pod.append("f", "3\n");
    pod.compress("f.2");
    pod.compress("f.1");
    tail.go_on();
    tail.prints("0\n1\n2\n3\n");
}

#[test]
fn t33_a_generation_that_was_deleted_unseen_is_counted_and_told() {
    let pod = Pod::new();
    pod.append("f", "0\n");
    let mut tail = pod.tail(&["-n+1", "-F", "f"]);
    tail.prints("0\n");
    tail.stop();
    pod.rename("f", "f.1");
    pod.append("f", "lost\n");
    pod.rename("f", "f.1");
    pod.append("f", "lost too\n");
    pod.rename("f", "f.1");
    pod.append("f", "3\n");
    pod.remove("f.1");
    tail.go_on();
    tail.says("generations were deleted before they could be opened");
    tail.ends_with("0\n3\n");
}

#[test]
fn t34_a_partial_line_at_rotation_is_never_interleaved() {
    for way in WAYS {
        let pod = Pod::new();
        let mut old = pod.writer("f");
        old.write_all(b"start\nabc").unwrap();
        let tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("start\n");
        pod.rename("f", "f.1");
        pod.append("f", "new\n");
        tail.prints("start\nnew\n");
        old.write_all(b"def\n").unwrap();
        tail.prints("start\nnew\nabcdef\n");
    }
}

#[test]
fn t35_an_unfinished_line_of_a_closed_generation_gets_its_newline() {
    let pod = Pod::new();
    pod.append("f", "start\nno end");
    let tail = pod.tail(&["-n+1", "-F", "--rotate-wait", "200ms", "f"]);
    tail.prints("start\n");
    pod.rename("f", "f.1");
    pod.append("f", "new\n");
    tail.prints("start\nnew\nno end\n");
}

#[test]
fn t36_a_file_that_is_deleted_and_made_again_is_read_from_its_beginning() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "same\n");
        let tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("same\n");
        pod.remove("f");
        tail.says("tail: 'f' has become inaccessible: No such file or directory");
        pod.append("f", "same\n");
        tail.prints("same\nsame\n");
    }
}

#[test]
fn t37_a_file_that_is_moved_away_and_back_is_not_printed_again() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "one\n");
        let tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("one\n");
        pod.rename("f", "away");
        tail.says("has become inaccessible");
        pod.rename("away", "f");
        tail.says("has appeared");
        pod.append("f", "two\n");
        tail.ends_with("one\ntwo\n");
    }
}

#[test]
fn t38_lines_to_an_unlinked_file_come_until_it_is_quiet() {
    let pod = Pod::new();
    let mut writer = pod.writer("f");
    let tail = pod.tail(&["-n+1", "-F", "f"]);
    writer.write_all(b"0\n").unwrap();
    tail.prints("0\n");
    pod.remove("f");
    for number in 1..50 {
        writer.write_all(format!("{number}\n").as_bytes()).unwrap();
    }
    tail.prints((0..50).map(|number| format!("{number}\n")).collect::<String>());
}

#[test]
fn t39_a_followed_file_that_takes_another_followed_name_is_printed_once() {
    let pod = Pod::new();
    pod.append("a", "a1\n");
    pod.append("b", "b1\n");
    let tail = pod.tail(&["a", "b"]);
    tail.prints("a1\nb1\n");
    pod.rename("a", "b");
    pod.append("b", "a2\n");
    tail.prints("a1\nb1\na2\n");
    assert!(!exists(&pod.path("a")));
    pod.append("a", "new a\n");
    tail.prints("a1\nb1\na2\nnew a\n");
}

#[test]
fn t26_a_storm_of_rotations_without_pause_comes_whole_and_in_order() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "start\n");
        let tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("start\n");
        for round in 0..50 {
            let mut writer = pod.writer("f");
            for number in round * 200..(round + 1) * 200 {
                writer.write_all(format!("line {number}\n").as_bytes()).unwrap();
            }
            pod.rename("f", &format!("f.{round}"));
            if !way.is_empty() {
                // Polling sees no renames. Births tell the order, by a clock that ticks every 4 ms at the slowest.
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        pod.append("f", "end\n");
        tail.prints("start\n".to_owned() + &lines(0, 50 * 200) + "end\n");
    }
}

#[test]
fn t40_rotations_while_stdout_is_stuck_lose_nothing() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "start\n");
        let mut tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
        tail.prints("start\n");
        tail.0.block_stdout();
        for round in 0..3 {
            pod.append("f", lines(round * 20_000, (round + 1) * 20_000));
            pod.rename("f", &format!("f.{round}"));
        }
        pod.append("f", "end\n");
        // The generations must be open before their names go. Descriptors would not tell: a look holds others for a moment.
        kit_test::eventually("every generation to be open", crate::harness::PATIENCE, || tail.generations() == 4);
        for round in 0..3 {
            pod.remove(&format!("f.{round}"));
        }
        tail.0.unblock_stdout();
        tail.prints("start\n".to_owned() + &lines(0, 60_000) + "end\n");
    }
}

/// Polling sees no renames, and the clock that births and last writes are taken from stands still for up to 10 ms.
#[test]
fn t26_rotations_within_one_tick_come_in_order_however_the_names_are_numbered() {
    for way in WAYS {
        for names in [["f.0", "f.1", "f.2"], ["f.3", "f.2", "f.1"]] {
            let pod = Pod::new();
            let letters = ["a", "b", "c", "d"];
            // All files are of one tick, and only their names and what was seen before tell their order.
            kit_test::eventually("files of one tick", crate::harness::PATIENCE, || {
                letters.iter().for_each(|letter| fs::write(pod.path(letter), format!("{letter}\n")).unwrap());
                let tick = letters.map(|letter| {
                    let facts = fs::metadata(pod.path(letter)).unwrap();
                    (facts.created().ok(), facts.modified().unwrap())
                });
                let ties = tick.iter().all(|time| *time == tick[0]);
                if !ties {
                    letters.iter().for_each(|letter| pod.remove(letter));
                }
                ties
            });
            pod.rename("a", "f");
            let mut tail = pod.tail(&with(&["-n+1", "-F", "f"], way));
            tail.prints("a\n");
            tail.stop();
            for (next, name) in ["b", "c", "d"].into_iter().zip(names) {
                pod.rename("f", name);
                pod.rename(next, "f");
            }
            tail.go_on();
            tail.prints("a\nb\nc\nd\n");
        }
    }
}
