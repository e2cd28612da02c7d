//! HTTP/1.1 and HTTP/2 in front of a plain HTTP app: judged strictly, passed on cheaply.
//!
//! Promised: what two servers could read in two ways is answered here and never passed on; what a client says of its own
//! identity never reaches the app; every wait has an end. A request head is rewritten in runs, a body is only
//! counted, and one small request costs one read and one write on either side.
//!
//! Not promised: caching, routing, compression, retries of anything that might have had an effect.
//!
//! ```text
//! TlsStream -> Scan -> Request::read -> gate::admit -> forward::request_head -> app
//!          <------- forward::response_head <- Response::read <- Exchange <------+
//! ```
//! Everything up to `forward` is pure. `gate` is the one function that both protocols ask.

mod access_log;
mod backend;
mod bearer;
mod buffers;
mod caller;
pub mod config;
mod connection;
mod exchange;
pub mod forward;
mod gate;
mod h2;
mod h2_app;
mod h2_io;
mod h2_stream;
pub mod metrics;
pub mod names;
mod pool;
pub mod rate;
mod reply;
pub mod request;
pub mod response;
mod timers;
mod trailers;
mod tunnel;
mod worker;

use std::pin::Pin;
use std::rc::Rc;

pub use access_log::LogWriter;
pub use config::{HttpArgs, HttpConfig};
pub use kit_http::{authority, framing};
pub use worker::{Http, HttpShared};

use crate::server::{Arrival, Door};
use crate::session::TlsStream;

/// Protocols to offer in TLS: those that were asked for, or all that are spoken here.
///
/// # Errors
/// A protocol that is not HTTP.
pub fn alpn(asked: &[String]) -> Result<Vec<Vec<u8>>, kit_run::Error> {
    const SPOKEN: [&str; 2] = ["h2", "http/1.1"];
    if let Some(other) = asked.iter().find(|name| !SPOKEN.contains(&name.as_str())) {
        let error = kit_run::Error::request(format!("--alpn {other} is not spoken by --mode http"));
        return Err(error.hint(format!("it speaks {}", SPOKEN.join(" and "))));
    }
    let names: Vec<&str> = if asked.is_empty() { SPOKEN.to_vec() } else { asked.iter().map(String::as_str).collect() };
    Ok(names.into_iter().map(|name| name.as_bytes().to_vec()).collect())
}

/// A connection of a client under way.
pub type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// Serves one client's connection until it is over.
pub fn serve(http: Rc<Http>, door: Rc<Door>, mut stream: TlsStream, arrival: Arrival) -> Serving {
    if http.needs_sweeper() {
        // It ends by itself when nothing is left to sweep.
        tokio::task::spawn_local(Rc::clone(&http).sweep(Rc::clone(&door)));
    }
    stream.count_in(Rc::clone(&http.traffic));
    let caller = caller::Caller::new(&http.config, stream.facts(), &arrival);
    // Boxed: one protocol's idle connections need not be as large as the other's.
    if stream.facts().alpn.as_deref() == Some(b"h2".as_slice()) {
        Box::pin(h2::serve(http, door, caller, stream))
    } else {
        let mut connection = connection::Connection::new(http, door, caller, stream);
        Box::pin(async move { connection.run().await })
    }
}
