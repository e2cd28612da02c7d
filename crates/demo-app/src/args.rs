//! What was typed ([`Args`]) and what is true ([`Config`]).

use std::path::PathBuf;
use std::time::Duration;

use kit_admin::{AdminArgs, HealthcheckArgs};
use kit_run::Error;
use kit_units::{ListenAddress, duration};

use crate::stamp::Format;

/// The stamp of the `ents` pod's log, day first.
const DAY_FIRST: &str = "%d/%m/%YT%T";
/// The stamp that Elasticsearch 7 writes, in UTC.
const ELASTICSEARCH: &str = "%FT%T,%3NZ";

/// A small web server that behaves like the apps of the examples
#[derive(Debug, clap::Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

impl kit_run::Tool for Args {
    const NAME: &'static str = "demo-app";
    // A bug met by one request ends that one; the others go on.
    const ENDS_AT_PANIC: bool = false;
}

/// What the binary does other than serving.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Ask a running demo-app for its health and tell by the exit code
    Healthcheck(HealthcheckArgs),
}

/// The flags of the server.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Serve HTTP here
    #[arg(long, value_name = "ADDR", default_value = ":8080")]
    pub listen: ListenAddress,

    /// Serve the files below this folder; without it / answers with one line of text
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Append one line per request in the combined format; SIGUSR1 opens the file again
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,

    /// Append a stamped line now and then, as an app's own log; SIGUSR1 opens the file again
    #[arg(long, value_name = "FILE")]
    pub app_log: Option<PathBuf>,

    /// The stamp of those lines as for date(1), in UTC; default %d/%m/%YT%T, or Elasticsearch's with its shape
    #[arg(long, value_name = "FORMAT", requires = "app_log")]
    pub app_log_format: Option<Format>,

    /// Pause between two lines of the app log, e.g. 1s or 5ms
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub app_log_every: Duration,

    /// /ready answers 503 for this long after the start
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub ready_after: Duration,

    /// /healthz answers 503 from this long after the start on; without it, never
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub unhealthy_after: Option<Duration>,

    /// Which app to look like
    #[arg(long, value_enum, default_value = "plain")]
    pub shape: Shape,

    /// Where /livez, /readyz, /startupz and /metrics are.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Which app the server looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// A web server with files
    Plain,
    /// One node of Elasticsearch 7: its JSON endpoints, and JSON lines in the app log
    Elasticsearch,
}

/// How this server serves.
#[derive(Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: ListenAddress,
    /// The folder of the files, which may come into being later.
    pub root: Option<PathBuf>,
    /// The access log.
    pub access_log: Option<PathBuf>,
    /// The app's own log.
    pub app_log: Option<AppLog>,
    /// How long `/ready` fails after the start.
    pub ready_after: Duration,
    /// When `/healthz` begins to fail.
    pub unhealthy_after: Option<Duration>,
    /// Which app to look like.
    pub shape: Shape,
    /// The admin endpoint.
    pub admin: AdminArgs,
}

/// The app's own log.
#[derive(Debug)]
pub struct AppLog {
    /// Where it is written.
    pub path: PathBuf,
    /// The stamp of each line.
    pub format: Format,
    /// Pause between two lines, never zero.
    pub every: Duration,
}

impl TryFrom<ServeArgs> for Config {
    type Error = Error;

    fn try_from(args: ServeArgs) -> Result<Self, Error> {
        let ServeArgs {
            listen,
            root,
            access_log,
            app_log,
            app_log_format,
            app_log_every,
            ready_after,
            unhealthy_after,
            shape,
            admin,
        } = args;
        if app_log_every.is_zero() {
            return Err(Error::request("--app-log-every must not be 0s: the log would fill the disk")
                .hint("write --app-log-every 1ms or more"));
        }
        if access_log.is_some() && access_log == app_log {
            return Err(
                Error::request("--access-log and --app-log name the same file").hint("give each log a file of its own")
            );
        }
        let format = match (app_log_format, shape) {
            (Some(format), _) => format,
            (None, Shape::Plain) => default_format(DAY_FIRST)?,
            (None, Shape::Elasticsearch) => default_format(ELASTICSEARCH)?,
        };
        let app_log = app_log.map(|path| AppLog { path, format, every: app_log_every });
        Ok(Self { listen, root, access_log, app_log, ready_after, unhealthy_after, shape, admin })
    }
}

fn default_format(text: &str) -> Result<Format, Error> {
    text.parse().map_err(|error| Error::request("the default stamp cannot be read").caused_by(error))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use kit_run::Environment;

    use super::*;

    fn config(argv: &[&str]) -> Result<Config, Error> {
        let argv = argv.iter().map(OsString::from).collect();
        let (args, _) = kit_run::parse::<Args>(argv, &Environment::default())?;
        Config::try_from(args.serve)
    }

    #[test]
    fn without_flags_it_serves_on_8080_and_writes_nothing() {
        let config = config(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
        assert!(config.root.is_none() && config.access_log.is_none() && config.app_log.is_none());
    }

    #[test]
    fn a_pause_of_zero_between_lines_is_refused() {
        let error = config(&["--app-log", "/logs/a", "--app-log-every", "0s"]).unwrap_err();
        assert_eq!(error.to_string(), "--app-log-every must not be 0s: the log would fill the disk");
        assert_eq!(error.code(), 2);
    }

    #[test]
    fn two_logs_in_one_file_are_refused() {
        let error = config(&["--app-log", "/logs/a", "--access-log", "/logs/a"]).unwrap_err();
        assert_eq!(error.to_string(), "--access-log and --app-log name the same file");
    }

    #[test]
    fn an_unknown_conversion_in_the_stamp_is_refused_with_the_ones_there_are() {
        let error = config(&["--app-log", "/logs/a", "--app-log-format", "%d %Q"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid value '%d %Q' for '--app-log-format <FORMAT>': %Q is not one of the conversions \
             %Y %y %m %d %e %H %I %M %S %p %T %R %F %D %b %B %a %A %j %s %f %N %z %Z %%"
        );
    }
}
