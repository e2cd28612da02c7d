//! Deadlines of all connections of one thread, looked at by one coarse sweep.
//!
//! A request sets and moves its deadline by writing two cells; no timer is armed for it. The sweep wakes what is over
//! time, so a deadline is kept within one tick: a quarter of the shortest timeout, between 50 ms and 1 s. The sweep runs
//! only while there is something to look at: an idle process does not wake up.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The deadline of one connection.
#[derive(Debug)]
pub(super) struct Deadline {
    clock: Rc<Cell<Instant>>,
    at: Cell<Option<Instant>>,
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Deadline {
    /// From now on `allowed` may pass, within one tick.
    pub(super) fn set(&self, allowed: Duration) {
        self.at.set(self.clock.get().checked_add(allowed));
        self.over.set(false);
    }

    /// Nothing is waited for.
    pub(super) fn clear(&self) {
        self.at.set(None);
        self.over.set(false);
    }

    /// Has the task of `cx` woken when the time is over or the thread drains.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        // A connection is one task; its waker practically never changes.
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Ready when the time is over.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.over.get() {
            return Poll::Ready(());
        }
        self.watch(cx);
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// All deadlines of one thread.
#[derive(Debug)]
pub(super) struct Timers {
    clock: Rc<Cell<Instant>>,
    tick: Duration,
    deadlines: RefCell<Vec<Weak<Deadline>>>,
}

impl Timers {
    /// `shortest` is the shortest timeout that will be set.
    pub(super) fn new(shortest: Duration) -> Timers {
        Timers {
            clock: Rc::new(Cell::new(Instant::now())),
            tick: (shortest / 4).clamp(Duration::from_millis(50), Duration::from_secs(1)),
            deadlines: RefCell::new(Vec::new()),
        }
    }

    /// Pause between two sweeps.
    pub(super) fn tick(&self) -> Duration {
        self.tick
    }

    /// A deadline that is not set yet.
    pub(super) fn deadline(&self) -> Rc<Deadline> {
        // The clock may stand still since the last connection ended.
        self.clock.set(Instant::now());
        let deadline = Rc::new(Deadline {
            clock: Rc::clone(&self.clock),
            at: Cell::new(None),
            over: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.deadlines.borrow_mut().push(Rc::downgrade(&deadline));
        deadline
    }

    /// Moves the clock to `now`, wakes what is over time, and says whether any connection is left.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        self.clock.set(now);
        let mut deadlines = self.deadlines.borrow_mut();
        deadlines.retain(|deadline| {
            let Some(deadline) = deadline.upgrade() else { return false };
            if deadline.at.get().is_some_and(|at| at <= now) && !deadline.over.replace(true) {
                deadline.wake();
            }
            true
        });
        !deadlines.is_empty()
    }

    /// Wakes all connections, so that idle ones see that the thread drains.
    pub(super) fn wake_all(&self) {
        for deadline in self.deadlines.borrow().iter().filter_map(Weak::upgrade) {
            deadline.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_over_time_is_woken_and_ended_connections_are_forgotten() {
        let timers = Timers::new(Duration::from_secs(10));
        let start = Instant::now();
        let (short, long) = (timers.deadline(), timers.deadline());
        short.set(Duration::from_secs(1));
        long.set(Duration::from_secs(60));
        assert!(timers.sweep(start + Duration::from_secs(2)));
        assert!(short.over.get() && !long.over.get());
        short.set(Duration::from_secs(1));
        assert!(!short.over.get(), "setting it anew starts over");
        short.clear();
        drop(long);
        assert!(timers.sweep(start + Duration::from_secs(100)));
        assert!(!short.over.get());
        drop(short);
        assert!(!timers.sweep(start + Duration::from_secs(101)));
    }
}
