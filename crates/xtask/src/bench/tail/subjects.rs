//! The programs that are measured, and how each is told to follow a file from its start.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::bench::results::Program;
use crate::workspace;

/// log-tailer's name in the table.
pub const OURS: &str = "log-tailer";
/// With read and write instead of splice.
pub const OURS_COPYING: &str = "log-tailer --copy";
/// Debian's tail.
pub const GNU: &str = "GNU tail";
/// Debian's busybox-static, which is built with glibc; Alpine's is built with musl and slower.
pub const BUSYBOX: &str = "busybox";
/// The tail of the uutils project.
pub const UUTILS: &str = "uutils";

/// One program.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name in the table.
    pub name: &'static str,
    /// Its file.
    pub program: PathBuf,
    /// What stands before the file's name: the options of the container it replaces.
    pub arguments: Vec<&'static str>,
    /// What it says of itself.
    pub version: String,
}

impl Subject {
    /// The command that follows `file` from its first line, by name.
    #[must_use]
    pub fn follow(&self, file: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(file);
        command
    }

    /// Whether this is log-tailer.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.name == OURS
    }
}

/// log-tailer first, then every peer that is installed.
///
/// # Errors
/// When log-tailer cannot be built, or GNU tail or busybox is not installed.
pub fn find(binary: Option<&Path>) -> anyhow::Result<Vec<Subject>> {
    let ours = super::super::ours("log-tailer", binary)?;
    let mut subjects = vec![subject(OURS, ours, &["-n+1", "-F"], &["--version"])?];
    for (name, program, arguments, version) in [
        (GNU, "tail", &["-n+1", "-F"][..], &["--version"][..]),
        (BUSYBOX, "busybox", &["tail", "-n+1", "-F"], &["--help"]),
        (UUTILS, "uu_tail", &["-n+1", "-F"], &["--version"]),
    ] {
        match in_path(program) {
            Some(program) => subjects.push(subject(name, program, arguments, version)?),
            None if name == UUTILS => (),
            None => bail!("{program} is not installed: apt-get install coreutils busybox-static"),
        }
    }
    Ok(subjects)
}

/// One note per program that could have been measured.
#[must_use]
pub fn missing(subjects: &[Subject]) -> Vec<String> {
    if subjects.iter().any(|subject| subject.name == UUTILS) {
        return Vec::new();
    }
    vec!["uutils' tail was not measured: no `uu_tail` in PATH.".to_owned()]
}

fn subject(
    name: &'static str,
    program: PathBuf,
    arguments: &[&'static str],
    version: &[&str],
) -> anyhow::Result<Subject> {
    let version = self::program(name, &program, version)?.version;
    Ok(Subject { name, program, arguments: arguments.to_vec(), version })
}

/// A program with what it says of itself when it is started with the arguments `version`.
///
/// # Errors
/// When it cannot be started.
pub fn program(name: &str, file: &Path, version: &[&str]) -> anyhow::Result<Program> {
    let output = Command::new(file).args(version).output();
    let output = output.with_context(|| format!("cannot start {}", file.display()))?;
    // Busybox prints its help, and with it its version, to stderr.
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let version = text.lines().next().unwrap_or("unknown").trim().to_owned();
    let bytes = std::fs::metadata(file).map(|about| about.len()).unwrap_or_default();
    Ok(Program { name: name.to_owned(), version, bytes })
}

/// The file that the shell would start.
#[must_use]
pub fn in_path(program: &str) -> Option<PathBuf> {
    let folders = workspace::variable("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}
