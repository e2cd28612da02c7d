//! What goes to stderr: log events, plain notices and the closing error.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{Common, LogFormat};

/// Kubernetes shows at most this many bytes of a container's termination message.
const TERMINATION_MESSAGE_BYTES: usize = 4096;

/// Sends `tracing` events to stderr, as lines of text or of JSON.
pub(crate) fn start(common: &Common) {
    let filter: Targets = common.log_level.clone();
    let registry = tracing_subscriber::registry().with(filter);
    // A second start, as in tests that call `main` twice, keeps the first subscriber.
    let _already_started = match common.log_format {
        LogFormat::Text => registry
            .with(tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false))
            .try_init(),
        LogFormat::Json => registry
            .with(tracing_subscriber::fmt::layer().with_writer(io::stderr).json().flatten_event(true))
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
