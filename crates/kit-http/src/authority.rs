//! The `host[:port]` of a request: RFC 3986's grammar, without user names and without odd ports.

/// Whether `authority` may stand in Host or in an absolute request target: a name, an IPv4 address or a bracketed IPv6
/// address, then perhaps a port of 1 to 65535.
pub fn is_valid(authority: &[u8]) -> bool {
    split(authority).is_some()
}

/// The host without port and brackets, if `authority` is valid.
pub fn host(authority: &[u8]) -> Option<&str> {
    split(authority).and_then(|(host, _)| std::str::from_utf8(host).ok())
}

fn split(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (host, rest) = if let Some(inside) = authority.strip_prefix(b"[") {
        let end = memchr::memchr(b']', inside)?;
        let address = std::str::from_utf8(&inside[..end]).ok()?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        (&inside[..end], &inside[end + 1..])
    } else {
        let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
        let host = &authority[..end];
        if host.is_empty() || !is_registered_name(host) {
            return None;
        }
        (host, &authority[end..])
    };
    match rest.split_first() {
        None => Some((host, None)),
        Some((b':', port)) => Some((host, Some(parse_port(port)?))),
        Some(_) => None,
    }
}

fn parse_port(port: &[u8]) -> Option<u16> {
    if port.is_empty() || port.len() > 5 || !port.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(port).ok()?.parse().ok().filter(|port| *port != 0)
}

fn is_registered_name(host: &[u8]) -> bool {
    let mut bytes = host.iter();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => bytes.next().is_some_and(u8::is_ascii_hexdigit) && bytes.next().is_some_and(u8::is_ascii_hexdigit),
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => {
                true
            }
            byte => byte.is_ascii_alphanumeric(),
        };
        if !fine {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f11_a_host_is_a_name_or_address_and_perhaps_a_port() {
        for good in ["example.com", "a:1", "a:65535", "10.0.0.1:9200", "[::1]", "[fe80::1]:443", "my_svc", "a%20b"] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "x:65536", "x:0", "x:", "x:+1", "x:80a", "x:000080", "a@b", "/", "a/b", "a b", "[::1", "[x]",
            "::1", "a%2", "a\\b", "a?b", "a#b", "[::1]x", "\u{e9}",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
        assert_eq!(host(b"[::1]:80"), Some("::1"));
        assert_eq!(host(b"a.example:80"), Some("a.example"));
    }
}
