//! Writes a stamp in the output format.

use super::read::{Fraction, power_of_ten};
use super::{Item, Pad};
use crate::civil;
use crate::locale::Locale;
use crate::moment::Moment;

/// A run of bytes that may be copied from the input's stamp into the output's as long as nothing but seconds and
/// fraction changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) length: usize,
}

/// Where the second and the fraction stand in what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) second: Option<usize>,
    /// Begin and number of digits.
    pub(crate) fraction: Option<(usize, u8)>,
    /// What else was written depends on the second.
    pub(crate) counts_seconds: bool,
    /// What was written depends on the fraction in a way that no copied digits can follow.
    pub(crate) counts_fraction: bool,
}

/// How fractions of open length are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    Keep,
    Digits(u8),
}

/// Appends the moment to `out` and says where second and fraction went, counted from the beginning of `out`.
pub(crate) fn moment(
    items: &[Item],
    locale: &Locale,
    precision: Precision,
    moment: &Moment,
    out: &mut Vec<u8>,
) -> Places {
    let mut places = Places::default();
    for item in items {
        match *item {
            Item::Literal(byte) => out.push(byte),
            Item::Year => four(out, moment.year),
            Item::YearOfCentury => two(out, moment.year.rem_euclid(100)),
            Item::Month(pad) => padded(out, pad, moment.month),
            Item::Day(pad) => padded(out, pad, moment.day),
            Item::Hour(pad) => padded(out, pad, moment.hour),
            Item::Hour12(pad) => padded(out, pad, (moment.hour + 11) % 12 + 1),
            Item::AmPm { upper } => out.extend_from_slice(match (moment.hour < 12, upper) {
                (true, true) => b"AM",
                (true, false) => b"am",
                (false, true) => b"PM",
                (false, false) => b"pm",
            }),
            Item::Minute => two(out, i64::from(moment.minute)),
            Item::Second => {
                places.second = Some(out.len());
                two(out, i64::from(moment.second));
            }
            Item::MonthName { long } => out.extend_from_slice(locale.month(moment.month, long).as_bytes()),
            Item::Weekday { long } => {
                let days = civil::days_from_date(moment.year, moment.month, moment.day);
                out.extend_from_slice(locale.weekday(civil::weekday(days), long).as_bytes());
            }
            Item::DayOfYear => {
                let day = civil::day_of_year(moment.year, moment.month, moment.day);
                out.push(digit(day / 100));
                two(out, day % 100);
            }
            Item::Fraction { point, width, .. } => {
                places.fraction = fraction(out, point, width, precision, moment.fraction);
            }
            Item::Offset { colon, zulu } => offset(out, moment.offset.unwrap_or(0), colon, zulu),
            Item::ZoneName => zone_name(out, moment),
            Item::Epoch { unit, .. } => {
                places.counts_seconds = true;
                let open = epoch(out, moment, unit.0);
                places.counts_fraction = unit.0 > 0 && open.is_none();
                places.fraction = places.fraction.or(open);
            }
            Item::Tai64n { .. } => {
                places.counts_seconds = true;
                places.counts_fraction = true;
                let label = (1i128 << 62) + 10 + i128::from(moment.instant.unwrap_or(0));
                out.extend_from_slice(format!("@{label:016x}{:08x}", moment.fraction.truncated(9)).as_bytes());
            }
        }
    }
    places
}

fn digit(value: i64) -> u8 {
    b'0' + u8::try_from(value.rem_euclid(10)).unwrap_or(0)
}

fn two(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&[digit(value / 10), digit(value)]);
}

fn four(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&[digit(value / 1000), digit(value / 100), digit(value / 10), digit(value)]);
}

fn padded(out: &mut Vec<u8>, pad: Pad, value: u8) {
    match pad {
        Pad::None if value < 10 => out.push(digit(i64::from(value))),
        Pad::Blank if value < 10 => out.extend_from_slice(&[b' ', digit(i64::from(value))]),
        _ => two(out, i64::from(value)),
    }
}

fn fraction(
    out: &mut Vec<u8>,
    point: bool,
    width: Option<u8>,
    precision: Precision,
    fraction: Fraction,
) -> Option<(usize, u8)> {
    let open = match precision {
        Precision::Keep => fraction.digits,
        Precision::Digits(digits) => digits,
    };
    // Without its own point, an empty fraction would leave a dangling `.` of the format: one digit stays.
    let digits = width.unwrap_or(if point { open } else { open.max(1) });
    if digits == 0 {
        return None;
    }
    if point {
        out.push(b'.');
    }
    let start = out.len();
    let mut value = fraction.truncated(digits);
    out.resize(start + usize::from(digits), b'0');
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
    Some((start, digits))
}

fn offset(out: &mut Vec<u8>, seconds: i32, colon: bool, zulu: bool) {
    if zulu && seconds == 0 {
        return out.push(b'Z');
    }
    out.push(if seconds < 0 { b'-' } else { b'+' });
    let size = i64::from(seconds.unsigned_abs());
    two(out, size / 3600);
    if colon {
        out.push(b':');
    }
    two(out, size / 60 % 60);
    // Zones before 1972 had offsets with seconds; dropping them would name another moment.
    if size % 60 != 0 {
        if colon {
            out.push(b':');
        }
        two(out, size % 60);
    }
}

fn zone_name(out: &mut Vec<u8>, moment: &Moment) {
    if moment.zone_name.is_empty() {
        offset(out, moment.offset.unwrap_or(0), false, false);
    } else {
        out.extend_from_slice(moment.zone_name.as_bytes());
    }
}

/// A count of seconds, with `digits` digits of the fraction behind it without a point.
fn epoch(out: &mut Vec<u8>, moment: &Moment, digits: u8) -> Option<(usize, u8)> {
    let seconds = i128::from(moment.instant.unwrap_or(0));
    let value = seconds * i128::from(power_of_ten(digits)) + i128::from(moment.fraction.truncated(digits));
    if value < 0 {
        out.push(b'-');
    }
    let start = out.len();
    let mut rest = value.unsigned_abs();
    loop {
        out.push(b'0' + u8::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out[start..].reverse();
    // Before 1970 the digits count backwards, and a short count has no digits to replace.
    let open = digits > 0 && value >= 0 && out.len() - start > usize::from(digits);
    open.then(|| (out.len() - usize::from(digits), digits))
}
