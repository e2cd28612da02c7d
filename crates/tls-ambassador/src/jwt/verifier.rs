//! Whether a token lets a request in, and who its owner is.
//!
//! A [`Verifier`] is shared by all threads; it holds the newest good key set. Each thread has a [`Cache`] of tokens that
//! were found good, so that an unchanged token costs one look-up: the signature would cost more than the request.
//! A cached answer ends with the token's expiry, and all end when the key set changes.
//!
//! A token that names an unknown key asks for one fetch of the set ([`Verifier::await_key`]), at most one per
//! cool-down however many such tokens come; between two fetches the key is simply unknown.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use kit_tls::signature::Algorithm;
use tokio::sync::{Notify, watch};

use super::claims::{Rejected, Rules};
use super::keys::{Choice, KeySet};
use super::token::{Invalid, Token};

/// Tokens that one thread remembers. When they are more, all are forgotten and the ones in use come back.
const REMEMBERED: usize = 1024;
/// How long a request waits for the keys to be fetched.
const WAIT: Duration = Duration::from_secs(10);

/// What the app is told of a token's owner.
#[derive(Debug)]
pub struct Identity {
    /// Header lines, each ended by CRLF.
    pub lines: Vec<u8>,
    /// Who it is, for the access log: the claim `sub` if it is plain text.
    pub subject: Option<Box<str>>,
}

/// Why a token does not let a request in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// 401.
    Invalid(Invalid),
    /// 403: the token is good, its claims do not suffice.
    Forbidden,
    /// 503: no key set was ever read, or the last one is too old.
    NoKeys,
    /// The set does not have the key that the token names; it may be fetched once more now.
    KeyWanted,
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Failure {
        Failure::Invalid(invalid)
    }
}

/// Tokens found good by one thread.
#[derive(Debug, Default)]
pub struct Cache {
    generation: u64,
    good: HashMap<Box<str>, (i64, Rc<Identity>)>,
}

struct Keys {
    set: Option<Arc<KeySet>>,
    fetched: Instant,
}

/// The fetch that a token asked for last.
#[derive(Default)]
struct Asked {
    at: Option<Instant>,
    under_way: bool,
}

/// Judges tokens.
pub struct Verifier {
    rules: Rules,
    algorithms: Vec<Algorithm>,
    cooldown: Duration,
    max_stale: Duration,
    keys: RwLock<Keys>,
    generation: AtomicU64,
    asked: Mutex<Asked>,
    wanted: Notify,
    attempts: watch::Sender<u64>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Verifier").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier without keys: it knows nobody until [`Verifier::replace`].
    pub fn new(rules: Rules, algorithms: Vec<Algorithm>, cooldown: Duration, max_stale: Duration) -> Verifier {
        Verifier {
            rules,
            algorithms,
            cooldown,
            max_stale,
            keys: RwLock::new(Keys { set: None, fetched: Instant::now() }),
            generation: AtomicU64::new(0),
            asked: Mutex::new(Asked::default()),
            wanted: Notify::new(),
            attempts: watch::Sender::new(0),
        }
    }

    /// Judges `token` at `now`, seconds since 1970.
    ///
    /// # Errors
    /// What to answer, or that the key has to be waited for.
    pub fn check(&self, cache: &mut Cache, token: &str, now: i64) -> Result<Rc<Identity>, Failure> {
        if let Some(identity) = self.recall(cache, token, now) {
            return Ok(identity);
        }
        let (end, identity) = self.verify(token, now)?;
        let identity = Rc::new(identity);
        if cache.good.len() >= REMEMBERED {
            cache.good.clear();
        }
        cache.good.insert(token.into(), (end, Rc::clone(&identity)));
        Ok(identity)
    }

    /// Whose token it is, if this thread found it good before and it still is.
    pub fn recall(&self, cache: &mut Cache, token: &str, now: i64) -> Option<Rc<Identity>> {
        let generation = self.generation.load(Ordering::Acquire);
        if cache.generation != generation {
            cache.generation = generation;
            cache.good.clear();
        }
        let (end, identity) = cache.good.get(token)?;
        (now < *end && !self.keys_are_stale()).then(|| Rc::clone(identity))
    }

    fn verify(&self, text: &str, now: i64) -> Result<(i64, Identity), Failure> {
        let token = Token::parse(text)?;
        if !self.algorithms.contains(&token.algorithm) {
            return Err(Invalid("the algorithm is not allowed").into());
        }
        let set = self.current().ok_or(Failure::NoKeys)?;
        let key = match set.choose(token.algorithm, token.key_id.as_deref()) {
            Choice::Key(key) => key,
            Choice::None => return Err(Invalid("no key fits the token").into()),
            Choice::Unknown if self.may_ask() => return Err(Failure::KeyWanted),
            Choice::Unknown => return Err(Invalid("the token's key is unknown").into()),
        };
        if !key.verify(token.algorithm, token.message, &token.signature) {
            return Err(Invalid("the signature is wrong").into());
        }
        let claims = token.claims()?;
        let end = self.rules.judge(&claims, now).map_err(|rejected| match rejected {
            Rejected::Invalid(invalid) => Failure::Invalid(invalid),
            Rejected::Forbidden => Failure::Forbidden,
        })?;
        Ok((end, Identity { lines: self.rules.lines(&claims), subject: self.rules.subject(&claims) }))
    }

    /// Names of the headers that claims are turned into: clients may not send them.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.rules.headers.iter().map(|header| header.header.as_str())
    }

    fn current(&self) -> Option<Arc<KeySet>> {
        if self.keys_are_stale() {
            return None;
        }
        self.keys.read().unwrap_or_else(PoisonError::into_inner).set.clone()
    }

    fn keys_are_stale(&self) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.set.is_none() || keys.fetched.elapsed() > self.max_stale
    }

    fn may_ask(&self) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.under_way || self.is_cool(&asked)
    }

    fn is_cool(&self, asked: &Asked) -> bool {
        asked.at.is_none_or(|at| at.elapsed() >= self.cooldown)
    }

    /// Waits until the set was fetched once more, or could not be. Of all that wait, one asks.
    pub async fn await_key(&self) {
        let mut attempts = self.attempts.subscribe();
        attempts.mark_unchanged();
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if !asked.under_way {
                // Between the look at the set and now the fetch may have ended: then its outcome is the answer.
                if !self.is_cool(&asked) {
                    return;
                }
                *asked = Asked { at: Some(Instant::now()), under_way: true };
                self.wanted.notify_one();
            }
        }
        let _too_late = tokio::time::timeout(WAIT, attempts.changed()).await;
    }

    /// Completes when a token asked for a fetch.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Takes a new set into use.
    pub fn replace(&self, set: KeySet) {
        {
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            keys.set = Some(Arc::new(set));
            keys.fetched = Instant::now();
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The set was read again and says what it said: it is fresh, and what was found good stays so.
    pub fn refresh(&self) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).fetched = Instant::now();
    }

    /// Tells those who wait that a fetch is over, well or not.
    pub fn attempted(&self) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).under_way = false;
        self.attempts.send_modify(|count| *count += 1);
    }

    /// Seconds since the set in use was read; None without one.
    pub fn keys_age(&self) -> Option<Duration> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.set.as_ref().map(|_| keys.fetched.elapsed())
    }
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
