//! Limits that all threads share: open connections of one client address, and handshakes at once.
//!
//! Promised: memory for as many addresses as there are open connections, and no more. A client that says nothing holds no place
//! for a handshake: one is taken with its first byte.
//!
//! Not promised: an order among those who wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::socket::{PeerAddress, Socket};

/// The limits; zero is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Open connections of one client address.
    pub per_client: u32,
    /// Handshakes at once.
    pub handshakes: u32,
}

/// Where connections are counted.
#[derive(Debug)]
pub struct Turnstile {
    per_client: u32,
    open: Mutex<HashMap<IpAddr, u32>>,
    handshakes: Option<Arc<Semaphore>>,
}

/// Counts a connection for its client for as long as this lives.
#[derive(Debug)]
pub struct Counted(Option<(Arc<Turnstile>, IpAddr)>);

impl Turnstile {
    /// Nobody is inside.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        let handshakes = usize::try_from(limits.handshakes).ok().filter(|most| *most > 0);
        Arc::new(Self {
            per_client: limits.per_client,
            open: Mutex::default(),
            handshakes: handshakes.map(|most| Arc::new(Semaphore::new(most))),
        })
    }

    /// Lets a client in unless it has as many connections as it may. Clients of unix sockets have no address and no limit.
    #[must_use]
    pub fn enter(self: &Arc<Self>, peer: PeerAddress) -> Option<Counted> {
        let Some(address) = peer.ip().filter(|_| self.per_client > 0) else { return Some(Counted(None)) };
        let client = client(address.ip());
        let mut open = lock(&self.open);
        let count = open.entry(client).or_default();
        if *count >= self.per_client {
            return None;
        }
        *count += 1;
        Some(Counted(Some((Arc::clone(self), client))))
    }

    /// A place for a handshake, once the client has said something.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn handshake(&self, socket: &Socket) -> std::io::Result<Option<OwnedSemaphorePermit>> {
        let Some(places) = &self.handshakes else { return Ok(None) };
        socket.readable().await?;
        // The semaphore is never closed, so a place always comes.
        Ok(Arc::clone(places).acquire_owned().await.ok())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((turnstile, client)) = self.0.take() else { return };
        let mut open = lock(&turnstile.open);
        if let Some(count) = open.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&client);
            }
        }
    }
}

/// Who is counted together: an IPv4 address, or all that one IPv6 host may call its own.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
        four => four,
    }
}

/// A poisoned lock is used all the same: every critical section here leaves whole values behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn peer(text: &str) -> PeerAddress {
        PeerAddress::Ip(text.parse().unwrap())
    }

    #[test]
    fn a_client_has_its_number_of_places_and_leaves_nothing_behind() {
        let turnstile = Turnstile::new(Limits { per_client: 2, handshakes: 0 });
        let one = turnstile.enter(peer("10.0.0.1:1")).unwrap();
        let two = turnstile.enter(peer("[::ffff:10.0.0.1]:2")).unwrap();
        assert!(turnstile.enter(peer("10.0.0.1:3")).is_none());
        assert!(turnstile.enter(peer("10.0.0.2:1")).is_some());
        drop(one);
        assert!(turnstile.enter(peer("10.0.0.1:3")).is_some());
        drop(two);
        assert!(lock(&turnstile.open).is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let turnstile = Turnstile::new(Limits { per_client: 1, handshakes: 0 });
        let _one = turnstile.enter(peer("[2001:db8:0:1::1]:1")).unwrap();
        assert!(turnstile.enter(peer("[2001:db8:0:1:ffff::2]:1")).is_none());
        assert!(turnstile.enter(peer("[2001:db8:0:2::1]:1")).is_some());
        assert!(turnstile.enter(PeerAddress::Unix).is_some());
    }
}
