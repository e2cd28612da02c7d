//! One thread for each core, each with its own runtime, listeners and connections.
//!
//! Nothing is shared on the path of a byte. A thread learns of a drain through [`Drain`], stops accepting, takes what
//! the kernel has already accepted for it, and ends when its last connection has ended.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kit_admin::Pulse;
use kit_run::Error;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::listen::{Listener, Part};
use crate::metrics::Metrics;
use crate::socket::Socket;

/// Pause after a failed accept. Without descriptors the next one would fail at once, and again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Tells connections that the process is going down: finish, and take no new work.
#[derive(Debug, Clone)]
pub struct Drain(watch::Receiver<bool>);

impl Drain {
    /// A drain and the sender that starts it.
    #[must_use]
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// True once it has started.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it has started. Cancel safe.
    pub async fn draining(&mut self) {
        if self.0.wait_for(|draining| *draining).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a thread does with the connections of one listener.
pub trait Serve: 'static {
    /// Carries one connection to its end.
    fn serve(self: Rc<Self>, socket: Socket) -> impl Future<Output = ()>;

    /// Told of a connection that was closed at once, for want of a place.
    fn turned_away(&self);

    /// What goes on beside the connections for as long as they are accepted. Never returns.
    fn beside(self: Rc<Self>) -> impl Future<Output = ()> {
        std::future::pending()
    }
}

/// What every thread is given.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Counters of the process.
    pub metrics: Arc<Metrics>,
    /// The order to finish.
    pub drain: Drain,
    /// Places for connections, when they are limited.
    pub places: Option<Arc<Semaphore>>,
    /// Whether connections beyond those places are closed instead of waiting.
    pub reject_excess: bool,
    /// Asked by `/livez`.
    pub pulse: Pulse,
    /// Held by every thread; the receiver ends when the last one has ended.
    pub alive: mpsc::Sender<()>,
}

/// Starts a thread that serves `parts`, each with the door that `doors` makes for it, in their order.
///
/// # Errors
/// When the system has no thread left.
pub fn start<D: Serve>(
    index: usize,
    parts: Vec<Part>,
    shared: Shared,
    doors: impl FnOnce() -> Vec<Rc<D>> + Send + 'static,
) -> io::Result<()> {
    let body = move || {
        if let Err(error) = worker(parts, &shared, doors()) {
            tracing::error!(%error, "a worker thread cannot run");
        }
    };
    // Detached: the end of a thread is told by `alive`, and the process does not wait for one that is stuck.
    std::thread::Builder::new().name(format!("door-{index}")).spawn(body).map(drop)
}

/// Runs `work` to its end on this thread, to which connections over TLS belong. Boxed, so that the program holds one loop for
/// all that is run so.
pub(crate) fn on_this_thread(work: Pin<Box<dyn Future<Output = Result<(), Error>> + '_>>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::failed("cannot start").caused_by(error))?;
    LocalSet::new().block_on(&runtime, work)
}

fn worker<D: Serve>(parts: Vec<Part>, shared: &Shared, doors: Vec<Rc<D>>) -> Result<(), Error> {
    let _blocks = crate::blocks::keep();
    on_this_thread(Box::pin(async {
        let mut listeners = JoinSet::new();
        for (part, door) in parts.into_iter().zip(doors) {
            let listener = part.into_listener();
            let listener = listener.map_err(|error| Error::failed("a listener is of no use").caused_by(error))?;
            listeners.spawn_local(accept(listener, door, shared.clone()));
        }
        let beating = async {
            loop {
                shared.pulse.beat().await;
            }
        };
        tokio::select! {
            () = async { while listeners.join_next().await.is_some() {} } => Ok(()),
            () = beating => Ok(()),
        }
    }))
}

async fn accept<D: Serve>(listener: Listener, door: Rc<D>, shared: Shared) {
    let mut connections = JoinSet::new();
    let mut drain = shared.drain.clone();
    let mut beside = std::pin::pin!(Rc::clone(&door).beside());
    loop {
        tokio::select! {
            // A drain wins over a connection that comes at the same time; it is taken from the backlog below.
            biased;
            () = drain.draining() => break,
            () = &mut beside => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok(socket) if shared.reject_excess => match shared.places.clone().map(|places| places.try_acquire_owned()) {
                    Some(Err(_full)) => door.turned_away(),
                    place => begin(&mut connections, &door, socket, place.and_then(Result::ok)),
                },
                Ok(socket) => {
                    // At the limit this thread takes no more; the connection in hand waits, and its app sees nothing.
                    let place = place(shared.places.as_ref(), &mut drain).await;
                    begin(&mut connections, &door, socket, place);
                }
                Err(error) => {
                    shared.metrics.accept_errors.inc();
                    crate::journal::not_accepted(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // The kernel has completed these for us, so their clients believe that they are connected.
    while let Ok(Ok(socket)) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        begin(&mut connections, &door, socket, None);
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

type Place = Option<tokio::sync::OwnedSemaphorePermit>;

async fn place(places: Option<&Arc<Semaphore>>, drain: &mut Drain) -> Place {
    tokio::select! {
        // The semaphore is never closed, so a place always comes.
        place = Arc::clone(places?).acquire_owned() => place.ok(),
        // What was accepted before the drain is served like what still stands in the backlog.
        () = drain.draining() => None,
    }
}

fn begin<D: Serve>(connections: &mut JoinSet<()>, door: &Rc<D>, socket: Socket, place: Place) {
    let door = Rc::clone(door);
    connections.spawn_local(async move {
        door.serve(socket).await;
        drop(place);
    });
}

/// Built with unwinding, a connection that panicked ends alone; what ships is built without, and ends.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended by a fault of ours");
    }
}
