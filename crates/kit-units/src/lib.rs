//! Durations, sizes and addresses as people write them: one grammar for all tools.
//!
//! Promised: every accepted spelling has exactly one meaning, and every refusal names a spelling that would have
//! been accepted. [`format_duration`] and [`format_size`] print what [`duration`] and [`size`] read back.
//!
//! Not promised: name resolution. A [`ListenAddress`] is an address to bind, never a host name.
//!
//! ```
//! use std::time::Duration;
//! assert_eq!(kit_units::duration("1m30s").unwrap(), Duration::from_secs(90));
//! assert_eq!(kit_units::size("64KiB").unwrap(), 65_536);
//! let any: kit_units::ListenAddress = ":9090".parse().unwrap();
//! assert_eq!(any.to_string(), "0.0.0.0:9090");
//! ```

mod address;
mod duration;
mod size;

pub use address::ListenAddress;
pub use duration::{duration, format_duration};
pub use size::{format_size, size};

/// Why a text is not a duration, a size or an address. The text names the repair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(pub(crate) String);
