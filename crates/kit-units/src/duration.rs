//! Spans of time: `250ms`, `5s`, `1m30s`, `1.5h`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::UnitError;

/// Units from the largest to the smallest, each in nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a span of time such as `250ms`, `5s`, `1m30s`, `1.5h` or `0s`.
///
/// # Errors
/// A number without a unit, an unknown unit, a negative span or one beyond 584 years.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let trimmed = text.trim();
    let refuse = |why: &str| UnitError(format!("{text:?} {why}"));
    if trimmed.is_empty() {
        return Err(refuse("is not a duration; write 250ms, 5s or 1m30s"));
    }
    if trimmed.starts_with('-') {
        return Err(refuse("is negative; write a duration such as 5s"));
    }
    if trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refuse(&format!("needs a unit; write {trimmed}ms, {trimmed}s or {trimmed}m")));
    }
    let mut total: u64 = 0;
    let mut rest = trimmed;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, after) = tail.split_at(unit_end);
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(refuse("is not a duration; the units are d, h, m, s, ms, us and ns, as in 1m30s"));
        };
        let part = scaled(number, *nanos).ok_or_else(|| refuse("is not a duration; write 250ms, 5s or 1m30s"))?;
        total = total.checked_add(part).ok_or_else(|| refuse("is longer than 584 years"))?;
        rest = after;
    }
    Ok(Duration::from_nanos(total))
}

/// `number` (digits, at most one point) times `unit`, or nothing where it is no number or too large.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let mut value = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let mut digit_weight = unit;
    for digit in fraction.bytes() {
        digit_weight /= 10;
        value = value.checked_add(u64::from(digit - b'0') * digit_weight)?;
    }
    Some(value)
}

/// Writes a span so that [`duration`] reads the same span back, e.g. `1m30s` or `250ms`.
#[must_use]
pub fn format_duration(span: Duration) -> String {
    let mut nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, unit) in UNITS {
        let count = nanos / unit;
        nanos %= unit;
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "{count}{name}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Duration, &str>) {
        assert_eq!(duration(text), expected.map_err(|message| UnitError(message.to_owned())), "{text}");
    }

    #[test]
    fn every_unit_and_their_sums_are_read() {
        check("250ms", Ok(Duration::from_millis(250)));
        check("5s", Ok(Duration::from_secs(5)));
        check("1m30s", Ok(Duration::from_secs(90)));
        check("1.5h", Ok(Duration::from_secs(5400)));
        check("2d", Ok(Duration::from_secs(172_800)));
        check("0s", Ok(Duration::ZERO));
        check("100us", Ok(Duration::from_micros(100)));
        check("7ns", Ok(Duration::from_nanos(7)));
        check(" 5s ", Ok(Duration::from_secs(5)));
    }

    #[test]
    fn a_bare_number_is_refused_with_the_spellings_it_may_have_meant() {
        check("250", Err("\"250\" needs a unit; write 250ms, 250s or 250m"));
        check("0", Err("\"0\" needs a unit; write 0ms, 0s or 0m"));
    }

    #[test]
    fn nonsense_is_refused() {
        let units = "is not a duration; the units are d, h, m, s, ms, us and ns, as in 1m30s";
        let shape = "is not a duration; write 250ms, 5s or 1m30s";
        check("", Err(&format!("\"\" {shape}")));
        check("abc", Err(&format!("\"abc\" {units}")));
        check("5 s", Err(&format!("\"5 s\" {units}")));
        check("5x", Err(&format!("\"5x\" {units}")));
        check("1..5s", Err(&format!("\"1..5s\" {shape}")));
        check("5.s", Err(&format!("\"5.s\" {shape}")));
        check(".5s", Err(&format!("\".5s\" {shape}")));
        check("ms", Err(&format!("\"ms\" {shape}")));
        check("-5s", Err("\"-5s\" is negative; write a duration such as 5s"));
        check("99999999999d", Err(&format!("\"99999999999d\" {shape}")));
        check("200000d200000d", Err("\"200000d200000d\" is longer than 584 years"));
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for nanos in [0, 1, 999, 1_000, 90_000_000_000, 86_400_000_000_001, 250_000_000] {
            let span = Duration::from_nanos(nanos);
            assert_eq!(duration(&format_duration(span)), Ok(span));
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "1m30s");
    }
}
