//! Where a key set may be fetched from.
//!
//! An operator's own https URL may point anywhere; plain http only to this machine. A URL that was *learnt* (discovery)
//! must not lead nearer than the issuer itself is: not to a private network unless the issuer is in one, not to loopback or
//! link-local addresses, where metadata servers and neighbours listen, unless the issuer is there. The check is on the
//! addresses that are dialled, after the name was resolved.

use std::net::IpAddr;

pub use kit_http::Url;

/// From how far away an address can be meant; what comes later is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The whole world.
    Public,
    /// A private network: this cluster, this house.
    Private,
    /// This machine or this link.
    Near,
}

impl Reach {
    /// That of `address`.
    #[must_use]
    pub fn of(address: IpAddr) -> Reach {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [first, second, ..] = address.octets();
                // RFC 6598: what carriers, and some clusters, use behind their gateways.
                let shared = first == 100 && (64..128).contains(&second);
                if address.is_loopback() || address.is_link_local() || address.is_unspecified() {
                    Reach::Near
                } else if address.is_private() || shared {
                    Reach::Private
                } else {
                    Reach::Public
                }
            }
            IpAddr::V6(address) => {
                if address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified() {
                    Reach::Near
                } else if address.is_unique_local() {
                    Reach::Private
                } else {
                    Reach::Public
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn j22_metadata_servers_are_near_and_clusters_private() {
        for near in ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "::ffff:169.254.169.254"] {
            assert_eq!(Reach::of(near.parse().unwrap()), Reach::Near, "{near}");
        }
        for private in ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"] {
            assert_eq!(Reach::of(private.parse().unwrap()), Reach::Private, "{private}");
        }
        for public in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:4860:4860::8888"] {
            assert_eq!(Reach::of(public.parse().unwrap()), Reach::Public, "{public}");
        }
        assert!(Reach::Public < Reach::Private && Reach::Private < Reach::Near);
    }
}
