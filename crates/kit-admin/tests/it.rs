//! The endpoints over real sockets, and the client that asks them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::net::SocketAddr;
use std::time::Duration;

use kit_admin::{Admin, HealthcheckArgs, healthcheck};
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
