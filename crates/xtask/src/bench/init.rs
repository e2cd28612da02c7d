//! init-writer beside the busybox one-liners that it replaces: time from exec to exit, memory, size.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use super::machine::{Machine, load_note};
use super::results::{Program, Results};
use super::tail::subjects;
use crate::workspace;

const OURS: &str = "init-writer";
const BUSYBOX: &str = "busybox sh";

/// How many runs one sample is the median of.
const RUNS: usize = 101;

/// What the specification asks for.
const GATE_MS: f64 = 3.0;
const GATE_RSS_KIB: f64 = 3072.0;
const GATE_BYTES: u64 = 2_000_000;

/// How to measure.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Rounds; tables show medians, and fewer than 5 write no file
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measure this init-writer instead of building the one that ships
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Measures, then writes `tests/bench/init.json` and the table in init-writer's README.
///
/// # Errors
/// When a build or a measurement fails, or a program did not write what it should have. Files are then unchanged.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let ours = super::ours(OURS, args.binary.as_deref())?;
    let time = subjects::in_path("time").context("GNU time is not installed: apt-get install time")?;
    let busybox = subjects::in_path("busybox").context("busybox is not installed: apt-get install busybox-static")?;
    let programs =
        vec![subjects::program(OURS, &ours, &["--version"])?, subjects::program(BUSYBOX, &busybox, &["--help"])?];
    let notes = vec![load_note()?];
    let (machine, rows) = (Machine::here()?, BTreeMap::new());
    let mut results = Results { machine, rounds: args.rounds, programs, notes, rows };
    let tmpfs = tempfile::tempdir_in("/dev/shm").context("/dev/shm is the tmpfs to measure on")?;
    let disk = tempfile::tempdir_in(workspace::target_dir())?;
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        for (place, folder) in [("tmpfs", tmpfs.path()), ("disk", disk.path())] {
            for step in [date as Step, copy, mkdir] {
                let (name, commands, is_right) = step(folder, &ours, &busybox);
                for (program, command) in [OURS, BUSYBOX].into_iter().zip(commands) {
                    let (median, least) = runs(command, folder, is_right)?;
                    results.add(&format!("{name}, {place}"), program, Some(median));
                    results.add(&format!("{name}, {place}, least"), program, Some(least));
                }
            }
        }
        let (_, commands, _) = date(tmpfs.path(), &ours, &busybox);
        for (program, command) in [OURS, BUSYBOX].into_iter().zip(commands) {
            results.add("rss", program, Some(peak_rss_kib(&time, &command)?));
        }
    }
    let table = table(&results);
    println!("{table}");
    super::publish("init-writer", "init", &results, &table)
}

/// The name of a row, the command of each program, and whether the folder looks as it should afterwards.
type Case = (&'static str, [Vec<String>; 2], fn(&Path) -> bool);
type Step = fn(&Path, &Path, &Path) -> Case;

fn words(program: &Path, words: &[&str]) -> Vec<String> {
    std::iter::once(program.display().to_string()).chain(words.iter().map(|word| (*word).to_owned())).collect()
}

fn date(folder: &Path, ours: &Path, busybox: &Path) -> Case {
    let page = folder.join("page").display().to_string();
    let shell = format!("date > {page}");
    let is_right = |folder: &Path| fs::read_to_string(folder.join("page")).is_ok_and(|text| text.contains(" UTC "));
    ("date", [words(ours, &["date", &page]), words(busybox, &["sh", "-c", &shell])], is_right)
}

fn copy(folder: &Path, ours: &Path, busybox: &Path) -> Case {
    let page = folder.join("page").display().to_string();
    let shell = format!("cp /proc/version {page}");
    let is_right = |folder: &Path| fs::read(folder.join("page")).ok() == fs::read("/proc/version").ok();
    ("copy", [words(ours, &["copy", "/proc/version", &page]), words(busybox, &["sh", "-c", &shell])], is_right)
}

fn mkdir(folder: &Path, ours: &Path, busybox: &Path) -> Case {
    let html = folder.join("html").display().to_string();
    let shell = format!("mkdir {html}");
    let is_right = |folder: &Path| folder.join("html").is_dir();
    ("mkdir", [words(ours, &["mkdir", &html]), words(busybox, &["sh", "-c", &shell])], is_right)
}

fn quiet(command: &[String]) -> anyhow::Result<Command> {
    let (program, arguments) = command.split_first().context("a command has a program")?;
    let mut quiet = Command::new(program);
    quiet.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(quiet)
}

/// Milliseconds from before fork and exec to the exit, on an empty folder each time: the median and the least, which a
/// busy machine disturbs less.
fn runs(command: Vec<String>, folder: &Path, is_right: fn(&Path) -> bool) -> anyhow::Result<(f64, f64)> {
    let mut command_of_run = quiet(&command)?;
    let mut samples = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let _ = fs::remove_file(folder.join("page"));
        let _ = fs::remove_dir(folder.join("html"));
        let start = Instant::now();
        let status = command_of_run.status()?;
        samples.push(start.elapsed().as_secs_f64() * 1000.0);
        ensure!(status.success() && is_right(folder), "{} did not write what it should have", command.join(" "));
    }
    samples.sort_by(f64::total_cmp);
    Ok((samples[RUNS / 2], samples[0]))
}

/// GNU time asks wait4(2), which knows the peak of a process that has ended. (busybox' own `time` prints four times it.)
fn peak_rss_kib(time: &Path, command: &[String]) -> anyhow::Result<f64> {
    let output = Command::new(time).args(["-f", "peak %M"]).args(command).env_clear().output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match text.lines().find_map(|line| line.strip_prefix("peak ")) {
        Some(number) if output.status.success() => Ok(number.trim().parse()?),
        _ => bail!("GNU time says nothing of {}", command.join(" ")),
    }
}

/// The table in the README.
#[must_use]
pub fn table(results: &Results) -> String {
    let verdict = |met: bool, gate: &str| if met { format!("met: {gate}") } else { format!("**missed**: {gate}") };
    let cell = |row: &str, program: &str, unit: &str, digits: usize| {
        results.median(row, program).map_or_else(|| "-".to_owned(), |median| format!("{median:.digits$} {unit}"))
    };
    let mut lines = vec![format!("| | {OURS} | {BUSYBOX} | gate |"), "|---|---|---|---|".to_owned()];
    for (step, shell) in [("date", "date > FILE"), ("copy", "cp FILE FILE"), ("mkdir", "mkdir DIR")] {
        for (place, about) in [("tmpfs", ""), ("disk", ", where ours syncs and busybox does not")] {
            let row = format!("{step}, {place}");
            let met = results.median(&row, OURS).is_some_and(|median| median <= GATE_MS);
            let gate = if place == "tmpfs" { verdict(met, "at most 3 ms from exec") } else { String::new() };
            let with_least = |program: &str| {
                let least = cell(&format!("{row}, least"), program, "", 2);
                format!("{} ({})", cell(&row, program, "ms", 2), least.trim())
            };
            let (ours, theirs) = (with_least(OURS), with_least(BUSYBOX));
            lines.push(format!("| `{step}` / `{shell}` on {place}{about} | {ours} | {theirs} | {gate} |"));
        }
    }
    let met = results.worst("rss", OURS).is_some_and(|worst| worst <= GATE_RSS_KIB);
    let (ours, theirs) = (cell("rss", OURS, "KiB", 0), cell("rss", BUSYBOX, "KiB", 0));
    lines.push(format!("| peak RSS of `date` | {ours} | {theirs} | {} |", verdict(met, "at most 3 MiB")));
    let size = |name: &str| results.programs.iter().find(|program| program.name == name).map_or(0, |found| found.bytes);
    let gate = verdict(size(OURS) <= GATE_BYTES, "at most 2 MB, which is the whole image");
    lines.push(format!("| program file | {} kB | {} kB | {gate} |", size(OURS) / 1000, size(BUSYBOX) / 1000));
    let Machine { cpu, cores, kernel, commit } = &results.machine;
    let versions: Vec<String> =
        results.programs.iter().map(|Program { name, version, .. }| format!("{name}: {version}")).collect();
    let explanation = format!(
        "Medians of {} rounds of {RUNS} runs in which the programs took turns, from before fork and exec to the exit, \
         in brackets the median of the least of each round (`cargo xtask bench init`; raw: `tests/bench/init.json`). {cores} cores of {cpu}, Linux {kernel}, commit \
         {commit}. {} Every result was compared with what it should be.",
        results.rounds,
        versions.join("; "),
    );
    let notes: String = results.notes.iter().map(|note| format!(" {note}")).collect();
    format!("{}\n\n{explanation}{notes}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::readme;

    #[test]
    fn the_readme_shows_the_committed_results() {
        let raw = fs::read_to_string(workspace::root().join("tests/bench/init.json")).unwrap();
        let results: Results = serde_json::from_str(&raw).unwrap();
        let block = readme::block(&workspace::root().join("crates/init-writer/README.md"), "init").unwrap();
        assert_eq!(block, table(&results), "run cargo xtask bench init");
    }
}
