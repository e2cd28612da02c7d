//! ghostunnel's integration tests, unchanged, with tls-ambassador in ghostunnel's place.
//!
//! They start `ghostunnel.cover` beside their folder; older ones start `ghostunnel.test` and hand the command line over in a
//! variable, as JSON. Here both are tls-ambassador under the name of ghostunnel, whose ways it then has.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::{Bench, Ran, Row, known, program};
use crate::workspace;

/// Tells a checkout.
pub const MARK: &str = "tests/common.py";

/// The exit code of a test that cannot run here.
const SKIPPED: i32 = 2;
/// The longest of them waits 30 s for a thing.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs every `tests/test-*.py` of `checkout`.
///
/// # Errors
/// When the stage for them cannot be set.
pub fn run(bench: &Bench<'_>, checkout: &Path) -> anyhow::Result<Ran> {
    let root = tempfile::tempdir()?;
    // Python looks for them where its files really are, so a link would not do.
    workspace::run(Command::new("cp").arg("-r").arg(checkout.join("tests")).arg(root.path()))?;
    fs::create_dir(root.path().join("coverage"))?;
    symlink(bench.binaries.join("tls-ambassador"), root.path().join("ghostunnel.cover"))?;
    stand_in(bench, &root.path().join("ghostunnel.test"))?;
    let tests = names(&checkout.join("tests"))?;
    let mut rows: Vec<Row> = Vec::new();
    for name in tests.into_iter().filter(|name| bench.wants(name)) {
        let mut command = Command::new(bench.python);
        command.arg(root.path().join("tests").join(format!("{name}.py"))).current_dir(root.path().join("tests"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let end = program::run(&mut command, LIMIT)?;
        if end.status.and_then(|status| status.code()) == Some(SKIPPED) {
            println!("skipped  {name}: {}", program::last(&end.said, 1));
            continue;
        }
        let failure = end.failure().map(|how| format!("{how}\n{}", program::last(&end.said, 12)));
        let row = known::judge(name, failure, &bench.known.ghostunnel);
        println!("{row}");
        rows.push(row);
    }
    Ok(Ran::Rows(rows))
}

/// Names of the tests, without `.py`.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let tests =
        names.filter_map(|name| Some(name.strip_suffix(".py")?.to_owned()).filter(|name| name.starts_with("test-")));
    let mut tests: Vec<String> = tests.collect();
    tests.sort();
    Ok(tests)
}

/// What the older tests start.
fn stand_in(bench: &Bench<'_>, path: &Path) -> anyhow::Result<()> {
    let ours = bench.binaries.join("tls-ambassador");
    let ours = ours.to_str().with_context(|| format!("{} is not UTF-8", ours.display()))?;
    let python = which(bench.python);
    let text = format!(
        "#!{python}\nimport json, os\narguments = json.loads(os.environ.pop('GHOSTUNNEL_INTEGRATION_ARGS'))\n\
         os.execv({}, ['ghostunnel'] + arguments)\n",
        serde_json::to_string(ours)?
    );
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// What a first line needs: a path, or a search by `env`.
fn which(python: &Path) -> String {
    if python.is_absolute() { python.display().to_string() } else { format!("/usr/bin/env {}", python.display()) }
}
