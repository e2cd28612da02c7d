//! An HTTP client with deadlines over any connector.
//!
//! Promised: [`get`] asks once and ends within [`Limits::deadline`], which holds for everything from the first step of the
//! connector to the last byte of the body. An answer counts when it is whole and when there is one way to read it; more
//! body than [`Limits::body`] is an error, and so is a connection that ends early. Redirects are answers, nobody follows them.
//! Errors name the step that failed. The pieces that decide what a message means are here for servers too: [`framing`],
//! where a body ends, and [`authority`], what may stand in Host.
//!
//! Not promised: kept connections, compression, cookies, methods with a body, names or TLS. How a connection is made is
//! the caller's business, a future that gives a stream: a socket, TLS over one, a proxy, a pipe.
//!
//! ```text
//! connector ---> stream <--- GET /healthz HTTP/1.1
//!                        ---> Answer { status: 200, headers, body: b"ok" }
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kit_http::{Limits, Request, Url, get};
//!
//! let url: Url = "http://127.0.0.1:9201/_cluster/health".parse()?;
//! let connecting = tokio::net::TcpStream::connect((url.host.as_str(), url.port));
//! let limits = Limits { deadline: std::time::Duration::from_secs(5), body: Some(1 << 20) };
//! let answer = get(connecting, &Request::to(&url), limits).await?;
//! assert_eq!(answer.status, 200);
//! # Ok(())
//! # }
//! ```

pub mod authority;
mod client;
pub mod framing;
mod url;

pub use client::{Answer, ExchangeError, GetError, Limits, Request, Step, get};
pub use url::{NotAUrl, Url};
