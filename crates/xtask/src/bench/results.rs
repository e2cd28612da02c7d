//! Raw samples, and the medians that tables show.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::Machine;

/// A program that was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// Its name in the table.
    pub name: String,
    /// What it says of itself.
    pub version: String,
    /// The size of its file.
    pub bytes: u64,
}

/// Every sample of one run. A row holds one list per program, one entry per round; `null` is "did not happen", such as
/// an end by a signal that was ignored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// Where it was measured.
    pub machine: Machine,
    /// How often each row was measured, the programs taking turns.
    pub rounds: usize,
    /// What was measured.
    pub programs: Vec<Program>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
    /// Row, program, samples.
    pub rows: BTreeMap<String, BTreeMap<String, Vec<Option<f64>>>>,
}

impl Results {
    /// Adds the sample of one round.
    pub fn add(&mut self, row: &str, program: &str, sample: Option<f64>) {
        let rounded = sample.map(|sample| (sample * 1000.0).round() / 1000.0);
        self.rows.entry(row.to_owned()).or_default().entry(program.to_owned()).or_default().push(rounded);
    }

    /// All samples of one program in one row.
    #[must_use]
    pub fn samples(&self, row: &str, program: &str) -> &[Option<f64>] {
        self.rows.get(row).and_then(|row| row.get(program)).map_or(&[], Vec::as_slice)
    }

    /// The median; `None` when nothing was measured or it did not happen in most rounds.
    #[must_use]
    pub fn median(&self, row: &str, program: &str) -> Option<f64> {
        let mut samples = self.samples(row, program).to_vec();
        // What did not happen is worse than any number.
        samples.sort_by(|a, b| a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY)));
        samples.get(samples.len().checked_sub(1)? / 2).copied().flatten()
    }

    /// The largest sample; `None` when nothing was measured or it did not happen once.
    #[must_use]
    pub fn worst(&self, row: &str, program: &str) -> Option<f64> {
        let samples = self.samples(row, program);
        let all: Option<Vec<f64>> = samples.iter().copied().collect();
        all?.into_iter().reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(samples: &[Option<f64>]) -> Results {
        let machine = Machine { cpu: String::new(), cores: 2, kernel: String::new(), commit: String::new() };
        let rows = BTreeMap::new();
        let mut results = Results { machine, rounds: samples.len(), programs: vec![], notes: vec![], rows };
        samples.iter().for_each(|sample| results.add("row", "program", *sample));
        results
    }

    #[test]
    fn a_median_is_the_middle_and_what_never_happened_is_the_worst() {
        assert_eq!(results(&[Some(3.0), Some(1.0), Some(2.0)]).median("row", "program"), Some(2.0));
        assert_eq!(results(&[None, Some(1.0), Some(2.0)]).median("row", "program"), Some(2.0));
        assert_eq!(results(&[None, None, Some(2.0)]).median("row", "program"), None);
        assert_eq!(results(&[None, Some(1.0)]).worst("row", "program"), None);
        assert_eq!(results(&[]).median("row", "program"), None);
    }
}
