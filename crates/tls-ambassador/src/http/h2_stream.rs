//! One HTTP/2 stream's exchange with the app: the request's frames become HTTP/1.1 bytes, the response's bytes frames.
//!
//! Both directions move whenever either is polled, so an app may answer while the client still sends.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Response as H2Response, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::forward::line;
use super::framing::{Fault, Framing};
use super::h2::{Asked, Open, read_away};
use super::h2_app::Relayed;
use super::request::{MAX_HEADERS, Refusal, Scan, refuse};
use super::response::Response;
use super::timers::Deadline;
use super::trailers;
use crate::socket::Socket;

/// The request on its way to the app.
pub(super) struct Upload {
    out: Vec<u8>,
    sent: usize,
    chunked: bool,
    /// What Content-Length promised the app.
    promised: Option<u64>,
    body: Option<Incoming>,
    bytes: u64,
    /// Lines behind the last chunk.
    trailers: Vec<u8>,
}

impl Upload {
    /// `head` is written already; `body` is None when the stream ended with its headers.
    pub(super) fn new(head: Vec<u8>, framing: Framing, body: Option<Incoming>) -> Upload {
        let chunked = matches!(framing, Framing::Chunked(_));
        let promised = if let Framing::Length(length) = framing { Some(length) } else { None };
        Upload { out: head, sent: 0, chunked, promised, body, bytes: 0, trailers: Vec::new() }
    }

    fn is_over(&self) -> bool {
        self.body.is_none() && self.sent == self.out.len()
    }
}

/// What the client gets as the response's body.
pub(super) enum H2Body {
    /// Ours.
    Own(Option<Bytes>),
    /// The app's, over HTTP/1.1.
    App(Box<AppStream>),
    /// The app's, over HTTP/2.
    Relayed(Box<Relayed>),
}

impl H2Body {
    pub(super) fn own(text: String) -> H2Body {
        H2Body::Own(Some(Bytes::from(text)))
    }

    pub(super) fn none() -> H2Body {
        H2Body::Own(None)
    }
}

/// An exchange under way.
pub(super) struct AppStream {
    pub(super) open: Open,
    /// None when it was given back to the pool.
    socket: Option<Socket>,
    upload: Upload,
    upload_failed: bool,
    to_head: bool,
    asked: Asked,
    status: u16,
    /// When the app's head came, where somebody wants to know.
    heard: Option<Instant>,
    sent: u64,
    app_keeps: bool,
    framing: Framing,
    /// What arrived and is not passed on yet, behind the first `read` bytes of it.
    rest: Vec<u8>,
    read: usize,
    /// What stands behind the last chunk.
    trailers: Vec<u8>,
    /// Ends a wait of this stream, whatever the others of its connection do.
    deadline: Rc<Deadline>,
    counted: bool,
}

impl AppStream {
    pub(super) fn new(open: Open, socket: Socket, upload: Upload, to_head: bool, asked: Asked) -> AppStream {
        let deadline = open.deadline();
        let stream = AppStream {
            deadline,
            trailers: Vec::new(),
            open,
            socket: Some(socket),
            upload,
            upload_failed: false,
            to_head,
            asked,
            status: 0,
            heard: None,
            sent: 0,
            app_keeps: false,
            framing: Framing::Done,
            rest: Vec::new(),
            read: 0,
            counted: true,
        };
        stream.progress();
        stream
    }

    /// Some byte moved; the next may take as long as what it is waited for allows.
    fn progress(&self) {
        self.open.progress();
        let config = &self.open.0.http.config;
        let waits_for_app = self.status == 0 && self.upload.is_over();
        self.deadline.set(if waits_for_app { config.upstream_timeout } else { config.body_timeout });
    }

    /// The same request once more.
    pub(super) fn again(mut self) -> (Open, Upload) {
        self.counted = false;
        // Only a request without body is sent again.
        let upload = Upload::new(std::mem::take(&mut self.upload.out), Framing::Done, None);
        (self.open.another(), upload)
    }

    pub(super) fn into_body(mut self) -> H2Body {
        // A response without a body is over now: its stream ends with its headers.
        if self.framing.is_done() && self.upload.is_over() {
            self.finish();
            self.socket = None;
        }
        H2Body::App(Box::new(self))
    }

    /// Err(None): the app ended the connection without a word.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<H2Response<()>, Option<Refusal>>> {
        if let Poll::Ready(result) = self.poll_head_now(cx) {
            return Poll::Ready(result);
        }
        ready!(self.deadline.poll(cx));
        let client_is_late = self.upload.body.is_some() && self.upload.sent == self.upload.out.len();
        let late = if client_is_late {
            refuse(408, "the body is too slow")
        } else {
            refuse(504, "the app did not answer in time")
        };
        Poll::Ready(Err(Some(late)))
    }

    fn poll_head_now(&mut self, cx: &mut Context<'_>) -> Poll<Result<H2Response<()>, Option<Refusal>>> {
        if let Poll::Ready(Err(refusal)) = self.poll_upload(cx) {
            return Poll::Ready(Err(Some(refusal)));
        }
        loop {
            while let Some(length) = Scan::default()
                .head_length(&self.rest[self.read..])
                .map_err(|_| Some(refuse(502, "the app's response is malformed")))?
            {
                let found = self.head(length).map_err(Some)?;
                self.read += length;
                if let Some(head) = found {
                    return Poll::Ready(Ok(head));
                }
            }
            if self.rest.len() - self.read > super::buffers::BLOCK {
                return Poll::Ready(Err(Some(refuse(502, "the app's response head is too large"))));
            }
            self.rest.drain(..std::mem::take(&mut self.read));
            let mut bytes = std::mem::take(&mut self.rest);
            let read = self.poll_read(cx, &mut bytes);
            self.rest = bytes;
            match ready!(read) {
                Ok(count) if count > 0 => {}
                _ if self.read == self.rest.len() => return Poll::Ready(Err(None)),
                _ => return Poll::Ready(Err(Some(refuse(502, "the app ended its response early")))),
            }
        }
    }

    /// None: an interim head, which this front does not pass on.
    fn head(&mut self, length: usize) -> Result<Option<H2Response<()>>, Refusal> {
        const MALFORMED: Refusal = refuse(502, "the app's response is malformed");
        let mut slots = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
        let response =
            Response::parse(&self.rest[self.read..][..length], &mut slots, self.to_head).map_err(|_| MALFORMED)?;
        if response.status == 101 {
            return Err(refuse(502, "the app changed the protocol unasked"));
        }
        if response.is_interim() {
            return Ok(None);
        }
        let mut head = H2Response::new(());
        *head.status_mut() = hyper::StatusCode::from_u16(response.status).map_err(|_| MALFORMED)?;
        for (index, field) in response.headers.iter().enumerate() {
            if response.is_dropped(index) {
                continue;
            }
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| MALFORMED)?;
            let value = HeaderValue::from_bytes(field.value).map_err(|_| MALFORMED)?;
            if name != header::TRANSFER_ENCODING {
                head.headers_mut().append(name, value);
            }
        }
        self.status = response.status;
        self.heard = self.open.0.http.shared.log.as_ref().map(|_| Instant::now());
        self.app_keeps = response.keep_alive;
        self.framing = response.body;
        Ok(Some(head))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let Some(socket) = &mut self.socket else { return Poll::Ready(Ok(0)) };
        let buffers = &self.open.0.http.buffers;
        let mut block = buffers.block();
        let mut room = ReadBuf::new(&mut block);
        let read = Pin::new(socket).poll_read(cx, &mut room);
        let count = room.filled().len();
        out.extend_from_slice(room.filled());
        buffers.give_block(block);
        ready!(read)?;
        self.progress();
        Poll::Ready(Ok(count))
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        while !self.upload.is_over() && !self.upload_failed {
            let Some(socket) = &mut self.socket else { return Poll::Ready(Ok(())) };
            let upload = &mut self.upload;
            if upload.sent < upload.out.len() {
                match ready!(Pin::new(socket).poll_write(cx, &upload.out[upload.sent..])) {
                    Ok(count) if count > 0 => upload.sent += count,
                    // The app may have answered already: what it said counts.
                    _ => self.upload_failed = true,
                }
                self.progress();
                continue;
            }
            let Some(body) = &mut upload.body else { break };
            let frame = ready!(Pin::new(body).poll_frame(cx));
            upload.out.clear();
            upload.sent = 0;
            match frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
                        upload.bytes += data.len() as u64;
                        if upload.promised.is_some_and(|promised| upload.bytes > promised) {
                            self.socket = None;
                            return Poll::Ready(Err(refuse(400, "the body is longer than its Content-Length")));
                        }
                        if self.open.0.http.config.max_body_bytes.is_some_and(|most| upload.bytes > most) {
                            return Poll::Ready(Err(refuse(413, "the body is too large")));
                        }
                        if upload.chunked {
                            upload.out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                        }
                        upload.out.extend_from_slice(data);
                        if upload.chunked {
                            upload.out.extend_from_slice(b"\r\n");
                        }
                    } else if let Ok(fields) = frame.into_trailers() {
                        let config = &self.open.0.http.config;
                        let passing =
                            fields.iter().filter(|(name, _)| trailers::may_pass_in(config, name.as_str().as_bytes()));
                        for (name, value) in passing {
                            line(&mut upload.trailers, name.as_str().as_bytes(), value.as_bytes());
                        }
                    }
                }
                // The client took the request back; the app must not take what it has for the whole.
                Some(Err(_)) => {
                    self.socket = None;
                    return Poll::Ready(Err(refuse(400, "the request was reset")));
                }
                None if upload.promised.is_some_and(|promised| upload.bytes < promised) => {
                    self.socket = None;
                    return Poll::Ready(Err(refuse(400, "the body is shorter than its Content-Length")));
                }
                None => {
                    upload.body = None;
                    if upload.chunked {
                        upload.out.extend_from_slice(b"0\r\n");
                        upload.out.append(&mut upload.trailers);
                        upload.out.extend_from_slice(b"\r\n");
                    }
                }
            }
            self.progress();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let data = match self.poll_data(cx) {
            Poll::Ready(data) => data,
            Poll::Pending => {
                ready!(self.deadline.poll(cx));
                Some(Err(io::ErrorKind::TimedOut.into()))
            }
        };
        Poll::Ready(match data {
            Some(data) => Some(data.map(Frame::data)),
            None => self.take_trailers().map(|trailers| Ok(Frame::trailers(trailers))),
        })
    }

    /// None: there are none, or they were taken.
    fn take_trailers(&mut self) -> Option<HeaderMap> {
        let section = std::mem::take(&mut self.trailers);
        let mut fields = HeaderMap::new();
        trailers::each(&section, |name, value| {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
                fields.append(name, value);
            }
        });
        (!fields.is_empty()).then_some(fields)
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let broken = || io::Error::from(io::ErrorKind::InvalidData);
        if let Poll::Ready(Err(_)) = self.poll_upload(cx) {
            return Poll::Ready(Some(Err(broken())));
        }
        loop {
            if self.framing.is_done() {
                self.finish();
                return Poll::Ready(None);
            }
            let data = self.decode_rest().map_err(|_| broken())?;
            if !data.is_empty() {
                self.sent += data.len() as u64;
                return Poll::Ready(Some(Ok(data)));
            }
            if self.framing.is_done() {
                continue;
            }
            let mut bytes = std::mem::take(&mut self.rest);
            let read = self.poll_read(cx, &mut bytes);
            self.rest = bytes;
            match ready!(read) {
                Ok(count) if count > 0 => {}
                Ok(_) if self.framing == Framing::UntilClose => {
                    self.framing = Framing::Done;
                    self.app_keeps = false;
                }
                _ => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            }
        }
    }

    /// The data that has arrived, as one piece: a frame for each small chunk would cost more than its data.
    fn decode_rest(&mut self) -> Result<Bytes, Fault> {
        let (rest, read) = (std::mem::take(&mut self.rest), std::mem::take(&mut self.read));
        if read == rest.len() {
            return Ok(Bytes::new());
        }
        if !matches!(self.framing, Framing::Chunked(_)) {
            // Handed on as it was read, behind the head that came with it.
            let taken = self.framing.feed(&rest[read..])?.taken;
            let surplus = rest[read + taken..].to_vec();
            let data = Bytes::from(rest).slice(read..read + taken);
            self.rest = surplus;
            return Ok(data);
        }
        let (mut data, mut at) = (Vec::new(), read);
        while at < rest.len() && !self.framing.is_done() {
            let run = self.framing.decode(&rest[at..])?;
            at += run.skip;
            self.trailers.extend_from_slice(&rest[at - run.trailers..at]);
            data.extend_from_slice(&rest[at..at + run.data]);
            at += run.data;
        }
        self.rest = rest;
        self.rest.drain(..at);
        Ok(Bytes::from(data))
    }

    /// What the client still sends is not wanted any more.
    pub(super) fn read_rest_away(&mut self) {
        if let Some(body) = self.upload.body.take() {
            read_away(body);
        }
    }

    fn finish(&mut self) {
        let reusable = self.app_keeps && self.upload.is_over() && !self.upload_failed && self.read == self.rest.len();
        // Taken in any case: the app's connection is out of step with a request that it did not hear to its end.
        if let (Some(socket), true) = (self.socket.take(), reusable) {
            self.open.0.pool.give(socket, Instant::now());
        }
        self.read_rest_away();
    }
}

impl Drop for AppStream {
    fn drop(&mut self) {
        let http = &self.open.0.http;
        if self.status != 0 && self.counted {
            self.asked.answered(http, self.status, (self.upload.bytes, self.sent), self.heard);
        }
        http.buffers.give_text(&mut self.upload.out);
        self.open.give_deadline(&self.deadline);
    }
}

impl Body for H2Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            H2Body::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            H2Body::App(stream) => stream.poll_frame(cx),
            H2Body::Relayed(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            H2Body::Own(text) => text.is_none(),
            H2Body::App(stream) => stream.framing.is_done() && stream.socket.is_none() && stream.trailers.is_empty(),
            H2Body::Relayed(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            H2Body::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            H2Body::Relayed(stream) => stream.size_hint(),
            H2Body::App(stream) => match stream.framing {
                Framing::Done if !stream.to_head => SizeHint::with_exact(0),
                Framing::Length(left) => SizeHint::with_exact(left),
                _ => SizeHint::default(),
            },
        }
    }
}
