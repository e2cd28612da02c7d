//! Exit codes beyond the ones that every tool shares.

/// `--strict`, and at least one line was not rewritten.
pub const NOT_ALL_REWRITTEN: u8 = 5;
