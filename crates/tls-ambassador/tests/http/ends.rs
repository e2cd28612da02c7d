//! How messages and waits end: trailers, clients older than chunks, uploads that take their time, halves that never end.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use kit_test::{eventually, http_get};

use super::h2::play_with;
use super::lab::{App, Lab, PATIENCE, ok};

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\nSet-Cookie: a=b\r\nContent-Length: 9\r\n\r\n";

fn play(lab: &Lab, scenario: &str) -> serde_json::Value {
    play_with(lab, scenario, &lab.dir.path().join("tls.crt"))
}

#[test]
fn trailers_of_the_app_reach_clients_that_take_them() {
    let app = App::start(|_, _| (CHUNKED.to_vec(), false));
    let lab = Lab::open(&app, &[]);
    let get = |more: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let told = get("Connection: close, TE\r\nTE: trailers\r\n");
    let silent = get("Connection: close\r\n");
    let answers = lab.raw(&[&told, &silent]);
    assert!(answers[0].0.ends_with("\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n"), "{answers:?}");
    assert!(answers[1].0.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{answers:?}");
    assert!(answers.iter().all(|(_, end)| end == "clean"), "{answers:?}");
    assert!(app.seen().contains("Connection: TE\r\nTE: trailers\r\n"), "{}", app.seen());
    let outcomes = play(&lab, "trailers");
    for outcome in outcomes.as_array().unwrap() {
        assert_eq!((&outcome[1], &outcome[2]), (&"hello".into(), &"ended".into()), "{outcomes}");
        // HTTP/2 clients always have to understand them.
        assert_eq!(outcome[3], serde_json::json!({"x-sum": "5"}), "{outcomes}");
    }
    assert_eq!(app.seen().matches("TE: trailers\r\n").count(), 2, "{}", app.seen());
    assert!(app.connections() <= 2, "the app's connections are used again: {}", app.connections());
}

/// Tokens in a header of their own, whose name no trailer may have.
fn lab_with_tokens(app: &App) -> Lab {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys.json"), super::jwt::Issuer::new("a").keys()).unwrap();
    let rules = ["--jwt-allow-missing", "--jwt-jwks-file", "keys.json", "--jwt-header", "X-Token"];
    Lab::start(app, &[&rules[..], &super::jwt::RULES, &["--strip-header", "X-Corp-*"]].concat(), dir)
}

#[test]
fn trailers_of_requests_reach_the_app_unless_they_say_what_only_heads_say() {
    let app = App::echo();
    let lab = lab_with_tokens(&app);
    let post = |more: &str, trailers: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n{more}\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
        )
    };
    let announced =
        "Trailer: X-Sum, X-Forwarded-User, X-Token\r\nTrailer: Content-Length, Digest\r\nConnection: close\r\n";
    let mixed = "X-Sum: 5\r\nX_Forwarded_User: root\r\nX-Token: x\r\nAuthorization: Bearer x\r\nX-Corp-Role: root\r\nX-Forwarded-For: 1.1.1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: x\r\nCookie: a=b\r\nIf-Match: x\r\nContent_Length: 9\r\nX-Request-Id: x\r\nDigest: y\r\n";
    let split: Vec<_> = post(announced, mixed).bytes().map(|byte| (0.0, vec![byte])).collect();
    let whole = vec![(0.0, post(announced, mixed).into_bytes())];
    // One after the other: the app keeps what comes on all of its connections in one record.
    for (answer, end) in [whole, split].into_iter().flat_map(|case| lab.raw_parts(20.0, &[case])) {
        assert!(answer.contains("Trailer: X-Sum, Digest\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer} {end}");
    }
    let seen = app.seen();
    assert_eq!(seen.matches("0\r\nX-Sum: 5\r\nDigest: y\r\n\r\n").count(), 2, "{seen}");
    for (more, trailers) in [
        // What Connection names belongs to this hop, wherever it stands.
        ("Trailer: X-Sum\r\nConnection: close, X-Sum\r\n", "X-Sum: 5\r\n"),
        ("Trailer: X-Sum\r\nConnection: close\r\n", ""),
        ("Connection: close\r\n", &"A: b\r\n".repeat(65)),
    ] {
        let before = app.seen().len();
        assert!(lab.raw_one(&post(more, trailers)).0.ends_with("\r\n\r\nhello"));
        let seen = app.seen().split_off(before);
        assert!(seen.ends_with("hello\r\n0\r\n\r\n"), "{more}: {seen}");
        assert_eq!(seen.contains("Trailer: X-Sum"), trailers.is_empty(), "{more}: {seen}");
    }
    let before = app.seen().len();
    let outcomes = play(&lab, "sent_trailers");
    for outcome in outcomes.as_array().unwrap() {
        assert!(outcome[0] == "200" && outcome[1].as_str().unwrap().ends_with("\r\n\r\nhello"), "{outcomes}");
    }
    let seen = app.seen().split_off(before);
    assert!(seen.contains("Trailer: x-sum\r\n") && seen.contains("hello\r\n0\r\nx-sum: 5\r\n\r\n"), "{seen}");
    assert_eq!((seen.matches("x-sum").count(), seen.contains("root")), (2, false), "a counted body has none: {seen}");
}

#[test]
fn f21_a_client_older_than_chunks_gets_what_is_in_them() {
    let app = App::start(|_, _| (CHUNKED.to_vec(), false));
    let lab = Lab::open(&app, &[]);
    let (answer, end) = lab.raw_one("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(answer.ends_with("Connection: close\r\n\r\nhello") && end == "clean", "{answer:?} {end}");
    assert!(!answer.contains("Transfer-Encoding"), "{answer:?}");
}

#[test]
fn an_upload_may_take_longer_than_the_app_for_its_answer() {
    let app = App::start(|head, body| {
        if head.contains("/silent") {
            std::thread::sleep(Duration::from_secs(5));
        }
        (ok(body), false)
    });
    let lab = Lab::open(&app, &["--upstream-timeout", "1s"]);
    assert_eq!(play(&lab, "slow_upload")[0][1], "part ".repeat(6));
    for http in ["--http1.1", "--http2"] {
        assert_eq!(lab.status(&[http], "/silent"), "504", "{http}");
        assert_eq!(lab.status(&[http, "--data", "body"], "/silent"), "504", "{http}");
    }
}

#[test]
fn f27_a_body_that_stalls_ends_alone_while_its_connection_goes_on() {
    let app = App::start(|_, body| (ok(body), false));
    let lab = Lab::open(&app, &["--body-timeout", "1s"]);
    let outcome = play(&lab, "stuck_upload");
    assert_eq!(outcome[0][0], "408", "{outcome}");
}

#[test]
fn f13_a_header_of_100_kilobytes_is_refused_and_harms_nobody() {
    let app = App::echo();
    let lab = Lab::open(&app, &[]);
    let large = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n", "x".repeat(100_000));
    let (answer, _) = lab.raw_one(&large);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    let outcome = play(&lab, "large_header");
    assert!(outcome[0][0] == "431" || outcome[0][2] == "reset" || !outcome[1].is_null(), "{outcome}");
    assert_eq!(app.seen(), "");
    assert_eq!(lab.status(&[], "/"), "200");
}

#[test]
fn f25_half_a_tunnel_does_not_wait_forever_for_the_other() {
    // Agrees to anything, and never says or hears another word.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut socket in listener.incoming().flatten() {
            let _head = socket.read(&mut [0; 4096]);
            let _sent = socket
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
            kept.push(socket);
        }
    });
    let lab = Lab::open(&App::at(port), &["--close-timeout", "2s"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/half_client.py");
    let mut client = Command::new("/usr/bin/python3");
    client.arg(script).arg(lab.port.to_string()).arg(lab.dir.path().join("tls.crt"));
    let output = client.output().expect("python3 is installed");
    let seconds: f64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert!((1.0..25.0).contains(&seconds), "{seconds} s");
    eventually("nothing is left open", PATIENCE, || {
        http_get(lab.admin, "/metrics").body.contains("tls_ambassador_connections_open 0\n")
    });
}

#[test]
fn plain_bytes_are_counted_in_both_directions() {
    let app = App::start(|_, body| (ok(body), false));
    let lab = Lab::open(&app, &[]);
    let file = lab.dir.path().join("body");
    std::fs::write(&file, vec![b'x'; 300_000]).unwrap();
    let upload = format!("@{}", file.display());
    for (index, http) in ["--http1.1", "--http2"].into_iter().enumerate() {
        assert_eq!(lab.curl(&[http, "--data-binary", &upload], "/").len(), 300_000);
        let least = 300_000 * (index as u64 + 1);
        let counts = || {
            let metrics = http_get(lab.admin, "/metrics").body;
            ["received", "sent"].map(|direction| {
                let name = format!("tls_ambassador_{direction}_bytes_total ");
                metrics.split(&name).nth(1).unwrap().lines().next().unwrap().parse::<u64>().unwrap()
            })
        };
        eventually("all are counted", PATIENCE, || counts().into_iter().all(|count| count >= least));
        assert!(counts().into_iter().all(|count| count < least + 20_000), "once: {:?}", counts());
    }
}

#[test]
fn f25_a_megabyte_passes_both_ways_through_a_websocket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|count| count > 0) {
                    head.push(byte[0]);
                }
                let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                let _sent = socket.write_all(agreed);
                // Echoes while it reads, so that both directions are full at once.
                let mut back = socket.try_clone().unwrap();
                let _ended = std::io::copy(&mut socket, &mut back);
            });
        }
    });
    let lab = Lab::open(&App::at(port), &[]);
    let upgrade = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec();
    let megabyte: Vec<u8> = (0..1u32 << 20).map(|index| b'a' + (index % 23) as u8).collect();
    // The first bytes come with the request, the rest once the protocol has changed.
    let first = [upgrade, megabyte[..1000].to_vec()].concat();
    let (answer, _) = lab.raw_parts(4.0, &[vec![(0.0, first), (0.5, megabyte[1000..].to_vec())]]).remove(0);
    let echoed = answer.split_once("\r\n\r\n").expect("a head").1;
    assert!(echoed.as_bytes() == megabyte, "{} bytes came back", echoed.len());
}

#[test]
fn f22_early_hints_reach_clients_that_can_have_them() {
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    let app = App::start(move |_, _| ([&hints[..], &ok(b"page")].concat(), false));
    let lab = Lab::open(&app, &[]);
    let (answer, _) = lab.raw_one("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let expected = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n";
    assert!(answer.starts_with(expected) && answer.ends_with("\r\n\r\npage"), "{answer:?}");
    let (old, _) = lab.raw_one("GET / HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.1 200 OK\r\n"), "HTTP/1.0 has no interim answers: {old:?}");
    // Not over HTTP/2: the library cannot send them, and the answer must not suffer.
    assert_eq!(lab.curl(&["--http2"], "/"), "page");
}

#[test]
fn g16_a_refusal_of_a_head_request_has_no_body() {
    let app = App::echo();
    let lab = Lab::open(&app, &["--rate-limit", "1/h"]);
    assert_eq!(lab.status(&[], "/"), "200");
    for http in ["--http1.1", "--http2"] {
        let head = lab.curl(&[http, "--head", "--write-out", "size=%{size_download} error=%{errormsg}."], "/");
        assert!(head.contains(" 429 ") && head.contains("size=0 error=."), "{http}: {head}");
    }
    let outcome = play(&lab, "refused_head");
    assert_eq!(outcome[0], serde_json::json!(["429", "", "ended"]), "{outcome}");
}

#[test]
fn f21_g16_answers_of_every_kind_are_clean_over_http_2_too() {
    let app = App::start(|head, _| {
        let (method, path) = head.split_once(' ').unwrap();
        let answer: &[u8] = match path.split(' ').next().unwrap() {
            "/204" => b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            "/205" => b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
            "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"x\"\r\n\r\n",
            "/odd" => b"HTTP/1.1 200\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nX_Under: a\r\nX-Empty:\r\nX-High: \xe9\r\nContent-Length: 2\r\n\r\nok",
            "/close" => return (b"HTTP/1.1 200 OK\r\n\r\nok".to_vec(), true),
            "/chunked" if method == "HEAD" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "/chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            _ if method == "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        (answer.to_vec(), false)
    });
    let lab = Lab::open(&app, &[]);
    for (path, status, body) in [
        ("/204", 204, ""),
        ("/205", 205, ""),
        ("/304", 304, ""),
        ("/odd", 200, "ok"),
        ("/close", 200, "ok"),
        ("/chunked", 200, "ok"),
        ("/plain", 200, "ok"),
    ] {
        let told = "\n%{http_version} %{http_code} %{errormsg}";
        let get = lab.curl(&["--http2", "--write-out", told], path);
        assert_eq!(get, format!("{body}\n2 {status} "), "{path}");
        let head = lab.curl(&["--http2", "--head", "--write-out", told], path);
        assert!(head.ends_with(&format!("\n2 {status} ")), "{path}: {head}");
        let hop = ["x-hop", "keep-alive", "upgrade", "proxy-connection", "transfer-encoding"];
        assert!(hop.iter().all(|name| !head.to_lowercase().contains(&format!("\n{name}:"))), "{path}: {head}");
    }
}

#[test]
fn f13_a_body_over_the_limit_is_refused_however_its_length_is_told() {
    let app = App::start(|_, body| (ok(body.len().to_string().as_bytes()), false));
    let lab = Lab::open(&app, &["--max-body-bytes", "10KB"]);
    let file = lab.dir.path().join("body");
    let upload = format!("@{}", file.display());
    let data = ["--data-binary", upload.as_str()];
    for (size, told) in [(10_000, "10000 200"), (10_001, " 413"), (3 << 20, " 413")] {
        std::fs::write(&file, vec![b'x'; size]).unwrap();
        for http in ["--http1.1", "--http2"] {
            for length in [&[][..], &["--header", "Transfer-Encoding: chunked"]] {
                // Over HTTP/2 there are no chunks; without the length only the end of the stream tells.
                let length =
                    if http == "--http2" && !length.is_empty() { &["--header", "Content-Length:"][..] } else { length };
                let said = lab.curl(&[&[http, "--write-out", " %{http_code}"], &data[..], length].concat(), "/");
                assert!(said.ends_with(told), "{http} {size} {length:?}: {said}");
            }
        }
    }
    assert!(!app.seen().contains(&"x".repeat(10_001)), "no more than that reached the app");
    let expects = lab.curl(&["--http2", "--header", "Expect: 100-continue", "--data", "body"], "/");
    assert_eq!(expects, "4", "nobody says 100 over HTTP/2, and nobody waits for it for long");
}

#[test]
fn f23_an_app_that_answers_before_the_end_of_a_body_is_heard_over_http_2() {
    // Answers as soon as the head is there, and reads no more of that connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut socket in listener.incoming().flatten() {
            let _head = socket.read(&mut [0; 256]);
            let _sent = socket.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
            kept.push(socket);
        }
    });
    let lab = Lab::open(&App::at(port), &[]);
    let file = lab.dir.path().join("body");
    std::fs::write(&file, vec![b'x'; 3 << 20]).unwrap();
    let upload = format!("@{}", file.display());
    // Each on a connection of its own to the app: the one before is out of step.
    for _ in 0..3 {
        let said = lab.curl(&["--http2", "--data-binary", &upload, "--write-out", " %{http_code}"], "/");
        assert_eq!(said, "no 403");
    }
}
