//! One followed path: its generations, and what is known of files beside it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::candidate::Candidate;
use crate::copies::Copy;
use crate::generation::Generation;
use crate::gz;
use crate::identity::{Facts, Identity, Trace, digest};
use crate::lines::LineEnd;
use crate::names::Names;
use crate::siblings::{Direction, names_rise};
use crate::sink::Source;
use crate::start::Start;
use crate::stats::Stats;

/// What the path led to when it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Not looked at yet.
    Unknown,
    /// A file that is followed.
    There,
    /// A file that another path follows already.
    Elsewhere(Identity),
    /// Nothing, or nothing readable: the text says why.
    Missing(String),
    /// A directory, device or socket.
    Untailable(Identity),
}

/// A file that was read or set aside before, so that it is not read again under another name.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) trace: Trace,
    pub(crate) slot: Option<usize>,
    /// It is a copy: what it grows by is read from the file itself.
    pub(crate) copy: bool,
    /// Size and time of the last write when it was last compared.
    pub(crate) seen: Option<(u64, u64)>,
}

impl Known {
    pub(crate) fn of(trace: Trace, facts: &Facts) -> Self {
        Self { trace, slot: None, copy: false, seen: Some((facts.size, facts.modified)) }
    }
}

/// One followed path.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) source: Rc<Source>,
    /// Oldest first. The last one is the file under the name while [`Presence::There`].
    pub(crate) generations: VecDeque<Generation>,
    pub(crate) presence: Presence,
    pub(crate) known: VecDeque<Known>,
    pub(crate) names: Names,
    /// Files beside it that were not renamed away from it, oldest first.
    pub(crate) copies: VecDeque<Copy>,
    /// Files that were made for the log's name, a symlink that does not lead to them yet.
    pub(crate) ahead: Vec<Candidate>,
    /// A copy seems to be in the making: what it tells is waited for until then.
    pub(crate) undecided: Option<Instant>,
    /// An empty copy is looked at again then.
    pub(crate) making: Option<Instant>,
    pub(crate) line_end: LineEnd,
    /// Directories whose events concern this path, and the name in each.
    pub(crate) places: Vec<(i32, PathBuf, OsString)>,
    /// A name changed: look where the path leads.
    pub(crate) doubtful: bool,
    /// There may be something to hand over.
    pub(crate) ready: bool,
    /// Files that took the name according to events, minus files that were found.
    pub(crate) births: i64,
    /// Found by a pattern: forgotten when it is gone.
    pub(crate) from_pattern: bool,
    /// What to do with the first file: later ones are read from their beginning.
    pub(crate) start: Option<Start>,
    pub(crate) next_number: u64,
    pub(crate) bytes_read: Counter,
    pub(crate) lag: Gauge,
    pub(crate) lag_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    pub(crate) behind_since: Option<Instant>,
    /// A file appeared beside it that may be a copy made by copytruncate.
    pub(crate) copy_hint: bool,
    /// How the numbers in rotated names run.
    pub(crate) numbers: Direction,
    /// It led to a file at some time.
    pub(crate) was_there: bool,
}

/// So many times a generation can be inserted before the same one and has a place of its own.
pub(crate) const ORDER_BITS: u32 = 24;

/// More files than this beside a log are not remembered; births and names tell their age.
const MOST_KNOWN: usize = 1024;

impl Target {
    pub(crate) fn new(source: Source, stats: &Stats, line_end: LineEnd, start: Start) -> Self {
        let label = vec![("file".to_owned(), source.name.to_string_lossy().into_owned())];
        Self {
            bytes_read: stats.bytes_read.get_or_create_owned(&label),
            lag: stats.lag_bytes.get_or_create_owned(&label),
            lag_seconds: stats.lag_seconds.get_or_create_owned(&label),
            source: Rc::new(source),
            generations: VecDeque::new(),
            presence: Presence::Unknown,
            known: VecDeque::new(),
            names: Names::default(),
            copies: VecDeque::new(),
            ahead: Vec::new(),
            undecided: None,
            making: None,
            line_end,
            places: Vec::new(),
            doubtful: true,
            ready: true,
            births: 0,
            from_pattern: false,
            start: Some(start),
            next_number: 0,
            behind_since: None,
            copy_hint: false,
            numbers: Direction::default(),
            was_there: false,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.source.path
    }

    pub(crate) fn name(&self) -> &OsStr {
        self.path().file_name().unwrap_or_default()
    }

    /// The followed path as the state file knows it.
    pub(crate) fn path_digest(&self) -> u64 {
        digest(self.path().as_os_str().as_encoded_bytes())
    }

    pub(crate) fn shown(&self) -> String {
        self.source.name.to_string_lossy().into_owned()
    }

    /// The generation under the name, if there is one.
    pub(crate) fn live(&self) -> Option<&Generation> {
        (self.presence == Presence::There).then(|| self.generations.back()).flatten()
    }

    /// Whether the path leads elsewhere than at the last look.
    pub(crate) fn has_moved_on(&self) -> bool {
        let as_it_was = match (Facts::at(self.path()), &self.presence) {
            (Ok(facts), Presence::There) => {
                self.generations.back().is_some_and(|live| live.identity.same(facts.identity))
            }
            (Ok(facts), Presence::Elsewhere(identity) | Presence::Untailable(identity)) => {
                identity.same(facts.identity)
            }
            (Err(_), Presence::Missing(_)) => true,
            _ => false,
        };
        !as_it_was
    }

    /// Whether a file that may have had the log's name may as well be a copy of what an open one held until it was truncated:
    /// that was made before, and has the name of a younger one, or none any more and was written after.
    pub(crate) fn may_be_of_truncated(&self, candidate: &Candidate) -> io::Result<bool> {
        let facts = &candidate.facts;
        let (born, name) = (facts.identity.born, candidate.path.file_name());
        for one in self.generations.iter().filter(|one| one.stream.is_none()) {
            let around = match &one.name {
                Some(other) => {
                    let older = name.and_then(|name| names_rise(name, other, self.numbers)) == Some(true);
                    older && (1..born).contains(&one.identity.born)
                }
                None => one.identity.born <= born && one.modified() >= facts.modified,
            };
            let unread = one.may_have_held(false) && (one.round > 0 || one.may_have_been(candidate)?);
            if around && (unread || one.round_now()? > one.round) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The events that were there are taken: what later ones tell of came after what was read by now.
    pub(crate) fn note_reads(&mut self) {
        let serial = self.names.last();
        self.generations.back_mut().into_iter().for_each(|last| last.note_read(serial));
    }

    /// Without events the time of the last write tells which copies were made later, and hold all that had been written.
    pub(crate) fn note_sizes(&mut self) {
        for one in self.generations.iter_mut().filter(|one| one.stream.is_none()) {
            if let Ok(facts) = Facts::of(&one.file)
                && facts.size == one.seen
            {
                one.reads.note_written(facts.size, facts.modified);
                one.note_read(0);
            }
        }
    }

    /// The log's name went away at `since`, as a number of [`Names`]: from the file that is followed, where that had it.
    pub(crate) fn lost_its_name(&mut self, since: Option<u64>) {
        let live = self.generations.back_mut().filter(|_| self.births == 0 && self.presence == Presence::There);
        live.into_iter().for_each(|live| live.serial = live.serial.or(since));
    }

    /// An open file was renamed away from the log.
    pub(crate) fn renamed(&mut self, identity: Identity, serial: u64) {
        let mut same = self.generations.iter_mut().filter(|generation| generation.identity.same(identity));
        if let Some(generation) = same.next() {
            generation.serial = Some(serial);
        }
    }

    /// Files that have no name any more, as that under the log's, `live`, has, get the one of what was compressed of them.
    pub(crate) fn name_packed(
        &mut self,
        candidates: &[Candidate],
        live: Option<Identity>,
        head: usize,
    ) -> io::Result<()> {
        for packed in candidates.iter().filter(|one| one.compressed) {
            let is_live = |one: &Generation| live.is_some_and(|live| live.same(one.identity));
            for one in self.generations.iter_mut().filter(|one| one.name.is_none() && !is_live(one)) {
                if one.stream.is_none() && gz::begins(&packed.file, &one.file, head)? {
                    one.name = packed.path.file_name().map(OsStr::to_owned);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Where a generation stands that is inserted at `at`, as the state file knows it: between the others, else by its number.
    pub(crate) fn order_at(&self, at: usize, number: u64) -> u64 {
        let before = at.checked_sub(1).and_then(|before| self.generations.get(before)).map_or(0, |before| before.order);
        match self.generations.get(at) {
            Some(after) => before + after.order.saturating_sub(before) / 2,
            None => (number << ORDER_BITS).max(before + 1),
        }
    }

    /// The youngest generation was found under a name of its own as well.
    pub(crate) fn name_last(&mut self, found: &Candidate) {
        let last = self.generations.back_mut();
        last.into_iter().for_each(|last| last.name = found.path.file_name().map(OsStr::to_owned));
    }

    pub(crate) fn position(&self, number: u64) -> Option<usize> {
        self.generations.iter().position(|generation| generation.number == number)
    }

    /// The known file of that identity.
    pub(crate) fn known_as(&self, identity: Identity) -> Option<usize> {
        self.known.iter().position(|known| known.trace.identity.same(identity))
    }

    pub(crate) fn remember(&mut self, trace: Trace, slot: Option<usize>, copy: bool) {
        self.learn(Known { trace, slot, copy, seen: None });
    }

    pub(crate) fn learn(&mut self, known: Known) {
        if let Some(at) = self.known_as(known.trace.identity) {
            self.known.remove(at);
        }
        if self.known.len() >= MOST_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(known);
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}
