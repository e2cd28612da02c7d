//! What a client offered, read from its first record for a log line about a handshake that failed.
//!
//! rustls tells the name only when it comes to choosing a certificate, and the versions never. Not promised: a hello that spans
//! several records; it is then as if nothing were known.
//!
//! Source: RFC 8446 §4.1.2 and §4.2.1, RFC 6066 §3.

/// A client's offer, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hello {
    /// `TLS1.3 TLS1.2`, in the client's order; versions that do not exist (GREASE) are left out.
    pub versions: String,
    /// The server name.
    pub name: Option<String>,
}

/// Takes `count` bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// A vector behind a length of `width` bytes.
fn vector<'a>(bytes: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let length = number(take(bytes, width)?);
    take(bytes, length)
}

impl Hello {
    /// Reads what a client sent first. `None` while its first record is not whole, and for anything else than a hello.
    #[must_use]
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        const HANDSHAKE: u8 = 22;
        const CLIENT_HELLO: u8 = 1;
        if *bytes.first()? != HANDSHAKE {
            return None;
        }
        take(&mut bytes, 3)?;
        let mut record = vector(&mut bytes, 2)?;
        if *take(&mut record, 1)?.first()? != CLIENT_HELLO {
            return None;
        }
        let mut hello = vector(&mut record, 3)?;
        let legacy = take(&mut hello, 2)?;
        take(&mut hello, 32)?;
        vector(&mut hello, 1)?;
        vector(&mut hello, 2)?;
        vector(&mut hello, 1)?;
        let mut found = Self { versions: version(legacy).unwrap_or("unknown").to_owned(), name: None };
        // A hello may end here: TLS 1.2 and older have no need of extensions.
        let mut extensions = vector(&mut hello, 2).unwrap_or_default();
        while !extensions.is_empty() {
            let kind = number(take(&mut extensions, 2)?);
            let mut body = vector(&mut extensions, 2)?;
            match kind {
                0 => found.name = server_name(body),
                43 => {
                    let all = vector(&mut body, 1)?.chunks(2).filter_map(version).collect::<Vec<_>>();
                    found.versions = all.join(" ");
                }
                _ => {}
            }
        }
        Some(found)
    }
}

fn version(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [3, 0] => Some("SSL3"),
        [3, 1] => Some("TLS1.0"),
        [3, 2] => Some("TLS1.1"),
        [3, 3] => Some("TLS1.2"),
        [3, 4] => Some("TLS1.3"),
        _ => None,
    }
}

fn server_name(mut body: &[u8]) -> Option<String> {
    const HOST_NAME: u8 = 0;
    const LONGEST: usize = 255;
    let mut names = vector(&mut body, 2)?;
    if *take(&mut names, 1)?.first()? != HOST_NAME {
        return None;
    }
    let name = std::str::from_utf8(vector(&mut names, 2)?).ok()?;
    // It ends up in a log line: what cannot be a name is not repeated.
    let plausible = |byte: u8| byte.is_ascii_graphic();
    (name.len() <= LONGEST && name.bytes().all(plausible)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// A hello of TLS 1.2's form with these extensions.
    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend_from_slice(extensions);
        let mut message = vec![1, 0];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(body);
        let mut record = vec![22, 3, 1];
        record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        record.extend(message);
        record
    }

    #[test]
    fn versions_and_name_are_read() {
        let versions = [0, 43, 0, 7, 6, 0x7a, 0x7a, 3, 4, 3, 3];
        let name = [0, 0, 0, 8, 0, 6, 0, 0, 3, b'a', b'.', b'b'];
        let record = hello(&[&versions[..], &name].concat());
        let expected = Hello { versions: "TLS1.3 TLS1.2".to_owned(), name: Some("a.b".to_owned()) };
        assert_eq!(Hello::read(&record), Some(expected));
        assert_eq!(Hello::read(&hello(&[])).unwrap().versions, "TLS1.2");
    }

    #[test]
    fn what_is_cut_or_no_hello_is_nothing() {
        let record = hello(&[0, 43, 0, 3, 2, 3, 4]);
        for end in 0..record.len() {
            assert_eq!(Hello::read(&record[..end]), None, "{end}");
        }
        assert_eq!(Hello::read(b"GET / HTTP/1.0\r\n\r\n"), None);
        let odd = hello(&[0, 0, 0, 8, 0, 6, 0, 0, 3, b'a', b'\n', b'b']);
        assert_eq!(Hello::read(&odd).unwrap().name, None);
    }
}
