//! Where connections come from: `:9200`, `127.0.0.1:5432`, `unix:/run/s.sock,mode=0660`.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use kit_units::ListenAddress;
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::socket::Socket;

/// Connections that the kernel keeps for us; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// An address to accept on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp(ListenAddress),
    /// A unix socket, removed at the end.
    Unix {
        /// The file.
        path: PathBuf,
        /// Who may connect.
        mode: u32,
    },
}

impl Listen {
    /// True when only processes of this pod can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.socket_addr().ip().is_loopback(),
            Self::Unix { .. } => true,
        }
    }

    /// Binds once for each of `threads` workers; the kernel spreads the connections.
    ///
    /// # Errors
    /// When the address is taken or may not be bound; nothing stays bound then.
    pub fn bind(&self, threads: usize) -> io::Result<Bound> {
        match self {
            Self::Tcp(address) => bind_tcp(address.socket_addr(), threads, false),
            Self::Unix { path, mode } => bind_unix(path, *mode, threads),
        }
    }

    /// As [`Listen::bind`], and a TCP port that another program holds for sharing is shared, as ghostunnel does.
    ///
    /// # Errors
    /// As for [`Listen::bind`].
    pub fn bind_beside_others(&self, threads: usize) -> io::Result<Bound> {
        match self {
            Self::Tcp(address) => bind_tcp(address.socket_addr(), threads, true),
            Self::Unix { .. } => self.bind(threads),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("systemd:") || text.starts_with("launchd:") {
            return Err(format!(
                "{text:?} takes a socket from an init system, which a pod has not; write :9200 or unix:PATH"
            ));
        }
        let Some(rest) = text.strip_prefix("unix:") else {
            return text.parse().map(Self::Tcp).map_err(|error: kit_units::UnitError| error.to_string());
        };
        let (path, mode) = match rest.rsplit_once(",mode=") {
            Some((path, mode)) => (path, u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o777)),
            None => (rest, Some(0o660)),
        };
        match mode {
            Some(mode) if !path.is_empty() => Ok(Self::Unix { path: path.into(), mode }),
            _ => Err(format!(
                "{text:?} is no socket to listen on; write unix:/run/app.sock or unix:/run/app.sock,mode=0660"
            )),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix { path, .. } => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// A bound address.
#[derive(Debug)]
pub struct Bound {
    /// With port 0 in the request, the port that the kernel chose.
    pub address: String,
    /// One socket for each thread. Accepting ends when all of them are dropped.
    pub parts: Vec<Part>,
    /// The file of a unix socket, removed when this is dropped.
    pub file: Option<SocketFile>,
}

/// The name of a bound unix socket in the file system.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it already; a file left behind is replaced at the next start.
        let _gone = fs::remove_file(&self.0);
    }
}

/// One thread's listening socket, on its way to the thread's runtime.
#[derive(Debug)]
pub enum Part {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener),
}

impl Part {
    /// Registers with the runtime of the calling thread.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn into_listener(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(socket) => TcpListener::from_std(socket).map(Listener::Tcp),
            Self::Unix(socket) => UnixListener::from_std(socket).map(Listener::Unix),
        }
    }
}

/// A thread's listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// The next connection. Cancel safe.
    ///
    /// # Errors
    /// When descriptors run out, or the client is already gone.
    pub async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Socket::tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
        }
    }
}

fn bind_tcp(address: SocketAddr, threads: usize, beside_others: bool) -> io::Result<Bound> {
    // With SO_REUSEPORT a second ambassador would share the port in silence. This bind is without, so it fails when
    // anybody listens there.
    if address.port() != 0 && !beside_others {
        let probe = raw(address)?;
        probe.bind(&SockAddr::from(address))?;
    }
    let mut bound = address;
    let mut parts = Vec::with_capacity(threads);
    for _ in 0..threads {
        let socket = raw(bound)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SockAddr::from(bound))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener: std::net::TcpListener = socket.into();
        bound = listener.local_addr()?;
        parts.push(Part::Tcp(listener));
    }
    Ok(Bound { address: bound.to_string(), parts, file: None })
}

fn raw(address: SocketAddr) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn bind_unix(path: &Path, mode: u32, threads: usize) -> io::Result<Bound> {
    let stale = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if stale {
        // Left by a run that was killed: nobody listens on it any more.
        fs::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    let file = Some(SocketFile(path.to_owned()));
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    let clones = (1..threads).map(|_| listener.try_clone().map(Part::Unix));
    let mut parts = clones.collect::<io::Result<Vec<_>>>()?;
    parts.push(Part::Unix(listener));
    Ok(Bound { address: format!("unix:{}", path.display()), parts, file })
}
