//! A new tool compiles, fits the images, and has one test that fails until somebody describes it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::image::{rows, stages};
use xtask::new::{Args, Kind, generate};
use xtask::workspace;

/// A workspace with the rooms that every tool needs, at the same place in each run: Cargo then compiles only what changed.
fn workspace_with_rooms(name: &str) -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _old = fs::remove_dir_all(&copy);
    let root = workspace::root();
    for file in ["Cargo.lock", ".clippy.toml", ".rustfmt.toml", "docker/images.toml", "docker/Dockerfile"] {
        fs::create_dir_all(copy.join(file).parent().unwrap()).unwrap();
        fs::copy(root.join(file), copy.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = "members = [\"crates/*\", \"tests\"]";
    assert!(manifest.contains(members), "the members of the workspace changed");
    fs::write(copy.join("Cargo.toml"), manifest.replace(members, "members = [\"crates/*\"]")).unwrap();
    for room in ["kit-admin", "kit-run", "kit-test", "kit-units"] {
        copy_tree(&root.join("crates").join(room), &copy.join("crates").join(room));
    }
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn args(tool: &str, kind: Kind, sentence: &str) -> Args {
    Args { tool: tool.into(), kind, sentence: sentence.into() }
}

#[test]
fn what_is_written_compiles_without_a_warning_and_is_formatted() {
    let root = workspace_with_rooms("new-compiles");
    generate(&root, &args("line-counter", Kind::Sidecar, "Counts the lines of a log.")).unwrap();
    generate(&root, &args("place-maker", Kind::Init, "makes places")).unwrap();
    let clippy = Command::new(env!("CARGO"))
        .args(["clippy", "--quiet", "--offline", "--all-targets", "-p", "line-counter", "-p", "place-maker"])
        .args(["--", "-D", "warnings"])
        .current_dir(&root)
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap())
        .output()
        .unwrap();
    assert!(clippy.status.success(), "{}", String::from_utf8_lossy(&clippy.stderr));
    let rustfmt = Command::new(env!("CARGO"))
        .args(["fmt", "--check", "-p", "line-counter", "-p", "place-maker"])
        .current_dir(&root)
        .output()
        .unwrap();
    assert!(rustfmt.status.success(), "{}", String::from_utf8_lossy(&rustfmt.stdout));
}

#[test]
fn the_image_has_its_row_and_stage_and_the_example_names_it() {
    let root = workspace_with_rooms("new-image");
    let written = generate(&root, &args("line-counter", Kind::Adapter, "Counts the lines of a log.")).unwrap();
    assert!(written.iter().all(|path| root.join(path).is_file()), "{written:?}");
    let (rows, stages) = (rows::read(&root).unwrap(), stages::read(&root).unwrap());
    let (row, stage) = (rows.last().unwrap(), stages.last().unwrap());
    assert_eq!((row.tool.as_str(), row.summary.as_str()), ("line-counter", "counts the lines of a log"));
    assert_eq!((row.kind, stage.name.as_str()), (rows::Kind::Adapter, "line-counter"));
    assert_eq!(rows.len(), stages.len());
    let example = fs::read_to_string(root.join("k8s-examples/line-counter/line-counter.yaml")).unwrap();
    assert!(example.starts_with("# Counts the lines of a log.\n"), "{example}");
    assert!(example.contains(&format!("image: podkit/line-counter:{}\n", workspace::VERSION)), "{example}");
    assert!(example.contains("LINE_COUNTER_ADMIN_LISTEN"), "{example}");
    let test = fs::read_to_string(root.join("crates/line-counter/tests/it/main.rs")).unwrap();
    assert!(test.contains("fn describe_me()") && test.contains("panic!(\"describe line-counter"), "{test}");
    let left: Vec<_> =
        written.iter().filter(|path| fs::read_to_string(root.join(path)).unwrap().contains("{tool}")).collect();
    assert!(left.is_empty(), "places that were not filled in: {left:?}");
}

#[test]
fn what_exists_is_not_touched() {
    let root = workspace_with_rooms("new-exists");
    fs::create_dir(root.join("crates/taken")).unwrap();
    let before = fs::read(root.join("docker/images.toml")).unwrap();
    let refused = generate(&root, &args("taken", Kind::Init, "Takes.")).unwrap_err();
    assert_eq!(refused.to_string(), "crates/taken exists already");
    assert!(generate(&root, &args("kit-more", Kind::Init, "Takes.")).is_err());
    assert_eq!(fs::read(root.join("docker/images.toml")).unwrap(), before);
}
