//! One step on the command line.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;

use kit_test::Process;
use tempfile::tempdir;

use crate::support::{PATIENCE, command, fails, identity, is_root, mode, names, run, skipped, succeeds, text};

#[test]
fn iw01_literal_text_is_written_exactly() {
    let dir = tempdir().unwrap();
    let page = dir.path().join("contents/index.html");
    succeeds(&["write", text(&page), "--text", "hello"]);
    assert_eq!(fs::read_to_string(&page).unwrap(), "hello");
    succeeds(&["write", text(&page), "--text", "hello", "--append-newline"]);
    assert_eq!(fs::read_to_string(&page).unwrap(), "hello\n");
    succeeds(&["write", text(&page), "--text", "-n\n", "--append-newline"]);
    assert_eq!(fs::read_to_string(&page).unwrap(), "-n\n");
}

#[test]
fn iw01_the_text_may_come_from_a_variable_or_from_standard_input() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("f");
    let exit = Process::spawn(command(&["write", text(&file), "--from-env", "PAGE"]).env("PAGE", "one\ntwo"));
    assert_eq!(exit.wait_within(PATIENCE).code, Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo");
    let mut fed = Process::spawn_fed(&mut command(&["write", text(&file), "--stdin"]));
    std::io::Write::write_all(fed.stdin(), b"\xff\x00piped").unwrap();
    fed.close_stdin();
    assert_eq!(fed.wait_within(PATIENCE).code, Some(0));
    assert_eq!(fs::read(&file).unwrap(), b"\xff\x00piped");
    let expected = format!(
        "error: write {}: variable is not set: NO_SUCH\nhint: set them in the container's env or envFrom, \
         give a default such as ${{NAME:-x}}, or pass --lenient\n",
        file.display()
    );
    fails(&["write", text(&file), "--from-env", "NO_SUCH"], 2, &expected);
}

#[test]
fn iw02_running_twice_changes_nothing() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("source"), "content").unwrap();
    let steps: [Vec<String>; 4] = [
        vec!["write".into(), text(&path("w")).into(), "--text".into(), "x".into(), "--if-changed".into()],
        vec!["copy".into(), text(&path("source")).into(), text(&path("c")).into()],
        vec!["mkdir".into(), text(&path("d/e")).into(), "--mode".into(), "0750".into()],
        vec!["link".into(), "d/e".into(), text(&path("l")).into()],
    ];
    for step in &steps {
        succeeds(&step.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let made = ["w", "c", "d/e", "l"];
    let before: Vec<_> = made.iter().map(|name| identity(&path(name))).collect();
    fs::set_permissions(path("w"), fs::Permissions::from_mode(0o444)).unwrap();
    for step in &steps {
        succeeds(&step.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_eq!(made.iter().map(|name| identity(&path(name))).collect::<Vec<_>>(), before);
    succeeds(&["write", text(&path("w")), "--text", "new"]);
    assert_eq!((fs::read_to_string(path("w")).unwrap().as_str(), mode(&path("w"))), ("new", 0o444));
}

#[test]
fn iw02_if_missing_keeps_whatever_is_there() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("f");
    succeeds(&["write", text(&file), "--text", "first", "--if-missing"]);
    succeeds(&["write", text(&file), "--text", "second", "--if-missing"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "first");
    let link = dir.path().join("dangling");
    symlink("nowhere", &link).unwrap();
    succeeds(&["date", text(&link), "--if-missing"]);
    assert_eq!(fs::read_link(&link).unwrap().to_str(), Some("nowhere"));
}

#[test]
fn iw03_a_directory_at_the_target_is_named_and_stays() {
    let dir = tempdir().unwrap();
    let target = dir.path().join("html");
    fs::create_dir(&target).unwrap();
    let expected = format!(
        "error: write {0}: cannot write {0}: Is a directory (os error 21)\n\
         hint: name the file in the directory, e.g. /html/index.html\n",
        target.display()
    );
    fails(&["write", text(&target), "--text", "x"], 1, &expected);
    assert_eq!(names(dir.path()), ["html"]);
    assert_eq!(names(&target), Vec::<String>::new());
}

#[test]
fn iw03_what_is_no_file_is_named_and_stays() {
    let dir = tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let name = text(&fifo);
    let hint = "hint: name a regular file: targets are replaced, never written through\n";
    let expected = |verb: &str, action: &str| {
        format!("error: {verb} {name}: cannot {action} {name}: a device, FIFO or socket stands there\n{hint}")
    };
    fails(&["write", name, "--text", "x"], 1, &expected("write", "write"));
    fails(&["date", name], 1, &expected("date", "write"));
    fails(&["link", "elsewhere", name], 1, &expected("link", "make the symlink"));
    assert_eq!(names(dir.path()), ["fifo"], "nothing else was made");
    use std::os::unix::fs::FileTypeExt;
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
}

#[test]
fn iw04_missing_parents_are_made_unless_forbidden() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("a/b/f");
    let exit = run(&["write", text(&file), "--text", "x", "--no-mkdir"]);
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.ends_with("hint: leave out --no-mkdir to have the directories made\n"), "{}", exit.stderr);
    assert_eq!(names(dir.path()), Vec::<String>::new());
    succeeds(&["write", text(&file), "--text", "x"]);
    assert_eq!(mode(&dir.path().join("a")), 0o755);
    succeeds(&["touch", text(&dir.path().join("p/q/f")), "--dir-mode", "0700"]);
    assert_eq!(mode(&dir.path().join("p")), 0o700);
}

#[test]
fn iw05_the_date_is_todays_in_the_zone_that_was_asked_for() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("index.html");
    let seconds = |line: &str| line.trim_end().parse::<u64>().unwrap();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    succeeds(&["date", text(&file), "--format", "%s"]);
    let written = seconds(&fs::read_to_string(&file).unwrap());
    assert!((before..=now()).contains(&written), "{written}");
    let zone = |arguments: &[&str], tz: Option<&str>, expected: &str| {
        let mut command = command(&["date", text(&file), "--format", "%Z %z"]);
        if let Some(tz) = tz {
            command.env("TZ", tz);
        }
        let exit = Process::spawn(command.args(arguments)).wait_within(PATIENCE);
        assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""), "{arguments:?} {tz:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), expected, "{arguments:?} {tz:?}");
    };
    zone(&[], None, "UTC +0000\n");
    zone(&[], Some("Asia/Tokyo"), "JST +0900\n");
    zone(&["--utc"], Some("Asia/Tokyo"), "UTC +0000\n");
    zone(&["--tz", "Asia/Kathmandu"], Some("Asia/Tokyo"), "+0545 +0545\n");
    zone(&["--tz", "XYZ-3:30"], None, "XYZ +0330\n");
    succeeds(&["date", text(&file)]);
    let default = fs::read_to_string(&file).unwrap();
    let words: Vec<_> = default.split_whitespace().collect();
    assert!(words.len() == 6 && words[4] == "UTC" && default.ends_with('\n'), "{default:?}");
    let exit = run(&["date", text(&file), "--tz", "Mars/Olympus"]);
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.starts_with("error: --tz: \"Mars/Olympus\" is no time zone; write a name"), "{}", exit.stderr);
    assert_eq!(run(&["date", text(&file), "--format", "%!"]).code, Some(2));
}

#[test]
fn iw05_the_host_name_is_copied() {
    let dir = tempdir().unwrap();
    let page = dir.path().join("html/index.html");
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    succeeds(&["copy", "/proc/sys/kernel/hostname", text(&page)]);
    assert_eq!(fs::read_to_string(&page).unwrap(), hostname);
    if std::path::Path::new("/etc/hostname").is_file() {
        succeeds(&["copy", "/etc/hostname", text(&page)]);
        assert_eq!(fs::read(&page).unwrap(), fs::read("/etc/hostname").unwrap());
    }
}

#[test]
fn iw06_a_directory_gets_its_owner() {
    let dir = tempdir().unwrap();
    let html = dir.path().join("mnt/html");
    let own = format!("{}:{}", rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    succeeds(&["mkdir", text(&html), "--owner", &own]);
    if !is_root() {
        return skipped("owners of others need root");
    }
    succeeds(&["mkdir", text(&html), "--owner", "33:33"]);
    let about = fs::metadata(&html).unwrap();
    assert_eq!((about.uid(), about.gid()), (33, 33));
    succeeds(&["write", text(&html.join("new/f")), "--text", "x", "--owner", "33"]);
    assert_eq!(fs::metadata(html.join("new")).unwrap().uid(), 33);
    assert_eq!(fs::metadata(html.join("new/f")).unwrap().uid(), 33);
}

#[test]
fn iw06_without_the_right_the_hint_names_both_ways() {
    if !is_root() {
        return skipped("becoming another user needs root");
    }
    let dir = tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let html = dir.path().join("html");
    let mut command = command(&["mkdir", text(&html), "--owner", "33:33"]);
    let exit = Process::spawn(command.uid(1234).gid(1234)).wait_within(PATIENCE);
    let expected = format!(
        "error: mkdir {0}: cannot change the owner of {0}: Operation not permitted (os error 1)\n\
         hint: only root with the capability CHOWN may give files away: run the pod as that user (runAsUser: 33, \
         runAsGroup: 33, fsGroup: 33) and drop --owner, or run this container as root with capabilities add: [CHOWN], \
         which the restricted profile forbids\n",
        html.display()
    );
    assert_eq!((exit.stderr.as_str(), exit.code), (expected.as_str(), Some(1)));
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn iw06_a_user_may_give_a_file_to_itself_and_its_groups() {
    if !is_root() {
        return skipped("becoming another user needs root");
    }
    let dir = tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let file = dir.path().join("f");
    let own = ["write", text(&file), "--text", "x", "--owner", "1234:1234"];
    assert_eq!(Process::spawn(command(&own).uid(1234).gid(1234)).wait_within(PATIENCE).stderr, "");
    // setpriv gives what std cannot: a supplementary group, as fsGroup does.
    let binary = env!("CARGO_BIN_EXE_init-writer");
    let mut setpriv = std::process::Command::new("setpriv");
    setpriv.args(["--reuid=1234", "--regid=1234", "--groups=77", binary]);
    setpriv.args(["write", text(&file), "--text", "y", "--owner", "1234:77", "--log-level", "error"]);
    assert_eq!(Process::spawn(setpriv.env_clear().env("PATH", "/usr/bin:/bin")).wait_within(PATIENCE).stderr, "");
    let about = fs::metadata(&file).unwrap();
    assert_eq!((about.uid(), about.gid()), (1234, 77));
}

#[test]
fn iw06_root_with_chown_alone_is_enough() {
    if !is_root() {
        return skipped("dropping capabilities needs root");
    }
    let dir = tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let with_chown = |arguments: &[&str]| {
        let mut setpriv = std::process::Command::new("setpriv");
        setpriv.args(["--bounding-set=-all,+chown", "--inh-caps=-all,+chown", env!("CARGO_BIN_EXE_init-writer")]);
        setpriv.args(arguments).args(["--owner", "33:33", "--log-level", "error"]);
        let exit = Process::spawn(setpriv.env_clear().env("PATH", "/usr/bin:/bin")).wait_within(PATIENCE);
        assert_eq!((exit.stderr.as_str(), exit.code), ("", Some(0)), "{arguments:?}");
    };
    let (deep, file) = (dir.path().join("a/b"), dir.path().join("c/d/f"));
    for _ in 0..2 {
        with_chown(&["mkdir", text(&deep), "--mode", "0700"]);
        with_chown(&["write", text(&file), "--text", "x"]);
    }
    for made in ["a", "a/b", "c", "c/d", "c/d/f"] {
        let about = fs::metadata(dir.path().join(made)).unwrap();
        assert_eq!((about.uid(), about.gid()), (33, 33), "{made}");
    }
    assert_eq!((mode(&deep), mode(&dir.path().join("a"))), (0o700, 0o755));
}

#[test]
fn iw07_modes_are_exact_whatever_the_umask() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (name, wanted, expected) in [("a", "0444", 0o444), ("b", "0640", 0o640), ("c", "666", 0o666)] {
        succeeds(&["write", text(&path(name)), "--text", "x", "--mode", wanted]);
        assert_eq!(mode(&path(name)), expected);
    }
    succeeds(&["mkdir", text(&path("d")), "--mode", "2775"]);
    assert_eq!(mode(&path("d")), 0o2775);
    succeeds(&["write", text(&path("a")), "--text", "x", "--mode", "600"]);
    assert_eq!(mode(&path("a")), 0o600);
    let exit = run(&["mkdir", text(&path("e")), "--mode", "999"]);
    assert_eq!(exit.code, Some(2));
    let expected =
        "error: invalid value '999' for '--mode <MODE>': \"999\" is no octal mode; write it like 0644 or 2775\n";
    assert!(exit.stderr.starts_with(expected), "{}", exit.stderr);
    assert!(!path("e").exists());
}

#[test]
fn links_are_replaced_and_removal_is_repeatable() {
    let dir = tempdir().unwrap();
    let current = dir.path().join("current");
    succeeds(&["link", "releases/6", text(&current)]);
    succeeds(&["link", "releases/7", text(&current)]);
    assert_eq!(fs::read_link(&current).unwrap().to_str(), Some("releases/7"));
    let cache = dir.path().join("cache");
    fs::create_dir_all(cache.join("a/b")).unwrap();
    fs::write(cache.join("a/b/c"), "x").unwrap();
    for _ in 0..2 {
        succeeds(&["remove", text(&cache)]);
        assert!(!cache.exists());
    }
    succeeds(&["remove", text(&dir.path().join("no/such/place"))]);
    assert_eq!(names(dir.path()), ["current"]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let check = |arguments: &[&str], start: &str| {
        let exit = run(arguments);
        assert_eq!(exit.code, Some(2), "{arguments:?}");
        assert!(exit.stderr.starts_with(start), "{arguments:?}: {}", exit.stderr);
    };
    check(&[], "error: nothing to do: neither a step nor --plan was given\n");
    check(&["--plan", "x", "touch", "/tmp/y"], "error: --plan and a step on the command line exclude each other\n");
    check(&["fetch", "http://x", "/y"], "error: unrecognized subcommand 'fetch'");
    check(&["write", "/x"], "error: the following required arguments were not provided");
    check(
        &["write", "/x", "--text", "a", "--stdin"],
        "error: the argument '--text <TEXT>' cannot be used with '--stdin'",
    );
    check(&["mkdir", "/x", "--owner", "www-data"], "error: invalid value 'www-data' for '--owner <UID[:GID]>'");
    check(&["template", "/a"], "error: invalid value '/a' for '[SRC:DEST]...': \"/a\" is not SRC:DEST");
    check(
        &["--root", "/no/such/root", "touch", "x"],
        "error: --root cannot be used: cannot open the root /no/such/root: No such",
    );
    let unknown = Process::spawn(command(&["touch", "/x"]).env("INIT_WRITER_MOED", "1")).wait_within(PATIENCE);
    assert_eq!(
        unknown.stderr,
        "error: unknown environment variable INIT_WRITER_MOED\nhint: did you mean INIT_WRITER_MODE?\n"
    );
}
