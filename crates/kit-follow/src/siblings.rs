//! Which names are older generations or copies of a log, and in which order they were written.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::glob::Glob;
use crate::identity::Facts;

/// Which names beside a log belong to it.
#[derive(Debug, Clone)]
pub(crate) enum Siblings {
    /// `NAME.*` and `NAME-*`; `STEM-*EXT` and `STEM.*EXT` where the star begins with a digit.
    Usual,
    /// Names that a pattern describes.
    Like(Glob),
    /// None: nothing but the name itself is read.
    None,
}

/// Endings of files that lie beside logs and hold no log lines.
const NOT_LOGS: &[&str] =
    &["swp", "swx", "swo", "lock", "pid", "pos", "offset", "state", "sock", "md5", "sha256", "sig"];

impl Siblings {
    /// Whether `name` may hold lines that were once in `log`. `log` itself is not its own sibling.
    pub(crate) fn belong(&self, log: &OsStr, name: &OsStr) -> bool {
        if log == name {
            return false;
        }
        match self {
            Self::None => false,
            Self::Like(glob) => glob.matches(name),
            Self::Usual => usual(log.as_bytes(), name.as_bytes()),
        }
    }
}

fn usual(log: &[u8], name: &[u8]) -> bool {
    if let Some(rest) = name.strip_prefix(log) {
        let ending = rest.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        let other = name.ends_with(b"~") || NOT_LOGS.iter().any(|end| end.as_bytes() == ending);
        return rest.len() > 1 && matches!(rest[0], b'.' | b'-') && !other;
    }
    // access-20261121.log and access.1.log are siblings of access.log; access-errors.log is another log.
    let Some(dot) = log.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0) else { return false };
    let (stem, extension) = log.split_at(dot);
    let plain = uncompressed(name);
    let star = plain.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
    star.is_some_and(|star| star.len() > 1 && matches!(star[0], b'.' | b'-') && star[1].is_ascii_digit())
}

/// The name without the ending of a compressor.
fn uncompressed(name: &[u8]) -> &[u8] {
    let endings: [&[u8]; 4] = [b".gz", b".bz2", b".xz", b".zst"];
    endings.iter().find_map(|ending| name.strip_suffix(*ending)).unwrap_or(name)
}

/// Whether the name says that its content is compressed in a way that is not read.
pub(crate) fn is_unreadable(name: &OsStr) -> bool {
    let name = name.as_bytes();
    [b".bz2".as_slice(), b".xz", b".zst"].iter().any(|ending| name.ends_with(ending))
}

/// What orders one generation among others found at the same time.
#[derive(Debug, Clone)]
pub(crate) struct Age<'a> {
    pub(crate) name: &'a OsStr,
    /// Position in the events, where they told of it.
    pub(crate) serial: Option<u64>,
    /// Nanoseconds of the inode's birth; 0 where unknown. A copy or compressed file is younger than its content.
    pub(crate) born: u64,
    /// Nanoseconds of the last write; compressors keep it.
    pub(crate) modified: u64,
}

impl<'a> Age<'a> {
    pub(crate) fn of(name: &'a OsStr, facts: &Facts) -> Self {
        Self { name, serial: None, born: facts.identity.born, modified: facts.modified }
    }
}

/// The order in which generations were written, oldest first, as indices into `ages`.
///
/// One rule is used for the whole set, since rules that change from pair to pair need not be an order. The events come
/// first, where they told of each file. Then births: they belong to the file, while names move on during the look. Coarse
/// file system clocks make ties, which fall to the numbers in the names. Where births say nothing (unknown, or something
/// is compressed) numbers or dates in the names decide, and the last writes among names that cannot be compared.
///
/// `direction` is what [`learn`] was told by these and earlier files.
pub(crate) fn oldest_first(ages: &[Age<'_>], direction: Direction) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ages.len()).collect();
    if ages.len() < 2 {
        return order;
    }
    let names: Vec<NameAge> = ages.iter().map(|age| name_age(age.name)).collect();
    let compressed = ages.iter().any(|age| uncompressed(age.name.as_bytes()).len() != age.name.len());
    let by_name = names.windows(2).all(|pair| pair[0].style == pair[1].style) && names[0].style != Style::None;
    let by_event = ages.iter().all(|age| age.serial.is_some());
    let name_key = |at: usize| names[at].key(direction);
    if by_event {
        order.sort_by_key(|at| ages[*at].serial);
    } else if !compressed && ages.iter().all(|age| age.born > 0) {
        order.sort_by_key(|at| (ages[*at].born, name_key(*at)));
    } else if by_name {
        order.sort_by_key(|at| (name_key(*at), ages[*at].modified));
    } else {
        order = merged(&names, ages, direction);
    }
    order
}

/// The order of names of several styles: each style has one of its own, and the last writes tell which of two styles is the
/// next. A late line makes the last write of an old file young, so those of the files after it count for it too.
fn merged(names: &[NameAge], ages: &[Age<'_>], direction: Direction) -> Vec<usize> {
    let of_style = |style: Style| {
        let mut rest: Vec<usize> = (0..names.len()).filter(|at| names[*at].style == style).collect();
        match style {
            Style::None => rest.sort_by_key(|at| ages[*at].modified),
            _ => rest.sort_by_key(|at| (names[*at].key(direction), ages[*at].modified)),
        }
        VecDeque::from(rest)
    };
    let mut left = [Style::None, Style::Number, Style::Date, Style::Passing].map(of_style);
    let written = |rest: &VecDeque<usize>| rest.iter().map(|at| ages[*at].modified).min();
    let mut order = Vec::new();
    while let Some(next) = left.iter_mut().filter(|rest| !rest.is_empty()).min_by_key(|rest| written(rest)) {
        order.extend(next.pop_front());
    }
    order
}

/// The order of rotation as the names tell it, as [`oldest_first`] gives it: a copy of the log stands before the log's
/// later content, which births cannot tell. `None` where the names do not tell.
pub(crate) fn by_names(ages: &[Age<'_>], direction: Direction) -> Option<Vec<usize>> {
    let names: Vec<NameAge> = ages.iter().map(|age| name_age(age.name)).collect();
    let style = names.iter().map(|name| name.style).find(|style| *style != Style::Passing)?;
    let tells = |name: &NameAge| name.style == style || name.style == Style::Passing;
    if style == Style::None || !names.iter().all(tells) {
        return None;
    }
    let one_name = |at: usize| names[at + 1..].iter().any(|other| other.digits == names[at].digits);
    if (0..names.len()).any(one_name) {
        return None;
    }
    let mut order: Vec<usize> = (0..ages.len()).collect();
    order.sort_by_key(|at| names[*at].key(direction));
    Some(order)
}

/// Learns from files how numbers in names run, where their votes are clear. `proof` is the sum of what [`proof_of`] tells of
/// files that are known to be one older than the other: it outweighs all votes.
pub(crate) fn learn(ages: &[Age<'_>], proof: i64, direction: &mut Direction) {
    let names: Vec<NameAge> = ages.iter().map(|age| name_age(age.name)).collect();
    let votes = if proof == 0 { votes(ages, &names) } else { proof };
    if *direction != Direction::Counted && (votes.abs() >= 2 || proof != 0) {
        *direction = if votes > 0 { Direction::Falling } else { Direction::Rising };
    }
}

/// What the names of two files tell about numbers when it is known which file is older: 1 where larger numbers are older, -1
/// where they are younger, 0 where the names do not tell.
pub(crate) fn proof_of(older: &OsStr, younger: &OsStr) -> i64 {
    let [older, younger] = [older, younger].map(name_age);
    let numbers = [&older, &younger].iter().all(|name| name.style == Style::Number);
    if numbers { older.digits.cmp(&younger.digits) as i64 } else { 0 }
}

/// Whether the first of two names is of the older file. `None` where the names do not tell.
pub(crate) fn names_rise(one: &OsStr, other: &OsStr, direction: Direction) -> Option<bool> {
    let age = |name| Age { name, serial: None, born: 0, modified: 0 };
    by_names(&[age(one), age(other)], direction).map(|order| order[0] == 0)
}

/// How a name tells its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Not at all.
    None,
    /// `.1`, `.2`: usually the larger is the older.
    Number,
    /// `20261121`, `2026-11-21T10`: the larger is the younger.
    Date,
    /// `.tmp`: what logrotate's renamecopy has just renamed and not copied yet. The youngest.
    Passing,
}

#[derive(Debug)]
struct NameAge {
    style: Style,
    /// All groups of digits of the differing part, as numbers.
    digits: Vec<u64>,
}

impl NameAge {
    fn key(&self, direction: Direction) -> (bool, Vec<u64>) {
        let invert = self.style == Style::Number && direction == Direction::Falling;
        let key = self.digits.iter().map(|number| if invert { u64::MAX - number } else { *number }).collect();
        (self.style == Style::Passing, key)
    }
}

fn name_age(name: &OsStr) -> NameAge {
    let plain = uncompressed(name.as_bytes());
    if plain.ends_with(b".tmp") {
        return NameAge { style: Style::Passing, digits: Vec::new() };
    }
    let groups = plain.split(|byte| !byte.is_ascii_digit()).filter(|group| !group.is_empty());
    let digits: Vec<u64> =
        groups.map(|group| group.iter().fold(0, |n: u64, d| n.wrapping_mul(10) + u64::from(d - b'0'))).collect();
    // A date has a year: four digits from 1990 to 2199, alone or with month and day behind it.
    let dated = digits.iter().any(|n| (1990..2200).contains(n) || (19_900_101..22_000_000).contains(n));
    let style = match (digits.is_empty(), dated) {
        (true, _) => Style::None,
        (false, true) => Style::Date,
        (false, false) => Style::Number,
    };
    NameAge { style, digits }
}

/// Whether larger numbers in rotated names are older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Direction {
    /// Logrotate's way, which holds until files tell otherwise.
    #[default]
    Falling,
    Rising,
    /// Each file keeps its name, whatever is written to it later.
    Counted,
}

/// Whether larger numbers are older, as logrotate has it: positive where the births and last writes of these files say so.
/// Programs that count upwards are known by the contrary. Most tell it right: a late line makes the last write of an old file
/// young, a copy is born long after its content.
fn votes(ages: &[Age<'_>], names: &[NameAge]) -> i64 {
    let packed = |age: &Age<'_>| uncompressed(age.name.as_bytes()).len() != age.name.len();
    let mut votes = 0;
    for (at, age) in ages.iter().enumerate() {
        for (other_at, other) in ages.iter().enumerate().skip(at + 1) {
            let larger = names[at].digits.cmp(&names[other_at].digits);
            let passing = [at, other_at].iter().any(|one| names[*one].style == Style::Passing);
            if larger.is_eq() || passing {
                continue;
            }
            // A compressed file is younger than its content.
            let births = age.born > 0 && other.born > 0 && !packed(age) && !packed(other);
            let born = if births { age.born.cmp(&other.born) } else { Ordering::Equal };
            for older in [age.modified.cmp(&other.modified), born].into_iter().filter(|older| older.is_ne()) {
                votes += if older == larger { -1 } else { 1 };
            }
        }
    }
    votes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_names_belong_and_other_logs_do_not() {
        let belong = |name: &str| Siblings::Usual.belong(OsStr::new("app.log"), OsStr::new(name));
        for name in [
            "app.log.1",
            "app.log.2.gz",
            "app.log-20261121",
            "app.log.old",
            "app-20261121.log",
            "app.1.log",
            "app-2026-11-21.log.gz",
            "app.log.tmp",
        ] {
            assert!(belong(name), "{name}");
        }
        for name in [
            "app.log",
            "app-errors.log",
            "app.log.swp",
            "app.log~",
            "app.logs",
            "other.log.1",
            "app",
            "app.log.",
            "app.log.state",
        ] {
            assert!(!belong(name), "{name}");
        }
    }

    fn age(name: &str, serial: Option<u64>, born: u64, modified: u64) -> Age<'_> {
        Age { name: OsStr::new(name), serial, born, modified }
    }

    fn learnt(ages: &[Age<'_>]) -> Direction {
        let mut direction = Direction::default();
        learn(ages, 0, &mut direction);
        direction
    }

    fn ordered<'a>(ages: &[Age<'a>]) -> Vec<&'a str> {
        oldest_first(ages, learnt(ages)).into_iter().map(|at| ages[at].name.to_str().unwrap()).collect()
    }

    #[test]
    fn events_decide_then_births_then_names() {
        let ages = [age("l.1", Some(1), 5, 9), age("l.2", Some(2), 1, 10)];
        assert_eq!(ordered(&ages), ["l.1", "l.2"], "events decide");
        let ages = [age("l.1", Some(1), 5, 9), age("l.2", None, 1, 10)];
        assert_eq!(ordered(&ages), ["l.2", "l.1"], "births decide where events did not tell of each");
        let ages = [age("l.1", None, 7, 9), age("l.10", None, 7, 9), age("l.9", None, 7, 9)];
        assert_eq!(ordered(&ages), ["l.10", "l.9", "l.1"], "equal births leave it to logrotate's numbers");
        let ages = [age("l.1.gz", None, 9, 5), age("l.2.gz", None, 8, 5)];
        assert_eq!(ordered(&ages), ["l.2.gz", "l.1.gz"], "compressed files were born late");
        let ages = [age("l-20261121.gz", None, 8, 5), age("l-20261120.gz", None, 9, 6)];
        assert_eq!(ordered(&ages), ["l-20261120.gz", "l-20261121.gz"], "dates rise");
        let ages = [age("l.b", None, 0, 5), age("l.a", None, 0, 3)];
        assert_eq!(ordered(&ages), ["l.a", "l.b"], "nothing but the last write is known");
        let ages =
            [age("l.3.gz", None, 8, 5), age("l-20261121", None, 2, 4), age("l.2", None, 6, 3), age("l.4", None, 1, 9)];
        assert_eq!(ordered(&ages), ["l.4", "l.3.gz", "l.2", "l-20261121"], "a late line does not move l.4 behind l.3");
    }

    #[test]
    fn names_tell_that_a_copy_comes_before_what_the_log_held_later() {
        let named = |ages: &[Age<'_>]| {
            by_names(ages, learnt(ages))
                .map(|order| order.into_iter().map(|at| ages[at].name.to_str().unwrap().to_owned()).collect::<Vec<_>>())
        };
        let ages = [age("l.1", None, 1, 30), age("l.2", None, 9, 20), age("l.3", None, 8, 10)];
        assert_eq!(named(&ages).unwrap(), ["l.3", "l.2", "l.1"], "l.2 and l.3 are copies of what became l.1");
        let ages = [age("l.7", None, 2, 30), age("l.6", None, 1, 20)];
        assert_eq!(named(&ages).unwrap(), ["l.6", "l.7"], "numbers that count upwards");
        let ages = [age("l.tmp", None, 1, 10), age("l.2", None, 1, 20), age("l.1", None, 2, 30)];
        assert_eq!(named(&ages).unwrap(), ["l.2", "l.1", "l.tmp"], "renamed to be copied");
        assert_eq!(named(&[age("l.1", None, 1, 1), age("l.old", None, 2, 2)]), None);
        assert_eq!(named(&[age("l.1", None, 1, 1), age("l.1.gz", None, 2, 2)]), None, "one name, two files");
    }

    #[test]
    fn numbers_that_count_upwards_are_known_by_the_births_that_differ() {
        let ages = [age("l.3", None, 7, 9), age("l.2", None, 7, 9), age("l.1", None, 6, 8)];
        assert_eq!(ordered(&ages), ["l.1", "l.2", "l.3"]);
        let (mut direction, tick) = (Direction::default(), [age("l.4", None, 9, 9), age("l.5", None, 9, 9)]);
        learn(&tick, 0, &mut direction);
        assert_eq!(oldest_first(&tick, direction), [1, 0], "logrotate's way, where nothing tells");
        learn(&ages, 0, &mut direction);
        learn(&tick, 0, &mut direction);
        assert_eq!(oldest_first(&tick, direction), [0, 1], "an earlier look told that they rise");
    }

    #[test]
    fn a_file_that_is_known_to_be_older_outweighs_late_lines() {
        let proof = |older: &str, younger: &str| proof_of(OsStr::new(older), OsStr::new(younger));
        assert_eq!((proof("l.2", "l.1"), proof("l.9", "l.10"), proof("l.1", "l.1.gz")), (1, -1, 0));
        assert_eq!((proof("l.1", "l-20261121"), proof("l.tmp", "l.1"), proof("l.old", "l.1")), (0, 0, 0));
        let tick = [age("l.0", None, 7, 30), age("l.1", None, 7, 10), age("l.2", None, 7, 20)];
        assert_eq!(learnt(&tick), Direction::Falling, "a late line made the last write of the oldest young");
        let mut direction = Direction::default();
        learn(&tick, proof("l.0", "l.1") + proof("l.0", "l.2"), &mut direction);
        assert_eq!(direction, Direction::Rising);
        direction = Direction::Counted;
        learn(&tick, proof("l.2", "l.1"), &mut direction);
        assert_eq!(direction, Direction::Counted);
    }
}
