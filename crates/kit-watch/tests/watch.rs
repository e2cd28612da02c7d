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
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    // Two symlinks in a row: events come from neither folder that is watched when the middle one is swapped.
    fs::write(elsewhere.path().join("one"), "one").unwrap();
    fs::write(elsewhere.path().join("two"), "two").unwrap();
    let middle = tempfile::tempdir().unwrap();
    symlink(elsewhere.path().join("one"), middle.path().join("link")).unwrap();
    let path = folder.path().join("app.conf");
    symlink(middle.path().join("link"), &path).unwrap();
    let settings = Settings { poll: Duration::from_millis(50), ..Settings::default() };
    let mut watcher = Watcher::with_settings(vec![path.clone()], settings);
    fs::remove_file(middle.path().join("link")).unwrap();
    symlink(elsewhere.path().join("two"), middle.path().join("link")).unwrap();
    assert_eq!(timeout(PATIENCE, watcher.changed()).await.unwrap(), [path]);
}
