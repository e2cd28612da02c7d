//! YAML as a tree that remembers its lines, for plans and for data files.
//!
//! Scalars keep their text as it was written, so that `mode: 0755` and `owner: 33:33` mean what they look like; only
//! data files resolve plain scalars to numbers and truth values (YAML 1.2 core schema).

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

/// Deeper than any plan or configuration; keeps hostile input from exhausting the stack.
const MAX_DEPTH: usize = 64;

/// How many nodes aliases may expand to: the "billion laughs" end here.
const MAX_NODES: usize = 1_000_000;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// `plain` is false for quoted and block scalars, which are always text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Flaw {
    pub(crate) fn new(line: usize, text: impl Into<String>) -> Self {
        Self { line, text: text.into() }
    }
}

impl From<ScanError> for Flaw {
    fn from(error: ScanError) -> Self {
        Self::new(error.marker().line(), error.info().to_owned())
    }
}

impl Node {
    /// What a plain empty value, `~` and `null` mean.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// For messages: what the node is.
    pub(crate) fn what(&self) -> &'static str {
        match &self.kind {
            _ if self.is_null() => "nothing",
            Kind::Scalar { .. } => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// Reads one document; `None` when there is none but comments.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, Flaw> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: Vec::new(), nodes: 0 };
    let mut found = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(found),
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            other if found.is_none() => found = Some(reader.node(other, &span, 0)?),
            _ => return Err(Flaw::new(span.start.line(), "a second document begins; only one is read")),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: Vec<(usize, Node, usize)>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Flaw> {
        match self.parser.next_event() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, Flaw> {
        let line = span.start.line();
        if depth > MAX_DEPTH {
            return Err(Flaw::new(line, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let before = self.nodes;
        self.count(1, line)?;
        let (anchor, kind) = match event {
            Event::Scalar(text, style, anchor, _) => {
                (anchor, Kind::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain })
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.map(depth)?),
            Event::Alias(wanted) => {
                let known = self.anchors.iter().rev().find(|(anchor, ..)| *anchor == wanted);
                let (_, node, size) = known.ok_or_else(|| Flaw::new(line, "an alias of something unfinished"))?;
                let (kind, size) = (node.kind.clone(), *size);
                self.count(size, line)?;
                return Ok(Node { line, kind });
            }
            _ => return Err(Flaw::new(line, "a value is missing")),
        };
        let node = Node { line, kind };
        if anchor != 0 {
            self.anchors.push((anchor, node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Kind, Flaw> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Kind::List(items));
            }
            items.push(self.node(event, &span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind, Flaw> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Kind::Map(entries));
            }
            let key = self.node(event, &span, depth + 1)?;
            let Kind::Scalar { text, .. } = &key.kind else {
                return Err(Flaw::new(key.line, "a key must be a text"));
            };
            if entries.iter().any(|(other, _)| matches!(&other.kind, Kind::Scalar { text: held, .. } if held == text)) {
                return Err(Flaw::new(key.line, format!("the key {text} stands twice")));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            entries.push((key, value));
        }
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), Flaw> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(Flaw::new(line, format!("more than {MAX_NODES} values")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_texts_are_kept() {
        let node = parse("# comment\nsteps:\n  - mkdir: {dir: /x, mode: 0755, owner: 33:33}\n").unwrap().unwrap();
        let Kind::Map(entries) = node.kind else { panic!("{node:?}") };
        let Kind::List(steps) = &entries[0].1.kind else { panic!("{entries:?}") };
        assert_eq!(steps[0].line, 3);
        let Kind::Map(verb) = &steps[0].kind else { panic!("{steps:?}") };
        let Kind::Map(fields) = &verb[0].1.kind else { panic!("{verb:?}") };
        let texts: Vec<_> = fields.iter().map(|(key, value)| (&key.kind, &value.kind)).collect();
        let plain = |text: &str| Kind::Scalar { text: text.to_owned(), plain: true };
        assert_eq!(texts[1], (&plain("mode"), &plain("0755")));
        assert_eq!(texts[2], (&plain("owner"), &plain("33:33")));
    }

    #[test]
    fn flaws_name_their_line() {
        let check = |text: &str, line: usize, part: &str| {
            let flaw = parse(text).unwrap_err();
            assert!(flaw.line == line && flaw.text.contains(part), "{text:?}: {flaw:?}");
        };
        check("a: 1\nb: 2\na: 3\n", 3, "the key a stands twice");
        check("a: 1\n---\nb: 2\n", 3, "a second document");
        check("a: [1, 2\nb: 3\n", 2, "");
        check(&"[".repeat(100), 1, "");
        assert_eq!(parse("# nothing\n").unwrap(), None);
    }

    #[test]
    fn aliases_cannot_grow_without_bound() {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, inner) in ["b", "c", "d", "e", "f", "g", "h"].iter().zip(["a", "b", "c", "d", "e", "f", "g"]) {
            let aliases = vec![format!("*{inner}"); 10].join(", ");
            text.push_str(&format!("{name}: &{name} [{aliases}]\n"));
        }
        assert!(parse(&text).unwrap_err().text.contains("more than"));
    }
}
