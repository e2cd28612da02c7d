//! `--config FILE`: flags in TOML, under their names without the dashes.
//!
//! ```toml
//! cert = "/certs/tls.crt"
//! key = "/certs/tls.key"
//! allow-cn = ["billing", "search"]
//! max-concurrent-conns = 1000
//!
//! [[route]]
//! name = "db"
//! listen = ":5432"
//! target = "127.0.0.1:5433"
//! starttls = "postgres"
//! ```
//!
//! An array is a flag that is repeated; `[[route]]` is a `--route` each, `[[jwt]]` a `--jwt`. Not promised: any other table.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use kit_run::{Error, Setting};
use toml::de::{DeTable, DeValue};

use crate::keyed;

/// Larger than any file that somebody writes by hand; a log or a device must not fill the memory.
const LARGEST: u64 = 1 << 20;

/// Every value of a file.
///
/// # Errors
/// A file that cannot be read, is not TOML, or holds a table that is no route.
pub(crate) fn read(path: &Path) -> Result<Vec<Setting>, Error> {
    let unreadable = |error: std::io::Error| {
        Error::request(format!("cannot read --config {}", path.display()))
            .caused_by(error)
            .hint("check that the ConfigMap is mounted and that the key has this name in it")
    };
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::request(format!("--config {} is larger than 1 MiB", path.display()))
            .hint("it holds flags, not data"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        Error::request(format!("--config {} is not text", path.display())).caused_by(error).hint("it must be TOML")
    })?;
    settings(&text).map_err(|fault| {
        Error::request(format!("line {} of {}: {}", fault.line, path.display(), fault.what))
            .hint("write flag = value, without dashes; strings in quotes, lists in [ ]; a [[route]] for each route")
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    line: usize,
    what: String,
}

fn settings(text: &str) -> Result<Vec<Setting>, Fault> {
    let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let table = DeTable::parse(text).map_err(|error| Fault {
        line: line(error.span().map_or(0, |span| span.start)),
        what: format!("no TOML: {}", error.message()),
    })?;
    let mut settings = Vec::new();
    for (key, value) in table.into_inner() {
        let (at, flag) = (line(key.span().start), key.into_inner().into_owned());
        let fault = |line: usize, what: String| Fault { line, what };
        match value.into_inner() {
            DeValue::Array(values) => {
                for value in values {
                    let at = line(value.span().start);
                    let value = match value.into_inner() {
                        DeValue::Table(route) if flag == "route" => {
                            in_one_line(route).map_err(|what| fault(at, what))?
                        }
                        DeValue::Table(issuer) if flag == "jwt" => {
                            issuer_in_one_line(issuer).map_err(|what| fault(at, what))?
                        }
                        other => scalar(&other).ok_or_else(|| fault(at, format!("{flag} holds no plain values")))?,
                    };
                    settings.push(Setting { flag: flag.clone(), value, line: at });
                }
            }
            DeValue::Table(_) if flag == "route" => {
                return Err(fault(at, "routes are a list: write [[route]] instead of [route]".to_owned()));
            }
            DeValue::Table(_) if flag == "jwt" => {
                return Err(fault(at, "issuers are a list: write [[jwt]] instead of [jwt]".to_owned()));
            }
            other => {
                let value = scalar(&other).ok_or_else(|| match other {
                    DeValue::Table(_) => fault(at, format!("there is no table [{flag}]")),
                    _ => fault(at, format!("{flag} is no text, whole number, true or false")),
                })?;
                settings.push(Setting { flag, value, line: at });
            }
        }
    }
    Ok(settings)
}

/// A value as it would be typed.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}

/// One value, or those of a list.
fn scalars(value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::Array(list) => list.iter().map(|value| scalar(value.get_ref())).collect(),
        one => scalar(one).map(|one| vec![one]),
    }
}

/// A `[[route]]` as `--route` takes it.
fn in_one_line(route: DeTable<'_>) -> Result<String, String> {
    let mut name = None;
    let mut rest = Vec::new();
    for (key, value) in route {
        let key: String = key.into_inner().into_owned();
        let mut values = scalars(value.get_ref()).ok_or_else(|| format!("{key} of a route is no plain value"))?;
        if key == "alpn" {
            values = vec![values.join(" ")];
        }
        for value in values {
            if key == "name" {
                name = Some(value);
            } else if let Some((socket, mode)) = value.rsplit_once(",mode=").filter(|_| key == "listen") {
                // Two keys in one, as --listen takes them.
                rest.extend([keyed::part("listen", socket), keyed::part("mode", mode)]);
            } else {
                rest.push(keyed::part(&key, &value));
            }
        }
    }
    let name = name.ok_or("a route has no name")?;
    Ok(format!("{name}:{}", rest.join(",")))
}

/// A `[[jwt]]` as `--jwt` takes it.
fn issuer_in_one_line(issuer: DeTable<'_>) -> Result<String, String> {
    let mut parts = Vec::new();
    for (key, value) in issuer {
        let key: String = key.into_inner().into_owned();
        let values = scalars(value.get_ref()).ok_or_else(|| format!("{key} of an issuer is no plain value"))?;
        parts.extend(values.iter().map(|value| keyed::part(&key, value)));
    }
    Ok(parts.join(","))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let settings = settings(text).unwrap();
        settings.into_iter().map(|setting| format!("{}={} ({})", setting.flag, setting.value, setting.line)).collect()
    }

    fn refused(text: &str) -> String {
        let fault = settings(text).unwrap_err();
        format!("{}: {}", fault.line, fault.what)
    }

    #[test]
    fn values_are_what_would_be_typed_and_lists_are_repeated() {
        let text = "listen = [':1', \":2\"]\nmax-conns = 7\nallow-all = true\n[[route]]\nname = \"db\"\nlisten=\"unix:/s,mode=0600\"\n\
                    target = \"h:1\"\nalpn = [\"a\", \"b\"]\n";
        let expected = [
            "allow-all=true (3)",
            "listen=:1 (1)",
            "listen=:2 (1)",
            "max-conns=7 (2)",
            "route=db:alpn=a b,listen=unix:/s,mode=0600,target=h:1 (4)",
        ];
        assert_eq!(read(text), expected);
    }

    #[test]
    fn commas_and_lists_of_a_route_reach_it_whole() {
        let text = "[[route]]\nname = 'a'\nlisten = ':1'\ntarget = 'h:1'\ncert = '/a,b.crt'\nkey = '/\"a'\nallow-cn = ['x, y', 'z']\nallow-all = false\n";
        let settings = settings(text).unwrap();
        let route: crate::route::Route = settings[0].value.parse().unwrap();
        let access = route.access.unwrap();
        assert_eq!((route.cert, route.key), (Some("/a,b.crt".into()), Some("/\"a".into())));
        assert_eq!((access.rules.cn, access.any_certificate), (vec!["x, y".to_owned(), "z".to_owned()], false));
    }

    #[test]
    fn an_issuer_is_one_line_of_its_values() {
        let text = "[[jwt]]\nissuer = 'https://a'\naudience = ['x', 'y']\nforward = true\n[[jwt]]\npreset = 'iap'\n";
        assert_eq!(read(text), ["jwt=audience=x,audience=y,forward=true,issuer=https://a (1)", "jwt=preset=iap (5)"]);
        assert_eq!(refused("[jwt]\nissuer = 'a'\n"), "1: issuers are a list: write [[jwt]] instead of [jwt]");
        assert_eq!(read("[[jwt]]\nrequire = 'groups=a,\"b\"'\n"), ["jwt=require=\"groups=a,\"\"b\"\"\" (1)"]);
    }

    #[test]
    fn faults_have_lines() {
        assert_eq!(refused("a = 1\nb = [[1]]\n"), "2: b holds no plain values");
        assert_eq!(refused("\n[x]\ny = 1\n"), "2: there is no table [x]");
        assert_eq!(refused("threads = 1.5\n"), "1: threads is no text, whole number, true or false");
        assert_eq!(refused("grace = 10:00:00\n"), "1: grace is no text, whole number, true or false");
        assert_eq!(refused("[route]\nname = 'a'\n"), "1: routes are a list: write [[route]] instead of [route]");
        assert_eq!(refused("[[route]]\nlisten = ':1'\n"), "1: a route has no name");
        assert_eq!(refused("[[route]]\nname = 'a'\ncert = [[1]]\n"), "1: cert of a route is no plain value");
        assert!(refused("a = 1\nb = \n").starts_with("2: no TOML: "), "{}", refused("a = 1\nb = \n"));
        assert!(refused("a = 1\na = 2\n").starts_with("2: no TOML: duplicate key"), "{}", refused("a = 1\na = 2\n"));
    }
}
