//! The door out: plain bytes from the pod, TLS to a server.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kit_tls::Material;
use kit_tls::rustls;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::args::StartTls;
use crate::config::ClientConfig;
use crate::journal;
use crate::limits::Turnstile;
use crate::metrics::{self, Metrics};
use crate::relay::{End, Limits, Outcome, Plain, relay};
use crate::server::outcome;
use crate::session::{Refusal, TlsStream};
use crate::socket::{PeerAddress, Socket};
use crate::starttls::{ldap, mysql, postgres, text};
use crate::target::Target;
use crate::threads::Serve;
use crate::warm::{Pool, Session};

/// One listener and its server, as one thread knows them.
#[derive(Debug)]
pub struct Tunnel {
    /// The listener's name in metrics and logs.
    pub listener: String,
    /// The server.
    pub target: Target,
    /// What is said before TLS.
    pub starttls: StartTls,
    /// The name to ask for and to verify.
    pub server_name: ServerName<'static>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What all threads share of limits.
    pub turnstile: Arc<Turnstile>,
    /// The whole configuration.
    pub config: Arc<ClientConfig>,
    /// Certificate and trust for new connections.
    pub material: watch::Receiver<Arc<Material<rustls::ClientConfig>>>,
    /// The local side's certificate, where that side speaks TLS too.
    pub local: Option<watch::Receiver<Arc<Material<rustls::ServerConfig>>>>,
    /// Sessions in advance.
    pub(crate) pool: Pool,
}

/// Time in which a server judges our certificate, or ends in order.
const VERDICT: Duration = Duration::from_secs(1);

/// Whether a session ended because the other side said that something is wrong.
fn is_alert(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The local client ended or broke its protocol.
    #[error("{0}")]
    Local(io::Error),
    /// The server cannot be reached.
    #[error("cannot connect: {0}")]
    Dial(io::Error),
    /// The server does not offer TLS, or breaks its protocol.
    #[error("{0}")]
    Greeting(io::Error),
    /// No TLS session.
    #[error("TLS: {0}")]
    Handshake(#[from] Box<Refusal>),
    /// No TLS session on the local side.
    #[error("TLS of the local client: {0}")]
    LocalHandshake(Box<Refusal>),
    /// The server ended the session as soon as there was one.
    #[error("the server ended the session: {0}")]
    Ended(io::Error),
    /// None of it happened in time.
    #[error("no session within the connect timeout")]
    Timeout,
}

impl Serve for Tunnel {
    async fn serve(self: Rc<Self>, socket: Socket) {
        let _open = metrics::OpenConnection::new(&self.metrics);
        let accepted = Instant::now();
        let peer = socket.peer().unwrap_or(PeerAddress::Unix);
        let result = match (self.turnstile.enter(peer), &self.local) {
            (None, _) => "limit",
            (Some(_counted), None) => self.carry_plain(socket, peer, accepted).await,
            (Some(_counted), Some(local)) => Box::pin(self.carry_tls(socket, local, peer, accepted)).await,
        };
        self.metrics.ended(&self.listener, result);
        journal::closed(&self.config.door, &peer, &self.listener, result);
    }

    fn turned_away(&self) {
        self.metrics.ended(&self.listener, "limit");
    }

    async fn beside(self: Rc<Self>) {
        let failed = |failure: &Failure| {
            self.metrics.dial_failures.inc();
            tracing::warn!(target = %self.target, error = %failure, "no session in advance");
        };
        let open =
            async || timeout(self.config.door.connect_timeout, self.fresh()).await.unwrap_or(Err(Failure::Timeout));
        self.pool.keep(self.material.clone(), open, failed).await;
    }
}

impl Tunnel {
    async fn carry_plain(&self, mut socket: Socket, peer: PeerAddress, accepted: Instant) -> &'static str {
        let opened = timeout(self.config.door.connect_timeout, self.open(&mut socket)).await;
        match opened.unwrap_or(Err(Failure::Timeout)) {
            Ok(tls) => self.carry(Plain::new(socket), tls, peer, accepted).await,
            Err(failure) => self.report(&failure, &peer),
        }
    }

    /// The local side speaks TLS too.
    async fn carry_tls(
        &self,
        socket: Socket,
        local: &watch::Receiver<Arc<Material<rustls::ServerConfig>>>,
        peer: PeerAddress,
        accepted: Instant,
    ) -> &'static str {
        let opening = async {
            if self.starttls == StartTls::Mysql {
                return self.open_mysql(socket, local).await;
            }
            let mut near = self.accept_local(socket, local).await?;
            let tls = self.open(&mut near).await?;
            Ok((near, tls))
        };
        match timeout(self.config.door.connect_timeout, opening).await.unwrap_or(Err(Failure::Timeout)) {
            Ok((near, tls)) => self.carry(near, tls, peer, accepted).await,
            Err(failure) => self.report(&failure, &peer),
        }
    }

    async fn accept_local(
        &self,
        mut socket: Socket,
        local: &watch::Receiver<Arc<Material<rustls::ServerConfig>>>,
    ) -> Result<TlsStream, Failure> {
        let mut read = Vec::new();
        if matches!(self.starttls, StartTls::Postgres | StartTls::PostgresDirect)
            && let postgres::Opening::Direct(first) = postgres::invite(&mut socket).await.map_err(Failure::Local)?
        {
            read = first;
        }
        let config = Arc::clone(&local.borrow().config);
        TlsStream::accept_after(socket, config, read).await.map_err(Failure::LocalHandshake)
    }

    /// MySQL's greeting comes before the TLS of either side, so one request serves both.
    async fn open_mysql(
        &self,
        mut socket: Socket,
        local: &watch::Receiver<Arc<Material<rustls::ServerConfig>>>,
    ) -> Result<(TlsStream, TlsStream), Failure> {
        let mut server = self.dial().await?;
        let (request, _) = mysql::invite(&mut socket, &mut server, true).await.map_err(Failure::Greeting)?;
        let config = Arc::clone(&local.borrow().config);
        let mut near = TlsStream::accept(socket, config).await.map_err(Failure::LocalHandshake)?;
        let opened = async {
            request.write(&mut server).await.map_err(Failure::Greeting)?;
            self.shake(server).await
        };
        match opened.await {
            Ok(tls) => Ok((near, tls)),
            Err(failure) => {
                self.tell_mysql(&mut near, request.sequence.wrapping_add(2), &failure).await;
                Err(failure)
            }
        }
    }

    /// The client may be gone; the failure is reported either way.
    async fn tell_mysql(&self, client: &mut (impl AsyncWrite + Unpin), sequence: u8, failure: &Failure) {
        let response = mysql::error(sequence, mysql::BAD_HANDSHAKE, &format!("tls-ambassador: {failure}"));
        let _gone = response.write(client).await;
    }

    async fn carry<E: End>(
        &self,
        mut near: E,
        mut tls: TlsStream,
        peer: PeerAddress,
        accepted: Instant,
    ) -> &'static str {
        let door = &self.config.door;
        journal::opened(door, &peer, &self.target);
        let limits = Limits {
            idle: door.idle_timeout,
            half_closed: door.close_timeout,
            end: door.max_lifetime.map(|lifetime| accepted + lifetime),
            orderly: door.ghostunnel,
        };
        let counters = (&self.metrics.bytes_in, &self.metrics.bytes_out);
        let carried = relay(&mut near, &mut tls, limits, counters).await;
        self.metrics.cut(&carried);
        let result = match carried {
            Outcome::Broken(error) if is_alert(&error) => {
                journal::ended(door, &peer, &self.target, &self.listener, &error);
                self.metrics.handshake_failed("peer_refused");
                "tls_error"
            }
            other => outcome(door, other, &peer),
        };
        self.metrics.connection_seconds.observe(accepted.elapsed().as_secs_f64());
        result
    }

    async fn open(&self, client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<TlsStream, Failure> {
        match self.starttls {
            StartTls::None | StartTls::Ldap | StartTls::Smtp | StartTls::Imap => {
                let Session { tls, greeting } = self.session().await?;
                client.write_all(&greeting).await.map_err(Failure::Local)?;
                Ok(tls)
            }
            StartTls::Postgres | StartTls::PostgresDirect => {
                let first = postgres::first_message(client).await.map_err(Failure::Local)?;
                let opened = self.open_postgres(client, &first).await;
                if let Err(failure) = &opened {
                    let response = postgres::error("08006", &format!("tls-ambassador: {failure}"));
                    // The client may be gone; the failure is reported either way.
                    let _gone = client.write_all(&response).await;
                    let _gone = client.flush().await;
                }
                opened
            }
            StartTls::Mysql => {
                let mut server = self.dial().await?;
                let login = mysql::ask(client, &mut server).await.map_err(Failure::Greeting)?;
                let sequence = login.sequence;
                let mut tls = match self.shake(server).await {
                    Ok(tls) => tls,
                    Err(failure) => {
                        self.tell_mysql(client, sequence, &failure).await;
                        return Err(failure);
                    }
                };
                let login = mysql::authenticate(client, &mut tls, mysql::TlsSide::Server, Some(login));
                login.await.map_err(Failure::Greeting)?;
                Ok(tls)
            }
        }
    }

    /// A session with the server, before the client's first byte: one of those in advance, else a new one.
    async fn session(&self) -> Result<Session, Failure> {
        match self.pool.take() {
            Some(session) => Ok(session),
            None => self.fresh().await,
        }
    }

    async fn fresh(&self) -> Result<Session, Failure> {
        let mut server = self.dial().await?;
        let greeting = match self.starttls {
            StartTls::None | StartTls::PostgresDirect | StartTls::Mysql => Ok(Vec::new()),
            StartTls::Postgres => postgres::ask(&mut server).await.map(|()| Vec::new()),
            StartTls::Ldap => ldap::ask(&mut server).await.map(|()| Vec::new()),
            StartTls::Smtp => text::smtp(&mut server).await,
            StartTls::Imap => text::imap(&mut server).await,
        };
        let greeting = greeting.map_err(Failure::Greeting)?;
        Ok(Session { tls: self.shake(server).await?, greeting })
    }

    async fn open_postgres(
        &self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        first: &[u8],
    ) -> Result<TlsStream, Failure> {
        let mut tls = self.session().await?.tls;
        postgres::begin(client, &mut tls, first).await.map_err(Failure::Greeting)?;
        Ok(tls)
    }

    /// Opens one session as a connection would, and closes it: `--run-connection-test`.
    ///
    /// # Errors
    /// What a connection would fail with.
    pub async fn test(&self) -> Result<(), Failure> {
        let opening = async {
            let mut tls = match self.starttls {
                StartTls::Mysql => {
                    let mut server = self.dial().await?;
                    mysql::probe(&mut server).await.map_err(Failure::Greeting)?;
                    self.shake(server).await?
                }
                _ => self.fresh().await?.tls,
            };
            let _gone = tls.shutdown().await;
            // A server that wants another certificate says so now (RFC 8446 section 4.6.2 and 6.2): the handshake did not wait for it.
            match timeout(VERDICT, tokio::io::copy(&mut tls, &mut tokio::io::sink())).await {
                Ok(Err(error)) if is_alert(&error) => Err(Failure::Ended(error)),
                _ => Ok(()),
            }
        };
        timeout(self.config.door.connect_timeout, opening).await.unwrap_or(Err(Failure::Timeout))
    }

    async fn dial(&self) -> Result<Socket, Failure> {
        let began = Instant::now();
        let (proxy, deadline) = (self.config.proxy.as_ref(), self.config.door.connect_timeout);
        let socket = self.target.dial_through(proxy, deadline).await.map_err(Failure::Dial)?;
        self.metrics.dial_seconds.observe(began.elapsed().as_secs_f64());
        Ok(socket)
    }

    async fn shake(&self, server: Socket) -> Result<TlsStream, Failure> {
        let began = Instant::now();
        let config = Arc::clone(&self.material.borrow().config);
        let tls = TlsStream::connect(server, config, self.server_name.clone()).await?;
        self.metrics.shook_hands(tls.facts(), began.elapsed().as_secs_f64());
        Ok(tls)
    }

    fn report(&self, failure: &Failure, peer: &PeerAddress) -> &'static str {
        let door = &self.config.door;
        let (reason, result) = match failure {
            Failure::Local(_) => ("local", "tls_error"),
            Failure::LocalHandshake(refusal) => {
                let reason = metrics::reason(&refusal.error);
                self.metrics.handshake_failed(reason);
                journal::refused(door, peer, &self.listener, reason, refusal);
                return "tls_error";
            }
            Failure::Dial(_) => {
                self.metrics.dial_failures.inc();
                journal::unreachable(door, peer, &self.target, failure);
                return "backend_error";
            }
            Failure::Greeting(_) => ("greeting", "tls_error"),
            Failure::Ended(_) => ("peer_refused", "tls_error"),
            Failure::Handshake(refusal) => {
                let reason = metrics::reason(&refusal.error);
                self.metrics.handshake_failed(reason);
                journal::refused(door, &self.target, &self.listener, reason, refusal);
                return if reason == "not_allowed" { "denied" } else { "tls_error" };
            }
            Failure::Timeout => ("timeout", "timeout"),
        };
        self.metrics.handshake_failed(reason);
        if !door.hush.handshake_errors {
            tracing::warn!(%peer, target = %self.target, reason, error = %failure, "no tunnel");
        }
        result
    }
}
