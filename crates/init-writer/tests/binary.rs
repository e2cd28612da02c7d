//! The real binary: every scenario of init containers, exit codes and texts as a pod author meets them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

#[path = "binary/copy.rs"]
mod copy;
#[path = "binary/faults.rs"]
mod faults;
#[path = "binary/plans.rs"]
mod plans;
#[path = "binary/steps.rs"]
mod steps;
#[path = "binary/support.rs"]
mod support;
#[path = "binary/templates.rs"]
mod templates;
