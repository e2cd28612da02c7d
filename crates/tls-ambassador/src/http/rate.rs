//! How many requests each client may make: so many in a second, minute or hour, counted by its address.
//!
//! Each address has a time at which its debt is paid; a request moves it on by one share, and is refused while it lies more
//! than one whole period ahead (the leaky bucket as a meter, ITU-T I.371's GCRA). Memory is fixed: where the places of an address are
//! taken, the one with the least debt is forgotten, so a crowd can at most win itself a fresh allowance.
//!
//! IPv6 clients count by their /64, which is what one household or pod network has. Who connects over a unix socket counts
//! as one.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::client;

/// Addresses that share their places; a power of two.
const SETS: usize = 4096;
/// Places of one set.
const WAYS: usize = 4;

/// `--rate-limit`: this many requests in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    requests: u32,
    period: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let refused = || format!("{text:?} is not a rate; write 100/s, 600/m or 5000/h, from 1 to 1000000");
        let (requests, unit) = text.split_once('/').ok_or_else(refused)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(refused()),
        };
        let digits = !requests.is_empty() && requests.bytes().all(|byte| byte.is_ascii_digit());
        let requests = requests.parse().ok().filter(|requests| digits && (1..=1_000_000).contains(requests));
        Ok(Rate { requests: requests.ok_or_else(refused)?, period: Duration::from_secs(seconds) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.period.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(formatter, "{}/{unit}", self.requests)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    client: u64,
    /// Nanoseconds since the start at which nothing is owed; 0 for a place that nobody has.
    paid: u64,
}

/// What all threads count together.
pub(super) struct Limiter {
    rate: Rate,
    start: Instant,
    hasher: RandomState,
    places: Mutex<Box<[[Place; WAYS]]>>,
}

impl fmt::Debug for Limiter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Limiter").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Limiter {
    pub(super) fn new(rate: Rate) -> Limiter {
        let places = vec![[Place::default(); WAYS]; SETS].into_boxed_slice();
        Limiter { rate, start: Instant::now(), hasher: RandomState::new(), places: Mutex::new(places) }
    }

    /// Counts one request of `client` at `now`.
    ///
    /// # Errors
    /// It is one too many; after this time another one is not.
    pub(super) fn count(&self, client: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let client = client.map_or(u64::MAX, key);
        let now = nanoseconds(now.saturating_duration_since(self.start));
        let period = nanoseconds(self.rate.period);
        let share = period / u64::from(self.rate.requests);
        let set = usize::try_from(self.hasher.hash_one(client)).unwrap_or(0) & (SETS - 1);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let set = &mut places[set];
        let known = set.iter().position(|place| place.client == client && place.paid != 0);
        let mine = known.or_else(|| (0..WAYS).min_by_key(|index| set[*index].paid)).unwrap_or(0);
        let owed = if known.is_some() { set[mine].paid.saturating_sub(now) } else { 0 };
        if owed + share > period {
            return Err(Duration::from_nanos(owed + share - period));
        }
        set[mine] = Place { client, paid: now + owed + share };
        Ok(())
    }
}

/// An address as one client.
fn key(address: IpAddr) -> u64 {
    match client(address) {
        // Beside all /64s that are routed.
        IpAddr::V4(address) => u64::from(u32::from(address)) | 0xffff << 32,
        IpAddr::V6(address) => u64::try_from(u128::from(address) >> 64).unwrap_or(u64::MAX),
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn limiter(rate: &str) -> Limiter {
        Limiter::new(rate.parse().unwrap())
    }

    fn address(last: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(last.into()))
    }

    #[test]
    fn a_rate_is_shown_as_it_was_written_and_all_else_is_refused() {
        for text in ["1/s", "600/m", "1000000/h"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for bad in ["", "5", "5/", "0/s", "-1/s", "+1/s", "1.5/s", "5/d", "1000001/s", "5 /s", "/s"] {
            let expected = format!("{bad:?} is not a rate; write 100/s, 600/m or 5000/h, from 1 to 1000000");
            assert_eq!(bad.parse::<Rate>(), Err(expected));
        }
    }

    #[test]
    fn each_client_has_its_own_allowance_and_gets_it_back_evenly() {
        let limiter = limiter("10/s");
        let now = limiter.start + Duration::from_secs(5);
        for _ in 0..10 {
            assert_eq!(limiter.count(address(1), now), Ok(()));
        }
        assert_eq!(limiter.count(address(1), now), Err(Duration::from_millis(100)));
        assert_eq!(limiter.count(address(2), now), Ok(()), "another client");
        let later = now + Duration::from_millis(100);
        assert_eq!(limiter.count(address(1), later), Ok(()), "a tenth of a second is worth one");
        assert_eq!(limiter.count(address(1), later), Err(Duration::from_millis(100)), "and only one");
        let much_later = now + Duration::from_secs(100);
        for _ in 0..10 {
            assert_eq!(limiter.count(address(1), much_later), Ok(()), "what is not used is not saved up");
        }
        assert!(limiter.count(address(1), much_later).is_err());
    }

    #[test]
    fn a_network_of_64_bits_is_one_client() {
        let limiter = limiter("1/h");
        let six = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert!(limiter.count(six("2001:db8::1"), limiter.start).is_ok());
        assert!(limiter.count(six("2001:db8::ffff:1"), limiter.start).is_err());
        assert!(limiter.count(six("2001:db8:0:1::1"), limiter.start).is_ok());
        assert!(limiter.count(six("10.0.0.1"), limiter.start).is_ok());
        assert!(limiter.count(six("::ffff:10.0.0.1"), limiter.start).is_err(), "the same address");
        assert!(limiter.count(None, limiter.start).is_ok() && limiter.count(None, limiter.start).is_err());
    }

    #[test]
    fn a_crowd_changes_nothing_for_who_is_over_its_limit_now() {
        let limiter = limiter("2/h");
        assert!(limiter.count(address(0), limiter.start).is_ok() && limiter.count(address(0), limiter.start).is_ok());
        for stranger in 1..2000 {
            assert!(limiter.count(address(stranger), limiter.start).is_ok(), "{stranger}");
        }
        assert!(limiter.count(address(0), limiter.start).is_err(), "the one with the most debt is kept");
        for stranger in 0..100_000 {
            let _one_of_many = limiter.count(address(stranger), limiter.start);
        }
        assert_eq!(limiter.places.lock().unwrap().len(), SETS, "memory is what it was");
    }
}
