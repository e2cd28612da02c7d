//! How far a file had been read before what later events tell of: what a copy made since then must hold.

use std::fs::File;
use std::io;

use crate::identity::{Facts, Trace, print_before};
use crate::names::Origin;

/// What later copies are compared with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reads {
    /// The last two places that differ, each with the serial of the last event that was taken when it had been reached.
    places: [(u64, Trace); 2],
    /// A size that was seen, and the time of the last write by then.
    written: (u64, u64),
}

impl Reads {
    /// What was read by now was read before anything that has a higher serial.
    pub(crate) fn note(&mut self, serial: u64, offset: u64, place: impl FnOnce() -> Trace) {
        let [_, last] = self.places;
        if last.1.offset != offset {
            self.places = [last, (serial, place())];
        }
    }

    /// The file had that size after its last write so far, at `modified`: for looks without an event.
    pub(crate) fn note_written(&mut self, size: u64, modified: u64) {
        if self.written.0 != size {
            self.written = (size, modified);
        }
    }

    /// Whether a file holds the bytes before the last place.
    pub(crate) fn are_in(&self, file: &File, size: u64) -> io::Result<bool> {
        let [_, (_, last)] = self.places;
        let marker = last.marker.bytes as usize;
        Ok(marker > 0 && size >= last.offset && print_before(file, last.offset, marker)? == last.marker)
    }

    /// Whether a finished file that was made as `origin` says cannot be a copy of what was read: it ends before what had been
    /// read when it was made, or has something else there.
    pub(crate) fn rule_out(&self, file: &File, size: u64, origin: Option<Origin>) -> io::Result<bool> {
        let (whole, modified) = self.written;
        // Both times are of one file system, whose clock says nothing within a tick.
        if size < whole && Facts::of(file)?.identity.born > modified {
            return Ok(true);
        }
        for (serial, place) in self.places {
            let later = matches!(origin, Some(Origin::Made(made)) if serial < made);
            let marker = place.marker.bytes as usize;
            if size < place.offset {
                if later {
                    return Ok(true);
                }
            } else if marker > 0 && print_before(file, place.offset, marker)? != place.marker {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::identity::Facts;

    fn file(content: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_copy_holds_what_had_been_read_when_it_was_made() {
        let log = file("banner\none\ntwo\n");
        let identity = Facts::of(&log).unwrap().identity;
        let place = |offset| Trace::take(&log, identity, offset, 1024).unwrap();
        let mut reads = Reads::default();
        reads.note(3, 11, || place(11));
        reads.note(5, 15, || place(15));
        let rules_out = |content: &str, made| {
            reads.rule_out(&file(content), content.len() as u64, Some(Origin::Made(made))).unwrap()
        };
        let are_in = |content: &str| reads.are_in(&file(content), content.len() as u64).unwrap();
        assert!(are_in("banner\none\ntwo\n") && are_in("banner\none\ntwo\nthree\n"));
        assert!(!are_in("banner\none\nsix\n") && !are_in("banner\none\n") && !are_in(""), "nothing of the last line");
        assert!(!rules_out("banner\none\n", 4), "made before the second line was read");
        assert!(rules_out("banner\none\n", 6), "made after that");
        assert!(rules_out("banner\n", 4), "shorter than what had been read");
        assert!(!rules_out("banner\n", 3), "made before any of that");
        assert!(rules_out("banner\nsix\n", 4), "other content");
        assert!(!rules_out("banner\none\ntwo\nthree\n", 6));
        assert!(!reads.rule_out(&file("banner\n"), 7, None).unwrap(), "nobody told when it was made");
        let copy = file("banner\n");
        let born = Facts::of(&copy).unwrap().identity.born;
        for (modified, ruled_out) in [(born, false), (born.saturating_sub(1), born > 0)] {
            let mut reads = Reads::default();
            reads.note_written(15, modified);
            assert_eq!(reads.rule_out(&copy, 7, None).unwrap(), ruled_out, "born {born}, last write {modified}");
            assert!(!reads.rule_out(&copy, 15, None).unwrap(), "as long as what was written by then");
        }
    }
}
