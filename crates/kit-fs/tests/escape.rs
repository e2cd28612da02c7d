//! Ten thousand hostile paths against a root, through `openat2` and through the walk that stands in for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use kit_fs::{Attributes, Content, Error, ModeRule, Parents, Root};
use tempfile::{TempDir, tempdir, tempdir_in};

const PLAIN: Attributes = Attributes { mode: ModeRule::KeepOr(0o644), owner: None };
const MAKE: Parents = Parents::Make { mode: 0o755, owner: None };

/// Path, inode, size, change time.
type Entry = (PathBuf, u64, u64, i64, i64);

/// `jail` is the root; everything else must stay as it is.
struct Prison {
    directory: TempDir,
}

impl Prison {
    fn build() -> Self {
        // In memory where possible: thousands of synced writes need no disk to prove anything.
        let directory = tempdir_in("/dev/shm").or_else(|_| tempdir()).unwrap();
        let base = directory.path();
        fs::create_dir_all(base.join("outside/deep")).unwrap();
        fs::write(base.join("outside/secret"), "secret").unwrap();
        fs::write(base.join("outside/deep/secret"), "secret").unwrap();
        fs::create_dir_all(base.join("jail/a/b/c")).unwrap();
        fs::create_dir_all(base.join("jailbreak")).unwrap();
        let jail = base.join("jail");
        fs::write(jail.join("a/file"), "x").unwrap();
        symlink("../outside", jail.join("out")).unwrap();
        symlink(base.join("outside"), jail.join("absolute")).unwrap();
        symlink("../../outside/deep", jail.join("a/out")).unwrap();
        symlink("../../../..", jail.join("a/b/up")).unwrap();
        symlink("a/b", jail.join("inside")).unwrap();
        symlink("../a/../inside/c", jail.join("a/inside")).unwrap();
        symlink("loop", jail.join("loop")).unwrap();
        symlink("pong", jail.join("ping")).unwrap();
        symlink("ping", jail.join("pong")).unwrap();
        symlink("../jailbreak", jail.join("break")).unwrap();
        symlink("../outside/not-yet", jail.join("dangling")).unwrap();
        symlink("/proc/self/root", jail.join("magic")).unwrap();
        symlink("out/../a", jail.join("through")).unwrap();
        symlink("/", jail.join("slash")).unwrap();
        Self { directory }
    }

    fn jail(&self) -> PathBuf {
        self.directory.path().join("jail")
    }

    /// Everything outside of the jail: names, inodes, sizes, change times.
    fn outside(&self) -> Vec<Entry> {
        let mut found = Vec::new();
        let mut ahead = vec![self.directory.path().to_owned()];
        while let Some(directory) = ahead.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                if path == self.jail() {
                    continue;
                }
                found.push((path.clone(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()));
                if meta.is_dir() {
                    ahead.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

/// xorshift64*: repeatable, and good enough to mix path parts.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn path(&mut self, base: &Path) -> PathBuf {
        const PARTS: [&str; 25] = [
            "..",
            "..",
            ".",
            "",
            "a",
            "b",
            "c",
            "file",
            "out",
            "absolute",
            "up",
            "inside",
            "loop",
            "ping",
            "break",
            "dangling",
            "magic",
            "through",
            "slash",
            "new",
            "etc",
            "jail",
            "sub",
            "with\nline",
            "..data",
        ];
        let mut text = match self.below(6) {
            0 => "/".to_owned(),
            1 => format!("{}/", base.join("jail").display()),
            2 => format!("{}/", base.display()),
            3 => format!("{}break/", base.join("jail").display()),
            _ => String::new(),
        };
        for _ in 0..=self.below(7) {
            text.push_str(PARTS[self.below(PARTS.len())]);
            text.push_str(if self.below(8) == 0 { "//" } else { "/" });
        }
        if self.below(3) > 0 {
            text.pop();
        }
        if self.below(200) == 0 {
            text.push('\0');
        }
        PathBuf::from(text)
    }
}

fn attack(root: &Root, path: &Path, how: usize, outside: &[Entry]) -> Result<(), Error> {
    let foreign = |inode: u64| assert!(outside.iter().all(|entry| entry.1 != inode), "{path:?} was opened");
    root.check(path)?;
    match how {
        0 => root.place(path, MAKE)?.write(Content::Bytes(b"hostile"), &PLAIN).map(drop),
        1 => root.place(path, MAKE)?.make_directory(None, 0o755, None).map(drop),
        2 => root.place(path, MAKE)?.touch(&PLAIN).map(drop),
        3 => root.place(path, MAKE)?.link(Path::new("a"), None).map(drop),
        4 => root.file(path).map(|file| foreign(file.metadata().unwrap().ino())),
        _ => root.entries(path).map(|found| {
            assert!(found.iter().all(|entry| entry.name != "secret" && entry.name != "outside"), "{path:?} {found:?}")
        }),
    }
}

fn sort(outcome: &Result<(), Error>) -> &'static str {
    match outcome {
        Ok(()) => "done",
        Err(Error::Leaves { .. }) => "leaves",
        Err(Error::LeavesBySymlink { .. }) => "leaves by symlink",
        Err(Error::NoName { .. }) => "no name",
        Err(Error::System { .. }) => "system",
    }
}

#[test]
fn ten_thousand_hostile_paths_change_nothing_outside_of_the_root() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut counts = BTreeMap::new();
    // The attacks replace the traps inside of the jail, so every 500 paths get a new one.
    for prison in 0..20 {
        attack_a_prison(prison, &mut random, &mut counts);
    }
    for kind in ["done", "leaves", "leaves by symlink", "no name", "system"] {
        assert!(counts.get(kind).is_some_and(|count| *count > 50), "too few {kind}: {counts:?}");
    }
}

fn attack_a_prison(prison: usize, random: &mut Random, counts: &mut BTreeMap<&'static str, usize>) {
    let (kernel, walk) = (Prison::build(), Prison::build());
    let before = (kernel.outside(), walk.outside());
    let by_kernel = Root::open(&kernel.jail()).unwrap();
    let by_walk = Root::open(&walk.jail()).unwrap().without_openat2();
    for round in prison * 500..(prison + 1) * 500 {
        let how = random.below(6);
        let seed = random.0;
        let path = random.path(kernel.directory.path());
        let same_path = Random(seed).path(walk.directory.path());
        let first = attack(&by_kernel, &path, how, &before.0);
        let second = attack(&by_walk, &same_path, how, &before.1);
        assert_eq!(sort(&first), sort(&second), "round {round}: {path:?} {first:?} {second:?}");
        for error in [first.as_ref().err(), second.as_ref().err()].into_iter().flatten() {
            assert!(!error.to_string().contains('\n'), "round {round}: more than one line: {error}");
        }
        *counts.entry(sort(&first)).or_insert(0) += 1;
        if round % 100 == 99 {
            assert_eq!((kernel.outside(), walk.outside()), before, "before round {round}: {path:?}");
        }
    }
}

#[test]
fn removing_hostile_paths_never_reaches_outside() {
    let prison = Prison::build();
    let before = prison.outside();
    let root = Root::open(&prison.jail()).unwrap();
    let mut random = Random(7);
    for round in 0..2_000 {
        let path = random.path(prison.directory.path());
        let _ = root.place(&path, Parents::MustExist).and_then(|place| place.remove());
        assert_eq!(prison.outside(), before, "round {round}: {path:?}");
    }
    assert!(prison.jail().is_dir(), "the root itself went");
}

#[test]
fn a_path_is_taken_as_the_container_sees_it() {
    let prison = Prison::build();
    let root = Root::open(&prison.jail()).unwrap();
    let jail = prison.jail();
    let check = |path: &Path, expected: &str| {
        assert_eq!(sort(&root.check(path)), expected, "{path:?}");
    };
    check(Path::new("a/new/x"), "done");
    check(&jail.join("a/x"), "done");
    check(&jail.join("inside/x"), "done");
    check(&jail.join("a/../../jail/x"), "done");
    check(&jail.join("../outside/x"), "leaves");
    check(&prison.directory.path().join("jailbreak/x"), "leaves");
    check(Path::new("../x"), "leaves");
    check(Path::new("/etc/passwd"), "leaves");
    check(Path::new("out/x"), "leaves by symlink");
    check(Path::new("out/new/deeper/x"), "leaves by symlink");
    check(Path::new("absolute/x"), "leaves by symlink");
    check(Path::new("dangling/x"), "leaves by symlink");
    check(Path::new("out"), "done");
    check(Path::new(""), "no name");
    assert_eq!(sort(&root.check_read(Path::new("out"))), "leaves by symlink");
}

#[test]
fn a_link_may_not_point_out_of_the_root() {
    let prison = Prison::build();
    let root = Root::open(&prison.jail()).unwrap();
    let check = |name: &str, target: &str, expected: &str| {
        assert_eq!(sort(&root.check_target(Path::new(name), Path::new(target))), expected, "{name} -> {target}");
    };
    check("a/current", "releases/7", "done");
    check("a/current", "../b", "done");
    check("a/current", "../../b", "leaves");
    check("current", "..", "leaves");
    check("current", "/etc", "leaves");
    check("current", prison.jail().join("a").to_str().unwrap(), "done");
    assert!(Root::whole().check_target(Path::new("x"), Path::new("/etc")).is_ok());
}
