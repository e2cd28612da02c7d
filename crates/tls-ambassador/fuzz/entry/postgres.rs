//! PostgreSQL's negotiation reads whole messages and no byte of what may be TLS, and never goes on without it.

use tls_ambassador::starttls::postgres::{Opening, ask, begin, first_message, invite};

use super::script::{Script, now};

/// One input: what the peer says.
pub(crate) fn run(bytes: &[u8]) {
    let mut server = Script::new(bytes);
    let yes = now(ask(&mut server)).is_ok();
    assert_eq!(yes, bytes.first() == Some(&b'S'), "only S is a yes");
    assert_eq!((server.told.len(), server.left()), (8, bytes.len().saturating_sub(1)));

    let mut client = Script::new(bytes);
    let first = now(first_message(&mut client));
    assert!(client.told.iter().all(|byte| *byte == b'N'), "nothing is promised on the plain side");
    if let Ok(head) = first {
        assert_eq!(bytes.len() - client.left(), 8 * (client.told.len() + 1));
        assert!(head.len() == 8 && head[0] != 0x16 && bytes.windows(8).any(|window| window == head));
    }

    let mut client = Script::new(bytes);
    match now(invite(&mut client)) {
        Ok(Opening::Asked) => {
            assert_eq!(client.told.last(), Some(&b'S'));
            assert_eq!(bytes.len() - client.left(), 8 * client.told.len());
        }
        Ok(Opening::Direct(head)) => {
            assert!(head.len() == 8 && head[0] == 0x16);
            assert!(client.told.iter().all(|byte| *byte == b'N'));
        }
        Err(_) => assert!(!client.told.contains(&b'S') || client.told.contains(&b'E'), "{:?}", client.told),
    }

    let Some((head, rest)) = bytes.split_at_checked(8) else { return };
    let (client_says, server_says) = rest.split_at(rest.len() / 2);
    let (mut client, mut server) = (Script::new(client_says), Script::new(server_says));
    if now(begin(&mut client, &mut server, head)).is_ok() {
        assert!(bytes.starts_with(&server.told), "the first message as it came");
        assert!(server.told.len() == 8 + client_says.len() - client.left());
        let sasl = client.told.starts_with(b"R") && client.told.get(5..9) == Some(&[0, 0, 0, 10]);
        assert!(!sasl || !client.told.windows(6).any(|window| window == b"-PLUS\0"), "{:?}", client.told);
    }
}
