//! `cargo xtask conformance --suite DIR`: suites that other people wrote, run against tls-ambassador as it ships.
//!
//! | suite | DIR holds | needs | what runs |
//! |---|---|---|---|
//! | ghostunnel | `tests/common.py` | python3, openssl | each `tests/test-*.py`, unchanged, with our program in ghostunnel's place |
//! | tlsfuzzer | `tlsfuzzer/runner.py`, `scripts/` | python3 with tlslite-ng, openssl | the scripts that `known.toml` lists |
//! | Wycheproof | `testvectors_v1/json_web_signature_test.json` | curl, openssl | every signed token of the file |
//!
//! DIR is a checkout of one of them or a folder that holds several; a suite that is not there is skipped with the reason. What
//! is known to fail stands in `tests/conformance/known.toml` with why. Anything else that fails ends the command with 1.

pub mod door;
pub mod ghostunnel;
pub mod known;
pub mod program;
pub mod tlsfuzzer;
pub mod wycheproof;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::workspace;
use known::Known;

/// Which suites, and what they are run with.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A checkout of ghostunnel, tlsfuzzer or Wycheproof, or a folder of several; may be given again
    #[arg(long = "suite", value_name = "DIR", required = true)]
    suites: Vec<PathBuf>,
    /// Test the tls-ambassador (and demo-app) of this folder instead of building them
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// The Python for the suites that are written in it
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// What one test of a suite came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All that it checks holds.
    Passed,
    /// It fails as `known.toml` says, for this reason.
    Known(String),
    /// It fails; what it said.
    Failed(String),
    /// `known.toml` says that it fails, and it does not.
    Stale(String),
}

/// One test of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is called.
    pub name: String,
    /// Checks of it that hold, and all of them.
    pub count: (usize, usize),
    /// What became of it.
    pub outcome: Outcome,
}

/// What the suites are given.
pub struct Bench<'a> {
    /// Folder of `tls-ambassador` and `demo-app`.
    pub binaries: &'a Path,
    /// The Python to run.
    pub python: &'a Path,
    /// Text that the names of tests must contain.
    pub only: &'a str,
    /// What is known to fail.
    pub known: &'a Known,
}

impl Bench<'_> {
    /// Whether the test of this name was asked for.
    pub fn wants(&self, name: &str) -> bool {
        name.contains(self.only)
    }
}

/// What became of a whole suite.
#[derive(Debug)]
pub enum Ran {
    /// Its tests.
    Rows(Vec<Row>),
    /// Why it did not run.
    Skipped(String),
}

/// Runs a suite that stands in a folder.
type Run = fn(&Bench<'_>, &Path) -> anyhow::Result<Ran>;

/// What is tested, and the app behind it.
const TOOLS: [&str; 2] = ["tls-ambassador", "demo-app"];

/// Name, the file that tells its checkout, and how it runs.
const SUITES: [(&str, &str, Run); 3] = [
    ("ghostunnel", ghostunnel::MARK, ghostunnel::run),
    ("tlsfuzzer", tlsfuzzer::MARK, tlsfuzzer::run),
    ("Wycheproof", wycheproof::MARK, wycheproof::run),
];

/// Runs every suite that is found and prints a line for each of its tests.
///
/// # Errors
/// When a folder does not exist or holds no suite, a build fails, or a test fails that is not known to.
pub fn run(args: &Args) -> anyhow::Result<()> {
    for folder in &args.suites {
        if !folder.is_dir() {
            bail!("--suite {}: there is no such folder", folder.display());
        }
    }
    let known = Known::read(&workspace::root().join("tests/conformance/known.toml"))?;
    let found: Vec<Option<PathBuf>> = SUITES.iter().map(|(_, mark, _)| find(&args.suites, mark)).collect();
    if found.iter().all(Option::is_none) {
        let marks: Vec<String> = SUITES.iter().map(|(name, mark, _)| format!("{name} ({mark})")).collect();
        bail!("--suite: no checkout is there of {}", marks.join(", "));
    }
    let binaries = match &args.binaries {
        Some(given) => std::path::absolute(given)?,
        None => workspace::build_tools(&TOOLS)?,
    };
    for tool in TOOLS {
        let program = binaries.join(tool);
        anyhow::ensure!(program.is_file(), "--binaries: there is no {}", program.display());
    }
    let bench = Bench { binaries: &binaries, python: &args.python, only: &args.only, known: &known };
    let mut totals = Vec::new();
    for ((name, mark, run), folder) in SUITES.iter().zip(found) {
        println!("\n=== {name}");
        let ran = match folder {
            Some(folder) => run(&bench, &folder).with_context(|| (*name).to_owned())?,
            None => Ran::Skipped(format!("no --suite holds its {mark}")),
        };
        totals.push(Total::new(name, ran));
    }
    println!();
    for total in &totals {
        println!("{total}");
    }
    let failed: usize = totals.iter().map(|total| total.failed).sum();
    if failed > 0 {
        bail!("{failed} tests fail that are not known to; each is told above");
    }
    Ok(())
}

/// The checkout that has `mark`, in one of `folders` or right below it.
pub fn find(folders: &[PathBuf], mark: &str) -> Option<PathBuf> {
    folders.iter().find_map(|folder| {
        let below = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut below: Vec<PathBuf> = below.collect();
        below.sort();
        std::iter::once(folder.clone()).chain(below).find(|place| place.join(mark).is_file())
    })
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, all) = self.count;
        let (word, note) = match &self.outcome {
            Outcome::Passed => ("ok", ""),
            Outcome::Known(why) => ("known", why.as_str()),
            Outcome::Failed(said) => ("FAILED", said.as_str()),
            Outcome::Stale(_) => ("stale", "it passes: take it out of tests/conformance/known.toml"),
        };
        let note = note.trim().replace('\n', "\n         ");
        write!(out, "{word:8} {} {passed}/{all}{}{note}", self.name, if note.is_empty() { "" } else { ": " })
    }
}

/// One suite's line at the end.
struct Total {
    name: &'static str,
    skipped: Option<String>,
    tests: usize,
    checks: (usize, usize),
    known: usize,
    stale: usize,
    failed: usize,
}

impl Total {
    fn new(name: &'static str, ran: Ran) -> Self {
        let (rows, skipped) = match ran {
            Ran::Rows(rows) => (rows, None),
            Ran::Skipped(why) => (Vec::new(), Some(why)),
        };
        let count = |wanted: fn(&Outcome) -> bool| rows.iter().filter(|row| wanted(&row.outcome)).count();
        Self {
            name,
            skipped,
            tests: rows.len(),
            checks: rows.iter().fold((0, 0), |sum, row| (sum.0 + row.count.0, sum.1 + row.count.1)),
            known: count(|outcome| matches!(outcome, Outcome::Known(_))),
            stale: count(|outcome| matches!(outcome, Outcome::Stale(_))),
            failed: count(|outcome| matches!(outcome, Outcome::Failed(_))),
        }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.skipped {
            return write!(out, "{:11} skipped: {why}", self.name);
        }
        let passed = self.tests - self.known - self.failed;
        let (holds, checks) = self.checks;
        let Self { name, tests, known, stale, failed, .. } = self;
        write!(out, "{name:11} {passed} of {tests} tests passed ({holds} of {checks} checks), {known} known to fail")?;
        if *stale > 0 {
            write!(out, ", {stale} known to fail that pass")?;
        }
        write!(out, ", {failed} failed")
    }
}
