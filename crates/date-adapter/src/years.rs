//! The year of a stamp that has none.
//!
//! A log moves forward in small steps, so the year is the one that puts a stamp nearest to the one before it; that holds
//! for replays of old files and at New Year in both directions. The first stamp is measured against the file's time of
//! modification, or the clock. No inferred stamp lies more than 36 hours in the future.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::civil::{DAY, date_from_days, days_from_date, days_in_month};

/// Room for writers in zones ahead of ours and clocks that run fast.
const FUTURE: i64 = 36 * 3600;
/// A leap year is at most eight years away (1896 to 1904).
const REACH: i64 = 8;

/// Where a missing year comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YearRule {
    /// From the stamps before, the file's age and the clock.
    Infer,
    /// The clock's year, always.
    Now,
    /// This year for the first stamp of a file; later stamps roll over from it.
    From(i64),
}

/// What is known about one file's years.
#[derive(Clone, Debug)]
pub(crate) struct Years {
    pub(crate) rule: YearRule,
    /// Seconds that the stamps' clock is ahead of UTC.
    shift: i64,
    /// Wall clock of the stamp before.
    previous: Option<i64>,
    /// Wall clock of the file's last modification.
    modified: Option<i64>,
    clock: fn() -> i64,
}

/// Seconds since 1970, now.
pub(crate) fn system_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Years {
    pub(crate) fn new(rule: YearRule, shift: i64, clock: fn() -> i64) -> Self {
        Years { rule, shift, previous: None, modified: None, clock }
    }

    /// The same rule for another file, last modified then (seconds since 1970).
    pub(crate) fn another(&self, modified: Option<i64>) -> Self {
        Years { previous: None, modified: modified.map(|seconds| seconds + self.shift), ..self.clone() }
    }

    /// The year of this stamp, remembered for the next; nothing where the date exists in no near year.
    pub(crate) fn infer(&mut self, month: u8, day: u8, second_of_day: i64) -> Option<i64> {
        let now = (self.clock)() + self.shift;
        let this_year = date_from_days(now.div_euclid(DAY)).0;
        let wall = |year: i64| days_from_date(year, month, day) * DAY + second_of_day;
        let exists = |year: &i64| day >= 1 && day <= days_in_month(*year, month);
        let near = |year: i64| (year - REACH..=year + REACH).filter(exists);
        let year = match (self.rule, self.previous) {
            (YearRule::Now, _) => near(this_year).min_by_key(|year| (year - this_year).abs()),
            (YearRule::From(first), None) => near(first).min_by_key(|year| (year - first).abs()),
            (rule, previous) => {
                let reference = previous.or(self.modified).unwrap_or(now);
                let limit = if rule == YearRule::Infer { now + FUTURE } else { i64::MAX };
                let reference_year = date_from_days(reference.div_euclid(DAY)).0;
                let allowed = near(reference_year).filter(|&year| wall(year) <= limit);
                allowed.min_by_key(|&year| (wall(year) - reference).abs())
            }
        }?;
        self.previous = Some(wall(year));
        Some(year)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(days: i64, hour: i64) -> i64 {
        days * DAY + hour * 3600
    }

    /// 2024-01-01T00:30Z, 2023-12-31T23:00Z and 2024-06-15T12:00Z.
    const NEW_YEAR: i64 = at(19_723, 0) + 1800;
    const OLD_YEAR: i64 = at(19_722, 23);
    const JUNE: i64 = at(19_889, 12);

    fn years(clock: fn() -> i64) -> Years {
        Years::new(YearRule::Infer, 0, clock)
    }

    #[test]
    fn da10_new_year_is_right_on_both_sides() {
        assert_eq!(years(|| NEW_YEAR).infer(12, 31, 86_340), Some(2023));
        assert_eq!(years(|| OLD_YEAR).infer(1, 1, 60), Some(2024));
        assert_eq!(years(|| JUNE).infer(12, 31, 0), Some(2023));
        assert_eq!(years(|| JUNE).infer(6, 16, 0), Some(2024));
    }

    #[test]
    fn da10_a_replayed_file_keeps_its_own_years_and_rolls_over() {
        // A file of the winter of 2019, read in June 2024.
        let mut years = years(|| JUNE).another(Some(at(17_900, 0)));
        assert_eq!(years.infer(12, 30, 0), Some(2018));
        assert_eq!(years.infer(12, 31, 86_399), Some(2018));
        assert_eq!(years.infer(1, 1, 0), Some(2019));
        assert_eq!(years.infer(12, 31, 86_399), Some(2018), "a late line of the old year");
        assert_eq!(years.infer(1, 2, 0), Some(2019));
    }

    #[test]
    fn da10_a_given_year_is_where_the_file_begins() {
        let mut years = Years::new(YearRule::From(2009), 0, || JUNE);
        assert_eq!(years.infer(11, 30, 0), Some(2009));
        assert_eq!(years.infer(2, 1, 0), Some(2010));
        let mut always = Years::new(YearRule::Now, 0, || JUNE);
        assert_eq!(always.infer(12, 31, 0), Some(2024));
        assert_eq!(always.infer(1, 1, 0), Some(2024));
    }

    #[test]
    fn da10_leap_day_goes_to_the_nearest_leap_year() {
        assert_eq!(years(|| JUNE).infer(2, 29, 0), Some(2024));
        assert_eq!(years(|| at(19_500, 0)).infer(2, 29, 0), Some(2020), "2024 would be in the future of 2023");
        assert_eq!(years(|| JUNE).infer(2, 30, 0), None);
    }
}
