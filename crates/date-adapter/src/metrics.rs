//! What a running date-adapter counts, for `/metrics`.

use kit_admin::Admin;
use kit_lines::LineStats;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::adapt::Counts;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FormatLabel {
    format: String,
}

/// A counter and what it shows.
type Shown = (Counter, fn(&Counts) -> u64);

/// The counters, and what they showed when they were last brought up to date.
#[derive(Debug)]
pub(crate) struct Metrics {
    lines: [Shown; 4],
    dropped: Counter,
    dst: [Shown; 2],
    years: Counter,
    formats: Vec<Counter>,
    pub(crate) read: Counter,
    pub(crate) written: Counter,
    shown: Counts,
}

impl Metrics {
    /// Registers everything; `formats` are the names of the input formats in their order.
    pub(crate) fn new<'a>(admin: &Admin, formats: impl Iterator<Item = &'a str>, lines_worked: &LineStats) -> Self {
        let lines = Family::<ResultLabel, Counter>::default();
        let dst = Family::<KindLabel, Counter>::default();
        let hits = Family::<FormatLabel, Counter>::default();
        let [years, read, written] = std::array::from_fn(|_| Counter::default());
        admin.register(|registry| {
            let mut add = |name: &str, help: &str, counter: &Counter| {
                registry.register(format!("date_adapter_{name}"), help, counter.clone());
            };
            add("year_inferred", "Stamps whose year was inferred", &years);
            add("bytes_written", "Bytes that stdout has accepted", &written);
            lines_worked.register_findings(registry, "date_adapter");
            registry.register("date_adapter_lines", "Lines by what became of them", lines.clone());
            registry.register("date_adapter_dst", "Stamps in a gap or fold of daylight saving", dst.clone());
            registry.register("date_adapter_format_hits", "Stamps by the input format that read them", hits.clone());
        });
        let line = |result| lines.get_or_create_owned(&ResultLabel { result });
        let kind = |kind| dst.get_or_create_owned(&KindLabel { kind });
        Metrics {
            lines: [
                (line("rewritten"), |counts| counts.rewritten),
                (line("unmatched"), |counts| counts.unmatched),
                (line("invalid"), |counts| counts.invalid),
                (line("ambiguous"), |counts| counts.ambiguous),
            ],
            dst: [(kind("gap"), |counts| counts.gaps), (kind("fold"), |counts| counts.folds)],
            formats: formats.map(|name| hits.get_or_create_owned(&FormatLabel { format: name.to_owned() })).collect(),
            dropped: lines_worked.dropped("policy"),
            years,
            read,
            written,
            shown: Counts::default(),
        }
    }

    /// Registers what was read where nobody else counts it.
    pub(crate) fn count_reads(&self, admin: &Admin) {
        admin.register(|registry| registry.register("date_adapter_bytes_read", "Bytes read", self.read.clone()));
    }

    /// Adds what happened since the last time.
    pub(crate) fn show(&mut self, counts: &Counts) {
        for (counter, value) in self.lines.iter().chain(&self.dst) {
            counter.inc_by(value(counts) - value(&self.shown));
        }
        self.dropped.inc_by(counts.dropped - self.shown.dropped);
        self.years.inc_by(counts.years_inferred - self.shown.years_inferred);
        let before = self.shown.hits.iter().chain(std::iter::repeat(&0));
        for ((counter, hits), before) in self.formats.iter().zip(&counts.hits).zip(before) {
            if hits > before {
                counter.inc_by(hits - before);
            }
        }
        self.shown.clone_from(counts);
    }
}
