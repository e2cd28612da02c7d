//! The proof that no line is lost: random writes, rotations and faults against the real binary.
//!
//! A plan (what is written, how the logs are rotated, when the tailer is stopped, blocked, killed) follows from one
//! number. The oracle numbers every line and knows from its own book-keeping which bytes still exist: each of these
//! lines must come out once, whole, in order. The same plans make GNU tail and busybox lose lines; if they do not, the
//! fuzz is too weak and fails.
//!
//! ```text
//! export PODKIT_BIN_DIR=target/images/bin/amd64      # or any folder that holds log-tailer
//! PODKIT_FUZZ_SEED=17 cargo test -p podkit-tests t54_rotate_fuzz     # one plan, printed
//! PODKIT_FUZZ_BASE=1000 ...                                          # other plans: 1000, 1001, ...
//! PODKIT_FULL=1 ...                                                  # until 1000 kills are done
//! PODKIT_FUZZ_SEED=17 cargo test -p podkit-tests shrink_a_failing_plan -- --nocapture   # minutes
//! ```
#![allow(clippy::print_stdout, reason = "a failing seed is printed with its plan")]

mod oracle;
mod oracle_tests;
mod plan;
mod run;
mod shrink;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::engines::present;
use plan::Plan;
use run::{Subject, run};

/// Plans run at the same time; they mostly wait.
const THREADS: usize = 6;
/// Plans with known losses that are run to see whether fewer fail.
const KNOWN_PLANS: usize = 100;
/// So many of them may fail.
const MOST_KNOWN_FAILURES: usize = 3;
/// More failures than this are not worth the time, unless `PODKIT_FUZZ_FAILURES` says so.
const ENOUGH_FAILURES: u64 = 5;

#[expect(clippy::disallowed_methods, reason = "a test has no kit-run Context to take it from")]
fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Whether the long tests run whole.
fn is_full() -> bool {
    number_from_environment("PODKIT_FULL").is_some_and(|number| number > 0)
}

/// What came of many plans.
#[derive(Debug, Default)]
struct Outcome {
    plans: usize,
    /// Bytes repeated after each kill, ascending.
    repeats: Vec<usize>,
    /// Seed, plan and problems of each plan that failed.
    failures: Vec<(u64, String)>,
}

/// Runs the plans from seed `base` on that `take` wants, until `wanted` are done with `kills` in them, or `enough` failed.
fn run_plans(base: u64, (wanted, kills): (usize, usize), enough: u64, take: fn(&Plan) -> bool) -> Outcome {
    println!("plans from seed {base} on");
    let next = AtomicU64::new(base);
    let outcome: Mutex<Outcome> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let plan = Plan::new(next.fetch_add(1, Ordering::Relaxed));
                    if !take(&plan) {
                        continue;
                    }
                    let mut all = outcome.lock().unwrap();
                    let done = all.plans >= wanted && all.repeats.len() >= kills;
                    if done || all.failures.len() as u64 >= enough {
                        return;
                    }
                    all.plans += 1;
                    drop(all);
                    let verdict = std::panic::catch_unwind(|| run(&plan, Subject::LogTailer));
                    let mut all = outcome.lock().unwrap();
                    let problems = match verdict {
                        Ok(verdict) => {
                            all.repeats.extend(verdict.repeated);
                            verdict.problems
                        }
                        Err(_) => vec!["the run itself panicked, see above".to_owned()],
                    };
                    if !problems.is_empty() {
                        all.failures.push((plan.seed, format!("{plan}  => {}", problems.join("\n  => "))));
                    }
                }
            });
        }
    });
    let mut outcome = outcome.into_inner().unwrap();
    outcome.repeats.sort_unstable();
    let repeats = &outcome.repeats;
    let quantile = |of: usize| repeats.get((repeats.len() * of / 100).min(repeats.len().saturating_sub(1)));
    println!(
        "{} plans, {} failed, {} kills; bytes repeated per kill: median {:?}, 90 % {:?}, most {:?}",
        outcome.plans,
        outcome.failures.len(),
        repeats.len(),
        quantile(50),
        quantile(90),
        repeats.last()
    );
    outcome
}

/// All kinds of rotation and faults but those of [`Plan::has_known_losses`]: nothing is lost, repeated or out of order.
#[test]
fn t54_rotate_fuzz_loses_nothing_through_rotations_stops_kills_and_blocked_readers() {
    if let Some(seed) = number_from_environment("PODKIT_FUZZ_SEED") {
        let plan = Plan::new(seed);
        println!("{plan}");
        let verdict = run(&plan, Subject::LogTailer);
        assert!(verdict.problems.is_empty(), "{}", verdict.problems.join("\n"));
        return;
    }
    let base = number_from_environment("PODKIT_FUZZ_BASE").unwrap_or(0);
    let kills = if is_full() { 1000 } else { 100 };
    let enough = number_from_environment("PODKIT_FUZZ_FAILURES").unwrap_or(ENOUGH_FAILURES);
    let Outcome { failures, .. } = run_plans(base, (220, kills), enough, |plan| !plan.has_known_losses());
    let texts: Vec<&str> = failures.iter().map(|(_, text)| text.as_str()).collect();
    let hint = "rerun one alone with PODKIT_FUZZ_SEED=<seed>";
    assert!(failures.is_empty(), "{} plans failed; {hint}\n{}", failures.len(), texts.join("\n"));
}

/// Plans where the promise does not hold in every run yet (README of log-tailer, "What does not hold yet"): copytruncate,
/// renamecopy, swapped symlinks. Lines can be lost, printed twice or late, and a lost half line keeps those after it back until
/// the next newline. That is a fault to be mended: lower the bound as it is, and let T54 run a kind once all of it passes.
#[test]
fn known_losses_do_not_grow() {
    let Outcome { plans, failures, .. } = run_plans(
        number_from_environment("PODKIT_FUZZ_BASE").unwrap_or(0),
        (KNOWN_PLANS, 0),
        u64::MAX,
        Plan::has_known_losses,
    );
    let seeds: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
    println!("{} of {plans} plans with known losses fail: seeds {seeds:?}", failures.len());
    failures.iter().for_each(|(_, text)| println!("{text}"));
    let texts: Vec<&str> = failures.iter().map(|(_, text)| text.as_str()).collect();
    assert!(
        failures.len() <= MOST_KNOWN_FAILURES,
        "{} fail, {MOST_KNOWN_FAILURES} did\n{}",
        failures.len(),
        texts.join("\n")
    );
}

/// A developer's aid: with `PODKIT_FUZZ_SEED` it prints the steps that this plan needs in order to fail. Without, there
/// is no plan to reduce.
#[test]
fn shrink_a_failing_plan() {
    let Some(seed) = number_from_environment("PODKIT_FUZZ_SEED") else {
        println!("nothing to reduce: PODKIT_FUZZ_SEED names no plan");
        return;
    };
    match shrink::shrink(Plan::new(seed)) {
        Some((plan, problems)) => println!("{plan}  => {}", problems.join("\n  => ")),
        None => println!("seed {seed} does not fail"),
    }
}

/// The first plans without a state file: a peer has none.
fn lines_missing_from(peer: Subject) -> usize {
    let plans: Vec<Plan> = (0..).map(Plan::new).filter(|plan| !plan.setup.state).take(THREADS * 2).collect();
    let missing: Mutex<Vec<(u64, usize)>> = Mutex::default();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = run(plan, peer);
                    missing.lock().unwrap().push((plan.seed, verdict.missing));
                }
            });
        }
    });
    let missing = missing.into_inner().unwrap();
    println!("{peer:?}: (seed, missing lines): {missing:?}");
    missing.iter().map(|(_, missing)| missing).sum()
}

#[test]
fn rotate_fuzz_finds_loss_in_gnu_tail() {
    assert!(lines_missing_from(Subject::Gnu) > 0, "GNU tail lost nothing: the fuzz is too weak");
}

#[test]
fn rotate_fuzz_finds_loss_in_busybox() {
    let found = std::process::Command::new("busybox").arg("true").output().is_ok();
    let Some(()) = present("busybox", found) else { return };
    assert!(lines_missing_from(Subject::Busybox) > 0, "busybox lost nothing: the fuzz is too weak");
}

#[test]
fn the_same_seed_gives_the_same_plan() {
    assert_eq!(Plan::new(7).to_string(), Plan::new(7).to_string());
    assert_ne!(Plan::new(7).to_string(), Plan::new(8).to_string());
    assert!((0..240).map(|seed| Plan::new(seed).kills()).sum::<usize>() > 100, "CI is to see a hundred kills");
}
