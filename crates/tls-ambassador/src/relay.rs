//! Bytes carried both ways between two streams until both directions have ended.
//!
//! A direction that ends is passed on as an end of sending, and the other direction goes on: a client may close its
//! half and still read the answer. A side that accepts no bytes stops the reading of the other one, so at most one
//! read (64 KB) is held for each direction. Buffers are the thread's; an idle pair holds none.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use crate::session::TlsStream;
use crate::socket::Socket;

/// What is read at once from a plain socket. More costs memory and saves nothing (measured with records of 16 KB).
const READ: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One end of a relay.
pub trait End {
    /// Appends what can be read now; zero is the end.
    ///
    /// # Errors
    /// When the stream is broken.
    fn poll_recv(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<io::Result<usize>>;
    /// Takes all of `bytes`, or none of them while it is pending.
    ///
    /// # Errors
    /// When the stream is broken.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<()>>;
    /// Ready when nothing is held back.
    ///
    /// # Errors
    /// When the stream is broken.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Ends sending.
    ///
    /// # Errors
    /// When the stream is broken.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Makes the drop of this end a reset.
    fn abort_on_drop(&self);
}

impl End for TlsStream {
    fn poll_recv(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        Self::poll_recv(self, cx, out)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<()>> {
        Self::poll_send(self, cx, &[bytes])
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_out(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_close(self, cx)
    }

    fn abort_on_drop(&self) {
        self.socket().abort_on_drop();
    }
}

/// A plain socket with what it refused.
#[derive(Debug)]
pub struct Plain {
    socket: Socket,
    held: Vec<u8>,
    sent: usize,
}

impl Plain {
    /// Nothing is held at first.
    #[must_use]
    pub fn new(socket: Socket) -> Self {
        Self { socket, held: Vec::new(), sent: 0 }
    }
}

impl End for Plain {
    fn poll_recv(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        out.reserve(READ);
        pin!(self.socket.read_buf(out)).poll(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<()>> {
        ready!(self.poll_flushed(cx))?;
        let mut left = bytes;
        while !left.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, left)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => left = &left[count..],
                Poll::Pending => {
                    self.held = left.to_vec();
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &self.held[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        if self.sent > 0 {
            (self.held, self.sent) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flushed(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn abort_on_drop(&self) {
        self.socket.abort_on_drop();
    }
}

/// When a relay is cut.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Without a byte in any direction.
    pub idle: Option<Duration>,
    /// Without a byte once one direction has ended.
    pub half_closed: Duration,
    /// At this time, whatever happens.
    pub end: Option<Instant>,
    /// Both sides are told of a limit's end as of any other, as ghostunnel does. Else it is a reset, so that nobody takes what
    /// has come for the whole.
    pub orderly: bool,
}

/// How a relay ended.
#[derive(Debug)]
pub enum Outcome {
    /// Both sides ended.
    Finished,
    /// A limit cut it.
    TimedOut,
    /// One side broke.
    Broken(io::Error),
}

/// The direction from one end to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Open,
    /// The source ended; the destination is to be told.
    Ending,
    Ended,
}

struct Relay<'a, A, B> {
    near: &'a mut A,
    far: &'a mut B,
    forth: Direction,
    back: Direction,
    counters: (&'a Counter, &'a Counter),
    moved: bool,
}

/// Carries bytes between `near` (who connected) and `far` (the target) until both directions have ended.
pub async fn relay<A: End, B: End>(
    near: &mut A,
    far: &mut B,
    limits: Limits,
    counters: (&Counter, &Counter),
) -> Outcome {
    let mut relay = Relay { near, far, forth: Direction::Open, back: Direction::Open, counters, moved: false };
    let outcome = relay.run(limits).await;
    if limits.orderly && matches!(outcome, Outcome::TimedOut) {
        std::future::poll_fn(|cx| {
            relay.say_goodbye(cx);
            Poll::Ready(())
        })
        .await;
    } else if !matches!(outcome, Outcome::Finished) {
        // Whoever is left must not take what it has for the whole.
        relay.near.abort_on_drop();
        relay.far.abort_on_drop();
    }
    outcome
}

impl<A: End, B: End> Relay<'_, A, B> {
    async fn run(&mut self, limits: Limits) -> Outcome {
        let mut last = Instant::now();
        loop {
            let quiet = if self.half_closed() { Some(limits.half_closed) } else { limits.idle };
            let deadline = [quiet.map(|quiet| last + quiet), limits.end].into_iter().flatten().min();
            let half_closed = self.half_closed();
            let step = std::future::poll_fn(|cx| self.poll(cx, half_closed));
            let step = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, step).await,
                None => Ok(step.await),
            };
            match step {
                Ok(Ok(true)) => return Outcome::Finished,
                // One side has ended just now, so another limit holds from here.
                Ok(Ok(false)) => last = Instant::now(),
                Ok(Err(error)) => return Outcome::Broken(error),
                Err(_elapsed)
                    if std::mem::take(&mut self.moved) && limits.end.is_none_or(|end| Instant::now() < end) =>
                {
                    // Bytes have moved since the limit was set. Counting again from now makes a timer per byte
                    // unnecessary; an idle pair is cut after one to two limits.
                    last = Instant::now();
                }
                Err(_elapsed) => return Outcome::TimedOut,
            }
        }
    }

    /// Whoever takes no bytes gets no goodbye.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        for gone in [self.near.poll_close(cx), self.far.poll_close(cx)] {
            drop(gone);
        }
    }

    fn half_closed(&self) -> bool {
        self.forth != Direction::Open || self.back != Direction::Open
    }

    /// Ready with true when all is done, with false when the first direction has ended.
    fn poll(&mut self, cx: &mut Context<'_>, was_half_closed: bool) -> Poll<io::Result<bool>> {
        let forth = carry(self.near, self.far, &mut self.forth, &mut self.moved, self.counters.0, cx)?;
        let back = carry(self.far, self.near, &mut self.back, &mut self.moved, self.counters.1, cx)?;
        if forth.is_ready() && back.is_ready() {
            Poll::Ready(Ok(true))
        } else if self.half_closed() && !was_half_closed {
            Poll::Ready(Ok(false))
        } else {
            Poll::Pending
        }
    }
}

/// Moves what can be moved. Ready when this direction is over.
fn carry<S: End, D: End>(
    source: &mut S,
    destination: &mut D,
    direction: &mut Direction,
    moved: &mut bool,
    counter: &Counter,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while *direction == Direction::Open {
        // Back-pressure: nothing is read that could not be handed on.
        ready!(destination.poll_flushed(cx))?;
        let count = SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            let count = ready!(source.poll_recv(cx, scratch))?;
            if count > 0 {
                let taken = destination.poll_send(cx, scratch)?;
                debug_assert!(taken.is_ready(), "a flushed end takes one read");
            }
            Poll::Ready(Ok::<_, io::Error>(count))
        });
        match ready!(count)? {
            0 => *direction = Direction::Ending,
            count => {
                *moved = true;
                counter.inc_by(count as u64);
            }
        }
    }
    if *direction == Direction::Ending {
        match ready!(destination.poll_close(cx)) {
            Ok(()) => {}
            // The other side is gone already, so it needs no goodbye.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotConnected | io::ErrorKind::BrokenPipe) => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
        *direction = Direction::Ended;
    }
    Poll::Ready(Ok(()))
}
