//! Scripts of tlsfuzzer, unchanged, against tls-ambassador in http mode with an RSA certificate, as most of them expect.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::door::{App, Door, certificate};
use super::known::Script;
use super::{Bench, Outcome, Ran, Row, program};

/// Tells a checkout.
pub const MARK: &str = "tlsfuzzer/runner.py";

/// A conversation that gets no answer costs 5 s, and a script may hold hundreds.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs the scripts that are listed.
///
/// # Errors
/// When the door or its certificate cannot be had.
pub fn run(bench: &Bench<'_>, checkout: &Path) -> anyhow::Result<Ran> {
    let mut probe = Command::new(bench.python);
    probe.args(["-c", "import tlslite"]).env("PYTHONPATH", checkout);
    if !probe.output().is_ok_and(|output| output.status.success()) {
        let python = bench.python.display();
        return Ok(Ran::Skipped(format!(
            "{python} has no tlslite: pip install --pre tlslite-ng, or name another --python"
        )));
    }
    let folder = tempfile::tempdir()?;
    certificate(folder.path(), "rsa:2048")?;
    let app = App::start(bench)?;
    let door = Door::start(bench, &app, folder.path(), &["--disable-authentication"])?;
    let mut rows = Vec::new();
    for script in bench.known.tlsfuzzer.iter().filter(|script| bench.wants(&script.script)) {
        let path = checkout.join(format!("scripts/test-{}.py", script.script));
        if !path.is_file() {
            println!("left out {}: this checkout has no such script", script.script);
            continue;
        }
        let mut command = Command::new(bench.python);
        command.arg(&path).args(["-h", "127.0.0.1", "-p", &door.address.port().to_string()]).args(&script.arguments);
        command.env("PYTHONPATH", checkout).env("PYTHONDONTWRITEBYTECODE", "1");
        let end = program::run(&mut command, LIMIT)?;
        let row = judge(script, &end.said, end.failure());
        println!("{row}");
        rows.push(row);
    }
    Ok(Ran::Rows(rows))
}

fn judge(script: &Script, said: &str, failure: Option<String>) -> Row {
    let name = script.script.clone();
    let Some((passed, failed)) = counts(said) else {
        let failure = failure.unwrap_or_else(|| "it ended without counts".to_owned());
        let outcome = Outcome::Failed(format!("{failure}\n{}", program::last(said, 8)));
        return Row { name, count: (0, 1), outcome };
    };
    let outcome = match (failed, failure) {
        (0, None) if script.fails > 0 => Outcome::Stale(script.why.clone()),
        (0, None) => Outcome::Passed,
        // Counts that are good and a code that is not: something else is wrong.
        (0, Some(failure)) => Outcome::Failed(format!("{failure}\n{}", program::last(said, 8))),
        (1.., _) if failed <= script.fails => Outcome::Known(script.why.clone()),
        (1.., _) => Outcome::Failed(format!("{failed} conversations, {} known\n{}", script.fails, names(said))),
    };
    Row { name, count: (passed, passed + failed), outcome }
}

/// Conversations that passed and failed, as either generation of scripts tells them at its end.
fn counts(said: &str) -> Option<(usize, usize)> {
    let number = |label: &str| {
        let values = said.lines().rev().filter_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
        values.filter_map(|value| value.trim().parse::<usize>().ok()).next()
    };
    // What a script itself expects to fail is as it should be.
    let passed = number("PASS").or_else(|| number("successful"))? + number("XFAIL").unwrap_or(0);
    let failed = number("FAIL").or_else(|| number("failed"))?;
    Some((passed, failed + number("XPASS").unwrap_or(0)))
}

/// The conversations that failed: they follow the counts.
fn names(said: &str) -> String {
    let after = ["\nFAILED:", "\nfailed:"].iter().find_map(|label| said.rfind(label).map(|at| &said[at + 1..]));
    program::last(after.unwrap_or(said), 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(fails: usize) -> Script {
        Script { script: "x".to_owned(), arguments: Vec::new(), fails, why: "because".to_owned() }
    }

    #[test]
    fn both_ways_of_telling_the_counts_are_read() {
        let newer = "====================\nTOTAL: 12\nSKIP: 0\nPASS: 10\nXFAIL: 0\nFAIL: 2\nXPASS: 0\n====================\nFAILED:\n\t'a'\n\t'b'\n";
        assert_eq!(counts(newer), Some((10, 2)));
        assert_eq!(names(newer), "FAILED:\n\t'a'\n\t'b'");
        let older = "Test end\nsuccessful: 3\nfailed: 1\n  'a'\n";
        assert_eq!(counts(older), Some((3, 1)));
        assert_eq!(names(older), "failed: 1\n  'a'");
        assert_eq!(counts("TOTAL: 3\nPASS: 0\nXFAIL: 3\nFAIL: 0\nXPASS: 0\n"), Some((3, 0)));
        assert_eq!(counts("PASS: 2\nXFAIL: 0\nFAIL: 0\nXPASS: 1\n"), Some((2, 1)));
        assert_eq!(counts("Traceback: no module\n"), None);
    }

    #[test]
    fn more_failures_than_are_known_fail_and_so_does_a_script_that_tells_no_counts() {
        let said = |passed: usize, failed: usize| format!("PASS: {passed}\nFAIL: {failed}\n");
        let outcome = |fails: usize, passed: usize, failed: usize| {
            let code = (failed > 0).then(|| "exit status: 1".to_owned());
            judge(&script(fails), &said(passed, failed), code).outcome
        };
        assert_eq!(outcome(0, 3, 0), Outcome::Passed);
        assert_eq!(outcome(2, 3, 2), Outcome::Known("because".to_owned()));
        assert_eq!(outcome(2, 3, 0), Outcome::Stale("because".to_owned()));
        assert!(matches!(outcome(1, 3, 2), Outcome::Failed(_)));
        assert!(matches!(judge(&script(9), "", None).outcome, Outcome::Failed(_)));
        assert!(matches!(judge(&script(0), &said(3, 0), Some("killed".to_owned())).outcome, Outcome::Failed(_)));
    }
}
