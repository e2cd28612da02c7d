//! What was typed. A step's flags are also the fields of that step in a plan.

use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use kit_fs::Owner;

use crate::step::Pair;

/// Writes given content into a shared volume, once, then exits.
///
/// One step on the command line, or many from a plan file. Steps run in order and stop at the first error.
#[derive(Debug, Parser)]
#[command(subcommand_value_name = "STEP", subcommand_help_heading = "Steps")]
pub struct Args {
    /// Runs the steps of this YAML file; all of it is checked before the first one runs
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Refuses every path, read or written, that leaves this directory; relative paths start here
    #[arg(long, value_name = "DIR", global = true)]
    pub root: Option<PathBuf>,
    /// Does nothing when this file exists, and makes it when all steps are done
    #[arg(long, value_name = "FILE", global = true)]
    pub once_marker: Option<PathBuf>,
    /// Writes what was done to stdout
    #[arg(long, value_name = "FORMAT", global = true)]
    pub summary: Option<Summary>,
    #[command(subcommand)]
    #[expect(missing_docs, reason = "each step says it itself")]
    pub step: Option<StepArgs>,
}

/// How `--summary` looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Summary {
    /// One JSON object on one line
    Json,
}

#[derive(Debug, Subcommand)]
pub enum StepArgs {
    Write(WriteArgs),
    Date(DateArgs),
    Copy(CopyArgs),
    Mkdir(MkdirArgs),
    Touch(TouchArgs),
    Link(LinkArgs),
    Remove(RemoveArgs),
    Template(TemplateArgs),
}

/// What every step that makes something understands.
#[derive(Debug, Clone, clap::Args)]
pub struct MakeFlags {
    /// Permissions of directories made on the way, octal
    #[arg(long, value_name = "MODE", default_value = "0755", value_parser = mode)]
    pub dir_mode: u32,
    /// Owner of what is made, by number; to another user only as root with CAP_CHOWN
    #[arg(long, value_name = "UID[:GID]", value_parser = owner)]
    pub owner: Option<Owner>,
    /// Leaves what is there alone, whatever it holds
    #[arg(long)]
    pub if_missing: bool,
    /// Leaves equal content, mode and owner alone; always so, accepted for clarity
    #[arg(long)]
    pub if_changed: bool,
    /// Fails when the parent directory is missing instead of making it
    #[arg(long)]
    pub no_mkdir: bool,
}

/// Writes a text to a file
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("content").required(true))]
pub struct WriteArgs {
    /// The file
    pub dest: PathBuf,
    /// The text; no newline is added
    #[arg(long, group = "content", allow_hyphen_values = true)]
    pub text: Option<String>,
    /// The environment variable that holds the text
    #[arg(long, value_name = "NAME", group = "content")]
    pub from_env: Option<String>,
    /// Takes the text from standard input
    #[arg(long, group = "content")]
    pub stdin: bool,
    /// Ends the file with a newline if the text has none
    #[arg(long)]
    pub append_newline: bool,
    /// Permissions, octal [default: those of the existing file, else 0644]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub mode: Option<u32>,
    #[command(flatten)]
    pub make: MakeFlags,
}

/// Writes the current date and a newline to a file
#[derive(Debug, clap::Args)]
pub struct DateArgs {
    /// The file
    pub dest: PathBuf,
    /// How it looks, as for strftime and date(1)
    #[arg(long, default_value = crate::date::DEFAULT_FORMAT, allow_hyphen_values = true)]
    pub format: String,
    /// In UTC, whatever TZ says
    #[arg(long, conflicts_with = "tz")]
    pub utc: bool,
    /// Time zone: Europe/Berlin, or a POSIX TZ string such as CET-1CEST,M3.5.0,M10.5.0/3 [default: the variable TZ, else UTC]
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    pub tz: Option<String>,
    /// Permissions, octal [default: those of the existing file, else 0644]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub mode: Option<u32>,
    #[command(flatten)]
    pub make: MakeFlags,
}

/// Copies a file, or with --recursive what a directory holds
#[derive(Debug, clap::Args)]
pub struct CopyArgs {
    /// The file or directory to copy
    pub src: PathBuf,
    /// The file, or the directory that then holds what SRC holds; whatever else it holds stays
    pub dest: PathBuf,
    /// Copies directories; kubelet's own entries (..data, ..2026_01_01_...) are passed over
    #[arg(long)]
    pub recursive: bool,
    /// Copies what symlinks that lead out of SRC point to, instead of refusing them
    #[arg(long)]
    pub follow: bool,
    /// Passes over what matches: *, ? and ** as in .gitignore; without a slash, names at any depth (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Permissions of files, octal [default: those of the source]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub mode: Option<u32>,
    #[command(flatten)]
    pub make: MakeFlags,
}

/// Makes a directory and its parents
#[derive(Debug, clap::Args)]
pub struct MkdirArgs {
    /// The directory
    pub dir: PathBuf,
    /// Its permissions, octal [default: those it has, else --dir-mode]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub mode: Option<u32>,
    #[command(flatten)]
    pub make: MakeFlags,
}

/// Makes an empty file, or sets the time of an existing one to now
#[derive(Debug, clap::Args)]
pub struct TouchArgs {
    /// The file
    pub file: PathBuf,
    /// Permissions, octal [default: those of the existing file, else 0644]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub mode: Option<u32>,
    #[command(flatten)]
    pub make: MakeFlags,
}

/// Makes a symlink at NAME that points to TARGET, replacing a file or another symlink
#[derive(Debug, clap::Args)]
pub struct LinkArgs {
    /// What it points to, as it is written into the link
    pub target: PathBuf,
    /// Where the link is
    pub name: PathBuf,
    #[command(flatten)]
    pub make: MakeFlags,
}

/// Removes a file, a symlink, or a directory with all that it holds; nothing there is fine
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// What to remove
    pub path: PathBuf,
}

/// Fills templates from the environment and from data files
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(false).args(["templates", "src"]))]
pub struct TemplateArgs {
    /// Template and result; two directories fill all templates of the first
    #[arg(value_name = "SRC:DEST", value_parser = Pair::parse)]
    pub templates: Vec<Pair>,
    /// The template, where a name holds a colon and in plans
    #[arg(long, requires = "dest")]
    pub src: Option<PathBuf>,
    /// Its result
    #[arg(long, requires = "src")]
    pub dest: Option<PathBuf>,
    /// The template language [default: jinja for *.j2, else envsubst]
    #[arg(long)]
    pub engine: Option<Engine>,
    /// Data under a name: .json, .yaml, .toml, .env, lines of KEY=VALUE, or a directory of values (repeatable)
    #[arg(long, value_name = "NAME=FILE", value_parser = data)]
    pub data: Vec<(String, PathBuf)>,
    /// Only these variables are replaced, all else stays as it is (envsubst; separated by commas, repeatable)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub vars: Vec<String>,
    /// Other delimiters than {{ and }} (dockerize)
    #[arg(long, value_name = "LEFT:RIGHT", value_parser = delims, allow_hyphen_values = true)]
    pub delims: Option<(String, String)>,
    /// Cut from the names of results when a directory is filled, e.g. .tmpl
    #[arg(long, value_name = "EXTENSION")]
    pub strip_ext: Option<String>,
    /// Replaces unset variables by nothing instead of failing
    #[arg(long)]
    pub lenient: bool,
    /// Permissions, octal [default: those of the existing file, else 0644]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub mode: Option<u32>,
    #[command(flatten)]
    pub make: MakeFlags,
}

/// A template language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// $NAME and ${NAME:-default}
    Envsubst,
    /// {{ env.NAME }}
    Jinja,
    /// {{ .Env.NAME }}
    Dockerize,
}

/// `0644`, `644`, `2775`: octal digits up to 7777.
fn mode(text: &str) -> Result<u32, String> {
    let wrong = || format!("\"{text}\" is no octal mode; write it like 0644 or 2775");
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return Err(wrong());
    }
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(wrong)
}

/// `33`, `33:33`. Names are not understood: images without `/etc/passwd` know none.
fn owner(text: &str) -> Result<Owner, String> {
    let number = |part: &str| {
        // chown(2) takes the largest number for "leave it".
        let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse().ok()).flatten().filter(|id| *id != u32::MAX)
    };
    let wrong = || format!("\"{text}\" is no owner; write numbers, like 33 or 33:33");
    match text.split_once(':') {
        None => Ok(Owner { uid: number(text).ok_or_else(wrong)?, gid: None }),
        Some((uid, gid)) => {
            Ok(Owner { uid: number(uid).ok_or_else(wrong)?, gid: Some(number(gid).ok_or_else(wrong)?) })
        }
    }
}

fn data(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if crate::template::is_name(name.as_bytes()) && !file.is_empty() => {
            Ok((name.to_owned(), file.into()))
        }
        _ => Err(format!("\"{text}\" is not NAME=FILE with a name of letters, digits and _")),
    }
}

fn delims(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(':') => {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => Err(format!("\"{text}\" is not LEFT:RIGHT; write it like '<%:%>'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iw07_modes_are_octal_with_or_without_a_leading_zero() {
        let check = |text: &str, expected: Option<u32>| assert_eq!(mode(text).ok(), expected, "{text}");
        check("0444", Some(0o444));
        check("640", Some(0o640));
        check("2775", Some(0o2775));
        check("02775", Some(0o2775));
        check("0", Some(0));
        for wrong in ["999", "", "0o644", "10000", "-1", "u+x", "+644", "000644"] {
            check(wrong, None);
        }
        assert_eq!(mode("999").unwrap_err(), "\"999\" is no octal mode; write it like 0644 or 2775");
    }

    #[test]
    fn owners_are_numbers() {
        let check = |text: &str, expected: Option<Owner>| assert_eq!(owner(text).ok(), expected, "{text}");
        check("33", Some(Owner { uid: 33, gid: None }));
        check("0:33", Some(Owner { uid: 0, gid: Some(33) }));
        for wrong in ["", ":33", "33:", "www-data", "+3", "33:33:33", "4294967295", "4294967296"] {
            check(wrong, None);
        }
    }

    #[test]
    fn the_command_line_definition_holds_together() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }
}
