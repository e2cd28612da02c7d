//! A peer that says what stands in the input, in reads of a few bytes, and then ends.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One side of a conversation.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    rest: &'a [u8],
    /// What it was told.
    pub(crate) told: Vec<u8>,
    /// Bytes that one read gives at most.
    step: usize,
}

impl<'a> Script<'a> {
    /// Says `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, told: Vec::new(), step: 1 + bytes.len() % 7 }
    }

    /// What nobody has read.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }
}

impl AsyncRead for Script<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (now, rest) = this.rest.split_at(this.step.min(buffer.remaining()).min(this.rest.len()));
        buffer.put_slice(now);
        this.rest = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().told.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs what only ever waits for a [`Script`], which is always ready.
pub(crate) fn now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits for something else than its peers"),
    }
}
