//! The flags that every follower has.

use std::path::PathBuf;
use std::time::Duration;

use kit_units::{duration, size};

use crate::config::{Config, Follow, Input, LineEnds, OnStateError, Watch};
use crate::feed::Feed;
use crate::glob::Glob;
use crate::lines::LineEnd;
use crate::siblings::Siblings;
use crate::start::Start;

/// What to follow and how. Flatten it into a tool's `Args`.
#[derive(Debug, Clone, clap::Args)]
pub struct FollowArgs {
    /// Files to follow; patterns like '/logs/**/*.log' or '/logs/{a,b}.log' find new files too; - is standard input
    #[arg(value_name = "FILE")]
    pub file: Vec<PathBuf>,

    /// Follow the name through rotation, or the open file wherever it goes
    #[arg(long, value_name = "HOW", default_value = "name", value_parser = ["name", "descriptor"], hide = true)]
    pub follow: String,

    /// Exit with code 1 when no file can be opened, instead of waiting for one
    #[arg(long, hide = true)]
    pub no_retry: bool,

    /// Where to start without a remembered place: beginning, end, lines=-10, lines=+5, bytes=-100 or bytes=+7
    #[arg(long, value_name = "PLACE", default_value = "beginning", help_heading = "Following")]
    pub start_at: Start,

    /// Remember what was handed over in this file, so that a restart or kill loses nothing
    #[arg(long, value_name = "PATH", help_heading = "Following")]
    pub state_file: Option<PathBuf>,

    /// What to do when the state file is damaged or of a later version
    #[arg(long, value_name = "WHAT", default_value = "beginning", help_heading = "Following")]
    pub on_state_error: OnStateError,

    /// How changes are noticed
    #[arg(long, value_name = "HOW", default_value = "auto", help_heading = "Following")]
    pub watch: Watch,

    /// Pause between looks where inotify does not work, e.g. 250ms
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = duration, help_heading = "Following")]
    pub poll: Duration,

    /// Look without an event that often, for writes that inotify does not see; 0s never
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration, help_heading = "Following")]
    pub progress_check: Duration,

    /// Close a rotated file when it was read to its end and then silent that long
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration, help_heading = "Following")]
    pub rotate_wait: Duration,

    /// Close a rotated file that long after its rotation even if it is still written, once all of it is read
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration, help_heading = "Following")]
    pub rotate_linger: Duration,

    /// Names beside FILE that hold its older lines, e.g. 'app.log.*'; none; by default NAME.*, NAME-* and dated names
    #[arg(long, value_name = "GLOB", help_heading = "Following")]
    pub siblings: Option<String>,

    /// Look for older generations in this directory too, as logrotate's olddir; relative to the log's directory
    #[arg(long, value_name = "DIR", help_heading = "Following")]
    pub olddir: Option<PathBuf>,

    /// After a truncation read what was not read yet from the copy that copytruncate made
    #[arg(long, value_name = "on|off", default_value = "on", value_parser = ["on", "off"], help_heading = "Following")]
    pub copytruncate_recover: String,

    /// Bytes of a file's beginning that tell it again after a restart
    #[arg(long, value_name = "BYTES", default_value = "1KiB", value_parser = size, help_heading = "Following")]
    pub fingerprint_size: u64,

    /// A last line without its newline: hold it, or flush=DURATION to let it go, as it is, after that much silence
    #[arg(long, value_name = "HOW", default_value = "hold", value_parser = partial, help_heading = "Following")]
    pub partial: Partial,

    /// When asked to stop, leave once nothing has arrived for that long
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration, help_heading = "Ending")]
    pub drain_quiet: Duration,

    /// When asked to stop, stay at least that long for the last lines of an app that stops at the same time
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration, help_heading = "Ending")]
    pub drain_min: Duration,

    /// Exit when this file exists and everything is read
    #[arg(long, value_name = "PATH", help_heading = "Ending")]
    pub until_file: Option<PathBuf>,

    /// Exit when everything is read
    #[arg(long, help_heading = "Ending")]
    pub exit_on_eof: bool,

    /// Exit when nothing has arrived for that long
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Ending")]
    pub exit_idle: Option<Duration>,

    /// Exit with code 124 when a file has not appeared after that long
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Ending")]
    pub wait_timeout: Option<Duration>,

    /// Exit when this process is gone and everything is read; may be repeated, then all must be gone
    #[arg(long, value_name = "PID", help_heading = "Ending")]
    pub pid: Vec<u32>,
}

/// What happens to a last line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial(Option<Duration>);

fn partial(text: &str) -> Result<Partial, String> {
    match text.strip_prefix("flush=") {
        Some(wait) => duration(wait).map(|wait| Partial(Some(wait))).map_err(|error| error.to_string()),
        None if text == "hold" => Ok(Partial(None)),
        None => Err(format!("\"{text}\" is neither hold nor flush=DURATION")),
    }
}

/// A flag whose value makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// Nothing to follow.
    #[error("no FILE to follow")]
    NoFile,
    /// A pattern cannot be read.
    #[error("invalid pattern '{pattern}': {problem}")]
    Pattern {
        /// As it was typed.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Standard input or a FIFO beside other files.
    #[error("{path} is no regular file and can only be followed alone")]
    NotAlone {
        /// As it is shown.
        path: String,
    },
    /// A place in something that cannot be read twice.
    #[error("--state-file cannot remember a place in {path}")]
    NoPlace {
        /// As it is shown.
        path: String,
    },
    /// A duration that would spin.
    #[error("--poll 0s would never pause")]
    Poll,
    /// A fingerprint that tells nothing, or takes too much memory.
    #[error("--fingerprint-size must lie between 16 and 64KiB")]
    Fingerprint,
}

impl ArgsError {
    /// The repair.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoFile => "name a file, for example: -n+1 -F /var/log/nginx/access.log",
            Self::Pattern { .. } => "close every [ and {, or name the file with a ? for the odd character",
            Self::NotAlone { .. } => "start one follower for it and another one for the files",
            Self::NoPlace { .. } => {
                "what a pipe has given is gone: leave --state-file out, or let the app write a file"
            }
            Self::Poll => "250ms is the default",
            Self::Fingerprint => "1KiB is the default",
        }
    }
}

impl FollowArgs {
    /// Whether lines of more than one file may come: headers then say whose they are.
    #[must_use]
    pub fn several(&self) -> bool {
        self.file.len() > 1 || self.file.iter().any(|file| Glob::is_pattern(file.as_os_str()))
    }

    /// What is true, from what was typed. `grace` bounds a drain.
    ///
    /// # Errors
    /// When a value makes no sense.
    pub fn config(self, grace: Duration) -> Result<Config, ArgsError> {
        let Self {
            file,
            follow,
            no_retry,
            start_at,
            state_file,
            on_state_error,
            watch,
            poll,
            progress_check,
            rotate_wait,
            rotate_linger,
            siblings,
            olddir,
            copytruncate_recover,
            fingerprint_size,
            partial,
            drain_quiet,
            drain_min,
            until_file,
            exit_on_eof,
            exit_idle,
            wait_timeout,
            pid,
        } = self;
        if file.is_empty() {
            return Err(ArgsError::NoFile);
        }
        if poll.is_zero() {
            return Err(ArgsError::Poll);
        }
        if !(16..=64 * 1024).contains(&fingerprint_size) {
            return Err(ArgsError::Fingerprint);
        }
        let glob = |text: &std::ffi::OsStr| {
            Glob::new(text)
                .map_err(|problem| ArgsError::Pattern { pattern: text.to_string_lossy().into_owned(), problem })
        };
        let feed = file.iter().find_map(|path| Feed::of(path));
        if let Some(feed) = &feed {
            let path = feed.shown().display().to_string();
            if file.len() > 1 {
                return Err(ArgsError::NotAlone { path });
            }
            if state_file.is_some() {
                return Err(ArgsError::NoPlace { path });
            }
        }
        let inputs = file.into_iter().map(|path| {
            if let Some(path) = Feed::input_file(&path) {
                return Ok(Input::File(path));
            }
            Ok(match path.as_os_str() {
                // A file that exists under that very name is no pattern.
                text if Glob::is_pattern(text) && !path.exists() => Input::Pattern(glob(text)?),
                _ => Input::File(path),
            })
        });
        Ok(Config {
            inputs: if feed.is_some() { Vec::new() } else { inputs.collect::<Result<_, _>>()? },
            feed,
            follow: if follow == "descriptor" { Follow::Descriptor } else { Follow::Name },
            retry: !no_retry,
            exit_on_eof,
            start: start_at,
            state_file,
            on_state_error,
            watch,
            poll,
            progress_check,
            rotate_wait,
            rotate_linger,
            siblings: match siblings.as_deref() {
                None => Siblings::Usual,
                Some("none") => Siblings::None,
                Some(text) => Siblings::Like(glob(text.as_ref())?),
            },
            olddir,
            recover: copytruncate_recover == "on",
            head: usize::try_from(fingerprint_size).unwrap_or(1024),
            partial: partial.0,
            line_ends: LineEnds::Always(LineEnd::Newline),
            // The process is ended soon after its grace; the summary must be out before.
            grace,
            drain_quiet,
            drain_min,
            until_file,
            exit_idle,
            wait_timeout,
            processes: pid,
        })
    }
}
