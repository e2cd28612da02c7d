//! The arrows between crates and the files that every crate has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Holds the lines of a document between `<!-- begin: NAME -->` and `<!-- end: NAME -->`. A block that differs is written anew and
/// the test fails once, so that the author only has to look at the change.
pub(crate) fn block_holds(path: &str, name: &str, expected: &str) {
    let path = root().join(path);
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- begin: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{} lacks {begin}", path.display()));
    let (found, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{} lacks {end}", path.display()));
    if found != expected {
        std::fs::write(&path, format!("{before}{begin}{expected}{end}{after}")).unwrap();
        panic!("{} was out of date and has been written anew: look at it and commit it", path.display());
    }
}

/// The packages of the workspace, as `cargo metadata` describes them.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(package: &Value) -> String {
    package["name"].as_str().unwrap().to_owned()
}

/// Every member of the workspace with its description.
pub(crate) fn descriptions() -> BTreeMap<String, String> {
    let description = |package: &Value| package["description"].as_str().unwrap_or_default().to_owned();
    packages().iter().map(|package| (name(package), description(package))).collect()
}

/// Every member of the workspace with its kit and tool dependencies outside `dev-dependencies`.
pub(crate) fn arrows() -> BTreeMap<String, Vec<String>> {
    let packages = packages();
    let members: Vec<String> = packages.iter().map(name).collect();
    let ours = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        let shipped = all.filter(|dependency| dependency["kind"] != "dev").map(name);
        shipped.filter(|dependency| members.contains(dependency)).collect()
    };
    packages.iter().map(|package| (name(package), ours(package))).collect()
}

pub(crate) fn is_room(name: &str) -> bool {
    name.starts_with("kit-")
}

#[test]
fn rooms_see_only_the_rooms_they_may() {
    let allowed = |room: &str| -> &[&str] {
        match room {
            "kit-run" | "kit-admin" | "kit-lines" => &["kit-units"],
            "kit-tls" => &["kit-watch"],
            "kit-follow" => &["kit-fs", "kit-units"],
            _ => &[],
        }
    };
    for (room, seen) in arrows().iter().filter(|(name, _)| is_room(name)) {
        for other in seen {
            assert!(allowed(room).contains(&other.as_str()), "{room} must not depend on {other}");
        }
    }
}

#[test]
fn tools_depend_on_rooms_only() {
    for (tool, seen) in arrows().iter().filter(|(name, _)| !is_room(name)) {
        for other in seen {
            // xtask is never shipped either: it measures with what the tests use.
            let allowed = is_room(other) && (other != "kit-test" || tool == "xtask");
            assert!(allowed, "{tool} must not depend on {other}");
        }
    }
}
