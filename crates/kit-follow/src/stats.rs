//! Numbers about following, as metrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels = Vec<(String, String)>;

/// Counters of one [`crate::follow`]. Clones share their numbers.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    pub(crate) bytes_read: Family<Labels, Counter>,
    pub(crate) lag_bytes: Family<Labels, Gauge>,
    pub(crate) lag_seconds: Family<Labels, Gauge<f64, AtomicU64>>,
    pub(crate) files_open: Gauge,
    pub(crate) rotations: Family<Labels, Counter>,
    pub(crate) recovered: Counter,
    pub(crate) missed: Counter,
    pub(crate) recovered_bytes: Counter,
    pub(crate) lost_bytes: Family<Labels, Counter>,
    pub(crate) checkpoint_writes: Counter,
    pub(crate) checkpoint_errors: Counter,
    pub(crate) overflows: Counter,
    pub(crate) decode_errors: Counter,
    pub(crate) watch_mode: Family<Labels, Gauge>,
    pub(crate) blocked_seconds: Counter<f64, AtomicU64>,
}

impl Stats {
    /// A record went to the state file, or did not.
    pub(crate) fn checkpointed(&self, written: &std::io::Result<()>) {
        let counter = if written.is_ok() { &self.checkpoint_writes } else { &self.checkpoint_errors };
        counter.inc();
    }

    /// Registers every number as `<prefix>_<name>`.
    pub fn register(&self, registry: &mut Registry, prefix: &str) {
        let registry = registry.sub_registry_with_prefix(prefix);
        let mut add = |name: &str, help: &str, metric: Metric| metric.register(registry, name, help);
        add("bytes_read", "Bytes read from the followed files", Metric::Counters(self.bytes_read.clone()));
        add(
            "lag_bytes",
            "Bytes that are in the files and were not handed over",
            Metric::Gauges(self.lag_bytes.clone()),
        );
        add("lag_seconds", "How long the oldest of these bytes has waited", Metric::Floats(self.lag_seconds.clone()));
        add("files_open", "Files that are open for following", Metric::Gauge(self.files_open.clone()));
        add("rotations", "Rotations and truncations that were seen", Metric::Counters(self.rotations.clone()));
        add("generations_recovered", "Generations found under a sibling name", Metric::Counter(self.recovered.clone()));
        add(
            "generations_missed",
            "Generations that were gone before they could be opened",
            Metric::Counter(self.missed.clone()),
        );
        add(
            "copytruncate_recovered_bytes",
            "Bytes read from a copy after a truncation",
            Metric::Counter(self.recovered_bytes.clone()),
        );
        add(
            "lost_bytes",
            "Bytes that were known to exist and could not be read",
            Metric::Counters(self.lost_bytes.clone()),
        );
        add("checkpoint_writes", "Records written to the state file", Metric::Counter(self.checkpoint_writes.clone()));
        add(
            "checkpoint_errors",
            "Records that could not be written to the state file",
            Metric::Counter(self.checkpoint_errors.clone()),
        );
        add(
            "inotify_overflows",
            "Times the kernel dropped events; everything is looked at anew then",
            Metric::Counter(self.overflows.clone()),
        );
        add(
            "decode_errors",
            "Compressed generations that could not be read to their end",
            Metric::Counter(self.decode_errors.clone()),
        );
        add("watch_mode", "1 for the way in which changes are noticed", Metric::Gauges(self.watch_mode.clone()));
        registry.register(
            "stdout_blocked_seconds",
            "Time in which the output took nothing",
            self.blocked_seconds.clone(),
        );
    }

    pub(crate) fn rotated(&self, file: &str, kind: &str) {
        self.rotations.get_or_create(&vec![("file".into(), file.into()), ("kind".into(), kind.into())]).inc();
    }

    pub(crate) fn lost(&self, reason: &str, bytes: u64) {
        if bytes > 0 {
            self.lost_bytes.get_or_create(&vec![("reason".into(), reason.into())]).inc_by(bytes);
        }
    }
}

enum Metric {
    Counter(Counter),
    Counters(Family<Labels, Counter>),
    Gauge(Gauge),
    Gauges(Family<Labels, Gauge>),
    Floats(Family<Labels, Gauge<f64, AtomicU64>>),
}

impl Metric {
    fn register(self, registry: &mut Registry, name: &str, help: &str) {
        match self {
            Self::Counter(metric) => registry.register(name, help, metric),
            Self::Counters(metric) => registry.register(name, help, metric),
            Self::Gauge(metric) => registry.register(name, help, metric),
            Self::Gauges(metric) => registry.register(name, help, metric),
            Self::Floats(metric) => registry.register(name, help, metric),
        }
    }
}
