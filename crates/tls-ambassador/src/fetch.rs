//! One GET over a connection that somebody else made, read no further than needed.
//!
//! The answer is read by the same strict parser as those of the app. Redirects are not followed, and a body that does not
//! end as its head says is no body. The caller owns the deadline and the connection.
//!
//! ```text
//! GET /healthz HTTP/1.1 ---> stream ---> Answer { status: 200, body: b"ok" }
//! ```

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::http::framing::Framing;
use crate::http::request::{MAX_HEADERS, Scan};
use crate::http::response::Response;

/// Bytes of an answer's head that are read.
const MOST_HEAD: usize = 64 * 1024;

/// What to ask for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// From the first `/` on.
    pub path: &'a str,
    /// The value of Host.
    pub authority: &'a str,
    /// Sent as a bearer token; visible ASCII.
    pub credential: Option<&'a str>,
    /// Bytes of a body that are read, more is an error; None: the body is not waited for.
    pub most: Option<usize>,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 to 599.
    pub status: u16,
    /// Empty unless the status is 200 and somebody wanted it.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The connection broke.
    #[error("cannot reach it")]
    Io(#[from] std::io::Error),
    /// Not HTTP, or too much of it.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Asks once. The body of an answer other than 200 is not waited for.
///
/// # Errors
/// The connection breaks, or what comes is not one whole answer in HTTP/1.x.
pub async fn get<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    question: &Question<'_>,
) -> Result<Answer, AskError> {
    let credential = question.credential.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: application/json, */*\r\nUser-Agent: podkit tls-ambassador\r\nConnection: close\r\n{credential}\r\n",
        question.path, question.authority
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut text = Vec::new();
    let mut ended = false;
    loop {
        if let Some(answer) = answer_of(&text, ended, question.most.is_some())? {
            return Ok(answer);
        }
        if ended {
            return Err(AskError::Malformed("it answered with less than a whole response"));
        }
        if text.len() > question.most.unwrap_or(0) + MOST_HEAD {
            return Err(AskError::Malformed("it answered with too much"));
        }
        ended = stream.read_buf(&mut text).await? == 0;
    }
}

/// The final answer, once all of it is there; interim ones before it are passed over.
fn answer_of(mut text: &[u8], ended: bool, with_body: bool) -> Result<Option<Answer>, AskError> {
    loop {
        let malformed = |_| AskError::Malformed("it does not answer in HTTP/1.1");
        let Some(length) = Scan::default().head_length(text).map_err(malformed)? else { return Ok(None) };
        let (head, rest) = text.split_at(length);
        let mut slots = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
        let response = Response::parse(head, &mut slots, false).map_err(|error| AskError::Malformed(error.0))?;
        match response.status {
            101 => return Err(AskError::Malformed("it changes the protocol")),
            100..200 => text = rest,
            200 if with_body => {
                return body_of(response.body, rest, ended).map(|body| body.map(|body| Answer { status: 200, body }));
            }
            status => return Ok(Some(Answer { status, body: Vec::new() })),
        }
    }
}

fn body_of(mut framing: Framing, mut rest: &[u8], ended: bool) -> Result<Option<Vec<u8>>, AskError> {
    let mut body = Vec::new();
    while !framing.is_done() && !rest.is_empty() {
        let run = framing.decode(rest).map_err(|_| AskError::Malformed("its chunks are malformed"))?;
        body.extend_from_slice(&rest[run.skip..run.skip + run.data]);
        rest = &rest[run.skip + run.data..];
    }
    Ok((framing.is_done() || (ended && framing == Framing::UntilClose)).then_some(body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_body_is_taken_only_whole() {
        let whole = |text: &[u8], ended| answer_of(text, ended, true).unwrap().map(|answer| answer.body);
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", false), None);
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", false), Some(b"{}".to_vec()));
        assert_eq!(
            whole(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", false),
            Some(b"{}".to_vec())
        );
        assert_eq!(whole(b"HTTP/1.0 200 OK\r\n\r\n{}", false), None);
        assert_eq!(whole(b"HTTP/1.0 200 OK\r\n\r\n{}", true), Some(b"{}".to_vec()));
    }

    #[test]
    fn a_body_that_nobody_wants_is_not_waited_for() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
        assert_eq!(answer_of(head, false, false).unwrap(), Some(Answer { status: 200, body: Vec::new() }));
        assert_eq!(answer_of(head, false, true).unwrap(), None);
    }

    #[test]
    fn j22_redirects_are_answers_and_interim_answers_are_none() {
        let status = |text: &[u8]| answer_of(text, false, true).unwrap().map(|answer| answer.status);
        let moved = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(status(moved), Some(302));
        assert_eq!(status(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), None);
        assert_eq!(status(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 No\r\n\r\n"), Some(503));
        assert!(
            answer_of(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", false, true).is_err()
        );
        assert!(answer_of(b"SSH-2.0-x\r\n\r\n", false, true).is_err());
    }

    #[tokio::test]
    async fn more_than_was_asked_for_is_an_error() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let question = Question { path: "/", authority: "x", credential: None, most: Some(10) };
        let endless = async {
            let head = b"HTTP/1.1 200 OK\r\n\r\n";
            far.write_all(&[&head[..], &[b'x'; 200_000]].concat()).await.unwrap();
        };
        let (answer, ()) = tokio::join!(get(near, &question), endless);
        assert_eq!(answer.unwrap_err().to_string(), "it answered with too much");
    }
}
