//! HTTP/2 towards the app (h2c with prior knowledge), for gRPC: streams pass with their trailers, frame by frame.
//!
//! The head that the app gets is the one that it would get over HTTP/1.1, read back into HTTP/2's form, so that what is stripped
//! and what is said cannot differ. One connection to the app carries all streams of a thread; a stream that never left is
//! tried once more on a fresh one. Nothing is buffered beyond the windows of HTTP/2.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Request as H2Request, Response as H2Response, header};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::backend::Tries;
use super::h2::{Asked, Failure, OnThisThread, Open, Streams, dial};
use super::h2_stream::H2Body;
use super::names::{Class, classify};
use super::request::{MAX_HEADERS, Refusal, refuse};
use super::timers::Deadline;
use super::trailers;

const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const SEND_BUFFER: usize = 64 << 10;
/// Lines that this proxy adds to a request: forwarding, certificate, claims.
const ADDED_HEADERS: usize = 60;

/// The connection to the app that a thread's streams share.
#[derive(Debug, Default)]
pub(super) struct Channel(RefCell<Option<SendRequest<UpBody>>>);

impl Channel {
    async fn sender(&self, streams: &Streams, tries: &mut Tries) -> Result<(SendRequest<UpBody>, bool), Failure> {
        let known = self.0.borrow().clone().filter(|sender| !sender.is_closed());
        if let Some(known) = known {
            return Ok((known, true));
        }
        let socket = dial(streams, tries).await?;
        let mut builder = Builder::new(OnThisThread);
        builder.timer(TokioTimer::new());
        builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        builder.max_send_buf_size(SEND_BUFFER);
        let opened = builder.handshake::<_, UpBody>(TokioIo::new(socket)).await;
        let (sender, connection) = opened.map_err(|_| (refuse(502, "the app does not speak HTTP/2"), None))?;
        // Ends with the last sender and the last stream.
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the app ended");
            }
        });
        *self.0.borrow_mut() = Some(sender.clone());
        Ok((sender, false))
    }
}

/// Sends the request whose HTTP/1.1 head is `head`, and waits for the head of its answer.
pub(super) async fn pass(
    open: Open,
    head: &[u8],
    takes_trailers: bool,
    body: Incoming,
    asked: Asked,
) -> Result<H2Response<H2Body>, Failure> {
    let (too_large, bytes) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let deadline = open.deadline();
    let body = UpBody {
        body,
        open: open.another(),
        bytes: Rc::clone(&bytes),
        too_large: Rc::clone(&too_large),
        deadline: Rc::clone(&deadline),
        begun: false,
    };
    deadline.set(open.0.http.config.upstream_timeout);
    let mut request_of_app = read_back(head, takes_trailers, body)?;
    let mut tries = Tries::new(&open.0.http);
    loop {
        let (mut sender, reused) = open.0.channel.sender(&open.0, &mut tries).await?;
        // An app that has as many streams open as it takes gives no place before one of them ends.
        let patience = open.0.http.config.upstream_timeout;
        match tokio::time::timeout(patience, sender.ready()).await {
            Ok(Ok(())) => {}
            // It was lost just now; the next one is fresh.
            Ok(Err(_)) if reused => continue,
            Ok(Err(_)) => return Err((refuse(502, "the app ended the connection"), None)),
            Err(_) => return Err((refuse(504, "the app has no place for the request"), None)),
        }
        let mut sending = pin!(sender.try_send_request(request_of_app));
        let sent = poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(sent) => Poll::Ready(Some(sent)),
            Poll::Pending => deadline.poll(cx).map(|()| None),
        });
        let sent = sent.await;
        let mut failed = match sent {
            None => return Err((refuse(504, "the app did not answer in time"), None)),
            Some(Ok(answer)) => {
                let (parts, body) = answer.into_parts();
                let heard = open.0.http.shared.log.as_ref().map(|_| Instant::now());
                let status = parts.status.as_u16();
                let relayed = Relayed { open, body, status, asked, heard, received: bytes, sent: 0 };
                return Ok(H2Response::from_parts(parts, H2Body::Relayed(Box::new(relayed))));
            }
            Some(Err(failed)) => failed,
        };
        match failed.take_message() {
            // The connection ended before this stream was on it.
            Some(again) if reused => request_of_app = again,
            _ if too_large.get() => return Err((refuse(413, "the body is too large"), None)),
            _ => return Err((refuse(502, "the app ended the connection"), None)),
        }
    }
}

fn read_back(head: &[u8], takes_trailers: bool, body: UpBody) -> Result<H2Request<UpBody>, Failure> {
    const ODD: Failure = (refuse(400, "the request cannot be said in HTTP/2"), None);
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS + ADDED_HEADERS];
    let mut parsed = httparse::Request::new(&mut slots);
    parsed.parse(head).map_err(|_| ODD)?;
    let mut host = None;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        match classify(field.name.as_bytes()) {
            Class::Host => host = Some(field.value),
            Class::TransferEncoding | Class::Connection | Class::Upgrade => {}
            _ => {
                let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| ODD)?;
                headers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| ODD)?);
            }
        }
    }
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let authority = host.and_then(|host| std::str::from_utf8(host).ok()).unwrap_or("localhost");
    let target = parsed.path.unwrap_or("/");
    let mut request = H2Request::builder()
        .method(parsed.method.unwrap_or("GET"))
        .uri(format!("http://{authority}{}", if target == "*" { "/*" } else { target }))
        .body(body)
        .map_err(|_| ODD)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The client's body on its way to the app.
pub(super) struct UpBody {
    body: Incoming,
    open: Open,
    bytes: Rc<Cell<u64>>,
    too_large: Rc<Cell<bool>>,
    /// Of the wait for the answer's head: while the client sends, the app may be waiting for the rest.
    deadline: Rc<Deadline>,
    /// The app has given the stream a place; before that the client has nothing to do.
    begun: bool,
}

impl UpBody {
    fn progress(&self) {
        self.open.progress();
        let config = &self.open.0.http.config;
        self.deadline.set(if self.body.is_end_stream() { config.upstream_timeout } else { config.body_timeout });
    }
}

impl Body for UpBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.begun, true) {
            this.progress();
        }
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
            None => {
                this.deadline.set(this.open.0.http.config.upstream_timeout);
                return Poll::Ready(None);
            }
        };
        this.progress();
        let bytes = this.bytes.get() + frame.data_ref().map_or(0, |data| data.len() as u64);
        this.bytes.set(bytes);
        let config = &this.open.0.http.config;
        if config.max_body_bytes.is_some_and(|most| bytes > most) {
            this.too_large.set(true);
            return Poll::Ready(Some(Err(io::ErrorKind::FileTooLarge.into())));
        }
        // What may not stand in a head may not come in afterwards either.
        let frame = match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(clean(trailers, |name| config.strip_trailers.contains(name))),
            Err(frame) => frame,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Trailers without names that belong into heads only, are meant for one hop, or say who asks.
fn clean(trailers: HeaderMap, is_identity: impl Fn(&[u8]) -> bool) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(trailers.len());
    for (name, value) in &trailers {
        let bytes = name.as_str().as_bytes();
        if trailers::may_pass(bytes) && !is_identity(bytes) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// The app's answer on its way to the client.
pub(super) struct Relayed {
    open: Open,
    body: Incoming,
    status: u16,
    asked: Asked,
    heard: Option<Instant>,
    received: Rc<Cell<u64>>,
    sent: u64,
}

impl Relayed {
    /// The next frame; an end that the app broke off is an error, which resets the client's stream with the same reason.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.open.progress();
        if let Some(Ok(frame)) = &frame {
            self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.asked.answered(&self.open.0.http, self.status, (self.received.get(), self.sent), self.heard);
    }
}

/// Whether the client expects gRPC's way of saying no.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// A refusal in gRPC's words: 200, and the status as a header of a stream that ends there ("Trailers-Only").
pub(super) fn grpc_answer(refusal: Refusal) -> H2Response<H2Body> {
    let mut response = H2Response::new(H2Body::none());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(grpc_code(refusal.status)));
    // Our reasons are plain ASCII without %, so that gRPC's percent-encoding changes nothing in them.
    if let Ok(reason) = HeaderValue::from_str(refusal.reason) {
        headers.insert(HeaderName::from_static("grpc-message"), reason);
    }
    response
}

/// As gRPC's own table has it for what a proxy answers (doc/http-grpc-status-mapping.md), with the two codes that it
/// has a better word for: a body over the limit is RESOURCE_EXHAUSTED, lateness DEADLINE_EXCEEDED.
fn grpc_code(status: u16) -> u16 {
    match status {
        400 | 431 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        408 => 4,
        413 => 8,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_content_type() {
        let headers =
            |kind: &'static str| HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&headers(kind)), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn trailers_cannot_say_who_asks_or_frame_anything() {
        let names = ["grpc-status", "x-forwarded-user", "content-length", "te", "x-forwarded-for", "x-checksum"];
        let named = |name| (HeaderName::from_static(name), HeaderValue::from_static("1"));
        let trailers = HeaderMap::from_iter(names.map(named));
        let kept = clean(trailers, |name| name == b"x-forwarded-user");
        let mut names: Vec<_> = kept.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["grpc-status", "x-checksum"]);
    }
}
