//! Lines written against lines read.

use std::collections::HashMap;
use std::fmt;

/// How two sequences of lines differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comparison {
    written: usize,
    read: usize,
    missing: usize,
    /// Read more often than written, or never written at all.
    extra: usize,
    in_order: bool,
}

impl Comparison {
    pub(crate) fn is_equal(&self) -> bool {
        self.missing == 0 && self.extra == 0 && self.in_order
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { written, read, missing, extra, in_order } = self;
        let order = if *in_order { "in order" } else { "NOT in order" };
        write!(f, "{written} lines written, {read} read, {missing} missing, {extra} too many, {order}")
    }
}

/// Compares line by line; the last line may lack its newline, and then it is another line.
pub(crate) fn lines(written: &[u8], read: &[u8]) -> Comparison {
    let lines = |bytes: &[u8]| bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (written, read) = (lines(written), lines(read));
    let mut balance: HashMap<&[u8], i64> = HashMap::new();
    for line in &written {
        *balance.entry(line).or_default() += 1;
    }
    for line in &read {
        *balance.entry(line).or_default() -= 1;
    }
    let sum =
        |keep: fn(i64) -> i64| usize::try_from(balance.values().map(|count| keep(*count)).sum::<i64>()).unwrap_or(0);
    let (missing, extra) = (sum(|count| count.max(0)), sum(|count| (-count).max(0)));
    // With lines missing or too many, order means that the common ones come in the same sequence.
    let in_order = if missing + extra == 0 { written == read } else { is_subsequence(&written, &read) };
    Comparison { written: written.len(), read: read.len(), missing, extra, in_order }
}

/// Whether what was read, without what was never written, comes in the order of what was written.
fn is_subsequence(written: &[Vec<u8>], read: &[Vec<u8>]) -> bool {
    let known: std::collections::HashSet<&Vec<u8>> = written.iter().collect();
    let mut rest = written.iter();
    read.iter().filter(|line| known.contains(line)).all(|line| rest.any(|other| other == line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_are_equal() {
        let comparison = lines(b"a\nb\na\n", b"a\nb\na\n");
        assert!(comparison.is_equal());
        assert_eq!(comparison.to_string(), "3 lines written, 3 read, 0 missing, 0 too many, in order");
    }

    #[test]
    fn each_kind_of_damage_is_seen() {
        let seen = |read: &[u8]| {
            let comparison = lines(b"a\nb\nc\n", read);
            assert!(!comparison.is_equal());
            (comparison.missing, comparison.extra, comparison.in_order)
        };
        assert_eq!(seen(b"a\nc\n"), (1, 0, true));
        assert_eq!(seen(b"a\nb\nb\nc\n"), (0, 1, false));
        assert_eq!(seen(b"b\na\nc\n"), (0, 0, false));
        assert_eq!(seen(b"a\nb\nc"), (1, 1, true));
        assert_eq!(seen(b"a\nbc\n"), (2, 1, true));
    }
}
