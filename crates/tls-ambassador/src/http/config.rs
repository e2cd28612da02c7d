//! What can be typed about http mode, and what is true of it afterwards.

use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;
use kit_run::Error;
use kit_units::{duration, size};

use super::names::NameSet;
use super::rate::Rate;
use crate::args::Switch;
use crate::jwt::JwtConfig;
use crate::jwt::args::header_name;
use crate::proxy_protocol::Network;

/// Flags of `--mode http`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "HTTP (http mode)")]
pub struct HttpArgs {
    /// Time for a whole request head; a slower client gets 408; default 10s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub header_timeout: Option<Duration>,

    /// Time between two reads of a body, in either direction; default 60s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub body_timeout: Option<Duration>,

    /// Time for the app to begin its response, else 504; default 30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub upstream_timeout: Option<Duration>,

    /// Largest request head, else 431; default 64KiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_header_bytes: Option<u64>,

    /// Largest request body, else 413; no limit unless given
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_body_bytes: Option<u64>,

    /// Streams that one HTTP/2 client may have open; default 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub h2_max_streams: Option<u32>,

    /// Idle connections to the app that each thread keeps for 30s; default 64
    #[arg(long, value_name = "N")]
    pub upstream_keepalive: Option<usize>,

    /// Speak HTTP/2 to the app without TLS (h2c) for requests that come over HTTP/2, as gRPC needs; others go over HTTP/1.1
    #[arg(long)]
    pub upstream_h2c: bool,

    /// How the app is told who asks; what clients say of it is dropped unless they are a --trusted-proxy; default x-forwarded
    #[arg(long, value_name = "FORM")]
    pub forwarded: Option<Forwarded>,

    /// Tell the app of the client's certificate in X-Forwarded-Client-Cert (Envoy's form)
    #[arg(long)]
    pub xfcc: bool,

    /// Tell the app of the client's certificate in headers that begin so, e.g. X-Client-: Verify, Cn, Subject, Dns, Uri and
    /// Cert-Sha256; whatever clients send under such names is dropped
    #[arg(long, value_name = "PREFIX", value_parser = header_prefix)]
    pub identity_header_prefix: Option<String>,

    /// Answer 421 unless the host asked for is the TLS server name; default on with --cert-dir, where that name chose the certificate
    #[arg(long, value_name = "WHEN")]
    pub sni_host_check: Option<Switch>,

    /// Further tries to reach an app that refuses connections, or that ended an idle one on a request without body and with an
    /// idempotent method; default 1, at most 10
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=10))]
    pub retries: Option<u8>,

    /// Requests that one client address may make, e.g. 100/s, 600/m or 5000/h, else 429; no limit unless given
    #[arg(long, value_name = "RATE")]
    pub rate_limit: Option<Rate>,

    /// Write one line of JSON on stdout for each request: who, what, result, bytes, times; never queries, headers or tokens; default off
    #[arg(long, value_name = "FORM")]
    pub access_log: Option<AccessLogForm>,

    /// Drop this header from every request, _ and - alike, a final * for any ending; besides all that carry identities; repeatable
    #[arg(long, value_name = "NAME", value_parser = strip_name)]
    pub strip_header: Vec<String>,
}

/// How requests are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccessLogForm {
    /// Not at all
    Off,
    /// One line of JSON each
    Json,
}

/// In which headers the app is told where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Forwarded {
    /// X-Forwarded-For, -Proto, -Host and -Port
    XForwarded,
    /// Forwarded (RFC 7239)
    Rfc7239,
    /// Both forms
    Both,
    /// None
    Off,
}

/// What is true of http mode.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Time for a whole head.
    pub header_timeout: Duration,
    /// Time between two reads of a body.
    pub body_timeout: Duration,
    /// Time between two requests.
    pub idle_timeout: Duration,
    /// Time for the app's first byte.
    pub upstream_timeout: Duration,
    /// Time for a connection to the app.
    pub connect_timeout: Duration,
    /// Bytes of a head.
    pub max_header_bytes: usize,
    /// Bytes of a body.
    pub max_body_bytes: Option<u64>,
    /// HTTP/2 streams of one client.
    pub h2_max_streams: u32,
    /// Idle connections to the app, per thread.
    pub upstream_keepalive: usize,
    /// HTTP/2 requests reach the app over HTTP/2.
    pub upstream_h2c: bool,
    /// How the app is told who asks.
    pub forwarded: Forwarded,
    /// Say the client's certificate.
    pub xfcc: bool,
    /// What no client may send.
    pub strip: NameSet,
    /// What no client may send behind a body.
    pub strip_trailers: NameSet,
    /// Peers whose X-Forwarded-* are believed.
    pub trusted: Vec<Network>,
    /// The beginning of headers that tell of the client's certificate.
    pub identity_prefix: Option<String>,
    /// Further tries.
    pub retries: u8,
    /// Requests of one client.
    pub rate: Option<Rate>,
    /// Each request is told on stdout.
    pub access_log: bool,
    /// The host asked for must be the TLS server name, since that chose the certificate.
    pub check_server_name: bool,
    /// Issuers whose tokens let in; empty: tokens are no rule of access.
    pub jwt: Vec<JwtConfig>,
}

/// What http mode takes from the flags of both modes.
#[derive(Debug, Clone)]
pub struct Shared {
    /// `--idle-timeout`; None: 60s.
    pub idle_timeout: Option<Duration>,
    /// `--connect-timeout`
    pub connect_timeout: Duration,
    /// `--trusted-proxy`
    pub trusted: Vec<Network>,
    /// There is a `--cert-dir`.
    pub many_certificates: bool,
    /// Token rules, one for each issuer.
    pub jwt: Vec<JwtConfig>,
}

impl HttpArgs {
    /// The first flag that was given, for a mode that has none of them.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--header-timeout", self.header_timeout.is_some()),
            ("--body-timeout", self.body_timeout.is_some()),
            ("--upstream-timeout", self.upstream_timeout.is_some()),
            ("--max-header-bytes", self.max_header_bytes.is_some()),
            ("--max-body-bytes", self.max_body_bytes.is_some()),
            ("--h2-max-streams", self.h2_max_streams.is_some()),
            ("--upstream-keepalive", self.upstream_keepalive.is_some()),
            ("--upstream-h2c", self.upstream_h2c),
            ("--forwarded", self.forwarded.is_some()),
            ("--xfcc", self.xfcc),
            ("--identity-header-prefix", self.identity_header_prefix.is_some()),
            ("--sni-host-check", self.sni_host_check.is_some()),
            ("--retries", self.retries.is_some()),
            ("--rate-limit", self.rate_limit.is_some()),
            ("--access-log", self.access_log.is_some()),
            ("--strip-header", !self.strip_header.is_empty()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }
}

impl HttpConfig {
    /// Checks what was typed.
    ///
    /// # Errors
    /// A timeout of zero, or a head too small to hold any request.
    pub fn new(args: HttpArgs, shared: Shared) -> Result<HttpConfig, Error> {
        let HttpArgs {
            header_timeout,
            body_timeout,
            upstream_timeout,
            max_header_bytes,
            max_body_bytes,
            h2_max_streams,
            upstream_keepalive,
            upstream_h2c,
            forwarded,
            xfcc,
            identity_header_prefix,
            sni_host_check,
            retries,
            rate_limit,
            access_log,
            strip_header,
        } = args;
        let time = |flag: &str, given: Option<Duration>, default: u64| match given {
            Some(time) if time.is_zero() => {
                let error = Error::request(format!("{flag} is 0s: every request would be too slow"));
                Err(error.hint("every wait has an end here; give a long time instead, e.g. 24h"))
            }
            given => Ok(given.unwrap_or(Duration::from_secs(default))),
        };
        let max_header_bytes = max_header_bytes.unwrap_or(64 << 10);
        if !(1024..=1 << 20).contains(&max_header_bytes) {
            let error = Error::request("--max-header-bytes is not between 1KiB and 1MiB");
            return Err(error.hint("64KiB suits most apps"));
        }
        let claimed = shared.jwt.iter().flat_map(|jwt| jwt.rules.headers.iter().map(|header| header.header.as_str()));
        let prefixed = identity_header_prefix.as_ref().map(|prefix| format!("{prefix}*"));
        let names = strip_header.iter().chain(&prefixed).map(String::as_str);
        let mut strip = NameSet::identity(names.chain(claimed));
        let mut strip_trailers = strip.clone();
        // The head's is the one that the access log has.
        strip_trailers.insert("x-request-id");
        for jwt in &shared.jwt {
            // The token itself has to reach the gate, which drops it afterwards.
            strip.remove(&jwt.source.header);
            strip_trailers.insert(&jwt.source.header);
        }
        Ok(HttpConfig {
            header_timeout: time("--header-timeout", header_timeout, 10)?,
            body_timeout: time("--body-timeout", body_timeout, 60)?,
            idle_timeout: time("--idle-timeout", shared.idle_timeout, 60)?,
            upstream_timeout: time("--upstream-timeout", upstream_timeout, 30)?,
            connect_timeout: shared.connect_timeout,
            max_header_bytes: usize::try_from(max_header_bytes).unwrap_or(64 << 10),
            max_body_bytes,
            h2_max_streams: h2_max_streams.unwrap_or(100),
            upstream_keepalive: upstream_keepalive.unwrap_or(64),
            upstream_h2c,
            forwarded: forwarded.unwrap_or(Forwarded::XForwarded),
            xfcc,
            strip,
            strip_trailers,
            trusted: shared.trusted,
            identity_prefix: identity_header_prefix,
            retries: retries.unwrap_or(1),
            rate: rate_limit,
            access_log: access_log == Some(AccessLogForm::Json),
            check_server_name: sni_host_check.map_or(shared.many_certificates, |switch| switch == Switch::On),
            jwt: shared.jwt,
        })
    }

    /// Whether what `address` says of other clients is believed.
    #[must_use]
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// The shortest time that anything is given.
    #[must_use]
    pub fn shortest(&self) -> Duration {
        self.header_timeout.min(self.body_timeout).min(self.idle_timeout).min(self.upstream_timeout)
    }
}

/// One whole word at least, ended by a hyphen: everything that begins so is taken away from clients.
fn header_prefix(prefix: &str) -> Result<String, String> {
    header_name(&format!("{prefix}Cn"))?;
    if prefix.len() > "X-".len() && prefix.ends_with('-') {
        Ok(prefix.to_string())
    } else {
        Err(format!("{prefix:?} is not a prefix of header names; write it like X-Client-"))
    }
}

fn strip_name(name: &str) -> Result<String, String> {
    header_name(name.strip_suffix('*').filter(|rest| !rest.is_empty()).unwrap_or(name))?;
    Ok(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_takes_away_no_more_than_its_own_names() {
        assert_eq!(header_prefix("X-Client-").as_deref(), Ok("X-Client-"));
        for bad in ["X-", "-", "X-Client", "Content"] {
            let expected = format!("{bad:?} is not a prefix of header names; write it like X-Client-");
            assert_eq!(header_prefix(bad), Err(expected));
        }
        assert!(header_prefix("X Client-").is_err() && header_prefix("").is_err());
    }
}
