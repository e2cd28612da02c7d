//! `--mode http` as a process: raw bytes in, raw bytes out, with clients and apps that share no code with it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

#[path = "http/desync.rs"]
mod desync;
#[path = "http/ends.rs"]
mod ends;
#[path = "http/framing.rs"]
mod framing;
#[path = "http/h2.rs"]
mod h2;
#[path = "http/hostile.rs"]
mod hostile;
#[path = "http/identity.rs"]
mod identity;
#[path = "http/jwt.rs"]
mod jwt;
#[path = "http/jwt_places.rs"]
mod jwt_places;
#[path = "http/lab.rs"]
mod lab;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/log.rs"]
mod log;
#[path = "http/ready.rs"]
mod ready;
mod support;

use support::pki;
