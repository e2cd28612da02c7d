//! The door out: plain bytes from the pod, TLS to a server.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use kit_tls::Material;
use kit_tls::rustls;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::args::StartTls;
use crate::config::ClientConfig;
use crate::metrics::{self, Metrics};
use crate::relay::{Limits, Plain, relay};
use crate::server::outcome;
use crate::session::{HandshakeError, TlsStream};
use crate::socket::{PeerAddress, Socket};
use crate::starttls::{mysql, postgres};
use crate::target::Target;
use crate::threads::Serve;

/// One listener and its server, as one thread knows them.
#[derive(Debug)]
pub struct Tunnel {
    /// The listener's name in metrics and logs.
    pub listener: String,
    /// The server.
    pub target: Target,
    /// The name to ask for and to verify.
    pub server_name: ServerName<'static>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The whole configuration.
    pub config: Arc<ClientConfig>,
    /// Certificate and trust for new connections.
    pub material: watch::Receiver<Arc<Material<rustls::ClientConfig>>>,
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
    Handshake(#[from] HandshakeError),
    /// None of it happened in time.
    #[error("no session within the connect timeout")]
    Timeout,
}

impl Serve for Tunnel {
    async fn serve(self: Rc<Self>, mut socket: Socket) {
        let _open = metrics::OpenConnection::new(&self.metrics);
        let accepted = Instant::now();
        let peer = socket.peer().unwrap_or(PeerAddress::Unix);
        let opened = timeout(self.config.door.connect_timeout, self.open(&mut socket)).await;
        let result = match opened.unwrap_or(Err(Failure::Timeout)) {
            Ok(mut tls) => {
                tracing::debug!(%peer, target = %self.target, "connection open");
                let door = &self.config.door;
                let limits = Limits {
                    idle: door.idle_timeout,
                    half_closed: door.close_timeout,
                    end: door.max_lifetime.map(|lifetime| accepted + lifetime),
                };
                let counters = (&self.metrics.bytes_in, &self.metrics.bytes_out);
                outcome(relay(&mut Plain::new(socket), &mut tls, limits, counters).await, &peer)
            }
            Err(failure) => self.report(&failure),
        };
        self.metrics.ended(&self.listener, result);
        tracing::debug!(%peer, listener = self.listener, result, "connection closed");
    }
}

impl Tunnel {
    async fn open(&self, client: &mut Socket) -> Result<TlsStream, Failure> {
        match self.config.door.starttls {
            StartTls::None => self.shake(self.dial().await?).await,
            StartTls::Postgres | StartTls::PostgresDirect => {
                let first = postgres::first_message(client).await.map_err(Failure::Local)?;
                let opened = self.open_postgres(client, &first).await;
                if let Err(failure) = &opened {
                    let response = postgres::error("08006", &format!("tls-ambassador: {failure}"));
                    // The client may be gone; the failure is reported either way.
                    let _gone = client.write_all(&response).await;
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
                        let response =
                            mysql::error(sequence, mysql::BAD_HANDSHAKE, &format!("tls-ambassador: {failure}"));
                        let _gone = response.write(client).await;
                        return Err(failure);
                    }
                };
                let login = mysql::authenticate(client, &mut tls, mysql::TlsSide::Server, Some(login));
                login.await.map_err(Failure::Greeting)?;
                Ok(tls)
            }
        }
    }

    async fn open_postgres(&self, client: &mut Socket, first: &[u8]) -> Result<TlsStream, Failure> {
        let mut server = self.dial().await?;
        if self.config.door.starttls == StartTls::Postgres {
            postgres::ask(&mut server).await.map_err(Failure::Greeting)?;
        }
        let mut tls = self.shake(server).await?;
        postgres::begin(client, &mut tls, first).await.map_err(Failure::Greeting)?;
        Ok(tls)
    }

    /// Opens one session as a connection would, and closes it: `--run-connection-test`.
    ///
    /// # Errors
    /// What a connection would fail with.
    pub async fn test(&self) -> Result<(), Failure> {
        let opening = async {
            let mut server = self.dial().await?;
            match self.config.door.starttls {
                StartTls::None | StartTls::PostgresDirect => {}
                StartTls::Postgres => postgres::ask(&mut server).await.map_err(Failure::Greeting)?,
                StartTls::Mysql => mysql::probe(&mut server).await.map_err(Failure::Greeting)?,
            }
            let mut tls = self.shake(server).await?;
            let _gone = tls.shutdown().await;
            Ok(())
        };
        timeout(self.config.door.connect_timeout, opening).await.unwrap_or(Err(Failure::Timeout))
    }

    async fn dial(&self) -> Result<Socket, Failure> {
        self.target.dial(self.config.door.connect_timeout).await.map_err(Failure::Dial)
    }

    async fn shake(&self, server: Socket) -> Result<TlsStream, Failure> {
        let began = Instant::now();
        let config = Arc::clone(&self.material.borrow().config);
        let tls = TlsStream::connect(server, config, self.server_name.clone()).await?;
        self.metrics.shook_hands(tls.facts(), began.elapsed().as_secs_f64());
        Ok(tls)
    }

    fn report(&self, failure: &Failure) -> &'static str {
        let (reason, result) = match failure {
            Failure::Local(_) => ("local", "tls_error"),
            Failure::Dial(_) => {
                self.metrics.dial_failures.inc();
                tracing::warn!(target = %self.target, error = %failure, "error on dial");
                return "backend_error";
            }
            Failure::Greeting(_) => ("greeting", "tls_error"),
            Failure::Handshake(error) => match metrics::reason(error) {
                "not_allowed" => ("not_allowed", "denied"),
                reason => (reason, "tls_error"),
            },
            Failure::Timeout => ("timeout", "timeout"),
        };
        self.metrics.handshake_failed(reason);
        tracing::warn!(target = %self.target, reason, error = %failure, "no tunnel");
        result
    }
}
