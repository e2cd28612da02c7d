//! Bytes of other encodings as UTF-8.

use crate::args::Encoding;

/// Appends `bytes`, one line or a piece of one without its end, as UTF-8. False where something was replaced by U+FFFD.
///
/// `at_beginning` tells that the bytes begin a file: a byte order mark there is dropped. `line_end` decides what `auto`
/// found: two bytes mean UTF-16.
pub(crate) fn decode(encoding: Encoding, bytes: &[u8], line_end: &[u8], at_beginning: bool, to: &mut Vec<u8>) -> bool {
    let wide = |swap: bool, bytes: &[u8], to: &mut Vec<u8>| utf16(bytes, swap, at_beginning, to);
    match (encoding, line_end) {
        (Encoding::Utf16Le, _) | (Encoding::Auto, b"\n\0") => wide(false, bytes, to),
        (Encoding::Utf16Be, _) | (Encoding::Auto, b"\0\n") => wide(true, bytes, to),
        (Encoding::Latin1, _) => {
            for byte in bytes {
                push(char::from(*byte), to);
            }
            true
        }
        (Encoding::Auto, _) => {
            let mark = if at_beginning { b"\xef\xbb\xbf".as_slice() } else { b"" };
            to.extend_from_slice(bytes.strip_prefix(mark).unwrap_or(bytes));
            true
        }
    }
}

fn utf16(bytes: &[u8], big: bool, at_beginning: bool, to: &mut Vec<u8>) -> bool {
    let mut pairs = bytes.chunks_exact(2);
    let units = pairs.by_ref().map(|pair| {
        let pair = [pair[0], pair[1]];
        if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
    });
    let mut whole = true;
    for (index, letter) in char::decode_utf16(units).enumerate() {
        match letter {
            Ok('\u{feff}') if index == 0 && at_beginning => {}
            Ok(letter) => push(letter, to),
            Err(_) => {
                whole = false;
                push(char::REPLACEMENT_CHARACTER, to);
            }
        }
    }
    if bytes.len() % 2 == 1 {
        whole = false;
        push(char::REPLACEMENT_CHARACTER, to);
    }
    whole
}

fn push(letter: char, to: &mut Vec<u8>) {
    to.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

/// How many of `bytes` can be decoded without cutting a letter that goes on in the next piece.
pub(crate) fn whole_letters(encoding: Option<Encoding>, line_end: &[u8], bytes: &[u8]) -> usize {
    let wide = match encoding {
        Some(Encoding::Utf16Le) => Some(false),
        Some(Encoding::Utf16Be) => Some(true),
        Some(Encoding::Auto) if line_end.len() == 2 => Some(line_end == b"\0\n"),
        Some(Encoding::Latin1) => return bytes.len(),
        Some(Encoding::Auto) | None => None,
    };
    let cut = match wide {
        Some(big) => {
            let even = bytes.len() & !1;
            let high = |pair: &[u8]| (pair[usize::from(!big)] & 0xfc) == 0xd8;
            if even >= 2 && high(&bytes[even - 2..even]) { even - 2 } else { even }
        }
        None => {
            // At most three bytes of a letter can stand before its last one.
            let tail = bytes.len().saturating_sub(3);
            match bytes[tail..].iter().rposition(|byte| *byte >= 0xc0) {
                Some(lead) => {
                    let lead = tail + lead;
                    let length = match bytes[lead] {
                        0xf0.. => 4,
                        0xe0.. => 3,
                        _ => 2,
                    };
                    if lead + length > bytes.len() { lead } else { bytes.len() }
                }
                None => bytes.len(),
            }
        }
    };
    if cut == 0 { bytes.len() } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(encoding: Encoding, bytes: &[u8], line_end: &[u8], at_beginning: bool, expected: (&str, bool)) {
        let mut to = Vec::new();
        let whole = decode(encoding, bytes, line_end, at_beginning, &mut to);
        assert_eq!((std::str::from_utf8(&to).unwrap(), whole), expected);
    }

    #[test]
    fn t65_utf_16_becomes_utf_8_in_both_orders() {
        check(Encoding::Utf16Le, b"a\0\xe9\0", b"\n\0", false, ("aé", true));
        check(Encoding::Utf16Be, b"\0a\0\xe9", b"\0\n", false, ("aé", true));
        check(Encoding::Auto, b"\xff\xfea\0", b"\n\0", true, ("a", true));
        check(Encoding::Auto, b"\xfe\xff\0a", b"\0\n", true, ("a", true));
        check(Encoding::Utf16Le, b"\x3d\xd8\x00\xde", b"\n\0", false, ("😀", true));
    }

    #[test]
    fn t65_a_wrong_utf_16_line_is_marked_and_does_not_stop_the_next() {
        check(Encoding::Utf16Le, b"\x3d\xd8a\0", b"\n\0", false, ("\u{fffd}a", false));
        check(Encoding::Utf16Le, b"a\0b", b"\n\0", false, ("a\u{fffd}", false));
    }

    #[test]
    fn t66_a_utf_8_mark_is_dropped_only_at_the_beginning_and_only_when_asked() {
        check(Encoding::Auto, b"\xef\xbb\xbfa", b"\n", true, ("a", true));
        check(Encoding::Auto, b"\xef\xbb\xbfa", b"\n", false, ("\u{feff}a", true));
    }

    #[test]
    fn latin_1_has_a_letter_for_every_byte() {
        check(Encoding::Latin1, b"caf\xe9", b"\n", false, ("café", true));
    }

    #[test]
    fn t64_a_piece_is_cut_between_letters() {
        for (bytes, expected) in [
            ("aé".as_bytes(), 3),
            (&"aé".as_bytes()[..2], 1),
            (&"a😀".as_bytes()[..4], 1),
            (b"a\xff", 1),
            (b"abc", 3),
            (b"\xf0", 1),
        ] {
            assert_eq!(whole_letters(None, b"\n", bytes), expected, "{bytes:?}");
        }
        assert_eq!(whole_letters(Some(Encoding::Utf16Le), b"\n\0", b"a\0\x3d\xd8"), 2);
        assert_eq!(whole_letters(Some(Encoding::Utf16Be), b"\0\n", b"\0a\xd8\x3d"), 2);
        assert_eq!(whole_letters(Some(Encoding::Utf16Le), b"\n\0", b"a\0b"), 2);
    }
}
