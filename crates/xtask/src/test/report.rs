//! What the stages came to: their times, their tests, and the last line.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

/// How many tests there were. A stage without tests counts as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Tests that said `skipped: ...`; libtest itself counts them as passed.
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) const ONE: Self = Self { passed: 1, failed: 0, skipped: 0 };
    const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };
}

/// How a stage ended, other than by an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran; tests may have failed.
    Passed(Counts),
    /// It could not run, for a reason that is no fault.
    Skipped(String),
}

/// All stages so far. `{}` is the table, `{:#}` the last line.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    took: Duration,
    counts: Counts,
    remark: String,
}

impl Report {
    /// Runs one stage and remembers how it went.
    pub(crate) fn stage(&mut self, name: &'static str, run: impl FnOnce() -> anyhow::Result<Outcome>) {
        println!("\n=== {name}");
        let start = Instant::now();
        let (counts, remark) = match run() {
            Ok(Outcome::Passed(counts)) => (counts, String::new()),
            Ok(Outcome::Skipped(reason)) => {
                println!("skipped: {reason}");
                (Counts::SKIPPED, reason)
            }
            Err(error) => {
                println!("failed: {error:#}");
                (Counts::FAILED, format!("{error:#}"))
            }
        };
        self.rows.push(Row { name, took: start.elapsed(), counts, remark });
    }

    /// Tests and stages that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.rows.iter().map(|row| row.counts.failed).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |count: fn(&Counts) -> u64| self.rows.iter().map(|row| count(&row.counts)).sum::<u64>();
        if f.alternate() {
            let (passed, failed, skipped) = (sum(|c| c.passed), sum(|c| c.failed), sum(|c| c.skipped));
            return write!(f, "{passed} passed, {failed} failed, {skipped} skipped");
        }
        writeln!(f, "\n{:12} {:>8} {:>7} {:>7} {:>8}", "stage", "seconds", "passed", "failed", "skipped")?;
        for Row { name, took, counts, remark } in &self.rows {
            let Counts { passed, failed, skipped } = counts;
            let line = format!(
                "{name:12} {:>8.1} {passed:>7} {failed:>7} {skipped:>8}  {}",
                took.as_secs_f64(),
                first_line(remark)
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        let took: f64 = self.rows.iter().map(|row| row.took.as_secs_f64()).sum();
        writeln!(f, "{:12} {took:>8.1}\n", "all")
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(160).collect()
}

/// Runs `cargo test -- --show-output`, shows what matters of its output, and counts its tests.
///
/// Of tests that passed only their `skipped: ...` lines are shown. A run that fails without a failed test (a test binary
/// that does not compile or that dies) is an error.
pub(crate) fn count(command: &mut Command) -> anyhow::Result<Outcome> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let mut counter = Counter::default();
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).split(b'\n')) {
        let line = line.context("cannot read from cargo test")?;
        let line = String::from_utf8_lossy(&line);
        if counter.line(&line) {
            println!("{line}");
        }
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    if !status.success() && counter.counts.failed == 0 {
        anyhow::bail!("cargo test: {status}, without a failed test");
    }
    Ok(Outcome::Passed(counter.counts))
}

/// Reads the output of libtest line by line.
#[derive(Debug, Default)]
struct Counter {
    counts: Counts,
    /// Between `successes:` and the next summary, where the output of passed tests is.
    in_successes: bool,
    /// Tests of this test binary that said they skipped.
    said_skipped: u64,
}

impl Counter {
    /// Takes one line in and says whether it is worth showing.
    fn line(&mut self, line: &str) -> bool {
        if line == "successes:" {
            self.in_successes = true;
            return false;
        }
        if line == "failures:" {
            self.in_successes = false;
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.in_successes = false;
            let number = |what: &str| {
                let part = result.split(['.', ';']).find_map(|part| part.trim().strip_suffix(what));
                part.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0)
            };
            // libtest counts a test that said it skipped as passed.
            self.counts.passed += number(" passed").saturating_sub(std::mem::take(&mut self.said_skipped));
            self.counts.failed += number(" failed");
            self.counts.skipped += number(" ignored");
            return number(" passed") + number(" failed") > 0;
        }
        if line.starts_with("skipped: ") {
            self.said_skipped += 1;
            self.counts.skipped += 1;
            return true;
        }
        !self.in_successes && !line.is_empty() && line != "running 0 tests"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test a ... ok
test b ... ok
test c ... FAILED

successes:

---- b stdout ----
skipped: b: no Docker here
noise of a test that passed

successes:
    a
    b

failures:

---- c stdout ----
it broke

failures:
    c

test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.00s";

    #[test]
    fn a_test_that_says_it_skipped_is_not_counted_as_passed() {
        let mut counter = Counter::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| counter.line(line)).collect();
        assert_eq!(counter.counts, Counts { passed: 1, failed: 1, skipped: 5 });
        assert!(shown.contains(&"skipped: b: no Docker here") && shown.contains(&"it broke"), "{shown:?}");
        assert!(!shown.contains(&"noise of a test that passed"), "{shown:?}");
    }

    #[test]
    fn the_last_line_counts_stages_and_tests() {
        let mut report = Report::default();
        report.stage("fmt", || Ok(Outcome::Passed(Counts::ONE)));
        report.stage("tests", || Ok(Outcome::Passed(Counts { passed: 7, failed: 2, skipped: 1 })));
        report.stage("deny", || anyhow::bail!("not installed"));
        report.stage("engines", || Ok(Outcome::Skipped("no Docker".into())));
        assert_eq!(format!("{report:#}"), "8 passed, 3 failed, 2 skipped");
        assert_eq!(report.failed(), 3);
        assert!(report.to_string().contains("not installed"));
    }
}
