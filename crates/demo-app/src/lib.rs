//! The main container of examples, compose demos and tests: a small web server that behaves like ordinary apps do.
//!
//! Promised: every request that got an answer stands in the access log, one whole line by one `write(2)` in append mode,
//! before the answer leaves; a log that cannot be written is counted and never ends the server; no path leaves
//! `--root`, neither through `..` nor through a symlink; SIGTERM lets running requests finish and ends with 0.
//!
//! Not promised: anything that a product needs. There is no TLS, no compression, no range, no directory listing, and
//! `POST /fail` is open to whoever reaches the port.
//!
//! | path | answers |
//! |---|---|
//! | `/healthz` | 200, or 503 after `--unhealthy-after` and after `POST /fail` |
//! | `/ready` | 200, or 503 before `--ready-after` and after `POST /fail` |
//! | `POST /fail`, `POST /recover` | 200, and the two above change |
//! | anything else | a file below `--root`, or with `--shape elasticsearch` that server's JSON |
//!
//! ```text
//! demo-app --root /html --access-log /var/log/app/access.log     # SIGUSR1 opens the log again
//! demo-app --app-log /var/log/ts.log                             # 01/12/2022T16:25:21 ...
//! demo-app --shape elasticsearch --listen :9200
//! ```

mod app_log;
mod args;
mod content;
mod elasticsearch;
mod health;
mod log_file;
mod metrics;
mod pages;
mod server;
mod site;
mod stamp;

pub use args::{Args, Command, Config, ServeArgs, Shape};
pub use server::serve;
pub use stamp::{Format, FormatError};

use kit_run::{Context, Error};

/// Does what the command line asks for: serves until a stop is requested, or asks a serving one for its health.
///
/// # Errors
/// A wrong request, an address or a log that cannot be opened, connections left at the end of the grace period.
pub async fn run(args: Args, cx: Context) -> Result<(), Error> {
    match args.command {
        Some(Command::Healthcheck(check)) => kit_admin::healthcheck(&check).map_err(|error| {
            let (code, hint) = (error.exit_code(), error.hint());
            Error::with_code(code, "not healthy").caused_by(error).hint(hint)
        }),
        None => serve(Config::try_from(args.serve)?, cx).await,
    }
}
