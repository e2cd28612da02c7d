//! Templates: bytes and values in, bytes out, or the list of everything that is unset.

mod dockerize;
mod envsubst;
mod jinja;

use std::collections::BTreeMap;

use kit_run::Environment;

use crate::args::Engine;
use crate::data::Data;

/// What a template sees and how strict it is.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    pub(crate) environment: &'a Environment,
    /// By the names of `--data`.
    pub(crate) data: BTreeMap<String, Data>,
    /// The only variables that envsubst replaces; empty: all.
    pub(crate) vars: &'a [String],
    /// dockerize's.
    pub(crate) delims: Option<&'a (String, String)>,
    pub(crate) lenient: bool,
}

/// Why a template has no result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Every variable that it uses, that is not set and has no default; sorted.
    Unset(Vec<String>),
    /// The template itself is wrong: `line 3: ...`.
    Wrong(String),
}

pub(crate) fn render(engine: Engine, template: &[u8], values: &Values<'_>) -> Result<Vec<u8>, Flaw> {
    match engine {
        Engine::Envsubst => envsubst::render(template, values),
        Engine::Jinja => jinja::render(template, values),
        Engine::Dockerize => dockerize::render(template, values),
    }
}

/// Whether a variable can have this name: letters, digits and `_`, no digit first.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name_length(name) == name.len()
}

/// How many bytes at the start of `text` are a name.
fn name_length(text: &[u8]) -> usize {
    if text.first().is_some_and(u8::is_ascii_digit) {
        return 0;
    }
    text.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(text.len())
}

fn line_of(template: &[u8], offset: usize) -> usize {
    template[..offset.min(template.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn text(template: &[u8]) -> Result<&str, Flaw> {
    std::str::from_utf8(template)
        .map_err(|error| Flaw::Wrong(format!("line {}: not UTF-8", line_of(template, error.valid_up_to()))))
}
