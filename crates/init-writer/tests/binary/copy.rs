//! Copying trees and large files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use kit_test::{LinkOrder, Mount, Process};
use tempfile::tempdir;

use crate::support::{PATIENCE, command, fails, identity, mode, names, run, skipped, succeeds, text};

fn copy(src: &Path, dest: &Path) {
    succeeds(&["copy", text(src), text(dest), "--recursive"]);
}

#[test]
fn iw11_a_tree_keeps_its_shape_and_modes() {
    let dir = tempdir().unwrap();
    let (src, dest) = (dir.path().join("src"), dir.path().join("dest"));
    fs::create_dir_all(src.join("a/b")).unwrap();
    fs::write(src.join("a/b/script"), "#!").unwrap();
    fs::set_permissions(src.join("a/b/script"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(src.join("a"), fs::Permissions::from_mode(0o710)).unwrap();
    fs::write(src.join("top.bak"), "x").unwrap();
    symlink("b/script", src.join("a/link")).unwrap();
    symlink("a", src.join("again")).unwrap();
    fs::create_dir(&dest).unwrap();
    fs::write(dest.join("kept"), "x").unwrap();
    succeeds(&["copy", text(&src), text(&dest), "--recursive", "--exclude", "*.bak"]);
    assert_eq!(names(&dest), ["a", "again", "kept"]);
    assert_eq!((mode(&dest.join("a")), mode(&dest.join("a/b/script"))), (0o710, 0o750));
    assert!(fs::symlink_metadata(dest.join("a/link")).unwrap().is_file());
    assert!(fs::symlink_metadata(dest.join("again/b")).unwrap().is_dir());
    let before = identity(&dest.join("a/b/script"));
    copy(&src, &dest);
    assert_eq!(identity(&dest.join("a/b/script")), before);
    assert_eq!(names(&dest), ["a", "again", "kept", "top.bak"]);
}

#[test]
fn iw11_kubelets_own_entries_are_passed_over() {
    let dir = tempdir().unwrap();
    let (src, dest) = (dir.path().join("config"), dir.path().join("dest"));
    fs::create_dir(&src).unwrap();
    let _mount = Mount::new(&src, LinkOrder::AfterSwap, &[("app.conf", b"one"), ("deep/key", b"two")]);
    copy(&src, &dest);
    assert_eq!(names(&dest), ["app.conf", "deep"]);
    assert!(fs::symlink_metadata(dest.join("app.conf")).unwrap().is_file());
    assert_eq!(fs::read_to_string(dest.join("deep/key")).unwrap(), "two");
}

#[test]
fn iw11_links_that_loop_lead_out_or_dangle_are_named() {
    let dir = tempdir().unwrap();
    let (src, dest) = (dir.path().join("src"), dir.path().join("dest"));
    let check = |name: &str, target: &str, reason: &str| {
        let _ = fs::remove_dir_all(&src);
        fs::create_dir_all(src.join("sub")).unwrap();
        symlink(target, src.join(name)).unwrap();
        let exit = run(&["copy", text(&src), text(&dest), "--recursive"]);
        assert_eq!(exit.code, Some(1), "{name}");
        let expected = format!("error: copy {}: {}/{reason}\n", dest.display(), src.display());
        assert!(exit.stderr.starts_with(&expected), "{name}: {} is not {expected}", exit.stderr);
    };
    check("loop", "loop", "loop is a symlink loop");
    check("sub/up", "..", "sub/up is a symlink loop");
    check("gone", "nowhere", "gone is a symlink to nothing");
    check("out", "/etc/hostname", &format!("out is a symlink that leads out of {}", src.display()));
    check("out", "../../x", &format!("out is a symlink that leads out of {}", src.display()));
    fs::write(dir.path().join("behind"), "x").unwrap();
    fs::remove_file(src.join("out")).unwrap();
    symlink("../behind", src.join("out")).unwrap();
    succeeds(&["copy", text(&src), text(&dest), "--recursive", "--follow"]);
    assert_eq!(fs::read_to_string(dest.join("out")).unwrap(), "x");
    // --follow lifts the limit of the source, never that of the root.
    let root = src.clone();
    let exit = run(&["copy", ".", "copied", "--recursive", "--follow", "--root", text(&root)]);
    assert!(exit.code == Some(1) && exit.stderr.contains("leaves the root"), "{}", exit.stderr);
}

#[test]
fn iw11_a_directory_needs_recursive_and_a_missing_source_is_named() {
    let dir = tempdir().unwrap();
    let dest = dir.path().join("new/dest");
    let expected = format!(
        "error: copy {}: {} is a directory\nhint: pass --recursive to copy what it holds\n",
        dest.display(),
        dir.path().display()
    );
    fails(&["copy", text(dir.path()), text(&dest)], 1, &expected);
    let expected = format!(
        "error: copy {}: cannot read /no/such: No such file or directory (os error 2)\n\
         hint: check that the volume is mounted in this init container, and the spelling\n",
        dest.display()
    );
    fails(&["copy", "/no/such", text(&dest)], 1, &expected);
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn iw12_ten_thousand_files_are_copied_and_left_alone_the_second_time() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempdir()).unwrap();
    let (src, dest) = (dir.path().join("src"), dir.path().join("dest"));
    for folder in 0..100 {
        fs::create_dir_all(src.join(format!("{folder}"))).unwrap();
        for file in 0..100 {
            fs::write(src.join(format!("{folder}/{file}")), format!("{folder} {file}")).unwrap();
        }
    }
    copy(&src, &dest);
    for folder in 0..100 {
        assert_eq!(names(&dest.join(format!("{folder}"))).len(), 100);
        assert_eq!(fs::read_to_string(dest.join(format!("{folder}/77"))).unwrap(), format!("{folder} 77"));
    }
    let before = identity(&dest.join("42/42"));
    copy(&src, &dest);
    assert_eq!(identity(&dest.join("42/42")), before);
}

#[test]
fn iw12_a_sparse_gigabyte_is_copied_in_flat_memory() {
    let dir = tempdir().unwrap();
    let (src, dest) = (dir.path().join("big"), dir.path().join("copy"));
    let file = fs::File::create(&src).unwrap();
    if file.set_len(1 << 30).is_err() {
        return skipped("no sparse file of 1 GiB here");
    }
    for at in 0..64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &[at as u8 + 1; 100_000], at * (16 << 20)).unwrap();
    }
    let measure = || {
        let output = std::process::Command::new("/bin/sh")
            // The limit of 32 MiB of address space on top of the binary's own would not see the page cache.
            .args(["-c", "ulimit -v 65536; exec \"$0\" copy \"$1\" \"$2\" --log-level error"])
            .args([env!("CARGO_BIN_EXE_init-writer"), text(&src), text(&dest)])
            .output()
            .unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    };
    measure();
    let about = fs::metadata(&dest).unwrap();
    assert_eq!(about.len(), 1 << 30);
    assert!(about.blocks() * 512 < 64 << 20, "the holes were filled: {} blocks", about.blocks());
    let before = identity(&dest);
    measure();
    assert_eq!(identity(&dest), before, "equal content was written again");
    let mut comparing = Process::spawn(&mut command(&["copy", text(&src), text(&dest)]));
    let mut peak = 0;
    while comparing.is_running() {
        let status = fs::read_to_string(format!("/proc/{}/status", comparing.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = peak.max(line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0_u64));
    }
    assert_eq!(comparing.wait_within(PATIENCE).code, Some(0));
    // A debug build with its symbols is larger than what ships; the field notes ask for less than 8 MiB.
    assert!(peak < 16 * 1024, "peak RSS {peak} kB");
}
