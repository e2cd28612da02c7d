//! date-adapter beside the awk recipe it replaces, perl, and a bare loop of read and write.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};

use super::machine::Machine;
use super::results::{Program, Results};

const OURS: &str = "date-adapter";
const MAWK: &str = "mawk";
const BUSYBOX: &str = "busybox awk";
const PERL: &str = "perl";
const BARE: &str = "bare loop";

/// The field's measurement: 4 million lines.
const LINES: usize = 4_000_000;
/// busybox and perl take a tenth of them: a rate needs no more, and a round stays below a minute.
const FEW: usize = LINES / 10;
/// A busy log: the second changes every thousand lines.
const LINES_PER_SECOND: usize = 1000;

const RECIPE: &str = r#"{print $3"/"$2"/"$1"T"$4}"#;
const PERL_RECIPE: &str = r"s{^(\d\d)/(\d\d)/(\d{4})T}{$3/$2/$1T}";
const REARRANGE: [&str; 4] = ["-i", "%d/%m/%YT%T", "-f", "%Y/%m/%dT%T"];
const ZONE: [&str; 6] = ["-i", "%d/%m/%YT%T", "--from-zone", "Europe/Paris", "-z", "America/New_York"];
const EPOCH: [&str; 6] = ["-i", "%d/%m/%YT%T", "--from-zone", "Europe/Paris", "-f", "epoch"];

/// How to measure.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Rounds; tables show medians, and fewer than 5 write no file
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measure this date-adapter instead of building the one that ships
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Print the table and write no file
    #[arg(long)]
    dry: bool,
}

/// The files that are read.
struct Data {
    folder: tempfile::TempDir,
}

impl Data {
    fn new() -> anyhow::Result<Self> {
        let data = Data { folder: tempfile::Builder::new().prefix("podkit-bench-").tempdir()? };
        write_log(&data.path("many"), LINES, |line| line / LINES_PER_SECOND)?;
        write_log(&data.path("few"), FEW, |line| line / LINES_PER_SECOND)?;
        // Every line on another day and minute: nothing to remember from the line before.
        write_log(&data.path("random"), LINES, |line| line.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 36)?;
        Ok(data)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Lines of 58 bytes in the mean, without a `/` or a `T` behind the stamp: there the recipe is right.
fn write_log(path: &Path, lines: usize, second: impl Fn(usize) -> usize) -> anyhow::Result<()> {
    const MESSAGES: [&str; 5] = [
        "served index.html 200 23",
        "worker 7 finished job 1234",
        "cache miss for key user:91",
        "connected to 10.1.2.3:5432 in 12 ms",
        "request done status=200 bytes=5120",
    ];
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for line in 0..lines {
        let second = second(line);
        let (day, clock) = (second / 86_400 % 28 + 1, second % 86_400);
        let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
        let message = MESSAGES[line % MESSAGES.len()];
        writeln!(file, "{day:02}/12/2022T{hour:02}:{minute:02}:{second:02} {message} {line}")?;
    }
    file.flush()?;
    Ok(())
}

/// Measures, then writes `tests/bench/date.json` and the table in date-adapter's README.
///
/// # Errors
/// When a build or a measurement fails, or two programs do not write the same.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let ours = super::ours(OURS, args.binary.as_deref())?;
    let mut results = Results {
        machine: Machine::here()?,
        rounds: args.rounds,
        programs: programs(&ours)?,
        notes: Vec::new(),
        rows: BTreeMap::new(),
    };
    let data = Data::new()?;
    same_output(&ours, &data)?;
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        measure(&ours, &data, &mut results)?;
    }
    let table = table(&results);
    println!("{table}");
    if args.dry {
        return Ok(());
    }
    super::publish("date-adapter", "date", &results, &table)
}

fn programs(ours: &Path) -> anyhow::Result<Vec<Program>> {
    let ask = |name: &str, program: &Path, argument: &str| -> anyhow::Result<Program> {
        let output = Command::new(program).arg(argument).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start {}", program.display()))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let version = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown").to_owned();
        let bytes = fs::metadata(program).map(|data| data.len()).unwrap_or_default();
        Ok(Program { name: name.to_owned(), version, bytes })
    };
    Ok(vec![
        ask(OURS, ours, "--version")?,
        ask(MAWK, Path::new("/usr/bin/mawk"), "-Wversion")?,
        ask(BUSYBOX, Path::new("/usr/bin/busybox"), "--help")?,
        ask(PERL, Path::new("/usr/bin/perl"), "--version")?,
    ])
}

fn adapter(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn peer(name: &str) -> Command {
    let mut command = Command::new(match name {
        MAWK => "mawk",
        PERL => "perl",
        _ => "busybox",
    });
    match name {
        MAWK => command.args(["-F[/T]", RECIPE]),
        PERL => command.args(["-pe", PERL_RECIPE]),
        _ => command.args(["awk", "-F[/T]", RECIPE]),
    };
    command
}

/// All programs write the same of the lines for which the recipe is right.
fn same_output(ours: &Path, data: &Data) -> anyhow::Result<()> {
    let few = data.path("few");
    let mut expected = Vec::new();
    Run::start(&mut adapter(ours, &REARRANGE), &few)?.read(|bytes| expected.extend_from_slice(bytes))?;
    for name in [MAWK, BUSYBOX, PERL] {
        let mut written = Vec::new();
        Run::start(&mut peer(name), &few)?.read(|bytes| written.extend_from_slice(bytes))?;
        ensure!(written == expected, "{name} and date-adapter do not write the same");
    }
    Ok(())
}

fn measure(ours: &Path, data: &Data, results: &mut Results) -> anyhow::Result<()> {
    let (many, few, random) = (data.path("many"), data.path("few"), data.path("random"));
    let mut bare = Command::new(std::env::current_exe()?);
    bare.args(["bench", "bare", "copy"]).arg(&many);
    results.add("rearrange", BARE, Some(rate(&mut bare, &many)?));
    results.add("rearrange", OURS, Some(rate(&mut adapter(ours, &REARRANGE), &many)?));
    results.add("rearrange", MAWK, Some(rate(&mut peer(MAWK), &many)?));
    results.add("rearrange", BUSYBOX, Some(rate(&mut peer(BUSYBOX), &few)?));
    results.add("rearrange", PERL, Some(rate(&mut peer(PERL), &few)?));
    results.add("zone", OURS, Some(rate(&mut adapter(ours, &ZONE), &many)?));
    results.add("epoch", OURS, Some(rate(&mut adapter(ours, &EPOCH), &many)?));
    results.add("rearrange, random stamps", OURS, Some(rate(&mut adapter(ours, &REARRANGE), &random)?));
    results.add("zone, random stamps", OURS, Some(rate(&mut adapter(ours, &ZONE), &random)?));
    let mut run = Run::start(&mut adapter(ours, &ZONE), &many)?;
    let (id, mut peak, mut anonymous) = (run.child.id(), 0, 0);
    run.read(|_| {
        peak = peak.max(status(id, "VmHWM").unwrap_or(0));
        anonymous = anonymous.max(status(id, "RssAnon").unwrap_or(0));
    })?;
    results.add("zone, VmHWM", OURS, Some(peak as f64));
    results.add("zone, anonymous", OURS, Some(anonymous as f64));
    Ok(())
}

/// A number from `/proc/<id>/status`; nothing once the process has ended.
fn status(id: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Megabytes of the file per second, from the start of the program to the end of its output.
fn rate(command: &mut Command, input: &Path) -> anyhow::Result<f64> {
    let bytes = fs::metadata(input)?.len();
    let start = Instant::now();
    Run::start(command, input)?.read(|_| ())?;
    Ok(bytes as f64 / 1e6 / start.elapsed().as_secs_f64())
}

/// A program that reads a file in the page cache and writes into a pipe of 64 KiB.
struct Run {
    child: Child,
}

impl Run {
    fn start(command: &mut Command, input: &Path) -> anyhow::Result<Self> {
        command.stdin(File::open(input)?).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Run { child })
    }

    fn read(&mut self, mut each: impl FnMut(&[u8])) -> anyhow::Result<()> {
        let mut stdout = self.child.stdout.take().context("a piped stdout")?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = stdout.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            each(&buffer[..count]);
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "a measured program ended with {status}");
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The table of the README, one row per measurement, with "met" or "missed" for each gate.
#[must_use]
pub fn table(results: &Results) -> String {
    let median = |row: &str, program: &str| results.median(row, program).unwrap_or(f64::NAN);
    let rate = |row: &str, program: &str| match results.median(row, program) {
        Some(rate) => format!("{rate:.0} MB/s"),
        None => "cannot".to_owned(),
    };
    let verdict = |met: bool| if met { "met" } else { "**missed**" };
    let names = [OURS, MAWK, BUSYBOX, PERL];
    let mut lines = vec![
        format!("| 4 million lines into a pipe | {} | gate |", names.join(" | ")),
        format!("|---|{}---|", "---|".repeat(names.len())),
    ];
    let mut row = |title: &str, name: &str, gate: String| {
        let cells: Vec<String> = names.iter().map(|program| rate(name, program)).collect();
        lines.push(format!("| {title} | {} | {gate} |", cells.join(" | ")));
    };
    let (ours, bare, mawk) = (median("rearrange", OURS), median("rearrange", BARE), median("rearrange", MAWK));
    let rearranged = format!(
        "{}: {:.0} % of a bare read and write loop ({bare:.0} MB/s) in the same run, at least 80 %; {}: {:.1} times mawk, at least 5",
        verdict(ours / bare >= 0.8),
        100.0 * ours / bare,
        verdict(ours / mawk >= 5.0),
        ours / mawk,
    );
    row("rearrange `01/12/2022T16:25:21`", "rearrange", rearranged);
    let least = |name: &str| format!("{}: at least 500 MB/s", verdict(median(name, OURS) >= 500.0));
    row("convert the zone, Paris to New York, RFC 3339", "zone", least("zone"));
    row("convert to seconds since 1970", "epoch", least("epoch"));
    row("rearrange, every line another day", "rearrange, random stamps", "none".to_owned());
    row("convert the zone, every line another day", "zone, random stamps", "none".to_owned());
    let memory = |name: &str, most: f64| {
        let worst = results.worst(name, OURS).unwrap_or(f64::NAN);
        (format!("{worst:.0} KiB"), format!("{}: at most {most:.0} KiB", verdict(worst <= most)))
    };
    for (title, name, most) in
        [("peak memory while converting", "zone, VmHWM", 3072.0), ("of it anonymous", "zone, anonymous", 768.0)]
    {
        let (cell, gate) = memory(name, most);
        lines.push(format!("| {title} | {cell} | - | - | - | {gate} |"));
    }
    format!("{}\n\n{}", lines.join("\n"), explanation(results))
}

fn explanation(results: &Results) -> String {
    let Machine { cpu, cores, kernel, commit } = &results.machine;
    let versions: Vec<String> =
        results.programs.iter().map(|program| format!("{}: {}", program.name, program.version)).collect();
    let mut text = format!(
        "Medians of {} interleaved rounds; memory is the worst. {cpu}, {cores} cores, Linux {kernel}, commit {commit}. The second changes \
         every {LINES_PER_SECOND} lines. busybox and perl read a tenth of the lines. All write the same where the message has no `/` and no \
         `T`; elsewhere the awk recipe destroys it. {}. Debian's busybox is built with glibc; Alpine's, with musl, is slower.",
        results.rounds,
        versions.join("; "),
    );
    for note in &results.notes {
        text += " ";
        text += note;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::readme;
    use crate::workspace;

    #[test]
    fn the_readmes_table_is_made_from_the_committed_numbers() {
        let raw = fs::read_to_string(workspace::root().join("tests/bench/date.json")).unwrap();
        let results: Results = serde_json::from_str(&raw).unwrap();
        let block = readme::block(&workspace::root().join("crates/date-adapter/README.md"), "date").unwrap();
        assert_eq!(block, table(&results).trim(), "run `cargo xtask bench date`");
    }

    #[test]
    fn a_missed_gate_is_called_missed() {
        let machine = Machine { cpu: "x".into(), cores: 2, kernel: "y".into(), commit: "z".into() };
        let rows = BTreeMap::new();
        let mut results = Results { machine, rounds: 1, programs: vec![], notes: vec![], rows };
        for (row, program, sample) in
            [("rearrange", OURS, 79.0), ("rearrange", BARE, 100.0), ("rearrange", MAWK, 10.0), ("zone", OURS, 501.0)]
        {
            results.add(row, program, Some(sample));
        }
        let text = table(&results);
        assert!(text.contains("**missed**: 79 % of a bare"), "{text}");
        assert!(text.contains("met: 7.9 times mawk"), "{text}");
        assert!(text.contains("| 501 MB/s | cannot | cannot | cannot | met: at least 500 MB/s |"), "{text}");
    }
}
