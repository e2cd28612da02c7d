//! A stream socket of either family, and where its other end is.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected stream socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP, with Nagle's delay off.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// One end of a connection, as far as it has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAddress {
    /// Address and port.
    Ip(SocketAddr),
    /// A unix socket; its clients have no name.
    Unix,
}

impl PeerAddress {
    /// Address and port, unless it is a unix socket.
    #[must_use]
    pub fn ip(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(formatter),
            Self::Unix => formatter.write_str("unix"),
        }
    }
}

impl Socket {
    /// A TCP stream that sends small writes at once.
    #[must_use]
    pub fn tcp(stream: TcpStream) -> Self {
        // Refused only for a socket that is already dead, which the next read tells.
        let _dead = stream.set_nodelay(true);
        Self::Tcp(stream)
    }

    /// The other end.
    ///
    /// # Errors
    /// When the connection is already gone.
    pub fn peer(&self) -> io::Result<PeerAddress> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map(PeerAddress::Ip),
            Self::Unix(_) => Ok(PeerAddress::Unix),
        }
    }

    /// This end.
    ///
    /// # Errors
    /// When the connection is already gone.
    pub fn local(&self) -> io::Result<PeerAddress> {
        match self {
            Self::Tcp(stream) => stream.local_addr().map(PeerAddress::Ip),
            Self::Unix(_) => Ok(PeerAddress::Unix),
        }
    }

    /// Reads what is there already, without waiting for more.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there, which mostly takes no system call; others when the connection is gone.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
        }
    }

    /// Lets the drop of this socket send a reset instead of an orderly end: the other side broke off, and this side
    /// must not take what it has for the whole.
    pub fn abort_on_drop(&self) {
        if let Self::Tcp(stream) = self {
            let _dead = stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
