//! A failing plan without the steps that it does not need.

use std::time::Duration;

use super::plan::{Plan, Rotation, Step};
use super::run::{Subject, run_within};

/// Timing decides some failures: a plan counts as harmless after so many good runs.
const RUNS: usize = 3;
/// Shorter than in the proof: many runs get stuck here.
const STUCK: Duration = Duration::from_secs(6);

/// The problems of the first run that fails.
fn failure(plan: &Plan) -> Option<Vec<String>> {
    let mut runs = (0..RUNS).map(|_| run_within(STUCK, plan, Subject::LogTailer).problems);
    runs.find(|problems| !problems.is_empty())
}

/// Leaves out ever smaller pieces as long as the rest still fails, then simplifies what is left of the rotations.
/// `None` when the plan does not fail.
pub(super) fn shrink(mut plan: Plan) -> Option<(Plan, Vec<String>)> {
    let mut problems = failure(&plan)?;
    let mut size = plan.steps.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < plan.steps.len() {
            let mut smaller = plan.clone();
            let to = (from + size).min(smaller.steps.len());
            smaller.steps.drain(from..to);
            match failure(&smaller) {
                Some(found) => (plan, problems) = (smaller, found),
                None => from += size,
            }
        }
        size /= 2;
    }
    for index in 0..plan.steps.len() {
        for simpler in simpler(plan.steps[index]) {
            let mut candidate = plan.clone();
            candidate.steps[index] = simpler;
            if let Some(found) = failure(&candidate) {
                (plan, problems) = (candidate, found);
            }
        }
    }
    Some((plan, problems))
}

fn simpler(step: Step) -> Vec<Step> {
    match step {
        Step::Rotate { file, rotation } => [
            Rotation { late: 0, ..rotation },
            Rotation { half: false, ..rotation },
            Rotation { compress: false, ..rotation },
            Rotation { delay_ms: 0, ..rotation },
            Rotation { late: 0, half: false, compress: false, delay_ms: 0, ..rotation },
        ]
        .map(|rotation| Step::Rotate { file, rotation })
        .to_vec(),
        Step::Write { file, .. } => vec![Step::Write { file, lines: 1, pause_us: 0 }],
        Step::Burst { file, .. } => vec![Step::Write { file, lines: 5, pause_us: 0 }],
        _ => Vec::new(),
    }
}
