//! A door's life: files, sockets, threads, readiness, reloads, and an orderly end.
//!
//! ```text
//! SIGTERM or /quitquitquit -> not ready, accepting for --shutdown-delay -> listeners close, open connections finish
//!                          -> exit 0, or exit 4 when --grace is over first
//! ```

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kit_admin::{Admin, Condition};
use kit_run::{Context, Error, Signal};
use kit_tls::{Event, LoadError, Material, Store};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::config::DoorConfig;
use crate::listen::{Bound, Part, SocketFile};
use crate::metrics::Metrics;
use crate::threads::{Drain, Serve, Shared, start};

/// How often the dates of the certificates in use are compared with the clock, which may also be set.
const DATES: Duration = Duration::from_secs(10);

/// How often the places for connections are counted; a probe comes every second at most.
const PLACES: Duration = Duration::from_millis(200);

/// Files that cannot be used at the start: a wrong request.
pub(crate) fn unusable(error: LoadError) -> Error {
    let hint = error.hint();
    Error::request("cannot start with these files").caused_by(error).hint(hint)
}

/// What a door needs on each thread.
pub(crate) struct Seat {
    /// The listeners' addresses in the order of the pairs.
    pub(crate) listeners: Vec<String>,
    /// Counters of the process.
    pub(crate) metrics: Arc<Metrics>,
    /// The order to finish.
    pub(crate) drain: Drain,
}

/// Health and metrics of this process.
pub(crate) fn admin() -> Admin {
    Admin::new("tls-ambassador")
}

/// Serves until told to stop, with `work` going on beside it on this thread. `doors` makes each thread's doors, in the order of the pairs.
pub(crate) fn serve<C, D, F>(
    cx: &Context,
    admin: Admin,
    config: &DoorConfig,
    store: &Store<C>,
    work: impl Future<Output = ()>,
    doors: F,
) -> Result<(), Error>
where
    D: Serve,
    F: Fn(Seat) -> Vec<Rc<D>> + Clone + Send + 'static,
{
    if config.shutdown_delay >= cx.grace() && !config.shutdown_delay.is_zero() {
        return Err(Error::request("--shutdown-delay leaves nothing of --grace")
            .hint("raise --grace, and terminationGracePeriodSeconds of the pod above it"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::failed("cannot start").caused_by(error))?;
    runtime.block_on(run(cx, admin, config, store, work, doors))
}

async fn run<C, D, F>(
    cx: &Context,
    admin: Admin,
    config: &DoorConfig,
    store: &Store<C>,
    work: impl Future<Output = ()>,
    doors: F,
) -> Result<(), Error>
where
    D: Serve,
    F: Fn(Seat) -> Vec<Rc<D>> + Clone + Send + 'static,
{
    let metrics = admin.register(Metrics::register);
    let life = Life::new(&admin, Arc::clone(&metrics));
    life.dates(&store.current());
    metrics.loaded(&store.current(), false);
    let reload = Notify::new();
    // Handlers first: a SIGHUP before them would end the process.
    let signals = signals(cx, &reload).map_err(|error| Error::failed("cannot listen to signals").caused_by(error))?;
    let asked_to_quit = if config.quitquitquit { admin.on_post("/quitquitquit") } else { Arc::default() };

    let admin_listener = kit_admin::AdminArgs { admin_listen: Some(config.admin_listen) }.bind().await;
    let admin_listener = admin_listener.map_err(|error| {
        Error::failed("cannot serve health and metrics").caused_by(error).hint(kit_admin::BindError::HINT)
    })?;
    let (bound, files) = bind(config)?;
    let listeners: Vec<String> = bound.iter().map(|bound| bound.address.clone()).collect();
    let (order, drain) = Drain::new();
    let (mut finished, places) = start_threads(config, bound, &listeners, &admin, &metrics, &drain, doors)?;
    for (listener, (_, target)) in listeners.iter().zip(&config.pairs) {
        tracing::info!(listen = listener, %target, "listening");
    }
    life.listening.met();
    life.serving.met();

    let background = async {
        let answering = async {
            match admin_listener {
                Some(listener) => admin.clone().serve(listener, std::future::pending()).await,
                None => std::future::pending().await,
            }
        };
        let following = store.follow(&reload, |event| life.reloaded(event));
        tokio::join!(
            answering,
            following,
            life.watch_dates(store),
            watch_places(&admin, places),
            signals,
            timed(config.timed_reload, &reload),
            work
        );
    };
    let ending = async {
        let shutdown = cx.shutdown();
        tokio::select! {
            () = shutdown.requested() => {}
            () = asked_to_quit.notified() => {}
        }
        end(cx, config, &life, &order, &mut finished).await
    };
    let result = tokio::select! {
        () = background => Ok(()),
        result = ending => result,
    };
    drop(files);
    result
}

/// The order of an end: not ready, accept on, drain, done.
async fn end(
    cx: &Context,
    config: &DoorConfig,
    life: &Life,
    order: &watch::Sender<bool>,
    finished: &mut mpsc::Receiver<()>,
) -> Result<(), Error> {
    let deadline = Instant::now() + cx.grace();
    life.serving.unmet("draining");
    life.metrics.drain_state.set(1);
    if !config.shutdown_delay.is_zero() {
        tracing::info!(seconds = config.shutdown_delay.as_secs_f64(), "told to stop, still accepting");
        tokio::time::sleep(config.shutdown_delay).await;
    }
    life.metrics.drain_state.set(2);
    tracing::info!(open = life.metrics.connections_open.get(), "draining");
    order.send_replace(true);
    match tokio::time::timeout_at(deadline, finished.recv()).await {
        // Nothing is ever sent: the channel ends with the last thread.
        Ok(_) => Ok(()),
        Err(_) => {
            let open = life.metrics.connections_open.get();
            Err(Error::with_code(
                kit_run::exit::WORK_LEFT,
                format!("{open} connections were open when the grace period ended"),
            )
            .hint("raise --grace, and terminationGracePeriodSeconds of the pod above it"))
        }
    }
}

fn bind(config: &DoorConfig) -> Result<(Vec<Bound>, Vec<SocketFile>), Error> {
    let mut bound = Vec::new();
    let mut files = Vec::new();
    for (listen, _) in &config.pairs {
        let mut one = listen.bind(config.threads).map_err(|error| {
            Error::failed(format!("cannot listen on {listen}"))
                .caused_by(error)
                .hint("another container of the pod may have the port: they share one network")
        })?;
        files.extend(one.file.take());
        bound.push(one);
    }
    Ok((bound, files))
}

/// Starts every thread; the receiver ends when all of them have ended. With it come the places for connections, where they are limited.
fn start_threads<D, F>(
    config: &DoorConfig,
    bound: Vec<Bound>,
    listeners: &[String],
    admin: &Admin,
    metrics: &Arc<Metrics>,
    drain: &Drain,
    doors: F,
) -> Result<(mpsc::Receiver<()>, Option<Arc<Semaphore>>), Error>
where
    D: Serve,
    F: Fn(Seat) -> Vec<Rc<D>> + Clone + Send + 'static,
{
    let (alive, finished) = mpsc::channel(1);
    let places = config.max_connections.map(|most| Arc::new(Semaphore::new(most)));
    // One list of listeners becomes one list for each thread.
    let mut parts: Vec<std::vec::IntoIter<Part>> = bound.into_iter().map(|bound| bound.parts.into_iter()).collect();
    for index in 0..config.threads {
        let own: Vec<Part> = parts.iter_mut().filter_map(Iterator::next).collect();
        let shared = Shared {
            metrics: Arc::clone(metrics),
            drain: drain.clone(),
            places: places.clone(),
            pulse: admin.pulse("worker thread"),
            alive: alive.clone(),
        };
        let seat = Seat { listeners: listeners.to_vec(), metrics: Arc::clone(metrics), drain: drain.clone() };
        let doors = doors.clone();
        start(index, own, shared, move || doors(seat))
            .map_err(|error| Error::failed("cannot start a worker thread").caused_by(error))?;
    }
    Ok((finished, places))
}

/// Not ready while `--max-concurrent-conns` are open: another pod may have a place.
async fn watch_places(admin: &Admin, places: Option<Arc<Semaphore>>) {
    let Some(places) = places else { return };
    let condition = admin.condition("places");
    loop {
        match places.available_permits() {
            0 => condition.unmet("as many connections as --max-concurrent-conns allows"),
            _ => condition.met(),
        }
        tokio::time::sleep(PLACES).await;
    }
}

/// Asks for a reload each time `pause` has passed.
async fn timed(pause: Option<Duration>, reload: &Notify) {
    let Some(pause) = pause else { return };
    loop {
        tokio::time::sleep(pause).await;
        reload.notify_one();
    }
}

/// SIGHUP and SIGUSR1 ask for a reload, also while draining.
fn signals<'a>(cx: &Context, reload: &'a Notify) -> std::io::Result<impl Future<Output = ()> + 'a> {
    let (mut hangup, mut user) = (cx.signal(Signal::Hangup)?, cx.signal(Signal::User1)?);
    Ok(async move {
        loop {
            tokio::select! {
                () = hangup.recv() => {}
                () = user.recv() => {}
            }
            reload.notify_one();
        }
    })
}

/// What readiness and the reload metrics say.
struct Life {
    listening: Condition,
    serving: Condition,
    certificate: Condition,
    metrics: Arc<Metrics>,
}

impl Life {
    fn new(admin: &Admin, metrics: Arc<Metrics>) -> Self {
        Self {
            listening: admin.condition("listeners"),
            serving: admin.condition("serving"),
            certificate: admin.condition("certificate"),
            metrics,
        }
    }

    /// Ready while every own certificate is within its dates. Says so once when that changes.
    fn dates<C>(&self, material: &Material<C>) -> bool {
        match material.out_of_date(SystemTime::now()) {
            Some((certificate, state)) => {
                self.certificate.unmet(format!("{} is {state}", certificate.path.display()));
                false
            }
            None => {
                self.certificate.met();
                true
            }
        }
    }

    async fn watch_dates<C>(&self, store: &Store<C>) {
        let mut fine = true;
        loop {
            let material = store.current();
            let now = self.dates(&material);
            if let (true, Some((certificate, state))) = (fine && !now, material.out_of_date(SystemTime::now())) {
                tracing::error!(path = %certificate.path.display(), state, "certificate is out of date: not ready");
            }
            fine = now;
            tokio::time::sleep(DATES).await;
        }
    }

    fn reloaded<C>(&self, event: Event<'_, C>) {
        match event {
            Event::Replaced(material) => {
                self.metrics.loaded(material, true);
                self.dates(material);
                let names: Vec<_> = material.certificates.iter().map(|own| own.leaf.subject.as_str()).collect();
                tracing::info!(certificates = names.join("; "), "reloaded");
            }
            Event::Refused(error) => {
                self.metrics.refused(error);
                let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, cause, "reload refused: the files before stay in use");
            }
        }
    }
}
