//! Packets as MariaDB sends them, and what is none.

use super::*;

/// MariaDB 10.11's greeting, cut behind the character set; the capabilities' lower half is 0xfffe.
fn greeting() -> Packet {
    let mut payload = b"\x0a5.5.5-10.11.6-MariaDB\0".to_vec();
    payload.extend_from_slice(&[7, 0, 0, 0]);
    payload.extend_from_slice(b"scramble\0");
    payload.extend_from_slice(&[0xfe, 0xff, 0x2d]);
    Packet { sequence: 0, payload }
}

#[test]
fn the_offer_of_tls_is_taken_out_and_put_in_and_nothing_else_changes() {
    let mut packet = greeting();
    assert!(packet.greeting_offers_tls());
    packet.set_greeting_tls(false).unwrap();
    assert!(!packet.greeting_offers_tls());
    let different = packet.payload.iter().zip(greeting().payload).filter(|(a, b)| *a != b).count();
    assert_eq!(different, 1);
    packet.set_greeting_tls(true).unwrap();
    assert_eq!(packet, greeting());
}

#[test]
fn what_is_no_greeting_is_refused() {
    for payload in [vec![], vec![10], vec![9, b'x', 0], b"\x0a5.5\0\x01\x02".to_vec(), b"\x0ano end".to_vec()] {
        let mut packet = Packet { sequence: 0, payload };
        assert!(!packet.greeting_offers_tls());
        assert_eq!(packet.set_greeting_tls(true).unwrap_err().to_string(), "the greeting is not MySQL's protocol 10");
    }
}

#[test]
fn a_login_too_short_or_too_old_is_refused() {
    let packet = |payload| Packet { sequence: 1, payload };
    let short = packet(vec![0; 31]).capabilities().unwrap_err();
    assert_eq!(short.to_string(), "the client's answer to the greeting is too short");
    let old = packet(vec![0; 32]).capabilities().unwrap_err();
    assert_eq!(old.to_string(), "the client is older than MySQL 4.1, which has no TLS");
}

#[test]
fn an_error_packet_has_code_state_and_text() {
    assert_eq!(error(2, BAD_HANDSHAKE, "no").bytes(), b"\x0b\0\0\x02\xff\x13\x04#08004no");
}
