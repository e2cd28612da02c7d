//! The promises of kit-watch with real files, in the shapes in which a pod meets them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use kit_test::{LinkOrder, Mount};
use kit_watch::{Settings, Watcher};
use tempfile::TempDir;
use tokio::time::timeout;

/// Long enough for a loaded machine; only a failing test waits it out.
const PATIENCE: Duration = Duration::from_secs(20);

fn events_only(paths: Vec<PathBuf>) -> Watcher {
    // An hour between polls: what these tests see came from events.
    Watcher::with_settings(paths, Settings { poll: Duration::from_secs(3600), ..Settings::default() })
}

fn kubelet_mount() -> (TempDir, Mount, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let mount = Mount::new(root.path(), LinkOrder::AfterSwap, &[("tls.crt", b"first")]);
    let path = mount.path("tls.crt");
    (root, mount, path)
}

#[tokio::test]
async fn a_kubelet_swap_is_reported_once() {
    let (_root, mut mount, path) = kubelet_mount();
    let mut watcher = events_only(vec![path.clone()]);
    mount.publish(&[("tls.crt", b"second")]);
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), [path]);
    assert!(timeout(Duration::from_millis(400), watcher.changed()).await.is_err());
}

#[tokio::test]
async fn swap_after_swap_is_seen() {
    let (_root, mut mount, path) = kubelet_mount();
    let mut watcher = events_only(vec![path.clone()]);
    for generation in 2..12 {
        mount.publish(&[("tls.crt", format!("content {generation}").as_bytes())]);
        assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), std::slice::from_ref(&path));
    }
}

#[tokio::test]
async fn a_swap_to_the_same_content_is_silent() {
    let (_root, mut mount, path) = kubelet_mount();
    let mut watcher = events_only(vec![path]);
    // The second key makes kubelet write a new generation; the watched one is the same in it.
    mount.publish(&[("tls.crt", b"first"), ("ca.crt", b"new")]);
    assert!(timeout(Duration::from_millis(400), watcher.changed()).await.is_err());
}

#[tokio::test]
async fn a_change_made_while_nobody_waited_is_reported_by_the_next_call() {
    let (_root, mut mount, path) = kubelet_mount();
    let mut watcher = events_only(vec![path.clone()]);
    assert!(timeout(Duration::from_millis(10), watcher.changed()).await.is_err());
    mount.publish(&[("tls.crt", b"second")]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), [path]);
}

#[tokio::test]
async fn a_plain_file_written_in_place_replaced_or_removed_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.conf");
    let other = folder.path().join("other.conf");
    fs::write(&path, "one").unwrap();
    fs::write(&other, "unchanged").unwrap();
    let mut watcher = events_only(vec![other, path.clone()]);
    fs::write(&path, "two").unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), std::slice::from_ref(&path));
    fs::write(folder.path().join("new"), "three").unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test is the writer here")]
    fs::rename(folder.path().join("new"), &path).unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), std::slice::from_ref(&path));
    fs::remove_file(&path).unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), std::slice::from_ref(&path));
}

#[tokio::test]
async fn a_file_in_a_folder_that_does_not_exist_yet_is_seen_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/app.conf");
    let mut watcher = events_only(vec![path.clone()]);
    fs::create_dir(folder.path().join("later")).unwrap();
    fs::write(&path, "one").unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), [path]);
}

#[tokio::test]
async fn a_folder_changes_with_its_entries_and_with_the_files_of_its_folders() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certs");
    fs::create_dir_all(path.join("a")).unwrap();
    fs::write(path.join("a/tls.crt"), "one").unwrap();
    let mut watcher = events_only(vec![path.clone()]);
    fs::write(path.join("a/tls.crt"), "two").unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), std::slice::from_ref(&path));
    fs::write(path.join("b.pem"), "one").unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), std::slice::from_ref(&path));
}

#[tokio::test]
async fn without_events_the_poll_finds_the_change() {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in [("a", "one"), ("next", "two")] {
        fs::create_dir_all(root.path().join(name).join("b")).unwrap();
        fs::write(root.path().join(name).join("b/app.conf"), content).unwrap();
    }
    let path = root.path().join("a/b/app.conf");
    let settings = Settings { poll: Duration::from_millis(50), ..Settings::default() };
    let mut watcher = Watcher::with_settings(vec![path.clone()], settings);
    // Only the last folder is watched, and its parent's new name is no event of its own.
    for (from, to) in [("a", "old"), ("next", "a")] {
        #[expect(clippy::disallowed_methods, reason = "the test is the writer here")]
        fs::rename(root.path().join(from), root.path().join(to)).unwrap();
    }
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), [path]);
}

/// Writes and removes files in a folder until it is dropped.
struct Bustle(std::sync::Arc<std::sync::atomic::AtomicBool>, Option<std::thread::JoinHandle<u64>>);

impl Bustle {
    fn in_folder(folder: &std::path::Path) -> Self {
        let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (told, folder) = (over.clone(), folder.to_owned());
        let busy = move || {
            let mut count = 0;
            while !told.load(std::sync::atomic::Ordering::Relaxed) {
                let path = folder.join(format!("scratch-{}", count % 50));
                fs::write(&path, "x").unwrap();
                fs::remove_file(&path).unwrap();
                count += 1;
            }
            count
        };
        Self(over, Some(std::thread::spawn(busy)))
    }

    fn end(mut self) -> u64 {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap()
    }
}

impl Drop for Bustle {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// How often the process has looked at its files, roughly: each look is two reads of a file or more.
fn reads() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_busy_folder_delays_neither_the_start_nor_a_report_and_costs_little() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tls.crt");
    fs::write(&path, "one").unwrap();
    let bustle = Bustle::in_folder(folder.path());
    let start = std::time::Instant::now();
    // Of a folder, every name matters: here the pause between looks alone bounds the work.
    let mut all = events_only(vec![folder.path().to_owned()]);
    let mut watcher = events_only(vec![path.clone()]);
    assert!(timeout(Duration::from_secs(1), watcher.changed()).await.is_err());
    let before = reads();
    assert!(timeout(Duration::from_secs(2), watcher.changed()).await.is_err());
    let taken = reads() - before;
    fs::write(&path, "two").unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), std::slice::from_ref(&path));
    assert_eq!(timeout(PATIENCE, all.changed()).await.unwrap(), [folder.path()]);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    drop((watcher, all));
    let others = bustle.end();
    assert!(others > 1000, "the folder was not busy: {others}");
    // Two seconds hold 40 pauses; in each, up to 64 pieces of the queue are read, and the file itself never.
    assert!(taken < 3000, "{taken} reads for {others} events of others");
}

#[tokio::test]
async fn every_link_on_the_way_is_watched() {
    let (folder, middle, elsewhere) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in ["one", "two"] {
        fs::write(elsewhere.path().join(name), name).unwrap();
    }
    symlink(elsewhere.path().join("one"), middle.path().join("link")).unwrap();
    let path = folder.path().join("app.conf");
    symlink(middle.path().join("link"), &path).unwrap();
    let mut watcher = events_only(vec![path.clone()]);
    fs::remove_file(middle.path().join("link")).unwrap();
    symlink(elsewhere.path().join("two"), middle.path().join("link")).unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), std::slice::from_ref(&path));
    fs::write(elsewhere.path().join("two"), "three").unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), [path]);
}

#[tokio::test]
async fn a_folder_that_is_replaced_under_its_name_is_seen() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("certs/tls.crt");
    for (name, content) in [("certs", "one"), ("next", "two")] {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join("tls.crt"), content).unwrap();
    }
    let mut watcher = events_only(vec![path.clone()]);
    for (from, to) in [("certs", "old"), ("next", "certs")] {
        #[expect(clippy::disallowed_methods, reason = "the test is the writer here")]
        fs::rename(root.path().join(from), root.path().join(to)).unwrap();
    }
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), std::slice::from_ref(&path));
    fs::write(&path, "three").unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), [path]);
}

#[tokio::test]
async fn a_pipe_or_an_endless_device_does_not_hold_the_watcher() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let path = folder.path().join("app.conf");
    fs::write(&path, "one").unwrap();
    let mut watcher = events_only(vec![pipe, "/dev/zero".into(), folder.path().to_owned(), path.clone()]);
    fs::write(&path, "two").unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), [folder.path(), &path]);
}
