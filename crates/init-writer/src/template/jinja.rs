//! Jinja over `env` and data, as minijinja understands it.
//!
//! Undefined is an error, as everywhere here, unless the template asks (`is defined`, `default`). minijinja stops at
//! the first one; to list all of them the template is tried again with each name that was missing standing in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};

use super::{Flaw, Values, text};
use crate::data::Data;

/// More names than any template misses; an end for one that would miss a new name each time.
const MAX_TRIES: usize = 200;

pub(crate) fn render(template: &[u8], values: &Values<'_>) -> Result<Vec<u8>, Flaw> {
    let template = text(template)?;
    let engine = engine(values.lenient);
    let compiled = engine.template_from_str(template).map_err(|error| wrong(&error))?;
    let seen = Seen::default();
    let context = context(values, &seen);
    let attempt = |standing_in: &BTreeSet<String>| {
        seen.start(standing_in);
        compiled.render(context.clone())
    };
    let mut missing = BTreeSet::new();
    for _ in 0..MAX_TRIES {
        match attempt(&missing) {
            Ok(result) if missing.is_empty() => return Ok(result.into_bytes()),
            Ok(_) => break,
            Err(error) if is_undefined(&error) => match seen.last_missing() {
                Some(name) => {
                    missing.insert(name);
                }
                None if missing.is_empty() => return Err(wrong(&error)),
                None => break,
            },
            // With names standing in, other errors may be their fault; alone they are the template's.
            Err(error) if missing.is_empty() => return Err(wrong(&error)),
            Err(_) => break,
        }
    }
    // A name that was missing but had a default is not to blame: without it standing in, all is well.
    let blamed = missing.iter().filter(|name| {
        let mut others = missing.clone();
        others.remove(*name);
        attempt(&others).is_err_and(|error| is_undefined(&error))
    });
    Err(Flaw::Unset(blamed.cloned().collect()))
}

fn engine(lenient: bool) -> Environment<'static> {
    let mut engine = Environment::new();
    let undefined = if lenient { UndefinedBehavior::Chainable } else { UndefinedBehavior::Strict };
    engine.set_undefined_behavior(undefined);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    // A configuration file keeps the newline it ends with.
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        engine.set_syntax(syntax);
    }
    engine.add_filter("b64encode", b64encode);
    engine.set_formatter(|output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value| {
        // minijinja would write replacement characters for what is not UTF-8.
        if value.is_undefined() || value.as_str().is_some() || value.as_bytes().is_none() {
            return minijinja::escape_formatter(output, state, value);
        }
        Err(Error::new(ErrorKind::BadSerialization, "the value is not UTF-8; write it with | b64encode"))
    });
    engine
}

fn is_undefined(error: &Error) -> bool {
    error.kind() == ErrorKind::UndefinedError
}

fn wrong(error: &Error) -> Flaw {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    Flaw::Wrong(format!("{line}{}{detail}", error.kind()))
}

/// RFC 4648 section 4, with padding.
fn b64encode(value: &Value) -> Result<String, Error> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = value.as_bytes().ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "b64encode needs a text"))?;
    let mut result = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let digit = (group >> (18 - 6 * index) & 63) as usize;
            result.push(if index <= chunk.len() { char::from(ALPHABET[digit]) } else { '=' });
        }
    }
    Ok(result)
}

/// Which names were missing in one attempt, and which stand in for a missing one.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Attempt>>);

#[derive(Debug, Default)]
struct Attempt {
    last_missing: Option<String>,
    standing_in: BTreeSet<String>,
}

impl Seen {
    fn start(&self, standing_in: &BTreeSet<String>) {
        *self.lock() = Attempt { last_missing: None, standing_in: standing_in.clone() };
    }

    fn last_missing(&self) -> Option<String> {
        self.lock().last_missing.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Attempt> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A map that knows its own path: `env`, `db.tls`.
#[derive(Debug)]
struct Scope {
    path: String,
    entries: BTreeMap<String, Value>,
    seen: Seen,
}

impl Object for Scope {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        if let Some(value) = self.entries.get(name) {
            return Some(value.clone());
        }
        let full = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let mut attempt = self.seen.lock();
        if attempt.standing_in.contains(&full) {
            return Some(Value::from(""));
        }
        attempt.last_missing = Some(full);
        None
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries.keys().map(|name| Value::from(name.as_str())).collect())
    }
}

fn context(values: &Values<'_>, seen: &Seen) -> Value {
    let environment = values.environment.iter().map(|(name, value)| {
        use std::os::unix::ffi::OsStrExt as _;
        let value = value.to_str().map_or_else(|| Value::from_bytes(value.as_bytes().to_vec()), Value::from);
        (name.to_string_lossy().into_owned(), value)
    });
    let environment = Scope { path: "env".to_owned(), entries: environment.collect(), seen: seen.clone() };
    let mut entries: BTreeMap<String, Value> = [("env".to_owned(), Value::from_object(environment))].into();
    entries.extend(values.data.iter().map(|(name, data)| (name.clone(), value(data, name, seen))));
    Value::from_object(Scope { path: String::new(), entries, seen: seen.clone() })
}

fn value(data: &Data, path: &str, seen: &Seen) -> Value {
    match data {
        Data::Null => Value::from(()),
        Data::Bool(value) => Value::from(*value),
        Data::Int(value) => Value::from(*value),
        Data::Float(value) => Value::from(*value),
        Data::Text(text) => Value::from(text.as_str()),
        Data::Bytes(bytes) => Value::from_bytes(bytes.clone()),
        Data::List(items) => {
            let items = items.iter().enumerate().map(|(index, item)| value(item, &format!("{path}.{index}"), seen));
            items.collect()
        }
        Data::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(name, entry)| (name.clone(), value(entry, &format!("{path}.{name}"), seen)))
                .collect();
            Value::from_object(Scope { path: path.to_owned(), entries, seen: seen.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(template: &str, lenient: bool) -> Result<String, Flaw> {
        let environment: kit_run::Environment = [("A", "a"), ("LIST", "x,y")].into_iter().collect();
        let secret = Data::Map(
            [("raw".to_owned(), Data::Bytes(vec![0xff, 0xfe])), ("user".to_owned(), Data::Text("u".into()))].into(),
        );
        let ports = Data::Map([("ports".to_owned(), Data::List(vec![Data::Int(80), Data::Int(443)]))].into());
        let data = [("db".to_owned(), secret), ("net".to_owned(), ports)].into();
        let values = Values { environment: &environment, data, vars: &[], delims: None, lenient };
        render(template.as_bytes(), &values).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn check(template: &str, expected: &str) {
        assert_eq!(run(template, false).as_deref(), Ok(expected), "{template}");
    }

    #[test]
    fn iw09_environment_and_data_are_there() {
        check("{{ env.A }} {{ db.user }} {{ net.ports[1] }}\n", "a u 443\n");
        check("{% for x in env.LIST | split(',') %}<{{ x }}>{% endfor %}", "<x><y>");
        check("{% for p in net.ports %}{{ p }};{% endfor %}{% for k in db %}{{ k }},{% endfor %}", "80;443;raw,user,");
        check("{{ env.NO | default('d') }} {% if env.NO is defined %}x{% endif %}{{ '<&>' }}", "d <&>");
        check("{{ env.A | upper }}{# gone #}", "A");
    }

    #[test]
    fn iw09_all_undefined_names_are_listed_and_defaulted_ones_are_not() {
        let unset = |names: &[&str]| Err(Flaw::Unset(names.iter().map(|name| (*name).to_owned()).collect()));
        assert_eq!(
            run("{{ env.Z }} {{ env.A }} {{ env.Y }} {{ db.none }} {{ env.Z }}", false),
            unset(&["db.none", "env.Y", "env.Z"])
        );
        assert_eq!(run("{{ env.Z ~ (env.Q | default('x')) }}{{ top }}", false), unset(&["env.Z", "top"]));
        assert_eq!(run("[{{ env.Z }}{{ a.b.c }}]", true).as_deref(), Ok("[]"));
    }

    #[test]
    fn iw10_a_value_that_is_not_text_is_encoded_or_refused() {
        check(
            "{{ db.raw | b64encode }} {{ 'a' | b64encode }} {{ '' | b64encode }} {{ 'abc' | b64encode }}",
            "//4= YQ==  YWJj",
        );
        let Err(Flaw::Wrong(text)) = run("\n{{ db.raw }}", false) else { panic!("rendered") };
        assert!(
            text.starts_with("line 2: ") && text.ends_with("the value is not UTF-8; write it with | b64encode"),
            "{text}"
        );
    }

    #[test]
    fn flaws_name_their_line() {
        let Err(Flaw::Wrong(text)) = run("a\n{{ env.A", false) else { panic!("rendered") };
        assert!(text.starts_with("line 2: syntax error"), "{text}");
        let Err(Flaw::Wrong(text)) = run("{{ env.A | nofilter }}", false) else { panic!("rendered") };
        assert!(text.contains("nofilter"), "{text}");
    }
}
