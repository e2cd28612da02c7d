//! What was typed.

use std::ffi::OsString;
use std::time::Duration;

use kit_admin::{AdminArgs, HealthcheckArgs};
use kit_follow::{FollowArgs, When};
use kit_lines::LineArgs;
use kit_run::{Error, Tool};

/// Follow log files through rotation and truncation, write every line to stdout once
///
/// GNU tail's -n -c -f -F -q -v -z -s, --pid, --retry and --follow work as they do there, so a sidecar's
/// args: ["-n+1", "-F", "/var/log/app.log"] need no change. Without them each file is read from its beginning.
#[derive(Debug, Clone, clap::Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Subcommand>,

    #[command(flatten)]
    pub(crate) follow: FollowArgs,

    #[command(flatten)]
    pub(crate) lines: LineArgs,

    /// Lines end with NUL, not newline
    #[arg(long, help_heading = "Output")]
    pub(crate) zero_terminated: bool,

    /// Say which file the next lines are from
    #[arg(long, value_name = "WHEN", default_value = "never", help_heading = "Output")]
    pub(crate) headers: When,

    /// Without a FILE read standard input, as GNU tail does
    #[arg(long, hide = true)]
    pub(crate) input_if_no_file: bool,

    /// Copy bytes instead of splicing pages of the file: for apps that rewrite their log in place
    #[arg(long, help_heading = "Output")]
    pub(crate) copy: bool,

    /// Ask for a larger pipe on stdout; the kernel allows up to /proc/sys/fs/pipe-max-size
    #[arg(long, value_name = "BYTES", value_parser = kit_units::size, help_heading = "Output")]
    pub(crate) stdout_pipe_size: Option<u64>,

    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// What else the binary does.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Ask a running log-tailer whether it is well, for exec probes
    Healthcheck(HealthcheckArgs),
}

impl Tool for Args {
    const NAME: &'static str = "log-tailer";
    const GRACE: Option<Duration> = Some(Duration::from_secs(25));
    const GRACE_ALIASES: &'static [&'static str] = &["drain-timeout"];

    fn compat(argv: Vec<OsString>) -> Result<Vec<OsString>, Error> {
        crate::compat::from_gnu(argv)
    }
}
