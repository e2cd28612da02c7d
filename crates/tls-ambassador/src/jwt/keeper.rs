//! Keeps a [`Verifier`] supplied with keys: reads them at start, when they are due, when their file changes, and when a
//! token names one that is not there.
//!
//! A set that cannot be read or used leaves the last good one in place; the next try comes with a growing pause. The
//! control thread runs this; requests only ever see a finished set.

use std::path::Path;
use std::time::Duration;

use kit_watch::Watcher;

use super::address::{Reach, Url};
use super::args::{JwtConfig, KeySource};
use super::fetch::{self, FetchError, Fetched, Rules};
use super::issuers::Issuer;
use super::json::Json;
use super::keys::{KeySet, SetError};
use super::verifier::Verifier;

const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file.
    #[error("cannot read the key set {path}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The URL.
    #[error("cannot fetch {url}")]
    Fetch {
        /// Which.
        url: Box<Url>,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// The document is not a usable set.
    #[error("cannot use the key set of {origin}")]
    Set {
        /// File or URL.
        origin: String,
        /// Why.
        #[source]
        source: SetError,
    },
    /// The discovery document does not lead to keys.
    #[error("the discovery document {url} {reason}")]
    Discovery {
        /// Which.
        url: Box<Url>,
        /// Why not.
        reason: &'static str,
    },
}

/// Reads the bytes of the newest key set.
///
/// # Errors
/// It cannot be read; whether it can be used is not looked at.
pub async fn read(config: &JwtConfig) -> Result<(String, Vec<u8>), KeysError> {
    match &config.keys {
        KeySource::File(path) => read_file(path).map(|set| (path.display().to_string(), set)),
        KeySource::Url(url) => fetched(config, url, Reach::Near).await.map(|set| (url.to_string(), set.body)),
        KeySource::Discovery(document) => {
            let (url, issuer) = discover(config, document).await?;
            // What was learnt may not lead nearer than the issuer is itself, unless the operator named its host.
            let named = config.near_hosts.iter().any(|host| host.eq_ignore_ascii_case(&url.host));
            let nearest = if named { Reach::Near } else { issuer };
            fetched(config, &url, nearest).await.map(|set| (url.to_string(), set.body))
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, KeysError> {
    std::fs::read(path).map_err(|source| KeysError::File { path: path.display().to_string(), source })
}

async fn fetched(config: &JwtConfig, url: &Url, nearest: Reach) -> Result<Fetched, KeysError> {
    let credential = match config.credential.as_deref() {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.map_err(|source| KeysError::File { path: path.display().to_string(), source })?)
        }
        None => None,
    };
    let credential = credential.as_deref().map(str::trim);
    if credential.is_some_and(|text| !text.bytes().all(|byte| byte.is_ascii_graphic())) {
        let source = FetchError::Malformed("its credential is not a token");
        return Err(KeysError::Fetch { url: Box::new(url.clone()), source });
    }
    let rules = Rules { authorities: config.authorities.as_deref(), credential, nearest };
    fetch::get(url, &rules).await.map_err(|source| KeysError::Fetch { url: Box::new(url.clone()), source })
}

/// Where the keys are, and how near the issuer was that said so.
async fn discover(config: &JwtConfig, document: &Url) -> Result<(Url, Reach), KeysError> {
    let Fetched { body: text, reach } = fetched(config, document, Reach::Near).await?;
    let wrong = |reason| KeysError::Discovery { url: Box::new(document.clone()), reason };
    let json = Json::parse(&text).map_err(|_| wrong("is not plain JSON"))?;
    let issuer = json.get("issuer").and_then(Json::as_str);
    if !issuer.is_some_and(|issuer| config.rules.issuers.iter().any(|known| known == issuer)) {
        return Err(wrong("is of another issuer"));
    }
    let url = json.get("jwks_uri").and_then(Json::as_str).ok_or(wrong("names no jwks_uri"))?;
    let url: Url = url.parse().map_err(|_| wrong("names a jwks_uri that is not a URL"))?;
    if !url.secure && document.secure {
        return Err(wrong("names a jwks_uri without https"));
    }
    Ok((url, reach))
}

/// Runs until it is dropped.
pub async fn run(issuer: &Issuer) {
    let Issuer { config, verifier, counters, ready, .. } = issuer;
    let mut watcher = match &config.keys {
        KeySource::File(path) => Some(Watcher::new(vec![path.clone()])),
        _ => None,
    };
    let mut known = Vec::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let outcome = renew(config, verifier, &mut known).await;
        counters.fetch(outcome.is_ok());
        verifier.attempted();
        let wait = match outcome {
            Ok(keys) => {
                if pause > FIRST_PAUSE || keys.is_some() {
                    tracing::info!(issuer = config.issuer(), keys = keys.unwrap_or_default(), "token keys are in use");
                }
                ready.met();
                pause = FIRST_PAUSE;
                config.refresh
            }
            Err(error) => {
                let cause = causes(&error);
                tracing::error!(error = %error, cause, kept = verifier.keys_age().is_some(), "no new token keys");
                if verifier.keys_age().is_none_or(|age| age > config.max_stale) {
                    ready.unmet(cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")));
                }
                pause = (pause * 2).min(config.cooldown.max(FIRST_PAUSE));
                pause
            }
        };
        let changed = async {
            match &mut watcher {
                Some(watcher) => drop(watcher.changed().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = verifier.wanted() => {}
            () = changed => {}
        }
    }
}

/// What is behind an error, from the nearest cause to the first one.
fn causes(error: &KeysError) -> Option<String> {
    let all = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let all: Vec<String> = all.map(ToString::to_string).collect();
    (!all.is_empty()).then(|| all.join(": "))
}

/// Some: that many keys are new.
async fn renew(config: &JwtConfig, verifier: &Verifier, known: &mut Vec<u8>) -> Result<Option<usize>, KeysError> {
    let (origin, bytes) = read(config).await?;
    if !known.is_empty() && *known == bytes {
        verifier.refresh();
        return Ok(None);
    }
    let set = KeySet::parse(&bytes).map_err(|source| KeysError::Set { origin, source })?;
    let count = set.len();
    verifier.replace(set);
    *known = bytes;
    Ok(Some(count))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_log_tells_every_cause_down_to_the_first() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let source = FetchError::Get(kit_http::GetError::Connect(super::fetch::DialError::Io(refused)));
        let error = KeysError::Fetch { url: Box::new("https://i.example/keys".parse().unwrap()), source };
        assert_eq!(causes(&error).unwrap(), "cannot reach it: connection refused");
        let lone = KeysError::Discovery { url: Box::new("https://i.example/".parse().unwrap()), reason: "is odd" };
        assert_eq!(causes(&lone), None);
    }
}
