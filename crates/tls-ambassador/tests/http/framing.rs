//! The F list: what must never reach the app, and what must reach it whole.

use super::lab::{App, Lab, ok};

const GOOD: &str = "GET /good HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// All of these are answered with `status` and a close; nothing behind the fault reaches the app.
fn all_refused(status: &str, cases: &[&str]) {
    let app = App::echo();
    let lab = Lab::open(&app, &[]);
    for (case, (answer, end)) in cases.iter().zip(lab.raw(cases)) {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{case:?}: {answer:?} {end}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{case:?}: one answer, then the end: {answer:?}");
        assert_eq!(end, "clean", "{case:?}");
    }
    assert!(!app.seen().contains("smuggled"), "{}", app.seen());
    let (answer, _) = lab.raw_one(GOOD);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "a normal request still passes: {answer:?}");
}

#[test]
fn f01_f02_f03_f04_f05_f07_f08_f09_f11_f15_requests_with_two_readings_get_400_and_a_close() {
    let post = |lines: &str, body: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n{body}GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
    };
    let cases = [
        post("Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nContent-Length: 6", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"),
        post("Transfer-Encoding: xchunked", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
        post("Transfer-Encoding: identity", "0\r\n\r\n"),
        post("Transfer_Encoding: chunked", "0\r\n\r\n"),
        post("Content-Length: 5\r\nContent-Length: 10", "hello"),
        post("Content-Length: +5", "hello"),
        post("Content-Length: -1", ""),
        post("Content-Length: 0x5", "hello"),
        post("Content-Length: 18446744073709551616", ""),
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        post("Transfer-Encoding: chunked", "ffffffffffffffff\r\n"),
        post("Transfer-Encoding: chunked", "5\r\nhelloX"),
        post("Transfer-Encoding: chunked", "5\nhello\n0\n\n"),
        post("A: b\n", ""),
        post("A: b\rC: d", ""),
        post("A : b", ""),
        post("A: b\r\n folded", ""),
        post("A: b\0c", ""),
        post("Host: other", ""),
        "GET /smuggled HTTP/1.1\r\nA: b\r\n\r\n".into(),
        "GET /smuggled HTTP/1.1\r\nHost: x:65536\r\n\r\n".into(),
        "GET /smuggled HTTP/1.1\r\nHost: a@b\r\n\r\n".into(),
        "GET /smuggled\r\n\r\n".into(),
        "GET /smuggled#x HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
    ];
    all_refused("400", &cases.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn f13_f17_too_large_heads_and_connect_have_their_own_status() {
    let large = format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {}\r\n\r\n", "a".repeat(70 << 10));
    all_refused("431", &[&large]);
    all_refused("405", &["CONNECT smuggled:443 HTTP/1.1\r\nHost: smuggled:443\r\n\r\n"]);
}

#[test]
fn f06_f10_f12_f19_f20_what_is_clear_reaches_the_app_in_one_reading() {
    let app = App::echo();
    let lab = Lab::open(&app, &[]);
    let answers = lab.raw(&[
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5;name=value\r\nhello\r\n0\r\nX-Forwarded-User: root\r\n\r\n",
        "GET http://other.example/p HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close, X-Forwarded-For, X-Mine\r\nX-Mine: 1\r\nTE: trailers\r\nUpgrade: h2c\r\n\r\n",
    ]);
    let body = |index: usize| answers[index].0.split_once("\r\n\r\n").unwrap().1.to_string();
    assert_eq!(body(0).matches("Content-Length: 5\r\n").count(), 1);
    assert!(body(0).ends_with("\r\n\r\nhello"), "{:?}", answers[0]);
    assert!(body(1).ends_with("\r\n\r\nhello"), "{:?}", answers[1]);
    assert!(body(2).starts_with("GET /p HTTP/1.1\r\nHost: other.example\r\n"), "{:?}", answers[2]);
    assert!(!body(3).contains("X-Mine") && !body(3).contains("TE:") && !body(3).contains("h2c"), "{:?}", answers[3]);
    assert!(body(3).contains("X-Forwarded-For: 127.0.0.1\r\n"), "ours cannot be named away: {:?}", answers[3]);
    assert!(!app.seen().contains("X-Forwarded-User"), "trailers do not carry identities: {}", app.seen());
}

#[test]
fn f16_f24_pipelined_requests_are_answered_in_order_over_one_connection() {
    let app = App::start(|head, _| (ok(head.split(' ').nth(1).unwrap().as_bytes()), false));
    let lab = Lab::open(&app, &[]);
    let pipeline = "GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\nPOST /2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (answer, end) = lab.raw_one(pipeline);
    let bodies: Vec<&str> = answer.split("\r\n\r\n").skip(1).map(|part| &part[..2]).collect();
    assert_eq!((bodies, end.as_str()), (vec!["/1", "/2", "/3"], "clean"), "{answer:?}");
    assert_eq!(app.connections(), 1, "the app's connection is used again");
}

#[test]
fn f18_f25_a_protocol_changes_only_when_the_app_agrees() {
    let app = App::start(|head, body| {
        if head.contains("/ws") {
            (
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst".to_vec(),
                false,
            )
        } else if head.contains("/wrong") {
            (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n".to_vec(), false)
        } else {
            (ok(&[head.as_bytes(), body].concat()), false)
        }
    });
    let lab = Lab::open(&app, &[]);
    let upgrade = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .into_bytes()
    };
    let in_frame = b"GET /framed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec();
    let answers = lab.raw_parts(
        10.0,
        &[
            vec![(0.0, upgrade("/ws")), (0.5, in_frame.clone())],
            vec![(0.0, upgrade("/wrong"))],
            vec![(0.0, [upgrade("/plain"), in_frame].concat())],
        ],
    );
    assert!(
        answers[0]
            .0
            .starts_with("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst"),
        "{answers:?}"
    );
    assert!(answers[0].0.contains("HTTP/1.1 200 OK"), "bytes pass as they are: {answers:?}");
    assert!(answers[1].0.starts_with("HTTP/1.1 502 "), "{answers:?}");
    assert_eq!(
        answers[2].0.matches("HTTP/1.1 200 OK").count(),
        2,
        "an answer other than 101 keeps the framing: {answers:?}"
    );
    assert!(app.seen().contains("X-Forwarded-For: 127.0.0.1\r\n"), "{}", app.seen());
}

#[test]
fn f21_responses_keep_their_length_whatever_says_it() {
    let app = App::start(|head, _| match head.split(' ').nth(1).unwrap() {
        "/chunked" => {
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: x\r\n\r\n".to_vec(), false)
        }
        "/close" => (b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec(), true),
        "/204" => (b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), false),
        "/304" => (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n".to_vec(), false),
        "/head" => (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n".to_vec(), false),
        _ => (ok(b""), false),
    });
    let lab = Lab::open(&app, &[]);
    assert_eq!(lab.curl(&["--http1.1"], "/chunked"), "hello");
    assert_eq!(lab.curl(&["--http1.1"], "/close"), "hello");
    assert_eq!(lab.status(&["--http1.1"], "/204"), "204");
    assert_eq!(lab.status(&["--http1.1"], "/304"), "304");
    assert!(lab.curl(&["--http1.1", "--head"], "/head").contains("Content-Length: 99"));
    assert_eq!(lab.curl(&[], "/empty"), "");
    let (answer, end) = lab.raw_one("GET /close HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("Connection: close\r\n\r\nhello") && end == "clean", "{answer:?} {end}");
}

#[test]
fn f21_large_bodies_pass_both_ways_unchanged() {
    let app = App::start(|_, body| (ok(body), false));
    let lab = Lab::open(&app, &[]);
    let body: Vec<u8> = (0..3_000_000u32).flat_map(|index| index.to_le_bytes()).take(3 << 20).collect();
    let file = lab.dir.path().join("body");
    std::fs::write(&file, &body).unwrap();
    let out = lab.dir.path().join("out");
    for chunked in [&[][..], &["--header", "Transfer-Encoding: chunked"]] {
        let upload = format!("@{}", file.display());
        lab.curl(&[&["--http1.1", "--output", out.to_str().unwrap(), "--data-binary", &upload], chunked].concat(), "/");
        assert!(std::fs::read(&out).unwrap() == body, "chunked: {chunked:?}");
    }
}

#[test]
fn f22_continue_is_relayed_once() {
    let app = App::start(|_, body| ([b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), ok(body)].concat(), false));
    let lab = Lab::open(&app, &[]);
    let (answer, _) = lab.raw_one("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    assert_eq!(answer.matches("HTTP/1.1 100 ").count(), 1, "{answer:?}");
    assert!(answer.ends_with("\r\n\r\nhi"), "{answer:?}");
    let (answer, _) =
        lab.raw_one("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    assert_eq!(answer.matches("HTTP/1.1 100 ").count(), 0, "unasked for: {answer:?}");
}

#[test]
fn f23_a_body_that_nobody_read_is_not_the_next_request() {
    // Answers as soon as the head is there and never reads the body.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut some = [0; 256];
                let _head = socket.read(&mut some);
                let _sent = socket.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
                std::thread::sleep(std::time::Duration::from_secs(20));
            });
        }
    });
    let app = App::at(port);
    let lab = Lab::open(&app, &[]);
    let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n".to_vec();
    let rest = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let answers = lab.raw_parts(10.0, &[vec![(0.0, head), (0.5, rest)]]);
    assert_eq!(answers[0].0.matches("HTTP/1.1").count(), 1, "{answers:?}");
    assert!(answers[0].0.contains("Connection: close\r\n"), "{answers:?}");
}

#[test]
fn f26_f27_f28_slow_clients_are_let_go() {
    let app = App::echo();
    let lab = Lab::open(&app, &["--header-timeout", "1s", "--body-timeout", "1s", "--idle-timeout", "1s"]);
    let answers = lab.raw_parts(
        15.0,
        &[
            vec![(0.0, b"GET / HTTP/1.1\r\n".to_vec())],
            vec![(0.0, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc".to_vec())],
            vec![(0.0, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec())],
            vec![],
        ],
    );
    assert!(answers[0].0.starts_with("HTTP/1.1 408 "), "{answers:?}");
    assert!(answers[1].0.starts_with("HTTP/1.1 408 "), "{answers:?}");
    assert_eq!(answers[2].0.matches("HTTP/1.1").count(), 2, "one answer, which echoes one request: {answers:?}");
    assert_eq!(answers[3].0, "");
    assert!(answers.iter().all(|(_, end)| end == "clean"), "{answers:?}");
}

#[test]
fn f29_what_the_app_does_not_deliver_is_told() {
    let app = App::start(|head, _| match head.split(' ').nth(1).unwrap() {
        "/half" => (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec(), true),
        "/chunks" => (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe".to_vec(), true),
        "/none" => (Vec::new(), true),
        "/broken" => (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_vec(), true),
        _ => (Vec::new(), false),
    });
    let lab = Lab::open(&app, &["--upstream-timeout", "1s"]);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let paths = ["/half", "/chunks", "/none", "/broken", "/silent"].map(get);
    let answers = lab.raw(&paths.each_ref().map(String::as_str));
    assert!(answers[0].0.ends_with("half") && answers[0].1 == "cut", "never a clean end: {answers:?}");
    assert!(answers[1].0.ends_with("he") && answers[1].1 == "cut", "{answers:?}");
    assert!(answers[2].0.starts_with("HTTP/1.1 502 "), "{answers:?}");
    assert!(answers[3].0.starts_with("HTTP/1.1 502 "), "{answers:?}");
    assert!(answers[4].0.starts_with("HTTP/1.1 504 "), "{answers:?}");
}

#[test]
fn f29_an_idle_connection_that_the_app_ended_costs_no_request() {
    // Ends every connection after one answer without saying so.
    let app = App::start(|_, _| (ok(b"fine"), true));
    let lab = Lab::open(&app, &[]);
    let url = format!("https://localhost:{}/", lab.port);
    for http in ["--http1.1", "--http2"] {
        let answers = lab.curl(&[http, &url, &url, &url], "/");
        assert_eq!(answers, "fine".repeat(4), "{http}");
    }
}

#[test]
fn j25_j26_j28_identity_headers_are_stripped_even_when_everybody_is_let_in() {
    let app = App::echo();
    let lab = Lab::open(&app, &["--strip-header", "X-Tenant"]);
    let names = [
        "X-Auth-Request-User",
        "x_auth_request_user",
        "X-AUTH-REQUEST-EMAIL",
        "X-Forwarded-User",
        "X_Forwarded_Groups",
        "X-Forwarded-Client-Cert",
        "Remote-User",
        "X-Remote-Group",
        "X-SSL-Client-Cert",
        "X-Goog-Authenticated-User-Email",
        "x_tenant",
    ];
    let mut args = vec!["--http1.1".to_string()];
    for name in &names {
        args.push("--header".to_string());
        args.push(format!("{name}: root "));
    }
    args.extend(["--header".into(), "X-Forwarded-For: 1.2.3.4".into(), "--header".into(), "X-Mine: kept".into()]);
    let echoed = lab.curl(&args.iter().map(String::as_str).collect::<Vec<_>>(), "/");
    assert!(!echoed.contains("root") && !echoed.contains("1.2.3.4"), "{echoed}");
    assert!(echoed.contains("X-Mine: kept\r\n"), "{echoed}");
    let port = lab.port;
    let ours = format!(
        "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: {port}\r\nX-Forwarded-Host: localhost:{port}\r\n\r\n"
    );
    assert!(echoed.ends_with(&ours), "{echoed}");
}
