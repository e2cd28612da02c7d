//! How many lines or bytes a second may pass.

use std::str::FromStr;
use std::time::{Duration, Instant};

/// A limit of lines or of bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Lines a second.
    Lines(u64),
    /// Bytes a second, as they were read.
    Bytes(u64),
}

/// What happens above the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RatePolicy {
    /// Wait; nothing is lost, rotated files are held open meanwhile
    Block,
    /// Drop whole lines and count them
    Drop,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a rate; write 1000/s for lines or 1MiB/s for bytes");
        let amount = text.strip_suffix("/s").ok_or_else(refused)?;
        let rate = match amount.parse::<u64>() {
            Ok(lines) => Self::Lines(lines),
            Err(_) => Self::Bytes(kit_units::size(amount).map_err(|_| refused())?),
        };
        match rate {
            Self::Lines(0) | Self::Bytes(0) => Err(format!("{text:?} would let nothing pass")),
            rate => Ok(rate),
        }
    }
}

/// A token bucket that holds one second's worth.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    rate: Rate,
    pub(crate) policy: RatePolicy,
    /// Billionths of a line or byte that may pass now. Negative after a line larger than what was there.
    tokens: i128,
    filled: Option<Instant>,
}

const BILLION: i128 = 1_000_000_000;

impl Bucket {
    pub(crate) fn new(rate: Rate, policy: RatePolicy) -> Self {
        Self { rate, policy, tokens: 0, filled: None }
    }

    fn a_second(&self) -> i128 {
        match self.rate {
            Rate::Lines(count) | Rate::Bytes(count) => i128::from(count),
        }
    }

    /// Takes a line of that many bytes out of the bucket.
    ///
    /// A line larger than a whole second passes when the bucket is full, and what follows waits the longer.
    ///
    /// # Errors
    /// When it may pass at the earliest.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) -> Result<(), Instant> {
        let full = self.a_second() * BILLION;
        match self.filled {
            None => self.tokens = full,
            Some(before) => {
                let passed = i128::try_from(now.saturating_duration_since(before).as_nanos()).unwrap_or(i128::MAX >> 8);
                self.tokens = full.min(self.tokens + passed.saturating_mul(self.a_second()));
            }
        }
        self.filled = Some(now);
        let cost = match self.rate {
            Rate::Lines(_) => BILLION,
            Rate::Bytes(_) => i128::try_from(bytes).unwrap_or(0) * BILLION,
        };
        let needed = cost.min(full);
        if self.tokens >= needed {
            self.tokens -= cost;
            return Ok(());
        }
        let missing = u64::try_from((needed - self.tokens) / self.a_second() + 1).unwrap_or(u64::MAX);
        Err(now + Duration::from_nanos(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_lines_or_bytes() {
        assert_eq!("1000/s".parse(), Ok(Rate::Lines(1000)));
        assert_eq!("1MiB/s".parse(), Ok(Rate::Bytes(1 << 20)));
        for wrong in ["", "1000", "0/s", "/s", "x/s", "0KiB/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_second_may_pass_at_once_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::Lines(10), RatePolicy::Block);
        for _ in 0..10 {
            bucket.take(1, start).unwrap();
        }
        let next = bucket.take(1, start).unwrap_err();
        assert!(next - start >= Duration::from_millis(100) && next - start < Duration::from_millis(101));
        bucket.take(1, next).unwrap();
        bucket.take(1, next).unwrap_err();
    }

    #[test]
    fn a_line_larger_than_a_second_passes_and_is_paid_for_later() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::Bytes(100), RatePolicy::Block);
        bucket.take(1000, start).unwrap();
        let next = bucket.take(1, start).unwrap_err();
        assert!(next - start > Duration::from_secs(9), "{:?}", next - start);
    }
}
