//! The current date as `date(1)` would write it.

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// As busybox and POSIX `date` write it.
pub(crate) const DEFAULT_FORMAT: &str = "%a %b %e %H:%M:%S %Z %Y";

/// A time zone by name, as a POSIX TZ string, or with the leading colon that TZ may have.
pub(crate) fn zone(name: &str) -> Result<TimeZone, String> {
    let name = name.strip_prefix(':').unwrap_or(name);
    if name.is_empty() || name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    // Names first, as libc does; "EST5EDT" is both and means the same.
    kit_zones::get(name).map_or_else(|| TimeZone::posix(name), Ok).map_err(|_| {
        format!("\"{name}\" is no time zone; write a name such as Europe/Berlin or a POSIX string such as CET-1CEST,M3.5.0,M10.5.0/3")
    })
}

/// One line, its newline included.
pub(crate) fn line(now: Timestamp, zone: TimeZone, format: &str) -> Result<String, String> {
    let mut text = strtime::format(format, &now.to_zoned(zone)).map_err(|error| error.to_string())?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iw05_a_fixed_instant_looks_as_date_writes_it() {
        let now: Timestamp = "2022-12-01T15:25:21Z".parse().unwrap();
        let check = |name: &str, format: &str, expected: &str| {
            assert_eq!(line(now, zone(name).unwrap(), format).unwrap(), expected, "{name} {format}");
        };
        check("", DEFAULT_FORMAT, "Thu Dec  1 15:25:21 UTC 2022\n");
        check("UTC", "%F %T", "2022-12-01 15:25:21\n");
        check("Europe/Berlin", DEFAULT_FORMAT, "Thu Dec  1 16:25:21 CET 2022\n");
        check(":America/New_York", "%H:%M %z", "10:25 -0500\n");
        check("Asia/Kathmandu", "%Y-%m-%dT%H:%M:%S%:z", "2022-12-01T21:10:21+05:45\n");
        check("CET-1CEST,M3.5.0,M10.5.0/3", "%H %Z", "16 CET\n");
        check("UTC0", "%s", "1669908321\n");
        check("<+07>-7", "%H %Z", "22 +07\n");
        check("UTC", "", "\n");
    }

    #[test]
    fn an_unknown_zone_and_a_bad_format_are_refused() {
        assert!(zone("Europe/Atlantis").unwrap_err().starts_with("\"Europe/Atlantis\" is no time zone"));
        assert!(line(Timestamp::UNIX_EPOCH, TimeZone::UTC, "%!").is_err());
    }
}
