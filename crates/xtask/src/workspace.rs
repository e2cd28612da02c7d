//! Where the repository is, what it is called, and how its commands are run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail};

/// The repository's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, or `target` under the root.
pub fn target_dir() -> PathBuf {
    variable("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |given| root().join(given))
}

/// The version that all images share.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that is checked out, shortened to 12 digits, with `-dirty` when tracked files differ from it; `unknown` outside git.
/// `PODKIT_REVISION` names it where there is no git, as in an image build.
pub fn revision() -> String {
    if let Some(given) = variable("PODKIT_REVISION") {
        return given.to_string_lossy().into_owned();
    }
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]).unwrap_or_default();
    if changes.is_empty() { commit } else { format!("{commit}-dirty") }
}

/// The names of the crates under `crates/`, in order.
///
/// # Errors
/// When the folder cannot be read.
pub fn crates() -> anyhow::Result<Vec<String>> {
    let folder = root().join("crates");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let crates = entries.flatten().filter(|entry| entry.path().join("Cargo.toml").is_file());
    let mut names: Vec<String> = crates.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// A variable of the environment that is not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "kit-run owns the environment of what ships; this is a developer's command"
)]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The cargo that runs this command.
pub fn cargo() -> Command {
    let mut command = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Compiles `tools` for this machine and returns the folder of their binaries.
///
/// # Errors
/// When one does not compile.
pub fn build_tools(tools: &[&str]) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--message-format", "json-render-diagnostics"]);
    build.args(tools.iter().flat_map(|tool| ["--package", tool])).stderr(Stdio::inherit());
    let messages = capture(&mut build)?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    });
    let tool = executables.next_back().context("cargo build made no binary")?;
    tool.parent().map(Path::to_owned).context("a binary without a folder")
}

/// Runs a command whose output goes to the terminal.
///
/// # Errors
/// When it cannot be started or does not end with 0; the message holds the whole command line.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("cannot start {line}"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// Runs a command and returns what it wrote to stdout.
///
/// # Errors
/// When it cannot be started or does not end with 0; the message holds the command line and its stderr.
pub fn capture(command: &mut Command) -> anyhow::Result<String> {
    let output = output(command)?;
    stdout(command, &output)
}

/// Runs a command to its end, with whatever code.
///
/// # Errors
/// When it cannot be started.
pub fn output(command: &mut Command) -> anyhow::Result<Output> {
    command.output().with_context(|| format!("cannot start {}", line(command)))
}

/// What a command wrote to stdout.
///
/// # Errors
/// When it did not end with 0; the message holds the command line and its stderr.
pub fn stdout(command: &Command, output: &Output) -> anyhow::Result<String> {
    if !output.status.success() {
        bail!("{}: {}: {}", line(command), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
