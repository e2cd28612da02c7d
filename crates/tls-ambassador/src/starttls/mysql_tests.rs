//! Packets as MariaDB sends them, and what is none.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine;

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

#[test]
fn a_greeting_and_a_switch_tell_what_passwords_are_mixed_with() {
    let mut whole = greeting();
    assert_eq!(whole.greeting_scramble(), None, "this one is cut");
    whole.payload.extend_from_slice(&[2, 0, 0xff, 0xc1, 21]);
    whole.payload.extend_from_slice(&[0; 10]);
    whole.payload.extend_from_slice(b"and the rest\0caching_sha2_password\0");
    assert_eq!(whole.greeting_scramble(), Some(*b"scrambleand the rest"));
    let packet = |payload: &[u8]| Packet { sequence: 2, payload: payload.to_vec() };
    let switched = packet(b"\xfecaching_sha2_password\0twenty bytes of text\0").switched_scramble();
    assert_eq!(switched, Some(*b"twenty bytes of text"));
    for other in [&b"\xfe"[..], b"\xfename", b"\xfename\0short", b"\x01\x04"] {
        assert_eq!(packet(other).switched_scramble(), None);
    }
}

/// A server without TLS that does not know the account yet; gives the password that it got.
async fn plain_server(mut wire: tokio::io::DuplexStream, scramble: Scramble) -> Vec<u8> {
    let said = |sequence, payload: &[u8]| Packet { sequence, payload: payload.to_vec() };
    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<PublicKeyX509Der<'_>>::as_der(&private.public_key()).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let pem = format!("\x01-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");

    assert_eq!(Packet::read(&mut wire).await.unwrap().sequence, 1, "the login");
    said(2, &WHOLE_PASSWORD).write(&mut wire).await.unwrap();
    assert_eq!(Packet::read(&mut wire).await.unwrap(), said(3, &WHICH_KEY));
    said(4, pem.as_bytes()).write(&mut wire).await.unwrap();
    let sealed = Packet::read(&mut wire).await.unwrap();
    assert_eq!(sealed.sequence, 5);
    let private = OaepPrivateDecryptingKey::new(private).unwrap();
    let mut opened = vec![0; private.min_output_size()];
    let mixed = private.decrypt(&OAEP_SHA1_MGF1SHA1, &sealed.payload, &mut opened, None).unwrap();
    said(6, &[0, 0, 0, 2, 0, 0, 0]).write(&mut wire).await.unwrap();
    mixed.iter().zip(scramble.iter().cycle()).map(|(byte, with)| byte ^ with).collect()
}

#[tokio::test]
async fn a_door_puts_a_password_in_clear_under_the_key_of_a_server_without_tls() {
    let scramble = *b"scrambleand the rest";
    let (mut near, mut client) = tokio::io::duplex(4096);
    let (mut app, server) = tokio::io::duplex(4096);
    let door = authenticate(&mut near, &mut app, TlsSide::Client(Some(scramble)), None);
    let said = |sequence, payload: &[u8]| Packet { sequence, payload: payload.to_vec() };
    let asking = async {
        let mut login = said(2, &[0; 40]);
        login.set_capabilities(CLIENT_PROTOCOL_41 | CLIENT_SSL);
        login.write(&mut client).await.unwrap();
        assert_eq!(Packet::read(&mut client).await.unwrap(), said(3, &WHOLE_PASSWORD));
        said(4, b"secret, and longer than twenty bytes\0").write(&mut client).await.unwrap();
        let answer = Packet::read(&mut client).await.unwrap();
        assert_eq!((answer.sequence, answer.payload[0]), (5, 0), "as if nothing had been between");
    };
    let (carried, (), password) = tokio::join!(door, asking, plain_server(server, scramble));
    carried.unwrap();
    assert_eq!(password, b"secret, and longer than twenty bytes\0");
}
