//! What is true once the flags were understood together.

use kit_follow::{LineEnd, LineEnds};
use kit_lines::{Encoding, LineArgs, LineStats};

use crate::Refusal;
use crate::adapt::{Adapter, Plan};
use crate::args::{AdaptArgs, OutArgs};
use crate::format::check::{self, Asked};
use crate::format::preset::{self, DayOrder};
use crate::format::write::Precision;
use crate::format::{Format, Item};
use crate::json;
use crate::locale::{self, Locale};
use crate::moment::{Leap, Rules};
use crate::place::Place;
use crate::years::{Years, system_clock};
use crate::zone::{Zone, ZoneEnvironment};

/// A run that can begin.
#[derive(Debug)]
pub struct Config {
    pub(crate) adapter: Adapter,
    pub(crate) strict: bool,
    pub(crate) test_line: Option<String>,
    pub(crate) explain: bool,
    pub(crate) follow: kit_follow::FollowArgs,
    /// Set where a flag asks for more than rewriting stamps in lines that end with newlines.
    pub(crate) worked: Option<Worked>,
    pub(crate) line_stats: LineStats,
    pub(crate) headers: kit_follow::When,
    pub(crate) stdout_pipe_size: Option<u64>,
    pub(crate) admin: kit_admin::AdminArgs,
}

/// What is done to lines besides rewriting their stamps.
#[derive(Debug)]
pub(crate) struct Worked {
    pub(crate) lines: kit_lines::Lines,
    pub(crate) line_ends: LineEnds,
}

impl Config {
    /// Understands the flags together.
    ///
    /// # Errors
    /// Whatever cannot work: unknown names, incomplete formats, a zone that is asked for and cannot be known.
    pub(crate) fn new(args: AdaptArgs, environment: &ZoneEnvironment) -> Result<Self, Refusal> {
        let AdaptArgs {
            input_format,
            format,
            from_zone,
            zone,
            zone_abbrev,
            precision,
            gap,
            fold,
            year,
            day_first,
            month_first,
            r#match,
            on_unmatched,
            on_invalid,
            locale,
            leap,
            strict,
            test_line,
            explain,
            mut follow,
            mut lines,
            out: OutArgs { zero_terminated, headers, stdout_pipe_size, copy: _, tail_follow },
            admin,
        } = args;
        standard_input(&mut follow, tail_follow)?;
        // The line of a command line is text already.
        lines.encoding = lines.encoding.filter(|_| test_line.is_none());
        let line_stats = LineStats::default();
        let worked = worked(lines, zero_terminated, line_stats.clone())?;
        let precision = Precision::from(precision);
        let output = preset::output(&format)?;
        let inputs = inputs(&input_format, (day_first, month_first))?;
        let asked =
            Asked { from_zone: from_zone.is_some(), zone: zone != "keep", precision: precision != Precision::Keep };
        check::output(&output, &asked)?;
        for input in &inputs {
            check::pair(input, &output, &asked)?;
        }
        let instant = check::needs_instant(&output, &asked);
        let mut from = from_zone.map(|name| Zone::parse(&name, environment)).transpose()?;
        let to = if asked.zone { Some(Zone::parse(&zone, environment)?) } else { None };
        let shift = from.as_mut().map_or(0, |zone| i64::from(zone.at(system_clock()).0));
        let leap = leap.map_or(if instant { Leap::Clamp } else { Leap::Keep }, Leap::from);
        let abbreviations = abbreviations(&zone_abbrev, environment)?;
        let named_locales = locales(&locale)?;
        // A preset is a standard, and standards write English.
        let is_preset = !format.contains('%');
        let output_locale = named_locales.first().copied().filter(|_| !is_preset).unwrap_or_else(|| locale::english());
        let mut all_locales = named_locales;
        all_locales.push(locale::english());
        let plan = Plan {
            quoted: quoted(&output.items),
            place: Place::parse(&r#match)?,
            rules: Rules { from, to, gap: gap.into(), fold: fold.into(), leap, abbreviations, instant },
            locales: all_locales,
            on_unmatched: on_unmatched.into(),
            on_invalid: on_invalid.into(),
            inputs,
            output,
            precision,
            output_locale,
        };
        Ok(Config {
            adapter: Adapter::new(plan, Years::new(year, shift, system_clock)),
            follow,
            strict,
            test_line,
            explain,
            worked,
            line_stats,
            headers,
            stdout_pipe_size,
            admin,
        })
    }
}

/// `-` alone is what no FILE at all means. Standard input is filtered, not followed.
fn standard_input(follow: &mut kit_follow::FollowArgs, tail_follow: bool) -> Result<(), Refusal> {
    if follow.file.iter().any(|file| file.as_os_str() == "-") {
        if follow.file.len() > 1 {
            return Err(Refusal::new(
                "standard input (-) cannot be read beside followed files",
                "start another date-adapter for it, or write ./- for a file of that name",
            ));
        }
        follow.file.clear();
    }
    if !follow.file.is_empty() {
        return Ok(());
    }
    // Flags that would do nothing are no slip to pass over: somebody relies on them.
    let flags = [
        ("-F", tail_follow),
        ("--state-file", follow.state_file.is_some()),
        ("--until-file", follow.until_file.is_some()),
        ("--exit-idle", follow.exit_idle.is_some()),
        ("--wait-timeout", follow.wait_timeout.is_some()),
        ("--siblings", follow.siblings.is_some()),
        ("--olddir", follow.olddir.is_some()),
        ("--pid", !follow.pid.is_empty()),
    ];
    match flags.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => Err(Refusal::new(
            format!("{flag} is for followed files, and no FILE is named"),
            format!("name the log, as in -F /var/log/ts.log, or leave {flag} out to filter standard input"),
        )),
    }
}

fn worked(args: LineArgs, zero_terminated: bool, stats: LineStats) -> Result<Option<Worked>, Refusal> {
    if args.changes_nothing() && !zero_terminated {
        return Ok(None);
    }
    let bytes = if zero_terminated { LineEnd::Nul } else { LineEnd::Newline };
    let line_ends = match args.encoding {
        Some(Encoding::Utf16Le) => LineEnds::Always(LineEnd::Utf16Le),
        Some(Encoding::Utf16Be) => LineEnds::Always(LineEnd::Utf16Be),
        Some(Encoding::Auto) => LineEnds::ByMark,
        Some(Encoding::Latin1) | None => LineEnds::Always(bytes),
    };
    let lines = args.lines(stats).map_err(|error| Refusal::new(error.to_string(), error.hint()))?;
    Ok(Some(Worked { lines, line_ends }))
}

fn inputs(texts: &[String], (day_first, month_first): (bool, bool)) -> Result<Vec<Format>, Refusal> {
    let order = match (day_first, month_first) {
        (true, _) => DayOrder::DayFirst,
        (_, true) => DayOrder::MonthFirst,
        _ => DayOrder::Unknown,
    };
    if texts.is_empty() {
        return Err(Refusal::new(
            "no input format is given",
            "say what the stamps look like, as in -i '%d/%m/%YT%T', or -i auto",
        ));
    }
    if order != DayOrder::Unknown && !texts.iter().any(|text| text == "auto") {
        return Err(Refusal::new(
            "--day-first and --month-first are for -i auto, and the input formats already say the order",
            "leave the flag out, or use -i auto",
        ));
    }
    let mut all = Vec::new();
    for text in texts {
        all.extend(preset::input(text, order)?);
    }
    Ok(all)
}

fn abbreviations(texts: &[String], environment: &ZoneEnvironment) -> Result<Vec<(String, Zone)>, Refusal> {
    let one = |text: &String| match text.split_once('=') {
        Some((name, zone)) if !name.is_empty() => Ok((name.to_owned(), Zone::parse(zone, environment)?)),
        _ => Err(Refusal::new(
            format!("--zone-abbrev {text:?} does not say what it stands for"),
            "write NAME=ZONE, as in EST=America/New_York",
        )),
    };
    texts.iter().map(one).collect()
}

fn locales(tags: &[String]) -> Result<Vec<&'static Locale>, Refusal> {
    let one = |tag: &String| {
        let unknown = || Refusal::new(format!("--locale {tag:?} is unknown"), format!("known are {}", locale::tags()));
        locale::find(tag).ok_or_else(unknown)
    };
    tags.iter().map(one).collect()
}

/// The output's items as they stand inside a JSON string.
fn quoted(items: &[Item]) -> Vec<Item> {
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Item::Literal(byte) => all.extend(json::escaped(&[*byte]).into_iter().map(Item::Literal)),
            other => all.push(other.clone()),
        }
    }
    all
}
