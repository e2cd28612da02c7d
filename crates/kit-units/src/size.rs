//! Amounts of bytes: `64KiB`, `1MB`, `4096`.

use crate::UnitError;

/// `k` is 1000 and `Ki` is 1024, as in Kubernetes quantities; a trailing `B` changes nothing.
const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("Gi", 1 << 30),
    ("G", 1_000_000_000),
    ("Mi", 1 << 20),
    ("M", 1_000_000),
    ("Ki", 1 << 10),
    ("K", 1_000),
    ("k", 1_000),
    ("Ti", 1 << 40),
];

/// Reads an amount of bytes such as `64KiB`, `64Ki`, `1MB` or `4096`.
///
/// # Errors
/// Anything but digits followed by nothing, `B`, or one of `k K Ki M Mi G Gi Ti` with or without `B`.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.strip_suffix('B').unwrap_or(unit);
    let bytes = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .and_then(|(_, factor)| number.parse::<u64>().ok()?.checked_mul(*factor));
    bytes
        .ok_or_else(|| UnitError(format!("{text:?} is not a size; write 64KiB, 1MB or a number of bytes such as 4096")))
}

/// Writes an amount of bytes so that [`size`] reads it back, in the largest binary unit that divides it.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    for (name, unit) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_and_binary_units_differ() {
        for (text, bytes) in [
            ("4096", 4096),
            ("0", 0),
            ("4096B", 4096),
            ("64KiB", 65_536),
            ("64Ki", 65_536),
            ("1kB", 1_000),
            ("1K", 1_000),
            ("1MB", 1_000_000),
            ("1MiB", 1_048_576),
            ("2G", 2_000_000_000),
            ("1GiB", 1_073_741_824),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_three_spellings_that_work() {
        for text in ["", "KiB", "-1", "1.5MB", "1 MB", "10XB", "99999999999GiB"] {
            let expected = format!("{text:?} is not a size; write 64KiB, 1MB or a number of bytes such as 4096");
            assert_eq!(size(text), Err(UnitError(expected)));
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for bytes in [0, 1, 1023, 1024, 65_536, 1_048_577, 3 << 30] {
            assert_eq!(size(&format_size(bytes)), Ok(bytes));
        }
    }
}
