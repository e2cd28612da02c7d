//! What a stamp means: checked parts, placed on the line of time where the output asks for that, and shown in the
//! output's zone.
//!
//! Nothing is fixed up. A day, hour or second that does not exist, a wall clock that a policy rejects and a zone name that
//! nobody explained are [`Impossible`] and leave the line as it is.

use crate::civil::{DAY, date_from_days, date_of_year_day, days_from_date, days_in_month};
use crate::format::Format;
use crate::format::read::{Fraction, Stamp};
use crate::years::Years;
use crate::zone::{Choice, Dst, Zone, ZoneName};

/// A stamp's parts as the output shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) year: i64,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    pub(crate) fraction: Fraction,
    /// Seconds east of UTC, where known.
    pub(crate) offset: Option<i32>,
    pub(crate) zone_name: ZoneName,
    /// Seconds since 1970-01-01T00:00:00Z, where known.
    pub(crate) instant: Option<i64>,
}

/// Why a stamp of the right shape names no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Impossible {
    Date,
    Time,
    Gap,
    Fold,
    ZoneUnknown,
    Range,
}

impl Impossible {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Impossible::Date => "no such day",
            Impossible::Time => "no such time of day",
            Impossible::Gap => "the clocks skipped this time",
            Impossible::Fold => "this time occurred twice",
            Impossible::ZoneUnknown => "unknown zone abbreviation, --zone-abbrev explains it",
            Impossible::Range => "outside the years 0 to 9999",
        }
    }
}

/// What became of `:60`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leap {
    /// `:60` stays `:60` where the output has a second of its own.
    Keep,
    /// `:60` becomes `:59`.
    Clamp,
}

/// How stamps become moments.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The zone of stamps that name none.
    pub(crate) from: Option<Zone>,
    /// The zone of the output, else the stamp's own.
    pub(crate) to: Option<Zone>,
    pub(crate) gap: Choice,
    pub(crate) fold: Choice,
    pub(crate) leap: Leap,
    /// Abbreviations and what they stand for.
    pub(crate) abbreviations: Vec<(String, Zone)>,
    /// Whether stamps must be placed on the line of time.
    pub(crate) instant: bool,
}

/// A moment and how it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) moment: Moment,
    pub(crate) dst: Option<Dst>,
    pub(crate) year_inferred: bool,
    /// The same holds for every second of the stamp's minute, with the second copied.
    pub(crate) whole_minute: bool,
}

/// A checked wall clock.
struct Wall {
    /// Seconds since 1970-01-01T00:00:00 on that clock, with a leap second counted as the one before.
    seconds: i64,
    leap: bool,
    year_inferred: bool,
}

impl Rules {
    /// What `stamp`, read by `format` from `text`, means.
    pub(crate) fn resolve(
        &mut self,
        format: &Format,
        stamp: &Stamp,
        text: &[u8],
        years: &mut Years,
    ) -> Result<Resolved, Impossible> {
        if let Some(instant) = stamp.epoch {
            return self.counted(instant, stamp.fraction);
        }
        let wall = wall(format, stamp, years)?;
        let mut resolved = if self.instant {
            self.placed(stamp, text, &wall)?
        } else {
            let moment = show(wall.seconds, stamp.fraction)?;
            Resolved { moment, dst: None, year_inferred: false, whole_minute: true }
        };
        if wall.leap && self.leap == Leap::Keep && resolved.moment.second == 59 {
            resolved.moment.second = 60;
        }
        resolved.year_inferred = wall.year_inferred;
        Ok(resolved)
    }

    fn counted(&mut self, instant: i64, fraction: Fraction) -> Result<Resolved, Impossible> {
        let (offset, zone_name) = match &mut self.to {
            Some(zone) => zone.at(instant),
            None => (0, ZoneName::new(b"UTC")),
        };
        let shown = show(instant.checked_add(i64::from(offset)).ok_or(Impossible::Range)?, fraction)?;
        let moment = Moment { offset: Some(offset), zone_name, instant: Some(instant), ..shown };
        Ok(Resolved { moment, dst: None, year_inferred: false, whole_minute: false })
    }

    fn placed(&mut self, stamp: &Stamp, text: &[u8], wall: &Wall) -> Result<Resolved, Impossible> {
        let mut dst = None;
        let mut whole_minute = true;
        let (instant, offset, zone_name) = match (stamp.offset, stamp.zone_name) {
            (Some(offset), name) => {
                let name = name.map_or(ZoneName::default(), |(from, to)| ZoneName::new(&text[from..to]));
                (wall.seconds - i64::from(offset), offset, name)
            }
            (None, name) => {
                let (gap, fold) = (self.gap, self.fold);
                let zone = match name {
                    Some((from, to)) => &mut named(&mut self.abbreviations, &text[from..to])?,
                    None => self.from.as_mut().ok_or(Impossible::ZoneUnknown)?,
                };
                let placed = zone.moment_of(wall.seconds, gap, fold).map_err(|kind| match kind {
                    Dst::Gap => Impossible::Gap,
                    Dst::Fold => Impossible::Fold,
                })?;
                dst = placed.dst;
                whole_minute = placed.whole_minute;
                let (offset, abbreviation) = zone.at(placed.instant);
                (placed.instant, offset, abbreviation)
            }
        };
        let (offset, zone_name) = match &mut self.to {
            Some(zone) => {
                whole_minute &= zone.holds(instant - wall.seconds.rem_euclid(60), 60);
                zone.at(instant)
            }
            None => (offset, zone_name),
        };
        let shown = instant + i64::from(offset);
        whole_minute &= (shown - wall.seconds) % 60 == 0;
        let moment = show(shown, stamp.fraction)?;
        let moment = Moment { offset: Some(offset), zone_name, instant: Some(instant), ..moment };
        Ok(Resolved { moment, dst, year_inferred: false, whole_minute })
    }
}

/// What an abbreviation stands for. Only names of UTC mean the same everywhere.
fn named(abbreviations: &mut [(String, Zone)], name: &[u8]) -> Result<Zone, Impossible> {
    let same = |other: &str| other.as_bytes().eq_ignore_ascii_case(name);
    if let Some((_, zone)) = abbreviations.iter().find(|(other, _)| same(other)) {
        return Ok(zone.clone());
    }
    if ["UTC", "GMT", "UT", "Z"].into_iter().any(same) {
        return Ok(Zone::fixed(std::str::from_utf8(name).unwrap_or("UTC"), 0));
    }
    Err(Impossible::ZoneUnknown)
}

/// Checks the parts that the format names.
fn wall(format: &Format, stamp: &Stamp, years: &mut Years) -> Result<Wall, Impossible> {
    let parts = format.parts;
    let hour = match parts.am_pm {
        true if !(1..=12).contains(&stamp.hour) => return Err(Impossible::Time),
        true => stamp.hour % 12 + if stamp.pm { 12 } else { 0 },
        false => stamp.hour,
    };
    // Leap seconds are inserted at the end of a UTC month, which zones show at a full or half hour, or a quarter of it.
    let leap = stamp.second == 60 && stamp.minute % 15 == 14;
    if hour > 23 || stamp.minute > 59 || (stamp.second > 59 && !leap) {
        return Err(Impossible::Time);
    }
    let second = i64::from(stamp.second) - i64::from(leap);
    let second_of_day = i64::from(hour) * 3600 + i64::from(stamp.minute) * 60 + second;
    let mut year_inferred = false;
    let (year, month, day) = if parts.day_of_year {
        let (month, day) = date_of_year_day(stamp.year, stamp.day_of_year).ok_or(Impossible::Date)?;
        (stamp.year, month, day)
    } else {
        let month = if parts.month { stamp.month } else { 1 };
        let day = if parts.day { stamp.day } else { 1 };
        let year = if parts.year {
            stamp.year
        } else if parts.month && parts.day {
            year_inferred = true;
            years.infer(month, day, second_of_day).ok_or(Impossible::Date)?
        } else {
            1970
        };
        (year, month, day)
    };
    if day == 0 || day > days_in_month(year, month) {
        return Err(Impossible::Date);
    }
    Ok(Wall { seconds: days_from_date(year, month, day) * DAY + second_of_day, leap, year_inferred })
}

/// The parts of a wall clock, without a zone.
pub(crate) fn show(wall: i64, fraction: Fraction) -> Result<Moment, Impossible> {
    let (year, month, day) = date_from_days(wall.div_euclid(DAY));
    if !(0..=9999).contains(&year) {
        return Err(Impossible::Range);
    }
    let second = wall.rem_euclid(DAY);
    let part = |value: i64| u8::try_from(value).unwrap_or(0);
    Ok(Moment {
        year,
        month,
        day,
        hour: part(second / 3600),
        minute: part(second / 60 % 60),
        second: part(second % 60),
        fraction,
        offset: None,
        zone_name: ZoneName::default(),
        instant: None,
    })
}
