//! What happens to lines that are not simply rewritten: values inside JSON, and the policies for the rest.

use crate::adapt::{Adapter, Line, OnInvalid, OnUnmatched, Outcome, Report, TAG};
use crate::format::read::{Fraction, Stamp, power_of_ten};
use crate::format::write::{self, Precision};
use crate::json::{self, Value};
use crate::moment::{Impossible, Moment, show};
use crate::output::Output;
use crate::zone::ZoneName;

/// Bytes of a stamp that a message shows.
const SHOWN: usize = 64;

impl Adapter {
    /// Rewrites the value at the JSON path, and nothing else of the line.
    pub(crate) fn json(&mut self, buffer: &mut [u8], line: Line, value: Value, output: &mut Output) {
        let written = buffer[line.from + value.from..line.from + value.to].to_vec();
        let (text, places) = if written.contains(&b'\\') { json::unescaped(&written) } else { (written, Vec::new()) };
        let Some((at, index, stamp, end)) = self.json_stamp(&text, value) else {
            return self.unmatched(buffer, line, output);
        };
        // A place in the text is a place in the line, past the escapes before it.
        let place = |at: usize| value.from + places.get(at).copied().unwrap_or(at);
        match self.compose_any(index, stamp, &text, (at, end)) {
            (Outcome::Rewritten, end) => {
                let mut new = std::mem::take(&mut self.rendered);
                if !value.quoted && !self.numeric {
                    new.insert(0, b'"');
                    new.push(b'"');
                }
                output.replace(buffer, line.from + place(at), line.from + place(end), &new);
                self.rendered = new;
                self.counts.rewritten += 1;
                if self.plan.on_unmatched == OnUnmatched::Inherit {
                    self.file.last.clone_from(&self.rendered);
                }
            }
            (outcome, end) => self.left(buffer, line, (place(at), place(end)), &outcome, output),
        }
    }

    fn json_stamp(&self, text: &[u8], value: Value) -> Option<(usize, usize, Stamp, usize)> {
        let found = (0..self.plan.inputs.len()).filter_map(|index| {
            let (at, stamp, end) = self.search(index, text, 0, text.len())?;
            // A part of a number is no number: 1.6e9 must not become "2022..."e9.
            (value.quoted || (at == 0 && end == text.len())).then_some((at, index, stamp, end))
        });
        found.min_by_key(|(at, index, ..)| (*at, *index))
    }

    /// Composes with this format, else with the next that reads a stamp at the same place; tells where it ended.
    fn compose_any(&mut self, index: usize, stamp: Stamp, text: &[u8], (at, end): (usize, usize)) -> (Outcome, usize) {
        let (mut index, mut stamp, mut end) = (index, stamp, end);
        loop {
            match self.compose(index, &stamp, text, true) {
                Outcome::Invalid(reason) => match self.next_fit(index, text, at) {
                    Some(next) => (index, stamp, end) = next,
                    None => return (Outcome::Invalid(reason), end),
                },
                outcome => return (outcome, end),
            }
        }
    }

    /// A line whose stamp was found and left: `place` is where, relative to the line.
    pub(crate) fn left(
        &mut self,
        buffer: &mut [u8],
        line: Line,
        place: (usize, usize),
        outcome: &Outcome,
        output: &mut Output,
    ) {
        let stamp = &buffer[line.from + place.0..line.from + place.1];
        let shown = String::from_utf8_lossy(&stamp[..stamp.len().min(SHOWN)]).into_owned();
        let number = self.line_number();
        let Outcome::Invalid(reason) = outcome else {
            self.counts.ambiguous += 1;
            let reason = "day and month could be swapped";
            self.ambiguous.get_or_insert(Report { line: number, stamp: shown, reason });
            return;
        };
        self.counts.invalid += 1;
        let report = Report { line: number, stamp: shown, reason: reason.text() };
        self.impossible.get_or_insert_with(|| report.clone());
        match self.plan.on_invalid {
            OnInvalid::Pass => {}
            OnInvalid::Tag => put_in_front(buffer, line, TAG, output),
            OnInvalid::Drop => self.leave_out(buffer, line, output),
            OnInvalid::Fail => self.fail(buffer, line, report, output),
        }
    }

    pub(crate) fn unmatched(&mut self, buffer: &mut [u8], line: Line, output: &mut Output) {
        let number = self.line_number();
        self.counts.unmatched += 1;
        match self.plan.on_unmatched {
            OnUnmatched::Pass => {}
            OnUnmatched::Drop => self.leave_out(buffer, line, output),
            OnUnmatched::Inherit if self.file.last.is_empty() => {}
            OnUnmatched::Inherit => {
                let stamp = [self.file.last.as_slice(), b" "].concat();
                put_in_front(buffer, line, &stamp, output);
            }
            OnUnmatched::Stamp => {
                if let Ok(stamp) = self.now() {
                    put_in_front(buffer, line, &stamp, output);
                }
            }
            OnUnmatched::Fail => {
                let report = Report { line: number, stamp: String::new(), reason: "no stamp" };
                self.fail(buffer, line, report, output);
            }
        }
    }

    fn leave_out(&mut self, buffer: &[u8], line: Line, output: &mut Output) {
        output.upto(buffer, line.from);
        output.copied = line.next;
        self.counts.dropped += 1;
    }

    /// Ends the run before this line; what came before it still goes out.
    fn fail(&mut self, buffer: &[u8], line: Line, report: Report, output: &mut Output) {
        output.upto(buffer, line.from);
        output.ended = true;
        self.failed = Some(report);
    }

    /// The current time and a blank, in the output's format and zone (UTC where the stamps keep theirs).
    fn now(&mut self) -> Result<Vec<u8>, Impossible> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let instant = i64::try_from(since.as_secs()).unwrap_or(0);
        let plan = &mut self.plan;
        let (offset, zone_name) = match &mut plan.rules.to {
            Some(zone) => zone.at(instant),
            None => (0, ZoneName::new(b"UTC")),
        };
        let digits = if plan.precision == Precision::Keep { 3 } else { 9 };
        let fraction = Fraction::new(u64::from(since.subsec_nanos()) / power_of_ten(9 - digits), digits);
        let shown = show(instant + i64::from(offset), fraction)?;
        let moment = Moment { offset: Some(offset), zone_name, instant: Some(instant), ..shown };
        let mut out = Vec::new();
        write::moment(&plan.output.items, plan.output_locale, plan.precision, &moment, &mut out);
        out.push(b' ');
        Ok(out)
    }
}

fn put_in_front(buffer: &[u8], line: Line, text: &[u8], output: &mut Output) {
    output.upto(buffer, line.from);
    output.push(text);
}
