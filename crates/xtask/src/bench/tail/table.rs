//! The table in log-tailer's README, made from raw results.

use super::speed::{BARE_COPY, BARE_SPLICE};
use super::subjects::{BUSYBOX, GNU, OURS, OURS_COPYING, UUTILS};
use crate::bench::results::Results;

/// One line per gate of the specification, with "met" or "missed", and what was measured where.
#[must_use]
pub fn of(results: &Results) -> String {
    let names: Vec<&str> = [OURS, GNU, BUSYBOX, UUTILS].into_iter().filter(|name| measured(results, name)).collect();
    let mut lines =
        vec![format!("| | {} | gate |", names.join(" | ")), format!("|---|{}---|", "---|".repeat(names.len()))];
    for row in rows(results) {
        let cells: Vec<String> = names.iter().map(|name| (row.cell)(results, name)).collect();
        lines.push(format!("| {} | {} | {} |", row.title, cells.join(" | "), row.gate));
    }
    format!("{}\n\n{}", lines.join("\n"), explanation(results))
}

fn measured(results: &Results, name: &str) -> bool {
    results.programs.iter().any(|program| program.name == name)
}

/// The text of one program.
type Cell = Box<dyn Fn(&Results, &str) -> String>;

struct Row {
    title: &'static str,
    cell: Cell,
    gate: String,
}

fn row(title: &'static str, gate: String, cell: impl Fn(&Results, &str) -> String + 'static) -> Row {
    Row { title, cell: Box::new(cell), gate }
}

fn rows(results: &Results) -> Vec<Row> {
    let mut rows = Vec::new();
    for (title, name) in [
        ("100 rotations, 5051 lines, 1 line/ms: lines missing", "storm paced"),
        ("100 rotations, 50501 lines, no pause: lines missing", "storm unpaced"),
        ("copytruncate regrowing past the old offset, 50501 lines: lines missing", "storm copytruncate"),
        ("stdout blocked 4 s over 3 rotations, 80001 lines: lines missing", "storm blocked"),
    ] {
        let wrong = results.worst(&format!("{name}, doubled or torn"), OURS).unwrap_or(0.0);
        let met = results.worst(name, OURS).map(|missing| missing == 0.0 && wrong == 0.0);
        let gate = verdict(met, "0 in every round, none doubled or torn");
        rows.push(row(title, gate, move |results, program| loss(results, name, program)));
    }
    rows.push(kills(results));
    rows.extend(speed(results));
    rows.extend(memory(results));
    rows.extend(quiet(results));
    let size = |results: &Results, name: &str| {
        let program = results.programs.iter().find(|program| program.name == name);
        program.map_or_else(|| "-".to_owned(), |program| format!("{} kB", program.bytes / 1000))
    };
    let ours = results.programs.iter().find(|program| program.name == OURS);
    let gate = verdict(ours.map(|ours| ours.bytes <= 2_000_000), "at most 2 MB, which is the whole image");
    rows.push(row("program file (the peers' need libc, or bring more than tail)", gate, size));
    rows
}

/// "0", or the median with the range of a row that varies.
fn loss(results: &Results, name: &str, program: &str) -> String {
    let samples: Vec<f64> = results.samples(name, program).iter().flatten().copied().collect();
    let Some(median) = results.median(name, program) else { return "-".to_owned() };
    let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let most = samples.iter().copied().fold(0.0, f64::max);
    let wrong = results.worst(&format!("{name}, doubled or torn"), program).unwrap_or(0.0);
    let range = if least == most { String::new() } else { format!(" ({least:.0}-{most:.0})") };
    let wrong = if wrong == 0.0 { String::new() } else { format!(", up to {wrong:.0} doubled or torn") };
    format!("{median:.0}{range}{wrong}")
}

fn kills(results: &Results) -> Row {
    let count = results.samples("kills, bytes repeated", OURS).len();
    let most = results.worst("kills, bytes repeated", OURS);
    let missing = results.worst("kills, missing", OURS);
    let met = most.zip(missing).map(|(most, missing)| most <= 65_536.0 && missing == 0.0 && count >= 1000);
    let gate = verdict(met, "1000 kills, 0 missing, at most 65536 bytes repeated per kill");
    row("random SIGKILLs with a state file: lines missing, bytes repeated per kill", gate, move |results, program| {
        match (program == OURS, results.median("kills, bytes repeated", program)) {
            (true, Some(median)) => {
                format!("{count} kills: {:.0}, median {median:.0}, at most {:.0}", or_nan(missing), or_nan(most))
            }
            _ => "-".to_owned(),
        }
    })
}

fn speed(results: &Results) -> [Row; 2] {
    let rate = |name: &str| results.median("catch-up", name);
    let part = |ours: &str, bare: &str| rate(ours).zip(rate(bare)).map(|(ours, bare)| 100.0 * ours / bare);
    let (spliced, copied) = (part(OURS, BARE_SPLICE), part(OURS_COPYING, BARE_COPY));
    let gate = |part: Option<f64>, least: f64, bare: &str| {
        let said = format!(
            "at least {least:.0} % of a {bare} in this run: {:.0} % of {:.0} MB/s",
            or_nan(part),
            or_nan(rate(bare))
        );
        verdict(part.map(|part| part >= least), &said)
    };
    let cell = |results: &Results, name: &str| {
        results.median("catch-up", name).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0} MB/s"))
    };
    [
        row("catch-up of 938 MB into a pipe", gate(spliced, 85.0, BARE_SPLICE), cell),
        row("the same with `--copy` (read and write)", gate(copied, 80.0, BARE_COPY), move |results, name| {
            if name == OURS { cell(results, OURS_COPYING) } else { "-".to_owned() }
        }),
    ]
}

fn memory(results: &Results) -> [Row; 2] {
    let cell = |results: &Results, name: &str, what: &str| {
        let kib = |size: &str| results.median(&format!("memory {size}, {what}"), name);
        kib("938 MB").zip(kib("1 MB")).map_or_else(|| "-".to_owned(), |(a, b)| format!("{a:.0} / {b:.0} KiB"))
    };
    let kib = |size: &str, what: &str| results.worst(&format!("memory {size}, {what}"), OURS);
    let anonymous = kib("938 MB", "anonymous").zip(kib("1 MB", "anonymous"));
    let peak = kib("938 MB", "VmHWM").zip(kib("1 MB", "VmHWM"));
    let flat = |pair: Option<(f64, f64)>, most: f64| pair.map(|(a, b)| a.max(b) <= most && (a - b).abs() <= 64.0);
    let gates = [
        verdict(flat(anonymous, 512.0), "at most 512 KiB, equal within 64"),
        verdict(flat(peak, 2048.0), "at most 2048 KiB, equal within 64"),
    ];
    let [anonymous, peak] = gates;
    [
        row("anonymous memory, peak, file of 938 MB / 1 MB appears", anonymous, move |results, name| {
            cell(results, name, "anonymous")
        }),
        row("resident memory, peak (VmHWM), same", peak, move |results, name| cell(results, name, "VmHWM")),
    ]
}

fn quiet(results: &Results) -> [Row; 3] {
    let ratio = results.median("latency p50", OURS).zip(results.median("latency p50", GNU)).map(|(a, b)| a / b);
    let said = format!("p50 at most 1.1 times GNU tail in this run: {:.2} times", or_nan(ratio));
    let latency = verdict(ratio.map(|ratio| ratio <= 1.1), &said);
    let wakes = verdict(results.median("wake-ups", OURS).map(|count| count <= 5.0), "at most 5");
    let ends = verdict(results.worst("sigterm", OURS).map(|time| time <= 100.0), "within 100 ms");
    [
        row("line written to line read, p50 / p99", latency, |results, name| {
            let time = |quantile: &str| results.median(&format!("latency {quantile}"), name);
            time("p50").zip(time("p99")).map_or_else(|| "-".to_owned(), |(a, b)| format!("{a:.0} / {b:.0} us"))
        }),
        row("wake-ups in 10 s of an idle log", wakes, |results, name| {
            results.median("wake-ups", name).map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"))
        }),
        row("SIGTERM as process 1, idle", ends, |results, name| {
            if results.samples("sigterm", name).is_empty() {
                return "-".to_owned();
            }
            results.median("sigterm", name).map_or_else(|| "ignored".to_owned(), |time| format!("{time:.0} ms"))
        }),
    ]
}

fn explanation(results: &Results) -> String {
    let machine = &results.machine;
    let versions: Vec<String> =
        results.programs.iter().map(|program| format!("{}: {}", program.name, program.version)).collect();
    let mut text = format!(
        "Medians of {} rounds in which the programs took turns (`cargo xtask bench tail`; raw: `tests/bench/tail.json`); \
         ranges in brackets. {} cores of {}, Linux {}, commit {}. {}. All of them run as `-n+1 -F FILE`; the busybox \
         is Debian's, with glibc: Alpine's is slower. Every output was compared with what was written.",
        results.rounds,
        machine.cores,
        machine.cpu,
        machine.kernel,
        machine.commit,
        versions.join("; "),
    );
    for note in &results.notes {
        text.push(' ');
        text.push_str(note);
    }
    text
}

fn verdict(met: Option<bool>, gate: &str) -> String {
    match met {
        Some(true) => format!("met: {gate}"),
        Some(false) => format!("**missed**: {gate}"),
        None => format!("not measured: {gate}"),
    }
}

fn or_nan(number: Option<f64>) -> f64 {
    number.unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::machine::Machine;
    use crate::bench::results::Program;

    fn results(samples: &[(&str, &str, &[Option<f64>])]) -> Results {
        let machine = Machine { cpu: "a cpu".into(), cores: 2, kernel: "6.1".into(), commit: "abc".into() };
        let program = |name: &str| Program { name: name.into(), version: format!("{name} 1"), bytes: 1_900_000 };
        let programs = vec![program(OURS), program(GNU)];
        let mut results =
            Results { machine, rounds: 2, programs, notes: vec!["A note.".into()], rows: BTreeMap::new() };
        for (row, program, samples) in samples {
            samples.iter().for_each(|sample| results.add(row, program, *sample));
        }
        results
    }

    #[test]
    fn a_gate_is_missed_by_one_bad_round_and_says_so() {
        let good =
            results(&[("storm paced", OURS, &[Some(0.0), Some(0.0)]), ("storm paced", GNU, &[Some(7.0), Some(9.0)])]);
        assert!(
            of(&good).contains("lines missing | 0 | 7 (7-9) | met: 0 in every round, none doubled or torn |"),
            "{}",
            of(&good)
        );
        let bad = results(&[("storm paced", OURS, &[Some(0.0), Some(1.0)])]);
        assert!(of(&bad).contains("| 0 (0-1) | - | **missed**: 0 in every round"), "{}", of(&bad));
        let doubled =
            results(&[("storm paced", OURS, &[Some(0.0)]), ("storm paced, doubled or torn", OURS, &[Some(2.0)])]);
        assert!(of(&doubled).contains("| 0, up to 2 doubled or torn | - | **missed**: 0"), "{}", of(&doubled));
    }

    #[test]
    fn what_was_not_measured_is_not_called_met() {
        let table = of(&results(&[]));
        assert_eq!(table.matches("| met:").count(), 1, "only the size is known: {table}");
        assert!(table.ends_with("A note."), "{table}");
    }

    #[test]
    fn an_ignored_signal_is_shown_as_ignored() {
        let table = of(&results(&[("sigterm", GNU, &[None, None]), ("sigterm", OURS, &[Some(3.2), Some(4.0)])]));
        assert!(table.contains("| SIGTERM as process 1, idle | 3 ms | ignored | met: within 100 ms |"), "{table}");
    }
}
