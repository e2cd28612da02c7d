//! Headers written, read again, cut short and misshapen.

use super::*;

#[test]
fn a_line_is_read_only_when_it_is_whole_and_sane() {
    let addresses = parse_line(b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 443\r\n").unwrap();
    assert_eq!(addresses, Some(("192.0.2.1:1111".parse().unwrap(), "192.0.2.2:443".parse().unwrap())));
    assert!(parse_line(b"PROXY TCP6 ::1 ::2 1 2\r\n").unwrap().is_some());
    assert_eq!(parse_line(b"PROXY UNKNOWN\r\n").unwrap(), None);
    let bad: [&[u8]; 9] = [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 443",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 65536\r\n",
        b"PROXY TCP4 ::1 ::2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWN ::1\nPROXY TCP6 ::1 ::2 1 2\r\n",
        b"PROXY UNKNOWN \r ::1\r\n",
        b"GET / HTTP/1.1\r\n",
    ];
    for line in bad {
        assert!(parse_line(line).is_err(), "{}", String::from_utf8_lossy(line));
    }
}

#[test]
fn what_is_written_is_read_again() {
    let peer = PeerAddress::Ip("192.0.2.1:1111".parse().unwrap());
    let local = PeerAddress::Ip("192.0.2.2:443".parse().unwrap());
    let header = header(ProxyOut::Conn, peer, local, &SessionFacts::default());
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    assert_eq!(
        parse_block(header[12], header[13], &header[16..]).unwrap(),
        Some((peer.ip().unwrap(), local.ip().unwrap()))
    );
}

#[test]
fn s42_without_a_certificate_the_tls_part_says_tls_only() {
    let facts = SessionFacts { version: "TLSv1.3", sni: Some("a.example".to_owned()), ..SessionFacts::default() };
    let unix = PeerAddress::Unix;
    let header = header(ProxyOut::TlsFull, unix, unix, &facts);
    assert_eq!((header[13], &header[14..16]), (0x31, &(216_u16 + 12 + 3 + 5 + 3 + 7).to_be_bytes()[..]));
    let additions = &header[16 + 216..];
    assert_eq!(additions, b"\x02\0\x09a.example\x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.3");
}

#[test]
fn a_short_or_unknown_block_is_refused() {
    assert!(parse_block(0x21, 0x11, &[0; 11]).is_err());
    assert!(parse_block(0x21, 0x21, &[0; 35]).is_err());
    assert!(parse_block(0x21, 0x12, &[0; 12]).is_err());
    assert!(parse_block(0x11, 0x11, &[0; 12]).is_err());
    assert_eq!(parse_block(0x20, 0x11, &[]).unwrap(), None);
}

#[test]
fn a_network_contains_its_addresses() {
    let inside = |network: &str, ip: &str| network.parse::<Network>().unwrap().contains(ip.parse().unwrap());
    assert!(inside("10.0.0.0/8", "10.200.3.4") && inside("10.0.0.0/8", "::ffff:10.1.1.1"));
    assert!(inside("::1", "::1") && inside("0.0.0.0/0", "8.8.8.8"));
    assert!(!inside("10.0.0.0/8", "11.0.0.1") && !inside("10.0.0.0/8", "::1") && !inside("::1", "::2"));
    for text in ["", "10.0.0.0/33", "::1/129", "host", "10.0.0.0/x"] {
        assert!(text.parse::<Network>().is_err(), "{text}");
    }
}
