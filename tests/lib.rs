//! What crosses crates is tested here; the crate itself is empty.
