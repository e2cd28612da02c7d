//! Where files lie and who may read them: modes, limits of inotify, mounts without events, large offsets, full disks.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use kit_test::{Process, Tmpfs, eventually, free_port, http_get};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::harness::{PATIENCE, Pod, Tail, lines};

#[test]
fn t07_a_file_that_becomes_readable_is_read() {
    let pod = Pod::new();
    pod.append("f", "one\n");
    fs::set_permissions(pod.path("f"), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(pod.path("."), Permissions::from_mode(0o755)).unwrap();
    let mut command = pod.command(&["-n+1", "-F", "f"]);
    if rustix::process::geteuid().is_root() {
        // Modes do not stop root; the image's user they do. Its program must lie where that user may go. A process that another
        // test starts meanwhile inherits what we have open for writing, and a program that is open so does not run.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_log-tailer")).arg(pod.path("log-tailer")).status();
        assert!(copied.unwrap().success(), "a copy of the program");
        command = Command::new(pod.path("log-tailer"));
        command.args(["-n+1", "-F", "f"]).current_dir(pod.path(".")).uid(65532).gid(65532);
    }
    let tail = Tail(Process::spawn(&mut command));
    tail.says("tail: cannot open 'f' for reading: Permission denied");
    tail.says("set fsGroup or runAsGroup of the pod to the log's group");
    fs::set_permissions(pod.path("f"), Permissions::from_mode(0o644)).unwrap();
    tail.prints("one\n");
    pod.append("f", "two\n");
    tail.ends_with("one\ntwo\n");
}

/// Runs with limits of its own in a user namespace of its own. Nothing where that is not allowed.
fn with_limit(pod: &Pod, limit: &str) -> Option<Tail> {
    let allowed = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$0\" \"$@\"");
    let follow = pod.command(&["-n+1", "-F", "--poll", "20ms", "f"]);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script]);
    command.arg(follow.get_program()).args(follow.get_args()).current_dir(pod.path("."));
    Some(Tail(Process::spawn(&mut command)))
}

#[test]
fn t20_where_inotify_is_used_up_it_polls_and_loses_nothing() {
    for limit in ["max_inotify_instances", "max_inotify_watches"] {
        let pod = Pod::new();
        pod.append("f", "0\n");
        let Some(tail) = with_limit(&pod, limit) else {
            println!("skipped: no user namespace may be made here");
            return;
        };
        tail.says("inotify does not work here, polling instead");
        let mut expected = "0\n".to_owned();
        tail.prints(&expected);
        for round in 1..5 {
            pod.append("f", format!("{round}\n"));
            pod.rename("f", &format!("f.{round}"));
            pod.append("f", format!("{round}, new\n"));
            expected.push_str(&format!("{round}\n{round}, new\n"));
            tail.prints(&expected);
        }
        let told = tail.0.stderr().matches("inotify does not work here").count();
        assert_eq!(told, 1, "{limit}: {}", tail.0.stderr());
        tail.ends_with(&expected);
    }
}

/// An overlay tells no events of writes to its lower layer, as a network mount tells none of another machine's.
struct Overlay(std::path::PathBuf);

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn t21_where_a_mount_tells_no_events_the_progress_check_finds_the_lines() {
    let test = "t21_where_a_mount_tells_no_events_the_progress_check_finds_the_lines";
    let Some(disk) = Tmpfs::of_size(test, 1 << 20) else { return };
    for folder in ["lower", "upper", "work", "merged"] {
        fs::create_dir(disk.path().join(folder)).unwrap();
    }
    let at = |folder: &str| disk.path().join(folder);
    let layers = [at("lower"), at("upper"), at("work")].map(|path| path.display().to_string());
    let options = format!("lowerdir={},upperdir={},workdir={}", layers[0], layers[1], layers[2]);
    let options = std::ffi::CString::new(options).unwrap();
    if let Err(error) = mount("podkit-test", at("merged"), "overlay", MountFlags::empty(), Some(options.as_c_str())) {
        println!("skipped: {test}: no overlay may be mounted here: {error}");
        return;
    }
    let merged = Overlay(at("merged"));
    fs::write(at("lower").join("f"), "one\n").unwrap();
    let pod = Pod::new();
    let path = merged.0.join("f").display().to_string();
    let tail = pod.tail(&["-n+1", "-F", "--progress-check", "100ms", &path]);
    tail.prints("one\n");
    let mut lower = fs::OpenOptions::new().append(true).open(at("lower").join("f")).unwrap();
    for number in 0..3 {
        std::io::Write::write_all(&mut lower, format!("{number}\n").as_bytes()).unwrap();
        tail.prints("one\n".to_owned() + &(0..=number).map(|number| format!("{number}\n")).collect::<String>());
    }
    tail.ends_with("one\n0\n1\n2\n");
}

#[test]
fn t73_offsets_beyond_four_gigabytes_are_followed_and_remembered() {
    let pod = Pod::new();
    let border = 1_u64 << 32;
    // A hole takes no room; what lies before the start is not read.
    fs::File::create(pod.path("f")).unwrap().set_len(border - 7).unwrap();
    pod.append("f", "\nacross\nafter\n");
    let start = format!("bytes=+{}", border - 7 + 2);
    let arguments = ["--start-at", &start, "--state-file", "s", "--exit-on-eof", "f"];
    let exit = pod.run(&arguments);
    assert_eq!((exit.code, String::from_utf8(exit.stdout).unwrap().as_str()), (Some(0), "across\nafter\n"));
    pod.append("f", "more\n");
    assert_eq!(String::from_utf8(pod.run(&arguments).stdout).unwrap(), "more\n");
    assert_eq!(String::from_utf8(pod.run(&["-n", "2", "f"]).stdout).unwrap(), "after\nmore\n");
}

#[test]
fn t55_a_full_disk_under_the_state_file_is_told_once_and_stops_nothing() {
    let Some(disk) = Tmpfs::of_size("t55_a_full_disk_under_the_state_file_is_told_once_and_stops_nothing", 64 << 10)
    else {
        return;
    };
    let filler = disk.path().join("filler");
    let fill = || {
        let mut file = fs::File::create(&filler).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    };
    let state = disk.path().join("state").display().to_string();
    let pod = Pod::new();
    pod.append("f", "start\n");
    fill();
    let address = format!("127.0.0.1:{}", free_port());
    let tail = pod.tail(&["-n+1", "-F", "--state-file", &state, "--admin-listen", &address, "f"]);
    tail.prints("start\n");
    tail.says("state file cannot be written; following goes on, a restart would repeat lines");
    for part in 0..10 {
        pod.append("f", lines(part * 100, (part + 1) * 100));
    }
    tail.prints("start\n".to_owned() + &lines(0, 1000));
    assert_eq!(tail.0.stderr().matches("state file cannot be written").count(), 1, "{}", tail.0.stderr());
    let body = http_get(address.parse().unwrap(), "/metrics").body;
    let errors = body.lines().find_map(|line| line.strip_prefix("log_tailer_checkpoint_errors_total ")).unwrap();
    assert_ne!(errors, "0");
    // Once there is room again, places are remembered again.
    fs::remove_file(&filler).unwrap();
    pod.append("f", "room\n");
    tail.says("state file is written again");
    tail.ends_with("start\n".to_owned() + &lines(0, 1000) + "room\n");
    pod.append("f", "next run\n");
    let exit = pod.run(&["--exit-on-eof", "--state-file", &state, "f"]);
    assert_eq!(String::from_utf8(exit.stdout).unwrap(), "next run\n", "{}", exit.stderr);
}

#[test]
fn t71_compressed_siblings_of_every_kind_are_read_as_far_as_they_go() {
    use std::io::Write;
    let pod = Pod::new();
    let member = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let state = ["--exit-on-eof", "--state-file", "s", "f"];
    let run = || {
        let exit = pod.run(&state);
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        (String::from_utf8(exit.stdout).unwrap(), exit.stderr)
    };
    // Two members, the border inside a line.
    pod.append("f", "one\n");
    assert_eq!(run().0, "one\n");
    pod.remove("f");
    fs::write(pod.path("f.1.gz"), [member("one\ntw"), member("o\nthree\n")].concat()).unwrap();
    pod.append("f", "four\n");
    assert_eq!(run().0, "two\nthree\nfour\n");
    // Cut off: what can be read is, and it is told.
    pod.remove("f");
    let long: String = (0..20_000).map(|number| format!("{number} {}\n", number * 7919 % 10_007)).collect();
    let whole = member(&format!("four\n{long}"));
    fs::write(pod.path("f.2.gz"), &whole[..whole.len() / 2]).unwrap();
    pod.append("f", "five\n");
    let (text, told) = run();
    let cut = text.strip_suffix("five\n").unwrap_or_else(|| panic!("{}", &text[text.len().saturating_sub(200)..]));
    assert!(cut.len() > 10_000 && long.starts_with(cut.trim_end()), "{} bytes before the cut", cut.len());
    assert!(told.contains("compressed generation could not be read to its end"), "{told}");
    // A name that lies: content decides.
    pod.rename("f", "f.3.gz");
    pod.append("f", "six\n");
    assert_eq!(run().0, "six\n");
    eventually("nothing else to be printed", PATIENCE, || run().0.is_empty());
}
