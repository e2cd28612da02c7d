//! One listener with everything that is its own: `db:listen=127.0.0.1:5432,target=db.example.org:5432,starttls=postgres`.
//!
//! Keys: `listen` and `target` (needed), `mode` (of a unix socket), `starttls`, `cert` and `key`, `keystore`, `cacert`, `alpn` (several
//! with blanks between), `server-name` (of a client's server). What a route does not say is as the flags of that name say it.
//!
//! Not promised: commas inside of a value; a path with one cannot be named here.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;

use crate::args::StartTls;
use crate::listen::Listen;
use crate::target::Target;

/// The keys, for error texts and for the nearest name.
pub const KEYS: [&str; 11] =
    ["name", "listen", "mode", "target", "starttls", "cert", "key", "keystore", "cacert", "alpn", "server-name"];

/// A listener of its own kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// In metrics, logs and error texts.
    pub name: String,
    /// Where connections come from.
    pub listen: Listen,
    /// Where they go.
    pub target: Target,
    /// The database's greeting before TLS.
    pub starttls: Option<StartTls>,
    /// Own certificate chain.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Both in one file.
    pub keystore: Option<PathBuf>,
    /// Who signs the other side's certificates.
    pub cacert: Option<PathBuf>,
    /// Protocols to offer.
    pub alpn: Vec<String>,
    /// The server's name, instead of the target's.
    pub server_name: Option<String>,
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write NAME:listen=ADDR,target=ADDR[,key=value...]";
        let (name, rest) = text.split_once(':').ok_or_else(|| format!("{text:?} is no route; {FORM}"))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(format!("{name:?} is no name for a route: letters, digits, - _ and . only; {FORM}"));
        }
        let mut values: [Option<&str>; KEYS.len()] = [None; KEYS.len()];
        for part in rest.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not key=value; {FORM}"))?;
            let at = KEYS.iter().skip(1).position(|known| *known == key).ok_or_else(|| unknown(key))? + 1;
            if values[at].replace(value).is_some() {
                return Err(format!("route {name} has two values for {key}"));
            }
        }
        let get = |key: &str| KEYS.iter().position(|known| *known == key).and_then(|at| values[at]);
        let needed = |key: &str| get(key).ok_or_else(|| format!("route {name} has no {key}; {FORM}"));
        let path = |key: &str| get(key).map(PathBuf::from);
        let listen = match get("mode") {
            Some(mode) => format!("{},mode={mode}", needed("listen")?),
            None => needed("listen")?.to_owned(),
        };
        let starttls = get("starttls").map(|value| StartTls::from_str(value, false)).transpose();
        Ok(Self {
            name: name.to_owned(),
            listen: listen.parse().map_err(|error| format!("route {name}: {error}"))?,
            target: needed("target")?.parse().map_err(|error| format!("route {name}: {error}"))?,
            starttls: starttls.map_err(|_| format!("route {name}: starttls is none of {}", protocols()))?,
            cert: path("cert"),
            key: path("key"),
            keystore: path("keystore"),
            cacert: path("cacert"),
            alpn: get("alpn").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            server_name: get("server-name").map(str::to_owned),
        })
    }
}

fn unknown(key: &str) -> String {
    let near = KEYS[1..].iter().map(|known| (kit_run::edits(key.as_bytes(), known.as_bytes()), known)).min();
    match near {
        Some((distance, known)) if distance <= 2 => format!("a route has no {key}; did you mean {known}?"),
        _ => format!("a route has no {key}; there are {}", KEYS[1..].join(", ")),
    }
}

fn protocols() -> String {
    let names = StartTls::value_variants().iter().filter_map(|variant| variant.to_possible_value());
    names.map(|name| name.get_name().to_owned()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_route_has_its_own_of_everything_and_leaves_the_rest_to_the_flags() {
        let text = "db:listen=unix:/run/s.sock,mode=0600,target=[::1]:5432,starttls=postgres,cert=/c,key=/k,alpn=a b";
        let route: Route = text.parse().unwrap();
        assert_eq!(route.listen, Listen::Unix { path: "/run/s.sock".into(), mode: 0o600 });
        assert_eq!((route.name.as_str(), route.target.to_string().as_str()), ("db", "[::1]:5432"));
        assert_eq!((route.starttls, route.alpn.join("+").as_str()), (Some(StartTls::Postgres), "a+b"));
        assert_eq!((route.cert, route.key, route.cacert), (Some("/c".into()), Some("/k".into()), None));
    }

    #[test]
    fn what_is_no_route_is_refused_with_what_is_wrong() {
        let refused = |text: &str| text.parse::<Route>().unwrap_err();
        assert_eq!(refused("x"), "\"x\" is no route; write NAME:listen=ADDR,target=ADDR[,key=value...]");
        assert_eq!(refused("a:listen=:1"), "route a has no target; write NAME:listen=ADDR,target=ADDR[,key=value...]");
        assert_eq!(refused("a:listen=:1,targt=h:1"), "a route has no targt; did you mean target?");
        assert_eq!(refused("a:listen=:1,listen=:2,target=h:1"), "route a has two values for listen");
        assert!(
            refused("a:listen=:1,target=h:1,starttls=x").starts_with("route a: starttls is none of none, postgres")
        );
        assert!(refused("a:listen=:1,target=h").starts_with("route a: invalid target address \"h\""));
        assert!(refused("a b:listen=:1,target=h:1").starts_with("\"a b\" is no name for a route"));
    }
}
