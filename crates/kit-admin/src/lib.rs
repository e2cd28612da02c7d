//! What a running tool says of itself: four paths on one small HTTP listener.
//!
//! | path | 200 when | else 503 with |
//! |---|---|---|
//! | `/livez` | every work loop answered within a second | the loops that did not |
//! | `/readyz` | every condition is met now | the conditions that are not, and why |
//! | `/startupz` | every condition has been met at once, at some time | the same as `/readyz` |
//! | `/metrics` | always | - |
//!
//! Promised: an idle tool is not woken for its own liveness, because a loop is asked only when somebody asks
//! `/livez` ([`Pulse`]). Not promised: authentication. The listener is off unless given, and answers GET and HEAD. A tool may add
//! pages, aliases and settings of its own; what changes something is taken from loopback addresses only.
//!
//! ```no_run
//! # async fn example(listener: tokio::net::TcpListener) {
//! let admin = kit_admin::Admin::new("log-tailer");
//! let opened = admin.condition("files opened");
//! let server = admin.clone().serve(listener, std::future::pending());
//! opened.met();
//! server.await;
//! # }
//! ```

mod client;
mod process;
mod server;
mod state;

pub use client::{HealthcheckArgs, HealthcheckError, answer_of, ask, healthcheck, healthcheck_by, question};
pub use server::{Place, accept_each};
pub use state::{Admin, Condition, Page, Pulse};

/// The flag that turns the endpoints on. Flatten it into a tool's `Args`.
#[derive(Debug, Clone, clap::Args)]
pub struct AdminArgs {
    /// Serve /livez, /readyz, /startupz and /metrics here, e.g. :9090; off unless given
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<kit_units::ListenAddress>,
}

impl AdminArgs {
    /// The bound listener, or nothing where none was asked for.
    ///
    /// # Errors
    /// When the address cannot be bound, with the address as the flag names it.
    pub async fn bind(&self) -> Result<Option<tokio::net::TcpListener>, BindError> {
        let Some(address) = self.admin_listen else { return Ok(None) };
        let bound = tokio::net::TcpListener::bind(address.socket_addr()).await;
        bound.map(Some).map_err(|source| BindError { address, source })
    }
}

/// The admin address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on --admin-listen {address}")]
pub struct BindError {
    address: kit_units::ListenAddress,
    source: std::io::Error,
}

impl BindError {
    /// The repair.
    pub const HINT: &'static str =
        "containers of a pod share their ports: give each its own, above 1023 unless it may bind lower ones";
}
