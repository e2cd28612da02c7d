//! GNU tail's headers between the lines of several files.

use crate::sink::Source;

/// Whether a header says which file the next lines are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// With several files
    Auto,
    /// Also with one file
    Always,
    /// Not at all
    Never,
}

/// Remembers whose lines came last.
#[derive(Debug)]
pub struct Headers {
    shown: bool,
    last: Option<usize>,
}

impl Headers {
    /// `several`: more than one file may be followed.
    #[must_use]
    pub fn new(when: When, several: bool) -> Self {
        Self { shown: when == When::Always || (when == When::Auto && several), last: None }
    }

    /// Writes a header where the source is another than before.
    pub fn before(&mut self, source: &Source, to: &mut Vec<u8>) {
        if !self.shown || self.last == Some(source.index) {
            return;
        }
        if self.last.is_some() {
            to.push(b'\n');
        }
        self.last = Some(source.index);
        to.extend_from_slice(b"==> ");
        to.extend_from_slice(source.name.as_encoded_bytes());
        to.extend_from_slice(b" <==\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t10_a_header_stands_before_the_lines_of_another_file() {
        let source = |index, name: &str| Source { index, path: name.into(), name: name.into() };
        let (a, b) = (source(0, "a"), source(1, "b"));
        let mut to = Vec::new();
        let mut headers = Headers::new(When::Auto, true);
        for source in [&a, &a, &b, &a] {
            headers.before(source, &mut to);
        }
        assert_eq!(String::from_utf8(to).unwrap(), "==> a <==\n\n==> b <==\n\n==> a <==\n");
        let mut to = Vec::new();
        Headers::new(When::Auto, false).before(&a, &mut to);
        assert!(to.is_empty(), "one file needs no header");
    }
}
