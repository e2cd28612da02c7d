//! One TLS connection over one socket, in either role.
//!
//! rustls' unbuffered connections are driven directly, because of memory: an idle connection owns nothing but the
//! cipher state. Reads and writes go through scratch buffers that all connections of a thread share; they are borrowed
//! only inside one poll. A connection gets a `Vec` of its own for a partial record, or for bytes that the socket
//! refused, and gives it back as soon as it is empty.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use kit_tls::rustls;
use rustls::ProtocolVersion;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::PeerIdentity;
use crate::hello::Hello;
use crate::records::{Engine, Progress, encrypt, pump, say_goodbye};
use crate::socket::Socket;

/// One partial record and one whole one (RFC 8446 §5.2: 16 KB, 256 bytes of expansion, 5 of header).
const READ_BUFFER: usize = 34 << 10;
/// Plaintext that is encrypted for one write.
const WRITE_PART: usize = 64 << 10;
/// `WRITE_PART` with what its records add.
const WRITE_BUFFER: usize = WRITE_PART + 8 * 64;
/// Handshake bytes of one flight that are kept while it is incomplete: room for long client chains, no more.
const HANDSHAKE_LIMIT: usize = 128 << 10;

struct Scratch {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    joined: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; READ_BUFFER],
        outgoing: vec![0; WRITE_BUFFER],
        joined: Vec::new(),
    });
    static PLAIN: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
}

/// What the handshake settled.
#[derive(Debug, Clone, Default)]
pub struct SessionFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's IANA name.
    pub suite: String,
    /// The key exchange's name; a resumed TLS 1.2 session has none.
    pub group: String,
    /// The protocol that both sides chose.
    pub alpn: Option<Vec<u8>>,
    /// The name that the client asked for.
    pub sni: Option<String>,
    /// True when no certificates were exchanged because of a ticket.
    pub resumed: bool,
    /// The other side's verified certificate.
    pub peer: Option<Rc<PeerIdentity>>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The other side, or we, refused by TLS' own rules; an alert was sent where one is due.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// The socket failed or ended.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A handshake that failed, with what is known of the other side.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refusal {
    /// Why.
    pub error: HandshakeError,
    /// What a client offered; nothing is known of servers.
    pub hello: Option<Hello>,
    /// The other side's certificate (DER), where that is what was refused.
    pub certificate: Option<Vec<u8>>,
}

impl Refusal {
    /// The name that a client asked for.
    #[must_use]
    pub fn sni(&self) -> Option<&str> {
        self.hello.as_ref()?.name.as_deref()
    }
}

/// Boxed, because futures copy what is moved through them: a thousand idle connections would hold it several times.
enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// An established TLS session.
pub struct TlsStream {
    socket: Socket,
    side: Side,
    facts: Box<SessionFacts>,
    /// Bytes that are not a whole record yet.
    partial: Vec<u8>,
    /// Records that the socket refused, and how much of them it has taken since.
    unsent: Vec<u8>,
    sent: usize,
    /// Session tickets for the client, which go out together with the first data: nobody waits for them.
    tickets: Vec<u8>,
    /// Plaintext that a reader of the `AsyncRead` kind has not taken.
    plain: Vec<u8>,
    taken: usize,
    ended: bool,
    clean: bool,
    closed: bool,
    /// A record was refused: the alert says so, and the session takes and gives nothing any more.
    broken: bool,
    traffic: Option<Rc<Traffic>>,
}

/// Plain bytes of the sessions of one thread that count here.
#[derive(Debug, Default)]
pub struct Traffic {
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl Traffic {
    /// What was received and sent since the last call.
    pub fn take(&self) -> (u64, u64) {
        (self.received.take(), self.sent.take())
    }
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsStream").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Runs `$body` with the engine of whichever side this is.
macro_rules! with_engine {
    ($side:expr, $engine:ident => $body:expr) => {
        match $side {
            Side::Server($engine) => $body,
            Side::Client($engine) => $body,
        }
    };
}

impl TlsStream {
    /// Accepts a session. The caller owns the deadline.
    ///
    /// # Errors
    /// When the socket ends or either side refuses; the alert has then been sent as far as the socket took it.
    pub async fn accept(socket: Socket, config: Arc<rustls::ServerConfig>) -> Result<Self, Box<Refusal>> {
        Self::accept_after(socket, config, Vec::new()).await
    }

    /// As [`TlsStream::accept`] when the first bytes of the handshake were already read.
    ///
    /// # Errors
    /// As for [`TlsStream::accept`].
    pub async fn accept_after(
        socket: Socket,
        config: Arc<rustls::ServerConfig>,
        read: Vec<u8>,
    ) -> Result<Self, Box<Refusal>> {
        let connection = UnbufferedServerConnection::new(config).map_err(|error| refusal(error.into(), None))?;
        Self::shake(socket, Side::Server(Box::new(connection)), read).await
    }

    /// Opens a session towards `name`. The caller owns the deadline.
    ///
    /// # Errors
    /// As for [`TlsStream::accept`].
    pub async fn connect(
        socket: Socket,
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Box<Refusal>> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(|error| refusal(error.into(), None))?;
        Self::shake(socket, Side::Client(Box::new(connection)), Vec::new()).await
    }

    async fn shake(socket: Socket, side: Side, read: Vec<u8>) -> Result<Self, Box<Refusal>> {
        let mut stream = Self {
            socket,
            side,
            facts: Box::default(),
            partial: read,
            unsent: Vec::new(),
            sent: 0,
            tickets: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            ended: false,
            clean: false,
            closed: false,
            broken: false,
            traffic: None,
        };
        let mut sni = None;
        let mut hello = None;
        let mut certificate = None;
        let outcome = loop {
            // Before rustls takes the bytes: where it fails it tells nothing of them.
            hello = hello.or_else(|| Hello::read(&stream.partial));
            let step = stream.handshake_step();
            sni = sni.or_else(kit_tls::server::take_server_name);
            if step.is_err() {
                certificate = kit_tls::take_refused_certificate();
            }
            if matches!(step, Ok(true)) && stream.has_only_tickets_to_say() {
                stream.tickets = std::mem::take(&mut stream.unsent);
            }
            // What was made goes out first, an alert too: the other side should learn why.
            let flushed = std::future::poll_fn(|cx| stream.poll_flush_out(cx)).await;
            match (step, flushed) {
                (Ok(true), flushed) => break flushed.map_err(HandshakeError::Io),
                (Err(error), _) => break Err(HandshakeError::Tls(error)),
                (Ok(false), Err(error)) => return Err(refusal(error.into(), hello)),
                (Ok(false), Ok(())) => {}
            }
            let more = std::future::poll_fn(|cx| stream.poll_more_handshake(cx)).await;
            if let Err(error) = more {
                return Err(refusal(error.into(), hello));
            }
        };
        match outcome {
            Ok(()) => match with_engine!(&stream.side, engine => facts(engine.as_ref(), sni)) {
                Ok(facts) => {
                    stream.facts = Box::new(facts);
                    Ok(stream)
                }
                Err(error) => Err(refusal(error, hello)),
            },
            Err(error) => {
                stream.linger().await;
                Err(Box::new(Refusal { error, hello, certificate }))
            }
        }
    }

    /// Ends a failed handshake so that the peer can still read the alert: with bytes of the peer unread, closing at
    /// once would reset the connection and throw the alert away.
    async fn linger(&mut self) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _gone = self.socket.shutdown().await;
        let drained = async {
            let mut waste = [0; 1024];
            while self.socket.read(&mut waste).await.is_ok_and(|count| count > 0) {}
        };
        let _still_talking = tokio::time::timeout(std::time::Duration::from_secs(1), drained).await;
    }

    /// True once the handshake is complete.
    fn handshake_step(&mut self) -> Result<bool, rustls::Error> {
        let Self { side, partial, unsent, plain, .. } = self;
        let progress = with_engine!(side, engine => pump(engine, partial, plain, unsent));
        consume(partial, progress.used);
        match progress.outcome {
            Err(error) => Err(error),
            Ok(_) => Ok(with_engine!(&self.side, engine => !engine.is_handshaking())),
        }
    }

    /// A server of TLS 1.3 has sent all else before the client's last message came.
    fn has_only_tickets_to_say(&self) -> bool {
        match &self.side {
            Side::Server(engine) => engine.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            Side::Client(_) => false,
        }
    }

    /// Sends what is held for the first data, for protocols in which no data may come for long.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn send_tickets(&mut self) -> io::Result<()> {
        self.unhold_tickets();
        std::future::poll_fn(|cx| self.poll_flush_out(cx)).await
    }

    /// Records are numbered: tickets come before whatever else is to be sent.
    fn unhold_tickets(&mut self) {
        if !self.tickets.is_empty() {
            let mut all = std::mem::take(&mut self.tickets);
            all.append(&mut self.unsent);
            self.unsent = all;
        }
    }

    fn poll_more_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.partial.len() > HANDSHAKE_LIMIT {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the handshake is too long")));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(&mut scratch.incoming);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.partial.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(()))
        })
    }

    /// What the handshake settled.
    #[must_use]
    pub fn facts(&self) -> &SessionFacts {
        &self.facts
    }

    /// From now on plain bytes are counted in `traffic`, and those that came with the end of the handshake too.
    pub fn count_in(&mut self, traffic: Rc<Traffic>) {
        traffic.received.set(traffic.received.get() + (self.plain.len() - self.taken) as u64);
        self.traffic = Some(traffic);
    }

    /// True when the other side ended the connection without the alert that says so.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.ended && !self.clean
    }

    /// The socket underneath.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Reads once from the socket and appends the plaintext of all complete records to `out`. Zero is the end.
    /// Stays pending while only part of a record is there.
    ///
    /// # Errors
    /// When the socket fails or a record does not verify.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let before = out.len();
        if !self.plain.is_empty() {
            out.extend_from_slice(&self.plain[self.taken..]);
            (self.plain, self.taken) = (Vec::new(), 0);
            return Poll::Ready(Ok(out.len() - before));
        }
        while !self.ended {
            let read = SCRATCH.with_borrow_mut(|scratch| self.poll_records(cx, &mut scratch.incoming, out));
            if let Err(error) = ready!(read) {
                (self.ended, self.broken) = (true, true);
                return Poll::Ready(Err(error));
            }
            if out.len() > before {
                break;
            }
        }
        if let Some(traffic) = &self.traffic {
            traffic.received.set(traffic.received.get() + (out.len() - before) as u64);
        }
        Poll::Ready(Ok(out.len() - before))
    }

    /// One read and everything that it completes.
    fn poll_records(&mut self, cx: &mut Context<'_>, buffer: &mut [u8], out: &mut Vec<u8>) -> Poll<io::Result<()>> {
        let held = self.partial.len();
        if held >= buffer.len() {
            let error = "a record or handshake message is longer than TLS allows";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        let mut fresh = ReadBuf::new(&mut buffer[held..]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut fresh))?;
        let count = fresh.filled().len();
        if count == 0 {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        buffer[..held].copy_from_slice(&self.partial);
        let all = &mut buffer[..held + count];
        let Progress { used, outcome } =
            with_engine!(&mut self.side, engine => pump(engine, all, out, &mut self.unsent));
        // Dropped, not cleared, when nothing is left: an idle connection holds no buffer.
        self.partial = if used == all.len() { Vec::new() } else { all[used..].to_vec() };
        if !self.unsent.is_empty() {
            // A key update's answer or an alert; what the socket refuses goes out with the next write.
            let _later = self.poll_flush_out(cx)?;
        }
        match outcome {
            Ok(peer_closed) => {
                self.ended |= peer_closed;
                self.clean |= peer_closed;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error))),
        }
    }

    /// Encrypts all of `parts` as one stream of bytes and writes it once. `Ready` means that everything was taken;
    /// what the socket refused is kept and goes out first next time. While such a remainder is held, nothing of
    /// `parts` is taken and the call is pending.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, parts: &[&[u8]]) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_flush_out(cx))?;
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { joined, outgoing, .. } = scratch;
            let mut filled = parts.iter().filter(|part| !part.is_empty());
            let plaintext = match (filled.next(), filled.next()) {
                // A body without its head is not copied.
                (Some(one), None) => *one,
                _ => {
                    joined.clear();
                    parts.iter().for_each(|part| joined.extend_from_slice(part));
                    joined.as_slice()
                }
            };
            if let Some(traffic) = &self.traffic {
                traffic.sent.set(traffic.sent.get() + plaintext.len() as u64);
            }
            for part in plaintext.chunks(WRITE_PART) {
                let Self { side, partial, unsent, .. } = self;
                let length = with_engine!(side, engine => encrypt(engine, partial, part, outgoing, unsent))
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                if self.tickets.is_empty() {
                    self.write_or_keep(cx, &outgoing[..length])?;
                } else {
                    self.unhold_tickets();
                    self.unsent.extend_from_slice(&outgoing[..length]);
                    let _held = self.poll_flush_out(cx)?;
                }
            }
            if !self.unsent.is_empty() {
                // TLS' own bytes may have come before the records; what is refused is held until the next call.
                let _held = self.poll_flush_out(cx)?;
            }
            // One huge write must not pin its size in the thread's scratch.
            joined.shrink_to(WRITE_PART);
            Poll::Ready(Ok(()))
        })
    }

    fn write_or_keep(&mut self, cx: &mut Context<'_>, mut records: &[u8]) -> io::Result<()> {
        while self.unsent.is_empty() && !records.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, records)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => records = &records[count..],
                Poll::Pending => break,
            }
        }
        self.unsent.extend_from_slice(records);
        Ok(())
    }

    /// Ready when the socket has taken everything.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn poll_flush_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unsent.is_empty() {
            self.unhold_tickets();
        }
        while self.sent < self.unsent.len() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &self.unsent[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        if self.sent > 0 {
            (self.unsent, self.sent) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the other side has ended or broken a session that nobody uses. What it says meanwhile is kept for the
    /// first reader.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.plain.len() > READ_BUFFER {
            return Poll::Pending;
        }
        let mut said = std::mem::take(&mut self.plain);
        let before = said.len();
        let read = self.poll_recv(cx, &mut said);
        let ended = matches!(read, Poll::Ready(_)) && said.len() == before;
        self.plain = said;
        if ended { Poll::Ready(()) } else { Poll::Pending }
    }

    /// True while the socket has not taken everything.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Says goodbye (`close_notify`), sends what is held back and ends the socket's sending side. Receiving goes on.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed && !self.broken {
            self.closed = true;
            let Self { side, partial, unsent, .. } = self;
            with_engine!(side, engine => say_goodbye(engine, partial, unsent))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        ready!(self.poll_flush_out(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

fn refusal(error: HandshakeError, hello: Option<Hello>) -> Box<Refusal> {
    Box::new(Refusal { error, hello, certificate: None })
}

fn consume(bytes: &mut Vec<u8>, used: usize) {
    if used == bytes.len() {
        *bytes = Vec::new();
    } else {
        bytes.drain(..used);
    }
}

fn facts<E: Engine>(engine: &E, sni: Option<String>) -> Result<SessionFacts, HandshakeError> {
    let state = engine.state();
    let peer = match state.peer_certificates().and_then(|chain| chain.first()) {
        Some(leaf) => {
            let parsed = PeerIdentity::parse(leaf).map_err(|_| rustls::CertificateError::BadEncoding);
            Some(Rc::new(parsed.map_err(rustls::Error::InvalidCertificate)?))
        }
        None => None,
    };
    Ok(SessionFacts {
        version: match state.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        suite: state.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default(),
        group: state.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())).unwrap_or_default(),
        alpn: state.alpn_protocol().map(<[u8]>::to_vec),
        sni,
        resumed: state.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        peer,
    })
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if stream.plain.is_empty() {
            // Lent by the thread; kept only while the reader has not taken all of it.
            let mut plain = PLAIN.take();
            let count = stream.poll_recv(cx, &mut plain);
            let taken = plain.len().min(buf.remaining());
            buf.put_slice(&plain[..taken]);
            if taken < plain.len() {
                (stream.plain, stream.taken) = (plain, taken);
            } else {
                plain.clear();
                plain.shrink_to(READ_BUFFER);
                PLAIN.set(plain);
            }
            return count.map(|count| count.map(drop));
        }
        let left = &stream.plain[stream.taken..];
        let count = left.len().min(buf.remaining());
        buf.put_slice(&left[..count]);
        stream.taken += count;
        if stream.taken == stream.plain.len() {
            (stream.plain, stream.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = buf.len().min(WRITE_PART);
        ready!(self.get_mut().poll_send(cx, &[&buf[..count]]))?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flush_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_close(cx)
    }
}
