//! Data files for templates: JSON, YAML, TOML, lines of `KEY=VALUE`, or a directory of values such as a mounted Secret.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use kit_fs::{Kind, Root, shown};

use crate::tree::is_kubelets_own;
use crate::yaml;

/// A value that templates can reach.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// A file of a directory that is not UTF-8.
    Bytes(Vec<u8>),
    List(Vec<Data>),
    Map(BTreeMap<String, Data>),
}

/// Why a data file cannot be used.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It cannot be read: a failed step.
    Unreadable(kit_fs::Error),
    /// It was read and is wrong: a wrong request.
    Wrong(String),
}

impl From<kit_fs::Error> for Trouble {
    fn from(error: kit_fs::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Reads `path` as its extension says; a file without a known one holds lines of `KEY=VALUE`.
pub(crate) fn load(root: &Root, path: &Path) -> Result<Data, Trouble> {
    if root.kind(path)? == Some(Kind::Directory) {
        return directory(root, path, 0);
    }
    let wrong = |text: String| Trouble::Wrong(format!("data file {}: {text}", shown(path)));
    let text = String::from_utf8(read(root, path)?).map_err(|_| wrong("it is not UTF-8".into()))?;
    let data = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => serde_json::from_str(&text).map(from_json).map_err(|error| error.to_string()),
        Some("yaml" | "yml") => match yaml::parse(&text) {
            Ok(node) => Ok(node.map_or(Data::Null, from_yaml)),
            Err(flaw) => Err(format!("line {}: {}", flaw.line, flaw.text)),
        },
        Some("toml") => toml::from_str(&text).map(|table| from_toml(toml::Value::Table(table))).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("line {line}: {}", error.message())
        }),
        _ => variables(&text),
    };
    data.map_err(wrong)
}

/// Reads a whole file.
pub(crate) fn read(root: &Root, path: &Path) -> Result<Vec<u8>, kit_fs::Error> {
    let mut bytes = Vec::new();
    root.file(path)?.read_to_end(&mut bytes).map_err(|source| kit_fs::Error::System {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(bytes)
}

fn directory(root: &Root, path: &Path, depth: usize) -> Result<Data, Trouble> {
    // A Secret is flat; two levels more serve projected volumes, and a symlink loop ends here.
    if depth > 3 {
        return Err(Trouble::Wrong(format!("data directory {} is nested too deeply", shown(path))));
    }
    let mut map = BTreeMap::new();
    for entry in root.entries(path)? {
        if is_kubelets_own(&entry.name) {
            continue;
        }
        let inner = path.join(&entry.name);
        let name = entry.name.to_string_lossy().into_owned();
        let value = match root.kind(&inner)? {
            Some(Kind::Directory) => directory(root, &inner, depth + 1)?,
            Some(Kind::File) => {
                String::from_utf8(read(root, &inner)?).map_or_else(|e| Data::Bytes(e.into_bytes()), Data::Text)
            }
            Some(Kind::Special | Kind::Symlink) | None => continue,
        };
        map.insert(name, value);
    }
    Ok(Data::Map(map))
}

fn from_json(value: serde_json::Value) -> Data {
    use serde_json::Value;
    match value {
        Value::Null => Data::Null,
        Value::Bool(value) => Data::Bool(value),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Data::Float(number.as_f64().unwrap_or(f64::NAN)), Data::Int)
        }
        Value::String(text) => Data::Text(text),
        Value::Array(items) => Data::List(items.into_iter().map(from_json).collect()),
        Value::Object(entries) => Data::Map(entries.into_iter().map(|(key, value)| (key, from_json(value))).collect()),
    }
}

fn from_toml(value: toml::Value) -> Data {
    use toml::Value;
    match value {
        Value::String(text) => Data::Text(text),
        Value::Integer(number) => Data::Int(number),
        Value::Float(number) => Data::Float(number),
        Value::Boolean(value) => Data::Bool(value),
        Value::Datetime(time) => Data::Text(time.to_string()),
        Value::Array(items) => Data::List(items.into_iter().map(from_toml).collect()),
        Value::Table(entries) => Data::Map(entries.into_iter().map(|(key, value)| (key, from_toml(value))).collect()),
    }
}

fn from_yaml(node: yaml::Node) -> Data {
    match node.kind {
        yaml::Kind::Scalar { text, plain: true } => resolve(text),
        yaml::Kind::Scalar { text, plain: false } => Data::Text(text),
        yaml::Kind::List(items) => Data::List(items.into_iter().map(from_yaml).collect()),
        yaml::Kind::Map(entries) => Data::Map(
            entries
                .into_iter()
                .filter_map(|(key, value)| match key.kind {
                    yaml::Kind::Scalar { text, .. } => Some((text, from_yaml(value))),
                    // The parser refuses such keys.
                    yaml::Kind::List(_) | yaml::Kind::Map(_) => None,
                })
                .collect(),
        ),
    }
}

/// The core schema of YAML 1.2 (section 10.3.2), its rarer spellings of numbers included.
fn resolve(text: String) -> Data {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "true" | "True" | "TRUE" => return Data::Bool(true),
        "false" | "False" | "FALSE" => return Data::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Data::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Data::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Data::Float(f64::NAN),
        _ => {}
    }
    let radix = |prefix, radix| text.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, radix).ok());
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| text.parse().ok()) {
        return Data::Int(number);
    }
    let numeric = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        && text.bytes().any(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if numeric => Data::Float(number),
        _ => Data::Text(text),
    }
}

/// Lines of `KEY=VALUE`, as in `.env` files and as the downward API writes labels (`key="quoted"`, Go's escapes).
fn variables(text: &str) -> Result<Data, String> {
    let mut map = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line.split_once('=').ok_or_else(|| format!("line {} is not KEY=VALUE", index + 1))?;
        let value = value.trim();
        let value = if let Some(inner) = value.strip_prefix('"') {
            unquoted(inner).ok_or_else(|| format!("line {}: the quotes are not closed", index + 1))?
        } else if let Some(inner) = value.strip_prefix('\'') {
            let inner = inner.strip_suffix('\'');
            inner.ok_or_else(|| format!("line {}: the quotes are not closed", index + 1))?.to_owned()
        } else {
            value.to_owned()
        };
        map.insert(key.trim().to_owned(), Data::Text(value));
    }
    Ok(Data::Map(map))
}

/// The text up to the closing quote, which must be the last character.
fn unquoted(text: &str) -> Option<String> {
    let mut result = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return characters.as_str().is_empty().then_some(result),
            '\\' => match characters.next()? {
                'n' => result.push('\n'),
                't' => result.push('\t'),
                'r' => result.push('\r'),
                'u' => {
                    let digits = characters.as_str().get(..4)?;
                    result.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                    characters = characters.as_str().get(4..)?.chars();
                }
                other => result.push(other),
            },
            other => result.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Data {
        Data::Text(text.to_owned())
    }

    #[test]
    fn iw10_labels_of_the_downward_api_are_read() {
        let found =
            variables("app=\"web\"\nnote=\"two\\nlines \\\"quoted\\\"\"\n\nb='c d'\nexport X=1 # kept\n").unwrap();
        let Data::Map(map) = found else { panic!("{found:?}") };
        assert_eq!(map["app"], text("web"));
        assert_eq!(map["note"], text("two\nlines \"quoted\""));
        assert_eq!(map["b"], text("c d"));
        assert_eq!(map["X"], text("1 # kept"));
        assert_eq!(variables("a=1\nnonsense\n").unwrap_err(), "line 2 is not KEY=VALUE");
        assert_eq!(variables("a=\"open\n").unwrap_err(), "line 1: the quotes are not closed");
    }

    #[test]
    fn yaml_scalars_follow_the_core_schema() {
        let check = |plain: &str, expected: Data| assert_eq!(resolve(plain.to_owned()), expected, "{plain}");
        check("12", Data::Int(12));
        check("-0x", text("-0x"));
        check("0x1F", Data::Int(31));
        check("0o17", Data::Int(15));
        check("1e3", Data::Float(1000.0));
        check("1.5", Data::Float(1.5));
        check("true", Data::Bool(true));
        check("yes", text("yes"));
        check("1.2.3", text("1.2.3"));
        check("~", Data::Null);
        check("infinity", text("infinity"));
    }
}
