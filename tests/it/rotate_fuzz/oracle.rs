//! What came out, compared with what is true of the logs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::world::{Line, World, banner};

/// A killed tailer may repeat one batch.
pub(super) const BATCH: usize = 64 * 1024;

/// One piece of output between two newlines.
#[derive(Debug)]
enum Seen {
    Line {
        file: usize,
        id: usize,
    },
    Banner(Vec<u8>),
    /// The first part of a line whose file was truncated, and then a whole line. A writer that was in the middle of its
    /// line goes on in the truncated file, so a tailer joins the two; it cannot know that the rest of the line is lost. Where
    /// the file was truncated again before a line ended in it, there are several such parts.
    Joined {
        cuts: Vec<(usize, usize)>,
        file: usize,
        id: usize,
    },
    /// Neither a line nor a banner: a part of a line, or a mistake.
    Other(Vec<u8>),
}

/// The output of one process.
#[derive(Debug, Default)]
struct Life {
    seen: Vec<Seen>,
    /// What follows the last newline.
    rest: Vec<u8>,
    killed: bool,
    /// The generations of each file of which this process has shown a line.
    open: BTreeMap<usize, BTreeSet<usize>>,
}

/// All output of all processes of one run.
#[derive(Debug, Default)]
pub(super) struct Observer {
    lives: Vec<Life>,
    emitted: HashSet<(usize, usize)>,
    /// Writers that leave holes make the file system fill a block with NUL in front of their next line.
    nul_may_lead: bool,
}

/// What is wrong, and how much of what is missing had ceased to exist.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) problems: Vec<String>,
    /// Lines that existed and did not come out.
    pub(super) missing: usize,
    /// Lines that did not come out and whose bytes had ceased to exist.
    pub(super) lost: usize,
    /// Bytes of whole lines that came out again after each kill.
    pub(super) repeated: Vec<usize>,
}

impl Observer {
    pub(super) fn new(append: bool) -> Self {
        Self { nul_may_lead: !append, ..Self::default() }
    }

    /// A new process writes from now on.
    pub(super) fn begin_life(&mut self) {
        self.lives.push(Life::default());
    }

    pub(super) fn end_life(&mut self, killed: bool) {
        self.lives.last_mut().unwrap().killed = killed;
    }

    /// The generations of `file` that the running process must have open.
    pub(super) fn open(&self, file: usize) -> BTreeSet<usize> {
        self.lives.last().and_then(|life| life.open.get(&file)).cloned().unwrap_or_default()
    }

    pub(super) fn life_has_output(&self) -> bool {
        self.lives.last().is_some_and(|life| !life.seen.is_empty())
    }

    pub(super) fn feed(&mut self, bytes: &[u8], worlds: &[World]) {
        let life = self.lives.last_mut().unwrap();
        life.rest.extend_from_slice(bytes);
        let Some(end) = life.rest.iter().rposition(|byte| *byte == b'\n') else { return };
        let rest = life.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut life.rest, rest);
        for piece in whole[..end].split(|byte| *byte == b'\n') {
            let nuls = if self.nul_may_lead { piece.iter().take_while(|byte| **byte == 0).count() } else { 0 };
            let seen = recognise(&piece[nuls..], worlds, self.nul_may_lead);
            if let Seen::Line { file, id } | Seen::Joined { file, id, .. } = &seen {
                let (file, id) = (*file, *id);
                self.emitted.insert((file, id));
                life.open.entry(file).or_default().insert(worlds[file].lines[id].generation);
            }
            life.seen.push(seen);
        }
    }

    /// Finished lines that exist, or existed long enough, and have not come out yet.
    pub(super) fn missing(&self, worlds: &[World]) -> Vec<(usize, usize)> {
        let lines = worlds.iter().enumerate().flat_map(|(file, world)| {
            let finished = world.lines.iter().enumerate().filter(|(_, line)| line.finished.is_some() && !line.excused);
            finished.map(move |(id, _)| (file, id))
        });
        lines.filter(|line| !self.emitted.contains(line)).collect()
    }

    /// The bytes that were written and have not come out, be they excused or not.
    pub(super) fn missing_bytes(&self, worlds: &[World]) -> usize {
        let mut sum = 0;
        for (file, world) in worlds.iter().enumerate() {
            let lines = world.lines.iter().enumerate().filter(|(id, _)| !self.emitted.contains(&(file, *id)));
            sum += lines.map(|(_, line)| line.written + 1).sum::<usize>();
        }
        let banners: usize = worlds.iter().map(|world| world.banners * banner().len()).sum();
        let seen = self.lives.iter().flat_map(|life| &life.seen);
        let shown = seen.map(|seen| if let Seen::Banner(line) = seen { line.len() + 1 } else { 0 });
        sum + banners.saturating_sub(shown.sum())
    }

    /// `state`: unfinished lines stay for the next run.
    pub(super) fn verdict(&self, worlds: &[World], state: bool) -> Verdict {
        let mut verdict = Verdict::default();
        let missing = self.missing(worlds);
        verdict.missing = missing.len();
        if !missing.is_empty() {
            verdict.problems.push(format!("{} lines missing: {}", missing.len(), describe(&missing, worlds)));
        }
        let excused = worlds.iter().enumerate().flat_map(|(file, world)| {
            let excused = world.lines.iter().enumerate().filter(|(_, line)| line.excused && line.finished.is_some());
            excused.map(move |(id, _)| (file, id))
        });
        verdict.lost = excused.filter(|line| !self.emitted.contains(line)).count();
        self.judge_repeats(worlds, &mut verdict);
        self.judge_order(worlds, &mut verdict);
        self.judge_parts(worlds, state, &mut verdict);
        if verdict.problems.len() > 12 {
            let more = verdict.problems.len() - 12;
            verdict.problems.truncate(12);
            verdict.problems.push(format!("and {more} more"));
        }
        verdict
    }

    /// Each line once; after a kill one batch of whole lines may come again.
    fn judge_repeats(&self, worlds: &[World], verdict: &mut Verdict) {
        let mut last: HashMap<(usize, usize), usize> = HashMap::new();
        for (number, life) in self.lives.iter().enumerate() {
            let (mut repeated, mut longest) = (0, 0);
            for seen in &life.seen {
                let (Seen::Line { file, id } | Seen::Joined { file, id, .. }) = seen else { continue };
                let before = last.insert((*file, *id), number);
                if before == Some(number) {
                    verdict.problems.push(format!("twice by one process: {}", name(*file, *id, worlds)));
                } else if before.is_some() && self.lives[number - 1].killed {
                    let bytes = worlds[*file].lines[*id].bytes.len() + 1;
                    repeated += bytes;
                    longest = longest.max(bytes);
                } else if before.is_some() {
                    verdict.problems.push(format!("again after a clean exit: {}", name(*file, *id, worlds)));
                }
            }
            if number > 0 && self.lives[number - 1].killed {
                verdict.repeated.push(repeated);
                // A line longer than a batch is one of its own.
                if repeated > BATCH.max(longest) {
                    verdict.problems.push(format!("{repeated} bytes repeated after kill number {number}"));
                }
            }
        }
    }

    fn judge_order(&self, worlds: &[World], verdict: &mut Verdict) {
        for (file, world) in worlds.iter().enumerate() {
            let ids = |life: &Life| -> Vec<usize> {
                let ours = life.seen.iter().filter_map(|seen| match seen {
                    Seen::Line { file: of, id } | Seen::Joined { file: of, id, .. } if *of == file => Some(*id),
                    _ => None,
                });
                ours.collect()
            };
            let lives: Vec<Vec<usize>> = self.lives.iter().map(ids).collect();
            let mut known = HashSet::new();
            let first_time: Vec<usize> = lives.iter().flatten().copied().filter(|id| known.insert(*id)).collect();
            for sequence in lives.iter().chain([&first_time]) {
                if let Some(problem) = misorder(file, sequence, world, worlds) {
                    verdict.problems.push(problem);
                    break;
                }
            }
        }
    }

    /// Pieces that are no lines: an unfinished line, or the part of a destroyed line that was read in time, with a
    /// newline of the tailer's own; the rest of such a line, once, where it was written after the tailer may have let go of
    /// the file; and the end of what a killed process wrote.
    fn judge_parts(&self, worlds: &[World], state: bool, verdict: &mut Verdict) {
        let lines = worlds.iter().flat_map(|world| &world.lines);
        let partial = lines.filter(|line| line.finished.is_none() || line.excused);
        let partial: Vec<&[u8]> = partial.map(|line| &line.bytes[..line.written]).collect();
        let all: Vec<&[u8]> = worlds.iter().flat_map(|world| &world.lines).map(|line| &line.bytes[..]).collect();
        let clean = |bytes: &[u8]| -> Vec<u8> {
            let nuls = if self.nul_may_lead { bytes.iter().take_while(|byte| **byte == 0).count() } else { 0 };
            bytes[nuls..].to_vec()
        };
        let mut shown: Vec<Vec<u8>> = Vec::new();
        // First parts that came out with a newline and whose rest did not come yet.
        let mut closed: Vec<&[u8]> = Vec::new();
        for life in &self.lives {
            for seen in &life.seen {
                let cuts = if let Seen::Joined { cuts, .. } = seen { cuts.as_slice() } else { &[] };
                for (file, id) in cuts.iter().filter(|cut| !was_cut(worlds, **cut)) {
                    verdict.problems.push(format!("joined with another line: {}", name(*file, *id, worlds)));
                }
                let Seen::Other(bytes) = seen else { continue };
                if partial.iter().any(|part| part.starts_with(bytes)) || banner().starts_with(bytes) {
                    shown.push(bytes.clone());
                    closed.push(bytes);
                } else if is_glued(bytes, worlds, self.nul_may_lead, None) {
                    // Nobody can know that a writer did not go on with its line after the truncation.
                } else if let Some(first) = closed.iter().position(|first| is_rest(first, bytes, worlds)) {
                    closed.remove(first);
                } else {
                    verdict.problems.push(format!("not a line: {}{}", excerpt(bytes), difference(bytes, worlds)));
                }
            }
            let rest = clean(&life.rest);
            let candidates = if life.killed { &all } else { &partial };
            let is_part = candidates.iter().any(|part| part.starts_with(&rest)) || banner().starts_with(&rest);
            if !is_part {
                verdict.problems.push(format!("ends with what is no part of a line: {}", excerpt(&rest)));
            }
            shown.push(rest);
        }
        let unfinished = worlds.iter().flat_map(|world| &world.lines);
        for line in unfinished.filter(|line| line.finished.is_none() && !line.excused && line.written > 0) {
            let part = &line.bytes[..line.written];
            let times = shown.iter().filter(|piece| piece.as_slice() == part).count();
            // With one letter written, parts of several lines look alike.
            // One that lacks nothing but its newline is shown as a line.
            let whole = line.written == line.bytes.len();
            if line.written > 9 && !whole && (times > 1 || (times == 0 && !state)) {
                verdict.problems.push(format!("unfinished line shown {times} times: {}", excerpt(part)));
            }
        }
    }
}

/// Whether the two are one line that nobody could be held to read whole.
fn is_rest(first: &[u8], rest: &[u8], worlds: &[World]) -> bool {
    let is_it = |line: &Line| {
        line.excused && line.finished.is_some() && line.bytes.strip_prefix(first).is_some_and(|bytes| bytes == rest)
    };
    !first.is_empty() && worlds.iter().flat_map(|world| &world.lines).any(is_it)
}

fn recognise(piece: &[u8], worlds: &[World], nul_may_lead: bool) -> Seen {
    match whole_line(piece, worlds) {
        Some((file, id)) => Seen::Line { file, id },
        None if is_banner_line(piece) => Seen::Banner(piece.to_vec()),
        None => match joined(piece, worlds, nul_may_lead) {
            Some((cuts, Some((file, id)))) => Seen::Joined { cuts, file, id },
            Some((cuts, None)) if cuts.iter().all(|cut| was_cut(worlds, *cut)) => {
                Seen::Banner(last_banner(piece).to_vec())
            }
            Some((_, None)) | None => Seen::Other(piece.to_vec()),
        },
    }
}

/// The parts of cut lines that a piece begins with, first one last, and the whole line behind them, or the line of a banner.
type Joined = (Vec<(usize, usize)>, Option<(usize, usize)>);

fn joined(piece: &[u8], worlds: &[World], nul_may_lead: bool) -> Option<Joined> {
    let begun = line_begun(piece, worlds);
    let longest = match begun {
        Some((file, id)) => worlds[file].lines[id].bytes.iter().zip(piece).take_while(|(a, b)| a == b).count(),
        // Too little of the cut line to know which one it is: any that was cut will do.
        None => piece.len().min(8),
    };
    (1..=longest).find_map(|cut_at| {
        let nuls = piece[cut_at..].iter().take_while(|byte| nul_may_lead && **byte == 0).count();
        let rest = &piece[cut_at + nuls..];
        let (mut cuts, line) = match whole_line(rest, worlds) {
            Some(line) => (Vec::new(), Some(line)),
            None if is_banner_line(rest) => (Vec::new(), None),
            // The next part is of a line whose number can be read, at once or behind a shorter part.
            None if (0..9).any(|at| rest.get(at..).is_some_and(|rest| line_begun(rest, worlds).is_some())) => {
                joined(rest, worlds, nul_may_lead)?
            }
            None => return None,
        };
        cuts.push(begun.or_else(|| cut_line(worlds, &piece[..cut_at]))?);
        Some((cuts, line))
    })
}

/// Whether a piece is nothing but parts of lines that truncations cut, in their order. `after`: the line of the part before it.
fn is_glued(piece: &[u8], worlds: &[World], nul_may_lead: bool, after: Option<(usize, usize)>) -> bool {
    let nuls = piece.iter().take_while(|byte| nul_may_lead && **byte == 0).count();
    let piece = &piece[nuls..];
    let begun = line_begun(piece, worlds).filter(|cut| was_cut(worlds, *cut));
    let Some((file, id)) = begun.filter(|(file, id)| after.is_none_or(|(of, last)| of == *file && last < *id)) else {
        // Too little of a line to know which one it is.
        return after.is_some() && piece.len() < 9 && cut_line(worlds, piece).is_some();
    };
    let longest = worlds[file].lines[id].bytes.iter().zip(piece).take_while(|(a, b)| a == b).count();
    let ends = after.is_some() && longest == piece.len();
    ends || (9..=longest.min(piece.len() - 1)).any(|at| is_glued(&piece[at..], worlds, nul_may_lead, Some((file, id))))
}

fn whole_line(piece: &[u8], worlds: &[World]) -> Option<(usize, usize)> {
    line_begun(piece, worlds).filter(|(file, id)| worlds[*file].lines[*id].bytes == piece)
}

fn is_banner_line(piece: &[u8]) -> bool {
    piece.starts_with(b"#banner ") && banner().split(|byte| *byte == b'\n').any(|line| line == piece)
}

fn last_banner(piece: &[u8]) -> &[u8] {
    let at = piece.windows(8).rposition(|bytes| bytes == b"#banner ");
    &piece[at.unwrap_or(0)..]
}

/// Whether a truncation cut a line, or took it before it had to be read.
fn was_cut(worlds: &[World], (file, id): (usize, usize)) -> bool {
    let line = &worlds[file].lines[id];
    worlds[file].generations[line.generation].truncated && (line.excused || line.finished.is_none())
}

/// A line that begins so and was cut by a truncation.
fn cut_line(worlds: &[World], begin: &[u8]) -> Option<(usize, usize)> {
    let lines = worlds.iter().enumerate().flat_map(|(file, world)| (0..world.lines.len()).map(move |id| (file, id)));
    lines.filter(|cut| was_cut(worlds, *cut)).find(|(file, id)| worlds[*file].lines[*id].bytes.starts_with(begin))
}

/// The file and number of the line whose first nine bytes these are.
fn line_begun(piece: &[u8], worlds: &[World]) -> Option<(usize, usize)> {
    let file = usize::from(piece.first()?.checked_sub(b'a')?);
    let id: usize = std::str::from_utf8(piece.get(1..9)?).ok()?.parse().ok()?;
    worlds.get(file)?.lines.get(id).map(|_| (file, id))
}

/// The first line that comes too late: after a later line of its own file, or after a line of a newer file although
/// it was there before that file had a byte. A line that was never whole in any file that could be read has no such time: its
/// first part waits for the rest.
fn misorder(file: usize, sequence: &[usize], world: &World, worlds: &[World]) -> Option<String> {
    let mut latest: BTreeMap<usize, usize> = BTreeMap::new();
    for id in sequence {
        let line = &world.lines[*id];
        if let Some(later) = latest.get(&line.generation).filter(|later| *later >= id) {
            return Some(format!("{} after {}", name(file, *id, worlds), name(file, *later, worlds)));
        }
        for (newer, shown) in latest.range(line.generation + 1..) {
            let whole = line.finished.filter(|_| !line.excused);
            let before = whole.zip(world.generations[*newer].first).is_some_and(|(line, first)| line < first);
            if before {
                return Some(format!("{} after the newer {}", name(file, *id, worlds), name(file, *shown, worlds)));
            }
        }
        latest.insert(line.generation, *id);
    }
    None
}

fn name(file: usize, id: usize, worlds: &[World]) -> String {
    let line = &worlds[file].lines[id];
    format!("{} (file {}, {} bytes)", excerpt(&line.bytes[..9]), line.generation, line.bytes.len() + 1)
}

fn describe(lines: &[(usize, usize)], worlds: &[World]) -> String {
    let names: Vec<String> = lines.iter().take(4).map(|(file, id)| name(*file, *id, worlds)).collect();
    let last = lines.last().map(|(file, id)| name(*file, *id, worlds)).unwrap_or_default();
    format!("{} ... {last}", names.join(", "))
}

/// Where a piece that begins as a line begins to differ from it.
fn difference(bytes: &[u8], worlds: &[World]) -> String {
    let Some((file, id)) = line_begun(bytes, worlds) else { return String::new() };
    let line = &worlds[file].lines[id];
    let same = line.bytes.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    let (expected, found) = (excerpt(&line.bytes[same..]), excerpt(&bytes[same..]));
    format!(", which differs after {same} bytes: {expected} expected, {found} found; {} were written", line.written)
}

fn excerpt(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(60)];
    format!("\"{}\" ({} bytes)", shown.escape_ascii(), bytes.len())
}
