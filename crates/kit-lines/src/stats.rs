//! What happened to lines, for the metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The reason of a drop, as a label.
type Reason = [(&'static str, &'static str); 1];

/// Counters of one [`crate::Lines`]. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct LineStats {
    pub(crate) lines: Counter,
    pub(crate) dropped: Family<Reason, Counter>,
    pub(crate) long: Counter,
    pub(crate) undecodable: Counter,
}

impl LineStats {
    /// Registers the counters under `<prefix>_…`, the prefix being the tool's name with underscores.
    pub fn register(&self, registry: &mut Registry, prefix: &str) {
        let help = "Lines, or records of joined lines, that were looked at";
        registry.register(format!("{prefix}_lines"), help, self.lines.clone());
        self.register_findings(registry, prefix);
    }

    /// Registers all but the number of lines, for a tool that counts those itself.
    pub fn register_findings(&self, registry: &mut Registry, prefix: &str) {
        let mut add = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("{prefix}_{name}"), help, counter.clone());
        };
        add("long_lines", "Lines above --max-line-bytes", &self.long);
        add("decode_errors", "Lines with bytes that are wrong in their encoding", &self.undecodable);
        registry.register(format!("{prefix}_lines_dropped"), "Lines dropped on purpose", self.dropped.clone());
    }

    /// The counter of lines that the tool itself drops, for that reason.
    #[must_use]
    pub fn dropped(&self, reason: &'static str) -> Counter {
        self.dropped.get_or_create_owned(&[("reason", reason)])
    }

    pub(crate) fn drop_line(&self, reason: &'static str) {
        self.dropped.get_or_create(&[("reason", reason)]).inc();
    }
}
