//! All issuers whose tokens let in, and which of them judges a token.
//!
//! A token says in its claim `iss` who made it. That claim alone chooses the issuer, whose keys, algorithms, audiences and
//! rules then judge all of the token; a token that names nobody known is refused. Reading the claim before the signature is
//! checked decides nothing else: a forged name leads to keys that do not fit.

use std::rc::Rc;
use std::sync::Arc;

use kit_admin::{Admin, Condition};
use kit_run::Error;
use prometheus_client::metrics::counter::Counter;

use super::args::{JwtConfig, KeySource, Source};
use super::json::Json;
use super::keys::KeySet;
use super::token::{Invalid, Token};
use super::verifier::{Cache, Failure, Identity, Verifier};
use crate::http::metrics::Metrics;

/// Where a request can carry a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a header.
    Header(Source),
    /// In the cookie of this name.
    Cookie(String),
    /// In the parameter of this name.
    Query(String),
}

/// What is counted of one issuer.
#[derive(Debug, Clone)]
pub struct Counters {
    pub(crate) ok: Counter,
    pub(crate) invalid: Counter,
    pub(crate) forbidden: Counter,
    pub(crate) no_keys: Counter,
    pub(crate) fetched: Counter,
    pub(crate) not_fetched: Counter,
}

impl Counters {
    fn judged<T>(&self, result: &Result<T, Failure>) {
        let counter = match result {
            Ok(_) => &self.ok,
            Err(Failure::Invalid(_)) => &self.invalid,
            Err(Failure::Forbidden) => &self.forbidden,
            Err(Failure::NoKeys) => &self.no_keys,
            // It is judged again once the keys were fetched.
            Err(Failure::KeyWanted) => return,
        };
        counter.inc();
    }

    /// The key set was read, or could not be.
    pub(crate) fn fetch(&self, well: bool) {
        if well {
            self.fetched.inc()
        } else {
            self.not_fetched.inc()
        };
    }
}

/// One issuer.
#[derive(Debug)]
pub struct Issuer {
    /// What is asked of its tokens.
    pub config: JwtConfig,
    /// Judges them.
    pub verifier: Arc<Verifier>,
    /// Bit i: it takes tokens from place i.
    places: u32,
    pub(crate) counters: Counters,
    pub(crate) ready: Condition,
}

/// A token that was judged.
#[derive(Debug)]
pub struct Judged {
    /// By which issuer; None: it names nobody known.
    pub issuer: Option<usize>,
    /// Whether it lets in.
    pub result: Result<Rc<Identity>, Failure>,
}

/// All issuers; at least one.
#[derive(Debug)]
pub struct Issuers {
    all: Vec<Issuer>,
    places: Vec<Place>,
    allow_missing: bool,
}

impl Issuers {
    /// Reads keys that lie in files; keys from the network come later. Each issuer is a condition of readiness.
    ///
    /// # Errors
    /// A key file that cannot be read or used, or one issuer configured twice.
    pub fn new(configs: &[JwtConfig], admin: &Admin, metrics: &Metrics) -> Result<Issuers, Error> {
        let mut issuers = Issuers { all: Vec::new(), places: Vec::new(), allow_missing: false };
        for config in configs {
            if let Some(twice) = config.rules.issuers.iter().find(|name| issuers.named(name).is_some()) {
                return Err(Error::request(format!("the issuer {twice:?} is configured twice"))
                    .hint("give all that is asked of its tokens in one place"));
            }
            let rules = config.rules.clone();
            let verifier = Verifier::new(rules, config.algorithms.clone(), config.cooldown, config.max_stale);
            if let Some(set) = read_keys(config)? {
                verifier.replace(set);
            }
            let verifier = Arc::new(verifier);
            let places = issuers.take_places(config);
            let counters = metrics.issuer(config.issuer(), &verifier);
            let ready = admin.condition("token keys");
            issuers.allow_missing |= config.allow_missing;
            issuers.all.push(Issuer { config: config.clone(), verifier, places, counters, ready });
        }
        Ok(issuers)
    }

    fn take_places(&mut self, config: &JwtConfig) -> u32 {
        let mut bits = 0;
        let header = Some(Place::Header(config.source.clone()));
        let (cookie, query) = (config.cookie.clone().map(Place::Cookie), config.query.clone().map(Place::Query));
        for place in [header, cookie, query].into_iter().flatten() {
            let known = self.places.iter().position(|known| *known == place);
            let index = known.unwrap_or_else(|| {
                self.places.push(place);
                self.places.len() - 1
            });
            bits |= 1u32.checked_shl(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0);
        }
        bits
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Issuer] {
        &self.all
    }

    /// Where tokens are looked for.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Requests without any token pass.
    #[must_use]
    pub fn allow_missing(&self) -> bool {
        self.allow_missing
    }

    /// Some issuer's tokens reach the app.
    #[must_use]
    pub fn forwards(&self) -> bool {
        self.all.iter().any(|issuer| issuer.config.forward)
    }

    /// This target needs no token.
    #[must_use]
    pub fn skips(&self, target: &str) -> bool {
        self.all.iter().any(|issuer| issuer.config.skip_paths.iter().any(|path| path == target))
    }

    /// Memories for one thread, one for each issuer.
    #[must_use]
    pub fn caches(&self) -> Vec<Cache> {
        self.all.iter().map(|_| Cache::default()).collect()
    }

    /// Judges `token`, found at `place`, at `now` (seconds since 1970), and counts the result.
    pub fn judge(&self, caches: &mut [Cache], token: &str, place: usize, now: i64) -> Judged {
        let judged = match self.all.as_slice() {
            [one] => self.judge_by(0, one, caches, token, place, now),
            _ => self.choose(caches, token, place, now),
        };
        if let Some(issuer) = judged.issuer.and_then(|index| self.all.get(index)) {
            issuer.counters.judged(&judged.result);
        }
        judged
    }

    fn choose(&self, caches: &mut [Cache], token: &str, place: usize, now: i64) -> Judged {
        for (index, (issuer, cache)) in self.all.iter().zip(caches.iter_mut()).enumerate() {
            if issuer.takes_from(place)
                && let Some(identity) = issuer.verifier.recall(cache, token, now)
            {
                return Judged { issuer: Some(index), result: Ok(identity) };
            }
        }
        let refused = |invalid: Invalid| Judged { issuer: None, result: Err(invalid.into()) };
        let claims = match Token::parse(token).and_then(|token| token.claims()) {
            Ok(claims) => claims,
            Err(invalid) => return refused(invalid),
        };
        let name = claims.get("iss").and_then(Json::as_str);
        match name.and_then(|name| self.named(name)) {
            Some(index) => self.judge_by(index, &self.all[index], caches, token, place, now),
            None => refused(Invalid("the token is from another issuer")),
        }
    }

    fn judge_by(
        &self,
        index: usize,
        issuer: &Issuer,
        caches: &mut [Cache],
        token: &str,
        place: usize,
        now: i64,
    ) -> Judged {
        let result = match caches.get_mut(index) {
            Some(_) if !issuer.takes_from(place) => Err(Invalid("the token stands in the wrong place").into()),
            Some(cache) => issuer.verifier.check(cache, token, now),
            None => Err(Failure::NoKeys),
        };
        Judged { issuer: Some(index), result }
    }

    fn named(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|issuer| issuer.config.rules.issuers.iter().any(|known| known == name))
    }
}

impl Issuer {
    fn takes_from(&self, place: usize) -> bool {
        u32::try_from(place).is_ok_and(|place| self.places.checked_shr(place).unwrap_or(0) & 1 == 1)
    }
}

/// The keys in a file, now; None when they come from the network.
///
/// # Errors
/// The file cannot be read or used.
pub fn read_keys(config: &JwtConfig) -> Result<Option<KeySet>, Error> {
    let KeySource::File(path) = &config.keys else { return Ok(None) };
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        let hint = "check that the Secret or ConfigMap is mounted and readable";
        Error::request(format!("cannot read the key set {name}")).caused_by(error).hint(hint)
    })?;
    let set = KeySet::parse(&bytes).map_err(|error| {
        let hint = "it must be a JWKS (RFC 7517) with public keys";
        Error::request(format!("cannot use the key set {name}")).caused_by(error).hint(hint)
    })?;
    Ok(Some(set))
}

#[cfg(test)]
#[path = "issuers_tests.rs"]
mod tests;
