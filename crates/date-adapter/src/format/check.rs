//! Refuses, before the first line, pairs of formats that cannot work.

use super::{Format, Item, Parts};
use crate::Refusal;

/// What was asked for besides the formats.
pub(crate) struct Asked {
    /// `--from-zone` is given.
    pub(crate) from_zone: bool,
    /// `--zone` names a zone (not `keep`).
    pub(crate) zone: bool,
    /// `--precision` is other than `keep`.
    pub(crate) precision: bool,
}

/// Whether a stamp must be placed on the line of time, or its parts only be put in another order.
pub(crate) fn needs_instant(output: &Format, asked: &Asked) -> bool {
    asked.zone || output.parts.names_zone()
}

/// Checks the output format by itself.
///
/// # Errors
/// `--precision` where the format has no open fraction.
pub(crate) fn output(output: &Format, asked: &Asked) -> Result<(), Refusal> {
    let open = output.items.iter().any(|item| matches!(item, Item::Fraction { width: None, .. }));
    if asked.precision && !open {
        return Err(Refusal::new(
            format!("--precision has nothing to set: the format {:?} has no fraction of open length", output.name),
            "write %.f where the fraction belongs, or leave --precision out",
        ));
    }
    Ok(())
}

/// Checks one input format against the output.
///
/// # Errors
/// Names what the output asks for and the input cannot tell, and how to repair it.
pub(crate) fn pair(input: &Format, output: &Format, asked: &Asked) -> Result<(), Refusal> {
    let parts = input.parts;
    let name = &input.name;
    let refuse = |what: String, hint: &str| Err(Refusal::new(what, hint));
    let calendar = Parts { instant: false, fraction: false, ..parts };
    if parts.instant && calendar != Parts::default() {
        return refuse(
            format!("the format {name:?} names both a count of seconds and calendar parts"),
            "a count says everything; use %s or %s%.f alone",
        );
    }
    if input.items.contains(&Item::Literal(b'\n')) {
        return refuse(
            format!("the format {name:?} has a line end in it, and stamps stand in one line"),
            "leave the line end out",
        );
    }
    if parts.hour12 != parts.am_pm {
        return refuse(
            format!("the format {name:?} has %I or %p without the other"),
            "write %I with %p, or %H for hours of 24",
        );
    }
    let has_hour = parts.hour || parts.hour12;
    if (parts.minute && !has_hour)
        || (parts.second && !parts.minute)
        || (parts.fraction && !parts.second && !parts.instant)
    {
        return refuse(
            format!("the format {name:?} has a smaller unit of time without the larger one"),
            "a fraction needs %S, %S needs %M, %M needs %H",
        );
    }
    if parts.day && !parts.month {
        return refuse(format!("the format {name:?} has a day without a month"), "add %m or %b, or use %j");
    }
    if parts.day_of_year && (!parts.year || parts.month) {
        return refuse(
            format!("the format {name:?} needs a year, and no month, beside %j"),
            "write %Y and %j, or %Y %m %d",
        );
    }
    wanted(input, output, asked)
}

fn wanted(input: &Format, output: &Format, asked: &Asked) -> Result<(), Refusal> {
    let (has, wants) = (input.parts, output.parts);
    let name = &input.name;
    let instant = needs_instant(output, asked);
    let lacks = |what: &str, directive: &str| {
        Err(Refusal::new(
            format!("the output {:?} needs {what}, which the input {name:?} does not have", output.name),
            format!("add {directive} to -i, or leave it out of -f"),
        ))
    };
    if instant && !has.names_zone() && !asked.from_zone {
        return Err(Refusal::new(
            format!("the output needs to know the zone of the stamps, and the input {name:?} does not say it"),
            "add --from-zone, such as --from-zone UTC or --from-zone Europe/Paris",
        ));
    }
    let has_hour = has.hour || has.hour12 || has.instant;
    if (instant || wants.touches_date()) && !has.has_date() {
        // A month alone may be rearranged into a month.
        let enough = !instant && !wants.weekday && !wants.day_of_year && (!wants.day || has.day);
        let enough = enough && (!wants.month || has.month) && (!wants.year || has.year);
        if !enough {
            return lacks("a date", "%m and %d");
        }
    }
    if (instant || wants.hour || wants.hour12 || wants.am_pm) && !has_hour {
        return lacks("an hour", "%H");
    }
    if wants.minute && !has.minute && !has.instant {
        return lacks("minutes", "%M");
    }
    // A spelling of a preset that stops at the minute means its beginning.
    if wants.second && !has.second && !has.instant && name.contains("%") {
        return lacks("seconds", "%S");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, to: &str, from_zone: bool, zone: bool) -> String {
        let asked = Asked { from_zone, zone, precision: false };
        let (input, to) = (Format::parse(input).unwrap(), super::super::preset::output(to).unwrap());
        pair(&input, &to, &asked).err().map_or_else(|| "fine".to_owned(), |refusal| refusal.what)
    }

    #[test]
    fn rearranging_needs_no_zone_and_everything_else_does() {
        assert_eq!(check("%d/%m/%YT%T", "%Y/%m/%dT%T", false, false), "fine");
        let zone = "the output needs to know the zone of the stamps, and the input \"%d/%m/%YT%T\" does not say it";
        for output in ["rfc3339", "epoch", "%T %Z", "%T%z", "tai64n"] {
            assert_eq!(check("%d/%m/%YT%T", output, false, false), zone, "{output}");
            assert_eq!(check("%d/%m/%YT%T", output, true, false), "fine", "{output}");
        }
        assert_eq!(check("%d/%m/%YT%T", "%Y/%m/%dT%T", false, true), zone);
        assert_eq!(check("%d/%m/%YT%T%z", "rfc3339", false, true), "fine");
    }

    #[test]
    fn incomplete_formats_are_refused() {
        assert_eq!(check("%d %T", "%T", false, false), "the format \"%d %T\" has a day without a month");
        assert_eq!(check("%I:%M", "%H:%M", false, false), "the format \"%I:%M\" has %I or %p without the other");
        let smaller = "the format \"%H %S\" has a smaller unit of time without the larger one";
        assert_eq!(check("%H %S", "%H", false, false), smaller);
        assert_eq!(
            check("%m-%d", "%m/%d %H", false, false),
            "the output \"%m/%d %H\" needs an hour, which the input \"%m-%d\" does not have"
        );
        assert_eq!(
            check("%T", "%F %T", false, false),
            "the output \"%F %T\" needs a date, which the input \"%T\" does not have"
        );
        assert_eq!(
            check("%H:%M", "%T", false, false),
            "the output \"%T\" needs seconds, which the input \"%H:%M\" does not have"
        );
        assert_eq!(
            check("%s %Y", "%F", false, false),
            "the format \"%s %Y\" names both a count of seconds and calendar parts"
        );
        let line_end = "the format \"%m%n%d\" has a line end in it, and stamps stand in one line";
        assert_eq!(check("%m%n%d", "%m/%d", false, false), line_end);
        assert_eq!(check("%T", "%I:%M %p", false, false), "fine");
        assert_eq!(check("%b %e %T", "%Y-%m-%d %T", false, false), "fine");
    }

    #[test]
    fn precision_needs_an_open_fraction() {
        let asked = Asked { from_zone: false, zone: false, precision: true };
        assert!(output(&super::super::preset::output("rfc3339").unwrap(), &asked).is_ok());
        let refusal = output(&Format::parse("%T.%3f").unwrap(), &asked).unwrap_err();
        assert!(refusal.what.starts_with("--precision has nothing to set"));
    }
}
