//! What a tool may know of the process it runs in.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::time::Duration;

use crate::Shutdown;

/// The process seen from a tool: its shutdown, grace period, signals and environment.
#[derive(Debug, Clone)]
pub struct Context {
    shutdown: Shutdown,
    grace: Duration,
    environment: Environment,
}

impl Context {
    /// A context of the given parts; tools get theirs from [`crate::main`], tests may build one.
    #[must_use]
    pub fn new(shutdown: Shutdown, grace: Duration, environment: Environment) -> Self {
        Self { shutdown, grace, environment }
    }

    /// The request to stop that SIGTERM and SIGINT make.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// How long the work may go on after a shutdown was requested: `--grace`. Zero for one-shot tools.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// One environment variable, for tools whose job it is to hand such values on.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&OsStr> {
        self.environment.get(name)
    }

    /// The whole environment, as it was at the start.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Deliveries of a signal other than the stopping ones. Only inside a runtime, that is under [`crate::main`].
    ///
    /// # Errors
    /// When the kernel refuses the handler.
    pub fn signal(&self, signal: Signal) -> io::Result<SignalStream> {
        use tokio::signal::unix::{SignalKind, signal as listen};
        let kind = match signal {
            Signal::Hangup => SignalKind::hangup(),
            Signal::User1 => SignalKind::user_defined1(),
        };
        listen(kind).map(SignalStream)
    }
}

/// A signal that a tool may give a meaning of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP, by custom "read your configuration again".
    Hangup,
    /// SIGUSR1, by custom "reopen your log" or "say how you are".
    User1,
}

/// Deliveries of one [`Signal`]; several that arrive together count once.
#[derive(Debug)]
pub struct SignalStream(tokio::signal::unix::Signal);

impl SignalStream {
    /// Waits for the next delivery.
    pub async fn recv(&mut self) {
        self.0.recv().await;
    }
}

/// The environment of the process, read once at the start.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment that the process was given.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// One variable, if it is set; it may be empty.
    #[must_use]
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// All variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
