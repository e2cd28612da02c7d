//! One GET over a connection that the caller makes.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::framing::{Framing, is_token};
use crate::url::Url;

/// Bytes of an answer's head that are read, interim ones before it included.
const MOST_HEAD: usize = 64 * 1024;
/// Bytes that one read takes, at least.
const ONE_READ: usize = 8 * 1024;
/// Headers of an answer that are read.
const MOST_HEADERS: usize = 128;

/// What to ask for. `Host` and `Connection: close` are said by themselves.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// From the first `/` on, visible ASCII.
    pub path: &'a str,
    /// The value of Host.
    pub authority: &'a str,
    /// More headers: names and values, of one line each.
    pub headers: &'a [(&'a str, &'a str)],
}

impl<'a> Request<'a> {
    /// Asks for `url`, without more headers.
    #[must_use]
    pub fn to(url: &'a Url) -> Request<'a> {
        Request { path: &url.path, authority: &url.authority, headers: &[] }
    }
}

/// Where patience ends.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For everything together: connecting, asking, reading.
    pub deadline: Duration,
    /// Bytes of a body that are read, more is an error. None: the body is not waited for.
    pub body: Option<usize>,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 to 599.
    pub status: u16,
    /// Names as they were sent, and values; in their order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Without the marks of chunks. Empty unless the status is 2xx and somebody wanted it: nobody waits for an error page.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name, whatever its case, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }
}

/// How far an exchange had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The caller's connector was at work.
    Connect,
    /// The request was being written.
    Send,
    /// Nothing, or a part of the head, had come.
    Head,
    /// The body was coming.
    Body,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Step::Connect => "connecting",
            Step::Send => "sending the request",
            Step::Head => "waiting for an answer",
            Step::Body => "reading the body",
        })
    }
}

/// Why there is no answer. What was asked stands with the caller.
#[derive(Debug, thiserror::Error)]
pub enum GetError<E: std::error::Error + 'static> {
    /// The connector failed.
    #[error(transparent)]
    Connect(E),
    /// The deadline passed.
    #[error("no whole answer within {limit:?}: stopped while {step}")]
    Late {
        /// What was going on then.
        step: Step,
        /// The deadline.
        limit: Duration,
    },
    /// There is a connection, and nothing good came of it.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
}

/// What went wrong on a connection.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The request could not be said; nothing was sent.
    #[error("{0}")]
    Request(&'static str),
    /// The connection broke.
    #[error("the connection broke while {step}")]
    Broken {
        /// What was going on then.
        step: Step,
        /// How it broke.
        source: io::Error,
    },
    /// The connection ended in order, too early.
    #[error("it answered with less than a whole response")]
    Short,
    /// More body than was asked for.
    #[error("it answered with more than {0} bytes")]
    Long(usize),
    /// Not HTTP/1.x, or not in one reading.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Asks once over the stream that `connecting` gives. Any final status is an answer.
///
/// # Errors
/// The connector fails, time is over, or what comes is not one whole answer in HTTP/1.x within the limits. The connection is
/// dropped in any case.
pub async fn get<S, E>(
    connecting: impl Future<Output = Result<S, E>>,
    request: &Request<'_>,
    limits: Limits,
) -> Result<Answer, GetError<E>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    E: std::error::Error + 'static,
{
    let step = Cell::new(Step::Connect);
    let whole = async {
        let text = written(request)?;
        let mut stream = connecting.await.map_err(GetError::Connect)?;
        Ok(exchange(&mut stream, &step, text.as_bytes(), limits.body).await?)
    };
    let late = |_| GetError::Late { step: step.get(), limit: limits.deadline };
    tokio::time::timeout(limits.deadline, whole).await.map_err(late)?
}

/// The request as it is sent.
fn written(request: &Request<'_>) -> Result<String, ExchangeError> {
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !request.path.starts_with('/') || !visible(request.path) || !visible(request.authority) {
        return Err(ExchangeError::Request("a path or an authority holds what no request line may hold"));
    }
    let mut text = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", request.path, request.authority);
    for (name, value) in request.headers {
        let one_line = value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
        if name.is_empty() || !name.bytes().all(is_token) || !one_line {
            return Err(ExchangeError::Request("a header of the request is not one line"));
        }
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    Ok(text)
}

/// Any stream, so that what follows exists once in a program.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

async fn exchange(
    stream: &mut dyn Stream,
    step: &Cell<Step>,
    request: &[u8],
    most: Option<usize>,
) -> Result<Answer, ExchangeError> {
    let broken = |source| ExchangeError::Broken { step: step.get(), source };
    step.set(Step::Send);
    stream.write_all(request).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    step.set(Step::Head);
    let mut text = Vec::with_capacity(ONE_READ);
    let mut reading = Reading::default();
    loop {
        if let Some(answer) = reading.take(&mut text, most)? {
            return Ok(answer);
        }
        if reading.answer.is_some() {
            step.set(Step::Body);
        }
        if stream.read_buf(&mut text).await.map_err(broken)? == 0 {
            return reading.ended();
        }
    }
}

/// An answer that is coming.
#[derive(Default)]
struct Reading {
    /// Bytes of heads so far.
    heads: usize,
    /// Once its head was there.
    answer: Option<(Answer, Framing)>,
}

impl Reading {
    /// Takes what can be used out of `text`; the answer, once it is whole.
    fn take(&mut self, text: &mut Vec<u8>, most: Option<usize>) -> Result<Option<Answer>, ExchangeError> {
        while self.answer.is_none() {
            let Some((length, answer, framing)) = head(text)? else {
                return match self.heads + text.len() > MOST_HEAD {
                    true => Err(ExchangeError::Malformed("its head is too long")),
                    false => Ok(None),
                };
            };
            text.drain(..length);
            self.heads += length;
            match answer.status {
                101 => return Err(ExchangeError::Malformed("it changes the protocol")),
                // Something to know before the answer, which nobody here has a use for.
                100..200 if self.heads <= MOST_HEAD => {}
                100..200 => return Err(ExchangeError::Malformed("its head is too long")),
                _ => self.answer = Some((answer, framing)),
            }
        }
        let Some((answer, framing)) = &mut self.answer else { return Ok(None) };
        let Some(most) = most.filter(|_| (200..300).contains(&answer.status)) else {
            return Ok(self.answer.take().map(|(answer, _)| answer));
        };
        let mut at = 0;
        while !framing.is_done() && at < text.len() {
            let run = framing.decode(&text[at..]).map_err(|_| ExchangeError::Malformed("its chunks are malformed"))?;
            at += run.skip;
            answer.body.extend_from_slice(&text[at..at + run.data]);
            at += run.data;
        }
        text.clear();
        if answer.body.len() > most {
            return Err(ExchangeError::Long(most));
        }
        let whole = framing.is_done();
        Ok(self.answer.take_if(|_| whole).map(|(answer, _)| answer))
    }

    /// What there is when the connection has ended in order.
    fn ended(self) -> Result<Answer, ExchangeError> {
        match self.answer {
            Some((answer, Framing::UntilClose)) => Ok(answer),
            _ => Err(ExchangeError::Short),
        }
    }
}

/// The head at the start of `text`: its length, what it says, and where the body ends.
fn head(text: &[u8]) -> Result<Option<(usize, Answer, Framing)>, ExchangeError> {
    let malformed = ExchangeError::Malformed;
    let mut slots = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut slots);
    let length = match parsed.parse(text) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(malformed("invalid response head")),
    };
    let status = parsed.code.filter(|status| (100..600).contains(status)).ok_or(malformed("invalid status"))?;
    let (mut size, mut chunked) = (None, false);
    for header in parsed.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let value = digits(header.value).ok_or(malformed("invalid Content-Length"))?;
            if size.replace(value).is_some_and(|earlier| earlier != value) {
                return Err(malformed("differing Content-Length headers"));
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            let again = std::mem::replace(&mut chunked, true);
            if again || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(malformed("unsupported Transfer-Encoding"));
            }
        }
    }
    let framing = match (size, chunked) {
        _ if status < 200 || matches!(status, 204 | 304) => Framing::Done,
        (Some(_), true) => return Err(malformed("both Content-Length and Transfer-Encoding")),
        (None, true) if parsed.version == Some(0) => {
            return Err(malformed("Transfer-Encoding in an HTTP/1.0 response"));
        }
        (None, true) => Framing::chunked(),
        (Some(size), false) => Framing::length(size),
        (None, false) => Framing::UntilClose,
    };
    let headers = parsed.headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect();
    Ok(Some((length, Answer { status, headers, body: Vec::new() }, framing)))
}

/// Digits only, without a sign.
fn digits(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok().filter(|_| value.iter().all(u8::is_ascii_digit))?;
    text.parse().ok()
}
