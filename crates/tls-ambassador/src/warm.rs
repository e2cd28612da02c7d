//! Sessions to a server that are open before anybody asks: a connection then waits for no handshake.
//!
//! Promised: a session that the server has ended, that is older than [`OLDEST`] or was opened with files that are no longer in
//! use is never handed out. Each thread keeps its own.
//!
//! Not promised: that there is one. A connection that finds none opens its own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::session::TlsStream;

/// PostgreSQL ends sessions without a login after 60 s (`authentication_timeout`); others are more patient.
const OLDEST: Duration = Duration::from_secs(45);
/// Pauses after a failure: the first and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A session, and what the server said before it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) tls: TlsStream,
    /// For the client, before the server's first byte inside TLS.
    pub(crate) greeting: Vec<u8>,
}

/// Open sessions to one server.
#[derive(Debug)]
pub(crate) struct Pool {
    size: usize,
    idle: RefCell<VecDeque<(Session, Instant)>>,
    taken: Notify,
}

impl Pool {
    /// Keeps `size` of them once [`Pool::keep`] runs.
    pub(crate) fn new(size: usize) -> Self {
        Self { size, idle: RefCell::default(), taken: Notify::new() }
    }

    /// The youngest one that is still good: the others had more time to go bad unnoticed.
    pub(crate) fn take(&self) -> Option<Session> {
        let mut idle = self.idle.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        while let Some((mut session, since)) = idle.pop_back() {
            self.taken.notify_one();
            if since.elapsed() < OLDEST && session.tls.poll_ended(&mut cx).is_pending() {
                return Some(session);
            }
        }
        None
    }

    /// Keeps the number up for ever. `open` makes a session with the files that `files` has; `failed` is told of the first of
    /// several failures.
    pub(crate) async fn keep<T, E>(
        &self,
        mut files: watch::Receiver<T>,
        open: impl AsyncFn() -> Result<Session, E>,
        failed: impl Fn(&E),
    ) {
        if self.size == 0 {
            return std::future::pending().await;
        }
        let mut pause = PAUSE;
        loop {
            files.mark_unchanged();
            while self.idle.borrow().len() < self.size {
                match open().await {
                    Ok(session) => {
                        pause = PAUSE;
                        self.idle.borrow_mut().push_back((session, Instant::now()));
                    }
                    Err(error) => {
                        if pause == PAUSE {
                            failed(&error);
                        }
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
            let oldest = self.idle.borrow().front().map_or_else(Instant::now, |(_, since)| *since);
            tokio::select! {
                () = self.taken.notified() => {}
                // A server that ends every session at once must not be asked for one without end.
                () = self.one_ended() => tokio::time::sleep(PAUSE).await,
                () = tokio::time::sleep_until(oldest + OLDEST) => drop(self.idle.borrow_mut().pop_front()),
                // The store lives as long as the process.
                _ = files.changed() => self.idle.borrow_mut().clear(),
            }
        }
    }

    /// Returns when at least one session has ended, which is then gone.
    fn one_ended(&self) -> impl Future<Output = ()> + '_ {
        std::future::poll_fn(|cx| {
            let mut idle = self.idle.borrow_mut();
            let before = idle.len();
            idle.retain_mut(|(session, _)| session.tls.poll_ended(cx).is_pending());
            if idle.len() < before { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}
