//! Tests that cross crates: do crates, images, examples and documents agree, and do pods work.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::print_stderr, reason = "a test that skips says so")]

mod bench;
mod cluster;
mod conformance;
mod docker;
mod documents;
mod engines;
mod examples;
mod images;
mod manifests;
mod pods;
mod rotate_fuzz;
mod scenarios;
mod tidy;
mod workspace;
