//! Points in time as text, in UTC, by a format as for `date(1)`.
//!
//! Only what logs need: no locale, no zone but UTC, proleptic Gregorian years. A digit before `f` or `N` sets the
//! number of digits of the fraction: `%3N` are milliseconds, `%N` nine digits.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

const CONVERSIONS: &str = "%Y %y %m %d %e %H %I %M %S %p %T %R %F %D %b %B %a %A %j %s %f %N %z %Z %%";
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A stamp's format, checked once and rendered often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(char),
    Fraction(usize),
}

/// Why a text is not a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A conversion that does not exist here.
    #[error("%{0} is not one of the conversions {CONVERSIONS}")]
    Unknown(String),
    /// The text ends inside a conversion.
    #[error("the text ends after %; write %% for a percent sign")]
    Unfinished,
    /// A line break would make two lines of one.
    #[error("a stamp holds no line break")]
    LineBreak,
    /// Nothing to print.
    #[error("a stamp must not be empty; write for example %FT%TZ")]
    Empty,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        if text.is_empty() {
            return Err(FormatError::Empty);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\n' | '\r' => return Err(FormatError::LineBreak),
                '%' => match conversion(&mut letters)? {
                    Conversion::Percent => literal.push('%'),
                    Conversion::Part(part) => {
                        if !literal.is_empty() {
                            parts.push(Part::Text(std::mem::take(&mut literal)));
                        }
                        parts.push(part);
                    }
                },
                other => literal.push(other),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }
}

enum Conversion {
    Percent,
    Part(Part),
}

fn conversion(letters: &mut std::str::Chars<'_>) -> Result<Conversion, FormatError> {
    let letter = letters.next().ok_or(FormatError::Unfinished)?;
    match letter {
        '%' => Ok(Conversion::Percent),
        'f' | 'N' => Ok(Conversion::Part(Part::Fraction(9))),
        '1'..='9' => match letters.next().ok_or(FormatError::Unfinished)? {
            'f' | 'N' => Ok(Conversion::Part(Part::Fraction(letter as usize - '0' as usize))),
            other => Err(FormatError::Unknown(format!("{letter}{other}"))),
        },
        known if "YymdeHIMSpTRFDbBaAjszZ".contains(known) => Ok(Conversion::Part(Part::Field(known))),
        other => Err(FormatError::Unknown(other.to_string())),
    }
}

impl Format {
    /// The moment as text. Times before 1970 are shown as 1970.
    #[must_use]
    pub fn render(&self, moment: SystemTime) -> String {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = Clock::at(since.as_secs());
        let mut text = String::with_capacity(32);
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Field(letter) => clock.write(*letter, &mut text),
                Part::Fraction(digits) => text.push_str(&format!("{:09}", since.subsec_nanos())[..*digits]),
            }
        }
        text
    }
}

/// One second of UTC, taken apart.
struct Clock {
    unix: u64,
    year: u64,
    /// From 1.
    month: usize,
    /// From 1.
    day: u64,
    /// From 1.
    day_of_year: u64,
    /// From Sunday, 0.
    weekday: usize,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Clock {
    fn at(unix: u64) -> Self {
        let (days, seconds) = (unix / 86_400, unix % 86_400);
        // The calendar repeats every 400 years of 146 097 days; years begin in March here, so that the leap day is last.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_march_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_march_year + 2) / 153;
        let day = day_of_march_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        let day_of_year = if month > 2 { day_of_march_year + 60 + u64::from(leap) } else { day_of_march_year - 305 };
        Self {
            unix,
            year,
            month: month as usize,
            day,
            day_of_year,
            // 1 January 1970 was a Thursday.
            weekday: ((days + 4) % 7) as usize,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }

    fn write(&self, letter: char, text: &mut String) {
        let Self { year, month, day, hour, minute, second, .. } = self;
        let hour12 = (hour + 11) % 12 + 1;
        // Writing to a String cannot fail.
        let _written = match letter {
            'Y' => write!(text, "{year}"),
            'y' => write!(text, "{:02}", year % 100),
            'm' => write!(text, "{month:02}"),
            'd' => write!(text, "{day:02}"),
            'e' => write!(text, "{day:2}"),
            'H' => write!(text, "{hour:02}"),
            'I' => write!(text, "{hour12:02}"),
            'M' => write!(text, "{minute:02}"),
            'S' => write!(text, "{second:02}"),
            'p' => write!(text, "{}", if *hour < 12 { "AM" } else { "PM" }),
            'T' => write!(text, "{hour:02}:{minute:02}:{second:02}"),
            'R' => write!(text, "{hour:02}:{minute:02}"),
            'F' => write!(text, "{year}-{month:02}-{day:02}"),
            'D' => write!(text, "{month:02}/{day:02}/{:02}", year % 100),
            'b' => write!(text, "{}", &MONTHS[month - 1][..3]),
            'B' => write!(text, "{}", MONTHS[month - 1]),
            'a' => write!(text, "{}", &WEEKDAYS[self.weekday][..3]),
            'A' => write!(text, "{}", WEEKDAYS[self.weekday]),
            'j' => write!(text, "{:03}", self.day_of_year),
            's' => write!(text, "{}", self.unix),
            'z' => write!(text, "+0000"),
            _ => write!(text, "UTC"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(format: &str, unix: u64, expected: &str) {
        let moment = UNIX_EPOCH + Duration::new(unix, 120_045_006);
        assert_eq!(format.parse::<Format>().unwrap().render(moment), expected, "{format} at {unix}");
    }

    #[test]
    fn a_format_renders_as_date_does() {
        check("%d/%m/%YT%T", 1_669_911_921, "01/12/2022T16:25:21");
        check("%FT%T,%3NZ", 1_669_911_921, "2022-12-01T16:25:21,120Z");
        check("%d/%b/%Y:%H:%M:%S %z", 1_669_911_921, "01/Dec/2022:16:25:21 +0000");
        check("%a, %d %b %Y %T GMT", 784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check("%A %B %e %I:%M %p %y %D %R %Z", 784_111_777, "Sunday November  6 08:49 AM 94 11/06/94 08:49 UTC");
        check("%s.%6f %N %%", 12, "12.120045 120045006 %");
        check("%I%p", 0, "12AM");
        check("%I%p", 43_200, "12PM");
    }

    #[test]
    fn days_of_the_year_count_from_one_and_know_leap_years() {
        check("%F %j", 0, "1970-01-01 001");
        check("%F %j", 951_782_400, "2000-02-29 060");
        check("%F %j", 951_868_800, "2000-03-01 061");
        check("%F %j", 978_220_800, "2000-12-31 366");
        check("%F %j", 1_677_628_800, "2023-03-01 060");
        check("%F %j", 4_107_542_400, "2100-03-01 060");
        check("%F %j", 1_704_067_199, "2023-12-31 365");
    }

    #[test]
    fn what_is_not_a_format_is_refused() {
        let refused = |text: &str| text.parse::<Format>().unwrap_err();
        assert_eq!(refused(""), FormatError::Empty);
        assert_eq!(refused("%"), FormatError::Unfinished);
        assert_eq!(refused("%3"), FormatError::Unfinished);
        assert_eq!(refused("%3d"), FormatError::Unknown("3d".into()));
        assert_eq!(refused("%Y\n"), FormatError::LineBreak);
    }
}
