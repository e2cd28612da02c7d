//! MySQL's negotiation never sends a login before TLS, and never shows an offer of TLS on the plain side.

use tls_ambassador::starttls::mysql::{Packet, TlsSide, ask, authenticate, invite, probe};

use super::script::{Script, now};

const CLIENT_SSL_HIGH: u8 = 0x08;
/// A request for TLS, with its header.
const REQUEST: usize = 36;

/// One input: where the server's words end, then both sides' words.
pub(crate) fn run(bytes: &[u8]) {
    let Some((cut, words)) = bytes.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_be_bytes(*cut)) % (words.len() + 1);
    let (server_says, client_says) = words.split_at(cut);

    let (mut client, mut server) = (Script::new(client_says), Script::new(server_says));
    let asked = now(ask(&mut client, &mut server));
    if asked.is_ok() {
        assert_eq!(server.told.len(), REQUEST, "the request and nothing behind it");
        assert_eq!(server.told[5] & CLIENT_SSL_HIGH, CLIENT_SSL_HIGH);
    } else {
        assert!(server.told.is_empty() || server.told.len() == REQUEST, "no login in plain text");
    }
    if let Ok(login) = asked {
        let _ended = now(authenticate(&mut client, &mut server, TlsSide::Server, Some(login)));
    }

    let _probed = now(probe(&mut Script::new(server_says)));

    let (mut client, mut app) = (Script::new(client_says), Script::new(server_says));
    let invited = now(invite(&mut client, &mut app, false));
    assert!(app.told.is_empty(), "the app hears nothing before TLS");
    if let Ok((_, scramble)) = invited {
        assert_eq!(client_says.len() - client.left(), REQUEST, "what follows is TLS");
        let _ended = now(authenticate(&mut client, &mut app, TlsSide::Client(scramble), None));
    }

    let (mut client, mut server) = (Script::new(client_says), Script::new(server_says));
    if let Ok((request, _)) = now(invite(&mut client, &mut server, true)) {
        assert_eq!(client_says.len() - client.left(), REQUEST, "what follows is TLS");
        assert!(now(request.write(&mut server)).is_ok());
        assert_eq!(server.told, client_says[..REQUEST], "the request that the client made");
    }
    assert!(server.told.is_empty() || server.told.len() == REQUEST, "no login in plain text");

    if let Ok(packet) = now(Packet::read(&mut Script::new(words))) {
        let mut copy = Script::new(&[]);
        assert!(now(packet.write(&mut copy)).is_ok());
        assert!(words.starts_with(&copy.told), "a packet is written as it was read");
    }
}
