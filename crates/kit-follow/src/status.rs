//! What is followed right now, as one line of JSON.

use std::fmt::Write;

use crate::engine::Engine;
use crate::generation::{Generation, Kind};
use crate::sink::Sink;
use crate::target::{Presence, Target};

impl<S: Sink> Engine<S> {
    /// Every path with its generations, oldest first. Offsets, sizes and lags are bytes; of compressed files those of the
    /// content, as far as it is known.
    pub(crate) fn status(&self) -> String {
        let mut text = String::from(r#"{"files":["#);
        for (index, target) in self.targets.iter().enumerate() {
            text.push_str(if index == 0 { r#"{"path":"# } else { r#",{"path":"# });
            quote(&target.path().to_string_lossy(), &mut text);
            let _ = write!(text, r#","state":"{}","generations":["#, presence(&target.presence));
            for (at, generation) in target.generations.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                describe(target, at, generation, &mut text);
            }
            text.push_str("]}");
        }
        let _ = write!(
            text,
            r#"],"inotify":{},"polling":{},"unread":{}}}"#,
            self.watcher.is_some(),
            self.polling,
            self.unread()
        );
        text
    }
}

fn describe(target: &Target, at: usize, generation: &Generation, to: &mut String) {
    let live = at + 1 == target.generations.len() && target.presence == Presence::There;
    let state = match (live, generation.kind) {
        (true, _) => "live",
        (false, Kind::Copy) => "copy",
        (false, Kind::Log) => "rotated",
    };
    let (identity, offset, lag) = (generation.identity, generation.offset, generation.unread());
    let _ = write!(
        to,
        r#"{{"number":{},"device":{},"inode":{},"offset":{offset},"size":{},"lag":{lag},"state":"{state}"}}"#,
        generation.number,
        identity.device,
        identity.inode,
        offset + lag,
    );
}

fn presence(presence: &Presence) -> &'static str {
    match presence {
        Presence::Unknown => "not looked at yet",
        Presence::There => "open",
        Presence::Elsewhere(_) => "followed under another name",
        Presence::Missing(_) => "missing",
        Presence::Untailable(_) => "not a regular file",
    }
}

/// A JSON string: quotes, backslashes and control characters escaped.
pub(crate) fn quote(text: &str, to: &mut String) {
    to.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => to.extend(['\\', character]),
            control if control < ' ' => {
                let _ = write!(to, "\\u{:04x}", u32::from(control));
            }
            other => to.push(other),
        }
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_json_string() {
        let mut text = String::new();
        quote("a\"b\\c\n\u{e4}", &mut text);
        assert_eq!(text, "\"a\\\"b\\\\c\\u000a\u{e4}\"");
    }
}
