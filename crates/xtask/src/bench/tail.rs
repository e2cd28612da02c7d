//! log-tailer beside the programs it replaces: what they lose, how fast they are, what they cost.

pub mod kills;
pub mod quiet;
pub mod speed;
pub mod storms;
pub mod subjects;
pub mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use super::machine::Machine;
use super::results::{Program, Results};
use subjects::Subject;

/// How to measure.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Rounds; tables show medians, and fewer than 5 write no file
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measure this log-tailer instead of building the one that ships
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Kill log-tailer this often
    #[arg(long, default_value_t = 1000)]
    kills: usize,
    /// Only rows whose name contains this; prints them and writes no file
    #[arg(long)]
    only: Option<String>,
}

/// One kind of measurement: takes one sample of each of its rows from one program.
type Measure = fn(&Subject, &speed::Data, &mut Results) -> anyhow::Result<()>;

/// In the order of the table. The names are prefixes of the rows they fill.
const MEASURES: [(&str, Measure); 9] = [
    ("storm paced", storms::paced),
    ("storm unpaced", storms::unpaced),
    ("storm copytruncate", storms::copytruncate),
    ("storm blocked", storms::blocked),
    ("catch-up", speed::catch_up),
    ("memory", speed::memory),
    ("latency", quiet::latency),
    ("wake-ups", quiet::wake_ups),
    ("sigterm", quiet::sigterm),
];

/// Measures, then writes `tests/bench/tail.json` and the table in log-tailer's README.
///
/// # Errors
/// When a build or a measurement fails.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let subjects = subjects::find(args.binary.as_deref())?;
    let programs = subjects.iter().map(|subject| Program {
        name: subject.name.to_owned(),
        version: subject.version.clone(),
        bytes: fs::metadata(&subject.program).map(|data| data.len()).unwrap_or_default(),
    });
    let mut results = Results {
        machine: Machine::here()?,
        rounds: args.rounds,
        programs: programs.collect(),
        notes: subjects::missing(&subjects),
        rows: BTreeMap::new(),
    };
    let data = speed::Data::new()?;
    let wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    for (name, measure) in MEASURES.iter().filter(|(name, _)| wanted(name)) {
        for round in 1..=args.rounds {
            eprintln!("{name}: round {round} of {}", args.rounds);
            for subject in &subjects {
                measure(subject, &data, &mut results).with_context(|| format!("{name}: {}", subject.name))?;
            }
            if *name == "catch-up" {
                speed::bare_loops(&data, &mut results)?;
            }
        }
    }
    if wanted("kills") {
        eprintln!("kills: {}", args.kills);
        kills::run(&subjects[0], args.kills, &mut results)?;
    }
    let table = table::of(&results);
    println!("{table}");
    if args.only.is_some() {
        return Ok(());
    }
    super::publish("log-tailer", "tail", &results, &table)
}
