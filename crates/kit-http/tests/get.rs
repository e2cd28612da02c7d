//! The client against servers on loopback that keep to HTTP, and some that do not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::time::Duration;

use kit_http::{Answer, GetError, Limits, Request, Step, Url, get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LIMITS: Limits = Limits { deadline: Duration::from_secs(30), body: Some(64) };

/// Asks a server that reads one request and says `parts`, each in a write of its own, then ends; gives what it was asked too.
async fn ask_bounded(parts: &[&[u8]], limits: Limits) -> (Result<Answer, GetError<std::io::Error>>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/a?b=c", listener.local_addr().unwrap()).parse().unwrap();
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut asked).await.unwrap(), 0, "the request ended early");
        }
        for part in parts {
            // A client that has read enough may be gone.
            let _ = socket.write_all(part).await;
            tokio::task::yield_now().await;
        }
        String::from_utf8(asked).unwrap()
    };
    let connecting = TcpStream::connect((url.host.as_str(), url.port));
    let request = Request { headers: &[("Accept", "*/*")], ..Request::to(&url) };
    tokio::join!(get(connecting, &request, limits), server)
}

async fn ask(parts: &[&[u8]]) -> Result<Answer, GetError<std::io::Error>> {
    ask_bounded(parts, LIMITS).await.0
}

/// The whole of an error, causes included.
fn text(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn an_answer_has_status_headers_and_the_whole_body() {
    let said: [&[u8]; 4] = [b"HTTP/1.1 200 O", b"K\r\nX-Kind: a\r\nContent-Length: 5\r\n\r", b"\nhel", b"lo"];
    let (answer, asked) = ask_bounded(&said, LIMITS).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
    assert_eq!((answer.header("x-KIND"), answer.header("x-other")), (Some("a"), None));
    let lines: Vec<&str> = asked.lines().collect();
    assert_eq!(lines[0], "GET /a?b=c HTTP/1.1");
    assert!(lines[1].starts_with("Host: 127.0.0.1:"), "{asked}");
    assert_eq!(lines[2..], ["Connection: close", "Accept: */*", ""]);
}

#[tokio::test]
async fn chunks_are_joined_and_a_body_without_length_ends_with_the_connection() {
    let chunks: [&[u8]; 3] =
        [b"HTTP/1.1 201 C\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", b"c\r\n", b"2\r\nde\r\n0\r\n\r\n"];
    assert_eq!(ask(&chunks).await.unwrap().body, b"abcde");
    assert_eq!(ask(&[b"HTTP/1.0 200 OK\r\n\r\nab", b"cd"]).await.unwrap().body, b"abcd");
    assert_eq!(ask(&[b"HTTP/1.1 204 No Content\r\n\r\n"]).await.unwrap().body, b"");
}

#[tokio::test]
async fn redirects_and_errors_are_answers_without_body() {
    let moved = ask(&[b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 9999\r\n\r\n"])
        .await
        .unwrap();
    assert_eq!((moved.status, moved.header("location")), (302, Some("http://169.254.169.254/")));
    let failed = ask(&[b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nbad"]).await.unwrap();
    assert_eq!((failed.status, failed.body.as_slice()), (503, &b""[..]));
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let connecting = TcpStream::connect((url.host.as_str(), url.port));
    let request = Request::to(&url);
    let asking = get(connecting, &request, Limits { body: None, ..LIMITS });
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
        // Kept open: the client ends first.
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
    };
    let (answer, ()) = tokio::join!(asking, server);
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn interim_answers_are_passed_over_and_other_protocols_refused() {
    let hinted: [&[u8]; 2] =
        [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"];
    assert_eq!(ask(&hinted).await.unwrap().body, b"ok");
    let switched = ask(&[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"]).await.unwrap_err();
    assert_eq!(switched.to_string(), "it changes the protocol");
}

#[tokio::test]
async fn what_is_not_one_whole_answer_is_an_error_that_says_why() {
    for (said, why) in [
        (&b""[..], "it answered with less than a whole response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "it answered with less than a whole response"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
            "it answered with less than a whole response",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "its chunks are malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "unsupported Transfer-Encoding"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding in an HTTP/1.0 response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "differing Content-Length headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", "invalid Content-Length"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "both Content-Length and Transfer-Encoding",
        ),
        (b"HTTP/1.1 099 OK\r\n\r\n", "invalid status"),
        (b"SSH-2.0-x\r\n\r\n", "invalid response head"),
    ] {
        assert_eq!(text(&ask(&[said]).await.unwrap_err()), why, "{:?}", String::from_utf8_lossy(said));
    }
}

#[tokio::test]
async fn more_body_or_head_than_allowed_is_an_error() {
    let exact = [&b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n"[..], &[b'x'; 64]].concat();
    assert_eq!(ask(&[&exact]).await.unwrap().body.len(), 64);
    let long = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 200_000]].concat();
    assert_eq!(ask(&[&long]).await.unwrap_err().to_string(), "it answered with more than 64 bytes");
    let head = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'x'; 200_000]].concat();
    assert_eq!(ask(&[&head]).await.unwrap_err().to_string(), "its head is too long");
    let interim = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000);
    assert_eq!(ask(&[&interim]).await.unwrap_err().to_string(), "its head is too long");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_for_every_step_and_its_error_names_it() {
    let limits = Limits { deadline: Duration::from_secs(8), body: Some(64) };
    let request = Request { path: "/", authority: "x", headers: &[] };
    let never = std::future::pending::<Result<tokio::io::DuplexStream, std::io::Error>>();
    let error = get(never, &request, limits).await.unwrap_err();
    assert_eq!(error.to_string(), "no whole answer within 8s: stopped while connecting");

    for (room, said, step) in [
        (4, &b""[..], Step::Send),
        (4096, b"HTTP/1.1 200", Step::Head),
        (4096, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", Step::Body),
    ] {
        let (near, mut far) = tokio::io::duplex(room);
        far.write_all(said).await.unwrap();
        let connecting = std::future::ready(Ok::<_, std::io::Error>(near));
        let error = get(connecting, &request, limits).await.unwrap_err();
        assert!(matches!(error, GetError::Late { step: found, .. } if found == step), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drips_does_not_outlive_the_deadline() {
    let (near, mut far) = tokio::io::duplex(64);
    let dripping = async move {
        far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while far.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let request = Request { path: "/", authority: "x", headers: &[] };
    let limits = Limits { deadline: Duration::from_secs(8), body: Some(1 << 20) };
    let connecting = std::future::ready(Ok::<_, std::io::Error>(near));
    let began = tokio::time::Instant::now();
    let (answer, ()) = tokio::join!(get(connecting, &request, limits), dripping);
    assert_eq!(answer.unwrap_err().to_string(), "no whole answer within 8s: stopped while reading the body");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_connectors_own_error_is_handed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let request = Request { path: "/", authority: "x", headers: &[] };
    let error = get(TcpStream::connect(address), &request, LIMITS).await.unwrap_err();
    let GetError::Connect(source) = &error else { panic!("{error}") };
    assert_eq!((source.kind(), error.to_string()), (std::io::ErrorKind::ConnectionRefused, source.to_string()));
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_apart_from_one_that_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = [0; 1024];
        let _some = socket.read(&mut asked).await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").await.unwrap();
        socket.set_zero_linger().unwrap();
    };
    let request = Request { path: "/", authority: "x", headers: &[] };
    let (answer, ()) = tokio::join!(get(TcpStream::connect(address), &request, LIMITS), server);
    let error = text(&answer.unwrap_err());
    assert!(error.starts_with("the connection broke while ") && error.contains("reset"), "{error}");
}

#[tokio::test]
async fn a_request_that_would_be_two_is_never_sent() {
    let cases: [Request<'_>; 5] = [
        Request { path: "/a b", authority: "x", headers: &[] },
        Request { path: "a", authority: "x", headers: &[] },
        Request { path: "/", authority: "x\r\nY: z", headers: &[] },
        Request { path: "/", authority: "x", headers: &[("A", "b\r\nC: d")] },
        Request { path: "/", authority: "x", headers: &[("A:", "b")] },
    ];
    for request in cases {
        let connecting = async { panic!("no connection is made for {request:?}") as Result<TcpStream, std::io::Error> };
        let error = get(connecting, &request, LIMITS).await.unwrap_err();
        assert!(matches!(error, GetError::Exchange(kit_http::ExchangeError::Request(_))), "{error}");
    }
}
