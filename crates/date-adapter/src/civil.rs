//! Days since 1970-01-01 and calendar dates of the proleptic Gregorian calendar, both ways.
//!
//! The conversion counts in years that begin on March 1, so that the leap day is the last day of a year and month
//! lengths follow one linear rule. Years are whole numbers, year 0 is 1 BC; nothing here knows zones.

/// Seconds of a day without a leap second.
pub(crate) const DAY: i64 = 86_400;

/// Days from 1970-01-01 to this date; `month` is 1 to 12, `day` 1 to 31.
pub(crate) fn days_from_date(year: i64, month: u8, day: u8) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date (year, month, day) that lies `days` after 1970-01-01.
pub(crate) fn date_from_days(days: i64) -> (i64, u8, u8) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, small(month), small(day))
}

pub(crate) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month, 0 for a month that does not exist.
pub(crate) fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 0,
    }
}

/// Day of the week of a day count, Sunday is 0.
pub(crate) fn weekday(days: i64) -> usize {
    usize::from(small((days + 4).rem_euclid(7)))
}

/// Day of the year, 1 to 366.
pub(crate) fn day_of_year(year: i64, month: u8, day: u8) -> i64 {
    days_from_date(year, month, day) - days_from_date(year, 1, 1) + 1
}

/// Month and day of a day of the year (1 to 366), or nothing where the year is shorter.
pub(crate) fn date_of_year_day(year: i64, ordinal: u16) -> Option<(u8, u8)> {
    if ordinal == 0 || ordinal > 365 + u16::from(is_leap(year)) {
        return None;
    }
    let (_, month, day) = date_from_days(days_from_date(year, 1, 1) + i64::from(ordinal) - 1);
    Some((month, day))
}

/// A calendar part that is known to be below 256.
fn small(value: i64) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_goes_there_and_back() {
        for days in -146_097..=146_097 {
            let (year, month, day) = date_from_days(days);
            assert_eq!(days_from_date(year, month, day), days, "{year}-{month}-{day}");
            assert!(day >= 1 && day <= days_in_month(year, month));
        }
    }

    #[test]
    fn known_days_have_known_dates() {
        assert_eq!(days_from_date(1970, 1, 1), 0);
        assert_eq!(days_from_date(2000, 2, 29), 11_016);
        assert_eq!(days_from_date(0, 1, 1), -719_528);
        assert_eq!(date_from_days(2_932_896), (9999, 12, 31));
        assert_eq!(weekday(days_from_date(2022, 12, 1)), 4);
        assert_eq!(weekday(-1), 3);
    }

    #[test]
    fn day_366_exists_in_leap_years_only() {
        assert_eq!(date_of_year_day(2024, 366), Some((12, 31)));
        assert_eq!(date_of_year_day(2023, 366), None);
        assert_eq!(date_of_year_day(2023, 60), Some((3, 1)));
        assert_eq!(day_of_year(2024, 12, 31), 366);
    }
}
