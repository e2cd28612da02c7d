//! A new connection to the app, and how often one request may try for it.
//!
//! Nothing of a request has left when no connection came about, so any request may try again; an app that restarts is back
//! after a moment. Who does not answer at all until the deadline is not asked twice.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::worker::Http;
use crate::server::Door;
use crate::socket::Socket;

/// Pause before the second try; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Further tries that one request has left.
#[derive(Debug)]
pub(super) struct Tries {
    left: u8,
    pause: Duration,
}

impl Tries {
    /// As many as `--retries` says.
    pub(super) fn new(http: &Http) -> Tries {
        Tries { left: http.config.retries, pause: FIRST_PAUSE }
    }

    /// Takes one, if any is left.
    pub(super) fn take(&mut self) -> bool {
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }

    /// The time to wait before the try that was taken: between the pause and half as much again, so that the requests that
    /// failed together do not come back together.
    fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        let chance = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_micros() % 1000);
        pause + pause / 2 * chance / 1000
    }
}

/// Connects to the app behind `door`.
///
/// # Errors
/// The last try's failure, which the log has then.
pub(super) async fn dial(http: &Http, door: &Door, tries: &mut Tries) -> io::Result<Socket> {
    loop {
        let began = Instant::now();
        let error = match door.target.dial(http.config.connect_timeout).await {
            Ok(socket) => {
                door.metrics.dial_seconds.observe(began.elapsed().as_secs_f64());
                return Ok(socket);
            }
            Err(error) => error,
        };
        door.metrics.dial_failures.inc();
        if error.kind() == io::ErrorKind::TimedOut || !tries.take() {
            tracing::warn!(target = %door.target, %error, "cannot connect to the app");
            return Err(error);
        }
        tracing::debug!(target = %door.target, %error, "trying the app once more");
        tokio::time::sleep(tries.pause()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_are_spread() {
        let mut tries = Tries { left: 10, pause: FIRST_PAUSE };
        for pause in [50, 100, 200, 400, 800, 1000, 1000] {
            let (least, most) = (Duration::from_millis(pause), Duration::from_millis(pause + pause / 2));
            let got = tries.pause();
            assert!(least <= got && got <= most, "{got:?} for {pause} ms");
        }
        for left in (0..10).rev() {
            assert!(tries.take());
            assert_eq!(tries.left, left);
        }
        assert!(!tries.take());
    }
}
