//! Whether `/healthz` and `/ready` succeed: by the clock, and as told.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kit_admin::Condition;
use kit_units::format_duration;

/// The app's health since its start.
#[derive(Debug)]
pub(crate) struct Health {
    started: Instant,
    ready_after: Duration,
    unhealthy_after: Option<Duration>,
    told: Mutex<Told>,
    /// Mirrors `/ready` on the admin endpoint.
    condition: Condition,
}

/// What the last `POST` asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Fail,
    /// Healthy again, also after `--unhealthy-after`.
    Recover,
}

impl Health {
    pub(crate) fn new(ready_after: Duration, unhealthy_after: Option<Duration>, condition: Condition) -> Self {
        Self { started: Instant::now(), ready_after, unhealthy_after, told: Mutex::new(Told::Nothing), condition }
    }

    /// When `/ready` succeeds for the first time.
    pub(crate) fn ready_at(&self) -> Instant {
        self.started + self.ready_after
    }

    /// `POST /fail`: both checks fail from now on.
    pub(crate) fn fail(&self) {
        self.tell(Told::Fail);
    }

    /// `POST /recover`: only the start delay can still fail a check.
    pub(crate) fn recover(&self) {
        self.tell(Told::Recover);
    }

    fn tell(&self, told: Told) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        self.mirror();
    }

    /// Brings the admin endpoint up to date.
    pub(crate) fn mirror(&self) {
        match self.ready() {
            Ok(()) => self.condition.met(),
            Err(why) => self.condition.unmet(why),
        }
    }

    /// Whether `/healthz` succeeds, else why not.
    pub(crate) fn healthy(&self) -> Result<(), String> {
        self.healthy_after(self.started.elapsed())
    }

    /// Whether `/ready` succeeds, else why not.
    pub(crate) fn ready(&self) -> Result<(), String> {
        self.ready_after(self.started.elapsed())
    }

    fn healthy_after(&self, age: Duration) -> Result<(), String> {
        match (self.told(), self.unhealthy_after) {
            (Told::Fail, _) => Err("told to fail by POST /fail".into()),
            (Told::Nothing, Some(limit)) if age >= limit => {
                Err(format!("unhealthy since {} after the start", format_duration(limit)))
            }
            _ => Ok(()),
        }
    }

    fn ready_after(&self, age: Duration) -> Result<(), String> {
        if self.told() == Told::Fail {
            return Err("told to fail by POST /fail".into());
        }
        if age < self.ready_after {
            return Err(format!("ready {} after the start", format_duration(self.ready_after)));
        }
        Ok(())
    }

    fn told(&self) -> Told {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        let condition = kit_admin::Admin::new("demo-app").condition("ready");
        Health::new(Duration::from_secs(20), Some(Duration::from_secs(40)), condition)
    }

    #[test]
    fn it_is_ready_late_and_turns_unhealthy_by_the_clock() {
        let (health, at) = (health(), Duration::from_secs);
        assert_eq!(health.ready_after(at(19)).unwrap_err(), "ready 20s after the start");
        assert_eq!(health.ready_after(at(20)), Ok(()));
        assert_eq!(health.healthy_after(at(39)), Ok(()));
        assert_eq!(health.healthy_after(at(40)).unwrap_err(), "unhealthy since 40s after the start");
        assert_eq!(health.ready_after(at(40)), Ok(()));
    }

    #[test]
    fn a_post_fails_both_checks_and_another_heals_them() {
        let (health, at) = (health(), Duration::from_secs);
        health.fail();
        assert!(health.healthy_after(at(30)).is_err() && health.ready_after(at(30)).is_err());
        health.recover();
        assert_eq!(health.healthy_after(at(50)), Ok(()));
        assert_eq!(health.ready_after(at(50)), Ok(()));
        assert!(health.ready_after(at(1)).is_err(), "the start delay holds");
    }
}
