//! Bytes both ways after an app agreed to another protocol, with each half closed when its source ends.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffers::Inbox;
use super::exchange::Client;
use super::timers::Deadline;
use super::worker::Http;
use crate::session::TlsStream;
use crate::socket::Socket;

/// Copies until both directions ended or one broke. `surplus` came from the app behind its 101, the inbox holds what came
/// from the client behind its request. Once one direction has ended, `patience` may pass without a byte in the other.
pub(super) async fn run(client: Client<'_>, socket: Socket, surplus: Vec<u8>, patience: Duration) {
    let Client { http, stream, inbox, deadline } = client;
    let (up, down) = (Half::Open, Half::Open);
    let mut tunnel = Tunnel { http, stream, inbox, deadline, patience, moved: false, socket, surplus, up, down };
    poll_fn(|cx| tunnel.poll(cx)).await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Open,
    /// The source ended; the end is still to be told to the other side.
    Ending,
    Over,
}

struct Tunnel<'t> {
    http: &'t Rc<Http>,
    stream: &'t mut TlsStream,
    inbox: &'t mut Inbox,
    deadline: &'t Deadline,
    patience: Duration,
    /// Something happened since the deadline was set.
    moved: bool,
    socket: Socket,
    surplus: Vec<u8>,
    up: Half,
    down: Half,
}

impl Tunnel<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.up != Half::Over
            && let Poll::Ready(false) = self.poll_up(cx)
        {
            return Poll::Ready(());
        }
        if self.down != Half::Over
            && let Poll::Ready(false) = self.poll_down(cx)
        {
            return Poll::Ready(());
        }
        match (self.up == Half::Over, self.down == Half::Over) {
            (true, true) => Poll::Ready(()),
            (false, false) => Poll::Pending,
            // A peer that is gone without a word would be waited for forever.
            _ => {
                if std::mem::take(&mut self.moved) {
                    self.deadline.set(self.patience);
                }
                self.deadline.poll(cx)
            }
        }
    }

    /// Ready(false): broken. Ready(true): this half is over.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if self.up == Half::Ending {
                let ended = ready!(Pin::new(&mut self.socket).poll_shutdown(cx)).is_ok();
                self.up = Half::Over;
                self.moved = true;
                return Poll::Ready(ended);
            }
            if self.inbox.is_empty() {
                match self.stream.poll_recv(cx, self.inbox.room(&self.http.buffers)) {
                    Poll::Ready(Ok(0)) => self.up = Half::Ending,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Pending => {
                        self.inbox.rest(&self.http.buffers);
                        return Poll::Pending;
                    }
                }
                continue;
            }
            match ready!(Pin::new(&mut self.socket).poll_write(cx, self.inbox.bytes())) {
                Ok(count) if count > 0 => {
                    self.moved = true;
                    self.inbox.consume(count);
                }
                _ => return Poll::Ready(false),
            }
        }
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if self.stream.has_unsent() && ready!(self.stream.poll_flush_out(cx)).is_err() {
                return Poll::Ready(false);
            }
            if self.down == Half::Ending {
                let ended = ready!(self.stream.poll_close(cx)).is_ok();
                self.down = Half::Over;
                self.moved = true;
                return Poll::Ready(ended);
            }
            let sent = if self.surplus.is_empty() {
                let mut block = self.http.buffers.block();
                let mut room = ReadBuf::new(&mut block);
                let read = Pin::new(&mut self.socket).poll_read(cx, &mut room);
                let sent = match &read {
                    Poll::Ready(Ok(())) if !room.filled().is_empty() => self.stream.poll_send(cx, &[room.filled()]),
                    _ => Poll::Pending,
                };
                self.http.buffers.give_block(block);
                match ready!(read) {
                    Ok(()) if sent.is_pending() => {
                        self.down = Half::Ending;
                        continue;
                    }
                    Ok(()) => sent,
                    Err(_) => return Poll::Ready(false),
                }
            } else {
                let surplus = std::mem::take(&mut self.surplus);
                self.stream.poll_send(cx, &[&surplus])
            };
            if !matches!(sent, Poll::Ready(Ok(()))) {
                return Poll::Ready(false);
            }
            self.moved = true;
        }
    }
}
