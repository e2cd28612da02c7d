//! A door's life: files, sockets, threads, readiness, reloads, and an orderly end.
//!
//! ```text
//! SIGTERM or /quitquitquit -> not ready, accepting for --shutdown-delay -> listeners close, open connections finish
//!                          -> exit 0, or exit 4 when --grace is over first
//! ```

use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use kit_admin::{Admin, Condition};
use kit_run::{Context, Error, Signal};
use kit_tls::{Certificate, Event, LoadError, Store};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::app_check::AppCheck;
use crate::config::DoorConfig;
use crate::desk::{Desk, Shown};
use crate::limits::Turnstile;
use crate::listen::{Bound, Listen, Part, SocketFile};
use crate::metrics::Metrics;
use crate::pages;
use crate::target::Target;
use crate::threads::{Drain, Serve, Shared, on_this_thread, start};

/// How often the dates of the certificates in use are compared with the clock, which may also be set.
const DATES: Duration = Duration::from_secs(10);

/// How often the places for connections are counted; a probe comes every second at most.
const PLACES: Duration = Duration::from_millis(200);

/// Files that cannot be used at the start: a wrong request.
pub(crate) fn unusable(error: LoadError) -> Error {
    let hint = error.hint();
    Error::request("cannot start with these files").caused_by(error).hint(hint)
}

/// Told of each reload.
pub(crate) type Told<'a> = &'a dyn Fn(Result<(), &LoadError>);

/// Files in use, whatever is made of them.
pub(crate) trait Kept {
    /// The own certificates among them.
    fn certificates(&self) -> Vec<Certificate>;
    /// How many authorities are trusted because of them.
    fn authorities(&self) -> usize;
    /// Follows them for ever; `now` asks for a reload.
    fn follow<'a>(&'a self, now: &'a Notify, told: Told<'a>) -> Pin<Box<dyn Future<Output = ()> + 'a>>;
}

impl<C: Send + Sync + 'static> Kept for Store<C> {
    fn certificates(&self) -> Vec<Certificate> {
        self.current().certificates.clone()
    }

    fn authorities(&self) -> usize {
        self.current().authorities
    }

    fn follow<'a>(&'a self, now: &'a Notify, told: Told<'a>) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(Self::follow(self, now, move |event| match event {
            Event::Replaced(_) => told(Ok(())),
            Event::Refused(error) => told(Err(error)),
        }))
    }
}

/// Fails when a target's name does not resolve, where that was asked for.
pub(crate) fn resolve(config: &DoorConfig) -> Result<(), Error> {
    use std::net::ToSocketAddrs;
    for pair in config.pairs.iter().filter(|_| config.resolve_first) {
        let Target::Tcp { host, port } = &pair.target else { continue };
        (host.as_str(), *port).to_socket_addrs().map_err(|error| {
            Error::failed(format!("invalid target address {}", pair.target))
                .caused_by(error)
                .hint("--skip-resolve starts all the same")
        })?;
    }
    Ok(())
}

/// What everybody may ask, and what the listener for that shows where it speaks TLS.
pub(crate) struct Outside {
    /// Conditions, metrics and pages.
    pub(crate) admin: Admin,
    /// The certificate.
    pub(crate) shown: Option<Shown>,
    /// What the status page asks of the app before it answers.
    pub(crate) status: AppCheck,
}

/// What a door needs on each thread.
pub(crate) struct Seat {
    /// The listeners' addresses in the order of the pairs.
    pub(crate) listeners: Vec<String>,
    /// Counters of the process.
    pub(crate) metrics: Arc<Metrics>,
    /// Limits of the process.
    pub(crate) turnstile: Arc<Turnstile>,
    /// The order to finish.
    pub(crate) drain: Drain,
}

/// Fails where accepting on would take all the time that there is to end.
pub(crate) fn check_delay(config: &DoorConfig, grace: Duration) -> Result<(), Error> {
    if config.shutdown_delay >= grace && !config.shutdown_delay.is_zero() {
        return Err(Error::request("--shutdown-delay leaves nothing of --grace")
            .hint("raise --grace, and terminationGracePeriodSeconds of the pod above it"));
    }
    Ok(())
}

/// Health and metrics of this process.
pub(crate) fn admin() -> Admin {
    Admin::new("tls-ambassador")
}

/// Serves until told to stop, with `work` going on beside it on this thread. `doors` makes each thread's doors, in the order of the pairs.
pub(crate) fn serve<D, F>(
    cx: &Context,
    outside: Outside,
    config: &DoorConfig,
    stores: &[&dyn Kept],
    work: impl Future<Output = ()>,
    doors: F,
) -> Result<(), Error>
where
    D: Serve,
    F: Fn(Seat) -> Vec<Rc<D>> + Clone + Send + 'static,
{
    check_delay(config, cx.grace())?;
    on_this_thread(Box::pin(run(cx, outside, config, stores, work, doors)))
}

async fn run<D, F>(
    cx: &Context,
    outside: Outside,
    config: &DoorConfig,
    stores: &[&dyn Kept],
    work: impl Future<Output = ()>,
    doors: F,
) -> Result<(), Error>
where
    D: Serve,
    F: Fn(Seat) -> Vec<Rc<D>> + Clone + Send + 'static,
{
    let Outside { admin, shown, status } = outside;
    let metrics = admin.register(Metrics::register);
    let asked_to_reload = pages::add(&admin, config, &metrics, status);
    let life = Life::new(&admin, Arc::clone(&metrics), stores);
    life.dates();
    life.taken_into_use();
    let reload = Reload::new(stores.len());
    // Handlers first: a SIGHUP before them would end the process.
    let signals = signals(cx, &reload).map_err(|error| Error::failed("cannot listen to signals").caused_by(error))?;
    let asked_to_quit = config.quitquitquit.then(|| ["/quitquitquit", "/_shutdown"].map(|path| admin.on_post(path)));

    let desk = Desk::open(config, shown).await?;
    let (bound, files) = bind(config)?;
    let addresses: Vec<String> = bound.iter().map(|bound| bound.address.clone()).collect();
    let names = config.pairs.iter().zip(&addresses).map(|(pair, address)| pair.name.as_ref().unwrap_or(address));
    let listeners: Vec<String> = names.cloned().collect();
    let (order, drain) = Drain::new();
    let (mut finished, places) = start_threads(config, bound, &listeners, &admin, &metrics, &drain, doors)?;
    for (address, (listener, pair)) in addresses.iter().zip(listeners.iter().zip(&config.pairs)) {
        tracing::info!(listen = address, listener, target = %pair.target, "listening");
    }
    life.listening.met();
    life.serving.met();

    let background = async {
        let told = |event: Result<(), &LoadError>| life.reloaded(event);
        tokio::join!(
            desk.answer(admin.clone()),
            all(stores.iter().zip(&reload.0).map(|(store, now)| store.follow(now, &told)).collect()),
            life.watch_dates(),
            watch_places(&admin, places),
            signals,
            timed(config.timed_reload, &reload),
            when_asked(&asked_to_reload, &reload),
            crate::footprint::once_settled(),
            work
        );
    };
    let ending = async {
        let shutdown = cx.shutdown();
        let code = tokio::select! {
            () = shutdown.requested() => config.signal_code,
            () = any(asked_to_quit.as_ref()) => 0,
        };
        end(cx, config, &life, &order, &mut finished).await?;
        match code {
            0 => Ok(()),
            code => Err(Error::with_code(code, "ended in order by a signal")
                .hint("--exit-zero-on-sigterm=false asks for this exit code")),
        }
    };
    let result = tokio::select! {
        () = background => Ok(()),
        result = ending => result,
    };
    drop(files);
    result
}

/// Returns when one of them is notified; never, where there is none.
async fn any(requests: Option<&[Arc<Notify>; 2]>) {
    match requests {
        Some([one, other]) => tokio::select! {
            () = one.notified() => {}
            () = other.notified() => {}
        },
        None => std::future::pending().await,
    }
}

/// A neighbour's POST on `/reload` is as a SIGHUP.
async fn when_asked(asked: &Notify, reload: &Reload) {
    loop {
        asked.notified().await;
        reload.ask();
    }
}

/// The order of an end: not ready, accept on, drain, done.
async fn end(
    cx: &Context,
    config: &DoorConfig,
    life: &Life<'_>,
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
    for listen in config.pairs.iter().map(|pair| &pair.listen) {
        let bind = if config.ghostunnel { Listen::bind_beside_others } else { Listen::bind };
        let mut one = bind(listen, config.threads).map_err(|error| {
            let hint = match (listen, error.kind()) {
                (Listen::Unix { .. }, _) => {
                    "its folder must be there and writable, and nothing but a socket in its place"
                }
                (Listen::Tcp(_), ErrorKind::PermissionDenied) => {
                    "take a port above 1023, which everybody may; a Service's targetPort leads there"
                }
                (Listen::Tcp(_), ErrorKind::AddrNotAvailable) => {
                    "this pod has no such address; :PORT is all that it has"
                }
                _ => "another container of the pod may have the port: they share one network",
            };
            Error::failed(format!("cannot listen on {listen}")).caused_by(error).hint(hint)
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
    let turnstile = Turnstile::new(config.limits);
    // One list of listeners becomes one list for each thread.
    let mut parts: Vec<std::vec::IntoIter<Part>> = bound.into_iter().map(|bound| bound.parts.into_iter()).collect();
    for index in 0..config.threads {
        let own: Vec<Part> = parts.iter_mut().filter_map(Iterator::next).collect();
        let shared = Shared {
            metrics: Arc::clone(metrics),
            drain: drain.clone(),
            places: places.clone(),
            reject_excess: config.reject_excess,
            pulse: admin.pulse("worker thread"),
            alive: alive.clone(),
        };
        let seat = Seat {
            listeners: listeners.to_vec(),
            metrics: Arc::clone(metrics),
            turnstile: Arc::clone(&turnstile),
            drain: drain.clone(),
        };
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
async fn timed(pause: Option<Duration>, reload: &Reload) {
    let Some(pause) = pause else { return };
    loop {
        tokio::time::sleep(pause).await;
        reload.ask();
    }
}

/// The wish that all files be read again, one for each store.
struct Reload(Vec<Notify>);

impl Reload {
    fn new(stores: usize) -> Self {
        Self((0..stores).map(|_| Notify::new()).collect())
    }

    fn ask(&self) {
        self.0.iter().for_each(Notify::notify_one);
    }
}

/// Polls all of them. Their number is that of the identities, so that a set of woken ones would cost more than it saves.
async fn all<'a>(mut futures: Vec<Pin<Box<dyn Future<Output = ()> + 'a>>>) {
    std::future::poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// SIGHUP and SIGUSR1 ask for a reload, also while draining.
fn signals<'a>(cx: &Context, reload: &'a Reload) -> std::io::Result<impl Future<Output = ()> + 'a> {
    let (mut hangup, mut user) = (cx.signal(Signal::Hangup)?, cx.signal(Signal::User1)?);
    Ok(async move {
        loop {
            tokio::select! {
                () = hangup.recv() => {}
                () = user.recv() => {}
            }
            reload.ask();
        }
    })
}

/// What readiness and the reload metrics say.
struct Life<'a> {
    listening: Condition,
    serving: Condition,
    certificate: Condition,
    metrics: Arc<Metrics>,
    stores: &'a [&'a dyn Kept],
}

impl<'a> Life<'a> {
    fn new(admin: &Admin, metrics: Arc<Metrics>, stores: &'a [&'a dyn Kept]) -> Self {
        Self {
            listening: admin.condition("listeners"),
            serving: admin.condition("serving"),
            certificate: admin.condition("certificate"),
            metrics,
            stores,
        }
    }

    fn certificates(&self) -> Vec<Certificate> {
        self.stores.iter().flat_map(|store| store.certificates()).collect()
    }

    fn taken_into_use(&self) {
        let authorities = self.stores.iter().map(|store| store.authorities()).sum();
        self.metrics.loaded(&self.certificates(), authorities);
    }

    /// Ready while every own certificate is within its dates; else the one that is not, with what is wrong.
    fn dates(&self) -> Option<(Certificate, String)> {
        let now = SystemTime::now();
        let outdated = |certificate: Certificate| {
            let state = certificate.out_of_date(now)?;
            Some((certificate, state))
        };
        let worst = self.certificates().into_iter().find_map(outdated);
        match &worst {
            Some((certificate, state)) => self.certificate.unmet(format!("{} is {state}", certificate.path.display())),
            None => self.certificate.met(),
        }
        worst
    }

    /// Says once when a certificate's time is over.
    async fn watch_dates(&self) {
        let mut fine = true;
        loop {
            let worst = self.dates();
            if let (true, Some((certificate, state))) = (fine, &worst) {
                tracing::error!(path = %certificate.path.display(), state, "certificate is out of date: not ready");
            }
            fine = worst.is_none();
            tokio::time::sleep(DATES).await;
        }
    }

    fn reloaded(&self, event: Result<(), &LoadError>) {
        match event {
            Ok(()) => {
                self.metrics.reloaded();
                self.taken_into_use();
                self.dates();
                let certificates = self.certificates();
                let names: Vec<_> = certificates.iter().map(|own| own.leaf.subject.as_str()).collect();
                tracing::info!(certificates = names.join("; "), "reloaded");
            }
            Err(error) => {
                self.metrics.refused(error);
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::error!(%error, cause, "reload refused: the files before stay in use");
            }
        }
    }
}
