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
//! PODKIT_FUZZ_SEED=17 cargo test -p podkit-tests shrink -- --ignored --nocapture
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
    let kills_wanted = if is_full() { 1000 } else { 100 };
    let plans_wanted: u64 = 240;
    let enough = number_from_environment("PODKIT_FUZZ_FAILURES").unwrap_or(ENOUGH_FAILURES);
    println!("plans from seed {base} on");
    let (next, kills) = (AtomicU64::new(base), AtomicUsize::new(0));
    let failures: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let repeats: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let done = seed - base >= plans_wanted && kills.load(Ordering::Relaxed) >= kills_wanted;
                    if done || failures.lock().unwrap().len() as u64 >= enough {
                        return;
                    }
                    let plan = Plan::new(seed);
                    let verdict = std::panic::catch_unwind(|| run(&plan, Subject::LogTailer));
                    let problems = match verdict {
                        Ok(verdict) => {
                            kills.fetch_add(verdict.repeated.len(), Ordering::Relaxed);
                            repeats.lock().unwrap().extend(verdict.repeated);
                            verdict.problems
                        }
                        Err(_) => vec!["the run itself panicked, see above".to_owned()],
                    };
                    if !problems.is_empty() {
                        failures.lock().unwrap().push(format!("{plan}  => {}", problems.join("\n  => ")));
                    }
                }
            });
        }
    });
    let mut repeats = repeats.into_inner().unwrap();
    repeats.sort_unstable();
    let quantile = |of: usize| repeats.get((repeats.len() * of / 100).min(repeats.len().saturating_sub(1)));
    println!(
        "{} plans, {} kills; bytes repeated per kill: median {:?}, 90 % {:?}, most {:?}",
        next.into_inner() - base,
        repeats.len(),
        quantile(50),
        quantile(90),
        repeats.last()
    );
    let failures = failures.into_inner().unwrap();
    let hint = "rerun one alone with PODKIT_FUZZ_SEED=<seed>";
    assert!(failures.is_empty(), "{} plans failed; {hint}\n{}", failures.len(), failures.join("\n"));
}

#[test]
#[ignore = "a developer's aid: PODKIT_FUZZ_SEED names a plan that fails"]
fn shrink_a_failing_plan() {
    let seed = number_from_environment("PODKIT_FUZZ_SEED").expect("PODKIT_FUZZ_SEED");
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
