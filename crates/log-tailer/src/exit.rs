//! Exit codes beyond those that every tool shares.

/// SIGTERM's grace ended with bytes that were not handed over.
pub const DRAIN_TIMEOUT: u8 = kit_run::exit::WORK_LEFT;
/// A file did not appear within `--wait-timeout`.
pub const WAIT_TIMEOUT: u8 = kit_run::exit::TIMED_OUT;
