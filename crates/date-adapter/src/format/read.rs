//! Reads a stamp: whether bytes have a format's shape, and what they say.
//!
//! Shape and sense are two questions. `31/02/2022` has the shape of `%d/%m/%Y`, so the stamp was found; that no such day
//! exists is decided in [`crate::moment`] and reported, and the bytes are left as they are.

use super::{EpochUnit, Item, MAX_FRACTION_DIGITS, Pad};
use crate::locale::{self, Locale};

/// What the bytes of a stamp say. Fields that the format does not name keep their default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) year: i64,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) day_of_year: u16,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    pub(crate) pm: bool,
    pub(crate) fraction: Fraction,
    /// Seconds east of UTC.
    pub(crate) offset: Option<i32>,
    /// Where in the text the zone's name stands.
    pub(crate) zone_name: Option<(usize, usize)>,
    /// Seconds since 1970 of a format that counts.
    pub(crate) epoch: Option<i64>,
    /// Where the two digits of the second stand.
    pub(crate) second_at: Option<usize>,
    /// Where the digits of the fraction begin; they are as many as [`Fraction::digits`] where they stand in the text.
    pub(crate) fraction_at: Option<usize>,
}

/// A part of a second: attoseconds, and how many digits said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fraction {
    pub(crate) attos: u64,
    pub(crate) digits: u8,
}

impl Fraction {
    /// The fraction that `digits` decimal digits with this value stand for; `digits` is at most 18.
    pub(crate) fn new(value: u64, digits: u8) -> Self {
        Fraction { attos: value * power_of_ten(MAX_FRACTION_DIGITS - digits.min(MAX_FRACTION_DIGITS)), digits }
    }

    /// The first `digits` digits as a number; the rest is cut off, never rounded.
    pub(crate) fn truncated(self, digits: u8) -> u64 {
        self.attos / power_of_ten(MAX_FRACTION_DIGITS - digits.min(MAX_FRACTION_DIGITS))
    }
}

pub(crate) fn power_of_ten(exponent: u8) -> u64 {
    10u64.pow(u32::from(exponent.min(19)))
}

/// Reads a stamp of these items at `text[at..]`; returns it with the place where it ends.
///
/// The bytes around it count: a number is not part of a longer one, a name not of a longer word.
pub(crate) fn stamp(items: &[Item], locales: &[&Locale], text: &[u8], at: usize) -> Option<(Stamp, usize)> {
    if at > 0 && continues(items.first()?, text[at - 1], *text.get(at)?) {
        return None;
    }
    let mut reader = Reader { text, at, locales, stamp: Stamp::default() };
    for item in items {
        reader.item(item)?;
    }
    let end = reader.at;
    match text.get(end) {
        Some(&next) if end == at || continues(items.last()?, next, text[end - 1]) => None,
        _ => Some((reader.stamp, end)),
    }
}

/// Whether `outside` carries on the word or number whose byte at the border is `border`.
fn continues(item: &Item, outside: u8, border: u8) -> bool {
    match item {
        Item::Literal(_) => false,
        Item::Tai64n { .. } => outside.is_ascii_alphanumeric() || outside == b'@',
        // `auto` looks for bare numbers everywhere: parts of names, labels and other numbers are none.
        Item::Epoch { digits: Some(_), .. } => {
            outside.is_ascii_alphanumeric() || matches!(outside, b'@' | b'_' | b'-' | b'.')
        }
        _ if border.is_ascii_digit() => outside.is_ascii_digit(),
        _ if border.is_ascii_alphabetic() => outside.is_ascii_alphabetic(),
        _ => false,
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    locales: &'a [&'a Locale],
    stamp: Stamp,
}

impl Reader<'_> {
    fn item(&mut self, item: &Item) -> Option<()> {
        match *item {
            Item::Literal(byte) => self.literal(byte)?,
            Item::Year => self.stamp.year = i64::try_from(self.digits(4)?).ok()?,
            Item::YearOfCentury => {
                let year = i64::from(self.two()?);
                // POSIX: 69 to 99 are of the twentieth century, 00 to 68 of the next.
                self.stamp.year = if year >= 69 { 1900 + year } else { 2000 + year };
            }
            Item::Month(pad) => self.stamp.month = self.padded(pad)?,
            Item::Day(pad) => self.stamp.day = self.padded(pad)?,
            Item::Hour(pad) | Item::Hour12(pad) => self.stamp.hour = self.padded(pad)?,
            Item::Minute => self.stamp.minute = self.two()?,
            Item::Second => {
                self.stamp.second_at = Some(self.at);
                self.stamp.second = self.two()?;
            }
            Item::MonthName { .. } => {
                let (month, length) = locale::read_month(self.locales, self.text.get(self.at..)?)?;
                self.stamp.month = month;
                self.at += length;
            }
            Item::Weekday { .. } => self.at += locale::read_weekday(self.locales, self.text.get(self.at..)?)?,
            Item::DayOfYear => self.stamp.day_of_year = u16::try_from(self.digits(3)?).ok()?,
            Item::AmPm { .. } => self.am_pm()?,
            Item::Fraction { point, digits, .. } => self.fraction(point, digits)?,
            Item::Offset { .. } => self.offset()?,
            Item::ZoneName => self.zone_name()?,
            Item::Epoch { unit, digits } => self.epoch(unit, digits)?,
            Item::Tai64n { at, nanos } => self.tai64n(at, nanos)?,
        }
        Some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn literal(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn two(&mut self) -> Option<u8> {
        let pair = self.text.get(self.at..self.at + 2)?;
        let (tens, ones) = (pair[0].wrapping_sub(b'0'), pair[1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| {
            self.at += 2;
            tens * 10 + ones
        })
    }

    fn digits(&mut self, count: usize) -> Option<u64> {
        let text = self.text.get(self.at..self.at + count)?;
        let mut value = 0u64;
        for &byte in text {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
        }
        self.at += count;
        Some(value)
    }

    fn count_digits(&self) -> usize {
        let rest = self.text.get(self.at..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    fn padded(&mut self, pad: Pad) -> Option<u8> {
        if pad == Pad::Zero {
            return self.two();
        }
        if pad == Pad::Blank && self.peek()? == b' ' {
            self.at += 1;
            return u8::try_from(self.digits(1)?).ok();
        }
        let count = self.count_digits().clamp(1, 2);
        u8::try_from(self.digits(count)?).ok()
    }

    fn am_pm(&mut self) -> Option<()> {
        let text = self.text.get(self.at..self.at + 2)?;
        self.stamp.pm = text[0].eq_ignore_ascii_case(&b'p');
        let known = (self.stamp.pm || text[0].eq_ignore_ascii_case(&b'a')) && text[1].eq_ignore_ascii_case(&b'm');
        known.then(|| self.at += 2)
    }

    fn fraction(&mut self, point: bool, digits: Option<u8>) -> Option<()> {
        let start = self.at;
        if point {
            if matches!(self.peek(), Some(b'.' | b',')) {
                self.at += 1;
            } else {
                return digits.is_none().then_some(());
            }
        }
        let available = self.count_digits();
        let count = match digits {
            Some(exact) => usize::from(exact),
            None if available == 0 && point => {
                // A full stop after the stamp is not a fraction.
                self.at = start;
                return Some(());
            }
            None => available,
        };
        if count == 0 || count > usize::from(MAX_FRACTION_DIGITS) {
            return None;
        }
        self.stamp.fraction_at = Some(self.at);
        self.stamp.fraction = Fraction::new(self.digits(count)?, u8::try_from(count).ok()?);
        Some(())
    }

    /// `Z`, `+01`, `+0100`, `+01:00` or `+01:00:00`.
    fn offset(&mut self) -> Option<()> {
        let sign = match self.peek()? {
            b'Z' | b'z' => {
                self.at += 1;
                self.stamp.offset = Some(0);
                return Some(());
            }
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        self.at += 1;
        let hours = i32::from(self.two()?);
        let mut seconds = hours * 3_600;
        let mut colons = false;
        for unit in [60, 1] {
            let before = self.at;
            let colon = self.peek() == Some(b':');
            self.at += usize::from(colon);
            // Seconds follow as the minutes did: +00:19:32 or +001932.
            if unit == 1 && colon != colons {
                self.at = before;
                break;
            }
            colons = colon;
            match self.two() {
                Some(value) if value < 60 => seconds += i32::from(value) * unit,
                Some(_) => return None,
                None => {
                    self.at = before;
                    break;
                }
            }
        }
        // RFC 9557 and jiff know offsets of up to 25:59:59; whole days cannot be offsets.
        (hours <= 25).then(|| self.stamp.offset = Some(sign * seconds))
    }

    fn zone_name(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if length == 0 || length > 6 {
            return None;
        }
        self.stamp.zone_name = Some((self.at, self.at + length));
        self.at += length;
        Some(())
    }

    fn epoch(&mut self, unit: EpochUnit, digits: Option<u8>) -> Option<()> {
        let negative = digits.is_none() && self.peek()? == b'-';
        self.at += usize::from(negative);
        let count = self.count_digits();
        if count == 0 || count > 19 || digits.is_some_and(|exact| usize::from(exact) != count) {
            return None;
        }
        let value = i64::try_from(self.digits(count)?).ok()?;
        let value = if negative { -value } else { value };
        let scale = i64::try_from(power_of_ten(unit.0)).ok()?;
        self.stamp.epoch = Some(value.div_euclid(scale));
        if unit.0 > 0 {
            let rest = u64::try_from(value.rem_euclid(scale)).ok()?;
            self.stamp.fraction = Fraction::new(rest, unit.0);
            let open = !negative && count > usize::from(unit.0);
            self.stamp.fraction_at = open.then(|| self.at - usize::from(unit.0));
        } else if negative {
            // -1.5 is half a second before -1; a fraction that follows a negative count is read as is by nobody.
            return (!matches!(self.peek(), Some(b'.' | b','))).then_some(());
        }
        Some(())
    }

    /// TAI64N as multilog writes it: 2^62 + 10 + Unix seconds, without a table of leap seconds.
    fn tai64n(&mut self, at: bool, nanos: bool) -> Option<()> {
        if at {
            self.literal(b'@')?;
        }
        let label = self.hexadecimal(16)?;
        let seconds = i64::try_from(label).ok()?.checked_sub((1 << 62) + 10)?;
        self.stamp.epoch = Some(seconds);
        if nanos {
            let nanos = self.hexadecimal(8)?;
            if nanos > 999_999_999 {
                return None;
            }
            self.stamp.fraction = Fraction::new(nanos, 9);
        }
        Some(())
    }

    fn hexadecimal(&mut self, count: usize) -> Option<u64> {
        let text = self.text.get(self.at..self.at + count)?;
        let mut value = 0u64;
        for &byte in text {
            value = value << 4 | u64::from(char::from(byte).to_digit(16)?);
        }
        self.at += count;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;

    fn read(format: &str, text: &str) -> Option<(Stamp, usize)> {
        stamp(&Format::parse(format).unwrap().items, &[locale::english()], text.as_bytes(), 0)
    }

    fn length(format: &str, text: &str) -> Option<usize> {
        read(format, text).map(|(_, end)| end)
    }

    #[test]
    fn the_seeds_stamp_is_read_and_its_place_known() {
        let (stamp, end) = read("%d/%m/%YT%T", "01/12/2022T16:25:21 rest").unwrap();
        assert_eq!((stamp.year, stamp.month, stamp.day), (2022, 12, 1));
        assert_eq!((stamp.hour, stamp.minute, stamp.second, stamp.second_at), (16, 25, 21, Some(17)));
        assert_eq!(end, 19);
    }

    #[test]
    fn da06_a_word_that_begins_like_a_month_is_not_one() {
        assert_eq!(length("%y%b%d", "12Maybe"), None);
        assert_eq!(length("%y%b", "12Maybe"), None);
        assert_eq!(length("%y%b", "12May be"), Some(5));
    }

    #[test]
    fn da07_half_a_stamp_is_no_stamp() {
        assert_eq!(length("%y-%m-%d", "20-"), None);
        assert_eq!(length("%Y-%m-%d", "2022-12-1"), None);
        assert_eq!(length("%Y-%m-%d", "2022-12-011"), None);
    }

    #[test]
    fn fractions_keep_their_digits_and_a_full_stop_is_none() {
        let (stamp, end) = read("%T%.f", "10:11:12,1234 x").unwrap();
        assert_eq!((stamp.fraction, end), (Fraction { attos: 123_400_000_000_000_000, digits: 4 }, 13));
        assert_eq!(length("%T%.f", "10:11:12. Next"), Some(8));
        assert_eq!(length("%T%.3f", "10:11:12.12"), None);
        assert_eq!(length("%T%.f", "10:11:12.1234567890123456789"), None);
    }

    #[test]
    fn offsets_are_read_in_every_spelling() {
        for (text, seconds) in
            [("Z", 0), ("+01", 3600), ("-0330", -12_600), ("+05:45", 20_700), ("+00:19:32", 1_172), ("+001932", 1_172)]
        {
            assert_eq!(read("%T%z", &format!("10:11:12{text}")).unwrap().0.offset, Some(seconds), "{text}");
        }
        assert_eq!(length("%T%z", "10:11:12+00:90"), None);
        assert_eq!(length("%T%z", "10:11:120000"), None);
    }

    #[test]
    fn counts_before_1970_floor() {
        let items = [Item::Epoch { unit: EpochUnit(3), digits: None }];
        let (stamp, _) = stamp(&items, &[], b"-1", 0).unwrap();
        assert_eq!((stamp.epoch, stamp.fraction.truncated(3)), (Some(-1), 999));
    }
}
