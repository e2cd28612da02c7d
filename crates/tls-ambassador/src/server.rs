//! The door in: TLS from outside, plain bytes to the app.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use kit_tls::Material;
use kit_tls::rustls;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::access::{Access, Verdict};
use crate::args::{Mode, ProxyIn, StartTls};
use crate::config::{DoorConfig, ServerConfig};
use crate::journal;
use crate::limits::{Counted, Turnstile};
use crate::metrics::{self, Metrics};
use crate::proxy_protocol;
use crate::relay::{Limits, Outcome, Plain, relay};
use crate::session::{Refusal, TlsStream};
use crate::socket::{PeerAddress, Socket};
use crate::starttls::{mysql, postgres};
use crate::target::Target;
use crate::threads::{Drain, Serve};

/// One listener and its target, as one thread knows them.
#[derive(Debug)]
pub struct Door {
    /// The listener's name in metrics and logs.
    pub listener: String,
    /// Where connections go.
    pub target: Target,
    /// The database's greeting before TLS.
    pub starttls: StartTls,
    /// Who may in.
    pub access: Arc<Access>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What all threads share of limits.
    pub turnstile: Arc<Turnstile>,
    /// The order to finish.
    pub drain: Drain,
    /// The whole configuration.
    pub config: Arc<ServerConfig>,
    /// Certificates for new connections.
    pub material: watch::Receiver<Arc<Material<rustls::ServerConfig>>>,
    /// What connections in http mode share on this thread.
    pub http: Option<Rc<crate::http::Http>>,
}

/// A connection that has passed the handshake.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Who connects; behind a trusted proxy, whom it speaks for.
    pub peer: PeerAddress,
    /// Which of our addresses was connected to.
    pub local: PeerAddress,
    /// What the certificate rules say.
    pub verdict: Verdict,
}

/// An accepted session, and the app's socket where the protocol needed it for the greeting.
struct Open {
    tls: TlsStream,
    arrival: Arrival,
    dialled: Option<Greeted>,
    counted: Counted,
}

/// A database that has greeted, and what it wants passwords mixed with.
type Greeted = (Socket, Option<mysql::Scramble>);

/// A connection under way, which ends with the word for how it ended.
type Carrying<'a> = Pin<Box<dyn Future<Output = &'static str> + 'a>>;

/// Why a connection ended before its bytes were carried.
enum Failure {
    Handshake(Box<Refusal>),
    Greeting(io::Error),
    Backend(io::Error),
    Timeout,
    /// Its client has as many connections as it may.
    Crowd,
}

impl Serve for Door {
    async fn serve(self: Rc<Self>, socket: Socket) {
        let _open = metrics::OpenConnection::new(&self.metrics);
        let accepted = Instant::now();
        let peer = socket.peer().map_or_else(|_| "gone".to_owned(), |peer| peer.to_string());
        // Boxed one after the other: what the handshake needs is given back before an idle connection sits there.
        let opened = timeout(self.config.door.connect_timeout, Box::pin(self.open(socket))).await;
        let result = match opened.unwrap_or(Err(Failure::Timeout)) {
            Ok(open) => {
                let (carrying, counted) = self.carry(*open, accepted);
                let result = carrying.await;
                drop(counted);
                self.metrics.connection_seconds.observe(accepted.elapsed().as_secs_f64());
                result
            }
            Err(failure) => self.report(&failure, &peer),
        };
        self.metrics.ended(&self.listener, result);
        journal::closed(&self.config.door, &peer, &self.listener, result);
    }

    fn turned_away(&self) {
        self.metrics.ended(&self.listener, "limit");
    }
}

impl Door {
    /// Everything up to a session: PROXY header, the database's greeting, TLS, access.
    async fn open(&self, mut socket: Socket) -> Result<Box<Open>, Failure> {
        let (peer, local) = self.addresses(&mut socket).await.map_err(Failure::Greeting)?;
        let counted = self.turnstile.enter(peer).ok_or(Failure::Crowd)?;
        let config = Arc::clone(&self.material.borrow().config);
        let mut dialled = None;
        let mut direct = Vec::new();
        match self.starttls {
            StartTls::None | StartTls::PostgresDirect | StartTls::Ldap | StartTls::Smtp | StartTls::Imap => {}
            StartTls::Postgres => {
                if let postgres::Opening::Direct(read) =
                    postgres::invite(&mut socket).await.map_err(Failure::Greeting)?
                {
                    direct = read;
                }
            }
            StartTls::Mysql => {
                let mut app = self.dial(peer, local, &Default::default()).await.map_err(Failure::Backend)?;
                let (_, scramble) = mysql::invite(&mut socket, &mut app, false).await.map_err(Failure::Greeting)?;
                dialled = Some((app, scramble));
            }
        }
        let place = self.turnstile.handshake();
        let began = Instant::now();
        let must_name_protocol = !direct.is_empty();
        let tls = tokio::select! {
            tls = TlsStream::accept_after(socket, config, direct) => tls.map_err(Failure::Handshake)?,
            () = place.displaced() => return Err(Failure::Timeout),
        };
        if must_name_protocol && tls.facts().alpn.as_deref() != Some(b"postgresql".as_slice()) {
            // Without the name, a browser could be made to talk to the database (ALPACA, CVE-2021-3618).
            let error = io::Error::new(io::ErrorKind::InvalidData, "direct TLS without ALPN postgresql");
            return Err(Failure::Greeting(error));
        }
        self.metrics.shook_hands(tls.facts(), began.elapsed().as_secs_f64());
        drop(place);
        let verdict = self.access.judge(tls.facts().peer.as_deref());
        Ok(Box::new(Open { tls, arrival: Arrival { peer, local, verdict }, dialled, counted }))
    }

    async fn addresses(&self, socket: &mut Socket) -> io::Result<(PeerAddress, PeerAddress)> {
        let (peer, local) = (socket.peer()?, socket.local()?);
        let trusted = |peer: SocketAddr| self.config.trusted_proxies.iter().any(|network| network.contains(peer.ip()));
        // Others connect past the proxy (the kubelet's probes do), so theirs is no header: it would be a lie.
        if self.config.proxy_in == ProxyIn::Off || !peer.ip().is_none_or(trusted) {
            return Ok((peer, local));
        }
        match proxy_protocol::read(socket, self.config.proxy_in).await? {
            Some((source, destination)) => Ok((PeerAddress::Ip(source), PeerAddress::Ip(destination))),
            None => Ok((peer, local)),
        }
    }

    async fn dial(
        &self,
        peer: PeerAddress,
        local: PeerAddress,
        facts: &crate::session::SessionFacts,
    ) -> io::Result<Socket> {
        use tokio::io::AsyncWriteExt;
        let began = Instant::now();
        let mut app = self.target.dial(self.config.door.connect_timeout).await?;
        self.metrics.dial_seconds.observe(began.elapsed().as_secs_f64());
        let header = proxy_protocol::header(self.config.proxy_out, peer, local, facts);
        if !header.is_empty() {
            app.write_all(&header).await?;
        }
        Ok(app)
    }

    /// What follows the handshake, as one allocation of just its size: what is awaited by value is held twice.
    fn carry(self: &Rc<Self>, open: Open, accepted: Instant) -> (Carrying<'_>, Counted) {
        let Open { tls, arrival, dialled, counted } = open;
        let carrying: Carrying<'_> = match (self.config.mode, &self.http) {
            (Mode::Tcp, _) if arrival.verdict != Verdict::Admitted => Box::pin(deny(tls, arrival)),
            (Mode::Tcp, _) => Box::pin(self.carry_bytes(tls, arrival, dialled, accepted)),
            (Mode::Http, Some(http)) => {
                let serving = crate::http::serve(Rc::clone(http), Rc::clone(self), tls, arrival);
                Box::pin(within(self.config.door.max_lifetime.map(|lifetime| accepted + lifetime), serving))
            }
            // Always there in this mode.
            (Mode::Http, None) => Box::pin(std::future::ready("broken")),
        };
        (carrying, counted)
    }

    async fn carry_bytes(
        &self,
        mut tls: TlsStream,
        arrival: Arrival,
        dialled: Option<Greeted>,
        accepted: Instant,
    ) -> &'static str {
        if let Err(error) = tls.send_tickets().await {
            return outcome(&self.config.door, Outcome::Broken(error), &arrival.peer);
        }
        let mut greeted = None;
        let app = match dialled {
            Some((app, scramble)) => {
                greeted = Some(scramble);
                Ok(app)
            }
            None => self.dial(arrival.peer, arrival.local, tls.facts()).await,
        };
        let mut app = match app {
            Ok(app) => app,
            Err(error) => {
                tls.socket().abort_on_drop();
                return self.report(&Failure::Backend(error), &arrival.peer.to_string());
            }
        };
        journal::opened(&self.config.door, &arrival.peer, &self.target);
        let door = &self.config.door;
        if let Some(scramble) = greeted {
            // A unix socket is safe in a server's eyes: it takes passwords in clear there, and in no other way.
            let scramble = scramble.filter(|_| matches!(self.target, Target::Tcp { .. }));
            let login = mysql::authenticate(&mut tls, &mut app, mysql::TlsSide::Client(scramble), None);
            match timeout(door.connect_timeout, login).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return self.report(&Failure::Greeting(error), &arrival.peer.to_string()),
                Err(_) => return self.report(&Failure::Timeout, &arrival.peer.to_string()),
            }
        }
        let limits = Limits {
            idle: door.idle_timeout,
            half_closed: door.close_timeout,
            end: door.max_lifetime.map(|lifetime| accepted + lifetime),
            orderly: door.ghostunnel,
        };
        let counters = (&self.metrics.bytes_in, &self.metrics.bytes_out);
        let carried = relay(&mut tls, &mut Plain::new(app), limits, counters).await;
        self.metrics.cut(&carried);
        outcome(door, carried, &arrival.peer)
    }

    fn report(&self, failure: &Failure, peer: &str) -> &'static str {
        let door = &self.config.door;
        match failure {
            Failure::Handshake(refusal) => {
                let reason = metrics::reason(&refusal.error);
                self.metrics.handshake_failed(reason);
                journal::refused(door, &peer, &self.listener, reason, refusal);
                if reason == "not_allowed" { "denied" } else { "tls_error" }
            }
            Failure::Greeting(error) => {
                self.metrics.handshake_failed("greeting");
                journal::not_begun(door, &peer, &self.listener, error);
                "tls_error"
            }
            Failure::Backend(error) => {
                self.metrics.dial_failures.inc();
                journal::unreachable(door, &peer, &self.target, error);
                "backend_error"
            }
            Failure::Timeout => {
                self.metrics.handshake_failed("timeout");
                journal::not_begun(door, &peer, &self.listener, &"no session within the connect timeout");
                "timeout"
            }
            Failure::Crowd => {
                tracing::debug!(peer, listener = self.listener, "closed: --max-conns-per-ip");
                "limit"
            }
        }
    }
}

async fn deny(mut tls: TlsStream, arrival: Arrival) -> &'static str {
    tracing::info!(peer = %arrival.peer, "refused: no rule admits this certificate");
    let _gone = std::future::poll_fn(|cx| tls.poll_close(cx)).await;
    "denied"
}

/// Serves until `end`, if there is one.
async fn within(end: Option<Instant>, serving: crate::http::Serving) -> &'static str {
    match end {
        None => serving.await,
        Some(end) if tokio::time::timeout_at(end, serving).await.is_err() => return "timeout",
        Some(_) => {}
    }
    "ok"
}

/// The word for the end of a relay.
pub(crate) fn outcome(door: &DoorConfig, outcome: Outcome, peer: &PeerAddress) -> &'static str {
    match outcome {
        Outcome::Finished => "ok",
        Outcome::TimedOut => "timeout",
        Outcome::Broken(error) => {
            journal::broken(door, peer, &error);
            "broken"
        }
    }
}
