//! A chunked body is read alike whole, byte by byte and decoded.
use tls_ambassador::http::framing::{Fault, Framing};

/// One input.
pub(crate) fn run(bytes: &[u8]) {
    let whole = Framing::chunked().feed(bytes);
    let single = single(bytes);
    match (whole, single) {
        (Ok(piece), Ok((taken, done))) => {
            assert_eq!((piece.taken, piece.done), (taken, done));
            assert!(piece.forward <= piece.taken && piece.taken <= bytes.len());
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        (one, other) => panic!("{one:?} and {other:?}"),
    }
    let mut framing = Framing::chunked();
    let mut at = 0;
    while let Ok(run) = framing.decode(&bytes[at..]) {
        at += run.skip + run.data;
        assert!(at <= bytes.len());
        if run.done || run.skip + run.data == 0 {
            break;
        }
    }
}

fn single(bytes: &[u8]) -> Result<(usize, bool), Fault> {
    let mut framing = Framing::chunked();
    let mut taken = 0;
    for byte in bytes {
        let piece = framing.feed(std::slice::from_ref(byte))?;
        taken += piece.taken;
        if piece.done {
            return Ok((taken, true));
        }
    }
    Ok((taken, false))
}
