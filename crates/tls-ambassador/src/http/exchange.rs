//! One request and its response between two sockets: one write and one read per side when both are small.
//!
//! Both directions move at once, so an app may answer before it has read the body. Nothing is read from the app while the
//! client refuses bytes, and nothing from the client while the app does; that is all the buffering there is. A body
//! with a known length is passed on as it lies, a chunked one is checked. Trailers of a request pass where they may; those of a
//! response to a client that takes them.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffers::Inbox;
use super::connection::Plan;
use super::forward::{self, Connection};
use super::framing::Framing;
use super::request::{MAX_HEADERS, Refusal, Scan, refuse};
use super::response::Response;
use super::timers::Deadline;
use super::trailers;
use super::worker::Http;
use crate::session::TlsStream;
use crate::socket::Socket;

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The response is sent, the client's connection may go on.
    Complete,
    /// The response is sent; the connection must end, perhaps with a body still coming in.
    LastOne,
    /// The app changed the protocol; the head is sent.
    Upgraded,
    /// The connection to the app ended before it said anything.
    NothingHeard,
    /// To be answered by this proxy; nothing of a response was sent.
    Refused(Refusal),
    /// Half a response was sent: the connection must break, never end cleanly.
    Broken,
}

enum Stage {
    Head(Scan),
    Body(Framing),
    Over,
}

/// What is told of an exchange afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    /// The status sent to the client, 0 for none.
    pub(super) status: u16,
    /// Bytes of the request's body, without chunk framing.
    pub(super) received: u64,
    /// Bytes of the response's body, without chunk framing.
    pub(super) sent: u64,
    /// When the app's head came; only with an access log.
    pub(super) heard: Option<Instant>,
}

/// The client's side of an exchange, borrowed from its connection.
pub(super) struct Client<'c> {
    pub(super) http: &'c Rc<Http>,
    pub(super) stream: &'c mut TlsStream,
    pub(super) inbox: &'c mut Inbox,
    pub(super) deadline: &'c Deadline,
}

/// One exchange under way.
pub(super) struct Exchange<'c> {
    client: Client<'c>,
    plan: &'c Plan,
    /// The app's connection.
    pub(super) socket: Socket,
    /// Bytes for the app that are ready as they are, and how many of them are sent.
    out: &'c mut Vec<u8>,
    sent: usize,
    /// Bytes at the inbox's front that are checked and may be sent from there.
    direct: usize,
    body: Framing,
    body_bytes: u64,
    /// What came behind the last chunk of the request; None: nothing of it is passed on.
    section: Option<Vec<u8>>,
    uploaded: bool,
    app_refused: bool,
    stage: Stage,
    block: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    /// The status sent to the client, 0 before.
    status: u16,
    /// The client is older than chunks, and gets what is in them.
    unchunk: bool,
    /// What stands behind the last chunk of the response.
    trailers: Vec<u8>,
    /// When the app's final head came, where somebody wants to know.
    heard: Option<Instant>,
    sent_to_client: u64,
    close: bool,
    app_keeps: bool,
    progress: bool,
}

impl<'c> Exchange<'c> {
    /// `out` holds the head and the body's start, as far as `body` and `body_bytes` say.
    pub(super) fn new(client: Client<'c>, plan: &'c Plan, socket: Socket, out: &'c mut Vec<u8>) -> Exchange<'c> {
        Exchange {
            client,
            plan,
            socket,
            out,
            sent: 0,
            direct: 0,
            body: plan.body,
            body_bytes: plan.body_bytes,
            section: plan.trailers.clone(),
            uploaded: false,
            app_refused: false,
            stage: Stage::Head(Scan::default()),
            block: None,
            start: 0,
            end: 0,
            status: 0,
            unchunk: false,
            trailers: Vec::new(),
            heard: None,
            sent_to_client: 0,
            close: !plan.keep_alive,
            app_keeps: false,
            progress: true,
        }
    }

    /// Moves both directions until one of the outcomes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if !self.uploaded
            && let Poll::Ready(Err(outcome)) = self.poll_upload(cx)
        {
            return Poll::Ready(outcome);
        }
        if let Poll::Ready(outcome) = self.poll_download(cx) {
            return Poll::Ready(outcome);
        }
        if std::mem::take(&mut self.progress) {
            let deadline = self.patience();
            self.client.deadline.set(deadline);
        }
        ready!(self.client.deadline.poll(cx));
        Poll::Ready(match self.stage {
            Stage::Head(_) if !self.uploaded && self.wants_body() => {
                Outcome::Refused(refuse(408, "the body is too slow"))
            }
            Stage::Head(_) => Outcome::Refused(refuse(504, "the app did not answer in time")),
            _ => Outcome::Broken,
        })
    }

    /// How it ended.
    pub(super) fn done(&self) -> Done {
        Done { status: self.status, received: self.body_bytes, sent: self.sent_to_client, heard: self.heard }
    }

    /// Whether the app's connection can serve another request, which nothing else may follow.
    pub(super) fn app_is_reusable(&self) -> bool {
        self.app_keeps
            && self.uploaded
            && !self.app_refused
            && self.start == self.end
            && matches!(self.stage, Stage::Over)
    }

    /// What the app sent after its head changed the protocol.
    pub(super) fn surplus(&self) -> &[u8] {
        part(self.block.as_deref(), self.start..self.end)
    }

    /// Gives buffers back and the app's connection out.
    pub(super) fn into_socket(mut self) -> Socket {
        self.rest();
        self.socket
    }

    fn patience(&self) -> Duration {
        let config = &self.client.http.config;
        match self.stage {
            Stage::Head(_) if self.uploaded => config.upstream_timeout,
            _ => config.body_timeout,
        }
    }

    /// All that came of the body is passed on; the client has to send more.
    fn wants_body(&self) -> bool {
        self.sent == self.out.len() && self.direct == 0
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Outcome>> {
        loop {
            let ready = if self.sent < self.out.len() {
                &self.out[self.sent..]
            } else {
                &self.client.inbox.bytes()[..self.direct]
            };
            if !ready.is_empty() {
                match ready!(Pin::new(&mut self.socket).poll_write(cx, ready)) {
                    Ok(count) if count > 0 => self.wrote(count),
                    // The app may have answered already: what it said counts, the rest of the body does not.
                    _ => {
                        self.app_refused = true;
                        self.uploaded = true;
                        self.close |= !self.body.is_done() || self.direct > 0;
                        return Poll::Ready(Ok(()));
                    }
                }
                continue;
            }
            if self.body.is_done() {
                self.uploaded = true;
                self.progress = true;
                return Poll::Ready(Ok(()));
            }
            if self.client.inbox.is_empty() {
                let text = self.client.inbox.room(&self.client.http.buffers);
                match self.client.stream.poll_recv(cx, text) {
                    Poll::Ready(Ok(count)) if count > 0 => self.progress = true,
                    Poll::Ready(_) => return Poll::Ready(Err(Outcome::Broken)),
                    Poll::Pending => {
                        self.client.inbox.rest(&self.client.http.buffers);
                        return Poll::Pending;
                    }
                }
            }
            if let Err(refusal) = self.take_body() {
                return Poll::Ready(Err(self.refused(refusal)));
            }
        }
    }

    fn wrote(&mut self, count: usize) {
        self.progress = true;
        if self.sent < self.out.len() {
            self.sent += count;
            // A request that can be sent again is kept whole until the app says something.
            if self.sent == self.out.len() && !self.plan.replayable {
                self.out.clear();
                self.sent = 0;
            }
        } else {
            self.client.inbox.consume(count);
            self.direct -= count;
        }
    }

    fn take_body(&mut self) -> Result<(), Refusal> {
        let counted = matches!(self.body, Framing::Length(_));
        let piece = self.body.feed(self.client.inbox.bytes()).map_err(|_| refuse(400, "malformed chunked body"))?;
        self.body_bytes += piece.data as u64;
        if self.client.http.config.max_body_bytes.is_some_and(|most| self.body_bytes > most) {
            return Err(refuse(413, "the body is too large"));
        }
        if counted {
            self.direct = piece.taken;
        } else {
            let bytes = self.client.inbox.bytes();
            self.out.extend_from_slice(&bytes[..piece.forward]);
            if let Some(section) = &mut self.section {
                section.extend_from_slice(&bytes[piece.forward..piece.taken]);
            }
            if piece.done {
                let section = self.section.take().unwrap_or_default();
                trailers::end_request(self.out, &section, &self.client.http.config);
            }
            self.client.inbox.consume(piece.taken);
        }
        Ok(())
    }

    fn poll_download(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            if self.client.stream.has_unsent() {
                match ready!(self.client.stream.poll_flush_out(cx)) {
                    Ok(()) => self.progress = true,
                    Err(_) => return Poll::Ready(Outcome::Broken),
                }
            }
            if matches!(self.stage, Stage::Over) {
                return Poll::Ready(self.over());
            }
            let buffers = &self.client.http.buffers;
            let block = self.block.get_or_insert_with(|| buffers.block());
            if self.end == block.len() {
                return Poll::Ready(self.refused(refuse(502, "the app's response head is too large")));
            }
            let mut room = ReadBuf::new(&mut block[self.end..]);
            match Pin::new(&mut self.socket).poll_read(cx, &mut room) {
                Poll::Pending => {
                    if self.start == self.end {
                        self.rest();
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                    self.end += room.filled().len();
                    self.progress = true;
                    if let Err(outcome) = self.pass_on(cx) {
                        return Poll::Ready(outcome);
                    }
                }
                Poll::Ready(result) => match self.app_ended(result.is_ok()) {
                    Some(outcome) => return Poll::Ready(outcome),
                    None => self.stage = Stage::Over,
                },
            }
        }
    }

    /// None: that is how this response ends.
    fn app_ended(&self, cleanly: bool) -> Option<Outcome> {
        match &self.stage {
            Stage::Body(Framing::UntilClose) if cleanly => None,
            Stage::Head(_) if self.end == 0 && self.status == 0 => Some(Outcome::NothingHeard),
            Stage::Head(_) if self.status == 0 => {
                Some(Outcome::Refused(refuse(502, "the app ended its response early")))
            }
            _ => Some(Outcome::Broken),
        }
    }

    fn over(&self) -> Outcome {
        if self.status == 101 {
            Outcome::Upgraded
        } else if self.close || !self.uploaded {
            Outcome::LastOne
        } else {
            Outcome::Complete
        }
    }

    fn refused(&self, refusal: Refusal) -> Outcome {
        if self.status == 0 { Outcome::Refused(refusal) } else { Outcome::Broken }
    }

    fn rest(&mut self) {
        self.start = 0;
        self.end = 0;
        if let Some(block) = self.block.take() {
            self.client.http.buffers.give_block(block);
        }
    }

    /// Sends on what lies in the block: heads rewritten, body bytes as they are, both in one write.
    fn pass_on(&mut self, cx: &mut Context<'_>) -> Result<(), Outcome> {
        let mut reply = Vec::new();
        // Bytes in front of `start` that go on too: a head that needs no change lies before its body already.
        let mut as_is = 0;
        while let Stage::Head(_) = &self.stage {
            match self.head(&mut reply).map_err(|refusal| self.refused(refusal))? {
                Some(kept) => as_is = kept,
                None if reply.is_empty() => return Ok(()),
                None => break,
            }
        }
        let (taken, passed) = self.pass_body(&mut reply)?;
        let body = part(self.block.as_deref(), self.start - as_is..self.start + passed);
        let tail = if taken > passed && matches!(self.stage, Stage::Over) { self.tail() } else { Vec::new() };
        let parts = [reply.as_slice(), body, tail.as_slice()];
        // Several parts are joined first, so one is given alone.
        let sent = match (reply.is_empty(), body.is_empty(), tail.is_empty()) {
            (true, true, true) => Poll::Ready(Ok(())),
            (true, false, true) => self.client.stream.poll_send(cx, &[body]),
            (false, true, true) => self.client.stream.poll_send(cx, &[&reply]),
            _ => self.client.stream.poll_send(cx, &parts),
        };
        // Nothing is held back at this point, so the stream takes all of it.
        if !matches!(sent, Poll::Ready(Ok(()))) {
            return Err(Outcome::Broken);
        }
        self.client.http.buffers.give_text(&mut reply);
        self.start += taken;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if !matches!(self.stage, Stage::Over) && self.start > 0 {
            // Half a head behind an interim one: move it to the front.
            if let Some(block) = &mut self.block {
                block.copy_within(self.start..self.end, 0);
            }
            self.end -= self.start;
            self.start = 0;
        }
        Ok(())
    }

    /// How many bytes of the block belong to the response's body, and how many of them go on as they are. For a client that
    /// knows no chunks the data goes to `reply`.
    fn pass_body(&mut self, reply: &mut Vec<u8>) -> Result<(usize, usize), Outcome> {
        let Stage::Body(framing) = &mut self.stage else { return Ok((0, 0)) };
        let bytes = part(self.block.as_deref(), self.start..self.end);
        if !self.unchunk {
            let piece = framing.feed(bytes).map_err(|_| Outcome::Broken)?;
            self.trailers.extend_from_slice(&bytes[piece.forward..piece.taken]);
            self.sent_to_client += piece.data as u64;
            if piece.done {
                self.stage = Stage::Over;
            }
            return Ok((piece.taken, piece.forward));
        }
        let mut taken = 0;
        while !framing.is_done() && taken < bytes.len() {
            let run = framing.decode(&bytes[taken..]).map_err(|_| Outcome::Broken)?;
            let end = taken + run.skip + run.data;
            reply.extend_from_slice(&bytes[end - run.data..end]);
            self.sent_to_client += run.data as u64;
            taken = end;
        }
        if framing.is_done() {
            self.stage = Stage::Over;
        }
        Ok((taken, 0))
    }

    /// The end of a chunked response: the trailers that may pass, where the client takes them, and the empty line.
    fn tail(&self) -> Vec<u8> {
        let mut tail = Vec::new();
        if self.unchunk {
            return tail;
        }
        if self.plan.takes_trailers {
            trailers::each(&self.trailers, |name, value| forward::line(&mut tail, name.as_bytes(), value));
        }
        tail.extend_from_slice(b"\r\n");
        tail
    }

    /// Takes one head, unless it is not whole yet, and tells how many bytes of it go on as they are: all, or none where
    /// what goes on was written to `reply`.
    fn head(&mut self, reply: &mut Vec<u8>) -> Result<Option<usize>, Refusal> {
        const MALFORMED: Refusal = refuse(502, "the app's response is malformed");
        let Stage::Head(scan) = &mut self.stage else { return Ok(None) };
        let mut bytes = part(self.block.as_deref(), self.start..self.end);
        // One that comes in pieces is not read anew with each of them.
        if !scan.is_fresh() {
            let Some(length) = scan.head_length(bytes).map_err(|_| MALFORMED)? else { return Ok(None) };
            bytes = &bytes[..length];
        }
        let mut slots = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
        let read = Response::read(bytes, &mut slots, self.plan.to_head).map_err(|_| MALFORMED)?;
        let Some((mut response, length)) = read else {
            return scan.head_length(bytes).map_or(Err(MALFORMED), |_| Ok(None));
        };
        let head = &bytes[..length];
        self.start += length;
        if response.status == 101 {
            let agreed = match (&self.plan.upgrade, response.upgrade) {
                (Some(asked), Some(index)) => response.headers[index].value.eq_ignore_ascii_case(asked),
                _ => false,
            };
            if !agreed || !self.uploaded {
                return Err(refuse(502, "the app changed the protocol unasked"));
            }
            forward::response_head(reply, head, &response, Connection::Upgrade);
            self.status = 101;
            self.stage = Stage::Over;
            return Ok(Some(0));
        }
        if response.is_interim() {
            // 100 is relayed once and only to a client that waits for it; others (103) to any that can know them.
            let wanted = response.status != 100 || self.plan.expects_continue;
            if wanted && !self.plan.old {
                forward::response_head(reply, head, &response, Connection::Silent);
            }
            self.stage = Stage::Head(Scan::default());
            return Ok(Some(0));
        }
        self.status = response.status;
        self.heard = self.client.http.shared.log.as_ref().map(|_| Instant::now());
        self.app_keeps = response.keep_alive && !self.plan.old;
        if self.plan.old && matches!(response.body, Framing::Chunked(_)) {
            // Only the end of the connection can tell such a client where the body ends.
            self.unchunk = true;
            response.drop_coding();
        }
        self.close |=
            self.unchunk || response.body == Framing::UntilClose || !self.uploaded || self.client.http.is_draining();
        let connection = match (self.close, self.plan.old) {
            (true, _) => Connection::Close,
            (false, true) => Connection::KeepAlive,
            (false, false) => Connection::Silent,
        };
        let as_is = forward::is_as_it_goes_on(head, &response, connection);
        if !as_is {
            if reply.capacity() == 0 {
                *reply = self.client.http.buffers.text();
            }
            forward::response_head(reply, head, &response, connection);
        }
        self.stage = if response.body.is_done() { Stage::Over } else { Stage::Body(response.body) };
        Ok(Some(if as_is { length } else { 0 }))
    }
}

/// Some bytes of a block; none where there is no block, or it is shorter.
fn part(block: Option<&[u8]>, range: std::ops::Range<usize>) -> &[u8] {
    block.and_then(|block| block.get(range)).unwrap_or_default()
}
