//! Exit codes beyond the ones that every tool shares.

/// `--strict`, and at least one line was not rewritten.
pub const NOT_ALL_REWRITTEN: u8 = 5;

/// A followed file did not appear within `--wait-timeout`.
pub const WAIT_TIMEOUT: u8 = kit_run::exit::TIMED_OUT;
