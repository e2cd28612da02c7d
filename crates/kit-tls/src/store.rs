//! One piece of key material, replaced while it is in use.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kit_watch::Watcher;
use tokio::sync::{Mutex, Notify, watch};

use crate::{Leaf, LoadError};

/// How often a pair that does not fit is read again, and the pause before each.
const TORN_READS: u32 = 5;
const TORN_PAUSE: Duration = Duration::from_millis(100);

/// A configuration and the certificates that are presented with it.
#[derive(Debug)]
pub struct Material<C> {
    /// What rustls is given for each new connection.
    pub config: Arc<C>,
    /// Own certificates; empty for a client that presents none.
    pub certificates: Vec<Certificate>,
    /// How many authorities are trusted.
    pub authorities: usize,
}

/// An own certificate and where it came from.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The file.
    pub path: PathBuf,
    /// The leaf's facts.
    pub leaf: Leaf,
}

impl Certificate {
    /// `None` while the certificate is valid, else what is wrong with its dates.
    #[must_use]
    pub fn out_of_date(&self, now: SystemTime) -> Option<String> {
        if now > self.leaf.not_after {
            Some(format!("expired since {}", Utc(self.leaf.not_after)))
        } else if now < self.leaf.not_before {
            Some(format!("not valid before {}", Utc(self.leaf.not_before)))
        } else {
            None
        }
    }
}

impl Certificate {
    /// The end of its time as `2026-11-21T12:00:00Z`.
    #[must_use]
    pub fn not_after(&self) -> String {
        Utc(self.leaf.not_after).to_string()
    }
}

impl<C> Material<C> {
    /// The first certificate whose dates do not cover `now`, with what is wrong.
    #[must_use]
    pub fn out_of_date(&self, now: SystemTime) -> Option<(&Certificate, String)> {
        self.certificates.iter().find_map(|certificate| certificate.out_of_date(now).map(|state| (certificate, state)))
    }
}

/// What a change of files led to.
#[derive(Debug)]
pub enum Event<'a, C> {
    /// New connections get this now.
    Replaced(&'a Material<C>),
    /// The files cannot be used; what was in use stays in use.
    Refused(&'a LoadError),
}

type Load<C> = Box<dyn Fn() -> Result<Material<C>, LoadError> + Send + Sync>;

/// The material in use. Subscribers see each replacement.
pub struct Store<C> {
    load: Load<C>,
    paths: Vec<PathBuf>,
    /// Made before the first load: what changes between that load and [`Store::follow`] is a change too.
    watcher: Mutex<Watcher>,
    sender: watch::Sender<Arc<Material<C>>>,
}

impl<C> Store<C> {
    /// Loads for the first time. An expired certificate is taken: the caller says so and waits for a better one.
    ///
    /// # Errors
    /// Whatever `load` refuses.
    pub fn open(
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<Material<C>, LoadError> + Send + Sync + 'static,
    ) -> Result<Self, LoadError> {
        let watcher = Mutex::new(Watcher::new(paths.clone()));
        let first = load()?;
        Ok(Self { load: Box::new(load), paths, watcher, sender: watch::Sender::new(Arc::new(first)) })
    }

    /// What is in use now.
    #[must_use]
    pub fn current(&self) -> Arc<Material<C>> {
        self.sender.borrow().clone()
    }

    /// What is in use, for a reader that looks often.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Material<C>>> {
        self.sender.subscribe()
    }

    /// Reads the files again and again as they change, or when `now` is notified. Never returns; a second call waits
    /// until the first is dropped.
    pub async fn follow(&self, now: &Notify, mut told: impl FnMut(Event<'_, C>)) {
        let mut watcher = self.watcher.lock().await;
        if let Some(error) = watcher.polling_because() {
            tracing::warn!(%error, "no file events here: certificate files are looked at every 30 s");
        }
        loop {
            tokio::select! {
                _paths = watcher.changed() => {}
                () = now.notified() => {}
            }
            match self.reload().await {
                Ok(material) => told(Event::Replaced(&material)),
                Err(error) => told(Event::Refused(&error)),
            }
        }
    }

    async fn reload(&self) -> Result<Arc<Material<C>>, LoadError> {
        let mut reads = 0;
        let material = loop {
            match (self.load)() {
                Ok(material) => break material,
                Err(error) if error.may_heal() && reads < TORN_READS => reads += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(TORN_PAUSE).await;
        };
        if let Some((certificate, state)) = material.out_of_date(SystemTime::now()) {
            return Err(LoadError::OutOfDate { path: certificate.path.clone(), state });
        }
        let material = Arc::new(material);
        self.sender.send_replace(Arc::clone(&material));
        Ok(material)
    }
}

impl<C> fmt::Debug for Store<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// A time as `2026-11-21T12:00:00Z`, which is all that a log line about dates needs.
struct Utc(SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match x509_cert::der::DateTime::from_unix_duration(Duration::from_secs(seconds)) {
            Ok(time) => write!(formatter, "{time}"),
            Err(_) => write!(formatter, "{seconds} s after 1970"),
        }
    }
}
