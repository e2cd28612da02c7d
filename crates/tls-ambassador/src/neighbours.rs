//! The small commands that a neighbour in the pod runs against a running ambassador.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kit_admin::HealthcheckError;
use kit_run::Error;
use kit_tls::rustls::{self, pki_types::ServerName};
use kit_tls::{LoadError, Password};
use kit_units::ListenAddress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::args::{AdminTlsArgs, ProbeArgs, ShutdownArgs, WaitArgs};
use crate::session::{HandshakeError, TlsStream};
use crate::socket::Socket;
use crate::threads;

/// Where an ambassador answers unless it was told otherwise.
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 9091);
/// Pause between two questions of `wait`, and the time for one answer.
const WAIT_PAUSE: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const MOST: usize = 4096;

/// Prints the version.
///
/// # Errors
/// When stdout is closed.
pub(crate) fn version() -> Result<(), Error> {
    let text = format!("tls-ambassador {}\n", env!("CARGO_PKG_VERSION"));
    let printed = std::io::stdout().lock().write_all(text.as_bytes());
    printed.map_err(|error| Error::failed("cannot write to stdout").caused_by(error))
}

/// How to ask: in plain text, or over TLS of whoever shows one public key.
enum Asker {
    Plain,
    Tls(Arc<rustls::ClientConfig>),
}

impl Asker {
    /// Reads the certificate that will have to be shown.
    fn new(tls: &AdminTlsArgs) -> Result<Self, Error> {
        let Some(file) = certificate(tls)? else { return Ok(Self::Plain) };
        let password = tls.storepass_file.clone().map_or(Password::Empty, Password::File);
        let leaf = kit_tls::leaf_in(file, &password).map_err(unreadable)?;
        let settings = kit_tls::client::Settings { pins: vec![leaf.spki_sha256], ..Default::default() };
        let material = kit_tls::client::load(&kit_tls::client::Files::default(), &settings).map_err(unreadable)?;
        Ok(Self::Tls(Arc::clone(&material.config)))
    }

    fn scheme(&self) -> &'static str {
        match self {
            Self::Plain => "http",
            Self::Tls(_) => "https",
        }
    }

    fn ask(&self, method: &str, address: SocketAddr, path: &str, time: Duration) -> io::Result<(u16, String)> {
        match self {
            Self::Plain => kit_admin::ask(method, address, path, time),
            Self::Tls(config) => {
                let question = kit_admin::question(method, address, path);
                let mut answer = Err(io::ErrorKind::TimedOut.into());
                let asking = async {
                    let asking = over_tls(Arc::clone(config), address, &question);
                    if let Ok(said) = tokio::time::timeout(time, asking).await {
                        answer = said;
                    }
                    Ok(())
                };
                threads::on_this_thread(Box::pin(asking)).map_err(io::Error::other)?;
                kit_admin::answer_of(&answer?)
            }
        }
    }

    /// The repair; one who speaks TLS answers plain questions with bytes that are no HTTP.
    fn hint<'a>(&self, error: &io::Error, otherwise: &'a str) -> &'a str {
        match self {
            Self::Plain if error.kind() == io::ErrorKind::InvalidData => {
                "an ambassador with --admin-tls is asked with --admin-tls and the same --cert or --keystore"
            }
            _ => otherwise,
        }
    }

    /// What `error` means to somebody who was told `what` did not come about.
    fn failed(&self, code: u8, what: String, error: HealthcheckError) -> Error {
        let hint = match &error {
            HealthcheckError::Unreachable { source, .. } => self.hint(source, error.hint()),
            _ => error.hint(),
        };
        Error::with_code(code, what).hint(hint).caused_by(error)
    }

    fn healthy(&self, question: &kit_admin::HealthcheckArgs) -> Result<(), HealthcheckError> {
        kit_admin::healthcheck_by(question, self.scheme(), |address, path| {
            self.ask("GET", address, path, question.timeout)
        })
    }
}

/// The file with the certificate that will have to be shown; none over plain text.
fn certificate(tls: &AdminTlsArgs) -> Result<Option<&PathBuf>, Error> {
    match tls.cert.as_ref().or(tls.keystore.as_ref()) {
        _ if !tls.admin_tls => Ok(None),
        Some(file) => Ok(Some(file)),
        None => Err(Error::request("--admin-tls does not say which certificate the ambassador shows")
            .hint("give the same --cert or --keystore as to the ambassador")),
    }
}

async fn over_tls(config: Arc<rustls::ClientConfig>, address: SocketAddr, question: &str) -> io::Result<Vec<u8>> {
    let socket = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    let mut tls =
        TlsStream::connect(Socket::tcp(socket), config, name).await.map_err(|refusal| match refusal.error {
            HandshakeError::Tls(rustls::Error::InvalidCertificate(_)) => {
                io::Error::other("it shows another public key than the given certificate has")
            }
            other => io::Error::other(other),
        })?;
    tls.write_all(question.as_bytes()).await?;
    tls.flush().await?;
    let mut answer = Vec::new();
    while answer.len() < MOST {
        match tls.read_buf(&mut answer).await {
            Ok(0) => break,
            Ok(_) => {}
            // Who was told to end may do so before it has said all.
            Err(_) if !answer.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

fn unreadable(error: LoadError) -> Error {
    let hint = error.hint();
    Error::request("cannot tell which certificate the ambassador shows").caused_by(error).hint(hint)
}

/// Asks once.
///
/// # Errors
/// Exit code 1 when it is not healthy or does not answer, 2 for a wrong request.
pub(crate) fn ask(args: ProbeArgs) -> Result<(), Error> {
    let ProbeArgs { mut question, tls } = args;
    let default: ListenAddress = SocketAddr::from(ADMIN).to_string().parse().map_err(refused)?;
    question.admin_listen.get_or_insert(default);
    let asker = Asker::new(&tls)?;
    asker.healthy(&question).map_err(|error| asker.failed(error.exit_code(), "not healthy".to_owned(), error))
}

fn refused(error: kit_units::UnitError) -> Error {
    Error::request(error.to_string())
}

/// Asks until the answer is "ready".
///
/// # Errors
/// Exit code 124 when the time is over, with the last answer.
pub(crate) fn wait(args: WaitArgs) -> Result<(), Error> {
    let WaitArgs { admin_listen, tls, max } = args;
    let end = Instant::now() + max;
    let question = kit_admin::HealthcheckArgs {
        admin_listen: Some(admin_listen),
        path: "/readyz".to_owned(),
        timeout: Duration::from_secs(1).min(max.max(WAIT_PAUSE)),
    };
    let in_vain = || format!("not ready within {}", kit_units::format_duration(max));
    let ask = |asker: Asker| {
        asker.healthy(&question).map_err(|error| asker.failed(kit_run::exit::TIMED_OUT, in_vain(), error))
    };
    certificate(&tls)?;
    loop {
        // Read each time: the certificate may be renewed meanwhile, or not be there yet.
        let asked = Asker::new(&tls).and_then(ask);
        let Err(error) = asked else { return Ok(()) };
        if Instant::now() + WAIT_PAUSE >= end {
            return Err(error);
        }
        std::thread::sleep(WAIT_PAUSE);
    }
}

/// Asks a running ambassador to end.
///
/// # Errors
/// When it does not answer, or does not take such requests.
pub(crate) fn shutdown(args: ShutdownArgs) -> Result<(), Error> {
    let ShutdownArgs { admin_listen, tls } = args;
    let (asker, address) = (Asker::new(&tls)?, admin_listen.reachable());
    let url = format!("{}://{address}/quitquitquit", asker.scheme());
    match asker.ask("POST", address, "/quitquitquit", ANSWER) {
        Ok((200, _)) => Ok(()),
        Ok((status, _)) => {
            Err(Error::failed(format!("{url} answers {status}")).hint("start the ambassador with --quitquitquit"))
        }
        Err(error) => {
            let hint = asker.hint(&error, "is it running?");
            Err(Error::failed(format!("cannot ask {url}")).hint(hint).caused_by(error))
        }
    }
}
