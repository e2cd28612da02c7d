//! What is counted of requests and tokens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::jwt::Verifier;
use crate::jwt::issuers::Counters;

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct RequestLabels {
    code: u16,
    method: &'static str,
    protocol: &'static str,
}

/// Issuers come from flags, results from here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    issuer: String,
    result: &'static str,
}

/// Upper bounds in seconds; what is above them all is in `+Inf`.
const BOUNDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Default)]
struct Counts {
    /// Few, so that a search from the front is the fastest map.
    requests: Vec<(RequestLabels, u64)>,
    /// How many fell below each bound and not below the one before it; the last is above all.
    seconds: [u64; BOUNDS.len() + 1],
    sum: f64,
}

/// What one thread has counted. Its lock is taken by that thread and by scrapes only, so that threads do not wait for one
/// another with every request.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Counts>);

impl Tally {
    /// One request was answered with `code` after `took`.
    pub fn request(&self, method: Method, protocol: &'static str, code: u16, took: Duration) {
        let took = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| took <= *bound).unwrap_or(BOUNDS.len());
        let labels = RequestLabels { code, method: method.label(), protocol };
        let mut counts = self.counts();
        counts.seconds[bucket] += 1;
        counts.sum += took;
        match counts.requests.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, count)) => *count += 1,
            None => counts.requests.push((labels, 1)),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counting cannot panic half-way in a way that matters.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sums of all threads, made when somebody asks.
#[derive(Debug, Default, Clone)]
struct Tallies(Arc<Mutex<Vec<Arc<Tally>>>>);

impl Tallies {
    fn all(&self) -> MutexGuard<'_, Vec<Arc<Tally>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Tallies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut requests: BTreeMap<RequestLabels, u64> = BTreeMap::new();
        let (mut seconds, mut sum) = ([0; BOUNDS.len() + 1], 0.0);
        for tally in self.all().iter() {
            let counts = tally.counts();
            for (labels, count) in &counts.requests {
                *requests.entry(labels.clone()).or_default() += count;
            }
            seconds.iter_mut().zip(counts.seconds).for_each(|(all, one)| *all += one);
            sum += counts.sum;
        }
        let help = "Requests answered, by status; status 0 is a response that broke off before its head.";
        let mut family = encoder.encode_descriptor("tls_ambassador_http_requests", help, None, MetricType::Counter)?;
        for (labels, count) in &requests {
            family.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(count, None)?;
        }
        let help = "From the whole head of a request to the end of its response.";
        let name = "tls_ambassador_http_request_seconds";
        let mut histogram = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let buckets: Vec<(f64, u64)> = BOUNDS.into_iter().chain([f64::INFINITY]).zip(seconds).collect();
        histogram.encode_histogram::<NoLabelSet>(sum, seconds.iter().sum(), &buckets, None)
    }
}

/// Who has keys, by issuer.
type Holders = Vec<(String, Arc<Verifier>)>;

/// Ages of the key sets in use, computed when somebody asks.
#[derive(Debug, Default, Clone)]
struct Ages(Arc<Mutex<Holders>>);

impl Collector for Ages {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let verifiers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ages: Vec<(&str, f64)> = verifiers
            .iter()
            .filter_map(|(issuer, verifier)| Some((issuer.as_str(), verifier.keys_age()?.as_secs_f64())))
            .collect();
        if ages.is_empty() {
            return Ok(());
        }
        let help = "Seconds since the key set in use was last read.";
        let mut family = encoder.encode_descriptor("tls_ambassador_jwks_age_seconds", help, None, MetricType::Gauge)?;
        for (issuer, age) in ages {
            family.encode_family(&[("issuer", issuer)])?.encode_gauge(&age)?;
        }
        Ok(())
    }
}

/// Counters of the http door.
#[derive(Debug)]
pub struct Metrics {
    tallies: Tallies,
    tokens: Family<IssuerLabels, Counter>,
    fetches: Family<IssuerLabels, Counter>,
    ages: Ages,
    /// Lines of the access log that found no room.
    pub(super) lost_lines: Counter,
    /// Requests without a token where one was needed or allowed.
    pub(super) no_token: Counter,
    /// Tokens that name no known issuer, and what is no token at all.
    pub(super) nobodys_token: Counter,
}

impl Metrics {
    /// Counters at zero, shown by `registry`.
    pub fn register(registry: &mut Registry) -> Metrics {
        let tokens = Family::<IssuerLabels, Counter>::default();
        let of_nobody = |result| tokens.get_or_create_owned(&IssuerLabels { issuer: String::new(), result });
        let metrics = Metrics {
            no_token: of_nobody("missing"),
            nobodys_token: of_nobody("invalid"),
            lost_lines: Counter::default(),
            tallies: Tallies::default(),
            fetches: Family::default(),
            ages: Ages::default(),
            tokens,
        };
        registry.register_collector(Box::new(metrics.tallies.clone()));
        registry.register_collector(Box::new(metrics.ages.clone()));
        registry.register("tls_ambassador_jwt", "Tokens judged, by issuer and result", metrics.tokens.clone());
        let help = "Lines of the access log that stdout had no room for";
        registry.register("tls_ambassador_access_log_dropped", help, metrics.lost_lines.clone());
        let help = "Readings of a key set, by issuer and result";
        registry.register("tls_ambassador_jwks_fetch", help, metrics.fetches.clone());
        metrics
    }

    /// Everything that is counted of one issuer.
    pub fn issuer(&self, name: &str, verifier: &Arc<Verifier>) -> Counters {
        self.ages.0.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_string(), Arc::clone(verifier)));
        let token = |result| self.tokens.get_or_create_owned(&IssuerLabels { issuer: name.to_string(), result });
        let fetch = |result| self.fetches.get_or_create_owned(&IssuerLabels { issuer: name.to_string(), result });
        Counters {
            ok: token("ok"),
            invalid: token("invalid"),
            forbidden: token("forbidden"),
            no_keys: token("no_keys"),
            fetched: fetch("ok"),
            not_fetched: fetch("failed"),
        }
    }

    /// For one more thread.
    pub fn tally(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        self.tallies.all().push(Arc::clone(&tally));
        tally
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_scrape_shows_the_sum_of_all_threads() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (one, other) = (metrics.tally(), metrics.tally());
        one.request(Method::Get, "1", 200, Duration::from_millis(1));
        other.request(Method::Get, "1", 200, Duration::from_millis(2));
        other.request(Method::Post, "2", 502, Duration::from_secs(20));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"tls_ambassador_http_requests_total{code="200",method="GET",protocol="1"} 2"#,
            r#"tls_ambassador_http_requests_total{code="502",method="POST",protocol="2"} 1"#,
            r#"tls_ambassador_http_request_seconds_bucket{le="0.001"} 1"#,
            r#"tls_ambassador_http_request_seconds_bucket{le="0.0025"} 2"#,
            r#"tls_ambassador_http_request_seconds_bucket{le="10.0"} 2"#,
            r#"tls_ambassador_http_request_seconds_bucket{le="+Inf"} 3"#,
            "tls_ambassador_http_request_seconds_count 3",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
        }
    }
}
