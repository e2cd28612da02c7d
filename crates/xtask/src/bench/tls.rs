//! tls-ambassador beside the programs it replaces: what a request, a handshake and a connection cost.
//!
//! All programs run for the whole time, with two workers each, in front of one app; loads take turns, so that every
//! ratio compares what was measured within the same few seconds.

pub mod account;
pub mod app;
pub mod doors;
pub mod load;
pub mod table;
pub mod tokens;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::machine::{Machine, load_note};
use super::results::Results;
use crate::workspace;
use doors::{
    Door, ENVOY, HAPROXY, HAPROXY_TCP, HITCH, Kind, NGINX, NGINX_MTLS, OURS, OURS_JWT, OURS_MTLS, OURS_TCP, STUNNEL,
};
use load::{Load, Shake, Stuck};

/// How to measure.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Rounds; tables show medians, and fewer than 5 write no file
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measure this tls-ambassador instead of building the one that ships
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Use this `handshakes` of kit-tls instead of building it
    #[arg(long)]
    client: Option<PathBuf>,
    /// Only rows whose name contains this; prints them and writes no file
    #[arg(long)]
    only: Option<String>,
}

/// Takes one sample from one door.
type Measure = fn(&Load, &Door, &str, &mut Results) -> anyhow::Result<()>;

/// Rows, who takes part, and how; in the order in which they are measured.
const MEASURES: [(&str, &[&str], Measure); 11] = [
    ("h1 keep-alive", &[OURS, NGINX, HAPROXY, ENVOY], keep_alive),
    ("h1 with a token", &[OURS_JWT, OURS], keep_alive),
    ("h1 paced", &[OURS, NGINX, HAPROXY, ENVOY], paced),
    ("h2 one stream", &[OURS, NGINX, HAPROXY, ENVOY], h2_one),
    ("h2 ten streams", &[OURS, NGINX, HAPROXY, ENVOY], h2_ten),
    ("bulk", &[OURS, NGINX, HAPROXY, ENVOY], bulk),
    ("tcp", &[OURS_TCP, HAPROXY_TCP, HITCH, STUNNEL], keep_alive),
    ("full handshake", &[OURS, NGINX, HAPROXY, ENVOY], full),
    ("hybrid handshake", &[OURS], hybrid),
    ("mutual handshake", &[OURS_MTLS, NGINX_MTLS], full),
    ("resumed handshake", &[OURS, NGINX, HAPROXY, ENVOY], resumed),
];

const SECONDS: u32 = 1;
const HANDSHAKES: u32 = 2000;
const IDLE: u32 = 1000;

/// Measures, then writes `tests/bench/tls.json` and the table in tls-ambassador's README.
///
/// # Errors
/// When a build or a measurement fails, or an answer is not what the app sent.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("podkit-bench-").tempdir()?;
    certificates(folder.path())?;
    tokens::make(folder.path())?;
    let (kinds, mut notes) = doors::find(args.binary.as_deref())?;
    notes.push(load_note()?);
    let load = Load::new(folder.path(), args.client.as_deref())?;
    let mut results = Results {
        machine: Machine::here()?,
        rounds: args.rounds,
        programs: kinds.iter().map(Kind::describe).collect::<anyhow::Result<_>>()?,
        notes,
        rows: BTreeMap::new(),
    };
    let wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let app = app::start()?;
    if wanted("memory") {
        for kind in kinds.iter().filter(|kind| table::COLUMNS.contains(&kind.name)) {
            eprintln!("memory: {}", kind.name);
            // Alone: two processes of one program would share the pages of its file.
            memory(&load, &Door::open(kind, folder.path(), app)?, &mut results)?;
        }
    }
    let open = kinds.iter().map(|kind| Door::open(kind, folder.path(), app)).collect::<anyhow::Result<Vec<_>>>()?;
    for round in 1..=args.rounds {
        for (row, names, measure) in MEASURES.iter().filter(|(row, ..)| wanted(row)) {
            eprintln!("round {round} of {}: {row}", args.rounds);
            for door in open.iter().filter(|door| names.contains(&door.name)) {
                measure(&load, door, row, &mut results).with_context(|| format!("{row}: {}", door.name))?;
            }
        }
        for kind in kinds.iter().filter(|_| wanted("ready")) {
            let ready = Door::open(kind, folder.path(), app)?.ready_ms;
            results.add("ready", kind.name, Some(ready));
        }
    }
    drop(open);
    let table = table::of(&results);
    println!("{table}");
    if args.only.is_some() {
        return Ok(());
    }
    super::publish("tls-ambassador", "tls", &results, &table)
}

/// An authority and a P-256 certificate for localhost.
fn certificates(folder: &Path) -> anyhow::Result<()> {
    let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
    let make = |arguments: &[&str]| -> anyhow::Result<()> {
        let mut openssl = Command::new("openssl");
        openssl.args(new).args(arguments).current_dir(folder).stderr(Stdio::null());
        workspace::run(&mut openssl)
    };
    make(&["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=bench"])?;
    let leaf = ["-keyout", "tls.key", "-out", "tls.crt", "-subj", "/CN=localhost", "-CA", "ca.crt", "-CAkey", "ca.key"];
    let names = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"];
    make(&[&leaf[..], &names[..]].concat())?;
    let pair = [fs::read(folder.join("tls.crt"))?, fs::read(folder.join("tls.key"))?].concat();
    Ok(fs::write(folder.join("tls.pem"), pair)?)
}

/// Adds microseconds of processor time for each of what `load` says it did.
fn cost(
    door: &Door,
    row: &str,
    results: &mut Results,
    load: impl FnOnce() -> anyhow::Result<f64>,
) -> anyhow::Result<()> {
    let before = account::cpu_us(door.id())?;
    let done = load()?;
    let used = account::cpu_us(door.id())? - before;
    anyhow::ensure!(done > 0.0, "nothing was done within the time");
    results.add(row, door.name, Some(used / done));
    Ok(())
}

fn keep_alive(load: &Load, door: &Door, row: &str, results: &mut Results) -> anyhow::Result<()> {
    cost(door, row, results, || Ok(load.wrk(door, "full.lua", 32, SECONDS, "/")?.requests))
}

fn paced(load: &Load, door: &Door, row: &str, results: &mut Results) -> anyhow::Result<()> {
    let mut p99 = 0.0;
    cost(door, row, results, || {
        let done = load.wrk(door, "paced.lua", 32, SECONDS, "/")?;
        p99 = done.p99_us / 1000.0;
        Ok(done.requests)
    })?;
    results.add(&format!("{row}, p99 ms"), door.name, Some(p99));
    Ok(())
}

fn h2_one(load: &Load, door: &Door, row: &str, results: &mut Results) -> anyhow::Result<()> {
    h2(load, door, row, results, 1)
}

fn h2_ten(load: &Load, door: &Door, row: &str, results: &mut Results) -> anyhow::Result<()> {
    h2(load, door, row, results, 10)
}

/// Once more where the load did not end: what was spent until then tells nothing.
fn h2(load: &Load, door: &Door, row: &str, results: &mut Results, streams: u32) -> anyhow::Result<()> {
    let first = cost(door, row, results, || load.h2load(door, streams, SECONDS));
    match first {
        Err(error) if error.is::<Stuck>() => {
            eprintln!("{row}: {}: {error}, once more", door.name);
            cost(door, row, results, || load.h2load(door, streams, SECONDS))
        }
        other => other,
    }
}

/// Seconds per GiB. Bytes are counted and not bodies: doors that serve all connections evenly have eight of them under way
/// when the time is over, and on a busy machine none has ended by then.
fn bulk(load: &Load, door: &Door, row: &str, results: &mut Results) -> anyhow::Result<()> {
    cost(door, row, results, || {
        let bytes = load.wrk(door, "full.lua", 8, 2 * SECONDS, "/big")?.bytes;
        Ok(bytes / f64::from(1 << 30) * 1e6)
    })
}

fn full(load: &Load, door: &Door, row: &str, results: &mut Results) -> anyhow::Result<()> {
    shake(load, door, row, results, Shake::Full)
}

fn hybrid(load: &Load, door: &Door, row: &str, results: &mut Results) -> anyhow::Result<()> {
    shake(load, door, row, results, Shake::Hybrid)
}

fn resumed(load: &Load, door: &Door, row: &str, results: &mut Results) -> anyhow::Result<()> {
    shake(load, door, row, results, Shake::Resumed)
}

fn shake(load: &Load, door: &Door, row: &str, results: &mut Results, shake: Shake) -> anyhow::Result<()> {
    cost(door, row, results, || load.shake(door, shake, HANDSHAKES).map(|()| f64::from(HANDSHAKES)))
}

/// Time after which a door that nobody uses is idle.
const SETTLED: Duration = Duration::from_secs(3);

/// KiB before any connection, and with a thousand that are idle after one request each.
fn memory(load: &Load, door: &Door, results: &mut Results) -> anyhow::Result<()> {
    std::thread::sleep(SETTLED);
    results.add("memory, idle", door.name, Some(account::pss_kib(door.id())?));
    let held = load.hold(door, IDLE)?;
    std::thread::sleep(SETTLED);
    results.add("memory, 1000 connections", door.name, Some(account::pss_kib(door.id())?));
    drop(held);
    Ok(())
}
