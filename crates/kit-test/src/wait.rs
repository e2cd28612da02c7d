//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// Returns once `check` holds. The pause between two looks grows from 1 ms to 50 ms.
///
/// # Panics
/// When `deadline` has passed and `check` still does not hold; the text names `what`.
#[track_caller]
pub fn eventually(what: &str, deadline: Duration, mut check: impl FnMut() -> bool) {
    eventually_some(what, deadline, || check().then_some(()));
}

/// The first value that `look` finds.
///
/// # Panics
/// When `deadline` has passed and `look` still finds nothing; the text names `what`.
#[track_caller]
pub fn eventually_some<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
