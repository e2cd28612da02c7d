//! Limits that all threads share: open connections of one client address, and handshakes at once.
//!
//! Promised: memory for as many addresses as there are open connections, and no more. A new handshake never waits for others: where
//! there are too many, those that have had their time give way, oldest first. Clients that dawdle on purpose keep nobody out
//! then, and a crowd that comes back all at once is served.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::socket::PeerAddress;

/// The limits; zero is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Open connections of one client address.
    pub per_client: u32,
    /// Handshakes at once, but for those younger than [`DUE`].
    pub handshakes: u32,
}

/// What a handshake has for itself, however many there are: a few round trips around the world.
pub const DUE: Duration = Duration::from_secs(1);

/// Where connections are counted.
#[derive(Debug)]
pub struct Turnstile {
    per_client: u32,
    open: Mutex<HashMap<IpAddr, u32>>,
    handshakes: usize,
    under_way: Mutex<UnderWay>,
}

/// Handshakes in the order of their beginnings.
#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    all: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

/// A handshake, counted for as long as this lives.
#[derive(Debug)]
pub struct Handshake<'a>(Option<(&'a Turnstile, u64, Arc<Notify>)>);

impl Handshake<'_> {
    /// Returns when it has to give way.
    pub async fn displaced(&self) {
        match &self.0 {
            Some((_, _, displaced)) => displaced.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        if let Some((turnstile, number, _)) = &self.0 {
            lock(&turnstile.under_way).all.remove(number);
        }
    }
}

/// Counts a connection for its client for as long as this lives.
#[derive(Debug)]
pub struct Counted(Option<(Arc<Turnstile>, IpAddr)>);

impl Turnstile {
    /// Nobody is inside.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            per_client: limits.per_client,
            open: Mutex::default(),
            handshakes: usize::try_from(limits.handshakes).unwrap_or(usize::MAX),
            under_way: Mutex::default(),
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

    /// Counts one more handshake, at the cost of the oldest ones where there are too many.
    #[must_use]
    pub fn handshake(&self) -> Handshake<'_> {
        if self.handshakes == 0 {
            return Handshake(None);
        }
        let now = Instant::now();
        let mut under_way = lock(&self.under_way);
        while under_way.all.len() >= self.handshakes {
            match under_way.all.first_entry() {
                Some(oldest) if now.duration_since(oldest.get().0) >= DUE => oldest.remove().1.notify_one(),
                _ => break,
            }
        }
        let (number, displaced) = (under_way.next, Arc::new(Notify::new()));
        under_way.next += 1;
        under_way.all.insert(number, (now, Arc::clone(&displaced)));
        Handshake(Some((self, number, displaced)))
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
pub(crate) fn client(address: IpAddr) -> IpAddr {
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

    #[tokio::test(start_paused = true)]
    async fn the_oldest_handshake_gives_way_once_it_has_had_its_time() {
        let turnstile = Turnstile::new(Limits { per_client: 0, handshakes: 2 });
        let displaced =
            async |handshake: &Handshake<'_>| tokio::time::timeout(Duration::ZERO, handshake.displaced()).await.is_ok();
        let (one, two) = (turnstile.handshake(), turnstile.handshake());
        let three = turnstile.handshake();
        assert!(!displaced(&one).await, "a crowd that comes all at once is served");
        tokio::time::advance(DUE).await;
        let four = turnstile.handshake();
        assert!(displaced(&one).await && displaced(&two).await);
        assert!(!displaced(&three).await && !displaced(&four).await);
        drop((one, two, three, four));
        assert!(lock(&turnstile.under_way).all.is_empty());
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
