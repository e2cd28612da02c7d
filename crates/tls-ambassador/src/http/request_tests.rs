//! What the guard lets pass and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;

/// What a head means, in one line that a test can compare.
fn read(head: &str) -> Result<String, Refusal> {
    let bytes = head.as_bytes();
    let length = Scan::default().head_length(bytes)?.ok_or(bad("incomplete"))?;
    let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let set = NameSet::identity([]);
    let request = Request::parse(&bytes[..length], &mut slots, &set)?;
    let kept: Vec<&str> = (0..request.headers.len())
        .filter(|index| !request.facts.is_dropped(*index))
        .map(|index| request.headers[index].name)
        .collect();
    let body = match request.facts.body {
        Framing::Done => "none".to_string(),
        Framing::Length(length) => length.to_string(),
        Framing::Chunked(_) => "chunked".to_string(),
        Framing::UntilClose => "until close".to_string(),
    };
    let slash = if request.bare { "/" } else { "" };
    let authority = String::from_utf8_lossy(request.authority.unwrap_or_default()).into_owned();
    Ok(format!("{} {slash}{} @{authority} [{}] body {body}", request.method, request.target, kept.join(",")))
}

fn refused(head: &str) -> (u16, &'static str) {
    let refusal = read(head).expect_err(head);
    (refusal.status, refusal.reason)
}

#[test]
fn a_plain_request_passes_whole() {
    assert_eq!(
        read("GET /a?b=c HTTP/1.1\r\nHost: x.example:9200\r\nAccept: */*\r\nX-A:\t1 \r\n\r\n").unwrap(),
        "GET /a?b=c @x.example:9200 [Host,Accept,X-A] body none"
    );
    assert_eq!(read("GET / HTTP/1.0\r\n\r\n").unwrap(), "GET / @ [] body none");
    assert_eq!(read("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").unwrap(), "OPTIONS * @x [Host] body none");
}

#[test]
fn f01_length_and_chunked_together_are_refused() {
    for head in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    ] {
        assert_eq!(refused(head), (400, "both Content-Length and Transfer-Encoding"));
    }
}

#[test]
fn f02_f03_f04_only_chunked_itself_is_a_coding() {
    let with = |line: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n");
    for line in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer-Encoding: \"chunked\"",
    ] {
        assert_eq!(refused(&with(line)), (400, "unsupported Transfer-Encoding"), "{line}");
    }
    assert_eq!(refused(&with("Transfer-Encoding: \x0bchunked")), (400, "invalid header value"));
    assert_eq!(refused(&with("Transfer_Encoding: chunked")), (400, "framing header written with an underscore"));
    assert_eq!(read(&with("Transfer-Encoding:\tCHUNKED")).unwrap(), "POST / @x [Host,Transfer-Encoding] body chunked");
}

#[test]
fn f05_f06_f07_lengths_are_one_plain_number() {
    let with = |lines: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
    assert_eq!(refused(&with("Content-Length: 5\r\nContent-Length: 10")), (400, "differing Content-Length headers"));
    assert_eq!(
        read(&with("Content-Length: 5\r\nContent-Length: 5")).unwrap(),
        "POST / @x [Host,Content-Length] body 5"
    );
    for value in ["+5", "-1", " 5 5", "0x5", "18446744073709551616", "9223372036854775808", "5, 5", "", "5;", "٥"] {
        assert_eq!(refused(&with(&format!("Content-Length: {value}"))), (400, "invalid Content-Length"), "{value}");
    }
    assert_eq!(read(&with("Content-Length: 0")).unwrap(), "POST / @x [Host,Content-Length] body none");
}

#[test]
fn f08_http_1_0_has_no_chunks() {
    assert_eq!(
        refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, "Transfer-Encoding in an HTTP/1.0 request")
    );
}

#[test]
fn f09_f14_f15_malformed_lines_are_refused() {
    let with = |line: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n");
    for (head, reason) in [
        (with("A: b\n C: d"), "bare line feed"),
        (with("A: b\nC: d"), "bare line feed"),
        ("GET / HTTP/1.1\nHost: x\n\n".into(), "bare line feed"),
        ("\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), "bare line feed"),
        (with("A: b\r\n folded"), "invalid header name"),
        (with("A: b\rC: d"), "invalid header value"),
        (with("A : b"), "invalid header name"),
        (with(" A: b"), "invalid header name"),
        (with(": b"), "invalid header name"),
        (with("A: b\0c"), "invalid header value"),
        (with("A: b\x7fc"), "invalid header value"),
        (with("A\u{e9}: b"), "invalid header name"),
        ("GET /\r\n\r\n".into(), "invalid request line"),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n".into(), "invalid request line"),
        ("GET / HTTP/1.1 \r\nHost: x\r\n\r\n".into(), "invalid line end"),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".into(), "unsupported HTTP version"),
        ("G\u{ff}T / HTTP/1.1\r\nHost: x\r\n\r\n".into(), "invalid request line"),
        ("GET /\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n".into(), "invalid character in the request target"),
        ("GET /#x HTTP/1.1\r\nHost: x\r\n\r\n".into(), "fragment in the request target"),
        ("GET * HTTP/1.1\r\nHost: x\r\n\r\n".into(), "invalid request target"),
        ("GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n".into(), "invalid request target"),
    ] {
        assert_eq!(refused(&head), (400, reason), "{head:?}");
    }
    assert!(matches!(read("G\0T / HTTP/1.1\r\nHost: x\r\n\r\n"), Err(Refusal { status: 400, .. })));
}

#[test]
fn f11_exactly_one_valid_host() {
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"), (400, "two Host headers"));
    assert_eq!(refused("GET / HTTP/1.1\r\nA: b\r\n\r\n"), (400, "no Host header"));
    for host in ["x:65536", "x:0", "a@b", "/", "", "a b"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(refused(&head), (400, "invalid Host header"), "{host}");
    }
}

#[test]
fn f12_an_absolute_target_wins_over_host() {
    assert_eq!(
        read("GET http://a.example/p?q HTTP/1.1\r\nHost: b.example\r\nA: b\r\n\r\n").unwrap(),
        "GET /p?q @a.example [A] body none"
    );
    assert_eq!(
        read("GET HTTPS://a.example?q HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap(),
        "GET /?q @a.example [Host] body none"
    );
    assert_eq!(refused("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"), (400, "invalid host in the request target"));
}

#[test]
fn f13_too_many_headers_are_431() {
    let many: String = (0..MAX_HEADERS).map(|index| format!("a{index}: b\r\n")).collect();
    assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")), (431, "too many headers"));
}

#[test]
fn f17_connect_and_trace_are_not_allowed() {
    assert_eq!(refused("CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n"), (405, "method not allowed"));
    assert_eq!(refused("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n"), (405, "method not allowed"));
}

#[test]
fn f19_only_asked_for_upgrades_remain_and_never_h2c() {
    let upgrade = |lines: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let set = NameSet::identity([]);
        Request::parse(head.as_bytes(), &mut slots, &set).unwrap().facts.upgrade.is_some()
    };
    assert!(upgrade("Connection: keep-alive, Upgrade\r\nUpgrade: websocket"));
    assert!(!upgrade("Upgrade: websocket"));
    assert!(!upgrade("Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA"));
    assert!(!upgrade("Connection: upgrade\r\nUpgrade: websocket, h2c"));
}

#[test]
fn f20_connection_names_what_is_dropped_but_not_framing() {
    assert_eq!(
        read(
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: X-Mine, Content-Length, host\r\nX_Mine: 1\r\nContent-Length: 3\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\n\r\n"
        )
        .unwrap(),
        "POST / @x [Host,Content-Length] body 3"
    );
}

#[test]
fn f22_unknown_expectations_are_417() {
    assert_eq!(refused("POST / HTTP/1.1\r\nHost: x\r\nExpect: 200-maybe\r\n\r\n"), (417, "unknown expectation"));
}

#[test]
fn j25_identity_headers_never_pass() {
    assert_eq!(
        read("GET / HTTP/1.1\r\nHost: x\r\nX_Forwarded_User: root\r\nX-FORWARDED-USER: root\r\nx-forwarded-client-cert: By=me\r\nA: b\r\n\r\n").unwrap(),
        "GET / @x [Host,A] body none"
    );
}

#[test]
fn a_head_is_found_whatever_the_split() {
    let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nrest";
    let mut scan = Scan::default();
    for end in 0..27 {
        assert_eq!(scan.head_length(&head[..end]), Ok(None), "{end}");
    }
    assert_eq!(scan.head_length(head), Ok(Some(27)));
}

#[test]
fn f09_a_head_that_came_in_one_piece_is_read_as_strictly() {
    let read = |bytes: &str| {
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let set = NameSet::identity([]);
        assert!(ends_a_head(bytes.as_bytes()), "{bytes:?}");
        Request::read(bytes.as_bytes(), &mut slots, &set).map(|(_, length)| length).map_err(|refusal| refusal.reason)
    };
    assert_eq!(read("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Ok(27));
    assert_eq!(read("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Ok(27), "the first of two");
    for bare in [
        "GET / HTTP/1.1\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\n\nGET /admin HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\nGET /admin HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(read(bare), Err("bare line feed"), "{bare:?}");
    }
    assert!(!ends_a_head(b"") && !ends_a_head(b"\r\n\r\n") && !ends_a_head(b"\nGET / HTTP/1.1\r\n\r\n"));
}
