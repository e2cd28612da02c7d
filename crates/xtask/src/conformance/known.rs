//! `tests/conformance/known.toml`: which tests of a suite run, and which of them are known to fail and why.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use super::{Outcome, Row};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Tests of ghostunnel that fail.
    #[serde(default)]
    pub ghostunnel: Vec<Failing>,
    /// Scripts of tlsfuzzer that run.
    #[serde(default)]
    pub tlsfuzzer: Vec<Script>,
    /// Vectors of Wycheproof that come out otherwise.
    #[serde(default)]
    pub wycheproof: Vec<Failing>,
}

/// Tests that fail.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failing {
    /// Their name; `*` stands for any text.
    pub test: String,
    /// Why.
    pub why: String,
}

/// A script that runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Its name without `test-` and `.py`.
    pub script: String,
    /// What it is called with beside the address.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Conversations that fail, at most: some scripts draw theirs at random.
    #[serde(default)]
    pub fails: usize,
    /// Why they do.
    #[serde(default)]
    pub why: String,
}

impl Known {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or is not of this form.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}

/// A test with one outcome: `failure` is what it said when it failed.
pub fn judge(name: String, failure: Option<String>, known: &[Failing]) -> Row {
    let entry = known.iter().find(|entry| fits(&entry.test, &name));
    let count = (usize::from(failure.is_none()), 1);
    let outcome = match (failure, entry) {
        (None, None) => Outcome::Passed,
        (None, Some(entry)) => Outcome::Stale(entry.why.clone()),
        (Some(_), Some(entry)) => Outcome::Known(entry.why.clone()),
        (Some(said), None) => Outcome::Failed(said),
    };
    Row { name, count, outcome }
}

/// Whether `name` is what `pattern` stands for.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let mut tails = name.char_indices().map(|(at, _)| &name[at..]).chain([""]);
            tails.any(|tail| fits(rest, tail))
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn failing(test: &str) -> Failing {
        Failing { test: test.to_owned(), why: "because".to_owned() }
    }

    #[test]
    fn a_failure_counts_unless_it_is_known_and_a_known_one_that_passes_is_told() {
        let known = [failing("test-a"), failing("test-b*"), failing("test-*-d*-e")];
        let outcome =
            |name: &str, failure: Option<&str>| judge(name.to_owned(), failure.map(str::to_owned), &known).outcome;
        assert_eq!(outcome("test-c", None), Outcome::Passed);
        assert_eq!(outcome("test-c", Some("no")), Outcome::Failed("no".to_owned()));
        assert_eq!(outcome("test-a", Some("no")), Outcome::Known("because".to_owned()));
        assert_eq!(outcome("test-a", None), Outcome::Stale("because".to_owned()));
        assert_eq!(outcome("test-b-long", Some("no")), Outcome::Known("because".to_owned()));
        assert_eq!(outcome("test-a-long", Some("no")), Outcome::Failed("no".to_owned()));
        assert_eq!(outcome("test-x-dx-e", Some("no")), Outcome::Known("because".to_owned()));
        assert_eq!(outcome("test--d-e-e", Some("no")), Outcome::Known("because".to_owned()));
        assert_eq!(outcome("test-x-dx-ex", Some("no")), Outcome::Failed("no".to_owned()));
    }

    #[test]
    fn the_list_of_the_repository_is_of_this_form_and_gives_a_reason_for_each_failure() {
        let known = Known::read(&crate::workspace::root().join("tests/conformance/known.toml")).unwrap();
        for entry in known.ghostunnel.iter().chain(&known.wycheproof) {
            assert!(!entry.why.is_empty(), "{}", entry.test);
        }
        for script in &known.tlsfuzzer {
            assert_eq!(script.fails > 0, !script.why.is_empty(), "{}", script.script);
        }
    }
}
