//! What the app counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// All counters of the app; clones count into the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    requests: Family<Code, Counter>,
    lines: Family<Log, Counter>,
    errors: Family<Log, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Log {
    log: &'static str,
}

/// The counters of one log.
#[derive(Debug)]
pub(crate) struct LogMetrics {
    /// Lines appended.
    pub(crate) lines: Counter,
    /// Lines that could not be written whole, and failures to open the file again.
    pub(crate) errors: Counter,
}

impl Metrics {
    /// Makes the counters visible under their names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("demo_app_requests", "Requests answered, by status code", self.requests.clone());
        registry.register("demo_app_log_lines", "Lines appended to a log", self.lines.clone());
        registry.register(
            "demo_app_log_errors",
            "Lines that a log did not take whole, and failures to open it again",
            self.errors.clone(),
        );
    }

    /// One request was answered.
    pub(crate) fn answered(&self, code: u16) {
        self.requests.get_or_create(&Code { code }).inc();
    }

    /// The counters of the log of this name.
    pub(crate) fn log(&self, log: &'static str) -> LogMetrics {
        let label = Log { log };
        LogMetrics {
            lines: self.lines.get_or_create(&label).clone(),
            errors: self.errors.get_or_create(&label).clone(),
        }
    }
}
