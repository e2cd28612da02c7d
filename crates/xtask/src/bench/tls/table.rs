//! The table of the README: what was measured, and whether each gate of the specification is met.

use super::doors::{
    ENVOY, HAPROXY, HAPROXY_TCP, HITCH, NGINX, NGINX_MTLS, OURS, OURS_JWT, OURS_MTLS, OURS_TCP, STUNNEL,
};
use crate::bench::machine::Machine;
use crate::bench::results::Results;

/// A row: its name in the results, its title, its unit with digits, who may stand in it, and the gate.
struct Row {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    digits: usize,
    ours: &'static str,
    gate: Gate,
}

enum Gate {
    /// At most this share of the cheapest of these peers.
    Ratio(f64, &'static [&'static str]),
    /// At most so much.
    Most(f64),
    /// Reported only, beside this program and what to call it.
    Beside(&'static str, &'static str),
    /// Reported only.
    None,
}

const DOORS: &[&str] = &[NGINX, HAPROXY];

const fn row(name: &'static str, title: &'static str, unit: &'static str, digits: usize, gate: Gate) -> Row {
    Row { name, title, unit, digits, ours: OURS, gate }
}

const ROWS: [Row; 15] = [
    row("h1 keep-alive", "HTTP/1.1, 32 connections, 1 KiB: CPU a request", "us", 1, Gate::Ratio(0.65, DOORS)),
    row("h1 paced", "the same at 5 ms between requests: CPU a request", "us", 1, Gate::None),
    row("h1 paced, p99 ms", "and its 99th percentile", "ms", 2, Gate::Ratio(1.0, &[NGINX, HAPROXY, ENVOY])),
    Row {
        name: "h1 with a token",
        title: "HTTP/1.1 with a token (RS256) in every request: CPU a request",
        unit: "us",
        digits: 1,
        ours: OURS_JWT,
        gate: Gate::Beside(OURS, "a request without"),
    },
    row("h2 one stream", "HTTP/2, 32 connections, one stream: CPU a request", "us", 1, Gate::Ratio(1.0, &[NGINX])),
    row("h2 ten streams", "HTTP/2, ten streams each: CPU a request", "us", 1, Gate::Ratio(1.0, &[NGINX])),
    row("bulk", "bodies of 10 MB, 8 connections: CPU a GiB", "s", 2, Gate::Ratio(0.85, &[HAPROXY])),
    Row {
        name: "tcp",
        title: "tcp mode, 32 connections, 1 KiB: CPU a request",
        unit: "us",
        digits: 1,
        ours: OURS_TCP,
        gate: Gate::Ratio(1.0, &[HAPROXY_TCP, HITCH, STUNNEL]),
    },
    row("full handshake", "full handshake (X25519) and one request: CPU", "us", 0, Gate::Ratio(0.5, &[NGINX])),
    row(
        "hybrid handshake",
        "the same with X25519MLKEM768, against X25519 of nginx",
        "us",
        0,
        Gate::Ratio(0.6, &[NGINX]),
    ),
    Row {
        name: "mutual handshake",
        title: "full handshake with certificates of both sides and one request: CPU",
        unit: "us",
        digits: 0,
        ours: OURS_MTLS,
        gate: Gate::Beside(NGINX_MTLS, "nginx"),
    },
    row("resumed handshake", "resumed handshake and one request: CPU", "us", 0, Gate::None),
    row("memory, idle", "memory, idle", "KiB", 0, Gate::Most(2.5 * 1024.0)),
    row("memory, 1000 connections", "memory, 1000 idle connections", "KiB", 0, Gate::Most(12.0 * 1024.0)),
    row("ready", "from exec to the first connection", "ms", 1, Gate::Most(10.0)),
];

/// The programs that have a column.
pub const COLUMNS: [&str; 4] = [OURS, NGINX, HAPROXY, ENVOY];
/// What the archive of an image may weigh; the binary is all that is in it but a few KiB.
const IMAGE: u64 = 5_000_000;

/// The whole block.
#[must_use]
pub fn of(results: &Results) -> String {
    let mut lines =
        vec![format!("| | {} | gate |", COLUMNS.join(" | ")), format!("|---|{}---|", "---|".repeat(COLUMNS.len()))];
    for row in &ROWS {
        let columns = match row.ours {
            OURS_TCP => [OURS_TCP, "", HAPROXY_TCP, ""],
            OURS_MTLS => [OURS_MTLS, NGINX_MTLS, "", ""],
            OURS_JWT => [OURS_JWT, "", "", ""],
            _ => COLUMNS,
        };
        // A row that is younger than the results.
        if matches!(row.gate, Gate::Beside(..)) && results.samples(row.name, row.ours).is_empty() {
            continue;
        }
        let mut cells: Vec<String> = columns.iter().map(|program| cell(results, row, program)).collect();
        if row.name == "tcp" {
            cells[1] = format!("hitch {}", cell(results, row, HITCH));
            cells[3] = format!("stunnel {}", cell(results, row, STUNNEL));
        }
        lines.push(format!("| {} | {} | {} |", row.title, cells.join(" | "), verdict(results, row)));
    }
    let bytes = |name: &str| results.programs.iter().find(|program| program.name == name).map(|program| program.bytes);
    let sizes: Vec<String> = COLUMNS
        .iter()
        .map(|name| bytes(name).map_or_else(|| "-".to_owned(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6)))
        .collect();
    let met = bytes(OURS).is_some_and(|bytes| bytes <= IMAGE);
    let gate = format!("{}: at most 5 MB with all it needs", word(met));
    lines.push(format!("| program file, without the libraries of the others | {} | {gate} |", sizes.join(" | ")));
    format!("{}\n\n{}", lines.join("\n"), explanation(results))
}

fn word(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

fn cell(results: &Results, row: &Row, program: &str) -> String {
    match results.median(row.name, program) {
        Some(median) => format!("{median:.*} {}", row.digits, row.unit),
        None => "-".to_owned(),
    }
}

fn verdict(results: &Results, row: &Row) -> String {
    match row.gate {
        Gate::None => String::new(),
        Gate::Beside(peer, what) => {
            share(results, row, peer).map_or_else(String::new, |share| format!("{share:.2} times {what}"))
        }
        Gate::Most(most) => {
            let met = results.median(row.name, row.ours).is_some_and(|ours| ours <= most);
            format!("{}: at most {most:.0} {}", word(met), row.unit)
        }
        Gate::Ratio(most, peers) => {
            // The best of the peers is the one that makes our share largest.
            let shares = peers.iter().filter_map(|peer| Some((share(results, row, peer)?, *peer)));
            match shares.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
                Some((share, peer)) => format!("{}: {share:.2} times {peer}, at most {most}", word(share <= most)),
                None => format!("{}: nothing to compare with", word(false)),
            }
        }
    }
}

/// The median of what we took for each that `peer` took in the same round.
fn share(results: &Results, row: &Row, peer: &str) -> Option<f64> {
    // The hybrid handshake has a row of its own; its peers' full handshakes stand in theirs.
    let theirs = if row.name == "hybrid handshake" { "full handshake" } else { row.name };
    let pairs = results.samples(row.name, row.ours).iter().zip(results.samples(theirs, peer));
    let mut shares: Vec<f64> = pairs.filter_map(|(ours, theirs)| Some((*ours)? / (*theirs)?)).collect();
    shares.sort_by(f64::total_cmp);
    shares.get(shares.len().checked_sub(1)? / 2).copied()
}

fn explanation(results: &Results) -> String {
    let Machine { cpu, cores, kernel, commit } = &results.machine;
    let versions: Vec<&str> =
        results.programs.iter().map(|program| program.version.as_str()).filter(|version| !version.is_empty()).collect();
    let mut distinct: Vec<&str> = Vec::new();
    for version in versions {
        if !distinct.contains(&version) {
            distinct.push(version);
        }
    }
    let notes: String = results.notes.iter().map(|note| format!(" {note}")).collect();
    format!(
        "Medians of {} interleaved rounds (`cargo xtask bench tls`; raw: `tests/bench/tls.json`, the peers' configurations: \
         `tests/bench/tls/`). CPU is that of the whole program in user and kernel mode, two workers each; ratios are medians of the \
         ratios of each round. TLS 1.3 with P-256 certificates; X-Forwarded-* set by all; ours with its timeouts, metrics, header checks and \
         access rule (`--disable-authentication`). {cores} cores of {cpu}, Linux {kernel}, commit {commit}. {}.{notes}",
        results.rounds,
        distinct.join("; "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::readme;
    use crate::workspace;
    use std::collections::BTreeMap;

    #[test]
    fn the_readme_shows_the_committed_results() {
        let raw = std::fs::read_to_string(workspace::root().join("tests/bench/tls.json")).unwrap();
        let results: Results = serde_json::from_str(&raw).unwrap();
        let block = readme::block(&workspace::root().join("crates/tls-ambassador/README.md"), "tls").unwrap();
        assert_eq!(block, of(&results).trim(), "run cargo xtask bench tls");
    }

    #[test]
    fn a_gate_is_held_against_the_best_peer_round_by_round() {
        let machine = Machine { cpu: "x".into(), cores: 2, kernel: "y".into(), commit: "z".into() };
        let mut results = Results { machine, rounds: 3, programs: vec![], notes: vec![], rows: BTreeMap::new() };
        for (ours, nginx, haproxy) in [(10.0, 20.0, 40.0), (30.0, 40.0, 90.0), (10.0, 20.0, 12.0)] {
            for (program, sample) in [(OURS, ours), (NGINX, nginx), (HAPROXY, haproxy)] {
                results.add("h1 keep-alive", program, Some(sample));
            }
        }
        results.add("memory, idle", OURS, Some(2561.0));
        let text = of(&results);
        assert!(text.contains("| 10.0 us | 20.0 us | 40.0 us | - | met: 0.50 times nginx, at most 0.65 |"), "{text}");
        assert!(text.contains("| 2561 KiB | - | - | - | **missed**: at most 2560 KiB |"), "{text}");
        assert!(text.contains("**missed**: nothing to compare with"), "{text}");
    }
}
