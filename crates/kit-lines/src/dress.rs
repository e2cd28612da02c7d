//! How a line looks when it comes out.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use crate::args::{Format, LineError};

/// Where a line came from and when it went out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) file: &'a [u8],
    pub(crate) offset: u64,
    pub(crate) time: SystemTime,
}

/// The place of a piece in its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) begins: bool,
    pub(crate) ends: bool,
}

/// A format with its prefix and labels.
#[derive(Debug)]
pub(crate) struct Dress {
    format: Format,
    prefix: Option<Template>,
    labels: Vec<(String, String)>,
}

impl Dress {
    pub(crate) fn new(format: Format, prefix: Option<Template>, labels: Vec<(String, String)>) -> Self {
        Self { format, prefix, labels }
    }

    /// Whether a line goes out as the bytes that it is, its own line end included.
    pub(crate) fn is_raw(&self) -> bool {
        self.format == Format::Raw
    }

    /// Appends a line, or a piece of one, without the line's end for raw output and with a newline for the others.
    pub(crate) fn line(&self, origin: Origin<'_>, part: Part, content: &[u8], to: &mut Vec<u8>) {
        if let Some(prefix) = self.prefix.as_ref().filter(|_| part.begins || !self.is_raw()) {
            prefix.fill(origin, to);
        }
        match self.format {
            Format::Raw => to.extend_from_slice(content),
            Format::Json => self.json(origin, part, content, to),
            Format::Logfmt => self.logfmt(origin, part, content, to),
        }
    }

    fn json(&self, origin: Origin<'_>, part: Part, content: &[u8], to: &mut Vec<u8>) {
        to.extend_from_slice(b"{\"ts\":\"");
        time(origin.time, to);
        to.extend_from_slice(b"\",\"file\":");
        json_text(origin.file, to);
        put(to, format_args!(",\"offset\":{}", origin.offset));
        if !self.labels.is_empty() {
            to.extend_from_slice(b",\"labels\":{");
            for (index, (key, value)) in self.labels.iter().enumerate() {
                if index > 0 {
                    to.push(b',');
                }
                json_text(key.as_bytes(), to);
                to.push(b':');
                json_text(value.as_bytes(), to);
            }
            to.push(b'}');
        }
        if part != Part::WHOLE {
            put(to, format_args!(",\"partial\":{}", !part.ends));
        }
        if std::str::from_utf8(content).is_err() {
            to.extend_from_slice(b",\"log_base64\":\"");
            base64(content, to);
            to.push(b'"');
        }
        to.extend_from_slice(b",\"log\":");
        json_text(content, to);
        to.extend_from_slice(b"}\n");
    }

    fn logfmt(&self, origin: Origin<'_>, part: Part, content: &[u8], to: &mut Vec<u8>) {
        to.extend_from_slice(b"ts=");
        time(origin.time, to);
        to.extend_from_slice(b" file=");
        logfmt_text(origin.file, to);
        put(to, format_args!(" offset={}", origin.offset));
        for (key, value) in &self.labels {
            put(to, format_args!(" {key}="));
            logfmt_text(value.as_bytes(), to);
        }
        if part != Part::WHOLE {
            put(to, format_args!(" partial={}", !part.ends));
        }
        to.extend_from_slice(b" log=");
        logfmt_text(content, to);
        to.push(b'\n');
    }
}

impl Part {
    pub(crate) const WHOLE: Self = Self { begins: true, ends: true };
}

/// Writing to a vector cannot fail.
fn put(to: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = to.write_fmt(text);
}

/// A JSON string; what is not UTF-8 becomes U+FFFD.
fn json_text(bytes: &[u8], to: &mut Vec<u8>) {
    to.push(b'"');
    for chunk in bytes.utf8_chunks() {
        let mut plain = 0;
        let valid = chunk.valid().as_bytes();
        for (at, byte) in valid.iter().enumerate() {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0..0x20 | 0x7f => b"",
                _ => continue,
            };
            to.extend_from_slice(&valid[plain..at]);
            plain = at + 1;
            if escape.is_empty() {
                put(to, format_args!("\\u{byte:04x}"));
            } else {
                to.extend_from_slice(escape);
            }
        }
        to.extend_from_slice(&valid[plain..]);
        if !chunk.invalid().is_empty() {
            to.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    to.push(b'"');
}

/// A logfmt value: bare where nothing in it could be misread, else quoted, with `\xHH` for what is not UTF-8.
fn logfmt_text(bytes: &[u8], to: &mut Vec<u8>) {
    let bare = |byte: &u8| byte.is_ascii_graphic() && !b"\"=\\".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(bare) {
        to.extend_from_slice(bytes);
        return;
    }
    to.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' => to.extend_from_slice(b"\\\""),
                '\\' => to.extend_from_slice(b"\\\\"),
                '\n' => to.extend_from_slice(b"\\n"),
                '\r' => to.extend_from_slice(b"\\r"),
                '\t' => to.extend_from_slice(b"\\t"),
                '\0'..'\x20' | '\x7f' => put(to, format_args!("\\x{:02x}", u32::from(letter))),
                _ => put(to, format_args!("{letter}")),
            }
        }
        for byte in chunk.invalid() {
            put(to, format_args!("\\x{byte:02x}"));
        }
    }
    to.push(b'"');
}

/// Base64 with padding (RFC 4648 §4).
fn base64(bytes: &[u8], to: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 0x3f) as usize];
            to.push(if place <= group.len() { letter } else { b'=' });
        }
    }
}

/// RFC 3339 in UTC with milliseconds. Days become a date by counting in eras of 400 years from 1 March of year 0.
fn time(at: SystemTime, to: &mut Vec<u8>) {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let milliseconds = since.subsec_millis();
    put(to, format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z"));
}

/// A `--prefix` that was understood.
#[derive(Debug)]
pub(crate) struct Template(Vec<Slot>);

#[derive(Debug, PartialEq, Eq)]
enum Slot {
    Text(String),
    File,
    Name,
    Offset,
    Time,
    Label(String),
}

impl Template {
    pub(crate) fn new(text: &str, labels: &[(String, String)]) -> Result<Self, LineError> {
        let refuse = |problem: String| Err(LineError::Prefix(problem));
        let mut slots = Vec::new();
        let mut literal = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter != '{' {
                literal.push(letter);
                if letter == '}' && letters.peek() == Some(&'}') {
                    letters.next();
                }
                continue;
            }
            if letters.next_if_eq(&'{').is_some() {
                literal.push('{');
                continue;
            }
            let name: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
            if !text.contains(&format!("{{{name}}}")) {
                return refuse("{ without }".to_owned());
            }
            slots.push(Slot::Text(std::mem::take(&mut literal)));
            slots.push(match (name.as_str(), name.strip_prefix("label.")) {
                ("file", _) => Slot::File,
                ("name", _) => Slot::Name,
                ("offset", _) => Slot::Offset,
                ("time", _) => Slot::Time,
                (_, Some(key)) => match labels.iter().find(|(label, _)| label == key) {
                    Some((_, value)) => Slot::Label(value.clone()),
                    None => return refuse(format!("there is no --label {key}=…")),
                },
                _ => return refuse(format!("unknown placeholder {{{name}}}")),
            });
        }
        slots.push(Slot::Text(literal));
        Ok(Self(slots))
    }

    pub(crate) fn has_label(&self) -> bool {
        self.0.iter().any(|slot| matches!(slot, Slot::Label(_)))
    }

    fn fill(&self, origin: Origin<'_>, to: &mut Vec<u8>) {
        for slot in &self.0 {
            match slot {
                Slot::Text(text) | Slot::Label(text) => to.extend_from_slice(text.as_bytes()),
                Slot::File => to.extend_from_slice(origin.file),
                Slot::Name => {
                    let name = origin.file.rsplit(|byte| *byte == b'/').next();
                    to.extend_from_slice(name.unwrap_or(origin.file));
                }
                Slot::Offset => put(to, format_args!("{}", origin.offset)),
                Slot::Time => time(origin.time, to),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin<'static> = Origin { file: b"/var/log/a.log", offset: 7, time: SystemTime::UNIX_EPOCH };

    fn dressed(format: Format, labels: &[(&str, &str)], part: Part, content: &[u8]) -> Vec<u8> {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut to = Vec::new();
        Dress::new(format, None, labels).line(ORIGIN, part, content, &mut to);
        to
    }

    #[test]
    fn t70_json_is_valid_for_every_byte_and_can_be_turned_back() {
        let every: Vec<u8> = (0..=255).collect();
        let line = dressed(Format::Json, &[("pod", "a\"b")], Part::WHOLE, &every);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["labels"]["pod"], "a\"b");
        assert_eq!((value["file"].as_str(), value["offset"].as_u64()), (Some("/var/log/a.log"), Some(7)));
        assert!(value["log_base64"].as_str().unwrap().starts_with("AAECAwQF"));
        let text = "quote \" backslash \\ tab \t bell \u{7} é 😀";
        let value: serde_json::Value =
            serde_json::from_slice(&dressed(Format::Json, &[], Part::WHOLE, text.as_bytes())).unwrap();
        assert_eq!(value["log"], text);
        assert_eq!(value.get("log_base64"), None);
        assert_eq!(value["ts"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            let mut to = Vec::new();
            base64(bytes.as_bytes(), &mut to);
            assert_eq!(to, text.as_bytes());
        }
    }

    #[test]
    fn logfmt_quotes_what_could_be_misread() {
        let line = dressed(Format::Logfmt, &[("pod", "x y")], Part::WHOLE, b"a=\"1\"\\\xff\n");
        let expected = "ts=1970-01-01T00:00:00.000Z file=/var/log/a.log offset=7 pod=\"x y\" \
                        log=\"a=\\\"1\\\"\\\\\\xff\\n\"\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
        let plain = dressed(Format::Logfmt, &[], Part { begins: true, ends: false }, b"GET");
        assert!(plain.ends_with(b" partial=true log=GET\n"), "{}", String::from_utf8_lossy(&plain));
    }

    #[test]
    fn dates_are_right_around_leap_days_and_centuries() {
        for (seconds, expected) in [
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (1_795_262_400, "2026-11-21T12:00:00.000Z"),
        ] {
            let mut to = Vec::new();
            time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), &mut to);
            assert_eq!(String::from_utf8(to).unwrap(), expected);
        }
    }

    #[test]
    fn a_prefix_names_file_place_and_labels() {
        let labels = [("pod".to_owned(), "web".to_owned())];
        let template = Template::new("{{{label.pod}}} {name}@{offset} {time} {file}: ", &labels).unwrap();
        let mut to = Vec::new();
        template.fill(ORIGIN, &mut to);
        assert_eq!(String::from_utf8(to).unwrap(), "{web} a.log@7 1970-01-01T00:00:00.000Z /var/log/a.log: ");
    }
}
