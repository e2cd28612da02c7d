//! Where health and metrics are asked for: the plain listener of every tool, the same over TLS, and a unix socket.

use std::sync::Arc;
use std::time::Duration;

use kit_admin::Admin;
use kit_run::Error;
use kit_tls::Material;
use kit_tls::rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::DoorConfig;
use crate::listen::{Listen, Listener, SocketFile};
use crate::session::TlsStream;
use crate::socket::Socket;

/// For a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The certificate of the listener.
pub(crate) type Shown = watch::Receiver<Arc<Material<ServerConfig>>>;

/// Bound listeners.
pub(crate) struct Desk {
    plain: Option<TcpListener>,
    /// The listeners of this module, and what they show.
    own: Vec<(Listener, Option<Shown>)>,
    _file: Option<SocketFile>,
}

impl Desk {
    /// Binds all of them; `shown` makes the TCP one speak TLS.
    pub(crate) async fn open(config: &DoorConfig, shown: Option<Shown>) -> Result<Self, Error> {
        let failed = |error: kit_admin::BindError| {
            Error::failed("cannot serve health and metrics").caused_by(error).hint(kit_admin::BindError::HINT)
        };
        let mut desk = Self { plain: None, own: Vec::new(), _file: None };
        let tcp = if config.ghostunnel { beside_others(config)? } else { None };
        let tcp = match tcp {
            Some(listener) => Some(listener),
            None => kit_admin::AdminArgs { admin_listen: Some(config.admin_listen) }.bind().await.map_err(failed)?,
        };
        match (tcp, shown) {
            (Some(listener), Some(shown)) => desk.own.push((Listener::Tcp(listener), Some(shown))),
            (plain, _) => desk.plain = plain,
        }
        if let Some(path) = &config.admin_socket {
            let listen = Listen::Unix { path: path.clone(), mode: 0o660 };
            let unusable = |error: std::io::Error| {
                Error::failed(format!("cannot serve health and metrics on {listen}"))
                    .caused_by(error)
                    .hint("its folder must be there and writable")
            };
            let mut bound = listen.bind(1).map_err(unusable)?;
            desk._file = bound.file.take();
            for part in bound.parts {
                desk.own.push((part.into_listener().map_err(unusable)?, None));
            }
        }
        Ok(desk)
    }

    /// Answers for ever.
    pub(crate) async fn answer(self, admin: Admin) {
        let mut listeners = JoinSet::new();
        for (listener, shown) in self.own {
            listeners.spawn_local(serve(listener, shown, admin.clone()));
        }
        match self.plain {
            Some(listener) => admin.serve(listener, std::future::pending()).await,
            None => std::future::pending().await,
        }
    }
}

/// ghostunnel's listeners share their port with whoever has reserved it.
fn beside_others(config: &DoorConfig) -> Result<Option<TcpListener>, Error> {
    let listen = Listen::Tcp(config.admin_listen);
    let bound = listen.bind_beside_others(1).map_err(|error| {
        Error::failed(format!("cannot serve health and metrics on {listen}"))
            .caused_by(error)
            .hint(kit_admin::BindError::HINT)
    })?;
    let part = bound.parts.into_iter().next().map(crate::listen::Part::into_listener).transpose();
    match part.map_err(|error| Error::failed("cannot serve health and metrics").caused_by(error))? {
        Some(Listener::Tcp(listener)) => Ok(Some(listener)),
        _ => Ok(None),
    }
}

async fn serve(listener: Listener, shown: Option<Shown>, admin: Admin) {
    kit_admin::accept_each(
        || listener.accept(),
        |connections, socket, place| {
            let (admin, shown) = (admin.clone(), shown.clone());
            connections.spawn_local(async move {
                converse(socket, shown, &admin).await;
                drop(place);
            });
        },
    )
    .await;
}

async fn converse(socket: Socket, shown: Option<Shown>, admin: &Admin) {
    // Who reaches a unix socket is on this machine.
    let near = socket.peer().is_ok_and(|peer| peer.ip().is_none_or(|peer| peer.ip().to_canonical().is_loopback()));
    let Some(shown) = shown else { return admin.converse(socket, near).await };
    let config = Arc::clone(&shown.borrow().config);
    match tokio::time::timeout(HANDSHAKE, TlsStream::accept(socket, config)).await {
        Ok(Ok(tls)) => admin.converse(tls, near).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS session for health and metrics"),
        Err(_) => {}
    }
}
