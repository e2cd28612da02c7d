//! The HTTP/2 front: hyper reads the frames, the same gate judges the requests, the same pool and heads reach the app.
//!
//! A request becomes the header list that HTTP/1.1 would have had, so that [`inspect`] and [`gate::admit`] see no
//! difference. Towards the app it is an HTTP/1.1 request with a counted or chunked body. Floods are bounded by hyper's
//! limits: streams at once, resets of streams that were not yet accepted, resets that a client provokes, the size of a
//! header list; windows and send buffers are small enough for a thousand attackers.
//!
//! Not passed on: trailers of requests with a Content-Length to an app that speaks HTTP/1.1, which has no place for them,
//! interim answers, which hyper cannot send, and server push, which no longer exists.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use httparse::Header;
use hyper::body::{Body, Bytes, Incoming};
use hyper::http::{HeaderName, HeaderValue, Request as H2Request, Response as H2Response, header, request};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::access_log::{Ending, Entry};
use super::authority;
use super::backend::{self, Tries};
use super::caller::Caller;
use super::connection::{LINGER, LINGER_BYTES};
use super::forward;
use super::framing::Framing;
use super::gate::{self, Denial};
use super::h2_app::{self, Channel};
use super::h2_io::Corked;
use super::h2_stream::{AppStream, H2Body, Upload};
use super::metrics::Method;
use super::pool::Pool;
use super::reply::{self, Advice};
use super::request::{Facts, MAX_HEADERS, Refusal, Request, check_path, inspect, refuse};
use super::timers::Deadline;
use super::worker::Http;
use crate::server::Door;
use crate::session::TlsStream;
use crate::socket::Socket;

/// Streams that a client reset before they were looked at (CVE-2023-44487); more end the connection.
const PENDING_RESETS: usize = 20;
/// Streams that a client made us reset (CVE-2025-8671); more end the connection.
const PROVOKED_RESETS: usize = 100;
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;
const SEND_BUFFER: usize = 64 << 10;
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Runs hyper's own tasks beside their connection.
#[derive(Clone, Copy)]
pub(super) struct OnThisThread;

impl<F> Executor<F> for OnThisThread
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        // As it is: a block around it would hold it twice, before it begins and while it runs.
        tokio::task::spawn_local(future);
    }
}

/// An answer under way. Boxed, because a stream's task is moved a dozen times before it runs.
type Answering = Pin<Box<dyn Future<Output = Result<H2Response<H2Body>, Infallible>>>>;

/// What the streams of one connection share.
pub(super) struct Streams {
    pub(super) http: Rc<Http>,
    door: Rc<Door>,
    pub(super) pool: Rc<Pool<Socket>>,
    pub(super) channel: Rc<Channel>,
    caller: Caller,
    pub(super) deadline: Rc<Deadline>,
    open: Cell<usize>,
    /// Deadlines of streams that are over, for the next ones.
    spare: RefCell<Vec<Rc<Deadline>>>,
}

/// Counts one open stream.
pub(super) struct Open(pub(super) Rc<Streams>);

impl Open {
    fn new(streams: &Rc<Streams>) -> Open {
        streams.open.set(streams.open.get() + 1);
        streams.deadline.set(streams.http.config.upstream_timeout.max(streams.http.config.body_timeout));
        Open(Rc::clone(streams))
    }

    /// A second count of the same connection, for a second try.
    pub(super) fn another(&self) -> Open {
        Open::new(&self.0)
    }

    /// A deadline of this stream's own.
    pub(super) fn deadline(&self) -> Rc<Deadline> {
        self.0.spare.borrow_mut().pop().unwrap_or_else(|| self.0.http.timers.deadline())
    }

    /// Takes it back; it wakes nobody any more.
    pub(super) fn give_deadline(&self, deadline: &Rc<Deadline>) {
        deadline.clear();
        self.0.spare.borrow_mut().push(Rc::clone(deadline));
    }

    /// Some byte moved: nobody is stuck.
    pub(super) fn progress(&self) {
        self.0.deadline.set(self.0.http.config.body_timeout);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let left = self.0.open.get() - 1;
        self.0.open.set(left);
        if left == 0 {
            self.0.deadline.set(self.0.http.config.idle_timeout);
        }
    }
}

/// Serves one client's connection until it is over.
pub(super) async fn serve(http: Rc<Http>, door: Rc<Door>, caller: Caller, stream: TlsStream) {
    let deadline = http.timers.deadline();
    deadline.set(http.config.idle_timeout);
    let (pool, channel) = (http.pool(&door), http.channel(&door));
    let streams = Rc::new(Streams {
        http: Rc::clone(&http),
        door,
        pool,
        channel,
        caller,
        deadline,
        open: Cell::new(0),
        spare: RefCell::default(),
    });
    let service = service_fn(|request| -> Answering {
        let open = Open::new(&streams);
        Box::pin(async move { Ok(answer(open, request).await) })
    });
    let stream = Corked::new(Rc::clone(&http), stream);
    let list = u32::try_from(http.config.max_header_bytes).unwrap_or(64 << 10);
    let connection = hyper::server::conn::http2::Builder::new(OnThisThread)
        .timer(TokioTimer::new())
        .max_concurrent_streams(http.config.h2_max_streams)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(PROVOKED_RESETS)
        .max_header_list_size(list)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .serve_connection(TokioIo::new(stream.clone()), service);
    let mut connection = pin!(connection);
    let mut goodbye = false;
    poll_fn(|cx| {
        let over = connection.as_mut().poll(cx).is_ready();
        // What the socket refuses goes out when it wakes this task again.
        let broken = matches!(stream.poll_send(cx), Poll::Ready(Err(_)));
        if over || broken {
            return Poll::Ready(());
        }
        // Idle for too long, or the process ends: GOAWAY, and open streams finish.
        let late = streams.deadline.poll(cx).is_ready();
        if late && (goodbye || streams.open.get() > 0) {
            return Poll::Ready(());
        }
        if (late || http.is_draining()) && !goodbye {
            goodbye = true;
            streams.deadline.set(http.config.body_timeout);
            connection.as_mut().graceful_shutdown();
            let over = connection.as_mut().poll(cx).is_ready();
            let broken = matches!(stream.poll_send(cx), Poll::Ready(Err(_)));
            if over || broken {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

/// A request under way, as it is counted and told afterwards.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) began: Instant,
    /// Its line in the access log, taken by who ends it.
    entry: Rc<Cell<Option<Box<Entry>>>>,
}

impl Asked {
    /// The request was answered.
    pub(super) fn answered(&self, http: &Http, status: u16, bytes: (u64, u64), heard: Option<Instant>) {
        let app = heard.map(|heard| heard.saturating_duration_since(self.began));
        let ending = Ending { status, received: bytes.0, sent: bytes.1, took: self.began.elapsed(), app };
        http.answered(self.method, "2", self.entry.take(), ending);
    }
}

async fn answer(open: Open, request: H2Request<Incoming>) -> H2Response<H2Body> {
    let method = Method::of(request.method().as_str());
    let asked = Asked { method, began: Instant::now(), entry: Rc::default() };
    let grpc = h2_app::is_grpc(request.headers());
    let streams = Rc::clone(&open.0);
    match pass(open, request, &asked).await {
        Ok(response) => response,
        Err((refusal, advice)) => {
            // What was refused before it could be read as a request has a line too.
            let entry = asked.entry.take().or_else(|| streams.http.entry(&streams.caller, "HTTP/2", None));
            asked.entry.set(entry);
            asked.answered(&streams.http, refusal.status, (0, 0), None);
            if grpc { h2_app::grpc_answer(refusal) } else { own_answer(refusal, advice.as_ref(), method) }
        }
    }
}

/// Reads away for a while what a client still sends of a body that nobody wants. With nobody reading, its stream would be reset as
/// soon as our answer is out, and curl 7.88 forgets an answer that came before a reset.
pub(super) fn read_away(body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    tokio::task::spawn_local(async move {
        let (mut body, mut left) = (body, LINGER_BYTES);
        let reading = async {
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                if left == 0 {
                    return;
                }
            }
        };
        let _over = tokio::time::timeout(LINGER, reading).await;
    });
}

/// The answer, and what to do about it.
pub(super) type Failure = (Refusal, Option<Advice>);

async fn pass(open: Open, request: H2Request<Incoming>, asked: &Asked) -> Result<H2Response<H2Body>, Failure> {
    let method = asked.method;
    let (parts, body) = request.into_parts();
    let ended = body.is_end_stream();
    let mut out = open.0.http.buffers.text();
    let mut first = true;
    let framing = loop {
        match head(&open.0, &parts, ended, &mut out, (std::mem::take(&mut first), &asked.entry)) {
            Ok(framing) => break framing,
            Err(Denial::Refused { refusal, advice }) => {
                read_away(body);
                return Err((refusal, advice));
            }
            Err(Denial::KeyWanted(issuer)) => open.0.http.await_key(issuer).await,
        }
    };
    if open.0.http.config.upstream_h2c {
        let takes_trailers = parts.headers.get(header::TE).is_some_and(|te| te == "trailers");
        // Boxed, as the other way below is: what is rare shall not make the rest large.
        return Box::pin(h2_app::pass(open, &out, takes_trailers, body, asked.clone())).await;
    }
    let replayable = ended && method.is_idempotent();
    let to_head = method == Method::Head;
    let mut upload = Upload::new(out, framing, (!ended).then_some(body));
    let mut open = open;
    let mut idle = open.0.pool.take();
    let mut tries = Tries::new(&open.0.http);
    loop {
        let reused = idle.is_some();
        let socket = match idle.take() {
            Some(socket) => socket,
            None => Box::pin(dial(&open.0, &mut tries)).await?,
        };
        let mut stream = AppStream::new(open, socket, upload, to_head, asked.clone());
        match poll_fn(|cx| stream.poll_head(cx)).await {
            Ok(head) => return Ok(head.map(|()| stream.into_body())),
            Err(None) if reused && replayable && tries.take() => {
                (open, upload) = stream.again();
            }
            Err(None) => return Err((refuse(502, "the app ended the connection"), None)),
            Err(Some(refusal)) => {
                stream.read_rest_away();
                return Err((refusal, None));
            }
        }
    }
}

pub(super) async fn dial(streams: &Streams, tries: &mut Tries) -> Result<Socket, Failure> {
    let dialled = backend::dial(&streams.http, &streams.door, tries).await;
    dialled.map_err(|_| (refuse(502, "cannot connect to the app"), None))
}

/// Judges the request and writes its HTTP/1.1 head.
fn head(
    streams: &Streams,
    parts: &request::Parts,
    ended: bool,
    out: &mut Vec<u8>,
    (first, entry): (bool, &Cell<Option<Box<Entry>>>),
) -> Result<Framing, Denial> {
    let cookies = joined_cookies(parts);
    let mut headers = Vec::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        if cookies.is_none() || name != header::COOKIE {
            headers.push(Header { name: name.as_str(), value: value.as_bytes() });
        }
    }
    headers.extend(cookies.as_deref().map(|value| Header { name: "cookie", value }));
    if headers.len() > MAX_HEADERS {
        return Err(refuse(431, "too many headers").into());
    }
    let mut facts = inspect(&headers, false, &streams.http.config.strip)?;
    let host = facts.host.map(|index| headers[index].value);
    let (method, target, authority) = asked_for(parts, host)?;
    facts.dropped |= facts.host.map_or(0, |index| 1 << index);
    facts.trailers = parts.headers.get(header::TE).is_some_and(|te| te == "trailers");
    delimit(ended, &headers, &mut facts)?;
    let chunked = matches!(facts.body, Framing::Chunked(_));
    let body = facts.body;
    let request = Request {
        method,
        target,
        bare: false,
        old: false,
        authority: Some(authority),
        rewrite_host: true,
        headers: &headers,
        facts,
    };
    let mut extra = streams.http.buffers.text();
    entry.set(streams.http.entry(&streams.caller, "HTTP/2", Some(&request)));
    if first {
        gate::count(&streams.http, &streams.caller, &request)?;
    }
    let mut admitted = gate::admit(&streams.http, &streams.caller, &request, &mut extra)?;
    if chunked && !streams.http.config.upstream_h2c {
        extra.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if let Some(mut line) = entry.take() {
        let replaced = line.admitted(admitted.name(&streams.caller), &mut extra);
        admitted.drop_also(replaced);
        entry.set(Some(line));
    }
    forward::request_head(out, None, &request, &admitted.added(&streams.caller, &extra));
    streams.http.buffers.give_text(&mut extra);
    Ok(body)
}

/// Method, target and authority of a request that may be passed on.
fn asked_for<'r>(parts: &'r request::Parts, host: Option<&'r [u8]>) -> Result<(&'r str, &'r str, &'r [u8]), Refusal> {
    let named = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    if let (Some(named), Some(host)) = (named, host)
        && !named.eq_ignore_ascii_case(host)
    {
        return Err(refuse(400, "the authority and Host differ"));
    }
    let authority = named.or(host).filter(|authority| authority::is_valid(authority));
    let authority = authority.ok_or(refuse(400, "no valid authority"))?;
    let target = parts.uri.path_and_query().map_or("", |path| path.as_str());
    check_path(target)?;
    let method = parts.method.as_str();
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(refuse(405, "method not allowed"));
    }
    let whole_server = target == "*" && method == "OPTIONS";
    if !(target.starts_with('/') || whole_server) {
        return Err(refuse(400, "invalid request target"));
    }
    Ok((method, target, authority))
}

/// The stream's end, not a header, says how long the body is; a length that is given is checked by hyper.
fn delimit(ended: bool, headers: &[Header<'_>], facts: &mut Facts) -> Result<(), Refusal> {
    if ended && !facts.body.is_done() {
        return Err(refuse(400, "the stream ended before its Content-Length"));
    }
    if !ended && facts.body.is_done() {
        facts.body = Framing::chunked();
        // A length of zero that data follows would be two readings.
        for (index, header) in headers.iter().enumerate() {
            if header.name == "content-length" {
                facts.dropped |= 1 << index;
            }
        }
    }
    Ok(())
}

/// Several Cookie headers as the one that HTTP/1.1 has (RFC 9113 section 8.2.3).
fn joined_cookies(parts: &request::Parts) -> Option<Vec<u8>> {
    let crumbs = parts.headers.get_all(header::COOKIE);
    let several: Vec<&[u8]> = crumbs.iter().map(HeaderValue::as_bytes).collect();
    (several.len() > 1).then(|| several.join(&b"; "[..]))
}

fn own_answer(refusal: Refusal, advice: Option<&Advice>, method: Method) -> H2Response<H2Body> {
    let body = reply::body(refusal);
    let length = HeaderValue::from(body.len());
    // Data behind the head of an answer to HEAD is an error of the protocol.
    let body = if method == Method::Head { H2Body::none() } else { H2Body::own(body) };
    let mut response = H2Response::new(body);
    if let Ok(status) = hyper::StatusCode::from_u16(refusal.status) {
        *response.status_mut() = status;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, length);
    if let Some((name, value)) = advice
        && let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
    {
        headers.insert(name, value);
    }
    response
}
