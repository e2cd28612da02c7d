//! Where in a line the stamp is looked for, and how candidates are found there.

use memchr::memchr;
use regex::bytes::{Regex, RegexBuilder};

use crate::Refusal;
use crate::format::{Format, Item, Pad};
use crate::json;
use crate::locale::Locale;

/// `--match`.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// At the first byte of the line.
    Start,
    /// The first stamp of the line.
    First,
    /// Every stamp of the line.
    All,
    /// The first stamp that begins in this field; fields are separated by blanks and count from 1, as in awk.
    Field(usize),
    /// In the string or number at this path.
    Json(json::Path),
    /// In what this group of the expression matches.
    Regex(Box<Regex>, usize),
}

/// A stretch of a line: stamps begin in `from..to` and end at `end` or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) end: usize,
}

impl Place {
    /// # Errors
    /// An unknown mode, a field that is no number from 1, a bad path or a bad expression.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = |what: String, hint: &str| Err(Refusal::new(what, hint));
        match text.split_once('=') {
            None => match text {
                "start" => Ok(Place::Start),
                "first" => Ok(Place::First),
                "all" => Ok(Place::All),
                _ => refuse(
                    format!("--match {text:?} is unknown"),
                    "write start, first, all, field=N, json=PATH or regex=RE",
                ),
            },
            Some(("field", number)) => match number.parse() {
                Ok(number @ 1..) => Ok(Place::Field(number)),
                _ => refuse(format!("--match field={number} names no field"), "fields count from 1, as in field=2"),
            },
            Some(("json", path)) => Ok(Place::Json(json::Path::parse(path)?)),
            Some(("regex", expression)) => {
                // Lines are bytes: \S is any byte that is no ASCII blank, and no tables of Unicode are needed.
                let regex = RegexBuilder::new(expression).unicode(false).build().map_err(|error| {
                    let reason = error.to_string().lines().last().unwrap_or_default().to_owned();
                    Refusal::new(
                        format!("--match regex={expression} is no regular expression: {reason}"),
                        "mark the stamp with a group, as in regex=^\\[(?<ts>[^\\]]+)\\]",
                    )
                })?;
                let named = regex.capture_names().position(|name| name == Some("ts"));
                let group = named.unwrap_or(usize::from(regex.captures_len() > 1));
                Ok(Place::Regex(Box::new(regex), group))
            }
            Some((mode, _)) => refuse(
                format!("--match {mode}=... is unknown"),
                "write start, first, all, field=N, json=PATH or regex=RE",
            ),
        }
    }

    /// The region of this line, where there is one; JSON regions come with the value they lie in.
    pub(crate) fn region(&self, line: &[u8]) -> Option<(Region, Option<json::Value>)> {
        let end = line.len();
        let region = match self {
            Place::Start => Region { from: 0, to: 1, end },
            Place::First | Place::All => Region { from: 0, to: end, end },
            Place::Field(number) => field(line, *number)?,
            Place::Json(path) => {
                let value = path.find(line)?;
                return Some((Region { from: value.from, to: value.to, end: value.to }, Some(value)));
            }
            Place::Regex(regex, group) => {
                let found = regex.captures(line)?.get(*group)?;
                Region { from: found.start(), to: found.end(), end: found.end() }
            }
        };
        Some((region, None))
    }
}

/// The `number`th run of bytes other than blank and tab.
fn field(line: &[u8], number: usize) -> Option<Region> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut from = 0;
    for count in 1.. {
        from += line.get(from..)?.iter().take_while(|byte| blank(byte)).count();
        let length = line.get(from..)?.iter().take_while(|byte| !blank(byte)).count();
        if length == 0 {
            return None;
        }
        if count == number {
            return Some(Region { from, to: from + length, end: line.len() });
        }
        from += length;
    }
    None
}

/// How candidates for one format are found in a text.
#[derive(Clone, Debug)]
pub(crate) struct Finder {
    /// The rarest literal whose distance from the stamp's first byte is fixed.
    anchor: Option<(u8, usize)>,
    /// Bytes with which a stamp may begin.
    first: [bool; 256],
}

impl Finder {
    pub(crate) fn new(format: &Format, locales: &[&Locale]) -> Self {
        let mut anchor: Option<(u8, usize)> = None;
        let mut distance = 0;
        for item in &format.items {
            if let Item::Literal(byte) = *item
                && anchor.is_none_or(|(best, _)| commonness(byte) < commonness(best))
            {
                anchor = Some((byte, distance));
            }
            match width(item) {
                Some(width) => distance += width,
                None => break,
            }
        }
        let mut first = [false; 256];
        for byte in 0..=255u8 {
            first[usize::from(byte)] = format.items.first().is_some_and(|item| may_begin(item, byte, locales));
        }
        Finder { anchor, first }
    }

    /// The next place in `from..to` where a stamp may begin.
    #[inline]
    pub(crate) fn candidate(&self, text: &[u8], from: usize, to: usize) -> Option<usize> {
        match self.anchor {
            Some((byte, distance)) => {
                let limit = (to + distance).min(text.len());
                let found = memchr(byte, text.get(from + distance..limit)?)?;
                Some(from + found)
            }
            None => {
                let rest = text.get(from..to.min(text.len()))?;
                rest.iter().position(|&byte| self.first[usize::from(byte)]).map(|found| from + found)
            }
        }
    }
}

/// How often a byte occurs in log lines, coarsely; 0 is rare.
fn commonness(byte: u8) -> u8 {
    match byte {
        b' ' => 7,
        b'a'..=b'z' => 6,
        b'.' | b'0'..=b'9' => 5,
        b'-' | b'/' => 4,
        b':' => 3,
        b'A'..=b'Z' | b',' | b'"' | b'=' => 2,
        b'[' | b']' => 1,
        _ => 0,
    }
}

fn width(item: &Item) -> Option<usize> {
    match item {
        Item::Literal(_) => Some(1),
        Item::Year => Some(4),
        Item::DayOfYear => Some(3),
        Item::YearOfCentury | Item::Minute | Item::Second | Item::AmPm { .. } => Some(2),
        Item::Month(Pad::Zero) | Item::Day(Pad::Zero) | Item::Hour(Pad::Zero) | Item::Hour12(Pad::Zero) => Some(2),
        Item::Fraction { point, digits: Some(digits), .. } => Some(usize::from(*digits) + usize::from(*point)),
        _ => None,
    }
}

fn may_begin(item: &Item, byte: u8, locales: &[&Locale]) -> bool {
    let letter = byte.is_ascii_alphabetic() || (!byte.is_ascii() && locales.len() > 1);
    match item {
        Item::Literal(literal) => *literal == byte,
        Item::MonthName { .. } | Item::Weekday { .. } => letter,
        Item::AmPm { .. } | Item::ZoneName => byte.is_ascii_alphabetic(),
        Item::Month(Pad::Blank) | Item::Day(Pad::Blank) | Item::Hour(Pad::Blank) | Item::Hour12(Pad::Blank) => {
            byte == b' ' || byte.is_ascii_digit()
        }
        Item::Fraction { .. } => byte.is_ascii_digit() || matches!(byte, b'.' | b','),
        Item::Offset { .. } => matches!(byte, b'+' | b'-' | b'Z' | b'z'),
        Item::Epoch { .. } => byte == b'-' || byte.is_ascii_digit(),
        Item::Tai64n { at, .. } => (*at && byte == b'@') || (!*at && byte == b'4'),
        _ => byte.is_ascii_digit(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(place: &str, line: &str) -> Option<String> {
        let (region, _) = Place::parse(place).unwrap().region(line.as_bytes())?;
        Some(line[region.from..region.to].to_owned())
    }

    #[test]
    fn fields_count_from_one_and_split_at_blanks() {
        assert_eq!(region("field=1", "  a\t b").as_deref(), Some("a"));
        assert_eq!(region("field=2", "  a\t b").as_deref(), Some("b"));
        assert_eq!(region("field=3", "  a\t b "), None);
    }

    #[test]
    fn an_expressions_stamp_is_ts_else_group_one_else_everything() {
        assert_eq!(region("regex=x=(.)(?<ts>.)", "x=12").as_deref(), Some("2"));
        assert_eq!(region("regex=x=(.)(.)", "x=12").as_deref(), Some("1"));
        assert_eq!(region("regex=x=..", "ax=12").as_deref(), Some("x=12"));
        assert_eq!(region("regex=y", "ax=12"), None);
    }

    #[test]
    fn unknown_modes_are_refused_with_the_known_ones() {
        for (text, what) in [
            ("end", "--match \"end\" is unknown"),
            ("field=0", "--match field=0 names no field"),
            ("line=1", "--match line=... is unknown"),
            ("regex=(", "--match regex=( is no regular expression: error: unclosed group"),
        ] {
            assert_eq!(Place::parse(text).unwrap_err().what, what);
        }
    }

    #[test]
    fn candidates_are_found_by_the_rarest_literal() {
        let locales = [crate::locale::english()];
        let finder = Finder::new(&Format::parse("%d/%m/%YT%T").unwrap(), &locales);
        assert_eq!(finder.anchor, Some((b'T', 10)));
        let text = b"GET / 01/12/2022T16:25:21";
        assert_eq!(finder.candidate(text, 0, text.len()), Some(6));
        assert_eq!(finder.candidate(text, 7, text.len()), None);
        let names = Finder::new(&Format::parse("%b %e %T").unwrap(), &locales);
        assert_eq!(names.candidate(b"12 Nov", 0, 6), Some(3));
    }
}
