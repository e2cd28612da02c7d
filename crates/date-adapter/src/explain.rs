//! What the flags mean together, and how one line is understood: for authors of pod specs.

use std::fmt::Write as _;

use crate::adapt::{Adapter, Counts, OnInvalid, OnUnmatched};
use kit_lines::Input;

use crate::config::{Config, Worked};
use crate::format::write::Precision;
use crate::moment::Leap;
use crate::place::Place;
use crate::stream::Stream;
use crate::worked::Desk;
use crate::years::YearRule;

/// What `--explain` prints.
pub(crate) fn plan(config: &Config) -> String {
    let plan = &config.adapter.plan;
    let mut text = String::new();
    let mut say = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<13} {value}");
    };
    let mut names: Vec<String> = Vec::new();
    for format in &plan.inputs {
        let name = format.name.clone();
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    say("reads", format!("{} ({} spellings)", names.join(", then "), plan.inputs.len()));
    say("where", where_text(&plan.place));
    say("writes", plan.output.name.clone());
    let rules = &plan.rules;
    say(
        "zones",
        match (rules.instant, &rules.from, &rules.to) {
            (false, ..) => "not needed: parts are only put in another order".to_owned(),
            (true, from, to) => {
                let named = |zone: &Option<crate::zone::Zone>, none: &str| {
                    zone.as_ref().map_or_else(|| none.to_owned(), |zone| zone.label())
                };
                let from = named(from, "refused (none has to be)");
                format!("stamps without a zone: {from}; output: {}", named(to, "the stamp's own"))
            }
        },
    );
    if rules.from.is_some() {
        say("clock change", format!("skipped: {:?}; repeated: {:?}", rules.gap, rules.fold).to_lowercase());
    }
    if plan.inputs.iter().any(|format| format.parts.has_date() && !format.parts.year && !format.parts.instant) {
        say(
            "missing year",
            match config.adapter.file.years.rule {
                YearRule::Infer => "nearest to the stamp before, never more than 36 hours ahead".to_owned(),
                YearRule::Now => "this year".to_owned(),
                YearRule::From(year) => format!("{year}, rolling over"),
            },
        );
    }
    say(
        "fraction",
        match plan.precision {
            Precision::Keep => "as many digits as there are, where the format leaves it open".to_owned(),
            Precision::Digits(digits) => format!("{digits} digits, cut off"),
        },
    );
    say("leap second", if rules.leap == Leap::Keep { ":60 stays".to_owned() } else { ":60 becomes :59".to_owned() });
    say("no stamp", unmatched_text(plan.on_unmatched).to_owned());
    say("impossible", invalid_text(plan.on_invalid).to_owned());
    if config.worked.is_some() {
        let before = "decoded, joined, chosen and sampled before the stamp is looked for";
        say("lines", format!("{before}; cut, paced and dressed afterwards"));
    }
    text
}

fn where_text(place: &Place) -> String {
    match place {
        Place::Start => "at the first byte of the line".to_owned(),
        Place::First => "the first stamp of the line".to_owned(),
        Place::All => "every stamp of the line".to_owned(),
        Place::Field(number) => format!("in field {number}, fields separated by blanks"),
        Place::Json(_) => "in one value of a line of JSON".to_owned(),
        Place::Regex(regex, group) => format!("in group {group} of {}", regex.as_str()),
    }
}

fn unmatched_text(policy: OnUnmatched) -> &'static str {
    match policy {
        OnUnmatched::Pass => "the line passes as it is",
        OnUnmatched::Drop => "the line is dropped",
        OnUnmatched::Inherit => "the stamp of the line before is put in front",
        OnUnmatched::Stamp => "the current time is put in front",
        OnUnmatched::Fail => "the run ends with code 1",
    }
}

fn invalid_text(policy: OnInvalid) -> &'static str {
    match policy {
        OnInvalid::Pass => "the line passes as it is",
        OnInvalid::Tag => "the line passes with [invalid-timestamp] in front",
        OnInvalid::Drop => "the line is dropped",
        OnInvalid::Fail => "the run ends with code 1",
    }
}

/// How `--test-line` went.
pub(crate) struct Test {
    pub(crate) text: String,
    pub(crate) rewritten: bool,
}

/// Rewrites one line and tells what happened.
pub(crate) fn line(adapter: &mut Adapter, worked: Option<Worked>, line: &str) -> Test {
    let out = match worked {
        Some(Worked { mut lines, .. }) => {
            let mut out = Vec::new();
            Desk::default().take(&mut lines, adapter, Input::whole(b"-", line.as_bytes()), &mut out);
            out
        }
        None => rewritten(adapter, line.as_bytes()),
    };
    let counts: Counts = adapter.counts().clone();
    let result = match &counts {
        counts if counts.lines() == 0 => "left out by the flags for lines".to_owned(),
        Counts { rewritten: 1.., .. } => "rewritten".to_owned(),
        Counts { invalid: 1.., .. } => adapter.impossible.as_ref().map_or_else(
            || "impossible".to_owned(),
            |report| format!("impossible: {}: {:?}", report.reason, report.stamp),
        ),
        Counts { ambiguous: 1.., .. } => {
            "ambiguous: day and month could be swapped; --day-first or --month-first decides".to_owned()
        }
        _ => "no stamp found".to_owned(),
    };
    let out = String::from_utf8_lossy(&out);
    let out = out.strip_suffix('\n').unwrap_or(&out);
    let mut text = format!("input         {line}\noutput        {out}\nresult        {result}\n");
    if let Some(index) = counts.hits.iter().position(|hits| *hits > 0) {
        let _ = writeln!(text, "format        {}", adapter.plan.inputs[index].describe());
    }
    Test { text, rewritten: counts.rewritten > 0 }
}

fn rewritten(adapter: &mut Adapter, line: &[u8]) -> Vec<u8> {
    let mut stream = Stream::default();
    let mut out = Vec::new();
    let collect = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    // Writing to memory does not fail.
    let _ = stream.push(adapter, line, |bytes| collect(&mut out, bytes));
    let _ = stream.finish(adapter, |bytes| collect(&mut out, bytes));
    out
}
