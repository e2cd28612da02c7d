//! The command line, as typed.

use clap::ValueEnum;

use crate::adapt::{OnInvalid, OnUnmatched};
use crate::format::write::Precision;
use crate::moment::Leap;
use crate::years::YearRule;
use crate::zone::Choice;

/// Rewrites the timestamp of each log line from one format to another, and nothing else
///
/// Follows FILE from its beginning through every rotation (-F, as with tail, changes nothing about that), or reads standard
/// input where none is given. Formats are made of strptime directives (%Y %y %m %d %e %j %b %B %a %A %H %I %k %l %p %M %S %f %3f
/// %.f %L %N %z %:z %Z %s %F %T %D %R) or are presets: rfc3339 rfc2822 clf syslog ctime log4j nginx-error go klog epoch
/// epoch-ms epoch-us epoch-ns tai64n and, for reading, auto.
#[derive(Debug, clap::Parser)]
#[command(name = "date-adapter", args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) adapt: AdaptArgs,
}

impl kit_run::Tool for Args {
    const NAME: &'static str = "date-adapter";
    const GRACE: Option<std::time::Duration> = Some(std::time::Duration::from_secs(25));
    const GRACE_ALIASES: &'static [&'static str] = &["drain-timeout"];

    fn compat(argv: Vec<std::ffi::OsString>) -> Result<Vec<std::ffi::OsString>, kit_run::Error> {
        Ok(crate::compat::from_tail(argv))
    }
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Asks a running date-adapter in the same pod whether it is well
    Healthcheck(kit_admin::HealthcheckArgs),
}

/// The flags of a run.
#[derive(Debug, clap::Args)]
pub(crate) struct AdaptArgs {
    /// How stamps look: a format or a preset; may be repeated, the first that fits wins
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) input_format: Vec<String>,

    /// How stamps are written: a format or a preset
    #[arg(short, long, value_name = "FORMAT", default_value = "rfc3339")]
    pub(crate) format: String,

    /// Zone of stamps that name none: an IANA name, an offset such as +05:30, UTC, or local (what TZ says)
    #[arg(long, value_name = "ZONE")]
    pub(crate) from_zone: Option<String>,

    /// Zone of the output; keep leaves wall clock and offset as they are
    #[arg(short, long, value_name = "ZONE", default_value = "keep")]
    pub(crate) zone: String,

    /// What an abbreviation read by %Z means, e.g. EST=America/New_York; may be repeated
    #[arg(long, value_name = "NAME=ZONE")]
    pub(crate) zone_abbrev: Vec<String>,

    /// Digits of the fraction where the format leaves them open (%f, %.f, rfc3339); cut off, never rounded
    #[arg(long, value_enum, default_value = "keep")]
    pub(crate) precision: PrecisionArg,

    /// The moment of a wall clock that daylight saving skips
    #[arg(long, value_enum, default_value = "compatible")]
    pub(crate) gap: ChoiceArg,

    /// The moment of a wall clock that daylight saving repeats
    #[arg(long, value_enum, default_value = "compatible")]
    pub(crate) fold: ChoiceArg,

    /// Year of stamps that have none: infer (nearest to the stamp before), now, or the file's first year
    #[arg(long, value_name = "infer|now|YEAR", default_value = "infer", value_parser = year_rule)]
    pub(crate) year: YearRule,

    /// With auto: 01/12/2022 is the first of December
    #[arg(long, conflicts_with = "month_first")]
    pub(crate) day_first: bool,

    /// With auto: 01/12/2022 is the twelfth of January
    #[arg(long)]
    pub(crate) month_first: bool,

    /// Where the stamp is: start, first, all, field=N, json=PATH or regex=RE (its group ts, else group 1)
    #[arg(long, value_name = "PLACE", default_value = "first")]
    pub(crate) r#match: String,

    /// What happens to lines without a stamp: they pass, are dropped, inherit the stamp before, get the current time, or end the run
    #[arg(long, value_enum, default_value = "pass")]
    pub(crate) on_unmatched: OnUnmatchedArg,

    /// What happens to lines whose date does not exist: they pass, are tagged, dropped, or end the run
    #[arg(long, value_enum, default_value = "pass")]
    pub(crate) on_invalid: OnInvalidArg,

    /// Language of month and day names besides English; the first given is written; may be repeated
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) locale: Vec<String>,

    /// A leap second stays :60 or becomes :59; unset: it stays where parts are only rearranged
    #[arg(long, value_enum)]
    pub(crate) leap: Option<LeapArg>,

    /// End with code 5 if any line was not rewritten
    #[arg(long)]
    pub(crate) strict: bool,

    /// Rewrite this line, tell on stdout how it was understood, and end
    #[arg(long, value_name = "LINE")]
    pub(crate) test_line: Option<String>,

    /// Tell on stdout what the flags mean together, and end
    #[arg(long)]
    pub(crate) explain: bool,

    #[command(flatten)]
    pub(crate) follow: kit_follow::FollowArgs,

    #[command(flatten)]
    pub(crate) lines: kit_lines::LineArgs,

    #[command(flatten)]
    pub(crate) out: OutArgs,

    #[command(flatten)]
    pub(crate) admin: kit_admin::AdminArgs,
}

/// log-tailer's flags for what comes out, besides those of kit-lines.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutArgs {
    /// Lines end with NUL, not newline
    #[arg(long)]
    pub(crate) zero_terminated: bool,

    /// Say which file the next lines are from
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub(crate) headers: kit_follow::When,

    /// Ask for a larger pipe on stdout; the kernel allows up to /proc/sys/fs/pipe-max-size
    #[arg(long, value_name = "BYTES", value_parser = kit_units::size)]
    pub(crate) stdout_pipe_size: Option<u64>,

    /// Bytes are always copied here
    #[arg(long, hide = true)]
    pub(crate) copy: bool,

    /// What -F becomes: a FILE must be named
    #[arg(long, hide = true)]
    pub(crate) tail_follow: bool,
}

fn year_rule(text: &str) -> Result<YearRule, String> {
    match text {
        "infer" => Ok(YearRule::Infer),
        "now" => Ok(YearRule::Now),
        _ => match text.parse() {
            Ok(year @ 0..=9999) => Ok(YearRule::From(year)),
            _ => Err(format!("{text:?} is no year; write infer, now or a year such as 2022")),
        },
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PrecisionArg {
    S,
    Ms,
    Us,
    Ns,
    Keep,
}

impl From<PrecisionArg> for Precision {
    fn from(arg: PrecisionArg) -> Self {
        match arg {
            PrecisionArg::S => Precision::Digits(0),
            PrecisionArg::Ms => Precision::Digits(3),
            PrecisionArg::Us => Precision::Digits(6),
            PrecisionArg::Ns => Precision::Digits(9),
            PrecisionArg::Keep => Precision::Keep,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ChoiceArg {
    Compatible,
    Earlier,
    Later,
    Reject,
}

impl From<ChoiceArg> for Choice {
    fn from(arg: ChoiceArg) -> Self {
        match arg {
            ChoiceArg::Compatible => Choice::Compatible,
            ChoiceArg::Earlier => Choice::Earlier,
            ChoiceArg::Later => Choice::Later,
            ChoiceArg::Reject => Choice::Reject,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OnUnmatchedArg {
    Pass,
    Drop,
    Inherit,
    Stamp,
    Fail,
}

impl From<OnUnmatchedArg> for OnUnmatched {
    fn from(arg: OnUnmatchedArg) -> Self {
        match arg {
            OnUnmatchedArg::Pass => OnUnmatched::Pass,
            OnUnmatchedArg::Drop => OnUnmatched::Drop,
            OnUnmatchedArg::Inherit => OnUnmatched::Inherit,
            OnUnmatchedArg::Stamp => OnUnmatched::Stamp,
            OnUnmatchedArg::Fail => OnUnmatched::Fail,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OnInvalidArg {
    Pass,
    Tag,
    Drop,
    Fail,
}

impl From<OnInvalidArg> for OnInvalid {
    fn from(arg: OnInvalidArg) -> Self {
        match arg {
            OnInvalidArg::Pass => OnInvalid::Pass,
            OnInvalidArg::Tag => OnInvalid::Tag,
            OnInvalidArg::Drop => OnInvalid::Drop,
            OnInvalidArg::Fail => OnInvalid::Fail,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LeapArg {
    Keep,
    Clamp,
}

impl From<LeapArg> for Leap {
    fn from(arg: LeapArg) -> Self {
        match arg {
            LeapArg::Keep => Leap::Keep,
            LeapArg::Clamp => Leap::Clamp,
        }
    }
}
