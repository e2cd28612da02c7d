//! Where a message body ends: a byte counter that never looks at what it counts.
//!
//! [`Framing::feed`] is given what arrived and says how much of it belongs to the body. The strict chunk grammar of
//! RFC 9112 section 7.1 is checked on the way, so bytes may be passed on as they are: both sides read them alike. Bare
//! line feeds, spaces around the size, sizes over 63 bits, control characters in extensions and folded trailers are
//! faults. [`Framing::decode`] walks the same machine and names the runs that are data, for HTTP/2.
//!
//! Not promised: that trailers mean anything. Their bytes are kept apart so that a caller can drop or read them.

/// What is wrong with a body; the connection cannot be used further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a hexadecimal size of at most 16 digits and 63 bits.
    #[error("invalid chunk size")]
    Size,
    /// A control character in a chunk extension, or more than [`MAX_EXTENSION`] bytes of them.
    #[error("invalid chunk extension")]
    Extension,
    /// Something else than CRLF where a line or a chunk ends.
    #[error("missing CRLF after a chunk")]
    LineEnd,
    /// A trailer line that is not `name: value`, or more than [`MAX_TRAILERS`] bytes of them.
    #[error("invalid trailers")]
    Trailer,
}

/// Bytes of chunk extensions taken in one body; more only serves to waste work (CVE-2023-39326).
pub const MAX_EXTENSION: u32 = 4096;
/// Bytes of the trailer section taken in one body.
pub const MAX_TRAILERS: u32 = 8192;

/// How the body of one message is delimited, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Nothing is left.
    Done,
    /// That many bytes are left; never zero.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All that comes until the connection ends.
    UntilClose,
}

/// What [`Framing::feed`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Bytes of the input that belong to this body.
    pub taken: usize,
    /// Bytes of `taken`, from its start, in front of the trailer section: what a caller that drops trailers passes on.
    pub forward: usize,
    /// Bytes of `taken` that are data and not framing.
    pub data: usize,
    /// The body ended with the last byte of `taken`.
    pub done: bool,
}

/// What [`Framing::decode`] found: framing bytes to skip, then data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Framing in front of the data.
    pub skip: usize,
    /// Bytes at the end of `skip` that belong to the trailer section; no data follows them.
    pub trailers: usize,
    /// Bytes of data after `skip`; 0 when more input is needed or the body is over.
    pub data: usize,
    /// The body ended with the last byte of this run.
    pub done: bool,
}

/// The chunk grammar's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunked {
    at: At,
    left: u64,
    digits: u8,
    extension: u32,
    trailers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LineStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

impl Framing {
    /// A body of `length` bytes.
    pub fn length(length: u64) -> Framing {
        if length == 0 { Framing::Done } else { Framing::Length(length) }
    }

    /// A chunked body, nothing of it seen.
    pub fn chunked() -> Framing {
        Framing::Chunked(Chunked { at: At::Size, left: 0, digits: 0, extension: 0, trailers: 0 })
    }

    /// Nothing is left to come.
    pub fn is_done(&self) -> bool {
        matches!(self, Framing::Done)
    }

    /// Takes what belongs to this body from the start of `bytes`. Becomes [`Framing::Done`] with the last byte.
    ///
    /// # Errors
    /// When the chunk grammar is broken; nothing of `bytes` may then be passed on.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Piece, Fault> {
        match self {
            Framing::Done => Ok(Piece { taken: 0, forward: 0, data: 0, done: true }),
            Framing::UntilClose => {
                let all = bytes.len();
                Ok(Piece { taken: all, forward: all, data: all, done: false })
            }
            Framing::Length(left) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                let done = *left == 0;
                if done {
                    *self = Framing::Done;
                }
                Ok(Piece { taken, forward: taken, data: taken, done })
            }
            Framing::Chunked(chunked) => {
                let (mut taken, mut forward, mut data) = (0, 0, 0);
                while taken < bytes.len() && chunked.at != At::End {
                    let in_data = chunked.at == At::Data;
                    let step = chunked.step(&bytes[taken..])?;
                    taken += step;
                    data += if in_data { step } else { 0 };
                    if !chunked.in_trailers() {
                        forward = taken;
                    }
                }
                let done = chunked.at == At::End;
                if done {
                    *self = Framing::Done;
                }
                Ok(Piece { taken, forward, data, done })
            }
        }
    }

    /// Finds the next run of data in `bytes`; call again with what follows the run.
    ///
    /// # Errors
    /// As [`Framing::feed`].
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Run, Fault> {
        let Framing::Chunked(chunked) = self else {
            let piece = self.feed(bytes)?;
            return Ok(Run { skip: 0, trailers: 0, data: piece.taken, done: piece.done });
        };
        let (mut skip, mut forward) = (0, 0);
        while skip < bytes.len() && chunked.at != At::Data && chunked.at != At::End {
            skip += chunked.step(&bytes[skip..])?;
            if !chunked.in_trailers() {
                forward = skip;
            }
        }
        let mut data = 0;
        if chunked.at == At::Data && skip < bytes.len() {
            data = chunked.step(&bytes[skip..])?;
        }
        let done = chunked.at == At::End;
        if done {
            *self = Framing::Done;
        }
        Ok(Run { skip, trailers: skip - forward, data, done })
    }
}

impl Chunked {
    fn in_trailers(&self) -> bool {
        // At the start of the first line after the last chunk nothing of the trailers has been seen.
        matches!(self.at, At::TrailerName | At::TrailerValue | At::TrailerLf | At::EndLf | At::End)
            || (self.at == At::LineStart && self.trailers > 0)
    }

    /// Takes at least one byte of `bytes`, which is not empty.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let byte = bytes[0];
        match self.at {
            At::Size => self.size(byte)?,
            At::Extension => {
                self.extension += 1;
                match byte {
                    b'\r' => self.at = At::SizeLf,
                    b'\t' | b' '..=b'~' if self.extension <= MAX_EXTENSION => {}
                    _ => return Err(Fault::Extension),
                }
            }
            At::SizeLf => {
                expect(byte, b'\n')?;
                self.at = if self.left == 0 { At::LineStart } else { At::Data };
            }
            At::Data => {
                let taken = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.left -= taken as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                return Ok(taken);
            }
            At::DataCr => {
                expect(byte, b'\r')?;
                self.at = At::DataLf;
            }
            At::DataLf => {
                expect(byte, b'\n')?;
                self.digits = 0;
                self.at = At::Size;
            }
            At::LineStart | At::TrailerName | At::TrailerValue | At::TrailerLf | At::EndLf => self.trailer(byte)?,
            At::End => return Ok(0),
        }
        Ok(1)
    }

    fn size(&mut self, byte: u8) -> Result<(), Fault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => {
                self.at = At::SizeLf;
                return Ok(());
            }
            b';' if self.digits > 0 => {
                self.at = At::Extension;
                return Ok(());
            }
            _ => return Err(Fault::Size),
        };
        // 16 digits with the top bit clear are 63 bits: nobody's signed counter wraps.
        if self.digits == 16 || self.left >> 59 != 0 {
            return Err(Fault::Size);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<(), Fault> {
        match (self.at, byte) {
            (At::LineStart, b'\r') => self.at = At::EndLf,
            (At::EndLf, b'\n') => self.at = At::End,
            (At::TrailerLf, b'\n') => self.at = At::LineStart,
            (At::EndLf | At::TrailerLf, _) => return Err(Fault::LineEnd),
            (At::TrailerName, b':') => self.at = At::TrailerValue,
            (At::LineStart | At::TrailerName, byte) if is_token(byte) => self.at = At::TrailerName,
            (At::TrailerValue, b'\r') => self.at = At::TrailerLf,
            (At::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {}
            _ => return Err(Fault::Trailer),
        }
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS && self.at != At::End {
            return Err(Fault::Trailer);
        }
        Ok(())
    }
}

/// Whether `byte` may stand in a header name or method (RFC 9110 section 5.6.2).
pub fn is_token(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'z' | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z')
}

fn expect(byte: u8, wanted: u8) -> Result<(), Fault> {
    if byte == wanted { Ok(()) } else { Err(Fault::LineEnd) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn whole(body: &[u8]) -> Result<Piece, Fault> {
        Framing::chunked().feed(body)
    }

    /// The same answer whatever the split.
    fn byte_by_byte(body: &[u8]) -> Result<(usize, bool), Fault> {
        let mut framing = Framing::chunked();
        let mut taken = 0;
        for byte in body {
            let piece = framing.feed(std::slice::from_ref(byte))?;
            taken += piece.taken;
            if piece.done {
                return Ok((taken, true));
            }
        }
        Ok((taken, false))
    }

    fn data_of(body: &[u8]) -> Vec<u8> {
        let mut framing = Framing::chunked();
        let (mut at, mut data) = (0, Vec::new());
        loop {
            let run = framing.decode(&body[at..]).unwrap();
            at += run.skip;
            data.extend_from_slice(&body[at..at + run.data]);
            at += run.data;
            if run.done || (run.skip == 0 && run.data == 0) {
                return data;
            }
        }
    }

    #[test]
    fn a_chunked_body_ends_at_its_last_crlf_and_leaves_the_next_request() {
        let body = b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
        assert_eq!(whole(body), Ok(Piece { taken: 15, forward: 13, data: 5, done: true }));
        assert_eq!(byte_by_byte(body), Ok((15, true)));
        assert_eq!(data_of(b"5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n"), b"hello0123456789");
    }

    #[test]
    fn trailers_are_counted_apart() {
        let piece = whole(b"1\r\nx\r\n0\r\nX-User: root\r\nb: c\r\n\r\nrest").unwrap();
        assert_eq!((piece.forward, piece.done), (9, true));
        assert_eq!(&b"1\r\nx\r\n0\r\nX-User: root\r\nb: c\r\n\r\nrest"[piece.taken..], b"rest");
    }

    #[test]
    fn the_trailer_section_is_told_apart_however_it_is_split() {
        let body = b"1\r\nx\r\n0\r\nX-User: root\r\nb: c\r\n\r\nrest";
        for size in 1..body.len() {
            let (mut fed, mut decoded) = (Framing::chunked(), Framing::chunked());
            let (mut by_feed, mut by_decode) = (Vec::new(), Vec::new());
            for part in body.chunks(size) {
                let piece = fed.feed(part).unwrap();
                by_feed.extend_from_slice(&part[piece.forward..piece.taken]);
                let mut at = 0;
                while !decoded.is_done() && at < part.len() {
                    let run = decoded.decode(&part[at..]).unwrap();
                    by_decode.extend_from_slice(&part[at + run.skip - run.trailers..at + run.skip]);
                    assert!(run.trailers == 0 || run.data == 0);
                    at += run.skip + run.data;
                }
            }
            assert_eq!(by_feed, b"X-User: root\r\nb: c\r\n\r\n", "{size}");
            assert_eq!(by_decode, by_feed, "{size}");
        }
    }

    #[test]
    fn f09_broken_chunks_are_faults_however_they_are_split() {
        for (body, fault) in [
            (&b"x\r\n"[..], Fault::Size),
            (b"\r\n", Fault::Size),
            (b" 5\r\nhello\r\n", Fault::Size),
            (b"5 \r\nhello\r\n", Fault::Size),
            (b"0x5\r\nhello\r\n", Fault::Size),
            (b"-5\r\n", Fault::Size),
            (b"+5\r\n", Fault::Size),
            (b"5\nhello\n0\n\n", Fault::Size),
            (b"ffffffffffffffff\r\n", Fault::Size),
            (b"8000000000000000\r\n", Fault::Size),
            (b"00000000000000001\r\n", Fault::Size),
            (b"5\r\nhelloX", Fault::LineEnd),
            (b"5\r\nhello\n0\r\n\r\n", Fault::LineEnd),
            (b"5\r\nhello\r0", Fault::LineEnd),
            (b"5\rhello", Fault::LineEnd),
            (b"5;a\nhello", Fault::Extension),
            (b"5;a\x00\r\n", Fault::Extension),
            (b"0\r\n\n", Fault::Trailer),
            (b"0\r\n folded\r\n", Fault::Trailer),
            (b"0\r\nno colon\r\n", Fault::Trailer),
            (b"0\r\na : b\r\n", Fault::Trailer),
            (b"0\r\na: b\n", Fault::Trailer),
            (b"0\r\n\rX", Fault::LineEnd),
        ] {
            assert_eq!(whole(body), Err(fault), "{:?}", String::from_utf8_lossy(body));
            assert_eq!(byte_by_byte(body), Err(fault), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_faults() {
        let mut body = b"5;".to_vec();
        body.resize(body.len() + MAX_EXTENSION as usize + 1, b'a');
        assert_eq!(whole(&body), Err(Fault::Extension));
        let mut body = b"0\r\na:".to_vec();
        body.resize(body.len() + MAX_TRAILERS as usize, b'a');
        assert_eq!(whole(&body), Err(Fault::Trailer));
    }

    #[test]
    fn the_largest_chunk_and_length_are_counted_without_wrapping() {
        let mut framing = Framing::chunked();
        let piece = framing.feed(b"7fffffffffffffff\r\nabc").unwrap();
        assert_eq!((piece.taken, piece.done), (21, false));
        let mut framing = Framing::length(u64::MAX);
        assert_eq!(framing.feed(b"abc").unwrap().taken, 3);
        assert_eq!(framing, Framing::Length(u64::MAX - 3));
    }

    #[test]
    fn a_counted_body_takes_exactly_its_length() {
        let mut framing = Framing::length(5);
        assert_eq!(framing.feed(b"hel").unwrap(), Piece { taken: 3, forward: 3, data: 3, done: false });
        assert_eq!(framing.feed(b"loGET").unwrap(), Piece { taken: 2, forward: 2, data: 2, done: true });
        assert!(framing.is_done());
        assert!(Framing::length(0).is_done());
    }

    #[test]
    fn token_bytes_are_those_of_the_rfc() {
        let allowed: Vec<u8> = (0..=255).filter(|byte| is_token(*byte)).collect();
        assert_eq!(allowed, b"!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~");
    }
}
