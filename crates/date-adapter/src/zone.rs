//! Zones: the offset at a moment, and the moment of a wall clock, fast for stamps that lie close together.
//!
//! A zone remembers the interval between two transitions in which the last lookup fell. A log moves through it line by
//! line, so the table is asked about twice a year of log time. Rules come from the IANA database that is compiled in
//! (an image from scratch has none on disk); a database that `TZDIR` names wins.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, civil};

use crate::Refusal;
use crate::civil::{DAY, date_from_days};

/// No two offsets of a zone differ by more: at this distance from a transition a wall clock is never ambiguous.
const CLEAR_OF_TRANSITIONS: i64 = 2 * DAY;

/// Which moment a wall clock means that occurs twice or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// As RFC 5545 and jiff: before a fold's second hour, after a gap.
    Compatible,
    Earlier,
    Later,
    Reject,
}

/// A wall clock that is not simply a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dst {
    Gap,
    Fold,
}

/// A zone's abbreviation, kept without allocating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ZoneName {
    bytes: [u8; 15],
    length: u8,
}

impl ZoneName {
    pub(crate) fn new(text: &[u8]) -> Self {
        let mut name = ZoneName::default();
        let length = text.len().min(name.bytes.len());
        name.bytes[..length].copy_from_slice(&text[..length]);
        name.length = u8::try_from(length).unwrap_or(0);
        name
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// What the environment says about zones.
#[derive(Clone, Debug, Default)]
pub struct ZoneEnvironment {
    /// `TZ`: what `local` means.
    pub tz: Option<OsString>,
    /// `TZDIR`: a database that wins over the one compiled in.
    pub tzdir: Option<OsString>,
}

/// A zone with the interval of its last lookup.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) name: String,
    rules: Rules,
    last: Interval,
}

#[derive(Clone, Debug)]
enum Rules {
    Fixed,
    Table(TimeZone),
}

/// Seconds since 1970 between which an offset holds; empty at first.
#[derive(Clone, Copy, Debug, Default)]
struct Interval {
    from: i64,
    until: i64,
    offset: i32,
    abbreviation: ZoneName,
}

/// The moment of a wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) instant: i64,
    pub(crate) dst: Option<Dst>,
    /// Every second of this minute has the same offset and kind.
    pub(crate) whole_minute: bool,
}

impl Zone {
    /// An IANA name, `UTC`, an offset such as `+05:30`, or `local`.
    ///
    /// # Errors
    /// A name that the database does not have, with the reason.
    pub(crate) fn parse(text: &str, environment: &ZoneEnvironment) -> Result<Self, Refusal> {
        if text.eq_ignore_ascii_case("utc") || text == "Z" {
            return Ok(Zone::fixed("UTC", 0));
        }
        if text == "local" {
            return local(environment);
        }
        if let Some(seconds) = offset_seconds(text) {
            return Ok(Zone::fixed("", seconds));
        }
        if let Some(directory) = &environment.tzdir
            && let Some(zone) = from_file(&Path::new(directory).join(text), text)
        {
            return Ok(zone);
        }
        match kit_zones::get(text) {
            Some(table) => Ok(Zone::table(text, table)),
            None => Err(Refusal::new(
                format!("{text:?} is not a zone"),
                "write an IANA name such as Europe/Paris, an offset such as +05:30, UTC or local",
            )),
        }
    }

    pub(crate) fn fixed(name: &str, offset: i32) -> Self {
        let abbreviation = ZoneName::new(name.as_bytes());
        let last = Interval { from: i64::MIN, until: i64::MAX, offset, abbreviation };
        Zone { name: name.to_owned(), rules: Rules::Fixed, last }
    }

    fn table(name: &str, table: TimeZone) -> Self {
        Zone { name: name.to_owned(), rules: Rules::Table(table), last: Interval::default() }
    }

    /// What people call it.
    pub(crate) fn label(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let size = self.last.offset.unsigned_abs();
        let sign = if self.last.offset < 0 { '-' } else { '+' };
        format!("{sign}{:02}:{:02}", size / 3600, size / 60 % 60)
    }

    /// Seconds east of UTC at this moment and the abbreviation in force.
    pub(crate) fn at(&mut self, instant: i64) -> (i32, ZoneName) {
        self.seek(instant);
        (self.last.offset, self.last.abbreviation)
    }

    /// Whether one offset holds from `instant` for the next `seconds`.
    pub(crate) fn holds(&mut self, instant: i64, seconds: i64) -> bool {
        self.seek(instant);
        instant.saturating_add(seconds) <= self.last.until
    }

    fn seek(&mut self, instant: i64) {
        if (self.last.from..self.last.until).contains(&instant) {
            return;
        }
        if let Rules::Table(table) = &self.rules {
            self.last = interval(table, instant);
        }
    }

    /// The moment when the wall clock shows `wall` (seconds since 1970-01-01T00:00:00 on that clock), or which of gap and
    /// fold was rejected.
    pub(crate) fn moment_of(&mut self, wall: i64, gap: Choice, fold: Choice) -> Result<Placed, Dst> {
        let Interval { from, until, offset, .. } = self.last;
        let offset = i64::from(offset);
        let clear = (from.saturating_add(CLEAR_OF_TRANSITIONS)..until.saturating_sub(CLEAR_OF_TRANSITIONS))
            .contains(&wall.saturating_sub(offset));
        let table = match &self.rules {
            Rules::Table(table) if !clear => table,
            _ => return Ok(Placed { instant: wall - offset, dst: None, whole_minute: true }),
        };
        let placed = ask(table, wall, gap, fold)?;
        let minute = wall - wall.rem_euclid(60);
        let same = |wall: i64, other: i64| {
            ask(table, other, gap, fold).is_ok_and(|other_placed| {
                other_placed.dst == placed.dst && other_placed.instant - placed.instant == other - wall
            })
        };
        let whole_minute = same(wall, minute) && same(wall, minute + 59);
        self.seek(placed.instant);
        Ok(Placed { whole_minute, ..placed })
    }
}

/// Looks a wall clock up in the table itself.
fn ask(table: &TimeZone, wall: i64, gap: Choice, fold: Choice) -> Result<Placed, Dst> {
    let Some(clock) = clock(wall) else {
        return Ok(Placed { instant: wall, dst: None, whole_minute: false });
    };
    let (offset, dst) = match table.to_ambiguous_timestamp(clock).offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset, None),
        AmbiguousOffset::Gap { before, after } => match gap {
            Choice::Compatible | Choice::Later => (before, Some(Dst::Gap)),
            Choice::Earlier => (after, Some(Dst::Gap)),
            Choice::Reject => return Err(Dst::Gap),
        },
        AmbiguousOffset::Fold { before, after } => match fold {
            Choice::Compatible | Choice::Earlier => (before, Some(Dst::Fold)),
            Choice::Later => (after, Some(Dst::Fold)),
            Choice::Reject => return Err(Dst::Fold),
        },
    };
    Ok(Placed { instant: wall - i64::from(offset.seconds()), dst, whole_minute: false })
}

fn clock(wall: i64) -> Option<civil::DateTime> {
    let (year, month, day) = date_from_days(wall.div_euclid(DAY));
    let second = wall.rem_euclid(DAY);
    let part = |value: i64| i8::try_from(value).ok();
    let date = civil::Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let time = civil::Time::new(part(second / 3600)?, part(second / 60 % 60)?, part(second % 60)?, 0).ok()?;
    Some(date.to_datetime(time))
}

/// The interval around a moment. Moments beyond what jiff can name take the offset of its last one.
fn interval(table: &TimeZone, instant: i64) -> Interval {
    let clamped = instant.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let moment = Timestamp::from_second(clamped).unwrap_or(Timestamp::UNIX_EPOCH);
    let info = table.to_offset_info(moment);
    let next = Timestamp::from_second(clamped.saturating_add(1)).unwrap_or(Timestamp::MAX);
    Interval {
        // The transition at the moment itself counts as before it.
        from: table.preceding(next).next().map_or(i64::MIN, |change| change.timestamp().as_second()),
        until: table.following(moment).next().map_or(i64::MAX, |change| change.timestamp().as_second()),
        offset: info.offset().seconds(),
        abbreviation: ZoneName::new(info.abbreviation().as_bytes()),
    }
}

/// `TZ`, else `/etc/localtime`, else UTC: what the C library does.
fn local(environment: &ZoneEnvironment) -> Result<Zone, Refusal> {
    let Some(tz) = environment.tz.as_deref().filter(|tz| !tz.is_empty()) else {
        return Ok(from_file(Path::new("/etc/localtime"), "local").unwrap_or_else(|| Zone::fixed("UTC", 0)));
    };
    let refuse = || {
        Refusal::new(
            format!("TZ={} is not a zone, and --from-zone or --zone is local", tz.display()),
            "set TZ to an IANA name such as Europe/Paris, or name the zone in the flag",
        )
    };
    let text = tz.to_str().ok_or_else(refuse)?;
    let text = text.strip_prefix(':').unwrap_or(text);
    if text.starts_with('/') {
        return from_file(Path::new(text), "local").ok_or_else(refuse);
    }
    if text != "local"
        && let Ok(zone) = Zone::parse(text, environment)
    {
        return Ok(zone);
    }
    TimeZone::posix(text).map(|table| Zone::table(text, table)).map_err(|_| refuse())
}

fn from_file(path: &Path, name: &str) -> Option<Zone> {
    let data = std::fs::read(path).ok()?;
    TimeZone::tzif(name, &data).ok().map(|table| Zone::table(name, table))
}

/// `+05:30`, `-0330`, `+01`.
fn offset_seconds(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes() {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let two = |pair: &[u8]| -> Option<i32> { std::str::from_utf8(pair).ok()?.parse::<u8>().ok().map(i32::from) };
    let (hours, minutes) = match digits {
        [_, _] => (two(digits)?, 0),
        [_, _, _, _] => (two(&digits[..2])?, two(&digits[2..])?),
        [_, _, b':', _, _] => (two(&digits[..2])?, two(&digits[3..])?),
        _ => return None,
    };
    (hours <= 25 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// The environment of a test or of a tool that has none.
impl From<(Option<&OsStr>, Option<&OsStr>)> for ZoneEnvironment {
    fn from((tz, tzdir): (Option<&OsStr>, Option<&OsStr>)) -> Self {
        ZoneEnvironment { tz: tz.map(OsStr::to_owned), tzdir: tzdir.map(OsStr::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        Zone::parse(name, &ZoneEnvironment::default()).unwrap()
    }

    #[test]
    fn offsets_change_at_the_transition_and_not_before() {
        let mut paris = zone("Europe/Paris");
        // 2022-03-27T01:00:00Z
        let spring = 1_648_342_800;
        for instant in [spring - 1, spring, spring + 1, spring - 1] {
            let expected = if instant < spring { 3600 } else { 7200 };
            assert_eq!(paris.at(instant).0, expected, "{instant}");
        }
        assert!(!paris.holds(spring - 59, 60));
        assert!(paris.holds(spring - 60, 60));
        assert_eq!(paris.at(spring).1.as_bytes(), b"CEST");
    }

    #[test]
    fn a_fixed_offset_is_a_zone() {
        assert_eq!(zone("+05:30").at(0).0, 19_800);
        assert_eq!(zone("-0330").at(0).0, -12_600);
        assert_eq!(zone("UTC").at(0), (0, ZoneName::new(b"UTC")));
        let refusal = Zone::parse("Europe/Pairs", &ZoneEnvironment::default()).unwrap_err();
        assert_eq!(refusal.what, "\"Europe/Pairs\" is not a zone");
    }

    #[test]
    fn local_is_what_tz_says() {
        let with = |tz: &str| Zone::parse("local", &ZoneEnvironment { tz: Some(tz.into()), tzdir: None });
        assert_eq!(with("Asia/Kathmandu").unwrap().at(1_700_000_000).0, 20_700);
        assert_eq!(with("CET-1CEST,M3.5.0,M10.5.0/3").unwrap().at(1_720_000_000).0, 7200);
        assert_eq!(
            with("Mars/Base").unwrap_err().what,
            "TZ=Mars/Base is not a zone, and --from-zone or --zone is local"
        );
    }

    #[test]
    fn moments_beyond_the_database_have_an_offset() {
        assert_eq!(zone("Asia/Kathmandu").at(i64::MAX / 4).0, 20_700);
        zone("Europe/Paris").at(i64::MIN / 4);
    }
}
