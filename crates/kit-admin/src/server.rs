//! The listener, its four paths, and the requests that a tool takes from its neighbours.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Admin;

/// Connections served at once. Probes and one scraper need a handful; more would be an attack on the pod's memory.
const CONNECTIONS: usize = 32;
/// A connection that sends no whole request for this long is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// No connection lives longer: a reader that takes nothing must not hold a place for ever.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(120);

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

impl Admin {
    /// Answers on `listener` until `shutdown` completes; connections that are open then are dropped.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => return,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&listener, &places) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let admin = self.clone();
                    connections.spawn(async move {
                        // The end of a connection is its client's business; there is nothing to report.
                        let _ended = tokio::time::timeout(CONNECTION_LIFETIME, admin.connection(stream)).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the admin listener");
                    // Out of descriptors: trying again at once would spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(&self, stream: TcpStream) -> Result<(), hyper::Error> {
        let near = stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| async move {
            let (method, path) = (request.method(), request.uri().path());
            let asked = self.request(path);
            Ok::<_, Infallible>(match asked {
                Some(asked) => take(method, near, &asked),
                None => self.answer(method, path).await,
            })
        });
        let mut server = hyper::server::conn::http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(16 << 10);
        server.serve_connection(TokioIo::new(stream), service).await
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n".to_owned());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match path {
            "/livez" => health(self.not_alive().await),
            "/readyz" => health(self.not_ready()),
            "/startupz" => health(self.not_started()),
            "/metrics" => match self.metrics() {
                Ok(text) => response(StatusCode::OK, OPENMETRICS, text),
                Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n")),
            },
            _ => response(StatusCode::NOT_FOUND, PLAIN, "/livez /readyz /startupz /metrics\n".to_owned()),
        }
    }
}

/// A neighbour's request. It is answered before it is acted upon, so the answer arrives.
fn take(method: &Method, near: bool, asked: &tokio::sync::Notify) -> Response<Full<Bytes>> {
    if method != Method::POST {
        let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only POST\n".to_owned());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return refused;
    }
    if !near {
        return response(StatusCode::FORBIDDEN, PLAIN, "only from a loopback address\n".to_owned());
    }
    asked.notify_one();
    response(StatusCode::OK, PLAIN, "ok\n".to_owned())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<tokio::sync::OwnedSemaphorePermit>)> {
    // The semaphore is never closed, so a permit always comes.
    let place = places.clone().acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

fn health(problems: String) -> Response<Full<Bytes>> {
    if problems.is_empty() {
        response(StatusCode::OK, PLAIN, "ok\n".to_owned())
    } else {
        response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, problems)
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
