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
        authority.split_at(registered_name(authority).filter(|length| *length > 0)?)
    };
    match rest.split_first() {
        None => Some((host, None)),
        Some((b':', port)) => Some((host, Some(parse_port(port)?))),
        Some(_) => None,
    }
}

fn parse_port(port: &[u8]) -> Option<u16> {
    let port = if port.len() > 5 { None } else { decimal(port) };
    port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// The number that `text` writes in 1 to 19 digits and nothing else.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    let mut number = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    Some(number)
}

/// What a name consists of besides percent signs with two digits behind each.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 128u8 {
        plain[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
            );
        byte += 1;
    }
    plain
};

/// How long the name is with which `authority` begins; only a colon can follow it.
fn registered_name(authority: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = authority.get(at) {
        at += match byte {
            byte if PLAIN[usize::from(*byte)] => 1,
            b':' => break,
            b'%' if authority.get(at + 1..at + 3)?.iter().all(u8::is_ascii_hexdigit) => 3,
            _ => return None,
        };
    }
    Some(at)
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
