//! Patterns of `--exclude`.

/// Whether `path` (relative, `/` between its parts) is excluded by `pattern`.
///
/// `*` and `?` stay within one part, `**` crosses them. A pattern without a slash is tried on the name alone.
pub(crate) fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let tried = if pattern.contains(&b'/') { path } else { path.rsplit(|byte| *byte == b'/').next().unwrap_or(path) };
    let pattern = pattern.strip_prefix(b"/").unwrap_or(pattern);
    let pattern = pattern.strip_suffix(b"/").unwrap_or(pattern);
    matches_from(pattern, tried)
}

fn matches_from(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', b'/', rest @ ..] => {
            matches_from(rest, text)
                || text.iter().enumerate().any(|(at, byte)| *byte == b'/' && matches_from(rest, &text[at + 1..]))
        }
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| matches_from(rest, &text[at..])),
        [b'*', rest @ ..] => {
            let part = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=part).any(|at| matches_from(rest, &text[at..]))
        }
        [b'?', rest @ ..] => text.first().is_some_and(|byte| *byte != b'/') && matches_from(rest, &text[1..]),
        [byte, rest @ ..] => text.first() == Some(byte) && matches_from(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn stars_stay_within_a_part_and_double_stars_do_not() {
        let check = |pattern: &str, path: &str, expected: bool| {
            assert_eq!(super::matches(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} {path}");
        };
        check("*.bak", "a.bak", true);
        check("*.bak", "deep/er/a.bak", true);
        check("*.bak", "a.bak/x", false);
        check("deep/*.bak", "deep/a.bak", true);
        check("deep/*.bak", "deep/er/a.bak", false);
        check("deep/**", "deep/er/a.bak", true);
        check("**/a.bak", "a.bak", true);
        check("**/a.bak", "deep/er/a.bak", true);
        check("**/a.bak", "deep/er/xa.bak", false);
        check("/top", "top", true);
        check("?.c", "a.c", true);
        check("?.c", ".c", false);
        check("node_modules/", "a/node_modules", false);
        check("node_modules", "a/node_modules", true);
    }
}
