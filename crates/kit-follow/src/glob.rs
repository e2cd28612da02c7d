//! Path patterns: `*`, `?`, `[a-z]`, `{a,b}` inside one name, `**` across directories.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A pattern for whole paths or, without a slash, for names.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    /// The alternatives of all braces, each without braces.
    patterns: Vec<Vec<u8>>,
}

/// How many plain patterns one pattern with braces may stand for.
const MOST_ALTERNATIVES: usize = 256;

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When a brace or bracket is not closed, or the braces stand for too many patterns. The text is for the user.
    pub(crate) fn new(pattern: &OsStr) -> Result<Self, String> {
        let patterns = expand(pattern.as_bytes())?;
        for plain in &patterns {
            check_brackets(plain)?;
        }
        Ok(Self { patterns })
    }

    /// Whether a text has characters that only a pattern has.
    pub(crate) fn is_pattern(text: &OsStr) -> bool {
        text.as_bytes().iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'{'))
    }

    /// Whether the whole text is described by the pattern. `*` and `?` never match a slash.
    pub(crate) fn matches(&self, text: &OsStr) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern, text.as_bytes()))
    }

    /// The files that exist now, in the order of their names, and the directories in which new ones could appear.
    pub(crate) fn find(&self) -> Found {
        let mut found = Found::default();
        for pattern in &self.patterns {
            let absolute = pattern.first() == Some(&b'/');
            let parts: Vec<&[u8]> = pattern.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
            let root = if absolute { PathBuf::from("/") } else { PathBuf::new() };
            walk(&root, &parts, 0, &mut found);
        }
        found.files.sort();
        found.files.dedup();
        found.directories.sort();
        found.directories.dedup();
        found
    }
}

/// What [`Glob::find`] saw.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) directories: Vec<PathBuf>,
}

/// Deeper than this, `**` does not look: a symlink loop must end.
const DEEPEST: usize = 32;

fn walk(at: &Path, parts: &[&[u8]], depth: usize, found: &mut Found) {
    let Some((part, rest)) = parts.split_first() else { return };
    if depth > DEEPEST {
        return;
    }
    let here = if at.as_os_str().is_empty() { Path::new(".") } else { at };
    if *part == b"**" {
        walk(at, rest, depth, found);
        for entry in directory(here) {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&at.join(entry.file_name()), parts, depth + 1, found);
            }
        }
        return;
    }
    if !Glob::is_pattern(OsStr::from_bytes(part)) {
        let next = at.join(OsStr::from_bytes(part));
        if !rest.is_empty() {
            // A directory that does not exist yet can only appear in this one.
            if !next.is_dir() {
                found.directories.push(here.to_owned());
            }
            walk(&next, rest, depth + 1, found);
        } else {
            found.directories.push(here.to_owned());
            if next.is_file() {
                found.files.push(next);
            }
        }
        return;
    }
    found.directories.push(here.to_owned());
    for entry in directory(here) {
        let name = entry.file_name();
        if !matches(part, name.as_bytes()) {
            continue;
        }
        let next = at.join(&name);
        match rest.is_empty() {
            true if next.is_file() => found.files.push(next),
            false if next.is_dir() => walk(&next, rest, depth + 1, found),
            _ => {}
        }
    }
}

fn directory(path: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(path).into_iter().flatten().flatten()
}

fn expand(pattern: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let Some(open) = pattern.iter().position(|byte| *byte == b'{') else { return Ok(vec![pattern.to_vec()]) };
    let (mut depth, mut commas, mut close) = (0_usize, vec![open], None);
    for (at, byte) in pattern.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b',' if depth == 1 => commas.push(at),
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    close = Some(at);
                    break;
                }
            }
            _ => {}
        }
    }
    let Some(close) = close else { return Err("a { without its }".into()) };
    commas.push(close);
    let mut all = Vec::new();
    for pair in commas.windows(2) {
        let middle = [&pattern[..open], &pattern[pair[0] + 1..pair[1]], &pattern[close + 1..]].concat();
        all.extend(expand(&middle)?);
        if all.len() > MOST_ALTERNATIVES {
            return Err(format!("the braces stand for more than {MOST_ALTERNATIVES} patterns"));
        }
    }
    Ok(all)
}

fn check_brackets(pattern: &[u8]) -> Result<(), String> {
    let mut at = 0;
    while at < pattern.len() {
        at += match pattern[at] {
            b'[' => set(&pattern[at..], 0).ok_or("a [ without its ]")?.1,
            _ => 1,
        };
    }
    Ok(())
}

/// Whether the set at the start of `pattern` holds `byte`, and the set's length.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let (mut at, mut holds) = (first, false);
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > first {
            return Some((holds != negated, at + 1));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(&high)) if high != b']' => {
                holds |= (low..=high).contains(&byte);
                at += 3;
            }
            _ => {
                holds |= low == byte;
                at += 1;
            }
        }
    }
}

/// Matches with one point to go back to, so no pattern takes more than length times length.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => (text[t] != b'/').then_some(1),
            Some(b'[') => set(&pattern[p..], text[t]).and_then(|(holds, length)| holds.then_some(length)),
            Some(byte) => (*byte == text[t]).then_some(1),
            None => None,
        };
        if let Some(length) = step {
            p += length;
            t += 1;
        } else {
            // The last star takes one byte more, unless that is a slash.
            let Some((after, from)) = star else { return false };
            if text[from] == b'/' {
                return false;
            }
            star = Some((after, from + 1));
            (p, t) = (after, from + 1);
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let glob = Glob::new(OsStr::new(pattern)).unwrap();
        for text in yes {
            assert!(glob.matches(OsStr::new(text)), "{pattern} should match {text}");
        }
        for text in no {
            assert!(!glob.matches(OsStr::new(text)), "{pattern} should not match {text}");
        }
    }

    #[test]
    fn patterns_match_what_a_shell_would() {
        check("*.log", &["a.log", ".log", "a.b.log"], &["a.log.1", "d/a.log"]);
        check("app-?.log", &["app-1.log"], &["app-.log", "app-12.log"]);
        check("[a-c][!0-9].log", &["ab.log", "c-.log"], &["d-.log", "a1.log"]);
        check("[]x].log", &["].log", "x.log"], &["y.log"]);
        check("{app,web{1,2}}.log", &["app.log", "web1.log", "web2.log"], &["web.log"]);
        check("a*b*c", &["abc", "axxbyyc", "abbbc"], &["ab", "acb"]);
        check("", &[], &["a"]);
    }

    #[test]
    fn an_unclosed_brace_or_bracket_is_refused() {
        assert_eq!(Glob::new(OsStr::new("{a,b")).unwrap_err(), "a { without its }");
        assert_eq!(Glob::new(OsStr::new("x[ab")).unwrap_err(), "a [ without its ]");
        let many = "{1,2,3,4,5,6,7,8}".repeat(4);
        assert!(Glob::new(OsStr::new(&many)).unwrap_err().contains("more than 256"));
    }

    #[test]
    fn files_and_the_directories_to_watch_are_found() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        ["a/x.log", "a/x.txt", "b/y.log", "b/c/z.log"].into_iter().for_each(make);
        let names = |pattern: &str| {
            let found = Glob::new(root.path().join(pattern).as_os_str()).unwrap().find();
            let strip = |path: &PathBuf| path.strip_prefix(root.path()).unwrap().display().to_string();
            let files: Vec<String> = found.files.iter().map(strip).collect();
            let directories: Vec<String> = found.directories.iter().map(strip).collect();
            (files.join(" "), directories.join(" "))
        };
        assert_eq!(names("*/*.log"), ("a/x.log b/y.log".into(), " a b".into()));
        assert_eq!(names("**/*.log").0, "a/x.log b/c/z.log b/y.log");
        assert_eq!(names("later/*.log"), (String::new(), " later".into()));
    }
}
