//! `key=value,key="a, b",switch`: what a route or an issuer says on one line.
//!
//! A value that holds a comma or begins with a double quote stands in double quotes, and a quote inside of them is doubled.

/// One part; a switch may have no value.
pub(crate) type Part = (String, Option<String>);

/// The parts in their order; empty ones are passed over.
///
/// # Errors
/// A quote without end, or something behind a closing one.
pub(crate) fn split(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, behind) = rest.split_at(rest.find([',', '=']).unwrap_or(rest.len()));
        let value = match behind.strip_prefix('=') {
            None => {
                rest = behind;
                None
            }
            Some(value) => {
                let (value, behind) = match value.strip_prefix('"') {
                    Some(quoted) => unquote(quoted).ok_or_else(|| format!("the quotes of {key} do not end"))?,
                    None => {
                        let (value, behind) = value.split_at(value.find(',').unwrap_or(value.len()));
                        (value.to_owned(), behind)
                    }
                };
                rest = behind;
                Some(value)
            }
        };
        if !key.is_empty() || value.is_some() {
            parts.push((key.to_owned(), value));
        }
        rest = match rest.strip_prefix(',') {
            Some(next) => next,
            None if rest.is_empty() => rest,
            None => return Err(format!("{rest:?} stands behind the quotes of {key}, where a comma belongs")),
        };
    }
    Ok(parts)
}

/// What stands before the closing quote, and what behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (before, behind) = rest.split_once('"')?;
        value.push_str(before);
        match behind.strip_prefix('"') {
            Some(more) => {
                value.push('"');
                rest = more;
            }
            None => return Some((value, behind)),
        }
    }
}

/// `key=value` as [`split`] reads it.
pub(crate) fn part(key: &str, value: &str) -> String {
    if value.contains(',') || value.starts_with('"') {
        format!("{key}=\"{}\"", value.replace('"', "\"\""))
    } else {
        format!("{key}={value}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let values = ["", "a", "a,b", "\"", "\"\"", "a\"b", ",\"", "\",\"", "=", "a=b,c"];
        let line = values.map(|value| part("k", value)).join(",");
        let read: Vec<_> = split(&line).unwrap().into_iter().map(|(_, value)| value.unwrap()).collect();
        assert_eq!(read, values);
        let mixed = split(",a,,b=1,c=\"x, y\",").unwrap();
        let owned = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        assert_eq!(mixed, [owned("a", None), owned("b", Some("1")), owned("c", Some("x, y"))]);
    }

    #[test]
    fn quotes_have_to_end_and_nothing_follows_them() {
        assert_eq!(split("a=\"b").unwrap_err(), "the quotes of a do not end");
        assert_eq!(split("a=\"b\"c,d").unwrap_err(), "\"c,d\" stands behind the quotes of a, where a comma belongs");
    }
}
