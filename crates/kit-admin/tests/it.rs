//! The endpoints over real sockets, and the client that asks them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::net::SocketAddr;
use std::time::Duration;

use kit_admin::{Admin, HealthcheckArgs, Page, healthcheck};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    exchange(address, &format!("GET {path} HTTP/1.0\r\n\r\n")).await
}

/// Runs `test` beside a server of `admin` and returns when the test does.
async fn beside<T>(admin: &Admin, test: impl AsyncFnOnce(SocketAddr) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::select! {
        () = admin.clone().serve(listener, std::future::pending()) => unreachable!("nobody asks the server to stop"),
        result = test(address) => result,
    }
}

#[tokio::test]
async fn readyz_follows_the_conditions_and_says_which_one_fails() {
    let admin = Admin::new("test");
    let opened = admin.condition("files opened");
    beside(&admin, async |address| {
        let before = get(address, "/readyz").await;
        assert!(before.starts_with("HTTP/1.0 503"), "{before}");
        assert!(before.ends_with("files opened: not yet\n"), "{before}");
        opened.met();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.0 200"));
        assert!(get(address, "/startupz").await.starts_with("HTTP/1.0 200"));
    })
    .await;
}

#[tokio::test]
async fn metrics_are_openmetrics_text_that_ends_with_eof() {
    let admin = Admin::new("test");
    let answer = beside(&admin, async |address| get(address, "/metrics").await).await;
    assert!(answer.contains("application/openmetrics-text"), "{answer}");
    assert!(answer.contains("podkit_build_info{tool=\"test\""), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let admin = Admin::new("test");
    beside(&admin, async |address| {
        assert!(get(address, "/").await.starts_with("HTTP/1.0 404"));
        assert!(exchange(address, "POST /metrics HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 405"));
        assert!(exchange(address, "not http\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    })
    .await;
}

#[tokio::test]
async fn more_idle_connections_than_places_do_not_end_the_service() {
    let admin = Admin::new("test");
    beside(&admin, async |address| {
        let mut idle = Vec::new();
        for _ in 0..40 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        drop(idle);
        assert!(get(address, "/livez").await.starts_with("HTTP/1.0 200"));
    })
    .await;
}

#[tokio::test]
async fn serve_ends_when_told_although_a_client_is_connected() {
    let admin = Admin::new("test");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = admin.serve(listener, async { drop(stopped.await) });
    let client = async {
        let stream = TcpStream::connect(address).await.unwrap();
        stop.send(()).unwrap();
        stream
    };
    let both = async { tokio::join!(server, client) };
    tokio::time::timeout(Duration::from_secs(10), both).await.expect("serve must return");
}

#[tokio::test]
async fn healthcheck_tells_healthy_unhealthy_and_unreachable_apart() {
    let admin = Admin::new("test");
    let opened = admin.condition("files opened");
    let ask = |address: SocketAddr, path: &str| {
        let args = HealthcheckArgs {
            admin_listen: Some(address.to_string().parse().unwrap()),
            path: path.to_owned(),
            timeout: Duration::from_secs(5),
        };
        tokio::task::spawn_blocking(move || healthcheck(&args))
    };
    let gone = beside(&admin, async |address| {
        let error = ask(address, "/readyz").await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), format!("http://{address}/readyz answers 503: files opened: not yet"));
        assert_eq!(error.exit_code(), 1);
        opened.met();
        ask(address, "/readyz").await.unwrap().unwrap();
        let error = ask(address, "readyz").await.unwrap().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        address
    })
    .await;
    let error = ask(gone, "/readyz").await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot ask http://{gone}/readyz"));
}

#[tokio::test]
async fn a_neighbours_request_is_taken_by_post_and_exists_only_where_a_tool_takes_it() {
    let admin = Admin::new("test");
    let asked = admin.on_post("/quitquitquit");
    beside(&admin, async |address| {
        assert!(get(address, "/quitquitquit").await.starts_with("HTTP/1.0 405"));
        assert!(exchange(address, "POST /other HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 405"));
        assert!(exchange(address, "POST /quitquitquit HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200"));
        tokio::time::timeout(Duration::from_secs(10), asked.notified()).await.expect("the tool is told");
    })
    .await;
}

#[tokio::test]
async fn the_process_is_among_the_metrics() {
    let admin = Admin::new("test");
    let answer = beside(&admin, async |address| get(address, "/metrics").await).await;
    for name in [
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
        "process_virtual_memory_bytes",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        assert!(value.is_some_and(|value| value >= 0.0), "{name}: {answer}");
    }
}

#[tokio::test]
async fn a_tool_may_have_pages_other_names_and_settings() {
    let admin = Admin::new("test");
    let level = std::sync::Arc::new(std::sync::Mutex::new("info".to_owned()));
    let (told, changed) = (level.clone(), level);
    admin.alias("/healthz", "/livez");
    admin.page("/version", |query| Page { status: 200, content_type: "text/plain", body: format!("1.0 {query}") });
    let change = move |value: &str| match value {
        "debug" => {
            *changed.lock().unwrap() = value.to_owned();
            Ok(())
        }
        other => Err(format!("{other} is no level")),
    };
    admin.setting("/log-level", move || told.lock().unwrap().clone(), change);
    beside(&admin, async |address| {
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.0 200"));
        assert!(get(address, "/version?x=y").await.ends_with("1.0 x=y"));
        let put = async |value: &str| {
            let length = value.len();
            let head =
                format!("PUT /log-level HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{value}");
            exchange(address, &head).await
        };
        assert!(put("loud\n").await.starts_with("HTTP/1.1 400"));
        assert!(put("loud\n").await.ends_with("loud is no level\n"));
        assert!(put("debug\n").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/log-level").await.ends_with("debug\n"));
        assert!(exchange(address, "POST /log-level HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 405"));
        assert!(exchange(address, "POST /version HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 405"));
    })
    .await;
}
