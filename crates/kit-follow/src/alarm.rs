//! A timer that wakes the process once, when it is due.
//!
//! The runtime's own timers sit in a wheel whose far slots are coarse: a wait of seconds wakes up twice, at the slot and at the
//! time. An idle follower waits for nothing else.

use std::cell::Cell;
use std::os::fd::OwnedFd;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// One timer, set anew for each wait that is for another time.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// Where the kernel gives no timer, the runtime's is used.
    timer: Option<AsyncFd<OwnedFd>>,
    set: Cell<Option<Instant>>,
}

impl Alarm {
    /// Needs a runtime.
    pub(crate) fn new() -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).ok();
        let timer = timer.and_then(|timer| crate::output::registered(timer, Interest::READABLE).ok());
        Self { timer, set: Cell::new(None) }
    }

    /// Returns when it is `due`. May be dropped and called again.
    pub(crate) async fn at(&self, due: Instant) {
        let Some(timer) = self.timer.as_ref().filter(|timer| self.is_set(timer, due)) else {
            return tokio::time::sleep_until(due).await;
        };
        while Instant::now() < due {
            // The readiness may be that of an earlier time.
            match timer.readable().await {
                Ok(mut guard) => guard.clear_ready(),
                Err(_) => return tokio::time::sleep_until(due).await,
            }
        }
    }

    fn is_set(&self, timer: &AsyncFd<OwnedFd>, due: Instant) -> bool {
        let left = due.saturating_duration_since(Instant::now());
        if self.set.get() == Some(due) || left.is_zero() {
            return true;
        }
        let Ok(it_value) = Timespec::try_from(left) else { return false };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        let set = rustix::time::timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once).is_ok();
        self.set.set(set.then_some(due));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_comes_when_it_is_due_also_after_it_was_set_for_another_time() {
        let alarm = Alarm::new();
        let start = Instant::now();
        let far = start + Duration::from_secs(600);
        assert!(tokio::time::timeout(Duration::from_millis(20), alarm.at(far)).await.is_err());
        for wait in [60, 30, 90] {
            let due = Instant::now() + Duration::from_millis(wait);
            alarm.at(due).await;
            assert!(Instant::now() >= due, "{wait} ms");
        }
        alarm.at(start).await;
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    }
}
