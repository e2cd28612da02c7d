//! The pod's network door. `server` takes TLS from outside and hands plain bytes to an app in the pod; `client` takes
//! plain bytes from the pod and carries them to a TLS server.
//!
//! Promised: nobody is let in by forgetting (no access rule is exit code 2) and nothing leaves in plain text (a
//! database that declines TLS ends the connection). Certificates, keys, authorities and revocation lists are followed
//! through kubelet's symlink swap; a torn, mismatched or expired set never replaces a good one. An end is orderly: not
//! ready, accept on for a while, drain, exit 0.
//!
//! Not promised: anything about the bytes inside. The app listens on a loopback address or a unix socket and believes
//! whoever connects there.
//!
//! ```text
//! outside ==TLS==> :9200 [server] --plain--> 127.0.0.1:9201 app
//! app --plain--> 127.0.0.1:5432 [client] ==STARTTLS, TLS==> db.example.org:5432
//! ```

pub mod access;
pub mod app_check;
pub mod args;
pub mod client;
pub mod compat;
pub mod config;
pub mod fetch;
pub mod http;
pub mod jwt;
mod lifecycle;
pub mod listen;
pub mod metrics;
mod neighbours;
pub mod proxy_protocol;
mod records;
pub mod relay;
pub mod sandbox;
pub mod server;
pub mod session;
pub mod socket;
pub mod starttls;
pub mod target;
pub mod threads;

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kit_run::{Context, Error};
use kit_tls::rustls;
use kit_tls::{Admit, Material, Store};

pub use args::Args;
/// What a verified client certificate says of its owner.
pub use kit_tls::Leaf as PeerIdentity;

use access::Verdict;
use args::{CheckCommand, Command};
use config::{ClientConfig, ServerConfig, SslCertFile};

impl kit_run::Tool for Args {
    const NAME: &'static str = "tls-ambassador";
    const GRACE: Option<Duration> = Some(Duration::from_secs(25));
    const GRACE_ALIASES: &'static [&'static str] = &["shutdown-timeout", "max-sigterm-delay"];

    fn compat(argv: Vec<OsString>) -> Result<Vec<OsString>, Error> {
        Ok(compat::translate(argv))
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// Exit code 2 for flags and files that cannot be used, 1 for addresses that cannot be bound, 4 for connections that
/// were open when the grace ended, 124 for a `wait` in vain.
pub fn run(args: Args, cx: Context) -> Result<(), Error> {
    let trust = cx.env("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    match args.command {
        Command::Server(args) => serve(&cx, ServerConfig::try_from((*args, trust))?),
        Command::Client(args) => tunnel(&cx, ClientConfig::try_from((*args, trust))?),
        Command::Check(check) => self::check(check, trust),
        Command::Wait(args) => neighbours::wait(args),
        Command::Healthcheck(args) => neighbours::ask(args),
        Command::Shutdown(args) => neighbours::shutdown(args),
    }
}

/// Before the first file is read and the first thread is started, so that all of them are inside.
fn shut_in(cx: &Context, door: &config::DoorConfig, files: Vec<PathBuf>) {
    if door.sandbox {
        let log = cx.env("TLS_AMBASSADOR_TERMINATION_LOG").map_or_else(|| "/dev/termination-log".into(), PathBuf::from);
        sandbox::enter(&sandbox::Needs::new(door.pairs.iter().map(|(listen, _)| listen), files, log));
    }
}

fn serve(cx: &Context, config: ServerConfig) -> Result<(), Error> {
    let keys = config.http.iter().flat_map(|http| &http.jwt).flat_map(jwt::JwtConfig::paths);
    shut_in(cx, &config.door, config.files.paths().into_iter().chain(keys).collect());
    let store = server_store(&config)?;
    let admin = lifecycle::admin();
    let shared = config.http.clone().map(|http| http::HttpShared::new(http, &admin)).transpose()?.map(Arc::new);
    // Dropped when all connections have ended: the last lines are written then.
    let _log = shared.as_ref().map(|shared| shared.start_log()).transpose()?;
    let config = Arc::new(config);
    let material = store.subscribe();
    let access = Arc::new(config.access.clone());
    let background = shared.clone();
    let door = config.door.clone();
    let app_check = config.app_check.clone();
    let doors = move |seat: lifecycle::Seat| {
        let http = shared.clone().map(|shared| Rc::new(http::Http::new(shared)));
        let pairs = seat.listeners.iter().zip(&config.door.pairs);
        let door = |(listener, (_, target)): (&String, &(listen::Listen, target::Target))| {
            Rc::new(server::Door {
                listener: listener.clone(),
                target: target.clone(),
                access: Arc::clone(&access),
                metrics: Arc::clone(&seat.metrics),
                drain: seat.drain.clone(),
                config: Arc::clone(&config),
                material: material.clone(),
                http: http.clone(),
            })
        };
        pairs.map(door).collect()
    };
    let checking = app_check::follow(app_check, &admin, app_check::AppHealth::default());
    let background = async {
        let keeping = async {
            match background {
                Some(shared) => shared.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(keeping, checking);
    };
    lifecycle::serve(cx, admin, &door, &store, background, doors)
}

fn server_store(config: &ServerConfig) -> Result<Store<rustls::ServerConfig>, Error> {
    let access = config.access.clone();
    // Where a token may still admit, a certificate that no rule wants must get as far as the token.
    let admit = Admit::when(move |leaf| access.judge(Some(leaf)) != Verdict::Refused);
    let checked = config.client_auth != kit_tls::server::ClientAuth::None;
    let tickets = config.tickets.then(kit_tls::server::Tickets::new).transpose();
    let tickets = tickets.map_err(|error| Error::failed("no randomness for tickets").caused_by(error))?;
    let settings = kit_tls::server::Settings {
        policy: config.policy.clone(),
        alpn: config.alpn.clone(),
        client_auth: config.client_auth,
        admit: checked.then_some(admit),
        strict_names: config.strict_names,
        tickets,
    };
    let files = config.files.clone();
    Store::open(files.paths(), move || kit_tls::server::load(&files, &settings)).map_err(lifecycle::unusable)
}

fn tunnel(cx: &Context, config: ClientConfig) -> Result<(), Error> {
    shut_in(cx, &config.door, config.files.paths());
    let store = client_store(&config)?;
    let config = Arc::new(config);
    if config.test_connections {
        test_connections(&config, &store)?;
    }
    let material = store.subscribe();
    let door = config.door.clone();
    let doors = move |seat: lifecycle::Seat| tunnels(&config, &seat.listeners, &seat.metrics, &material);
    lifecycle::serve(cx, lifecycle::admin(), &door, &store, std::future::pending(), doors)
}

fn tunnels(
    config: &Arc<ClientConfig>,
    listeners: &[String],
    metrics: &Arc<metrics::Metrics>,
    material: &tokio::sync::watch::Receiver<Arc<Material<rustls::ClientConfig>>>,
) -> Vec<Rc<client::Tunnel>> {
    let servers = config.door.pairs.iter().zip(&config.server_names);
    let tunnel = |(listener, ((_, target), server_name)): (&String, (&(listen::Listen, target::Target), _))| {
        Rc::new(client::Tunnel {
            listener: listener.clone(),
            target: target.clone(),
            server_name: Clone::clone(server_name),
            metrics: Arc::clone(metrics),
            config: Arc::clone(config),
            material: material.clone(),
        })
    };
    listeners.iter().zip(servers).map(tunnel).collect()
}

fn client_store(config: &ClientConfig) -> Result<Store<rustls::ClientConfig>, Error> {
    let rules = config.rules.clone();
    let settings = kit_tls::client::Settings {
        policy: config.policy.clone(),
        alpn: config.alpn.clone(),
        pins: config.pins.clone(),
        admit: (!rules.is_empty()).then(|| Admit::when(move |leaf| rules.match_any(leaf))),
    };
    let files = config.files.clone();
    Store::open(files.paths(), move || kit_tls::client::load(&files, &settings)).map_err(lifecycle::unusable)
}

fn test_connections(config: &Arc<ClientConfig>, store: &Store<rustls::ClientConfig>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::failed("cannot start").caused_by(error))?;
    let metrics = metrics::Metrics::register(&mut prometheus_client::registry::Registry::default());
    let listeners: Vec<String> = config.door.pairs.iter().map(|(listen, _)| listen.to_string()).collect();
    for tunnel in tunnels(config, &listeners, &metrics, &store.subscribe()) {
        runtime.block_on(tunnel.test()).map_err(|failure| {
            Error::failed(format!("the connection test to {} failed", tunnel.target))
                .caused_by(failure)
                .hint("without --run-connection-test the ambassador starts and tries for every connection")
        })?;
        tracing::info!(target = %tunnel.target, "connection test passed");
    }
    Ok(())
}

fn check(command: CheckCommand, trust: SslCertFile) -> Result<(), Error> {
    match command {
        CheckCommand::Server(args) => {
            let config = ServerConfig::try_from((*args, trust))?;
            if let Some(http) = config.http.clone() {
                http::HttpShared::new(http, &lifecycle::admin())?;
            }
            plan("server", &config.door, &server_store(&config)?.current())
        }
        CheckCommand::Client(args) => {
            let config = ClientConfig::try_from((*args, trust))?;
            plan("client", &config.door, &client_store(&config)?.current())
        }
    }
}

fn plan<C>(what: &str, door: &config::DoorConfig, material: &Material<C>) -> Result<(), Error> {
    if let Some((certificate, state)) = material.out_of_date(SystemTime::now()) {
        return Err(Error::request(format!("certificate {} is {state}", certificate.path.display()))
            .hint("a start would not become ready before a good one is there"));
    }
    for (listen, target) in &door.pairs {
        kit_run::notice(format!("{what} {listen} -> {target}"));
    }
    for certificate in &material.certificates {
        kit_run::notice(format!("certificate {} {}", certificate.path.display(), certificate.leaf.subject));
    }
    Ok(())
}
