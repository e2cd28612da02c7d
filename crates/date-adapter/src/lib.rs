//! Rewrites the timestamp in each log line from one format to another, so that all apps' logs look alike.
//!
//! Reads standard input, or follows files with the guarantees of kit-follow.
//!
//! Promised: not a byte outside the stamp changes, whatever the line holds; a line whose stamp is missing or names no
//! moment (31/02) goes out as it is and is counted; every whole line is written as soon as the input pauses, however it
//! is buffered; SIGTERM writes what has arrived and ends with 0. Zones come from a database that is compiled in.
//!
//! Not promised: a stamp behind the first 64 KiB of a line is not looked for, and weekday names are read but not
//! checked against the date.
//!
//! ```text
//! date-adapter -i '%d/%m/%YT%T' -f '%Y/%m/%dT%T'
//! 01/12/2022T16:25:21 GET /a/b T1   ->   2022/12/01T16:25:21 GET /a/b T1
//! ```

mod adapt;
mod args;
mod civil;
mod compat;
mod config;
pub mod exit;
mod explain;
mod filter;
mod followed;
mod format;
mod json;
mod locale;
mod memo;
mod metrics;
mod moment;
mod output;
mod place;
mod policy;
mod stream;
mod worked;
mod years;
mod zone;

pub use adapt::{Adapter, Counts, OnInvalid, OnUnmatched, Report};
pub use args::Args;
pub use config::Config;
pub use moment::Leap;
pub use stream::Stream;
pub use years::YearRule;
pub use zone::ZoneEnvironment;

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;

use args::Command;
use filter::End;
use kit_run::{Context, Error};

/// Why a request cannot be carried out, and its repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, without a full stop.
    pub what: String,
    /// How to write it right.
    pub hint: String,
}

impl Refusal {
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Refusal { what: what.into(), hint: hint.into() }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Error::request(refusal.what).hint(refusal.hint)
    }
}

impl Args {
    /// What the flags mean together, with zones as this environment names them.
    ///
    /// # Errors
    /// Whatever cannot work; nothing was read or written then.
    pub fn config(self, environment: &ZoneEnvironment) -> Result<Config, Refusal> {
        Config::new(self.adapt, environment)
    }
}

impl Config {
    /// The adapter that these flags describe, for lines from elsewhere than standard input.
    #[must_use]
    pub fn into_adapter(self) -> Adapter {
        self.adapter
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// A wrong request, a failing read or write, a line that a policy does not tolerate, or `--strict`.
pub async fn run(args: Args, cx: Context) -> Result<(), Error> {
    if let Some(Command::Healthcheck(check)) = &args.command {
        return kit_admin::healthcheck(check).map_err(|error| {
            let (code, hint) = (error.exit_code(), error.hint());
            Error::with_code(code, "not healthy").caused_by(error).hint(hint)
        });
    }
    let environment = ZoneEnvironment::from((cx.env("TZ"), cx.env("TZDIR")));
    let config = args.config(&environment)?;
    if config.explain || config.test_line.is_some() {
        return print(config);
    }
    serve(config, cx).await
}

fn print(mut config: Config) -> Result<(), Error> {
    let mut text = String::new();
    if config.explain {
        text.push_str(&explain::plan(&config));
    }
    let mut understood = true;
    if let Some(line) = config.test_line.take() {
        let test = explain::line(&mut config.adapter, config.worked.take(), &line);
        understood = test.rewritten;
        text.push_str(&test.text);
    }
    let printed = std::io::stdout().lock().write_all(text.as_bytes());
    printed.map_err(|error| Error::failed("cannot write to stdout").caused_by(error).hint(filter::WRITE_HINT))?;
    if understood {
        return Ok(());
    }
    Err(Error::failed("the test line was not rewritten").hint("the lines on stdout say how far it was understood"))
}

async fn serve(config: Config, cx: Context) -> Result<(), Error> {
    let Config { adapter, strict, admin, follow, worked, line_stats, headers, stdout_pipe_size, .. } = config;
    let listener = admin.bind().await;
    let listener = listener.map_err(|error| {
        Error::failed("cannot serve the admin paths").caused_by(error).hint(kit_admin::BindError::HINT)
    })?;
    let state = kit_admin::Admin::new("date-adapter");
    let metrics = metrics::Metrics::new(&state, adapter.formats(), &line_stats);
    if let Some(bytes) = stdout_pipe_size {
        enlarge_pipe(bytes);
    }
    // Dropped, and with it ended, when the work is done.
    let mut server = tokio::task::JoinSet::new();
    if let Some(listener) = listener {
        server.spawn(state.clone().serve(listener, std::future::pending()));
    }
    if follow.file.is_empty() {
        kit_run::stdout("date-adapter")?;
        metrics.count_reads(&state);
        let pulse = state.pulse("filter");
        state.condition("input open").met();
        let (adapter, end) = filter::filter(adapter, worked, metrics, cx.shutdown(), &pulse).await?;
        return conclude(&adapter, end, strict);
    }
    let headers = kit_follow::Headers::new(headers, follow.several());
    let config = follow.config(cx.grace()).map_err(|error| {
        let hint = error.hint();
        Error::request(error.to_string()).hint(hint)
    })?;
    let stats = kit_follow::Stats::default();
    state.register(|registry| stats.register(registry, "date_adapter"));
    let pod = followed::Pod::new(&cx, state.pulse("follow loop"), state.condition("files opened"))?;
    let work = Rc::new(RefCell::new(followed::Work { adapter, metrics }));
    followed::follow(config, Rc::clone(&work), (headers, worked), stats, pod).await?;
    conclude(&work.borrow().adapter, End::Done, strict)
}

fn enlarge_pipe(bytes: u64) {
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(std::io::stdout(), wanted) {
        tracing::warn!(%error, bytes, "stdout's pipe keeps its size");
    }
}

/// Turns the end of the stream into the end of the process.
fn conclude(adapter: &Adapter, end: End, strict: bool) -> Result<(), Error> {
    match end {
        End::Done => {}
        End::ReaderGone => kit_run::notice("date-adapter: nobody reads the output any more"),
        End::Failed(what, hint, error) => return Err(Error::failed(what).caused_by(error).hint(hint)),
    }
    if let Some(Report { line, stamp, reason }) = &adapter.failed {
        let shown = if stamp.is_empty() { String::new() } else { format!(" {stamp:?}") };
        return Err(Error::failed(format!("line {line}: {reason}{shown}"))
            .hint("--on-unmatched pass and --on-invalid pass let such lines through and count them"));
    }
    let counts = adapter.counts();
    if strict && counts.left_alone() > 0 {
        let Counts { unmatched, invalid, ambiguous, .. } = counts;
        let lines = counts.lines();
        return Err(Error::with_code(
            exit::NOT_ALL_REWRITTEN,
            format!(
                "of {lines} lines {unmatched} had no stamp, {invalid} an impossible and {ambiguous} an ambiguous one"
            ),
        )
        .hint("--test-line LINE tells how a line is understood"));
    }
    Ok(())
}
