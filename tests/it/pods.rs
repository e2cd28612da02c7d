//! Pod-shaped runs: a real web server writes the log, a real logrotate rotates it, log-tailer beside them prints it.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kit_test::{Process, Signal, eventually, free_port, http_get, try_http_get};
use tempfile::TempDir;

use crate::engines::present;

const PATIENCE: Duration = Duration::from_secs(60);

/// nginx with one worker, so that its log has the order of the requests.
struct Nginx {
    folder: TempDir,
    address: SocketAddr,
    process: Process,
}

impl Drop for Nginx {
    /// A master that is killed leaves its worker running for good.
    fn drop(&mut self) {
        self.process.signal(Signal::TERM);
        let told = Instant::now();
        while self.process.is_running() && told.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Nginx {
    /// `None` where nginx or logrotate is not installed, unless they are required.
    fn start() -> Option<Self> {
        let found = |program: &str, flag: &str| Command::new(program).arg(flag).output().is_ok();
        present("nginx", found("nginx", "-v"))?;
        present("logrotate", found("logrotate", "--version"))?;
        let folder = tempfile::tempdir().unwrap();
        // logrotate refuses folders that others may write.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let path = folder.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|kind| format!("{kind}_temp_path {path}/{kind};")).join(" ");
        let configuration = format!(
            "daemon off; worker_processes 1; pid {path}/nginx.pid; error_log {path}/error.log;
             events {{}}
             http {{ {temporary} log_format number '$request_uri'; access_log {path}/access.log number;
                     server {{ listen {address}; location / {{ return 200 ok; }} }} }}"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new("nginx");
        let error_log = format!("{path}/start.log");
        command.args(["-e", &error_log, "-p", folder.path().to_str().unwrap(), "-c"]).arg(file);
        let process = Process::spawn(&mut command);
        // The first line of the log says that it is up.
        eventually("nginx answers", PATIENCE, || try_http_get(address, "/up").is_ok_and(|answer| answer.status == 200));
        Some(Self { folder, address, process })
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// Requests `/0`, `/1` and so on until `stop`; returns how many were answered.
    fn ask_until(&self, stop: &AtomicBool) -> usize {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(http_get(self.address, &format!("/{number}")).status, 200);
            number += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        number
    }

    /// Writes logrotate's configuration with `options` and rotates `times` times, however small the log is.
    fn rotate(&self, options: &str, times: usize) {
        let path = self.folder.path();
        let configuration = path.join("logrotate.conf");
        fs::write(&configuration, format!("{} {{\nrotate 50\nmissingok\n{options}\n}}\n", self.log().display()))
            .unwrap();
        fs::set_permissions(&configuration, fs::Permissions::from_mode(0o644)).unwrap();
        for _ in 0..times {
            let mut command = Command::new("logrotate");
            command.arg("--force").arg("--state").arg(path.join("logrotate.state")).arg(&configuration);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Requests and rotations at the same time, with log-tailer beside them; its output, and how many requests there were.
    fn follow_through(&self, options: &str, times: usize) -> (String, usize) {
        let mut tailer =
            Process::spawn(Command::new(kit_test::tool("log-tailer")).args(["-n+1", "-F"]).arg(self.log()));
        tailer.wait_for_stdout("/up", PATIENCE);
        let stop = AtomicBool::new(false);
        let requests = std::thread::scope(|scope| {
            let requests = scope.spawn(|| self.ask_until(&stop));
            let rotating = SetOnDrop(&stop);
            self.rotate(options, times);
            drop(rotating);
            requests.join().unwrap()
        });
        // nginx writes its line after the answer.
        eventually("the last line is in the log", PATIENCE, || {
            fs::read_to_string(self.log())
                .is_ok_and(|log| log.is_empty() || log.contains(&format!("/{}\n", requests - 1)))
        });
        tailer.signal(Signal::TERM);
        let exit = tailer.wait_within(PATIENCE);
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        (String::from_utf8(exit.stdout).unwrap(), requests)
    }
}

/// Ends the requests when the rotations are over, be it by a panic.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every line of every file of the log, rotated or not.
fn lines_on_disk(log: &Path) -> BTreeSet<String> {
    let name = log.file_name().unwrap().to_str().unwrap();
    let entries = fs::read_dir(log.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name));
    files.flat_map(|file| fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn nginx_rotated_by_logrotate_and_reopened_by_usr1_loses_no_line() {
    let Some(nginx) = Nginx::start() else { return };
    let reopen =
        format!("create 0640\npostrotate\nkill -USR1 $(cat {}/nginx.pid)\nendscript", nginx.folder.path().display());
    let (output, requests) = nginx.follow_through(&reopen, 6);
    let numbers = output.lines().filter(|line| *line != "/up");
    let expected: Vec<String> = (0..requests).map(|number| format!("/{number}")).collect();
    assert!(nginx.log().with_extension("log.6").exists(), "logrotate has rotated six times");
    assert_eq!(numbers.collect::<Vec<_>>(), expected, "every request once, in order");
}

#[test]
fn nginx_rotated_by_copytruncate_loses_only_what_no_file_holds() {
    let Some(nginx) = Nginx::start() else { return };
    let (output, requests) = nginx.follow_through("copytruncate", 6);
    let printed: Vec<&str> = output.lines().collect();
    let distinct: BTreeSet<String> = printed.iter().map(|line| (*line).to_owned()).collect();
    let on_disk = lines_on_disk(&nginx.log());
    let forgotten: Vec<&String> = on_disk.difference(&distinct).collect();
    assert!(forgotten.is_empty(), "on disk, but not printed: {forgotten:?}");
    let repeated = printed.iter().filter(|line| **line != "/up").count() - (distinct.len() - 1);
    assert_eq!(repeated, 0, "no line twice");
    let missing = (0..requests).filter(|number| !distinct.contains(&format!("/{number}"))).count();
    eprintln!("{missing} of {requests} lines came between copy and truncation and are in no file");
}

/// logrotate's `create 0640 www-data adm` in a pod: user 65532 needs the group.
#[test]
fn a_log_that_only_its_group_may_read_needs_that_group() {
    if !is_root() {
        eprintln!("skipped: a_log_that_only_its_group_may_read_needs_that_group: only root can become 65532");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (log, binary) = (folder.path().join("access.log"), folder.path().join("log-tailer"));
    // The folder of the binary may be closed to others.
    fs::copy(kit_test::tool("log-tailer"), &binary).unwrap();
    fs::write(&log, "secret\n").unwrap();
    std::os::unix::fs::chown(&log, Some(33), Some(4)).unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o640)).unwrap();
    let start = |group: u32| Process::spawn(Command::new(&binary).arg(&log).uid(65532).gid(group));
    let refused = start(65532);
    let line = refused.wait_for_stderr("Permission denied", PATIENCE);
    assert!(line.contains("access.log"), "{line}");
    eventually("a hint", PATIENCE, || refused.stderr_contains("fsGroup") && refused.stderr_contains("runAsGroup"));
    start(4).wait_for_stdout("secret", PATIENCE);
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}
