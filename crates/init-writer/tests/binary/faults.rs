//! Kills, full disks, read-only volumes, foreign users and hostile paths.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use kit_test::{Process, Tmpfs};
use tempfile::{tempdir, tempdir_in};

use crate::support::{PATIENCE, command, fails, is_root, names, run, skipped, succeeds, text};

#[test]
fn iw08_a_kill_in_a_large_write_leaves_the_old_file_whole() {
    let dir = tempdir_in("/dev/shm").or_else(|_| tempdir()).unwrap();
    let (src, dest) = (dir.path().join("src"), dir.path().join("dest"));
    let size = 200 << 20;
    fs::write(&dest, "old").unwrap();
    fs::write(&src, vec![7; size]).unwrap();
    let mut in_the_middle = 0;
    for round in 0..15_u64 {
        let mut process = Process::spawn(&mut command(&["copy", text(&src), text(&dest)]));
        let temporary = dir.path().join(".dest.podkit-tmp0");
        kit_test::eventually("the temporary file or the end", PATIENCE, || temporary.exists() || !process.is_running());
        // Not a wait for a condition: the kills are to fall on different places of the write.
        std::thread::sleep(Duration::from_micros(round * 2000));
        process.kill();
        let length = fs::metadata(&dest).unwrap().len();
        assert!(length == 3 || length == size as u64, "round {round}: {length} bytes");
        let left: Vec<_> = names(dir.path()).into_iter().filter(|name| name.contains("podkit")).collect();
        assert!(left.len() <= 1, "round {round}: {left:?}");
        in_the_middle += left.len();
        fs::write(&dest, "old").unwrap();
    }
    assert!(in_the_middle > 0, "no kill fell into a write: the test shows nothing");
    succeeds(&["write", text(&dest), "--text", "new"]);
    assert_eq!(names(dir.path()), ["dest", "src"], "the next run of the step cleans up");
}

#[test]
fn iw13_a_full_disk_leaves_the_old_content() {
    let Some(disk) = Tmpfs::of_size("iw13_a_full_disk_leaves_the_old_content", 1 << 20) else { return };
    let dir = tempdir().unwrap();
    let (src, dest) = (dir.path().join("src"), disk.path().join("page"));
    fs::write(&src, vec![1; 2 << 20]).unwrap();
    succeeds(&["write", text(&dest), "--text", "old"]);
    let expected = format!(
        "error: copy {0}: cannot write {0}: No space left on device (os error 28)\n\
         hint: raise the volume's sizeLimit or free space; what was there before is intact\n",
        dest.display()
    );
    fails(&["copy", text(&src), text(&dest)], 1, &expected);
    assert_eq!(fs::read_to_string(&dest).unwrap(), "old");
    assert_eq!(run(&["copy", text(&src), text(&disk.path().join("new/page"))]).code, Some(1));
    assert_eq!(names(disk.path()), ["page"]);
}

#[test]
fn iw13_a_read_only_volume_is_one_clear_error() {
    let Some(disk) = Tmpfs::of_size("iw13_a_read_only_volume_is_one_clear_error", 1 << 20) else { return };
    let remounted = std::process::Command::new("mount").args(["-o", "remount,ro"]).arg(disk.path()).status();
    if !remounted.is_ok_and(|status| status.success()) {
        return skipped("cannot remount read-only");
    }
    let file = disk.path().join("d/f");
    let expected = format!(
        "error: touch {0}: cannot make the directories of {0}: Read-only file system (os error 30)\n\
         hint: mount a writable volume (emptyDir) here; the image itself is read-only\n",
        file.display()
    );
    fails(&["touch", text(&file)], 1, &expected);
}

#[test]
fn iw13_a_user_without_capabilities_needs_only_its_volume() {
    if !is_root() {
        return skipped("becoming another user needs root");
    }
    let dir = tempdir().unwrap();
    let volume = dir.path().join("volume");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&volume).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
    let page = volume.join("sub/index.html");
    let as_nobody = |path: &Path| {
        let mut command = command(&["date", text(path)]);
        Process::spawn(command.uid(65534).gid(65534).current_dir("/")).wait_within(PATIENCE)
    };
    let exit = as_nobody(&page);
    assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""));
    let foreign = dir.path().join("page");
    let exit = as_nobody(&foreign);
    let expected = format!(
        "error: date {0}: cannot make a temporary file beside {0}: Permission denied (os error 13)\n\
         hint: the volume does not let this user in: set fsGroup in the pod's securityContext, or runAsUser to the owner\n",
        foreign.display()
    );
    assert_eq!((exit.stderr.as_str(), exit.code), (expected.as_str(), Some(1)));
    assert_eq!(names(dir.path()), ["volume"]);
}

#[test]
fn with_a_root_nothing_outside_is_touched() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("in")).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    symlink("../outside", root.join("out")).unwrap();
    symlink("/", root.join("slash")).unwrap();
    let absolute = root.join("in/absolute");
    succeeds(&["write", "in/relative", "--text", "x", "--root", text(&root)]);
    succeeds(&["write", text(&absolute), "--text", "x", "--root", text(&root)]);
    assert_eq!(names(&root.join("in")), ["absolute", "relative"]);
    let outside = dir.path().join("outside/x");
    for path in ["../outside/x", "in/../../outside/x", "out/x", "slash/tmp/x", "out/new/x", text(&outside), "/etc/x"] {
        for verb in [
            &["write", path, "--text", "x"][..],
            &["mkdir", path],
            &["remove", path],
            &["date", path],
            &["touch", path],
        ] {
            let exit = run(&[verb, &["--root", text(&root)]].concat());
            assert_eq!(exit.code, Some(2), "{verb:?}");
            assert!(exit.stderr.contains("leaves the root"), "{verb:?}: {}", exit.stderr);
        }
        assert_eq!(run(&["copy", path, "in/copy", "--root", text(&root)]).code, Some(2), "{path}");
    }
    assert_eq!(names(&dir.path().join("outside")), Vec::<String>::new());
    fails(
        &["link", "/etc/passwd", "in/l", "--root", text(&root)],
        2,
        &format!(
            "error: link in/l: /etc/passwd leaves the root {}\n\
             hint: write paths below --root, or drop --root for this container\n",
            root.display()
        ),
    );
}

#[test]
fn a_thousand_hostile_paths_in_plans_change_nothing_outside() {
    let mut inside = 0;
    let dir = tempdir_in("/dev/shm").or_else(|_| tempdir()).unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    symlink("../outside", root.join("out")).unwrap();
    symlink("../../..", root.join("a/up")).unwrap();
    symlink(dir.path().join("outside"), root.join("abs")).unwrap();
    // kit-fs meets ten thousand; here each refusal is a process that must say one line and leave the first step undone.
    let parts = ["..", "out", "abs", "a", "a/up", "b", ".", "x\\ny", "a/../.."];
    let mut state = 0x2545_f491_u32;
    let mut next = |limit: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % limit
    };
    let plan = dir.path().join("plan.yaml");
    for round in 0..1000 {
        let way_out = ["../", "out/", "abs/", "a/up/", "/", "a/../../outside/"][next(6)];
        let middle: Vec<_> = (0..next(5)).map(|_| parts[next(parts.len())]).collect();
        let path = format!("{way_out}{}/hostile{round}", middle.join("/"));
        let verb = ["touch: {file", "mkdir: {dir", "remove: {path", "date: {dest"][next(4)];
        fs::write(&plan, format!("steps:\n  - touch: {{file: harmless}}\n  - {verb}: \"{path}\"}}\n")).unwrap();
        let exit = run(&["--plan", text(&plan), "--root", text(&root)]);
        if exit.code == Some(0) {
            // The way out was undone in the text, as in out/../hostile.
            fs::remove_file(root.join("harmless")).unwrap();
            inside += 1;
        } else {
            assert_eq!(exit.stderr.lines().count(), 2, "round {round}: {}", exit.stderr);
            assert_eq!(exit.code, Some(2), "round {round}: {path}: {}", exit.stderr);
            assert!(!root.join("harmless").exists(), "round {round}: {path}: the first step ran");
        }
        assert_eq!(names(dir.path()), ["outside", "plan.yaml", "root"], "round {round}: {path}");
        assert_eq!(names(&dir.path().join("outside")), Vec::<String>::new(), "round {round}: {path}");
    }
    assert!(inside < 300, "{inside} of 1000 paths did not lead out");
}
