//! Idle connections to the app, kept for the next request of the same thread: last in, first out.
//!
//! A connection is put back only when both messages ended cleanly and nothing surplus arrived. Before it is used again it
//! is looked at without a system call: the runtime already knows if it became readable, which for an idle connection
//! can only mean that it ended.

use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

use crate::socket::Socket;

/// What can be kept.
pub(super) trait Quiet {
    /// True while it is open and has nothing to say.
    fn is_quiet(&mut self) -> bool;
}

impl Quiet for Socket {
    fn is_quiet(&mut self) -> bool {
        // Not `poll_read`, which would have to leave a waker behind.
        self.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

struct Idle<S> {
    socket: S,
    since: Instant,
}

/// Idle connections to one target.
pub(super) struct Pool<S> {
    idle: RefCell<Vec<Idle<S>>>,
    most: usize,
    longest: Duration,
}

impl<S> std::fmt::Debug for Pool<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").field("idle", &self.idle.borrow().len()).finish_non_exhaustive()
    }
}

impl<S: Quiet> Pool<S> {
    /// Keeps up to `most` connections, each for up to `longest`.
    pub(super) fn new(most: usize, longest: Duration) -> Pool<S> {
        Pool { idle: RefCell::new(Vec::new()), most, longest }
    }

    /// The connection used last that still looks alive.
    pub(super) fn take(&self) -> Option<S> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            // An idle connection has nothing to say; if it can be read, it ended or is out of step.
            if idle.socket.is_quiet() {
                return Some(idle.socket);
            }
        }
    }

    /// Keeps `socket` for later.
    pub(super) fn give(&self, socket: S, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.most {
            idle.push(Idle { socket, since: now });
        }
    }

    /// Ends what was idle for too long, and says whether any is left.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let mut idle = self.idle.borrow_mut();
        let longest = self.longest;
        idle.retain(|idle| now.saturating_duration_since(idle.since) < longest);
        !idle.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf};

    impl Quiet for DuplexStream {
        fn is_quiet(&mut self) -> bool {
            let mut byte = [0; 1];
            let mut cx = Context::from_waker(Waker::noop());
            matches!(Pin::new(self).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)), Poll::Pending)
        }
    }

    impl Quiet for tokio::io::Empty {
        fn is_quiet(&mut self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn the_last_live_connection_comes_first_and_dead_or_talkative_ones_never() {
        let pool = Pool::new(8, Duration::from_secs(30));
        let (live, _app) = tokio::io::duplex(8);
        let (dead, app) = tokio::io::duplex(8);
        drop(app);
        let (talkative, mut app) = tokio::io::duplex(8);
        app.write_all(b"x").await.unwrap();
        let now = Instant::now();
        for socket in [live, dead, talkative] {
            pool.give(socket, now);
        }
        assert!(pool.take().is_some());
        assert!(pool.take().is_none());
    }

    #[test]
    fn connections_are_kept_in_number_and_time() {
        let pool = Pool::new(1, Duration::from_secs(30));
        let now = Instant::now();
        pool.give(tokio::io::empty(), now);
        pool.give(tokio::io::empty(), now);
        assert_eq!(pool.idle.borrow().len(), 1);
        assert!(pool.sweep(now + Duration::from_secs(29)));
        assert!(!pool.sweep(now + Duration::from_secs(30)));
    }
}
