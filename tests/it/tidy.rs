//! What every file must look like, so that no reader has to ask.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::image::rows;

use crate::engines::succeed;
use crate::workspace::root;

/// Files of the repository, with their texts. Where git is, those that git knows or would take; else all but the output.
fn texts() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    walk(&root(), &mut paths);
    assert!(paths.len() > 50, "only {} files found", paths.len());
    let text = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).ok()?;
        Some((path.strip_prefix(root()).unwrap().display().to_string(), text))
    };
    paths.into_iter().filter_map(text).collect()
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        let output = name == "target" || name == "corpus" || name == ".git";
        if entry.file_type().unwrap().is_dir() {
            if !output {
                walk(&path, paths);
            }
        } else if !output && name != "Cargo.lock" {
            paths.push(path);
        }
    }
}

fn rust() -> impl Iterator<Item = (String, String)> {
    texts().into_iter().filter(|(path, _)| path.ends_with(".rs"))
}

#[test]
fn no_file_holds_a_half_written_thought() {
    // Put together, so that this file does not hold them.
    let marks = [["TO", "DO"], ["XX", "X "], ["todo", "!("], ["unimplemented", "!("], ["dbg", "!("], ["…", "?"]];
    let marks = marks.map(|parts| parts.concat());
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let found = marks.iter().find(|mark| line.contains(mark.as_str()));
            assert!(found.is_none(), "{path}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn every_module_says_what_it_is() {
    for (path, text) in rust() {
        assert!(text.starts_with("//! "), "{path} must begin with its module doc");
    }
}

#[test]
fn no_file_has_grown_beyond_what_one_reads_at_once() {
    for (path, text) in rust() {
        assert!(text.lines().count() <= 700, "{path} has {} lines: split it by its nouns", text.lines().count());
    }
}

/// A tool's main.rs has nothing to test: a sentence, and one call that hands over to kit-run.
#[test]
fn every_tools_main_is_a_title_page() {
    for row in rows::read(&root()).unwrap() {
        let tool = row.tool;
        let path = root().join("crates").join(&tool).join("src/main.rs");
        let text = std::fs::read_to_string(&path).unwrap();
        let (docs, code): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("//!"));
        let code: Vec<&str> = code.into_iter().filter(|line| !line.is_empty()).collect();
        let see = format!("`{tool} --help`");
        assert!(docs.iter().any(|line| line.contains(&see)), "{tool}: the doc of main.rs names {see}");
        assert_eq!(code.first(), Some(&"fn main() -> std::process::ExitCode {"), "{tool}");
        assert!(code.len() <= 8, "{tool}: main.rs has {} lines of code", code.len());
        let call = code.get(1).copied().unwrap_or_default().trim();
        assert!(call.starts_with("kit_run::main(") || call.starts_with("kit_run::main_blocking("), "{tool}: {call}");
        assert_eq!(text.matches("fn ").count(), 1, "{tool}: main.rs has one function");
    }
}

/// The variables that a help text names, those of subcommands included.
fn variables(tool: &Path, subcommands: &[&str]) -> BTreeSet<String> {
    let help = succeed(Command::new(tool).args(subcommands).arg("--help"));
    let named = help.split("[env: ").skip(1).filter_map(|rest| rest.split([']', '=']).next());
    let mut found: BTreeSet<String> = named.map(|name| name.trim().to_owned()).collect();
    let listed = help.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    for name in names.filter(|name| !name.is_empty() && *name != "help") {
        found.extend(variables(tool, &[subcommands, &[name]].concat()));
    }
    found
}

#[test]
fn no_variable_has_a_name_that_kubernetes_injects_for_services() {
    for row in rows::read(&root()).unwrap() {
        let prefix = format!("{}_", row.tool.replace('-', "_").to_ascii_uppercase());
        let names = variables(&kit_test::tool(&row.tool), &[]);
        assert!(!names.is_empty(), "{} --help names no variable", row.tool);
        for name in names {
            assert!(name.starts_with(&prefix), "{}: {name}", row.tool);
            assert!(!name.ends_with("_PORT") && !name.contains("_SERVICE_"), "{}: {name}", row.tool);
        }
    }
}
