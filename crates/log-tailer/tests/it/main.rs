//! Does the process keep its `--help`'s word? Each name begins with the scenarios of the field notes that it covers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod bad_input;
mod bytes;
mod counted;
mod ending;
mod harness;
mod pipe;
mod places;
mod restart;
mod rotation;
mod start;
mod truncation;
