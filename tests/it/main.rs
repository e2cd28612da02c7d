//! Tests that cross crates: do crates, images, examples and documents agree, and do pods work.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod rotate_fuzz;
mod workspace;
