//! The part of dockerize's templates that pods use: Go's actions for variables, defaults, conditions and lists.
//!
//! Understood: `{{ .Env.NAME }}`, `{{ default .Env.NAME "x" }}`, `{{ if X }}`, `{{ else if X }}`, `{{ else }}`,
//! `{{ range split X "," }}` with `{{ . }}` inside, `{{ end }}`, comments, parentheses, and `{{-`/`-}}` which cut blanks.
//! Any other action is an error that names it. In conditions an unset variable is false, as an empty one is.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;

use super::{Flaw, Values, is_name, line_of, text};

/// Conditions and lists within each other.
const MAX_DEPTH: usize = 64;

pub(crate) fn render(template: &[u8], values: &Values<'_>) -> Result<Vec<u8>, Flaw> {
    let pieces = pieces(text(template)?, values.delims)?;
    let mut parser = Parser { pieces: pieces.into_iter().peekable() };
    let (nodes, end) = parser.block(0, false)?;
    if let Some(action) = end {
        return Err(action.flaw("without a beginning"));
    }
    let mut writer = Writer { values, unset: BTreeSet::new(), result: Vec::new() };
    writer.write(&nodes, None);
    if writer.unset.is_empty() || values.lenient {
        Ok(writer.result)
    } else {
        Err(Flaw::Unset(writer.unset.into_iter().collect()))
    }
}

/// Plain text or an action.
enum Piece<'a> {
    Text(&'a str),
    Action(Action<'a>),
}

#[derive(Clone, Copy)]
struct Action<'a> {
    body: &'a str,
    line: usize,
}

impl Action<'_> {
    fn flaw(self, why: &str) -> Flaw {
        Flaw::Wrong(format!("line {}: the action {{{{ {} }}}} is {why}", self.line, self.body))
    }

    fn unknown(self) -> Flaw {
        self.flaw("not understood")
    }
}

fn pieces<'a>(template: &'a str, delims: Option<&(String, String)>) -> Result<Vec<Piece<'a>>, Flaw> {
    let (left, right) = delims.map_or(("{{", "}}"), |(left, right)| (left.as_str(), right.as_str()));
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut cut_start = false;
    loop {
        let opening = template[at..].find(left).map(|found| at + found);
        let mut plain = &template[at..opening.unwrap_or(template.len())];
        if cut_start {
            plain = plain.trim_start_matches(BLANKS);
        }
        let Some(opening) = opening else {
            pieces.push(Piece::Text(plain));
            return Ok(pieces);
        };
        let line = line_of(template.as_bytes(), opening);
        let start = opening + left.len();
        let end = action_end(&template[start..], right)
            .map(|length| start + length)
            .ok_or_else(|| Flaw::Wrong(format!("line {line}: {left} is never closed")))?;
        let mut body = &template[start..end];
        // As in Go, the dash needs a blank on its inner side; `{{-3}}` would be a number.
        if let Some(rest) = body.strip_prefix('-').filter(|rest| rest.starts_with(BLANKS)) {
            body = rest;
            plain = plain.trim_end_matches(BLANKS);
        }
        cut_start = false;
        if let Some(rest) = body.strip_suffix('-').filter(|rest| rest.ends_with(BLANKS)) {
            body = rest;
            cut_start = true;
        }
        pieces.push(Piece::Text(plain));
        let body = body.trim_matches(BLANKS);
        if !(body.starts_with("/*") && body.ends_with("*/")) {
            pieces.push(Piece::Action(Action { body, line }));
        }
        at = end + right.len();
    }
}

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Where the closing delimiter is, passing over quoted texts that hold it.
fn action_end(body: &str, right: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in body.char_indices() {
        match quote {
            None if body[at..].starts_with(right) => return Some(at),
            None if matches!(character, '"' | '`') => quote = Some(character),
            Some('"') if escaped => escaped = false,
            Some('"') if character == '\\' => escaped = true,
            Some(open) if open == character => quote = None,
            _ => {}
        }
    }
    None
}

enum Node<'a> {
    Text(&'a str),
    Print(Expression),
    If { branches: Vec<(Expression, Vec<Node<'a>>)>, otherwise: Vec<Node<'a>> },
    Range { list: Expression, separator: Expression, body: Vec<Node<'a>>, otherwise: Vec<Node<'a>> },
}

#[derive(Debug, Clone, PartialEq)]
enum Expression {
    Variable(String),
    Text(String),
    /// `.` inside of a range.
    Dot,
    Default(Box<(Expression, Expression)>),
}

struct Parser<'a> {
    pieces: std::iter::Peekable<std::vec::IntoIter<Piece<'a>>>,
}

impl<'a> Parser<'a> {
    /// Reads up to an `else` or `end` that belongs to somebody above, and returns it.
    fn block(&mut self, depth: usize, in_range: bool) -> Result<(Vec<Node<'a>>, Option<Action<'a>>), Flaw> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let action = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(action) => action,
            };
            if depth > MAX_DEPTH {
                return Err(action.flaw("nested too deeply"));
            }
            let (word, rest) = action.body.split_once(BLANKS).unwrap_or((action.body, ""));
            match word {
                "end" | "else" => return Ok((nodes, Some(action))),
                "if" => nodes.push(self.condition(action, rest, depth, in_range)?),
                "range" => nodes.push(self.range(action, rest, depth, in_range)?),
                _ => nodes.push(Node::Print(whole_expression(action, action.body, in_range)?)),
            }
        }
        Ok((nodes, None))
    }

    fn condition(&mut self, action: Action<'a>, what: &str, depth: usize, in_range: bool) -> Result<Node<'a>, Flaw> {
        let mut branches = Vec::new();
        let mut asked = whole_expression(action, what, in_range)?;
        loop {
            let (body, end) = self.block(depth + 1, in_range)?;
            branches.push((asked, body));
            let Some(end) = end else { return Err(action.flaw("never ended")) };
            let after_else = end.body.strip_prefix("else").map(|rest| rest.trim_matches(BLANKS));
            match after_else {
                None => return end_of(end, Node::If { branches, otherwise: Vec::new() }),
                Some("") => {
                    let (otherwise, end) = self.block(depth + 1, in_range)?;
                    let Some(end) = end else { return Err(action.flaw("never ended")) };
                    return end_of(end, Node::If { branches, otherwise });
                }
                Some(more) => match more.strip_prefix("if").filter(|rest| rest.starts_with(BLANKS)) {
                    Some(what) => asked = whole_expression(end, what, in_range)?,
                    None => return Err(end.unknown()),
                },
            }
        }
    }

    fn range(&mut self, action: Action<'a>, what: &str, depth: usize, in_range: bool) -> Result<Node<'a>, Flaw> {
        let mut tokens = tokens(action, what)?;
        tokens = without_parentheses(tokens);
        if tokens.first().map(String::as_str) != Some("split") {
            return Err(action.unknown());
        }
        let mut rest = &tokens[1..];
        let list = expression(action, &mut rest, in_range)?;
        let separator = expression(action, &mut rest, in_range)?;
        if !rest.is_empty() {
            return Err(action.unknown());
        }
        let (body, end) = self.block(depth + 1, true)?;
        let Some(end) = end else { return Err(action.flaw("never ended")) };
        if end.body != "else" {
            return end_of(end, Node::Range { list, separator, body, otherwise: Vec::new() });
        }
        let (otherwise, end) = self.block(depth + 1, in_range)?;
        let Some(end) = end else { return Err(action.flaw("never ended")) };
        end_of(end, Node::Range { list, separator, body, otherwise })
    }
}

fn end_of<'a>(end: Action<'a>, node: Node<'a>) -> Result<Node<'a>, Flaw> {
    if end.body == "end" { Ok(node) } else { Err(end.unknown()) }
}

fn whole_expression(action: Action<'_>, body: &str, in_range: bool) -> Result<Expression, Flaw> {
    let tokens = tokens(action, body)?;
    let mut rest = tokens.as_slice();
    let found = if rest.first().map(String::as_str) == Some("default") {
        call(action, &mut rest, in_range)?
    } else {
        expression(action, &mut rest, in_range)?
    };
    if rest.is_empty() { Ok(found) } else { Err(action.unknown()) }
}

/// `default A B`, without parentheses only where it is the whole action.
fn call(action: Action<'_>, rest: &mut &[String], in_range: bool) -> Result<Expression, Flaw> {
    *rest = &rest[1..];
    let value = expression(action, rest, in_range)?;
    let otherwise = expression(action, rest, in_range)?;
    Ok(Expression::Default(Box::new((value, otherwise))))
}

fn expression(action: Action<'_>, rest: &mut &[String], in_range: bool) -> Result<Expression, Flaw> {
    let Some((token, behind)) = rest.split_first() else { return Err(action.unknown()) };
    *rest = behind;
    if let Some(name) = token.strip_prefix(".Env.").filter(|name| is_name(name.as_bytes())) {
        return Ok(Expression::Variable(name.to_owned()));
    }
    match token.as_str() {
        "." if in_range => Ok(Expression::Dot),
        "(" => {
            let inner = match rest.first().map(String::as_str) {
                Some("default") => call(action, rest, in_range)?,
                _ => expression(action, rest, in_range)?,
            };
            match rest.split_first() {
                Some((close, behind)) if close == ")" => {
                    *rest = behind;
                    Ok(inner)
                }
                _ => Err(action.unknown()),
            }
        }
        quoted if quoted.starts_with('"') => Ok(Expression::Text(quoted[1..].to_owned())),
        _ => Err(action.unknown()),
    }
}

fn without_parentheses(tokens: Vec<String>) -> Vec<String> {
    let whole = tokens.first().is_some_and(|token| token == "(") && tokens.last().is_some_and(|token| token == ")");
    if whole { tokens[1..tokens.len() - 1].to_vec() } else { tokens }
}

/// Words, parentheses, and texts with their opening quote left to tell them apart, escapes resolved.
fn tokens(action: Action<'_>, body: &str) -> Result<Vec<String>, Flaw> {
    let mut found = Vec::new();
    let mut rest = body.trim_matches(BLANKS);
    while let Some(first) = rest.chars().next() {
        let used = match first {
            '(' | ')' => {
                found.push(first.to_string());
                1
            }
            '`' => {
                let length = rest[1..].find('`').ok_or_else(|| action.unknown())?;
                found.push(format!("\"{}", &rest[1..=length]));
                length + 2
            }
            '"' => {
                let (text, length) = go_string(&rest[1..]).ok_or_else(|| action.unknown())?;
                found.push(format!("\"{text}"));
                length + 1
            }
            _ => {
                let length = rest.find([' ', '\t', '\r', '\n', '(', ')', '"', '`']).unwrap_or(rest.len());
                found.push(rest[..length].to_owned());
                length
            }
        };
        rest = rest[used..].trim_start_matches(BLANKS);
    }
    Ok(found)
}

/// The text of a Go string literal behind its opening quote, and how long it is with the closing one.
fn go_string(body: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((text, at + 1)),
            '\\' => text.push(match characters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                same @ ('"' | '\\') => same,
                _ => return None,
            }),
            other => text.push(other),
        }
    }
    None
}

struct Writer<'a> {
    values: &'a Values<'a>,
    unset: BTreeSet<String>,
    result: Vec<u8>,
}

/// A value, or the name of the variable that has none.
type Found = Result<Vec<u8>, String>;

impl Writer<'_> {
    fn write(&mut self, nodes: &[Node<'_>], dot: Option<&[u8]>) {
        for node in nodes {
            match node {
                Node::Text(text) => self.result.extend_from_slice(text.as_bytes()),
                Node::Print(what) => {
                    let value = self.needed(what, dot);
                    self.result.extend_from_slice(&value);
                }
                Node::If { branches, otherwise } => {
                    let is_true = |asked| self.value(asked, dot).is_ok_and(|value| !value.is_empty());
                    let taken = branches.iter().find(|(asked, _)| is_true(asked)).map_or(otherwise, |(_, body)| body);
                    self.write(taken, dot);
                }
                Node::Range { list, separator, body, otherwise } => {
                    let (list, separator) = (self.needed(list, dot), self.needed(separator, dot));
                    let items = split(&list, &separator);
                    if items.is_empty() {
                        self.write(otherwise, dot);
                    }
                    for item in items {
                        self.write(body, Some(item));
                    }
                }
            }
        }
    }

    fn needed(&mut self, what: &Expression, dot: Option<&[u8]>) -> Vec<u8> {
        self.value(what, dot).unwrap_or_else(|name| {
            self.unset.insert(name);
            Vec::new()
        })
    }

    fn value(&self, what: &Expression, dot: Option<&[u8]>) -> Found {
        match what {
            Expression::Variable(name) => {
                self.values.environment.get(name).map(|value| value.as_bytes().to_vec()).ok_or_else(|| name.clone())
            }
            Expression::Text(text) => Ok(text.clone().into_bytes()),
            Expression::Dot => Ok(dot.unwrap_or_default().to_vec()),
            Expression::Default(both) => self.value(&both.0, dot).or_else(|_| self.value(&both.1, dot)),
        }
    }
}

/// As Go's `strings.Split`: an empty text gives one empty part; an empty separator gives the characters.
fn split<'a>(list: &'a [u8], separator: &[u8]) -> Vec<&'a [u8]> {
    if separator.is_empty() {
        return list.chunks(1).collect();
    }
    let mut parts = Vec::new();
    let mut start = 0;
    while let Some(found) = list[start..].windows(separator.len()).position(|window| window == separator) {
        parts.push(&list[start..start + found]);
        start += found + separator.len();
    }
    parts.push(&list[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit_run::Environment;

    fn run(template: &str, delims: Option<&(String, String)>, lenient: bool) -> Result<String, Flaw> {
        let environment: Environment = [("A", "a"), ("LIST", "x,y,z"), ("EMPTY", "")].into_iter().collect();
        let values = Values { environment: &environment, data: [].into(), vars: &[], delims, lenient };
        render(template.as_bytes(), &values).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn check(template: &str, expected: &str) {
        assert_eq!(run(template, None, false).as_deref(), Ok(expected), "{template}");
    }

    #[test]
    fn dockerizes_usual_templates() {
        check("a {{ .Env.A }} {{.Env.A}}", "a a a");
        check("{{ default .Env.NO \"x y\" }} {{ default .Env.A \"x\" }} {{ default .Env.EMPTY \"x\" }}|", "x y a |");
        check("{{ default .Env.NO (default .Env.NO2 .Env.A) }}", "a");
        check("{{ if .Env.A }}yes{{ else }}no{{ end }} {{ if .Env.NO }}yes{{ else }}no{{ end }}", "yes no");
        check("{{ if .Env.NO }}1{{ else if .Env.EMPTY }}2{{ else if .Env.A }}3{{ end }}", "3");
        check("{{ range split .Env.LIST \",\" }}<{{ . }}>{{ end }}", "<x><y><z>");
        check("{{ range split (default .Env.NO \"1;2\") \";\" }}{{ . }}{{ if . }}!{{ end }}{{ end }}", "1!2!");
        check("a\n  {{- /* gone */ -}}\n b {{- .Env.A -}} c", "abac");
        check("{{ \"}}\" }} {{ `raw \"` }} {{ \"q\\\"\\n\" }}", "}} raw \" q\"\n");
    }

    #[test]
    fn other_delimiters_leave_braces_alone() {
        let delims = ("<%".to_owned(), "%>".to_owned());
        assert_eq!(run("{{ x }} <% .Env.A %>", Some(&delims), false).as_deref(), Ok("{{ x }} a"));
    }

    #[test]
    fn all_unset_names_are_listed() {
        let expected = Flaw::Unset(vec!["NO".into(), "NO2".into()]);
        assert_eq!(run("{{ .Env.NO2 }} {{ .Env.A }} {{ .Env.NO }} {{ .Env.NO }}", None, false), Err(expected));
        assert_eq!(run("[{{ .Env.NO }}]", None, true).as_deref(), Ok("[]"));
    }

    #[test]
    fn any_other_action_is_named() {
        let refuses = |template: &str, expected: &str| {
            assert_eq!(run(template, None, false), Err(Flaw::Wrong(expected.to_owned())), "{template}");
        };
        refuses("a\n{{ toUpper .Env.A }}", "line 2: the action {{ toUpper .Env.A }} is not understood");
        refuses("{{ .Env.A | default \"x\" }}", "line 1: the action {{ .Env.A | default \"x\" }} is not understood");
        refuses(
            "{{ range $i, $e := split .Env.A \",\" }}{{ end }}",
            "line 1: the action {{ range $i, $e := split .Env.A \",\" }} is not understood",
        );
        refuses("{{ . }}", "line 1: the action {{ . }} is not understood");
        refuses("{{ }}", "line 1: the action {{  }} is not understood");
        refuses("{{ if .Env.A }}", "line 1: the action {{ if .Env.A }} is never ended");
        refuses("{{ end }}", "line 1: the action {{ end }} is without a beginning");
        refuses("\n{{ .Env.A", "line 2: {{ is never closed");
        refuses("{{ if eq .Env.A \"a\" }}x{{ end }}", "line 1: the action {{ if eq .Env.A \"a\" }} is not understood");
    }
}
