//! Does the process keep its `--help`'s word? The real binary, real sockets, real files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod app;
mod logs;
mod server;
