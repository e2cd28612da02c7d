//! The listener: accepts, hands requests to the site, opens logs again on SIGUSR1 and drains at the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kit_admin::{Admin, BindError, Pulse};
use kit_run::{Context, Error, Shutdown, Signal, exit};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::app_log;
use crate::args::{AppLog, Config, Shape};
use crate::elasticsearch::Elasticsearch;
use crate::health::Health;
use crate::log_file::LogFile;
use crate::metrics::Metrics;
use crate::site::Site;
use crate::stamp::{Format, FormatError};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// A client that sends no whole head for this long is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves until a shutdown is requested, then lets running requests finish.
///
/// # Errors
/// An address or a log that cannot be opened; connections that were still busy at the end of the grace period.
pub async fn serve(config: Config, cx: Context) -> Result<(), Error> {
    let Config { listen, root, access_log, app_log, ready_after, unhealthy_after, shape, admin: admin_args } = config;
    let admin = Admin::new("demo-app");
    let metrics = Metrics::default();
    admin.register(|registry| metrics.register(registry));
    let open = |path: &Path, name| open_log(path, name, &metrics);
    let app = match app_log {
        Some(app) => Some((open(&app.path, "app")?, app)),
        None => None,
    };
    let site = Arc::new(Site {
        elasticsearch: (shape == Shape::Elasticsearch).then(Elasticsearch::new),
        health: Health::new(ready_after, unhealthy_after, admin.condition("ready")),
        access_log: access_log.as_deref().map(|path| open(path, "access")).transpose()?,
        log_stamp: own_format("%d/%b/%Y:%T %z")?,
        header_stamp: own_format("%a, %d %b %Y %T GMT")?,
        root,
        metrics: metrics.clone(),
    });
    warn_without_root(&site);
    let admin_listener = admin_args
        .bind()
        .await
        .map_err(|error| Error::failed("cannot start the admin endpoint").caused_by(error).hint(BindError::HINT))?;
    let listener = TcpListener::bind(listen.socket_addr()).await.map_err(|error| {
        Error::failed(format!("cannot listen on --listen {listen}")).caused_by(error).hint(BindError::HINT)
    })?;
    let mut reopen =
        cx.signal(Signal::User1).map_err(|error| Error::failed("cannot listen for SIGUSR1").caused_by(error))?;
    // Tests and demos ask for port 0 and read here which one they got.
    if let Some(address) = admin_listener.as_ref().and_then(|listener| listener.local_addr().ok()) {
        tracing::info!(%address, "admin endpoint open");
    }
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening");
    }

    let pulse = admin.pulse("accept loop");
    let shutdown = cx.shutdown();
    let stopped = || async { shutdown.clone().requested().await };
    let admin_server = async {
        if let Some(listener) = admin_listener {
            admin.clone().serve(listener, stopped()).await;
        }
    };
    let app_writer = async {
        if let Some((log, AppLog { format, every, .. })) = &app {
            app_log::write(log, format, *every, shape, stopped()).await;
        }
    };
    let reopener = async {
        loop {
            tokio::select! {
                () = stopped() => return,
                () = reopen.recv() => {
                    for log in site.access_log.iter().chain(app.as_ref().map(|(log, _)| log)) {
                        log.reopen();
                    }
                }
            }
        }
    };
    let readiness = async {
        tokio::select! {
            () = stopped() => {}
            () = sleep_until(site.health.ready_at().into()) => site.health.mirror(),
        }
    };
    let connections = accept(listener, site.clone(), pulse, shutdown.clone());
    let (connections, (), (), (), ()) = tokio::join!(connections, admin_server, app_writer, reopener, readiness);
    drain(connections, cx.grace()).await
}

/// Accepts until a shutdown is requested and returns the connections that are still open, each told to finish.
async fn accept(listener: TcpListener, site: Arc<Site>, pulse: Pulse, shutdown: Shutdown) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // The stop wins: a connection accepted after it would only be closed.
            biased;
            () = shutdown.requested() => return connections,
            Some(_) = connections.join_next() => {}
            () = pulse.beat() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, site.clone(), shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of descriptors: trying again at once would spin.
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, site: Arc<Site>, shutdown: Shutdown) {
    let service = service_fn(|request| {
        let response = site.answer(peer, &request);
        async { Ok::<_, Infallible>(response) }
    });
    // Answers leave at once; a failure only means that the kernel waits a little.
    let _set = stream.set_nodelay(true);
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(64 << 10);
    let serving = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.requested() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended early");
    }
}

async fn drain(mut connections: JoinSet<()>, grace: Duration) -> Result<(), Error> {
    let finished = timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
    if finished.is_ok() {
        return Ok(());
    }
    let busy = connections.len();
    connections.shutdown().await;
    let grace = kit_units::format_duration(grace);
    Err(Error::with_code(
        exit::WORK_LEFT,
        format!("{busy} connections were still busy after the grace period of {grace}"),
    )
    .hint("raise --grace, and terminationGracePeriodSeconds with it"))
}

fn open_log(path: &Path, name: &'static str, metrics: &Metrics) -> Result<LogFile, Error> {
    LogFile::open(path.to_owned(), metrics.log(name)).map_err(|error| {
        Error::failed(format!("cannot open the {name} log {}", path.display()))
            .caused_by(error)
            .hint("its folder must exist and be writable for this user; in a pod fsGroup makes an emptyDir so")
    })
}

/// A volume may be filled later, so this is no reason not to start.
fn warn_without_root(site: &Site) {
    if let Some(root) = site.root.as_deref().filter(|root| !root.is_dir()) {
        tracing::warn!(root = %root.display(), "no such folder yet, its paths answer 404");
    }
}

fn own_format(text: &str) -> Result<Format, Error> {
    text.parse()
        .map_err(|error: FormatError| Error::failed("a stamp of the server's own cannot be read").caused_by(error))
}
