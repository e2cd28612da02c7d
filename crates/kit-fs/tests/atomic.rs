//! Atomic files with real files: killed writers, full disks, many writers, readers that hold the old file.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kit_fs::{Attributes, Change, Content, Error, Kind, ModeRule, Owner, Parents, Root, write_atomic};
use tempfile::tempdir;

const PLAIN: Attributes = Attributes { mode: ModeRule::KeepOr(0o644), owner: None };
const CHILD: &str = "KIT_FS_TEST_CHILD_WRITES";

fn write(path: &Path, content: &[u8], attributes: &Attributes) -> Result<Change, Error> {
    Root::whole().place(path, Parents::MustExist)?.write(Content::Bytes(content), attributes)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_reader_that_opened_the_old_file_keeps_reading_it() {
    let dir = tempdir().unwrap();
    let conf = dir.path().join("app.conf");
    write_atomic(&conf, b"v1", 0o640).unwrap();
    let reader = File::open(&conf).unwrap();
    write_atomic(&conf, b"v2", 0o640).unwrap();
    assert_eq!(io::read_to_string(reader).unwrap(), "v1");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "v2");
    assert_eq!(names(dir.path()), ["app.conf"]);
}

#[test]
fn equal_content_and_mode_leave_inode_and_times_alone() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("f");
    assert_eq!(write(&path, b"x", &PLAIN).unwrap(), Change::Changed);
    let before = fs::metadata(&path).unwrap();
    assert_eq!(before.mode() & 0o7777, 0o644, "whatever the umask");
    assert_eq!(write(&path, b"x", &PLAIN).unwrap(), Change::Unchanged);
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (after.ino(), after.mtime_nsec(), after.ctime_nsec()),
        (before.ino(), before.mtime_nsec(), before.ctime_nsec())
    );
    let other_mode = Attributes { mode: ModeRule::Exactly(0o600), owner: None };
    assert_eq!(write(&path, b"x", &other_mode).unwrap(), Change::Changed);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(write(&path, b"y", &PLAIN).unwrap(), Change::Changed);
    assert_eq!(
        fs::metadata(&path).unwrap().mode() & 0o7777,
        0o600,
        "an existing file keeps its mode unless one is named"
    );
}

#[test]
fn a_read_only_file_is_replaced_and_a_symlink_is_not_followed() {
    let dir = tempdir().unwrap();
    let (path, behind) = (dir.path().join("f"), dir.path().join("behind"));
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    write(&path, b"new", &PLAIN).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    fs::write(&behind, "untouched").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&behind, &path).unwrap();
    write(&path, b"untouched", &PLAIN).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(fs::read_to_string(&behind).unwrap(), "untouched");
}

#[test]
fn a_directory_is_never_replaced() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("d");
    fs::create_dir(&path).unwrap();
    let error = write(&path, b"x", &PLAIN).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}", path.display()));
    assert_eq!(error.cause().unwrap().kind(), io::ErrorKind::IsADirectory);
    let place = Root::whole().place(&path, Parents::MustExist).unwrap();
    assert_eq!(place.link(Path::new("x"), None).unwrap_err().cause().unwrap().kind(), io::ErrorKind::IsADirectory);
    assert_eq!(names(dir.path()), ["d"]);
}

#[test]
fn made_parents_go_again_when_the_write_fails() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    let parents = Parents::Make { mode: 0o750, owner: None };
    let place = Root::whole().place(&path, parents).unwrap();
    assert!(dir.path().join("a/b").is_dir());
    drop(place);
    assert_eq!(names(dir.path()), Vec::<String>::new());
    Root::whole().place(&path, parents).unwrap().write(Content::Bytes(b"x"), &PLAIN).unwrap();
    assert_eq!(fs::metadata(dir.path().join("a")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::read_to_string(&path).unwrap(), "x");
}

#[test]
fn links_are_replaced_in_one_step_and_left_alone_when_equal() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("current");
    let link = |target: &str| Root::whole().place(&path, Parents::MustExist).unwrap().link(Path::new(target), None);
    assert_eq!(link("releases/1").unwrap(), Change::Changed);
    assert_eq!(link("releases/1").unwrap(), Change::Unchanged);
    // What a killed run left.
    symlink("nowhere", dir.path().join(".current.podkit-link")).unwrap();
    assert_eq!(link("releases/2").unwrap(), Change::Changed);
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("releases/2"));
    assert_eq!(names(dir.path()), ["current"]);
}

#[test]
fn removing_takes_trees_and_links_but_never_what_a_link_points_to() {
    let dir = tempdir().unwrap();
    let (tree, kept) = (dir.path().join("tree"), dir.path().join("kept"));
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "x").unwrap();
    fs::write(tree.join("a/f"), "x").unwrap();
    symlink(&kept, tree.join("a/link")).unwrap();
    let remove = |path: &Path| Root::whole().place(path, Parents::MustExist).unwrap().remove();
    assert_eq!(remove(&tree).unwrap(), Change::Changed);
    assert_eq!(remove(&tree).unwrap(), Change::Unchanged);
    assert_eq!(names(&kept), ["file"]);
}

#[test]
fn a_directory_keeps_an_inherited_set_group_id_bit() {
    let dir = tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o2775)).unwrap();
    let path = dir.path().join("a/b");
    let parents = Parents::Make { mode: 0o755, owner: None };
    Root::whole().place(&path, parents).unwrap().make_directory(Some(0o750), 0o755, None).unwrap();
    assert_eq!(fs::metadata(dir.path().join("a")).unwrap().mode() & 0o7777, 0o2755);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o2750);
}

#[test]
fn touching_makes_a_file_once_and_then_sets_its_time() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("ready");
    let touch = || Root::whole().place(&path, Parents::MustExist).unwrap().touch(&PLAIN).unwrap();
    assert_eq!(touch(), Change::Changed);
    let old = std::time::SystemTime::UNIX_EPOCH;
    File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    assert_eq!(touch(), Change::Changed);
    let after = fs::metadata(&path).unwrap();
    assert_eq!(after.ino(), inode);
    assert!(after.modified().unwrap() > old + Duration::from_secs(1_000_000));
}

#[test]
fn an_owner_that_is_already_so_needs_no_right_to_change_it() {
    let dir = tempdir().unwrap();
    let own = fs::metadata(dir.path()).unwrap();
    let owner = Some(Owner { uid: own.uid(), gid: Some(own.gid()) });
    let path = dir.path().join("f");
    let attributes = Attributes { mode: ModeRule::KeepOr(0o644), owner };
    assert_eq!(write(&path, b"x", &attributes).unwrap(), Change::Changed);
    assert_eq!(write(&path, b"x", &attributes).unwrap(), Change::Unchanged);
}

/// Runs in a process of its own, started by the test below: rewrites one file for ever.
#[test]
fn child_that_writes_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "the parent test tells its child what to do")]
    let Some(path) = std::env::var_os(CHILD) else { return };
    for round in 0_u64.. {
        let content = vec![b'a' + (round % 26) as u8; 4 << 20];
        write_atomic(Path::new(&path), &content, 0o644).unwrap();
    }
}

#[test]
fn a_killed_writer_leaves_a_whole_file_and_at_most_one_temporary_one() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("big");
    let mut leftovers = 0;
    for round in 0_u64..30 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_it_is_killed"])
            .env(CHILD, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !path.exists() {
            assert!(child.try_wait().unwrap().is_none(), "the writer ended");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Not a wait for a condition: the kill is to fall anywhere in a write.
        std::thread::sleep(Duration::from_micros(3000 + round * 1373 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut content = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content.len(), 4 << 20, "round {round}");
        assert!(content.iter().all(|byte| *byte == content[0]), "round {round}: two contents mixed");
        let left = names(dir.path()).len() - 1;
        assert!(left <= 1, "round {round}: {:?}", names(dir.path()));
        leftovers += left;
        // An unchanged write cleans up as well.
        write_atomic(&path, &content, 0o644).unwrap();
        assert_eq!(names(dir.path()), ["big"], "round {round}");
    }
    assert!(leftovers > 0, "no kill fell into a write: the test shows nothing");
}

#[test]
fn writers_of_one_target_never_publish_each_others_half() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("shared");
    write_atomic(&path, &[b'z'; 300_000], 0o644).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let content = fs::read(&path).unwrap();
                assert_eq!(content.len(), 300_000);
                assert!(content.iter().all(|byte| *byte == content[0]));
            }
        });
        let writers: Vec<_> = (0..6)
            .map(|writer: u8| {
                let path: PathBuf = path.clone();
                scope.spawn(move || {
                    for round in 0..20_u8 {
                        write_atomic(&path, &[b'a' + (writer * 4 + round) % 26; 300_000][..], 0o644).unwrap();
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        assert!(outcomes.iter().all(Result::is_ok));
    });
    assert_eq!(names(dir.path()), ["shared"]);
}

/// A tmpfs of 1 MiB, unmounted at the end; `None` (said on stderr) where mounting is not allowed.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(options: &str) -> Option<Self> {
        let dir = tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        let () = eprintln!("skipped: a small disk needs the right to mount a tmpfs (root)");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_the_old_content_and_nothing_else() {
    let Some(disk) = SmallDisk::mount("size=1m") else { return };
    let root = disk.0.path();
    let path = root.join("conf");
    let old = vec![b'o'; 300_000];
    write_atomic(&path, &old, 0o644).unwrap();
    let error = write_atomic(&path, &vec![b'n'; 2_000_000], 0o644).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}", path.display()));
    assert_eq!(error.cause().unwrap().kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read(&path).unwrap(), old);
    let parents = Parents::Make { mode: 0o755, owner: None };
    let place = Root::whole().place(&root.join("new/dir/file"), parents).unwrap();
    place.write(Content::Bytes(&vec![b'n'; 2_000_000]), &PLAIN).unwrap_err();
    assert_eq!(names(root), ["conf"]);
}

#[test]
fn a_mount_point_is_not_emptied() {
    let Some(disk) = SmallDisk::mount("size=1m") else { return };
    fs::write(disk.0.path().join("kept"), "x").unwrap();
    let place = Root::whole().place(disk.0.path(), Parents::MustExist).unwrap();
    assert_eq!(place.kind().unwrap(), Some(Kind::Directory));
    assert_eq!(place.remove().unwrap_err().cause().unwrap().kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(names(disk.0.path()), ["kept"]);
}

#[test]
fn a_read_only_file_system_is_one_clear_error() {
    let Some(disk) = SmallDisk::mount("size=1m,ro") else { return };
    let path = disk.0.path().join("f");
    let error = write_atomic(&path, b"x", 0o644).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot make a temporary file beside {}", path.display()));
    assert_eq!(error.cause().unwrap().kind(), io::ErrorKind::ReadOnlyFilesystem);
}
