//! The small commands that a neighbour in the pod runs against a running ambassador.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kit_admin::{HealthcheckArgs, HealthcheckError, healthcheck};
use kit_run::Error;
use kit_units::ListenAddress;

use crate::args::{ShutdownArgs, WaitArgs};

/// Where an ambassador answers unless it was told otherwise.
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 9091);
/// Pause between two questions of `wait`, and the time for one answer.
const WAIT_PAUSE: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(5);

/// Prints the version.
///
/// # Errors
/// When stdout is closed.
pub(crate) fn version() -> Result<(), Error> {
    let text = format!("tls-ambassador {}\n", env!("CARGO_PKG_VERSION"));
    let printed = std::io::stdout().lock().write_all(text.as_bytes());
    printed.map_err(|error| Error::failed("cannot write to stdout").caused_by(error))
}

/// Asks once.
///
/// # Errors
/// Exit code 1 when it is not healthy or does not answer, 2 for a wrong request.
pub(crate) fn ask(mut args: HealthcheckArgs) -> Result<(), Error> {
    let default: ListenAddress = std::net::SocketAddr::from(ADMIN).to_string().parse().map_err(refused)?;
    args.admin_listen.get_or_insert(default);
    healthcheck(&args).map_err(failed)
}

fn refused(error: kit_units::UnitError) -> Error {
    Error::request(error.to_string())
}

fn failed(error: HealthcheckError) -> Error {
    let (code, hint) = (error.exit_code(), error.hint());
    Error::with_code(code, "not healthy").caused_by(error).hint(hint)
}

/// Asks until the answer is "ready".
///
/// # Errors
/// Exit code 124 when the time is over, with the last answer.
pub(crate) fn wait(args: WaitArgs) -> Result<(), Error> {
    let WaitArgs { admin_listen, max } = args;
    let end = Instant::now() + max;
    loop {
        let question = HealthcheckArgs {
            admin_listen: Some(admin_listen),
            path: "/readyz".to_owned(),
            timeout: Duration::from_secs(1).min(max.max(WAIT_PAUSE)),
        };
        let Err(error) = healthcheck(&question) else { return Ok(()) };
        if Instant::now() + WAIT_PAUSE >= end {
            let hint = error.hint();
            let text = format!("not ready within {}", kit_units::format_duration(max));
            return Err(Error::with_code(kit_run::exit::TIMED_OUT, text).caused_by(error).hint(hint));
        }
        std::thread::sleep(WAIT_PAUSE);
    }
}

/// Asks a running ambassador to end.
///
/// # Errors
/// When it does not answer, or does not take such requests.
pub(crate) fn shutdown(args: ShutdownArgs) -> Result<(), Error> {
    let address = args.admin_listen.reachable();
    let unreachable = |error: std::io::Error| {
        Error::failed(format!("cannot ask http://{address}/quitquitquit")).caused_by(error).hint("is it running?")
    };
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).map_err(unreachable)?;
    stream.set_read_timeout(Some(ANSWER)).map_err(unreachable)?;
    let request =
        format!("POST /quitquitquit HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(unreachable)?;
    let mut answer = String::new();
    // A status line is enough; the ambassador may end before it has said more.
    let mut limited = stream.take(4096);
    let read = limited.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).unwrap_or_default();
    match (status, read) {
        ("200", _) => Ok(()),
        ("", Err(error)) => Err(unreachable(error)),
        (status, _) => Err(Error::failed(format!("http://{address}/quitquitquit answers {status:?}"))
            .hint("start the ambassador with --quitquitquit")),
    }
}
