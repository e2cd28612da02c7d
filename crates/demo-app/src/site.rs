//! What a request is answered, and the line it leaves in the access log.

use std::net::SocketAddr;
use std::time::SystemTime;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::content::Content;
use crate::elasticsearch::{Answer, Elasticsearch};
use crate::health::Health;
use crate::log_file::LogFile;
use crate::metrics::Metrics;
use crate::pages::{self, Page};
use crate::stamp::Format;

const TEXT: &str = "text/plain; charset=utf-8";
const WELCOME: &str = "demo-app serves no files here: give it --root\n";

/// Everything that requests share.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) root: Option<std::path::PathBuf>,
    pub(crate) elasticsearch: Option<Elasticsearch>,
    pub(crate) health: Health,
    pub(crate) access_log: Option<LogFile>,
    pub(crate) metrics: Metrics,
    /// The stamps of the access log.
    pub(crate) log_stamp: Format,
    /// The stamps of HTTP headers.
    pub(crate) header_stamp: Format,
}

impl Site {
    /// Answers one request. Its line is in the access log when this returns, so a client that has its answer finds it.
    pub(crate) fn answer<B>(&self, peer: SocketAddr, request: &Request<B>) -> Response<Content> {
        let response = self.route(request);
        self.metrics.answered(response.status().as_u16());
        if let Some(log) = &self.access_log {
            let stamp = self.log_stamp.render(SystemTime::now());
            log.append(&combined(peer, &stamp, request, &response));
        }
        response
    }

    fn route<B>(&self, request: &Request<B>) -> Response<Content> {
        let (method, path) = (request.method(), request.uri().path());
        let reading = method == Method::GET || method == Method::HEAD;
        match path {
            "/healthz" if reading => check(self.health.healthy()),
            "/ready" if reading => check(self.health.ready()),
            "/healthz" | "/ready" => not_allowed("GET, HEAD"),
            "/fail" if method == Method::POST => {
                self.health.fail();
                text(StatusCode::OK, "/healthz and /ready fail from now on\n")
            }
            "/recover" if method == Method::POST => {
                self.health.recover();
                text(StatusCode::OK, "/healthz and /ready are healed\n")
            }
            "/fail" | "/recover" => not_allowed("POST"),
            _ => self.elasticsearch(request).unwrap_or_else(|| match reading {
                true => self.page(path, request.headers()),
                false => not_allowed("GET, HEAD"),
            }),
        }
    }

    fn elasticsearch<B>(&self, request: &Request<B>) -> Option<Response<Content>> {
        let node = self.elasticsearch.as_ref()?;
        let uri = request.uri();
        let answer = node.answer(uri.path(), uri.query().unwrap_or_default())?;
        if ![Method::GET, Method::HEAD, Method::POST].contains(request.method()) {
            return Some(not_allowed("GET, HEAD, POST"));
        }
        let mut response = match answer {
            Answer::Json(value) => with_type(StatusCode::OK, "application/json; charset=UTF-8", value.to_string()),
            Answer::Text(table) => with_type(StatusCode::OK, "text/plain; charset=UTF-8", table),
        };
        // The product's clients refuse servers without it.
        response
            .headers_mut()
            .insert(HeaderName::from_static("x-elastic-product"), HeaderValue::from_static("Elasticsearch"));
        Some(response)
    }

    fn page(&self, path: &str, headers: &HeaderMap) -> Response<Content> {
        let Some(root) = &self.root else {
            return if path == "/" {
                text(StatusCode::OK, WELCOME)
            } else {
                text(StatusCode::NOT_FOUND, "not found\n")
            };
        };
        match pages::find(root, path) {
            Page::Missing => text(StatusCode::NOT_FOUND, "not found\n"),
            Page::Moved(to) => match HeaderValue::from_str(&to) {
                Ok(location) => {
                    let mut moved = text(StatusCode::MOVED_PERMANENTLY, "moved\n");
                    moved.headers_mut().insert(header::LOCATION, location);
                    moved
                }
                Err(_) => text(StatusCode::NOT_FOUND, "not found\n"),
            },
            Page::File { file, length, modified, content_type } => {
                let modified = self.header_stamp.render(modified);
                // Compared as text, as nginx does by default: a client sends back what it was given.
                let known = headers.get(header::IF_MODIFIED_SINCE).is_some_and(|since| since == modified.as_str());
                let mut response = if known {
                    let mut unchanged = Response::new(Content::from(Bytes::new()));
                    *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
                    unchanged
                } else {
                    let mut whole = Response::new(Content::File { file, left: length });
                    whole.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
                    whole
                };
                if let Ok(modified) = HeaderValue::from_str(&modified) {
                    response.headers_mut().insert(header::LAST_MODIFIED, modified);
                }
                response
            }
        }
    }
}

fn check(health: Result<(), String>) -> Response<Content> {
    match health {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Content> {
    with_type(status, TEXT, body.into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Response<Content> {
    let mut response = Response::new(Content::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn not_allowed(allowed: &'static str) -> Response<Content> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed} here\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// One line of the combined log format, without the newline. The bytes are those of the body that is about to be sent.
fn combined<B>(peer: SocketAddr, stamp: &str, request: &Request<B>, response: &Response<Content>) -> String {
    let bytes = if request.method() == Method::HEAD { 0 } else { response.body().length() };
    let field = |name| request.headers().get(name).map_or_else(|| "-".to_owned(), |value| escaped(value.as_bytes()));
    format!(
        "{} - - [{stamp}] \"{} {} {:?}\" {} {bytes} \"{}\" \"{}\"",
        peer.ip().to_canonical(),
        request.method(),
        escaped(request.uri().to_string().as_bytes()),
        request.version(),
        response.status().as_u16(),
        field(header::REFERER),
        field(header::USER_AGENT),
    )
}

/// Bytes that a client chose, so that they can neither end a field nor a line: `\xHH` for the others, as nginx writes.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => text.push_str(&format!("\\x{byte:02X}")),
            _ => text.push(char::from(*byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_in_the_combined_format_and_what_clients_send_cannot_break_it() {
        let request = Request::get("/a?b=1")
            .header("referer", "http://x/")
            .header("user-agent", HeaderValue::from_bytes(b"a\"b\\c\xff\t").unwrap())
            .body(())
            .unwrap();
        let response = text(StatusCode::OK, "four");
        let line = combined("127.0.0.1:9".parse().unwrap(), "01/Dec/2022:16:25:21 +0000", &request, &response);
        assert_eq!(
            line,
            r#"127.0.0.1 - - [01/Dec/2022:16:25:21 +0000] "GET /a?b=1 HTTP/1.1" 200 4 "http://x/" "a\x22b\x5Cc\xFF\x09""#
        );
    }

    #[test]
    fn a_head_request_sends_no_body_bytes() {
        let request = Request::head("/").body(()).unwrap();
        let line = combined("[::ffff:10.0.0.1]:9".parse().unwrap(), "now", &request, &text(StatusCode::OK, "four"));
        assert_eq!(line, r#"10.0.0.1 - - [now] "HEAD / HTTP/1.1" 200 0 "-" "-""#);
    }
}
