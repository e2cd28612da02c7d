//! The tables in READMEs say what the committed raw results say.

use std::fs;

use xtask::bench::results::Results;
use xtask::bench::{LEAST_ROUNDS, date, init, readme, tail, tls};

use crate::workspace::root;

/// The table in `tool`'s README must be the one that `cargo xtask bench <name>` makes of `tests/bench/<name>.json`.
fn check(tool: &str, name: &str, table: impl Fn(&Results) -> String) {
    let raw = fs::read_to_string(root().join(format!("tests/bench/{name}.json"))).unwrap();
    let results: Results = serde_json::from_str(&raw).unwrap();
    let block = readme::block(&root().join(format!("crates/{tool}/README.md")), name).unwrap();
    assert_eq!(block, table(&results).trim(), "run `cargo xtask bench {name}`, or restore the table");
    assert!(results.rounds >= LEAST_ROUNDS, "medians of fewer rounds are noise");
}

#[test]
fn the_table_of_log_tailer_is_made_from_the_committed_results() {
    check("log-tailer", "tail", tail::table::of);
}

#[test]
fn the_table_of_init_writer_is_made_from_the_committed_results() {
    check("init-writer", "init", init::table);
}

#[test]
fn the_table_of_date_adapter_is_made_from_the_committed_results() {
    check("date-adapter", "date", date::table);
}

#[test]
fn the_table_of_tls_ambassador_is_made_from_the_committed_results() {
    check("tls-ambassador", "tls", tls::table::of);
}
