//! The place of one value in a line of JSON, found without building a tree.
//!
//! Only the path's own brackets are followed; everything else is stepped over by matching quotes and brackets. The line
//! is not validated: it is a log line, and only the value's bytes will be touched.

use crate::Refusal;

/// One step of a path: a key, or an index into an array.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(Vec<u8>),
    Index(usize),
}

/// A dotted path such as `a.b[0].c`; `["a.b"]` is a key with a dot in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

/// A value's bytes: what stands between the quotes of a string, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) quoted: bool,
}

impl Path {
    /// # Errors
    /// An empty path, an empty key or an unclosed bracket.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse =
            || Refusal::new(format!("{text:?} is not a path into JSON"), "write a.b.c, items[0].time or [\"a.b\"]");
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix("[\"") {
                let (key, tail) = inside.split_once("\"]").ok_or_else(refuse)?;
                steps.push(Step::Key(key.as_bytes().to_vec()));
                rest = tail;
            } else if let Some(inside) = rest.strip_prefix('[') {
                let (index, tail) = inside.split_once(']').ok_or_else(refuse)?;
                steps.push(Step::Index(index.parse().map_err(|_| refuse())?));
                rest = tail;
            } else {
                let key = rest.strip_prefix('.').filter(|_| !steps.is_empty()).unwrap_or(rest);
                let length = key.find(['.', '[']).unwrap_or(key.len());
                if length == 0 {
                    return Err(refuse());
                }
                steps.push(Step::Key(key.as_bytes()[..length].to_vec()));
                rest = &key[length..];
            }
        }
        if steps.is_empty() { Err(refuse()) } else { Ok(Path(steps)) }
    }

    /// Where the path's string or number stands in this line.
    pub(crate) fn find(&self, line: &[u8]) -> Option<Value> {
        let mut at = blanks(line, 0);
        for step in &self.0 {
            at = match step {
                Step::Key(key) => member(line, at, key)?,
                Step::Index(index) => element(line, at, *index)?,
            };
        }
        match line.get(at)? {
            b'"' => {
                let to = string_end(line, at)? - 1;
                Some(Value { from: at + 1, to, quoted: true })
            }
            b'-' | b'0'..=b'9' => Some(Value { from: at, to: scalar_end(line, at), quoted: false }),
            _ => None,
        }
    }
}

/// The place of the value of `key` in the object at `at`.
fn member(line: &[u8], at: usize, key: &[u8]) -> Option<usize> {
    let mut at = open(line, at, b'{')?;
    loop {
        let end = string_end(line, at)?;
        let found = same_key(&line[at + 1..end - 1], key);
        at = blanks(line, end);
        if *line.get(at)? != b':' {
            return None;
        }
        at = blanks(line, at + 1);
        if found {
            return Some(at);
        }
        at = next(line, skip(line, at)?)?;
    }
}

fn element(line: &[u8], at: usize, index: usize) -> Option<usize> {
    let mut at = open(line, at, b'[')?;
    for _ in 0..index {
        at = next(line, skip(line, at)?)?;
    }
    (*line.get(at)? != b']').then_some(at)
}

fn open(line: &[u8], at: usize, bracket: u8) -> Option<usize> {
    (*line.get(at)? == bracket).then(|| blanks(line, at + 1))
}

/// The place behind the comma that follows a value.
fn next(line: &[u8], at: usize) -> Option<usize> {
    let comma = blanks(line, at);
    (*line.get(comma)? == b',').then(|| blanks(line, comma + 1))
}

fn blanks(line: &[u8], at: usize) -> usize {
    let rest = line.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// The place behind the value at `at`.
fn skip(line: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match line.get(at)? {
            b'"' => at = string_end(line, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ if depth == 0 => return Some(scalar_end(line, at)),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn scalar_end(line: &[u8], at: usize) -> usize {
    let rest = &line[at..];
    at + rest.iter().take_while(|byte| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// The place behind the closing quote of the string that opens at `at`.
fn string_end(line: &[u8], at: usize) -> Option<usize> {
    if *line.get(at)? != b'"' {
        return None;
    }
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', line.get(at..)?)?;
        if line[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn same_key(written: &[u8], key: &[u8]) -> bool {
    written == key || (written.contains(&b'\\') && unescaped(written).0 == key)
}

/// A string's content without escapes, and for each byte (and for the end) its place in `written`.
pub(crate) fn unescaped(written: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let (mut text, mut places) = (Vec::with_capacity(written.len()), Vec::with_capacity(written.len() + 1));
    let mut at = 0;
    while at < written.len() {
        let (byte, length) = match written[at..] {
            [b'\\', b'u', a, b, c, d, ..] => (ascii(&[a, b, c, d]).unwrap_or(0xff), 6),
            [b'\\', escaped, ..] => (
                match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    other => other,
                },
                2,
            ),
            [byte, ..] => (byte, 1),
            [] => break,
        };
        text.push(byte);
        places.push(at);
        at += length;
    }
    places.push(written.len());
    (text, places)
}

/// The ASCII character of four hexadecimal digits; others cannot be a part of a stamp.
fn ascii(digits: &[u8; 4]) -> Option<u8> {
    let code = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    u8::try_from(code).ok().filter(u8::is_ascii)
}

/// `text` as it stands inside quotes.
pub(crate) fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, line: &str) -> Option<(String, bool)> {
        let value = Path::parse(path).unwrap().find(line.as_bytes())?;
        Some((line[value.from..value.to].to_owned(), value.quoted))
    }

    #[test]
    fn da16_only_the_named_value_is_found() {
        let line = r#" {"msg":"\"ts\":\"no\"", "a" : {"x":[1,{"y":"}"}], "ts":"yes"}, "n": -12.5 , "l":[0,["q",7]]}"#;
        assert_eq!(found("a.ts", line), Some(("yes".to_owned(), true)));
        assert_eq!(found("n", line), Some(("-12.5".to_owned(), false)));
        assert_eq!(found("l[1][0]", line), Some(("q".to_owned(), true)));
        assert_eq!(found("a.x[1].y", line), Some(("}".to_owned(), true)));
        assert_eq!(found("ts", line), None);
        assert_eq!(found("l[5]", line), None);
        assert_eq!(found("a", line), None);
        assert_eq!(found("msg", line), Some((r#"\"ts\":\"no\""#.to_owned(), true)));
    }

    #[test]
    fn keys_with_dots_and_escapes_are_reached() {
        assert_eq!(found(r#"["a.b"].c"#, r#"{"a.b":{"c":1}}"#), Some(("1".to_owned(), false)));
        assert_eq!(found("t\"s", r#"{"t\"s":"1"}"#), Some(("1".to_owned(), true)));
        for bad in ["", "a..b", "[x]", "[0", "."] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn broken_lines_are_no_json_and_no_panic() {
        let line = br#"{"a":{"b":["x",{"c":"1\\2"}]}}"#;
        let path = Path::parse("a.b[1].c").unwrap();
        assert!(path.find(line).is_some());
        for end in 0..line.len() {
            let _ = path.find(&line[..end]);
        }
        assert_eq!(path.find(br#"{"a"}"#), None);
        assert_eq!(path.find(b"}}}}"), None);
    }

    #[test]
    fn places_lead_back_to_the_escapes() {
        let (text, places) = unescaped(br"2022\/12\u002f01 x");
        assert_eq!(text, b"2022/12/01 x");
        assert_eq!((places[4], places[5], places[7], places[8], places[12]), (4, 6, 8, 14, 18));
    }
}
