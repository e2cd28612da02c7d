//! rustls' unbuffered connections as three calls: take bytes in, encrypt, say goodbye.

use std::ops::Deref;

use kit_tls::rustls;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};

/// Either role. The library has no common trait for them.
pub(crate) trait Engine {
    type Data;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn state(&self) -> &CommonState;
}

impl Engine for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self.deref()
    }
}

impl<E: Engine> Engine for Box<E> {
    type Data = E::Data;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.as_mut().process(incoming)
    }

    fn state(&self) -> &CommonState {
        self.as_ref().state()
    }
}

impl Engine for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self.deref()
    }
}

/// What [`pump`] did with the bytes.
pub(crate) struct Progress {
    /// How many of them are done with; the rest is part of a record and must be offered again with more behind it.
    pub(crate) used: usize,
    /// Whether the peer has ended the connection in order.
    pub(crate) outcome: Result<bool, Error>,
}

/// Feeds received bytes: plaintext goes to `plain`, what TLS itself has to say to `out`. After an error `out` ends
/// with the alert that tells the peer.
pub(crate) fn pump<E: Engine>(engine: &mut E, incoming: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Progress {
    let mut used = 0;
    loop {
        let UnbufferedStatus { mut discard, state, .. } = engine.process(&mut incoming[used..]);
        let is_data = matches!(state, Ok(ConnectionState::ReadTraffic(_)));
        let outcome = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    Some(Ok(record)) => {
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    Some(Err(error)) => break Some(Err(error)),
                    None => break None,
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(out, |buffer| data.encode(buffer)).err().map(Err),
            // `out` keeps the bytes until the socket has them, so for rustls they are sent.
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(Ok(true)),
            // Early data is never offered, so this state cannot come; blocked and idle mean "more bytes, please".
            Ok(_) => Some(Ok(false)),
            Err(error) => {
                drain_alerts(engine, out);
                Some(Err(error))
            }
        };
        used += discard;
        // Behind data, where neither side has more: rustls would look once more, and say so too.
        let over = is_data && used == incoming.len() && !engine.state().wants_write();
        if let Some(outcome) = outcome.or(over.then_some(Ok(false))) {
            return Progress { used, outcome };
        }
    }
}

/// Only while there is something to take: without it rustls would look into the received bytes again, where it keeps places of
/// messages behind the refused one, and would refuse the same record once more.
fn drain_alerts<E: Engine>(engine: &mut E, out: &mut Vec<u8>) {
    while engine.state().wants_write() {
        let Ok(ConnectionState::EncodeTlsData(mut data)) = engine.process(&mut []).state else { return };
        if encode(out, |buffer| data.encode(buffer)).is_err() {
            return;
        }
    }
}

/// Room for every handshake message but the longest chains, for which the call is repeated with what it asks for.
const HANDSHAKE_ROOM: usize = 4096;

fn encode(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) -> Result<(), Error> {
    // Not in `out` itself: to clear room for four messages of a handshake there took a tenth of its instructions.
    let mut room = [0; HANDSHAKE_ROOM];
    let needed = match write(&mut room) {
        Ok(count) => {
            out.extend_from_slice(&room[..count]);
            return Ok(());
        }
        Err(EncodeError::InsufficientSize(needed)) if needed.required_size > HANDSHAKE_ROOM => needed.required_size,
        Err(error) => return Err(Error::General(error.to_string())),
    };
    let mut room = vec![0; needed];
    let count = write(&mut room).map_err(|error| Error::General(error.to_string()))?;
    out.extend_from_slice(&room[..count]);
    Ok(())
}

/// Encrypts `plaintext` into `buffer` and returns the length. Anything that TLS has to say first goes to `before`,
/// which must be written first. `partial` is what [`pump`] left of the received bytes.
pub(crate) fn encrypt<E: Engine>(
    engine: &mut E,
    partial: &mut Vec<u8>,
    plaintext: &[u8],
    buffer: &mut [u8],
    before: &mut Vec<u8>,
) -> Result<usize, Error> {
    when_writable(engine, partial, before, |mut traffic| {
        traffic.encrypt(plaintext, buffer).map_err(|error| Error::General(error.to_string()))
    })
}

/// Puts a `close_notify` alert into `out`.
pub(crate) fn say_goodbye<E: Engine>(engine: &mut E, partial: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut alert = [0; 128];
    let length = when_writable(engine, partial, out, |mut traffic| match traffic.queue_close_notify(&mut alert) {
        Ok(length) => Ok(length),
        // All keys are used up; the end of the socket says the same.
        Err(EncryptError::EncryptExhausted) => Ok(0),
        Err(error) => Err(Error::General(error.to_string())),
    })?;
    out.extend_from_slice(&alert[..length]);
    Ok(())
}

fn when_writable<E: Engine, T>(
    engine: &mut E,
    partial: &mut Vec<u8>,
    before: &mut Vec<u8>,
    mut write: impl FnMut(WriteTraffic<'_, E::Data>) -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        // The partial record is offered again, as it may hold the first half of a handshake message that rustls has
        // already counted.
        let UnbufferedStatus { discard, state, .. } = engine.process(partial);
        let done = match state {
            Ok(ConnectionState::WriteTraffic(traffic)) => Some(write(traffic)),
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(before, |buffer| data.encode(buffer)).err().map(Err),
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::PeerClosed) => None,
            Ok(_) => Some(Err(Error::General("the session takes no more data".to_owned()))),
            Err(error) => Some(Err(error)),
        };
        partial.drain(..discard);
        if let Some(done) = done {
            return done;
        }
    }
}
