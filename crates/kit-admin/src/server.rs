//! The listener, its four paths, and the requests that a tool takes from its neighbours.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::state::Own;
use crate::{Admin, Page};

/// Connections served at once. Probes and one scraper need a handful; more would be an attack on the pod's memory.
const CONNECTIONS: usize = 32;
/// A connection that sends no whole request for this long is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// No connection lives longer: a reader that takes nothing must not hold a place for ever.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(120);

/// Between two tries to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// Of the body of a PUT, in bytes.
const LONGEST_VALUE: usize = 4096;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

impl Admin {
    /// Answers on `listener` until `shutdown` completes; connections that are open then are dropped.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let listener = &listener;
        let accept = || async move { listener.accept().await.map(|(stream, _)| stream) };
        let answering = accept_each(accept, |connections, stream, place| {
            let admin = self.clone();
            connections.spawn(async move {
                // The end of a connection is its client's business; there is nothing to report.
                let near = stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
                admin.converse(stream, near).await;
                drop(place);
            });
        });
        tokio::select! {
            () = shutdown => {}
            () = answering => {}
        }
    }

    /// Answers on one connection until it ends or has lived for two minutes, for listeners of the tool's own. `near` says
    /// whether its client may ask for changes: it is in this pod.
    pub async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, near: bool) {
        let service = hyper::service::service_fn(move |request: Request<Incoming>| async move {
            let path = match self.own(request.uri().path()) {
                Some(Own::Alias(of)) => of.to_owned(),
                _ => request.uri().path().to_owned(),
            };
            Ok::<_, Infallible>(match self.own(&path) {
                Some(own) => own_answer(request, near, own).await,
                None => self.answer(request.method(), &path).await,
            })
        });
        let mut server = hyper::server::conn::http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(16 << 10);
        let serving = server.serve_connection(TokioIo::new(stream), service);
        // The end of a connection is its client's business; there is nothing to report.
        let _ended = tokio::time::timeout(CONNECTION_LIFETIME, serving).await;
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            return refusal("GET, HEAD", "only GET and HEAD\n");
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

/// A place among the connections that are served at once; given back when it is dropped.
pub type Place = Option<OwnedSemaphorePermit>;

/// Accepts for ever, 32 connections at once, for listeners of the tool's own: `accept` waits for the next one, and `start` has
/// it answered in a task that holds its place. Connections that are open when this is dropped are dropped too.
pub async fn accept_each<S, F: Future<Output = io::Result<S>>>(
    accept: impl Fn() -> F,
    start: impl Fn(&mut JoinSet<()>, S, Place),
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed, so a place always comes.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            accept().await.map(|stream| (stream, place))
        };
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, place)) => start(&mut connections, stream, place),
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin listener");
                // Out of descriptors: trying again at once would spin.
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The answer of a path that the tool has added.
async fn own_answer(request: Request<Incoming>, near: bool, own: Own) -> Response<Full<Bytes>> {
    let read = request.method() == Method::GET || request.method() == Method::HEAD;
    match own {
        Own::Request(_) if request.method() != Method::POST => refusal("POST", "only POST\n"),
        Own::Page(_) if !read => refusal("GET, HEAD", "only GET and HEAD\n"),
        Own::Page(page) => {
            let Page { status, content_type, body } = page(request.uri().query().unwrap_or_default()).await;
            response(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), content_type, body)
        }
        Own::Setting(tell, _) if read => response(StatusCode::OK, PLAIN, format!("{}\n", tell())),
        Own::Setting(..) if request.method() != Method::PUT => refusal("GET, HEAD, PUT", "only GET and PUT\n"),
        _ if !near => response(StatusCode::FORBIDDEN, PLAIN, "only from a loopback address\n".to_owned()),
        // It is answered before it is acted upon, so the answer arrives.
        Own::Request(asked) => {
            asked.notify_one();
            response(StatusCode::OK, PLAIN, "ok\n".to_owned())
        }
        Own::Setting(tell, change) => {
            let body = Limited::new(request.into_body(), LONGEST_VALUE).collect().await;
            let value = body.ok().and_then(|body| String::from_utf8(body.to_bytes().to_vec()).ok());
            match value
                .ok_or_else(|| "no text of a reasonable length".to_owned())
                .and_then(|value| change(value.trim()))
            {
                Ok(()) => response(StatusCode::OK, PLAIN, format!("{}\n", tell())),
                Err(reason) => response(StatusCode::BAD_REQUEST, PLAIN, format!("{reason}\n")),
            }
        }
        // An alias of an alias.
        Own::Alias(_) => response(StatusCode::NOT_FOUND, PLAIN, "not found\n".to_owned()),
    }
}

fn refusal(allowed: &'static str, text: &str) -> Response<Full<Bytes>> {
    let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, text.to_owned());
    refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refused
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
