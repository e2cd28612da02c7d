//! The flags that every tool with lines has, and what they mean together.

use std::num::NonZeroU64;
use std::time::Duration;

use kit_units::{duration, size};
use regex::bytes::{Regex, RegexBuilder};

use crate::dress::{Dress, Template};
use crate::lines::{Joining, Lines};
use crate::rate::{Bucket, Rate, RatePolicy};
use crate::stats::LineStats;

/// What is done to lines. Flatten it into a tool's `Args`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Lines")]
pub struct LineArgs {
    /// Keep only lines that match; may be repeated, one match is enough
    #[arg(long, value_name = "REGEX")]
    pub include_lines: Vec<String>,

    /// Drop lines that match, also among the included; may be repeated
    #[arg(long, value_name = "REGEX")]
    pub exclude_lines: Vec<String>,

    /// Keep one line of every N, the first of each N
    #[arg(long, value_name = "N")]
    pub sample: Option<NonZeroU64>,

    /// Lines that match begin a record; those that follow are joined to it
    #[arg(long, value_name = "REGEX")]
    pub multiline_start: Option<String>,

    /// Let the last record go after that much silence
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub multiline_timeout: Duration,

    /// What stands between joined lines; \n and \t are understood; by default a newline in json and logfmt, else \n as it is written here
    #[arg(long, value_name = "TEXT")]
    pub multiline_join: Option<String>,

    /// The longest line, without its end; needs no memory, however large
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub max_line_bytes: Option<u64>,

    /// What happens to longer ones
    #[arg(long, value_name = "POLICY", default_value = "split", requires = "max_line_bytes")]
    pub long_lines: LongLines,

    /// At most that much a second, e.g. 1000/s (lines) or 1MiB/s (bytes)
    #[arg(long, value_name = "RATE")]
    pub rate_limit: Option<Rate>,

    /// What happens above the rate: wait, or drop lines
    #[arg(long, value_name = "POLICY", default_value = "block", requires = "rate_limit")]
    pub rate_policy: RatePolicy,

    /// What the lines are written in; without it bytes pass as they are
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<Encoding>,

    /// How lines come out
    #[arg(long, value_name = "FORMAT", default_value = "raw")]
    pub output: Format,

    /// Put this before each line: {file} {name} {offset} {time} {label.KEY}, {{ for a brace
    #[arg(long, value_name = "TEMPLATE")]
    pub prefix: Option<String>,

    /// A label for every line, in json, logfmt or the prefix; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
}

/// What happens to a line above `--max-line-bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LongLines {
    /// Nothing; it is only counted
    Pass,
    /// It becomes several lines, and nothing is lost
    Split,
    /// Its end is dropped
    Truncate,
    /// All of it is dropped
    Drop,
}

/// What lines are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    /// UTF-16, little endian
    #[value(name = "utf-16le")]
    Utf16Le,
    /// UTF-16, big endian
    #[value(name = "utf-16be")]
    Utf16Be,
    /// By the byte order mark at the file's beginning, which is dropped; bytes as they are where there is none
    Auto,
    /// ISO 8859-1
    #[value(name = "latin1")]
    Latin1,
}

/// How lines come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// As they are
    Raw,
    /// One JSON object a line: ts, file, offset, labels, log; log_base64 too where log is not UTF-8
    Json,
    /// key=value pairs: ts file offset labels log; bytes that are not UTF-8 are written \xHH
    Logfmt,
}

/// A flag whose value makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not a regular expression.
    #[error("invalid regular expression '{text}' for --{flag}: {problem}")]
    Regex {
        /// The flag without its dashes.
        flag: &'static str,
        /// As it was typed.
        text: String,
        /// What is wrong with it, on one line.
        problem: String,
    },
    /// Not a label.
    #[error("invalid label '{0}'")]
    Label(String),
    /// Labels that nothing shows.
    #[error("--label is shown by nothing")]
    LabelUnseen,
    /// Not a prefix.
    #[error("invalid --prefix: {0}")]
    Prefix(String),
    /// A limit that lets nothing through.
    #[error("--max-line-bytes 0 would leave nothing")]
    NoBytes,
}

impl LineError {
    /// The repair.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Regex { .. } => {
                "the syntax is that of Rust's regex crate: no look-around, no back references; classes are ASCII"
            }
            Self::Label(_) => "write KEY=VALUE, with letters, digits, _ . and - in the key",
            Self::LabelUnseen => "add --output json, --output logfmt, or {label.KEY} to --prefix",
            Self::Prefix(_) => "placeholders are {file} {name} {offset} {time} {label.KEY}; write {{ for a brace",
            Self::NoBytes => "write a size such as 16KiB",
        }
    }
}

impl LineArgs {
    /// Whether lines come out as they went in, so that nobody needs to look at them.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        let Self { include_lines, exclude_lines, sample, multiline_start, max_line_bytes, rate_limit, .. } = self;
        let chooses = !include_lines.is_empty() || !exclude_lines.is_empty() || sample.is_some();
        let dresses = self.output != Format::Raw || self.prefix.is_some() || self.encoding.is_some();
        let shapes = multiline_start.is_some() || max_line_bytes.is_some() || rate_limit.is_some();
        !chooses && !dresses && !shapes && self.label.is_empty()
    }

    /// Checks the flags together and makes what works on lines.
    ///
    /// # Errors
    /// The first flag that makes no sense.
    pub fn lines(self, stats: LineStats) -> Result<Lines, LineError> {
        let labels = self.label.iter().map(|text| label(text)).collect::<Result<Vec<_>, _>>()?;
        let prefix = self.prefix.as_deref().map(|text| Template::new(text, &labels)).transpose()?;
        let seen = self.output != Format::Raw || prefix.as_ref().is_some_and(Template::has_label);
        if !labels.is_empty() && !seen {
            return Err(LineError::LabelUnseen);
        }
        if self.max_line_bytes == Some(0) {
            return Err(LineError::NoBytes);
        }
        let joining = match &self.multiline_start {
            Some(text) => Some(Joining {
                start: regex("multiline-start", text)?,
                join: join(self.multiline_join.as_deref(), self.output),
                timeout: self.multiline_timeout,
            }),
            None => None,
        };
        let all = |flag, texts: &[String]| texts.iter().map(|text| regex(flag, text)).collect::<Result<Vec<_>, _>>();
        Ok(Lines {
            include: all("include-lines", &self.include_lines)?,
            exclude: all("exclude-lines", &self.exclude_lines)?,
            sample: self.sample,
            joining,
            limit: self.max_line_bytes.map(|bytes| (bytes, self.long_lines)),
            bucket: self.rate_limit.map(|rate| Bucket::new(rate, self.rate_policy)),
            encoding: self.encoding,
            dress: Dress::new(self.output, prefix, labels),
            stats,
            sampled: 0,
            long: None,
            scratch: Vec::new(),
            rewritten: Vec::new(),
        })
    }
}

fn regex(flag: &'static str, text: &str) -> Result<Regex, LineError> {
    // Logs are bytes: \d, \s and \w mean ASCII, `.` and \xff a byte, and no Unicode tables get into the image.
    RegexBuilder::new(text).unicode(false).build().map_err(|error| {
        // The crate draws the pattern with a caret below it; its last line says what is wrong.
        let problem = error.to_string();
        let problem = problem.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        LineError::Regex { flag, text: text.to_owned(), problem }
    })
}

fn label(text: &str) -> Result<(String, String), LineError> {
    let usable =
        |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    match text.split_once('=') {
        Some((key, value)) if usable(key) => Ok((key.to_owned(), value.to_owned())),
        _ => Err(LineError::Label(text.to_owned())),
    }
}

fn join(text: Option<&str>, format: Format) -> Vec<u8> {
    match (text, format) {
        (Some(text), _) => text.replace("\\n", "\n").replace("\\t", "\t").into_bytes(),
        (None, Format::Raw) => b"\\n".to_vec(),
        (None, Format::Json | Format::Logfmt) => b"\n".to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Args {
        #[command(flatten)]
        lines: LineArgs,
    }

    fn args(argv: &[&str]) -> LineArgs {
        Args::parse_from(std::iter::once("tool").chain(argv.iter().copied())).lines
    }

    fn refused(argv: &[&str]) -> String {
        match args(argv).lines(LineStats::default()) {
            Ok(_) => panic!("{argv:?} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn without_flags_nothing_changes() {
        assert!(args(&[]).changes_nothing());
        for flags in [&["--sample", "2"][..], &["--prefix", "x"], &["--output", "json"], &["--max-line-bytes", "9"]] {
            assert!(!args(flags).changes_nothing(), "{flags:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(
            refused(&["--include-lines", "a("]),
            "invalid regular expression 'a(' for --include-lines: unclosed group"
        );
        assert_eq!(refused(&["--label", "novalue", "--output", "json"]), "invalid label 'novalue'");
        assert_eq!(refused(&["--label", "a=b"]), "--label is shown by nothing");
        assert_eq!(refused(&["--prefix", "{nmae}"]), "invalid --prefix: unknown placeholder {nmae}");
        assert_eq!(refused(&["--prefix", "{label.x}"]), "invalid --prefix: there is no --label x=…");
        assert_eq!(refused(&["--prefix", "{file"]), "invalid --prefix: { without }");
        assert_eq!(refused(&["--max-line-bytes", "0"]), "--max-line-bytes 0 would leave nothing");
    }
}
