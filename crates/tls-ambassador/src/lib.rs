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
pub mod admission;
pub mod app_check;
pub mod args;
mod blocks;
pub mod client;
pub mod compat;
pub mod config;
mod config_file;
mod copies;
mod desk;
mod footprint;
pub mod hello;
pub mod http;
pub mod journal;
pub mod jwt;
mod keyed;
mod lifecycle;
pub mod limits;
pub mod listen;
pub mod metrics;
mod neighbours;
mod own;
mod pages;
pub mod pairs;
mod plan;
mod policy;
pub mod proxy;
pub mod proxy_protocol;
mod records;
pub mod relay;
pub mod route;
pub mod sandbox;
pub mod server;
pub mod session;
pub mod socket;
pub mod starttls;
pub mod target;
pub mod threads;
pub mod times;
pub(crate) mod warm;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kit_run::{Context, Error};
use kit_tls::rustls;
use kit_tls::{Admit, Material, Password, Store};

pub use args::Args;
/// What a verified client certificate says of its owner.
pub use kit_tls::Leaf as PeerIdentity;

use access::Verdict;
use args::{CheckCommand, Command};
use config::{ClientConfig, ServerConfig, SslCertFile};

#[global_allocator]
static BLOCKS: blocks::Blocks = blocks::Blocks;

impl kit_run::Tool for Args {
    const NAME: &'static str = "tls-ambassador";
    const GRACE: Option<Duration> = Some(Duration::from_secs(25));
    const GRACE_ALIASES: &'static [&'static str] = &["shutdown-timeout", "max-sigterm-delay"];

    const LOG_LEVEL_CHANGES: bool = true;
    const CONFIG: Option<&'static str> = Some("config");

    fn configuration(path: &Path) -> Result<Vec<kit_run::Setting>, Error> {
        config_file::read(path)
    }

    fn compat_as(program: &OsStr, argv: Vec<OsString>) -> Result<Vec<OsString>, Error> {
        compat::translate_as(program, argv)
    }

    fn peer_variables(
        argv: &[OsString],
        environment: &kit_run::Environment,
    ) -> Result<&'static [(&'static str, &'static str)], Error> {
        compat::variables(argv, environment)
    }

    fn compat(argv: Vec<OsString>) -> Result<Vec<OsString>, Error> {
        compat::translate(argv)
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// Exit code 2 for flags and files that cannot be used, 1 for addresses that cannot be bound, 4 for connections that
/// were open when the grace ended, 124 for a `wait` in vain.
pub fn run(args: Args, cx: Context) -> Result<(), Error> {
    let trust = cx.env("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let door = match &args.command {
        Command::Server(args) | Command::Check(CheckCommand::Server(args)) => Some(&args.door),
        Command::Client(args) | Command::Check(CheckCommand::Client(args)) => Some(&args.door),
        _ => None,
    };
    door.into_iter().for_each(|door| own::warn_of_typed(&cx, door));
    match args.command {
        Command::Server(args) => serve(&cx, ServerConfig::try_from((*args, trust))?),
        Command::Client(args) => tunnel(&cx, ClientConfig::try_from((*args, trust))?),
        Command::Check(check) => self::check(check, trust, cx.grace()),
        Command::Wait(args) => neighbours::wait(args),
        Command::Healthcheck(args) => neighbours::ask(args),
        Command::Shutdown(args) => neighbours::shutdown(args),
        Command::Version => neighbours::version(),
    }
}

/// Leaves out what `--quiet` says, where that is everything.
fn hush(door: &config::DoorConfig) {
    // The level of a running log can be changed: it is one of this tool.
    let _never_refused = door.hush.all.then(|| kit_run::set_log_level("off"));
}

/// Before the first file is read and the first thread is started, so that all of them are inside.
fn shut_in(cx: &Context, door: &config::DoorConfig, files: Vec<PathBuf>) {
    if door.sandbox {
        let log = cx.env("TLS_AMBASSADOR_TERMINATION_LOG").map_or_else(|| "/dev/termination-log".into(), PathBuf::from);
        let socket = door.admin_socket.iter().map(|path| listen::Listen::Unix { path: path.clone(), mode: 0 });
        let socket: Vec<_> = socket.collect();
        let listens = door.pairs.iter().map(|pair| &pair.listen).chain(&socket);
        sandbox::enter(&sandbox::Needs::new(listens, files, log));
    }
}

fn serve(cx: &Context, config: ServerConfig) -> Result<(), Error> {
    hush(&config.door);
    let keys = config.http.iter().flat_map(|http| &http.jwt).flat_map(jwt::JwtConfig::paths);
    let files = config.identities.iter().flat_map(|identity| identity.files.paths());
    let admin = lifecycle::admin();
    shut_in(cx, &config.door, files.chain(keys).collect());
    lifecycle::resolve(&config.door)?;
    let stores = server_stores(&config)?;
    let shared = config.http.clone().map(|http| http::HttpShared::new(http, &admin)).transpose()?.map(Arc::new);
    // Dropped when all connections have ended: the last lines are written then.
    let _log = shared.as_ref().map(|shared| shared.start_log()).transpose()?;
    let config = Arc::new(config);
    let materials: Vec<_> = stores.iter().map(Store::subscribe).collect();
    let background = shared.clone();
    let door = config.door.clone();
    let shown_files = config.identities.first().map(|identity| &identity.files);
    let own = shown_files.and_then(|files| Some((files.pair.clone()?, files.password.clone())));
    let shown = admin_store(&door, &config.policy, own)?;
    let app_check = config.app_check.clone();
    let doors = move |seat: lifecycle::Seat| {
        let http = shared.clone().map(|shared| Rc::new(http::Http::new(shared)));
        let pairs = seat.listeners.iter().zip(&config.door.pairs);
        let door = |(listener, pair): (&String, &pairs::Pair)| {
            Rc::new(server::Door {
                listener: listener.clone(),
                target: pair.target.clone(),
                starttls: pair.starttls,
                access: Arc::clone(&config.identities[pair.identity].access),
                metrics: Arc::clone(&seat.metrics),
                turnstile: Arc::clone(&seat.turnstile),
                drain: seat.drain.clone(),
                config: Arc::clone(&config),
                material: materials[pair.identity].clone(),
                http: http.clone(),
            })
        };
        pairs.map(door).collect()
    };
    let status = app_check.of_status_page(&door, None);
    let checking = app_check::follow(app_check, &admin);
    let background = async {
        let keeping = async {
            match background {
                Some(shared) => shared.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(keeping, checking);
    };
    let mut all = kept(&stores);
    all.extend(shown.as_ref().map(|store| store as &dyn lifecycle::Kept));
    let shown = shown.as_ref().map(Store::subscribe);
    lifecycle::serve(cx, lifecycle::Outside { admin, shown, status }, &door, &all, background, doors)
}

/// What the listener of health and metrics shows, where that speaks TLS: the first own certificate, followed like the others.
fn admin_store(
    door: &config::DoorConfig,
    policy: &kit_tls::Policy,
    own: Option<(own::Pair, Password)>,
) -> Result<Option<Store<rustls::ServerConfig>>, Error> {
    if !door.admin_tls {
        return Ok(None);
    }
    let own = own.ok_or_else(|| {
        Error::request("--admin-tls has no certificate to show").hint("give --cert and --key, or take --admin-tls away")
    })?;
    plain_store(policy, own, Vec::new()).map(Some)
}

/// A certificate that is shown to whoever comes.
fn plain_store(
    policy: &kit_tls::Policy,
    (pair, password): (own::Pair, Password),
    alpn: Vec<Vec<u8>>,
) -> Result<Store<rustls::ServerConfig>, Error> {
    let files = kit_tls::server::Files { pair: Some(pair), password, ..kit_tls::server::Files::default() };
    let settings = kit_tls::server::Settings::for_everybody(policy.clone(), alpn);
    Store::open(files.paths(), move || kit_tls::server::load(&files, &settings)).map_err(lifecycle::unusable)
}

fn kept<C>(stores: &[Store<C>]) -> Vec<&dyn lifecycle::Kept>
where
    Store<C>: lifecycle::Kept,
{
    stores.iter().map(|store| store as &dyn lifecycle::Kept).collect()
}

/// One store for each identity.
fn server_stores(config: &ServerConfig) -> Result<Vec<Store<rustls::ServerConfig>>, Error> {
    let tickets = config.tickets.then(kit_tls::server::Tickets::new).transpose();
    let tickets = tickets.map_err(|error| Error::failed("no randomness for tickets").caused_by(error))?;
    let store = |identity: &admission::ServerIdentity| {
        let access = Arc::clone(&identity.access);
        // Where a token may still admit, a certificate that no rule wants must get as far as the token.
        let admit = Admit::when(move |leaf| access.judge(Some(leaf)) != Verdict::Refused);
        let checked = identity.client_auth != kit_tls::server::ClientAuth::None;
        let settings = kit_tls::server::Settings {
            policy: config.policy.clone(),
            alpn: identity.alpn.clone(),
            client_auth: identity.client_auth,
            client_pins: identity.pins.clone(),
            admit: checked.then_some(admit),
            strict_names: config.strict_names,
            // A ticket says nothing of certificates: one that was got where none are asked for must not open a door that asks.
            tickets: tickets.clone().filter(|_| !checked),
        };
        let files = identity.files.clone();
        Store::open(files.paths(), move || kit_tls::server::load(&files, &settings)).map_err(lifecycle::unusable)
    };
    config.identities.iter().map(store).collect()
}

fn tunnel(cx: &Context, config: ClientConfig) -> Result<(), Error> {
    hush(&config.door);
    let admin = lifecycle::admin();
    let local = config.local.iter().flat_map(|(cert, key)| [cert.clone(), key.clone()]);
    let files = config.identities.iter().flat_map(|identity| identity.files.paths());
    shut_in(cx, &config.door, files.chain(local).collect());
    if config.proxy.is_none() {
        lifecycle::resolve(&config.door)?;
    }
    let stores = client_stores(&config)?;
    let local = local_store(&config)?;
    let config = Arc::new(config);
    if config.test_connections {
        test_connections(&config, &stores)?;
    }
    let checking = app_check::follow(config.app_check.clone(), &admin);
    let materials: Vec<_> = stores.iter().map(Store::subscribe).collect();
    let local_material = local.as_ref().map(Store::subscribe);
    let door = config.door.clone();
    let status = config.app_check.of_status_page(&door, config.proxy.as_ref());
    let own = config
        .identities
        .first()
        .and_then(|identity| Some((identity.files.pair.clone()?, identity.files.password.clone())))
        .or_else(|| Some((config.local.clone()?, Password::Empty)));
    let shown = admin_store(&door, &config.policy, own)?;
    let doors = move |seat: lifecycle::Seat| tunnels(&config, &seat, &materials, local_material.as_ref());
    let mut all = kept(&stores);
    all.extend(local.iter().chain(&shown).map(|store| store as &dyn lifecycle::Kept));
    let shown = shown.as_ref().map(Store::subscribe);
    lifecycle::serve(cx, lifecycle::Outside { admin, shown, status }, &door, &all, checking, doors)
}

/// What a subscriber of a store sees.
type Current<C> = tokio::sync::watch::Receiver<Arc<Material<C>>>;

fn tunnels(
    config: &Arc<ClientConfig>,
    seat: &lifecycle::Seat,
    materials: &[Current<rustls::ClientConfig>],
    local: Option<&Current<rustls::ServerConfig>>,
) -> Vec<Rc<client::Tunnel>> {
    let servers = config.door.pairs.iter().zip(&config.server_names);
    let tunnel = |(listener, (pair, server_name)): (&String, (&pairs::Pair, _))| {
        Rc::new(client::Tunnel {
            listener: listener.clone(),
            target: pair.target.clone(),
            starttls: pair.starttls,
            server_name: Clone::clone(server_name),
            metrics: Arc::clone(&seat.metrics),
            turnstile: Arc::clone(&seat.turnstile),
            config: Arc::clone(config),
            material: materials[pair.identity].clone(),
            local: local.cloned(),
            pool: warm::Pool::new(config.pool_warm.div_ceil(config.door.threads)),
        })
    };
    seat.listeners.iter().zip(servers).map(tunnel).collect()
}

/// One store for each identity.
fn client_stores(config: &ClientConfig) -> Result<Vec<Store<rustls::ClientConfig>>, Error> {
    let store = |identity: &config::ClientIdentity| {
        let rules = identity.rules.clone();
        let settings = kit_tls::client::Settings {
            policy: config.policy.clone(),
            alpn: identity.alpn.clone(),
            pins: rules.spki_pin.clone(),
            admit: (!rules.is_empty()).then(|| Admit::when(move |leaf| rules.match_any(leaf))),
        };
        let files = identity.files.clone();
        Store::open(files.paths(), move || kit_tls::client::load(&files, &settings)).map_err(lifecycle::unusable)
    };
    config.identities.iter().map(store).collect()
}

/// The local side's certificate, where that side speaks TLS.
fn local_store(config: &ClientConfig) -> Result<Option<Store<rustls::ServerConfig>>, Error> {
    let Some(pair) = config.local.clone() else { return Ok(None) };
    let postgres =
        |pair: &pairs::Pair| matches!(pair.starttls, args::StartTls::Postgres | args::StartTls::PostgresDirect);
    let postgres = config.door.pairs.iter().any(postgres);
    let alpn = if postgres { vec![b"postgresql".to_vec()] } else { Vec::new() };
    plain_store(&config.policy, (pair, Password::Empty), alpn).map(Some)
}

fn test_connections(config: &Arc<ClientConfig>, stores: &[Store<rustls::ClientConfig>]) -> Result<(), Error> {
    let seat = lifecycle::Seat {
        listeners: config.door.pairs.iter().map(|pair| pair.listen.to_string()).collect(),
        metrics: metrics::Metrics::register(&mut prometheus_client::registry::Registry::default()),
        turnstile: limits::Turnstile::new(config.door.limits),
        drain: threads::Drain::new().1,
    };
    let materials: Vec<_> = stores.iter().map(Store::subscribe).collect();
    threads::on_this_thread(Box::pin(async {
        for tunnel in tunnels(config, &seat, &materials, None) {
            tunnel.test().await.map_err(|failure| {
                let hint = match &failure {
                    client::Failure::Ended(_) => "give the --cert and --key of a client that the server lets in",
                    _ => "without --run-connection-test the ambassador starts and tries for every connection",
                };
                Error::failed(format!("the connection test to {} failed", tunnel.target)).caused_by(failure).hint(hint)
            })?;
            tracing::info!(target = %tunnel.target, "connection test passed");
        }
        Ok(())
    }))
}

fn check(command: CheckCommand, trust: SslCertFile, grace: Duration) -> Result<(), Error> {
    match command {
        CheckCommand::Server(args) => {
            let config = ServerConfig::try_from((*args, trust))?;
            lifecycle::check_delay(&config.door, grace)?;
            if let Some(http) = config.http.clone() {
                http::HttpShared::new(http, &lifecycle::admin())?;
            }
            plan::server(&config, &kept(&server_stores(&config)?))
        }
        CheckCommand::Client(args) => {
            let config = ClientConfig::try_from((*args, trust))?;
            lifecycle::check_delay(&config.door, grace)?;
            let (stores, local) = (client_stores(&config)?, local_store(&config)?);
            let mut all = kept(&stores);
            all.extend(local.as_ref().map(|store| store as &dyn lifecycle::Kept));
            plan::client(&config, &all)
        }
    }
}
