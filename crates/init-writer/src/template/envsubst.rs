//! `$NAME` and `${NAME}` with the shell's forms of defaults.
//!
//! ```text
//! ${A:-x}  x when A is unset or empty      ${A-x}  x when A is unset
//! ${A:=x}  the same, and A is x from then  ${A=x}
//! ${A:+x}  x when A is set and not empty   ${A+x}  x when A is set
//! ${A:?x}  an error with the text x        ${A?x}
//! $$       a dollar                        ${k.a.b}  a value of --data k=FILE
//! ```
//! The word behind the operator may hold variables itself. `$1`, `$(A)` and a lone `$` stay as they are. With a list
//! of names only those are replaced and everything else, `$$` included, stays.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::{Flaw, Values, line_of, name_length};
use crate::data::Data;

/// Defaults within defaults; deeper is a mistake or an attack.
const MAX_DEPTH: usize = 32;

pub(crate) fn render(template: &[u8], values: &Values<'_>) -> Result<Vec<u8>, Flaw> {
    let mut run = Run { template, values, assigned: BTreeMap::new(), unset: BTreeSet::new() };
    let mut result = Vec::with_capacity(template.len());
    run.expand(0, None, 0, Some(&mut result))?;
    if run.unset.is_empty() || values.lenient { Ok(result) } else { Err(Flaw::Unset(run.unset.into_iter().collect())) }
}

struct Run<'a> {
    template: &'a [u8],
    values: &'a Values<'a>,
    /// By `:=` and `=`.
    assigned: BTreeMap<Vec<u8>, Vec<u8>>,
    unset: BTreeSet<String>,
}

impl Run<'_> {
    /// Copies from `at` with variables replaced, up to the end or to the `}` that closes the word of `opened`.
    /// Without `into` the text is only passed over. Returns the place behind.
    fn expand(
        &mut self,
        mut at: usize,
        opened: Option<usize>,
        depth: usize,
        mut into: Option<&mut Vec<u8>>,
    ) -> Result<usize, Flaw> {
        while let Some(byte) = self.template.get(at) {
            match byte {
                b'}' if opened.is_some() => return Ok(at + 1),
                b'$' => at = self.dollar(at, depth, into.as_deref_mut())?,
                _ => {
                    if let Some(into) = into.as_deref_mut() {
                        into.push(*byte);
                    }
                    at += 1;
                }
            }
        }
        match opened {
            Some(start) => Err(self.wrong(start, "${ is never closed")),
            None => Ok(at),
        }
    }

    /// What stands at the dollar `at`; returns the place behind it.
    fn dollar(&mut self, at: usize, depth: usize, into: Option<&mut Vec<u8>>) -> Result<usize, Flaw> {
        let rest = &self.template[at + 1..];
        let literal = |into: Option<&mut Vec<u8>>, text: &[u8]| {
            if let Some(into) = into {
                into.extend_from_slice(text);
            }
        };
        match rest.first() {
            Some(b'$') => {
                let name = rest.get(1..).unwrap_or_default();
                let braced = usize::from(name.first() == Some(&b'{'));
                let length = name_length(&name[braced..]);
                let escaped = self.values.vars.is_empty() || self.is_selected(&name[braced..braced + length]);
                literal(into, if escaped { b"$" } else { b"$$" });
                Ok(at + 2)
            }
            Some(b'{') => self.braced(at, depth, into),
            _ => {
                let name = &rest[..name_length(rest)];
                if name.is_empty() || !self.is_selected(name) {
                    literal(into, b"$");
                    return Ok(at + 1);
                }
                let end = at + 1 + name.len();
                if let Some(into) = into {
                    let value = self.lookup(name, at)?;
                    self.put(into, value, name);
                }
                Ok(end)
            }
        }
    }

    /// `${NAME...}`; anything else behind `${` is not ours and stays.
    fn braced(&mut self, at: usize, depth: usize, into: Option<&mut Vec<u8>>) -> Result<usize, Flaw> {
        let inner = &self.template[at + 2..];
        let name = &inner[..path_length(inner)];
        let selected = !name.is_empty() && self.is_selected(name);
        if !selected {
            if let Some(into) = into {
                into.extend_from_slice(b"${");
            }
            return Ok(at + 2);
        }
        if depth > MAX_DEPTH {
            return Err(self.wrong(at, "defaults are nested too deeply"));
        }
        let behind = &inner[name.len()..];
        let word = at + 2 + name.len();
        let (colon, operator) = match behind {
            [b'}', ..] => return self.plain(at, name, word + 1, into),
            [b':', operator @ (b'-' | b'=' | b'+' | b'?'), ..] => (true, *operator),
            [operator @ (b'-' | b'=' | b'+' | b'?'), ..] => (false, *operator),
            [] => return Err(self.wrong(at, "${ is never closed")),
            _ => {
                let form =
                    String::from_utf8_lossy(&self.template[at..(word + 2).min(self.template.len())]).into_owned();
                return Err(self.wrong(at, &format!("{form}... is no form that envsubst knows")));
            }
        };
        let start = word + 1 + usize::from(colon);
        let value = self.lookup(name, at)?;
        let there = value.as_ref().is_some_and(|value| !(colon && value.is_empty()));
        let wants_word = match operator {
            b'+' => there,
            _ => !there,
        };
        let mut text = Vec::new();
        let wanted = wants_word && into.is_some();
        let end = self.expand(start, Some(at), depth + 1, wanted.then_some(&mut text))?;
        let Some(into) = into else { return Ok(end) };
        match operator {
            b'+' => into.extend_from_slice(&text),
            _ if there => into.extend_from_slice(&value.unwrap_or_default()),
            b'?' => {
                let name = String::from_utf8_lossy(name);
                let reason = String::from_utf8_lossy(&text);
                self.unset.insert(if reason.is_empty() { name.into_owned() } else { format!("{name} ({reason})") });
            }
            b'=' => {
                self.assigned.insert(name.to_vec(), text.clone());
                into.extend_from_slice(&text);
            }
            _ => into.extend_from_slice(&text),
        }
        Ok(end)
    }

    fn plain(&mut self, at: usize, name: &[u8], end: usize, into: Option<&mut Vec<u8>>) -> Result<usize, Flaw> {
        if let Some(into) = into {
            let value = self.lookup(name, at)?;
            self.put(into, value, name);
        }
        Ok(end)
    }

    fn put(&mut self, into: &mut Vec<u8>, value: Option<Vec<u8>>, name: &[u8]) {
        match value {
            Some(value) => into.extend_from_slice(&value),
            None => {
                self.unset.insert(String::from_utf8_lossy(name).into_owned());
            }
        }
    }

    fn is_selected(&self, name: &[u8]) -> bool {
        self.values.vars.is_empty() || self.values.vars.iter().any(|allowed| allowed.as_bytes() == name)
    }

    fn lookup(&self, name: &[u8], at: usize) -> Result<Option<Vec<u8>>, Flaw> {
        if let Some(value) = self.assigned.get(name) {
            return Ok(Some(value.clone()));
        }
        if !name.contains(&b'.') {
            return Ok(self.values.environment.get(OsStr::from_bytes(name)).map(|value| value.as_bytes().to_vec()));
        }
        let name = String::from_utf8_lossy(name);
        let mut parts = name.split('.');
        let mut found = parts.next().and_then(|first| self.values.data.get(first));
        for part in parts {
            found = match found {
                Some(Data::Map(map)) => map.get(part),
                Some(Data::List(items)) => part.parse().ok().and_then(|index: usize| items.get(index)),
                _ => None,
            };
        }
        match found {
            None | Some(Data::Null) => Ok(None),
            Some(Data::Text(text)) => Ok(Some(text.clone().into_bytes())),
            Some(Data::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(Data::Bool(value)) => Ok(Some(value.to_string().into_bytes())),
            Some(Data::Int(value)) => Ok(Some(value.to_string().into_bytes())),
            Some(Data::Float(value)) => Ok(Some(value.to_string().into_bytes())),
            Some(Data::List(_) | Data::Map(_)) => {
                Err(self.wrong(at, &format!("{name} is a list or a map, not a value")))
            }
        }
    }

    fn wrong(&self, at: usize, text: &str) -> Flaw {
        Flaw::Wrong(format!("line {}: {text}", line_of(self.template, at)))
    }
}

/// A name, or a dotted path whose further parts may be keys such as `tls.crt` and indices.
fn path_length(text: &[u8]) -> usize {
    let mut length = name_length(text);
    while length > 0 && text.get(length) == Some(&b'.') {
        let part = text[length + 1..].iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        match part.unwrap_or(text.len() - length - 1) {
            0 => break,
            more => length += 1 + more,
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit_run::Environment;

    fn run(template: &str, vars: &[&str], lenient: bool) -> Result<String, Flaw> {
        let environment: Environment = [("A", "a"), ("B", "b c"), ("EMPTY", ""), ("HOST", "h")].into_iter().collect();
        let data = Data::Map(
            [("port".to_owned(), Data::Int(80)), ("l".to_owned(), Data::List(vec![Data::Bool(true)]))].into(),
        );
        let vars: Vec<String> = vars.iter().map(|name| (*name).to_owned()).collect();
        let data = [("k".to_owned(), data)].into();
        let values = Values { environment: &environment, data, vars: &vars, delims: None, lenient };
        render(template.as_bytes(), &values).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn check(template: &str, expected: &str) {
        assert_eq!(run(template, &[], false).as_deref(), Ok(expected), "{template}");
    }

    fn refuses(template: &str, expected: Flaw) {
        assert_eq!(run(template, &[], false), Err(expected), "{template}");
    }

    #[test]
    fn iw09_every_form_of_the_dialect() {
        check("$A-${B}.$EMPTY.", "a-b c..");
        check("${A:-x} ${EMPTY:-x} ${NO:-x} ${NO:-}", "a x x ");
        check("${A-x} ${EMPTY-x} ${NO-x}", "a  x");
        check("${A:+x} ${EMPTY:+x} ${NO:+x}|${A+x} ${EMPTY+x} ${NO+x}", "x  |x x ");
        check("${NO:=x} $NO ${EMPTY:=y} $EMPTY ${EMPTY2=z} $EMPTY2", "x x y y z z");
        check("${EMPTY=z}|", "|");
        check("${NO:-${NO2:-$A}} ${NO:-a}b}", "a ab}");
        check("$$A $${A} $$$A $$", "$A ${A} $a $");
        check("$1 ${1} $(A) $ a$ ${} ${ A } $-", "$1 ${1} $(A) $ a$ ${} ${ A } $-");
        check("${A:?why} ", "a ");
        check("${k.port} ${k.l.0} ${k.no:-d}", "80 true d");
        check("$A.conf ${A}.conf", "a.conf a.conf");
    }

    #[test]
    fn iw09_all_unset_names_are_listed() {
        let unset = |names: &[&str]| Flaw::Unset(names.iter().map(|name| (*name).to_owned()).collect());
        refuses("$Z ${Y} $A ${Z} ${X:-$W} ${k.none}", unset(&["W", "Y", "Z", "k.none"]));
        refuses("${X:?must be there} ${Y?}", unset(&["X (must be there)", "Y"]));
        // The word of a default that is not taken is not asked for.
        check("${A:-$NOT_ASKED} ${NO:+$NOT_ASKED}", "a ");
        assert_eq!(run("[$Z ${Y}]", &[], true).as_deref(), Ok("[ ]"));
    }

    #[test]
    fn iw09_with_a_list_all_else_survives() {
        let nginx = "server_name $HOST; proxy_set_header Host $host; $$HOST $$ ${other:-x} ${HOST:-y} ${A%b}";
        let expected = "server_name h; proxy_set_header Host $host; $HOST $$ ${other:-x} h ${A%b}";
        assert_eq!(run(nginx, &["HOST"], false).as_deref(), Ok(expected));
    }

    #[test]
    fn flaws_name_line_and_form() {
        let wrong = |text: &str| Flaw::Wrong(text.to_owned());
        refuses("a\n${A", wrong("line 2: ${ is never closed"));
        refuses("${A:-x", wrong("line 1: ${ is never closed"));
        refuses("\n\n${A%x}", wrong("line 3: ${A%x... is no form that envsubst knows"));
        refuses("${k.l}", wrong("line 1: k.l is a list or a map, not a value"));
        refuses(
            &format!("{}x{}", "${NO:-".repeat(50), "}".repeat(50)),
            wrong("line 1: defaults are nested too deeply"),
        );
    }
}
