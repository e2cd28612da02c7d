//! What can be typed about tokens, and what is true of them afterwards.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use kit_run::Error;
use kit_tls::signature::Algorithm;
use kit_units::duration;

use super::address::Url;
use super::claims::{ClaimHeader, Requirement, Rules};

/// `--jwt-*`
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "JWT (http mode)")]
pub struct JwtArgs {
    /// Start from the settings of a well-known issuer; the other flags still win
    #[arg(long, value_name = "NAME")]
    pub jwt_preset: Option<Preset>,

    /// Let in requests with a token of this issuer (the claim iss, exactly)
    #[arg(long, value_name = "ISSUER")]
    pub jwt_issuer: Option<String>,

    /// The token must be for this audience (the claim aud, exactly); repeatable, one is enough
    #[arg(long, value_name = "NAME")]
    pub jwt_audience: Vec<String>,

    /// Take tokens for any audience: whoever gets a token of that issuer for anything gets in
    #[arg(long)]
    pub jwt_any_audience: bool,

    /// Fetch the issuer's public keys (JWKS) here; http only from loopback. Default: found through the issuer's discovery document
    #[arg(long, value_name = "URL")]
    pub jwt_jwks_url: Option<Url>,

    /// Read the issuer's public keys (JWKS) from this file, again whenever it changes
    #[arg(long, value_name = "FILE")]
    pub jwt_jwks_file: Option<PathBuf>,

    /// Authorities in PEM that sign the certificate of the server with the keys; default: the public ones
    #[arg(long, value_name = "FILE")]
    pub jwt_ca_file: Option<PathBuf>,

    /// Send the content of this file as bearer token when fetching keys (a Kubernetes API server wants one)
    #[arg(long, value_name = "FILE")]
    pub jwt_jwks_token_file: Option<PathBuf>,

    /// Algorithm that tokens may be signed with: RS256/384/512, PS256/384/512, ES256/384/512, EdDSA; repeatable; default RS256 and ES256
    #[arg(long, value_name = "ALG", value_parser = algorithm)]
    pub jwt_alg: Vec<Algorithm>,

    /// Header with the bare token; default: Authorization with a bearer token
    #[arg(long, value_name = "NAME", value_parser = header_name)]
    pub jwt_header: Option<String>,

    /// Take the bare token from this cookie too; a browser sends it along with requests that other sites cause
    #[arg(long, value_name = "NAME", value_parser = cookie_name)]
    pub jwt_cookie: Option<String>,

    /// Take the bare token from this parameter of the query too; addresses end up in logs, histories and Referer headers
    #[arg(long, value_name = "NAME", value_parser = query_name)]
    pub jwt_query: Option<String>,

    /// Let requests without any token in, without identity headers; a bad token is still 401
    #[arg(long)]
    pub jwt_allow_missing: bool,

    /// Let the issuer's discovery document name this host for its keys although it has a private address; repeatable
    #[arg(long, value_name = "HOST", value_parser = host_name)]
    pub jwt_allow_private_jwks: Vec<String>,

    /// By how much the issuer's clock may differ; default 30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub jwt_clock_skew: Option<Duration>,

    /// Refuse tokens that were made to live longer than this; 0s takes any
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub jwt_max_lifetime: Option<Duration>,

    /// The claim must have this value, * stands for anything, e.g. email=*@example.com; repeatable, all must hold; else 403
    #[arg(long, value_name = "CLAIM=PATTERN", value_parser = requirement)]
    pub jwt_require: Vec<Requirement>,

    /// Tell the app this claim in this header, besides sub, email, groups and preferred_username in X-Forwarded-User, -Email, -Groups and -Preferred-Username; repeatable
    #[arg(long, value_name = "CLAIM=HEADER", value_parser = claim_header)]
    pub jwt_claim_header: Vec<ClaimHeader>,

    /// Pass the token on to the app
    #[arg(long)]
    pub jwt_forward: bool,

    /// Let requests for exactly this target in without a token, e.g. /healthz; repeatable
    #[arg(long, value_name = "PATH", value_parser = skip_path)]
    pub jwt_skip_path: Vec<String>,

    /// Fetch the keys again after this time; default 10m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub jwt_refresh: Option<Duration>,

    /// Shortest time between two fetches that tokens with unknown keys cause; default 30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub jwt_cooldown: Option<Duration>,

    /// Use the last good keys for this long when no new ones can be fetched; default 24h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub jwt_max_stale: Option<Duration>,
}

/// A well-known issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Google's Identity-Aware Proxy
    Iap,
    /// Google accounts and service accounts
    Google,
    /// Service account tokens of this cluster
    K8sSa,
}

/// Where the token stands in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The header's name in lower case.
    pub header: String,
    /// `Bearer TOKEN` and not the bare token.
    pub bearer: bool,
}

/// Where the keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// This file.
    File(PathBuf),
    /// This URL, which the operator wrote.
    Url(Url),
    /// The `jwks_uri` of the discovery document of this issuer.
    Discovery(Url),
}

/// What is true of tokens.
#[derive(Debug, Clone)]
pub struct JwtConfig {
    /// What claims must say.
    pub rules: Rules,
    /// What tokens may be signed with; at least one.
    pub algorithms: Vec<Algorithm>,
    /// Where keys come from.
    pub keys: KeySource,
    /// Authorities of the keys' server; None: the public ones.
    pub authorities: Option<PathBuf>,
    /// A file with a credential for the keys' server.
    pub credential: Option<PathBuf>,
    /// Where the token is looked for.
    pub source: Source,
    /// Also this cookie.
    pub cookie: Option<String>,
    /// Also this parameter of the query.
    pub query: Option<String>,
    /// Requests without a token pass.
    pub allow_missing: bool,
    /// Hosts of keys that may have an address which is nearer than the issuer's.
    pub near_hosts: Vec<String>,
    /// Leave the token in the request.
    pub forward: bool,
    /// Targets that need no token, exactly.
    pub skip_paths: Vec<String>,
    /// Pause between two fetches.
    pub refresh: Duration,
    /// Least pause between two fetches that tokens cause.
    pub cooldown: Duration,
    /// How long the last good keys are used.
    pub max_stale: Duration,
}

impl JwtConfig {
    /// The issuer as people know it: the first spelling.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.rules.issuers.first().map_or("", String::as_str)
    }

    /// Files that are read while serving.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let set = if let KeySource::File(path) = &self.keys { Some(path) } else { None };
        [set, self.authorities.as_ref(), self.credential.as_ref()].into_iter().flatten().cloned().collect()
    }
}

struct Defaults {
    issuers: &'static [&'static str],
    keys: Option<&'static str>,
    algorithms: &'static [Algorithm],
    header: Option<&'static str>,
    max_lifetime: Option<u64>,
    authorities: Option<&'static str>,
    credential: Option<&'static str>,
}

fn defaults(preset: Option<Preset>) -> Defaults {
    let none = Defaults {
        issuers: &[],
        keys: None,
        algorithms: &[Algorithm::Rs256, Algorithm::Es256],
        header: None,
        max_lifetime: None,
        authorities: None,
        credential: None,
    };
    match preset {
        None => none,
        // https://cloud.google.com/iap/docs/signed-headers-howto
        Some(Preset::Iap) => Defaults {
            issuers: &["https://cloud.google.com/iap"],
            keys: Some("https://www.gstatic.com/iap/verify/public_key-jwk"),
            algorithms: &[Algorithm::Es256],
            header: Some("x-goog-iap-jwt-assertion"),
            max_lifetime: Some(600),
            ..none
        },
        // https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken
        Some(Preset::Google) => Defaults {
            issuers: &["https://accounts.google.com", "accounts.google.com"],
            keys: Some("https://www.googleapis.com/oauth2/v3/certs"),
            algorithms: &[Algorithm::Rs256],
            ..none
        },
        // https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery
        Some(Preset::K8sSa) => Defaults {
            issuers: &["https://kubernetes.default.svc.cluster.local"],
            keys: Some("https://kubernetes.default.svc/openid/v1/jwks"),
            authorities: Some("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"),
            credential: Some("/var/run/secrets/kubernetes.io/serviceaccount/token"),
            ..none
        },
    }
}

/// More is no difference between clocks any more.
const MOST_SKEW: Duration = Duration::from_secs(3600);

const CLAIM_HEADERS: [(&str, &str); 4] = [
    ("sub", "X-Forwarded-User"),
    ("email", "X-Forwarded-Email"),
    ("groups", "X-Forwarded-Groups"),
    ("preferred_username", "X-Forwarded-Preferred-Username"),
];

impl JwtArgs {
    /// The first flag that was given, for a mode that has no tokens.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--jwt-preset", self.jwt_preset.is_some()),
            ("--jwt-issuer", self.jwt_issuer.is_some()),
            ("--jwt-audience", !self.jwt_audience.is_empty()),
            ("--jwt-any-audience", self.jwt_any_audience),
            ("--jwt-jwks-url", self.jwt_jwks_url.is_some()),
            ("--jwt-jwks-file", self.jwt_jwks_file.is_some()),
            ("--jwt-ca-file", self.jwt_ca_file.is_some()),
            ("--jwt-jwks-token-file", self.jwt_jwks_token_file.is_some()),
            ("--jwt-alg", !self.jwt_alg.is_empty()),
            ("--jwt-header", self.jwt_header.is_some()),
            ("--jwt-cookie", self.jwt_cookie.is_some()),
            ("--jwt-query", self.jwt_query.is_some()),
            ("--jwt-allow-missing", self.jwt_allow_missing),
            ("--jwt-allow-private-jwks", !self.jwt_allow_private_jwks.is_empty()),
            ("--jwt-clock-skew", self.jwt_clock_skew.is_some()),
            ("--jwt-max-lifetime", self.jwt_max_lifetime.is_some()),
            ("--jwt-require", !self.jwt_require.is_empty()),
            ("--jwt-claim-header", !self.jwt_claim_header.is_empty()),
            ("--jwt-forward", self.jwt_forward),
            ("--jwt-skip-path", !self.jwt_skip_path.is_empty()),
            ("--jwt-refresh", self.jwt_refresh.is_some()),
            ("--jwt-cooldown", self.jwt_cooldown.is_some()),
            ("--jwt-max-stale", self.jwt_max_stale.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }
}

impl JwtConfig {
    /// None when no flag asks for tokens.
    ///
    /// # Errors
    /// Flags that contradict each other or leave out what has no safe default.
    pub fn from_args(args: JwtArgs) -> Result<Option<JwtConfig>, Error> {
        let Some(first) = args.first_given() else { return Ok(None) };
        let defaults = defaults(args.jwt_preset);
        let issuers: Vec<String> = match args.jwt_issuer {
            Some(issuer) => vec![issuer],
            None => defaults.issuers.iter().map(ToString::to_string).collect(),
        };
        if issuers.is_empty() {
            return Err(Error::request(format!("{first} needs an issuer")).hint("give --jwt-issuer or --jwt-preset"));
        }
        if args.jwt_audience.is_empty() != args.jwt_any_audience {
            let hint =
                "give --jwt-audience with the name that tokens for this app carry, or --jwt-any-audience on purpose";
            return Err(Error::request("tokens need either --jwt-audience or --jwt-any-audience").hint(hint));
        }
        let keys = keys_of(args.jwt_jwks_file, args.jwt_jwks_url, defaults.keys, &issuers)?;
        if !args.jwt_allow_private_jwks.is_empty() && !matches!(keys, KeySource::Discovery(_)) {
            let error = Error::request("--jwt-allow-private-jwks is about keys that are found by discovery");
            return Err(error.hint("an address that you write yourself may be anywhere; take the flag away"));
        }
        let skew = args.jwt_clock_skew.unwrap_or(Duration::from_secs(30));
        if skew > MOST_SKEW {
            return Err(Error::request("--jwt-clock-skew is longer than 1h").hint("expired tokens would live on"));
        }
        let max_lifetime = args.jwt_max_lifetime.or(defaults.max_lifetime.map(Duration::from_secs));
        let cooldown = args.jwt_cooldown.unwrap_or(Duration::from_secs(30));
        let refresh = args.jwt_refresh.unwrap_or(Duration::from_secs(600));
        for (flag, time) in [("--jwt-cooldown", cooldown), ("--jwt-refresh", refresh)] {
            if time < Duration::from_secs(1) {
                return Err(Error::request(format!("{flag} is shorter than 1s"))
                    .hint("the issuer should not be asked more often"));
            }
        }
        Ok(Some(JwtConfig {
            rules: Rules {
                issuers,
                audiences: args.jwt_audience,
                leeway: seconds(skew),
                max_lifetime: max_lifetime.filter(|longest| !longest.is_zero()).map(seconds),
                required: args.jwt_require,
                headers: claim_headers(args.jwt_claim_header),
            },
            algorithms: if args.jwt_alg.is_empty() { defaults.algorithms.to_vec() } else { args.jwt_alg },
            keys,
            authorities: args.jwt_ca_file.or(defaults.authorities.map(PathBuf::from)),
            credential: args.jwt_jwks_token_file.or(defaults.credential.map(PathBuf::from)),
            source: match args.jwt_header.map(|name| name.to_ascii_lowercase()).or(defaults.header.map(str::to_string))
            {
                Some(header) => Source { bearer: header == "authorization", header },
                None => Source { header: "authorization".to_string(), bearer: true },
            },
            cookie: args.jwt_cookie,
            query: args.jwt_query,
            allow_missing: args.jwt_allow_missing,
            near_hosts: args.jwt_allow_private_jwks,
            forward: args.jwt_forward,
            skip_paths: args.jwt_skip_path,
            refresh,
            cooldown,
            max_stale: args.jwt_max_stale.unwrap_or(Duration::from_secs(24 * 3600)),
        }))
    }
}

/// Where the keys are: as typed, as the preset has it, or as the issuer says.
fn keys_of(
    file: Option<PathBuf>,
    url: Option<Url>,
    default: Option<&str>,
    issuers: &[String],
) -> Result<KeySource, Error> {
    Ok(match (file, url, default) {
        (Some(_), Some(_), _) => {
            let error = Error::request("--jwt-jwks-file and --jwt-jwks-url exclude each other");
            return Err(error.hint("keys come from one place; drop one of them"));
        }
        (Some(file), None, _) => KeySource::File(file),
        (None, Some(url), _) => KeySource::Url(url),
        (None, None, Some(url)) => {
            KeySource::Url(url.parse().map_err(|error: kit_http::NotAUrl| Error::request(error.to_string()))?)
        }
        (None, None, None) => KeySource::Discovery(discovery_of(&issuers[0])?),
    })
}

fn discovery_of(issuer: &str) -> Result<Url, Error> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    url.parse().map_err(|_| {
        Error::request(format!("the issuer {issuer:?} is not a URL that leads to its keys"))
            .hint("give --jwt-jwks-url or --jwt-jwks-file")
    })
}

/// The usual ones, unless a given one takes their header.
fn claim_headers(given: Vec<ClaimHeader>) -> Vec<ClaimHeader> {
    let usual = CLAIM_HEADERS
        .into_iter()
        .filter(|(_, header)| !given.iter().any(|given| given.header.eq_ignore_ascii_case(header)))
        .map(|(claim, header)| ClaimHeader { claim: claim.to_string(), header: header.to_string() });
    let mut headers: Vec<ClaimHeader> = usual.collect();
    headers.extend(given);
    headers
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 4)
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
        format!("{name:?} is not one of {}", names.join(", "))
    })
}

/// A header name that a flag may carry.
///
/// # Errors
/// Not a token, or a name that frames the message.
pub fn header_name(name: &str) -> Result<String, String> {
    use crate::http::names::{Class, classify, is_token};
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("{name:?} is not a header name"));
    }
    match classify(name.as_bytes()) {
        Class::Other | Class::Forwarding => Ok(name.to_string()),
        _ => Err(format!("{name:?} belongs to HTTP itself")),
    }
}

fn cookie_name(name: &str) -> Result<String, String> {
    if !name.is_empty() && name.bytes().all(crate::http::names::is_token) {
        Ok(name.to_string())
    } else {
        Err(format!("{name:?} is not a cookie's name"))
    }
}

/// Only what nobody writes in two ways: no percent signs, no plus.
fn query_name(name: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !name.is_empty() && name.bytes().all(plain) {
        Ok(name.to_string())
    } else {
        Err(format!("{name:?} is not a plain parameter name; use letters, digits and - . _ ~"))
    }
}

fn host_name(name: &str) -> Result<String, String> {
    let bracketless = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_address = bracketless.parse::<std::net::IpAddr>().is_ok();
    if is_address || crate::http::authority::host(name.as_bytes()) == Some(name) {
        Ok(bracketless.to_ascii_lowercase())
    } else {
        Err(format!("{name:?} is not a host; write it without scheme, port and path"))
    }
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let (claim, pattern) = pair(text, "CLAIM=PATTERN, e.g. email=*@example.com")?;
    Ok(Requirement { claim, pattern })
}

fn claim_header(text: &str) -> Result<ClaimHeader, String> {
    let (claim, header) = pair(text, "CLAIM=HEADER, e.g. tenant=X-Tenant")?;
    Ok(ClaimHeader { claim, header: header_name(&header)? })
}

fn pair(text: &str, form: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err(format!("write {form}")),
    }
}

fn skip_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && crate::http::request::check_path(text).is_ok() {
        Ok(text.to_string())
    } else {
        Err("a path begins with / and has no spaces or fragment".to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn args() -> JwtArgs {
        JwtArgs { jwt_issuer: Some("https://issuer".into()), jwt_audience: vec!["us".into()], ..JwtArgs::default() }
    }

    fn refused(args: JwtArgs) -> String {
        JwtConfig::from_args(args).unwrap_err().to_string()
    }

    #[test]
    fn no_flag_means_no_tokens_and_half_a_rule_is_refused() {
        assert!(JwtConfig::from_args(JwtArgs::default()).unwrap().is_none());
        assert_eq!(
            refused(JwtArgs { jwt_audience: Vec::new(), ..args() }),
            "tokens need either --jwt-audience or --jwt-any-audience"
        );
        assert_eq!(
            refused(JwtArgs { jwt_any_audience: true, ..args() }),
            "tokens need either --jwt-audience or --jwt-any-audience"
        );
        assert_eq!(refused(JwtArgs { jwt_issuer: None, ..args() }), "--jwt-audience needs an issuer");
        assert_eq!(
            refused(JwtArgs { jwt_issuer: Some("me".into()), ..args() }),
            "the issuer \"me\" is not a URL that leads to its keys"
        );
    }

    #[test]
    fn keys_are_discovered_unless_said_otherwise() {
        let config = JwtConfig::from_args(args()).unwrap().unwrap();
        let url = "https://issuer/.well-known/openid-configuration".parse().unwrap();
        assert_eq!(config.keys, KeySource::Discovery(url));
        assert_eq!(config.algorithms, [Algorithm::Rs256, Algorithm::Es256]);
    }

    #[test]
    fn j31_the_iap_preset_is_what_its_documentation_says() {
        let audience = vec!["/projects/1/apps/a".to_string()];
        let args = JwtArgs { jwt_preset: Some(Preset::Iap), jwt_audience: audience, ..JwtArgs::default() };
        let config = JwtConfig::from_args(args).unwrap().unwrap();
        assert_eq!(config.rules.issuers, ["https://cloud.google.com/iap"]);
        assert_eq!(config.algorithms, [Algorithm::Es256]);
        assert_eq!(config.source, Source { header: "x-goog-iap-jwt-assertion".into(), bearer: false });
        assert_eq!((config.rules.leeway, config.rules.max_lifetime), (30, Some(600)));
    }

    #[test]
    fn names_that_could_be_read_in_two_ways_are_refused() {
        assert!(query_name("token").is_ok() && query_name("a%20b").is_err() && query_name("").is_err());
        assert!(cookie_name("__Host-token").is_ok() && cookie_name("a b").is_err() && cookie_name("a=b").is_err());
        for (given, host) in [("Keys.Example", "keys.example"), ("10.0.0.1", "10.0.0.1"), ("[::1]", "::1")] {
            assert_eq!(host_name(given).as_deref(), Ok(host));
        }
        for bad in ["https://keys.example", "keys.example:443", "keys.example/jwks", ""] {
            assert_eq!(
                host_name(bad).unwrap_err(),
                format!("{bad:?} is not a host; write it without scheme, port and path")
            );
        }
    }

    #[test]
    fn times_and_hosts_that_mean_something_else_are_refused() {
        let skew = Some(Duration::from_secs(7200));
        assert_eq!(refused(JwtArgs { jwt_clock_skew: skew, ..args() }), "--jwt-clock-skew is longer than 1h");
        let keys = Some("keys.json".into());
        assert_eq!(
            refused(JwtArgs { jwt_allow_private_jwks: vec!["k.example".into()], jwt_jwks_file: keys, ..args() }),
            "--jwt-allow-private-jwks is about keys that are found by discovery"
        );
        let unlimited = JwtArgs { jwt_max_lifetime: Some(Duration::ZERO), ..args() };
        assert_eq!(JwtConfig::from_args(unlimited).unwrap().unwrap().rules.max_lifetime, None);
    }

    #[test]
    fn names_that_frame_a_message_cannot_carry_claims() {
        assert!(claim_header("a=Content-Length").is_err());
        assert!(claim_header("a=content_length").is_err());
        assert!(claim_header("a=X A").is_err());
        assert!(claim_header("=X").is_err());
        assert_eq!(claim_header("a=X-A").unwrap(), ClaimHeader { claim: "a".into(), header: "X-A".into() });
    }
}
