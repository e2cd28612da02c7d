//! Formats: what a stamp looks like, compiled once from `%d/%m/%YT%T` or a preset's name.
//!
//! A format is a list of items. The same list reads a stamp ([`read`]) and writes one ([`write`]); what it can tell and
//! what it asks for are its [`Parts`], from which [`check`] refuses pairs that cannot work before the first line.
//!
//! ```text
//! "%d/%m/%YT%T"  ->  Day, '/', Month, '/', Year, 'T', Hour, ':', Minute, ':', Second
//! ```

pub(crate) mod check;
pub(crate) mod preset;
pub(crate) mod read;
pub(crate) mod write;

use crate::Refusal;

/// Digits that a fraction may have: attoseconds fill a `u64`.
pub(crate) const MAX_FRACTION_DIGITS: u8 = 18;

/// How a number of one or two digits is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pad {
    /// Exactly two digits.
    Zero,
    /// Two characters, the first may be a blank; one digit is read too.
    Blank,
    /// One or two digits.
    None,
}

/// The unit of a count since 1970-01-01T00:00:00Z: its decimal digits after the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochUnit(pub(crate) u8);

/// One element of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Literal(u8),
    Year,
    YearOfCentury,
    Month(Pad),
    MonthName {
        long: bool,
    },
    Day(Pad),
    DayOfYear,
    Weekday {
        long: bool,
    },
    Hour(Pad),
    Hour12(Pad),
    AmPm {
        upper: bool,
    },
    Minute,
    Second,
    /// `point`: with its own `.` or `,`, and absent where there is no fraction. `digits`: reads exactly so many.
    /// `width`: writes exactly so many, else what the input had or `--precision` says.
    Fraction {
        point: bool,
        digits: Option<u8>,
        width: Option<u8>,
    },
    /// `+0100`, or with `colon` `+01:00`; `zulu` writes `Z` for zero. All spellings are read.
    Offset {
        colon: bool,
        zulu: bool,
    },
    /// A zone's abbreviation such as `CET`.
    ZoneName,
    /// A count since 1970; `digits`: exactly so many are read (`auto` needs that).
    Epoch {
        unit: EpochUnit,
        digits: Option<u8>,
    },
    /// `@` and 16 or 24 hexadecimal digits.
    Tai64n {
        at: bool,
        nanos: bool,
    },
}

/// Which facts a format names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) year: bool,
    pub(crate) month: bool,
    pub(crate) day: bool,
    pub(crate) day_of_year: bool,
    pub(crate) weekday: bool,
    pub(crate) hour: bool,
    pub(crate) hour12: bool,
    pub(crate) am_pm: bool,
    pub(crate) minute: bool,
    pub(crate) second: bool,
    pub(crate) fraction: bool,
    pub(crate) offset: bool,
    pub(crate) zone_name: bool,
    pub(crate) instant: bool,
}

impl Parts {
    pub(crate) fn of(items: &[Item]) -> Self {
        let mut parts = Parts::default();
        for item in items {
            match item {
                Item::Literal(_) => {}
                Item::Year | Item::YearOfCentury => parts.year = true,
                Item::Month(_) | Item::MonthName { .. } => parts.month = true,
                Item::Day(_) => parts.day = true,
                Item::DayOfYear => parts.day_of_year = true,
                Item::Weekday { .. } => parts.weekday = true,
                Item::Hour(_) => parts.hour = true,
                Item::Hour12(_) => parts.hour12 = true,
                Item::AmPm { .. } => parts.am_pm = true,
                Item::Minute => parts.minute = true,
                Item::Second => parts.second = true,
                Item::Fraction { .. } => parts.fraction = true,
                Item::Offset { .. } => parts.offset = true,
                Item::ZoneName => parts.zone_name = true,
                Item::Epoch { .. } | Item::Tai64n { .. } => parts.instant = true,
            }
        }
        parts
    }

    /// Whether a stamp of these parts names one moment without being told a zone.
    pub(crate) fn names_zone(self) -> bool {
        self.offset || self.zone_name || self.instant
    }

    /// Whether month and day are known (the year may have to be inferred).
    pub(crate) fn has_date(self) -> bool {
        self.instant || self.day_of_year || (self.month && self.day)
    }

    /// Whether anything of a date is named.
    pub(crate) fn touches_date(self) -> bool {
        self.year || self.month || self.day || self.day_of_year || self.weekday
    }
}

/// A compiled format and what people call it.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    /// What was typed, or the preset's name: the label of `format_hits_total`.
    pub(crate) name: String,
    pub(crate) items: Vec<Item>,
    pub(crate) parts: Parts,
    /// Set in `auto`: a stamp whose day and month could be swapped is left alone.
    pub(crate) guesses_day: bool,
}

impl Format {
    pub(crate) fn new(name: &str, items: Vec<Item>) -> Self {
        Format { name: name.to_owned(), parts: Parts::of(&items), items, guesses_day: false }
    }

    /// The format as directives, with its preset's name where it has one.
    pub(crate) fn describe(&self) -> String {
        let text: Vec<u8> = self.items.iter().flat_map(spelled).collect();
        let text = String::from_utf8_lossy(&text).into_owned();
        if text == self.name { text } else { format!("{} as {text}", self.name) }
    }

    /// Compiles a strptime-like text.
    ///
    /// # Errors
    /// An empty text, an unknown directive, or one named twice.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut items = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            if byte == b'%' {
                rest = directive(text, rest, &mut items)?;
            } else {
                items.push(Item::Literal(byte));
            }
        }
        if items.iter().all(|item| matches!(item, Item::Literal(_))) {
            return Err(Refusal::new(
                format!("the format {text:?} has no date or time in it"),
                "write directives such as %Y-%m-%dT%H:%M:%S, or a preset's name such as rfc3339",
            ));
        }
        refuse_repetition(text, &items)?;
        Ok(Format::new(text, items))
    }
}

fn spelled(item: &Item) -> Vec<u8> {
    let padded = |pad: Pad, zero: &str, blank: &str| match pad {
        Pad::Zero => format!("%{zero}"),
        Pad::Blank => format!("%{blank}"),
        Pad::None => format!("%-{zero}"),
    };
    let text = match item {
        Item::Literal(b'%') => "%%".to_owned(),
        Item::Literal(byte) => return vec![*byte],
        Item::Year => "%Y".to_owned(),
        Item::YearOfCentury => "%y".to_owned(),
        Item::Month(pad) => padded(*pad, "m", "_m"),
        Item::MonthName { long } => if *long { "%B" } else { "%b" }.to_owned(),
        Item::Day(pad) => padded(*pad, "d", "e"),
        Item::DayOfYear => "%j".to_owned(),
        Item::Weekday { long } => if *long { "%A" } else { "%a" }.to_owned(),
        Item::Hour(pad) => padded(*pad, "H", "k"),
        Item::Hour12(pad) => padded(*pad, "I", "l"),
        Item::AmPm { upper } => if *upper { "%p" } else { "%P" }.to_owned(),
        Item::Minute => "%M".to_owned(),
        Item::Second => "%S".to_owned(),
        Item::Fraction { point, digits, .. } => {
            let digits = digits.map_or_else(String::new, |digits| digits.to_string());
            format!("%{}{digits}f", if *point { "." } else { "" })
        }
        Item::Offset { colon, .. } => if *colon { "%:z" } else { "%z" }.to_owned(),
        Item::ZoneName => "%Z".to_owned(),
        Item::Epoch { unit: EpochUnit(0), .. } => "%s".to_owned(),
        Item::Epoch { unit: EpochUnit(digits), .. } => format!("a count of 10^-{digits} seconds"),
        Item::Tai64n { .. } => "a TAI64N label".to_owned(),
    };
    text.into_bytes()
}

/// Compiles one directive, `rest` begins after its `%`; returns what follows it.
fn directive<'a>(text: &str, rest: &'a [u8], items: &mut Vec<Item>) -> Result<&'a [u8], Refusal> {
    let (mut rest, pad) = match rest {
        [b'-', tail @ ..] => (tail, Some(Pad::None)),
        [b'_', tail @ ..] => (tail, Some(Pad::Blank)),
        [b'0', tail @ ..] => (tail, Some(Pad::Zero)),
        _ => (rest, None),
    };
    let modifiers = rest;
    let colon = take(&mut rest, b':');
    let point = take(&mut rest, b'.');
    let digits = number(&mut rest);
    let Some((&letter, tail)) = rest.split_first() else {
        return Err(Refusal::new(
            format!("the format {text:?} ends inside a directive"),
            "write %% for a percent sign",
        ));
    };
    let padded = |default| pad.unwrap_or(default);
    let plain = modifiers.len() == rest.len();
    let fraction = matches!(letter, b'f' | b'N' | b'L');
    let takes_pad = matches!(letter, b'd' | b'm' | b'e' | b'H' | b'k' | b'I' | b'l');
    let colon_only = letter == b'z' && colon && !point && digits.is_none();
    let modified = plain || (fraction && !colon) || colon_only;
    if !modified || (pad.is_some() && !takes_pad) {
        return Err(unknown(text, letter));
    }
    let hms = |items: &mut Vec<Item>| {
        items.extend([Item::Hour(Pad::Zero), Item::Literal(b':'), Item::Minute, Item::Literal(b':'), Item::Second]);
    };
    match letter {
        b'%' => items.push(Item::Literal(b'%')),
        b'n' => items.push(Item::Literal(b'\n')),
        b't' => items.push(Item::Literal(b'\t')),
        b'Y' => items.push(Item::Year),
        b'y' => items.push(Item::YearOfCentury),
        b'm' => items.push(Item::Month(padded(Pad::Zero))),
        b'b' | b'h' => items.push(Item::MonthName { long: false }),
        b'B' => items.push(Item::MonthName { long: true }),
        b'd' => items.push(Item::Day(padded(Pad::Zero))),
        b'e' => items.push(Item::Day(padded(Pad::Blank))),
        b'j' => items.push(Item::DayOfYear),
        b'a' => items.push(Item::Weekday { long: false }),
        b'A' => items.push(Item::Weekday { long: true }),
        b'H' => items.push(Item::Hour(padded(Pad::Zero))),
        b'k' => items.push(Item::Hour(padded(Pad::Blank))),
        b'I' => items.push(Item::Hour12(padded(Pad::Zero))),
        b'l' => items.push(Item::Hour12(padded(Pad::Blank))),
        b'p' => items.push(Item::AmPm { upper: true }),
        b'P' => items.push(Item::AmPm { upper: false }),
        b'M' => items.push(Item::Minute),
        b'S' => items.push(Item::Second),
        b'f' | b'N' | b'L' => {
            let digits = fraction_digits(text, digits)?;
            // Alone, %N writes nanoseconds as GNU date does, %L milliseconds; both read what there is.
            let width = digits.or(match letter {
                b'N' => Some(9),
                b'L' => Some(3),
                _ => None,
            });
            items.push(Item::Fraction { point, digits, width });
        }
        b'z' => items.push(Item::Offset { colon, zulu: false }),
        b'Z' => items.push(Item::ZoneName),
        b's' => items.push(Item::Epoch { unit: EpochUnit(0), digits: None }),
        b'T' => hms(items),
        b'R' => items.extend([Item::Hour(Pad::Zero), Item::Literal(b':'), Item::Minute]),
        b'F' => {
            items.extend([Item::Year, Item::Literal(b'-'), Item::Month(Pad::Zero)]);
            items.extend([Item::Literal(b'-'), Item::Day(Pad::Zero)]);
        }
        b'D' => {
            items.extend([Item::Month(Pad::Zero), Item::Literal(b'/'), Item::Day(Pad::Zero)]);
            items.extend([Item::Literal(b'/'), Item::YearOfCentury]);
        }
        _ => return Err(unknown(text, letter)),
    }
    Ok(tail)
}

fn take(rest: &mut &[u8], byte: u8) -> bool {
    match rest {
        [first, tail @ ..] if *first == byte => {
            *rest = tail;
            true
        }
        _ => false,
    }
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let mut value = None;
    while let [digit @ b'0'..=b'9', tail @ ..] = rest {
        value = Some(value.unwrap_or(0u32).saturating_mul(10).saturating_add(u32::from(digit - b'0')));
        *rest = tail;
    }
    value
}

fn fraction_digits(text: &str, digits: Option<u32>) -> Result<Option<u8>, Refusal> {
    let Some(digits) = digits else { return Ok(None) };
    match u8::try_from(digits) {
        Ok(digits @ 1..=MAX_FRACTION_DIGITS) => Ok(Some(digits)),
        _ => Err(Refusal::new(
            format!("the format {text:?} asks for a fraction of {digits} digits"),
            "a fraction has 1 to 18 digits, as in %3f; %f alone takes as many as there are",
        )),
    }
}

fn unknown(text: &str, letter: u8) -> Refusal {
    let letter = char::from(letter);
    let hint = match letter {
        'c' | 'x' | 'X' | 'r' => "it depends on the locale; write its parts, such as %Y-%m-%d %H:%M:%S",
        'U' | 'V' | 'W' | 'G' | 'g' | 'u' | 'w' => "weeks are not read; use %Y %m %d or %j",
        _ => {
            "the directives are %Y %y %m %d %e %j %b %B %a %A %H %I %k %l %p %P %M %S %f %3f %.f %L %N %z %:z %Z %s %F %T %D \
             %R %n %t %%"
        }
    };
    Refusal::new(format!("the format {text:?} has a directive %{letter} that is unknown here"), hint)
}

/// Two directives for one fact could contradict each other in a line.
fn refuse_repetition(text: &str, items: &[Item]) -> Result<(), Refusal> {
    let kind = |item: &Item| match item {
        Item::Literal(_) => None,
        Item::Year | Item::YearOfCentury => Some("the year"),
        Item::Month(_) | Item::MonthName { .. } => Some("the month"),
        Item::Day(_) => Some("the day"),
        Item::DayOfYear => Some("the day of the year"),
        Item::Weekday { .. } => Some("the weekday"),
        Item::Hour(_) | Item::Hour12(_) => Some("the hour"),
        Item::AmPm { .. } => Some("am or pm"),
        Item::Minute => Some("the minute"),
        Item::Second => Some("the second"),
        Item::Fraction { .. } => Some("the fraction"),
        Item::Offset { .. } => Some("the offset"),
        Item::ZoneName => Some("the zone"),
        Item::Epoch { .. } | Item::Tai64n { .. } => Some("the count of seconds"),
    };
    let mut seen = Vec::new();
    for what in items.iter().filter_map(kind) {
        if seen.contains(&what) {
            return Err(Refusal::new(format!("the format {text:?} names {what} twice"), "name each part once"));
        }
        seen.push(what);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Format::parse(text).unwrap_err().what
    }

    #[test]
    fn composed_directives_mean_their_parts() {
        assert_eq!(Format::parse("%FT%T").unwrap().items, Format::parse("%Y-%m-%dT%H:%M:%S").unwrap().items);
        assert_eq!(Format::parse("%D %R").unwrap().items, Format::parse("%m/%d/%y %H:%M").unwrap().items);
    }

    #[test]
    fn what_cannot_be_compiled_is_refused_with_its_name() {
        assert_eq!(refused("%Y-%q"), "the format \"%Y-%q\" has a directive %q that is unknown here");
        assert_eq!(refused("%Y %"), "the format \"%Y %\" ends inside a directive");
        assert_eq!(refused("today"), "the format \"today\" has no date or time in it");
        assert_eq!(refused("%T %H"), "the format \"%T %H\" names the hour twice");
        assert_eq!(refused("%19f"), "the format \"%19f\" asks for a fraction of 19 digits");
        assert_eq!(refused("%:Y"), "the format \"%:Y\" has a directive %Y that is unknown here");
        assert_eq!(refused("%-Y"), "the format \"%-Y\" has a directive %Y that is unknown here");
    }
}
