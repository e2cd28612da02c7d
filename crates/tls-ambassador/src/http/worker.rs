//! What the connections of one thread share, and what all threads share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kit_admin::{Admin, Condition};
use kit_run::Error;

use super::buffers::Buffers;
use super::config::HttpConfig;
use super::h2_app::Channel;
use super::metrics::{Metrics, Tally};
use super::pool::Pool;
use super::timers::Timers;
use crate::jwt::args::KeySource;
use crate::jwt::keys::KeySet;
use crate::jwt::{Cache, JwtConfig, Verifier, keeper};
use crate::server::Door;
use crate::socket::Socket;

/// How long an idle connection to the app is kept.
const APP_IDLE: Duration = Duration::from_secs(30);

/// What all threads share.
#[derive(Debug)]
pub struct HttpShared {
    pub(super) config: Arc<HttpConfig>,
    pub(super) metrics: Metrics,
    pub(super) jwt: Option<(JwtConfig, Arc<Verifier>)>,
    ready: Option<Condition>,
}

impl HttpShared {
    /// Registers metrics, and readiness that depends on token keys.
    ///
    /// # Errors
    /// A key set in a file that cannot be read or used. Keys from the network may come later.
    pub fn new(config: HttpConfig, admin: &Admin) -> Result<HttpShared, Error> {
        let metrics = admin.register(Metrics::register);
        let mut ready = None;
        let mut jwt = None;
        if let Some(tokens) = config.jwt.clone() {
            let algorithms = tokens.algorithms.clone();
            let verifier = Verifier::new(tokens.rules.clone(), algorithms, tokens.cooldown, tokens.max_stale);
            if let Some(set) = check_keys(&tokens)? {
                verifier.replace(set);
            }
            ready = Some(admin.condition("token keys"));
            jwt = Some((tokens, Arc::new(verifier)));
        }
        Ok(HttpShared { config: Arc::new(config), metrics, jwt, ready })
    }

    /// Keeps token keys fresh; runs until it is dropped.
    pub async fn run(&self) {
        match (&self.jwt, &self.ready) {
            (Some((config, verifier)), Some(ready)) => keeper::run(config, verifier, &self.metrics, ready).await,
            _ => std::future::pending().await,
        }
    }
}

/// The keys in a file, now; None when they come from the network.
///
/// # Errors
/// The file cannot be read or used.
pub fn check_keys(config: &JwtConfig) -> Result<Option<KeySet>, Error> {
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

/// Connections to one door's target; a door is known by its address, since each lives as long as its thread.
#[derive(Debug)]
struct ToApp {
    door: *const Door,
    pool: Rc<Pool<Socket>>,
    channel: Rc<Channel>,
}

/// What the connections of one thread share.
#[derive(Debug)]
pub struct Http {
    pub(super) shared: Arc<HttpShared>,
    pub(super) config: Arc<HttpConfig>,
    pub(super) buffers: Buffers,
    pub(super) timers: Timers,
    pub(super) tally: Arc<Tally>,
    pub(super) tokens: RefCell<Cache>,
    apps: RefCell<Vec<ToApp>>,
    draining: Cell<bool>,
    sweeping: Cell<bool>,
}

impl Http {
    /// For one thread.
    #[must_use]
    pub fn new(shared: Arc<HttpShared>) -> Http {
        let config = Arc::clone(&shared.config);
        Http {
            buffers: Buffers::default(),
            timers: Timers::new(config.shortest()),
            tally: shared.metrics.tally(),
            tokens: RefCell::new(Cache::default()),
            apps: RefCell::new(Vec::new()),
            draining: Cell::new(false),
            sweeping: Cell::new(false),
            shared,
            config,
        }
    }

    /// Idle connections end and no response promises another one.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Idle connections to the target of `door`.
    pub(super) fn pool(&self, door: &Rc<Door>) -> Rc<Pool<Socket>> {
        self.to_app(door, |app| Rc::clone(&app.pool))
    }

    /// The HTTP/2 connection to the target of `door`.
    pub(super) fn channel(&self, door: &Rc<Door>) -> Rc<Channel> {
        self.to_app(door, |app| Rc::clone(&app.channel))
    }

    fn to_app<T>(&self, door: &Rc<Door>, pick: impl FnOnce(&ToApp) -> T) -> T {
        let door = Rc::as_ptr(door);
        let mut apps = self.apps.borrow_mut();
        let known = apps.iter().position(|app| app.door == door);
        let index = known.unwrap_or_else(|| {
            let pool = Rc::new(Pool::new(self.config.upstream_keepalive, APP_IDLE));
            apps.push(ToApp { door, pool, channel: Rc::default() });
            apps.len() - 1
        });
        pick(&apps[index])
    }

    /// Waits until token keys were fetched once more, or could not be.
    pub(super) async fn await_key(&self) {
        if let Some((_, verifier)) = &self.shared.jwt {
            verifier.await_key().await;
        }
    }

    /// Whether the caller is to run [`Http::sweep`] because nobody does.
    pub(super) fn needs_sweeper(&self) -> bool {
        !self.sweeping.replace(true)
    }

    /// Ends what is over time, while there is anything that could be.
    pub(super) async fn sweep(self: Rc<Self>, mut drain: crate::threads::Drain) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.timers.tick()) => {}
                () = drain.draining(), if !self.draining.get() => {
                    self.draining.set(true);
                    self.timers.wake_all();
                }
            }
            let now = Instant::now();
            let connections = self.timers.sweep(now);
            // Each pool has to be looked at, whatever the one before holds.
            let idle = self.apps.borrow().iter().filter(|app| app.pool.sweep(now)).count();
            if !connections && idle == 0 {
                self.sweeping.set(false);
                return;
            }
        }
    }
}
