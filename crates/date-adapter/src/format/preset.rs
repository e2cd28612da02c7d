//! Formats that have a name: one name may stand for several spellings.

use super::{EpochUnit, Format, Item};
use crate::Refusal;

/// The names that `-i` takes, in the order of the help text; `-f` takes all but `auto`.
pub(crate) const NAMES: [&str; 14] = [
    "rfc3339",
    "rfc2822",
    "clf",
    "syslog",
    "ctime",
    "log4j",
    "nginx-error",
    "go",
    "klog",
    "epoch",
    "epoch-ms",
    "epoch-us",
    "epoch-ns",
    "tai64n",
];

/// Which of day and month comes first where only numbers tell, for `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DayOrder {
    Unknown,
    DayFirst,
    MonthFirst,
}

/// The formats that `-i name` reads, in the order in which they are tried.
///
/// # Errors
/// A name that is no preset, or a text that does not compile.
pub(crate) fn input(text: &str, order: DayOrder) -> Result<Vec<Format>, Refusal> {
    if text == "auto" {
        return auto(order);
    }
    if let Some(unit) = epoch_unit(text) {
        let count = Item::Epoch { unit, digits: None };
        let fraction = Item::Fraction { point: true, digits: None, width: None };
        let items = if unit.0 == 0 { vec![count, fraction] } else { vec![count] };
        return Ok(vec![Format::new(text, items)]);
    }
    let spellings: &[&str] = match text {
        "rfc3339" => &["%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dt%H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%.f%:z"],
        "rfc2822" => &[
            "%a, %-d %b %Y %H:%M:%S %z",
            "%a, %-d %b %Y %H:%M:%S %Z",
            "%a, %-d %b %Y %H:%M %z",
            "%-d %b %Y %H:%M:%S %z",
            "%-d %b %Y %H:%M:%S %Z",
            "%-d %b %Y %H:%M %z",
        ],
        "clf" => &["%d/%b/%Y:%H:%M:%S %z"],
        "syslog" => &["%b %e %H:%M:%S"],
        "ctime" => &["%a %b %e %H:%M:%S %Y"],
        "log4j" => &["%Y-%m-%d %H:%M:%S,%3f"],
        "nginx-error" => &["%Y/%m/%d %H:%M:%S"],
        "go" => &["%Y/%m/%d %H:%M:%S%.f"],
        "klog" => &["%m%d %H:%M:%S.%6f"],
        "tai64n" => return Ok(tai64n(&[(true, true), (false, true), (true, false), (false, false)])),
        _ if !text.contains('%') => return Err(unknown(text)),
        _ => return Ok(vec![Format::parse(text)?]),
    };
    named(text, spellings)
}

/// The format that `-f name` writes.
///
/// # Errors
/// As [`input`], and `auto`, which is no way to write.
pub(crate) fn output(text: &str) -> Result<Format, Refusal> {
    if text == "auto" {
        return Err(Refusal::new("auto is a way to read and cannot be written", "give -f a format or another preset"));
    }
    if let Some(unit) = epoch_unit(text) {
        return Ok(Format::new(text, vec![Item::Epoch { unit, digits: None }]));
    }
    let mut format = match text {
        "rfc2822" => Format::parse("%a, %d %b %Y %H:%M:%S %z")?,
        "go" => Format::parse("%Y/%m/%d %H:%M:%S%.f")?,
        _ => input(text, DayOrder::Unknown)?.swap_remove(0),
    };
    if text == "rfc3339" {
        for item in &mut format.items {
            if let Item::Offset { zulu, .. } = item {
                *zulu = true;
            }
        }
    }
    text.clone_into(&mut format.name);
    Ok(format)
}

fn epoch_unit(text: &str) -> Option<EpochUnit> {
    match text {
        "epoch" => Some(EpochUnit(0)),
        "epoch-ms" => Some(EpochUnit(3)),
        "epoch-us" => Some(EpochUnit(6)),
        "epoch-ns" => Some(EpochUnit(9)),
        _ => None,
    }
}

fn named(name: &str, spellings: &[&str]) -> Result<Vec<Format>, Refusal> {
    spellings.iter().map(|text| Ok(Format { name: name.to_owned(), ..Format::parse(text)? })).collect()
}

fn tai64n(spellings: &[(bool, bool)]) -> Vec<Format> {
    let format = |&(at, nanos): &(bool, bool)| Format::new("tai64n", vec![Item::Tai64n { at, nanos }]);
    spellings.iter().map(format).collect()
}

fn unknown(text: &str) -> Refusal {
    let shared = |name: &str| name.bytes().zip(text.bytes()).take_while(|(one, other)| one == other).count();
    let nearest = NAMES.iter().max_by_key(|name| shared(name)).filter(|name| shared(name) >= 2);
    let hint = match nearest {
        Some(name) => format!("did you mean {name}? The presets are {} and, for -i, auto", NAMES.join(", ")),
        None => format!("write directives such as %Y-%m-%d, or a preset: {} or, for -i, auto", NAMES.join(", ")),
    };
    Refusal::new(format!("{text:?} is neither a format nor a preset"), hint)
}

/// What `auto` knows, longer spellings before their beginnings. Dates of three numbers whose year is last come in both
/// orders unless one was chosen; stamps that both orders could read are then left alone.
fn auto(order: DayOrder) -> Result<Vec<Format>, Refusal> {
    let mut formats = Vec::new();
    for time in ["T%H:%M:%S%.f", " %H:%M:%S%.f"] {
        for zone in ["%z", " %z", ""] {
            formats.push(format!("%Y-%m-%d{time}{zone}"));
        }
    }
    for zone in [" %z", ""] {
        formats.push(format!("%Y/%m/%d %H:%M:%S%.f{zone}"));
        formats.push(format!("%d/%b/%Y:%H:%M:%S{zone}"));
        formats.push(format!("%-d-%b-%Y %H:%M:%S%.f{zone}"));
    }
    for tail in [":%S %z", ":%S %Z", ":%S", " %z"] {
        formats.push(format!("%a, %-d %b %Y %H:%M{tail}"));
        formats.push(format!("%-d %b %Y %H:%M{tail}"));
    }
    for tail in ["%H:%M:%S%.f %Y", "%H:%M:%S %Z %Y", "%H:%M:%S %z %Y"] {
        formats.push(format!("%a %b %e {tail}"));
    }
    formats.push("%Y %b %d %a %H:%M:%S%.f".to_owned());
    let mut all: Vec<Format> = named("auto", &formats.iter().map(String::as_str).collect::<Vec<_>>())?;
    all.extend(numbered(order)?);
    all.extend(named("auto", &["%b %e %H:%M:%S%.f %z", "%b %e %H:%M:%S%.f", "%m%d %H:%M:%S.%6f"])?);
    all.extend(tai64n(&[(true, true)]));
    for (unit, digits) in [(9, 19), (6, 16), (3, 13), (0, 10)] {
        let count = Item::Epoch { unit: EpochUnit(unit), digits: Some(digits) };
        let fraction = (unit == 0).then_some(Item::Fraction { point: true, digits: None, width: None });
        all.push(Format::new("auto", std::iter::once(count).chain(fraction).collect()));
    }
    for format in &mut all {
        "auto".clone_into(&mut format.name);
    }
    Ok(all)
}

fn numbered(order: DayOrder) -> Result<Vec<Format>, Refusal> {
    let mut formats = Vec::new();
    for separator in ["/", "-", "."] {
        for time in ["T%H:%M:%S%.f", " %I:%M:%S %p", " %H:%M:%S%.f", ":%H:%M:%S%.f"] {
            for zone in ["%z", " %z", ""] {
                let day_first = format!("%d{separator}%m{separator}%Y{time}{zone}");
                let month_first = format!("%m{separator}%d{separator}%Y{time}{zone}");
                let texts: &[String] = match order {
                    DayOrder::DayFirst => &[day_first],
                    DayOrder::MonthFirst => &[month_first],
                    DayOrder::Unknown => &[day_first, month_first],
                };
                for text in texts {
                    let guesses_day = order == DayOrder::Unknown;
                    formats.push(Format { guesses_day, ..Format::parse(text)? });
                }
            }
        }
    }
    Ok(formats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_reads_and_writes() {
        for name in NAMES {
            assert!(!input(name, DayOrder::Unknown).unwrap().is_empty(), "{name}");
            assert_eq!(output(name).unwrap().name, name);
        }
        assert!(input("auto", DayOrder::Unknown).unwrap().len() > input("auto", DayOrder::DayFirst).unwrap().len());
    }

    #[test]
    fn a_misspelt_preset_is_told_the_nearest() {
        let refusal = input("rfc339", DayOrder::Unknown).unwrap_err();
        assert_eq!(refusal.what, "\"rfc339\" is neither a format nor a preset");
        assert!(refusal.hint.starts_with("did you mean rfc3339?"), "{}", refusal.hint);
        assert_eq!(output("auto").unwrap_err().what, "auto is a way to read and cannot be written");
    }
}
