//! What the connections of one thread share, and what all threads share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use kit_admin::Admin;
use kit_run::Error;

use super::access_log::{AccessLog, Ending, Entry, LogWriter};
use super::buffers::Buffers;
use super::caller::Caller;
use super::config::HttpConfig;
use super::h2_app::Channel;
use super::metrics::{Method, Metrics, Tally};
use super::pool::Pool;
use super::rate::Limiter;
use super::request::Request;
use super::timers::Timers;
use crate::jwt::{Cache, Issuers, keeper};
use crate::server::Door;
use crate::session::Traffic;
use crate::socket::Socket;

/// How long an idle connection to the app is kept.
const APP_IDLE: Duration = Duration::from_secs(30);

/// What all threads share.
#[derive(Debug)]
pub struct HttpShared {
    pub(super) config: Arc<HttpConfig>,
    pub(super) metrics: Metrics,
    /// None: tokens are no rule of access.
    pub(super) issuers: Option<Issuers>,
    pub(super) limiter: Option<Limiter>,
    pub(super) log: Option<Arc<AccessLog>>,
}

impl HttpShared {
    /// Registers metrics, and readiness that depends on token keys.
    ///
    /// # Errors
    /// A key set in a file that cannot be read or used, or an issuer configured twice. Keys from the network may come
    /// later.
    pub fn new(config: HttpConfig, admin: &Admin) -> Result<HttpShared, Error> {
        let metrics = admin.register(Metrics::register);
        let issuers = if config.jwt.is_empty() { None } else { Some(Issuers::new(&config.jwt, admin, &metrics)?) };
        let limiter = config.rate.map(Limiter::new);
        let log = config.access_log.then(|| Arc::new(AccessLog::new(metrics.lost_lines.clone())));
        Ok(HttpShared { config: Arc::new(config), metrics, issuers, limiter, log })
    }

    /// Writes the access log, where there is one, until what is returned is dropped.
    ///
    /// # Errors
    /// Exit code 1 when stdout was closed at the start or the system has no thread left.
    pub fn start_log(&self) -> Result<Option<LogWriter>, Error> {
        let Some(log) = &self.log else { return Ok(None) };
        let started = log.start(kit_run::stdout("tls-ambassador")?);
        started.map(Some).map_err(|error| Error::failed("cannot write the access log").caused_by(error))
    }

    /// Keeps token keys fresh; runs until it is dropped.
    pub async fn run(&self) {
        let issuers = self.issuers.iter().flat_map(Issuers::all);
        let mut keepers: Vec<_> = issuers.map(|issuer| Box::pin(keeper::run(issuer))).collect();
        // None of them ends, and they are few: each is polled when any of them was woken.
        std::future::poll_fn(|cx| {
            for keeper in &mut keepers {
                let _pending = keeper.as_mut().poll(cx);
            }
            Poll::Pending
        })
        .await
    }
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
    pub(super) traffic: Rc<Traffic>,
    pub(super) tokens: RefCell<Vec<Cache>>,
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
            traffic: Rc::default(),
            tokens: RefCell::new(shared.issuers.as_ref().map_or_else(Vec::new, Issuers::caches)),
            apps: RefCell::new(Vec::new()),
            draining: Cell::new(false),
            sweeping: Cell::new(false),
            shared,
            config,
        }
    }

    /// Begins a request's line in the access log, where there is one.
    pub(super) fn entry(
        &self,
        caller: &Caller,
        protocol: &str,
        request: Option<&Request<'_, '_>>,
    ) -> Option<Box<Entry>> {
        self.shared.log.as_ref().map(|log| Box::new(log.begin(caller, protocol, request)))
    }

    /// Counts an answered request and ends its line.
    pub(super) fn answered(&self, method: Method, protocol: &'static str, entry: Option<Box<Entry>>, ending: Ending) {
        self.tally.request(method, protocol, ending.status, ending.took);
        if let (Some(entry), Some(log)) = (entry, &self.shared.log) {
            log.end(*entry, ending);
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

    /// Waits until the token keys of this issuer were fetched once more, or could not be.
    pub(super) async fn await_key(&self, issuer: usize) {
        if let Some(issuer) = self.shared.issuers.iter().flat_map(Issuers::all).nth(issuer) {
            issuer.verifier.await_key().await;
        }
    }

    /// Whether the caller is to run [`Http::sweep`] because nobody does.
    pub(super) fn needs_sweeper(&self) -> bool {
        !self.sweeping.replace(true)
    }

    /// Ends what is over time, while there is anything that could be.
    /// Bytes are counted once a tick, not with every read, and buffers that lie idle are given back.
    pub(super) async fn sweep(self: Rc<Self>, door: Rc<Door>) {
        let mut drain = door.drain.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.timers.tick()) => {}
                () = drain.draining(), if !self.draining.get() => {
                    self.draining.set(true);
                    self.timers.wake_all();
                }
            }
            let now = Instant::now();
            let (received, sent) = self.traffic.take();
            door.metrics.bytes_in.inc_by(received);
            door.metrics.bytes_out.inc_by(sent);
            self.buffers.forget_unused();
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
