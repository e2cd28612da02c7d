//! MySQL and MariaDB: the server greets first, the client asks for TLS with a cut-short answer.
//!
//! Every packet carries a number that counts up within the connection phase. One side of the ambassador sees one
//! packet (the request for TLS) that the other side does not, so the numbers differ by one until the server says OK or
//! ERR; packets are taken one by one until then and as bytes afterwards.
//!
//! Where both sides of a tunnel have TLS, the numbers agree and everything behind the request is bytes.
//!
//! `caching_sha2_password`'s full authentication, the first login of an account, says the password itself, and its form depends on
//! what each side takes its connection for. Behind a door the client knows of TLS and says it in clear, where the plain server on
//! TCP wants it under its RSA key: the door puts it there. On a unix socket both sides take it in clear.
//!
//! Not promised: that authentication through a tunnel from a plain client on TCP. It asks for the server's RSA key, which a
//! server on TLS does not give; the client then gets an error that says so. It works once the server has cached the
//! password, on a socket, and with other methods.
//!
//! Source: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::refused;

const CLIENT_PROTOCOL_41: u32 = 0x0200;
const CLIENT_SSL: u32 = 0x0800;
/// Capabilities, largest packet, character set and filler: all of a request for TLS, and the start of a login.
const REQUEST_LENGTH: usize = 32;
/// `ER_HANDSHAKE_ERROR`. Codes from 2000 to 2999 are the client library's own: one that comes from the wire is taken
/// for a malformed packet.
pub const BAD_HANDSHAKE: u16 = 1043;
/// `ER_SECURE_TRANSPORT_REQUIRED`.
const TLS_REQUIRED: u16 = 3159;
/// Longer than any greeting, login or authentication data; logins with attributes stay under 64 KB.
const LONGEST_PACKET: usize = 128 << 10;
/// Authentication takes a handful of packets.
const ROUNDS: usize = 64;

/// What a server wants a password mixed with before it crosses the wire.
pub type Scramble = [u8; 20];

/// A packet of the connection phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its number.
    pub sequence: u8,
    /// What follows the four bytes of length and number.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Reads one, and no byte more.
    ///
    /// # Errors
    /// When the stream ends or the packet is too long for this phase.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        if length > LONGEST_PACKET {
            return Err(refused("a packet is too long for the connection phase"));
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        Ok(Self { sequence: head[3], payload })
    }

    /// Writes it whole.
    ///
    /// # Errors
    /// When the stream is broken.
    pub async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        stream.write_all(&self.bytes()).await?;
        stream.flush().await
    }

    fn bytes(&self) -> Vec<u8> {
        let [a, b, c, _] = u32::try_from(self.payload.len()).unwrap_or(0).to_le_bytes();
        let mut out = vec![a, b, c, self.sequence];
        out.extend_from_slice(&self.payload);
        out
    }

    fn numbered(mut self, by: i8) -> Self {
        self.sequence = self.sequence.wrapping_add_signed(by);
        self
    }

    fn first(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// Where the lower half of the capabilities stands in a greeting of protocol 10: behind the version text, thread
    /// id, eight bytes of scramble and a filler.
    fn greeting_capabilities(&self) -> Option<usize> {
        let text = self.payload.get(1..)?;
        let at = 1 + text.iter().position(|byte| *byte == 0)? + 1 + 4 + 8 + 1;
        (self.first() == Some(10) && self.payload.len() >= at + 2).then_some(at)
    }

    /// What a greeting of protocol 10 wants passwords mixed with: eight bytes behind the thread id, twelve behind the rest.
    fn greeting_scramble(&self) -> Option<Scramble> {
        let at = self.greeting_capabilities()?;
        let first = self.payload.get(at - 9..at - 1)?;
        // Capabilities, character set, status, capabilities, a length and ten reserved bytes.
        let second = self.payload.get(at + 18..at + 30)?;
        [first, second].concat().try_into().ok()
    }

    /// The same of a request to authenticate by another method.
    fn switched_scramble(&self) -> Option<Scramble> {
        let rest = self.payload.strip_prefix(&[0xfe])?;
        let name = rest.iter().position(|byte| *byte == 0)?;
        rest.get(name + 1..name + 21)?.try_into().ok()
    }

    fn greeting_offers_tls(&self) -> bool {
        let bit = |at: usize| self.payload[at + 1] & (CLIENT_SSL >> 8) as u8 != 0;
        self.greeting_capabilities().is_some_and(bit)
    }

    fn set_greeting_tls(&mut self, offered: bool) -> io::Result<()> {
        let at = self.greeting_capabilities().ok_or_else(|| refused("the greeting is not MySQL's protocol 10"))?;
        let bit = (CLIENT_SSL >> 8) as u8;
        if offered {
            self.payload[at + 1] |= bit
        } else {
            self.payload[at + 1] &= !bit
        }
        Ok(())
    }

    fn capabilities(&self) -> io::Result<u32> {
        let head = self.payload.get(..4).filter(|_| self.payload.len() >= REQUEST_LENGTH);
        let flags = head.and_then(|head| head.try_into().ok()).map(u32::from_le_bytes);
        let flags = flags.ok_or_else(|| refused("the client's answer to the greeting is too short"))?;
        if flags & CLIENT_PROTOCOL_41 == 0 {
            return Err(refused("the client is older than MySQL 4.1, which has no TLS"));
        }
        Ok(flags)
    }

    fn set_capabilities(&mut self, flags: u32) {
        self.payload[..4].copy_from_slice(&flags.to_le_bytes());
    }
}

/// An ERR packet of the connection phase.
#[must_use]
pub fn error(sequence: u8, code: u16, message: &str) -> Packet {
    let mut payload = vec![0xff];
    payload.extend_from_slice(&code.to_le_bytes());
    payload.extend_from_slice(b"#08004");
    payload.extend_from_slice(message.as_bytes());
    Packet { sequence, payload }
}

/// Brings a tunnel to the start of the handshake with the server: the greeting is shown to the local client without
/// its offer of TLS, and the server is asked for TLS in the client's name. Returns the client's login, which is to be
/// sent inside TLS.
///
/// # Errors
/// When the server offers no TLS or refuses; the client has been told in its own protocol.
pub async fn ask(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<Packet> {
    let mut greeting = greeting(client, server, true).await?;
    greeting.set_greeting_tls(false)?;
    greeting.write(client).await?;
    let mut login = Packet::read(client).await?;
    let flags = login.capabilities()? | CLIENT_SSL;
    login.set_capabilities(flags);
    let request = Packet { sequence: login.sequence, payload: login.payload[..REQUEST_LENGTH].to_vec() };
    request.write(server).await?;
    Ok(login.numbered(1))
}

/// Asks a server for TLS without a client: enough to see whether it would come about.
///
/// # Errors
/// When the server offers no TLS or refuses.
pub async fn probe(server: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    const SECURE_CONNECTION: u32 = 0x8000;
    let greeting = Packet::read(server).await?;
    if !greeting.greeting_offers_tls() {
        return Err(refused("the server does not offer TLS, or refuses the connection"));
    }
    let mut request = Packet { sequence: greeting.sequence.wrapping_add(1), payload: vec![0; REQUEST_LENGTH] };
    request.set_capabilities(CLIENT_PROTOCOL_41 | CLIENT_SSL | SECURE_CONNECTION);
    request.write(server).await
}

/// Shows a client the server's greeting with an offer of TLS, and takes its request. After `Ok` the next byte from the
/// client is TLS; the request is as a server on TLS (`of_tls`) wants it too. With it comes what the greeting wants passwords
/// mixed with.
///
/// # Errors
/// When the server refuses or should offer TLS and does not, or when the client logs in without TLS; it has been told why not.
pub async fn invite(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
    of_tls: bool,
) -> io::Result<(Packet, Option<Scramble>)> {
    let mut greeting = greeting(client, server, of_tls).await?;
    greeting.set_greeting_tls(true)?;
    greeting.write(client).await?;
    let request = Packet::read(client).await?;
    if request.capabilities()? & CLIENT_SSL == 0 || request.payload.len() != REQUEST_LENGTH {
        let message = "tls-ambassador: this server accepts TLS only; use --ssl-mode=REQUIRED or better";
        error(request.sequence.wrapping_add(1), TLS_REQUIRED, message).write(client).await?;
        return Err(refused("the client does not ask for TLS"));
    }
    Ok((request, greeting.greeting_scramble()))
}

/// The server's greeting. What ends the connection instead is told to the client in its own protocol.
async fn greeting(
    client: &mut (impl AsyncWrite + Unpin),
    server: &mut (impl AsyncRead + Unpin),
    of_tls: bool,
) -> io::Result<Packet> {
    let greeting = Packet::read(server).await?;
    if greeting.first() == Some(0xff) {
        // "Too many connections" and its kind come instead of a greeting, and only the client can make sense of it.
        greeting.write(client).await?;
        return Err(refused("the server refuses the connection"));
    }
    if of_tls && !greeting.greeting_offers_tls() {
        error(greeting.sequence, BAD_HANDSHAKE, "tls-ambassador: the server does not offer TLS").write(client).await?;
        return Err(refused("the server does not offer TLS"));
    }
    Ok(greeting)
}

/// Whose stream carries TLS, and with it one packet more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsSide {
    /// The client's: this is a door in front of a plain server, which takes passwords under its RSA key where there is a scramble,
    /// and in clear where there is none.
    Client(Option<Scramble>),
    /// The server's: this is a tunnel for a plain client.
    Server,
}

/// Carries the login on, where the client's is on TLS, and then packets until the server says OK or ERR.
///
/// # Errors
/// When a side ends or breaks the protocol.
pub async fn authenticate(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut side: TlsSide,
    login: Option<Packet>,
) -> io::Result<()> {
    let mut towards_server = if side == TlsSide::Server { 1 } else { -1 };
    match login {
        Some(login) => login.write(server).await?,
        None => {
            let mut login = Packet::read(client).await?;
            let flags = login.capabilities()? & !CLIENT_SSL;
            login.set_capabilities(flags);
            login.numbered(towards_server).write(server).await?;
        }
    }
    for _ in 0..ROUNDS {
        let answer = Packet::read(server).await?.numbered(-towards_server);
        answer.write(client).await?;
        match (answer.first(), answer.payload.as_slice()) {
            (Some(0x00 | 0xff), _) => return Ok(()),
            // "Fast authentication succeeded" needs no reply; OK follows.
            (_, [0x01, 0x03]) => continue,
            _ => {}
        }
        if let (TlsSide::Client(Some(scramble)), Some(other)) = (&mut side, answer.switched_scramble()) {
            *scramble = other;
        }
        let mut reply = Packet::read(client).await?;
        if answer.payload == WHOLE_PASSWORD {
            match side {
                TlsSide::Server if reply.payload == WHICH_KEY => {
                    let message = "tls-ambassador: the first caching_sha2_password login must not go through a tunnel";
                    error(reply.sequence.wrapping_add(1), BAD_HANDSHAKE, message).write(client).await?;
                    return Err(refused("caching_sha2_password needs an RSA key exchange that TLS rules out"));
                }
                TlsSide::Client(Some(scramble)) if reply.payload != WHICH_KEY => {
                    let asked = reply.sequence.wrapping_add_signed(towards_server);
                    reply.payload = match sealed(server, asked, &reply.payload, scramble).await? {
                        Ok(password) => password,
                        Err(message) => {
                            error(reply.sequence.wrapping_add(1), BAD_HANDSHAKE, message).write(client).await?;
                            return Err(refused(message));
                        }
                    };
                    // The request for the key and its answer, of which the client knows nothing.
                    towards_server += 2;
                }
                _ => {}
            }
        }
        reply.numbered(towards_server).write(server).await?;
    }
    Err(refused("authentication does not end"))
}

/// "Perform full authentication": `caching_sha2_password` does not know the account yet.
const WHOLE_PASSWORD: [u8; 2] = [0x01, 0x04];
/// A client's request for the server's RSA key.
const WHICH_KEY: [u8; 1] = [0x02];

/// A password that was said in clear as a server without TLS wants it, which is asked for its key by a packet of number
/// `sequence`; inside, what the client is told instead.
async fn sealed(
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
    sequence: u8,
    password: &[u8],
    scramble: Scramble,
) -> io::Result<Result<Vec<u8>, &'static str>> {
    Packet { sequence, payload: WHICH_KEY.to_vec() }.write(server).await?;
    let key = Packet::read(server).await?;
    let Some(pem) = key.payload.strip_prefix(&[0x01]) else {
        return Ok(Err("tls-ambassador: the server gives no RSA key for the first caching_sha2_password login"));
    };
    let mixed: Vec<u8> = password.iter().zip(scramble.iter().cycle()).map(|(byte, with)| byte ^ with).collect();
    let sealed = kit_tls::sealed_by_rsa(pem, &mixed);
    Ok(sealed.ok_or("tls-ambassador: the password does not fit the server's RSA key"))
}

#[cfg(test)]
#[path = "mysql_tests.rs"]
mod tests;
