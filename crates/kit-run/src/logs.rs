//! What goes to stderr: log events, plain notices and the closing error.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::{Common, LogFormat};

/// Kubernetes shows at most this many bytes of a container's termination message.
const TERMINATION_MESSAGE_BYTES: usize = 4096;

/// The level in use, for tools that let it be changed.
static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Which log events are written now, as `--log-level` takes it; `None` for a tool whose level stays as it was.
#[must_use]
pub fn log_level() -> Option<String> {
    LEVEL.get()?.with_current(ToString::to_string).ok()
}

/// Changes which log events are written, from now on and in all threads: what `--log-level` takes.
///
/// # Errors
/// Text that is no level, with those that there are; a tool without [`crate::Tool::LOG_LEVEL_CHANGES`].
pub fn set_log_level(text: &str) -> Result<(), &'static str> {
    let level = crate::request::log_level(text)?;
    let handle = LEVEL.get().ok_or("the level of this tool stays as it was at the start")?;
    handle.reload(level).map_err(|_| "the log has ended")
}

/// Sends `tracing` events to stderr, as lines of text or of JSON. Where the level `changes`, each event that is not ruled out for
/// good takes a lock to be read.
pub(crate) fn start(common: &Common, changes: bool) {
    let filter: Targets = common.log_level.clone();
    if changes {
        let (filter, handle) = reload::Layer::new(filter);
        let _already_started = LEVEL.set(handle);
        begin(common, tracing_subscriber::registry().with(filter));
    } else {
        begin(common, tracing_subscriber::registry().with(filter));
    }
}

fn begin<S>(common: &Common, registry: S)
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    // A second start, as in tests that call `main` twice, keeps the first subscriber.
    let _already_started = match common.log_format {
        LogFormat::Text => registry
            .with(tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false))
            .try_init(),
        LogFormat::Json => registry
            // A field of an event may be called `target`, and one object cannot have two.
            .with(
                tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false).json().flatten_event(true),
            )
            .try_init(),
    };
}

/// Writes one line of plain text to stderr: sentences that scripts match on, such as GNU tail's.
///
/// A closed stderr is ignored: there is nobody left to tell.
pub fn notice(text: impl AsRef<str>) {
    let mut line = text.as_ref().to_owned();
    line.push('\n');
    let _nobody_left = io::stderr().lock().write_all(line.as_bytes());
}

/// Prints the closing error and leaves it where `kubectl describe pod` finds it.
pub(crate) fn closing(report: &str, termination_log: &Path) {
    let _nobody_left = io::stderr().lock().write_all(report.as_bytes());
    let mut cut = report.len().min(TERMINATION_MESSAGE_BYTES);
    while !report.is_char_boundary(cut) {
        cut -= 1;
    }
    // Not created: outside a pod the file does not exist and nothing should appear there.
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(termination_log) {
        let _best_effort = file.write_all(&report.as_bytes()[..cut]);
    }
}
