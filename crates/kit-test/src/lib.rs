//! What the tests of several crates need to watch a real process in a pod-shaped place.
//!
//! Promised: a helper that fails panics with a text that names what was awaited and what was seen instead. A
//! [`Process`] is killed when it goes out of scope, a [`Tmpfs`] is unmounted.
//!
//! Not promised: speed. Conditions are polled, so a test that measures latency brings its own clock. Never shipped:
//! only `dev-dependencies` name this crate.
//!
//! ```no_run
//! use std::process::Command;
//! use std::time::Duration;
//! let mut tool = kit_test::Process::spawn(Command::new(kit_test::tool("log-tailer")).arg("app.log"));
//! tool.wait_for_stdout("first line", Duration::from_secs(10));
//! tool.signal(kit_test::Signal::TERM);
//! assert_eq!(tool.wait_within(Duration::from_secs(10)).code, Some(0));
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod kubelet;
mod net;
mod process;
mod tmpfs;
mod wait;

pub use kubelet::{LinkOrder, Mount};
pub use net::{Response, free_port, http_get, try_http_get};
pub use process::{Exit, Process, tool};
pub use rustix::process::Signal;
pub use tmpfs::Tmpfs;
pub use wait::{eventually, eventually_some};
