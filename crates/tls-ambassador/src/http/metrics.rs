//! What is counted of requests and tokens.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::jwt::Failure;

/// A method as a label: the registered ones, and one for all else, so that clients cannot make labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// PATCH
    Patch,
    /// Any other, or none that could be read.
    Other,
}

impl Method {
    /// The method called `name`.
    pub fn of(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            "PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }

    /// Sending it twice does what sending it once does (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options)
    }

    fn label(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Patch => "PATCH",
            Method::Other => "other",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    code: u16,
    method: &'static str,
    protocol: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// Counters of the http door.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Histogram,
    tokens: Family<ResultLabel, Counter>,
    fetches: Family<ResultLabel, Counter>,
}

impl Metrics {
    /// Counters at zero, shown by `registry`.
    pub fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics {
            requests: Family::default(),
            seconds: Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            tokens: Family::default(),
            fetches: Family::default(),
        };
        registry.register(
            "tls_ambassador_http_requests",
            "Requests answered, by status; status 0 is a response that broke off before its head",
            metrics.requests.clone(),
        );
        registry.register(
            "tls_ambassador_http_request_seconds",
            "From the whole head of a request to the end of its response",
            metrics.seconds.clone(),
        );
        registry.register("tls_ambassador_jwt", "Tokens judged, by result", metrics.tokens.clone());
        registry.register("tls_ambassador_jwks_fetch", "Readings of the key set, by result", metrics.fetches.clone());
        metrics
    }

    /// One request was answered with `code` after `took`.
    pub fn request(&self, method: Method, protocol: &'static str, code: u16, took: Duration) {
        self.requests.get_or_create(&RequestLabels { code, method: method.label(), protocol }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// One token was judged.
    pub fn token<T>(&self, result: &Result<T, Failure>) {
        let result = match result {
            Ok(_) => "ok",
            Err(Failure::Invalid(_)) => "invalid",
            Err(Failure::Forbidden) => "forbidden",
            Err(Failure::NoKeys) => "no_keys",
            Err(Failure::KeyWanted) => return,
        };
        self.tokens.get_or_create(&ResultLabel { result }).inc();
    }

    /// The key set was read, or could not be.
    pub fn fetch(&self, well: bool) {
        let result = if well { "ok" } else { "failed" };
        self.fetches.get_or_create(&ResultLabel { result }).inc();
    }
}
