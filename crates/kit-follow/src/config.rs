//! What to follow and how, once every flag has been understood.

use std::path::PathBuf;
use std::time::Duration;

use crate::feed::Feed;
use crate::glob::Glob;
use crate::lines::LineEnd;
use crate::siblings::Siblings;
use crate::start::Start;

/// One thing to follow.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A file that may not exist yet.
    File(PathBuf),
    /// All files that a pattern describes, now and later.
    Pattern(Glob),
}

/// What is followed of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// The name, through rotation.
    Name,
    /// The file that had the name at the start, wherever it goes.
    Descriptor,
}

/// What to do when the state file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnStateError {
    /// Start over at the beginning of each file
    Beginning,
    /// Start at the end of each file
    End,
    /// Do not start
    Fail,
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Watch {
    /// By inotify, with a progress check; by polling too where inotify cannot see everything
    Auto,
    /// By inotify and the progress check only
    Inotify,
    /// By polling only
    Poll,
}

/// Which bytes end a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnds {
    /// The same in every file.
    Always(LineEnd),
    /// UTF-16 where the file begins with its byte order mark, newlines elsewhere.
    ByMark,
}

/// Everything [`crate::follow`] needs to know. Made by [`crate::FollowArgs::config`].
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) inputs: Vec<Input>,
    /// Standard input or a FIFO, followed instead of `inputs`.
    pub(crate) feed: Option<Feed>,
    pub(crate) follow: Follow,
    /// Missing and unreadable files are waited for.
    pub(crate) retry: bool,
    /// End as soon as everything there is was read, without waiting for more.
    pub(crate) exit_on_eof: bool,
    pub(crate) start: Start,
    pub(crate) state_file: Option<PathBuf>,
    pub(crate) on_state_error: OnStateError,
    pub(crate) watch: Watch,
    pub(crate) poll: Duration,
    /// Zero is off.
    pub(crate) progress_check: Duration,
    pub(crate) rotate_wait: Duration,
    pub(crate) rotate_linger: Duration,
    pub(crate) siblings: Siblings,
    pub(crate) olddir: Option<PathBuf>,
    pub(crate) recover: bool,
    /// Bytes of the head that tell a file again.
    pub(crate) head: usize,
    /// How long a last line without its end may wait; for ever by default.
    pub(crate) partial: Option<Duration>,
    pub(crate) line_ends: LineEnds,
    pub(crate) grace: Duration,
    pub(crate) drain_quiet: Duration,
    pub(crate) drain_min: Duration,
    pub(crate) until_file: Option<PathBuf>,
    pub(crate) exit_idle: Option<Duration>,
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) processes: Vec<u32>,
}

impl Config {
    /// What each file's lines end with; newlines unless set.
    #[must_use]
    pub fn with_line_ends(mut self, line_ends: LineEnds) -> Self {
        self.line_ends = line_ends;
        self
    }
}
