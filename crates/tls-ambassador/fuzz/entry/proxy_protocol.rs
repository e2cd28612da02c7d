//! A PROXY header is taken whole and nothing behind it; what it says is an address pair of one family.

use tls_ambassador::args::ProxyIn;
use tls_ambassador::proxy_protocol::{parse_block, parse_line, read};

use super::script::{Script, now};

/// One input: what a connection begins with.
pub(crate) fn run(bytes: &[u8]) {
    for form in [ProxyIn::V1, ProxyIn::V2, ProxyIn::Any] {
        let mut socket = Script::new(bytes);
        let Ok(addresses) = now(read(&mut socket, form)) else { continue };
        let used = &bytes[..bytes.len() - socket.left()];
        if used[0] == b'P' {
            assert!(form != ProxyIn::V2 && used.ends_with(b"\r\n") && used.len() <= 107);
            assert_eq!(used.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        } else {
            assert!(form != ProxyIn::V1);
            assert_eq!(used.len(), 16 + usize::from(u16::from_be_bytes([used[14], used[15]])));
        }
        if let Some((source, destination)) = addresses {
            assert_eq!(source.is_ipv4(), destination.is_ipv4());
        }
        assert!(now(read(&mut Script::new(used), form)).is_ok(), "the header alone is a header");
    }
    let _line = parse_line(bytes);
    if let [version, family, block @ ..] = bytes {
        let _block = parse_block(*version, *family, block);
    }
}
