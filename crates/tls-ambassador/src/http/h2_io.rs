//! The TLS stream under an HTTP/2 connection: what one wake-up writes leaves in one record and one system call.
//!
//! The frame writer flushes after each response, which would cost a record and a call for every stream. Here a flush only means
//! "queued"; the connection's task sends the queue whenever the writer has nothing more to do.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::worker::Http;
use crate::session::TlsStream;

/// Bytes that are queued before they are sent without waiting for more.
const QUEUE: usize = 32 << 10;

struct Queue {
    http: Rc<Http>,
    stream: TlsStream,
    queued: Vec<u8>,
}

/// One connection's stream, shared between the frame writer and the connection's task.
#[derive(Clone)]
pub(super) struct Corked(Rc<RefCell<Queue>>);

impl Corked {
    pub(super) fn new(http: Rc<Http>, stream: TlsStream) -> Corked {
        Corked(Rc::new(RefCell::new(Queue { http, stream, queued: Vec::new() })))
    }

    /// Sends what is queued; ready when the socket has taken it.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }
}

impl Queue {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.queued.is_empty() {
            ready!(self.stream.poll_send(cx, &[&self.queued]))?;
            self.http.buffers.give_text(&mut self.queued);
        }
        self.stream.poll_flush_out(cx)
    }
}

impl AsyncRead for Corked {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut queue = self.0.borrow_mut();
        if queue.queued.len() >= QUEUE {
            ready!(queue.poll_send(cx))?;
        }
        if queue.queued.capacity() == 0 {
            queue.queued = queue.http.buffers.text();
        }
        let count = bytes.len().min(QUEUE - queue.queued.len());
        queue.queued.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut queue = self.0.borrow_mut();
        ready!(queue.poll_send(cx))?;
        queue.stream.poll_close(cx)
    }
}
