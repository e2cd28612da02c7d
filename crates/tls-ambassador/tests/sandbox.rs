//! What a running door cannot do any more.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::print_stderr, reason = "a kernel without a part of the sandbox is worth a line")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use kit_test::{LinkOrder, Mount, Signal, eventually};
use support::pki::{Authority, text};
use support::{Door, Echo, PATIENCE, hello};

/// A number from `status` of every thread.
fn of_threads(id: u32, field: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
    let number = |status: String| {
        let line = status.lines().find(|line| line.split(':').next() == Some(field)).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok()).map(number).collect()
}

#[test]
fn no_thread_may_make_other_system_calls_or_gain_privileges() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let pair = root.issue("server");
    let echo = Echo::start();
    let flags = ["--cert", text(&pair.cert), "--key", text(&pair.key), "--disable-authentication"];
    let door = Door::start("server", &echo.target(), &flags).ready();
    assert!(hello(&door, &root, None).contains("\"cn\": \"server\""));
    let id = door.process.id();
    let (filters, privileges) = (of_threads(id, "Seccomp"), of_threads(id, "NoNewPrivs"));
    assert!(filters.len() > 3 && filters.iter().all(|mode| mode == "2"), "{filters:?}");
    assert!(privileges.iter().all(|flag| flag == "1"), "{privileges:?}");
    assert!(!door.process.stderr().contains("not restricted"), "{}", door.process.stderr());

    let open = Door::start("server", &echo.target(), &[&flags[..], &["--disable-sandbox"]].concat()).ready();
    assert!(of_threads(open.process.id(), "Seccomp").iter().all(|mode| mode == "0"));
}

/// The certificate's link is turned to a folder that had nothing to do with it when the door opened.
#[test]
fn a_file_outside_of_the_certificates_folders_cannot_be_read_and_a_swap_inside_can() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = Authority::new(outside.path(), "root");
    let [first, second, third] = ["first", "second", "third"].map(|name| root.issue(name));
    let echo = Echo::start();
    for (sandboxed, flag) in [(true, &[][..]), (false, &["--disable-sandbox"])] {
        let volume = tempfile::tempdir_in(inside.path()).unwrap();
        let files: [(&str, &[u8]); 2] = [("tls.crt", &first.cert_bytes()), ("tls.key", &first.key_bytes())];
        let mut mount = Mount::new(volume.path(), LinkOrder::AfterSwap, &files);
        let (cert, key) = (mount.path("tls.crt"), mount.path("tls.key"));
        let flags = ["--cert", text(&cert), "--key", text(&key), "--disable-authentication"];
        let mut door = Door::start("server", &echo.target(), &[&flags[..], flag].concat()).ready();
        mount.publish(&[("tls.crt", &second.cert_bytes()), ("tls.key", &second.key_bytes())]);
        door.process.wait_for_stderr("CN=second", PATIENCE);
        for (link, to) in [(&cert, &third.cert), (&key, &third.key)] {
            fs::remove_file(link).unwrap();
            symlink(to, link).unwrap();
        }
        door.process.signal(Signal::HUP);
        if sandboxed {
            eventually("a refusal", PATIENCE, || {
                door.metric("tls_ambassador_reload_total{result=\"unreadable\"") > 0.0
            });
            door.process.wait_for_stderr("Permission denied", PATIENCE);
            assert!(hello(&door, &root, None).contains("\"cn\": \"second\""), "the last good one serves");
        } else {
            door.process.wait_for_stderr("CN=third", PATIENCE);
            assert!(hello(&door, &root, None).contains("\"cn\": \"third\""));
        }
    }
}

/// The same door on a kernel that answers "no such system call", as gVisor and kernels before 5.13 do.
#[test]
fn on_a_kernel_without_a_part_of_the_sandbox_it_says_so_and_opens() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::new(folder.path(), "root");
    let pair = root.issue("server");
    let echo = Echo::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/without.py");
    let (landlock, seccomp) = (
        "no landlock in this kernel: files are not restricted",
        "seccomp cannot be used: system calls are not restricted",
    );
    for (lacking, expected) in
        [("landlock", [true, false]), ("seccomp", [false, true]), ("landlock,seccomp", [true, true])]
    {
        let (port, admin) = (kit_test::free_port(), kit_test::free_port());
        let mut command = std::process::Command::new("python3");
        command.args([script, lacking]).arg(support::ambassador().get_program()).env_remove("SSL_CERT_FILE");
        command.args(["server", "--listen", &format!("127.0.0.1:{port}"), "--target", &echo.target()]);
        command.args(["--admin-listen", &format!("127.0.0.1:{admin}"), "--disable-authentication"]);
        command.args(["--cert", text(&pair.cert), "--key", text(&pair.key), "--threads", "2"]);
        let process = kit_test::Process::spawn(&mut command);
        let door = Door { process, port, admin: ([127, 0, 0, 1], admin).into() }.ready();
        let log = door.process.stderr();
        assert_eq!([log.contains(landlock), log.contains(seccomp)], expected, "{lacking}: {log}");
        assert!(hello(&door, &root, None).contains("\"ok\": true"), "{lacking}");
        assert_eq!(door.stop().code, Some(0), "{lacking}");
    }
}
