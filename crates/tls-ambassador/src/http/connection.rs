//! One HTTP/1.1 connection of a client: heads one after the other, each judged, passed on and answered.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::access_log::{Ending, Entry};
use super::backend::{self, Tries};
use super::buffers::Inbox;
use super::caller::Caller;
use super::exchange::{Client, Done, Exchange, Outcome};
use super::forward;
use super::framing::Framing;
use super::gate::{self, Denial};
use super::metrics::Method;
use super::pool::Pool;
use super::reply::{self, Advice};
use super::request::{MAX_HEADERS, Refusal, Request, Scan, ends_a_head, refuse};
use super::timers::Deadline;
use super::trailers;
use super::worker::Http;
use crate::server::Door;
use crate::session::TlsStream;
use crate::socket::Socket;

/// Empty lines tolerated in front of a request (RFC 9112 section 2.2).
const BLANK_LINES: u8 = 2;
/// How long and how much of a body nobody wants is read away, so that the client can read our answer: one that still
/// sends learns of a reset before it looks for a 413.
pub(super) const LINGER: Duration = Duration::from_secs(2);
pub(super) const LINGER_BYTES: usize = 64 << 20;

/// What has to be known of a request while it is answered; its head is rewritten by then.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) body: Framing,
    /// Bytes of the body that lie behind the rewritten head already.
    pub(super) body_bytes: u64,
    pub(super) to_head: bool,
    pub(super) old: bool,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) takes_trailers: bool,
    pub(super) replayable: bool,
    /// What came behind the last chunk; None: nothing of it is passed on.
    pub(super) trailers: Option<Vec<u8>>,
    pub(super) upgrade: Option<Box<[u8]>>,
    pub(super) method: Method,
    entry: Option<Box<Entry>>,
}

/// What becomes of the connection after one request.
enum Next {
    Again,
    /// Ends; the client may still be sending what nobody will read.
    Last,
    /// Ends without a clean TLS close, so that half a response cannot pass for a whole one.
    Break,
    Tunnel(Socket, Vec<u8>),
}

/// Why no head came.
enum NoHead {
    /// The client is gone or was idle for too long.
    Over,
    Refused(Refusal),
}

/// One client's connection.
pub(super) struct Connection {
    http: Rc<Http>,
    door: Rc<Door>,
    pool: Rc<Pool<Socket>>,
    caller: Caller,
    stream: TlsStream,
    deadline: Rc<Deadline>,
    inbox: Inbox,
}

impl Connection {
    pub(super) fn new(http: Rc<Http>, door: Rc<Door>, caller: Caller, stream: TlsStream) -> Connection {
        let pool = http.pool(&door);
        let deadline = http.timers.deadline();
        Connection { http, door, pool, caller, stream, deadline, inbox: Inbox::default() }
    }

    /// Serves requests until the connection is over. Borrows, since what is awaited by value is held twice.
    pub(super) async fn run(&mut self) {
        self.deadline.set(self.http.config.header_timeout);
        loop {
            let next = match self.head().await {
                // Boxed: an idle connection has no request under way, and room for one would be 1.1 KB.
                Ok(within) => Box::pin(self.request(within)).await,
                Err(NoHead::Over) => return self.close().await,
                Err(NoHead::Refused(refusal)) => {
                    let entry = self.http.entry(&self.caller, "HTTP/1.1", None);
                    self.count(Method::Other, refusal.status, None, entry);
                    self.answer(refusal, None, false, true).await
                }
            };
            match next {
                Next::Again if self.inbox.is_empty() => self.deadline.set(self.http.config.idle_timeout),
                Next::Again => self.deadline.set(self.http.config.header_timeout),
                Next::Last => return self.linger().await,
                Next::Break => return,
                Next::Tunnel(socket, surplus) => {
                    self.deadline.clear();
                    let client = Client {
                        http: &self.http,
                        stream: &mut self.stream,
                        inbox: &mut self.inbox,
                        deadline: &self.deadline,
                    };
                    let patience = self.door.config.door.close_timeout;
                    return super::tunnel::run(client, socket, surplus, patience).await;
                }
            }
        }
    }

    /// Within how many bytes the next head ends, all of which lie in the inbox then.
    async fn head(&mut self) -> Result<usize, NoHead> {
        let mut scan = Scan::default();
        let mut blank = 0;
        poll_fn(|cx| self.poll_head(cx, &mut scan, &mut blank)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, scan: &mut Scan, blank: &mut u8) -> Poll<Result<usize, NoHead>> {
        let most = self.http.config.max_header_bytes;
        loop {
            let bytes = self.inbox.bytes();
            if bytes.len() <= most && ends_a_head(bytes) {
                return Poll::Ready(Ok(bytes.len()));
            }
            match scan.head_length(bytes) {
                Ok(Some(2)) if *blank < BLANK_LINES => {
                    *blank += 1;
                    *scan = Scan::default();
                    self.inbox.consume(2);
                    continue;
                }
                Ok(Some(length)) if length <= most => return Poll::Ready(Ok(length)),
                Ok(None) if bytes.len() <= most => {}
                Ok(_) => return Poll::Ready(Err(NoHead::Refused(refuse(431, "the request head is too large")))),
                Err(refusal) => return Poll::Ready(Err(NoHead::Refused(refusal))),
            }
            let nothing_yet = self.inbox.is_empty();
            if nothing_yet && self.http.is_draining() {
                return Poll::Ready(Err(NoHead::Over));
            }
            match self.stream.poll_recv(cx, self.inbox.room(&self.http.buffers)) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    if nothing_yet {
                        self.deadline.set(self.http.config.header_timeout);
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Err(NoHead::Over)),
                Poll::Pending => {
                    self.inbox.rest(&self.http.buffers);
                    ready!(self.deadline.poll(cx));
                    let late = NoHead::Refused(refuse(408, "the request head is too slow"));
                    return Poll::Ready(Err(if nothing_yet { NoHead::Over } else { late }));
                }
            }
        }
    }

    async fn request(&mut self, within: usize) -> Next {
        let began = Instant::now();
        let mut out = self.http.buffers.text();
        let mut plan = match self.plan(within, &mut out).await {
            Ok(plan) => plan,
            Err((mut denial, method)) => {
                self.http.buffers.give_text(&mut out);
                self.count(method, denial.refusal.status, Some(began), denial.entry.take());
                return self.deny(&denial).await;
            }
        };
        let next = self.pass(&mut plan, &mut out, began).await;
        self.http.buffers.give_text(&mut out);
        next
    }

    /// Judges the head that ends `within` so many bytes, moves it and what came of the body from the inbox to `out`.
    async fn plan(&mut self, within: usize, out: &mut Vec<u8>) -> Result<Plan, (Denied, Method)> {
        let mut first = true;
        loop {
            match self.plan_now(within, out, std::mem::take(&mut first)) {
                Ok(plan) => return Ok(plan),
                Err((Verdict::Denied(denied), method)) => return Err((denied, method)),
                Err((Verdict::KeyWanted(issuer), _)) => self.http.await_key(issuer).await,
            }
        }
    }

    fn plan_now(&mut self, within: usize, out: &mut Vec<u8>, first: bool) -> Result<Plan, (Verdict, Method)> {
        let mut slots = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
        let bytes = &self.inbox.bytes()[..within];
        let read = Request::read(bytes, &mut slots, &self.http.config.strip);
        let (request, length) = read.map_err(|refusal| {
            let entry = self.http.entry(&self.caller, "HTTP/1.1", None);
            (Verdict::Denied(Denied { entry, ..Denied::fatal(refusal) }), Method::Other)
        })?;
        let method = Method::of(request.method);
        let mut entry =
            self.http.entry(&self.caller, if request.old { "HTTP/1.0" } else { "HTTP/1.1" }, Some(&request));
        let to_head = request.method == "HEAD";
        let usable = request.facts.keep_alive && request.facts.body.is_done();
        // Most requests need nothing here.
        let mut extra = Vec::new();
        let counted = if first { gate::count(&self.http, &self.caller, &request) } else { Ok(()) };
        let admitted = counted.and_then(|()| gate::admit(&self.http, &self.caller, &request, &mut extra));
        let mut admitted = admitted.map_err(|denial| {
            let verdict = match denial {
                Denial::Refused { refusal, advice } => {
                    let entry = entry.take();
                    Verdict::Denied(Denied { refusal, advice, to_head, close: !usable, entry })
                }
                Denial::KeyWanted(issuer) => Verdict::KeyWanted(issuer),
            };
            (verdict, method)
        })?;
        if let Some(entry) = &mut entry {
            let replaced = entry.admitted(admitted.name(&self.caller), &mut extra);
            admitted.drop_also(replaced);
        }
        forward::request_head(out, Some(&bytes[..length]), &request, &admitted.added(&self.caller, &extra));
        let mut plan = Plan {
            body: request.facts.body,
            body_bytes: 0,
            to_head,
            old: request.old,
            keep_alive: request.facts.keep_alive,
            expects_continue: request.facts.expects_continue,
            takes_trailers: request.facts.trailers,
            replayable: request.facts.body.is_done() && method.is_idempotent(),
            trailers: (!request.facts.names_others).then(Vec::new),
            upgrade: request.facts.upgrade.map(|index| Box::from(request.headers[index].value)),
            method,
            entry,
        };
        drop(admitted);
        let taken = self.first_of_body(length, &mut plan, out).map_err(|refusal| {
            let entry = plan.entry.take();
            (Verdict::Denied(Denied { entry, ..Denied::fatal(refusal) }), method)
        })?;
        self.inbox.consume(length + taken);
        // Somebody else's request can use it while the app works on this one.
        self.inbox.rest(&self.http.buffers);
        Ok(plan)
    }

    /// Puts what came of the body behind the head, so that both leave in one write.
    fn first_of_body(&self, head: usize, plan: &mut Plan, out: &mut Vec<u8>) -> Result<usize, Refusal> {
        if plan.body.is_done() {
            return Ok(0);
        }
        let chunked = matches!(plan.body, Framing::Chunked(_));
        let rest = &self.inbox.bytes()[head..];
        let piece = plan.body.feed(rest).map_err(|_| refuse(400, "malformed chunked body"))?;
        out.extend_from_slice(&rest[..piece.forward]);
        if let (true, Some(trailers)) = (chunked, &mut plan.trailers) {
            trailers.extend_from_slice(&rest[piece.forward..piece.taken]);
        }
        if piece.done && chunked {
            trailers::end_request(out, plan.trailers.as_deref().unwrap_or_default(), &self.http.config);
        }
        plan.body_bytes = piece.data as u64;
        match self.http.config.max_body_bytes {
            Some(most) if plan.body_bytes > most => Err(refuse(413, "the body is too large")),
            _ => Ok(piece.taken),
        }
    }

    /// Has the request answered by the app, over an idle connection if there is one.
    async fn pass(&mut self, plan: &mut Plan, out: &mut Vec<u8>, began: Instant) -> Next {
        let mut idle = self.pool.take();
        let mut tries = Tries::new(&self.http);
        loop {
            let reused = idle.is_some();
            let socket = match idle.take() {
                Some(socket) => socket,
                None => match Box::pin(backend::dial(&self.http, &self.door, &mut tries)).await {
                    Ok(socket) => socket,
                    Err(_) => return self.fail(plan, refuse(502, "cannot connect to the app"), began).await,
                },
            };
            let client =
                Client { http: &self.http, stream: &mut self.stream, inbox: &mut self.inbox, deadline: &self.deadline };
            let mut exchange = Exchange::new(client, plan, socket, out);
            let outcome = poll_fn(|cx| exchange.poll(cx)).await;
            let done = exchange.done();
            let reusable = exchange.app_is_reusable();
            let surplus = if outcome == Outcome::Upgraded { exchange.surplus().to_vec() } else { Vec::new() };
            let socket = exchange.into_socket();
            match outcome {
                Outcome::NothingHeard if reused && plan.replayable && tries.take() => continue,
                Outcome::NothingHeard => {
                    return self.fail(plan, refuse(502, "the app ended the connection"), began).await;
                }
                Outcome::Refused(refusal) => return self.fail(plan, refusal, began).await,
                Outcome::Complete | Outcome::LastOne | Outcome::Upgraded | Outcome::Broken => {}
            }
            let end = Instant::now();
            let Done { status, received, sent, heard } = done;
            let since = |moment: Instant| moment.saturating_duration_since(began);
            let ending = Ending { status, received, sent, took: since(end), app: heard.map(since) };
            self.http.answered(plan.method, "1", plan.entry.take(), ending);
            if reusable {
                self.pool.give(socket, end);
                return if outcome == Outcome::Complete { Next::Again } else { Next::Last };
            }
            return match outcome {
                Outcome::Complete => Next::Again,
                Outcome::LastOne => Next::Last,
                Outcome::Upgraded => Next::Tunnel(socket, surplus),
                _ => Next::Break,
            };
        }
    }

    async fn fail(&mut self, plan: &mut Plan, refusal: Refusal, began: Instant) -> Next {
        self.count(plan.method, refusal.status, Some(began), plan.entry.take());
        let close = !plan.keep_alive || !plan.body.is_done() || !self.inbox.is_empty() || refusal.status != 502;
        self.answer(refusal, None, plan.to_head, close).await
    }

    async fn deny(&mut self, denied: &Denied) -> Next {
        let head = if denied.close { 0 } else { self.skip_head() };
        self.inbox.consume(head);
        self.answer(denied.refusal, denied.advice.as_ref(), denied.to_head, denied.close).await
    }

    /// The length of the head that was judged and not taken.
    fn skip_head(&self) -> usize {
        Scan::default().head_length(self.inbox.bytes()).ok().flatten().unwrap_or(0)
    }

    async fn answer(&mut self, refusal: Refusal, advice: Option<&Advice>, to_head: bool, close: bool) -> Next {
        let close = close || self.http.is_draining();
        let mut out = self.http.buffers.text();
        reply::write(&mut out, refusal, advice, to_head, close);
        self.deadline.set(self.http.config.body_timeout);
        let sent = poll_fn(|cx| {
            if self.stream.has_unsent() {
                match self.stream.poll_flush_out(cx) {
                    Poll::Pending => return self.deadline.poll(cx).map(|()| false),
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Ready(Ok(())) => {}
                }
            }
            self.stream.poll_send(cx, &[&out]).map(|result| result.is_ok())
        })
        .await;
        self.http.buffers.give_text(&mut out);
        match (sent, close) {
            (false, _) => Next::Break,
            (true, true) => Next::Last,
            (true, false) => Next::Again,
        }
    }

    /// Says goodbye and waits a little for the client's own: an early reset could take our last answer away from it.
    async fn linger(&mut self) {
        self.deadline.set(LINGER);
        let mut left = LINGER_BYTES;
        let mut closed = false;
        poll_fn(|cx| {
            if !closed {
                match self.stream.poll_close(cx) {
                    Poll::Ready(Ok(())) => closed = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return self.deadline.poll(cx),
                }
            }
            loop {
                self.inbox.consume(usize::MAX / 2);
                match self.stream.poll_recv(cx, self.inbox.room(&self.http.buffers)) {
                    Poll::Ready(Ok(count)) if count > 0 && count < left => left -= count,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.deadline.poll(cx),
                }
            }
        })
        .await;
    }

    /// Says goodbye to a client that has been served, unless it went without a word: it would answer with a reset.
    async fn close(&mut self) {
        if self.stream.truncated() {
            return;
        }
        self.deadline.set(LINGER);
        poll_fn(|cx| match self.stream.poll_close(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.deadline.poll(cx),
        })
        .await;
    }

    /// Counts a request that was answered here.
    fn count(&self, method: Method, status: u16, began: Option<Instant>, entry: Option<Box<Entry>>) {
        let took = began.map_or(Duration::ZERO, |began| began.elapsed());
        self.http.answered(method, "1", entry, Ending { status, received: 0, sent: 0, took, app: None });
    }
}

/// A request that is answered here.
struct Denied {
    refusal: Refusal,
    advice: Option<Advice>,
    to_head: bool,
    close: bool,
    entry: Option<Box<Entry>>,
}

impl Denied {
    /// After this nobody knows where the next request begins.
    fn fatal(refusal: Refusal) -> Denied {
        Denied { refusal, advice: None, to_head: false, close: true, entry: None }
    }
}

enum Verdict {
    Denied(Denied),
    KeyWanted(usize),
}
