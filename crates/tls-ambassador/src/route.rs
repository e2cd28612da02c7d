//! One listener with everything that is its own: `db:listen=127.0.0.1:5432,target=db.example.org:5432,starttls=postgres`.
//!
//! Keys: `listen` and `target` (needed), `mode` (of a unix socket), `starttls`, `cert` and `key`, `keystore` and `storepass-file`,
//! `cacert`, `crl`, `alpn` (several with blanks between), `server-name` (of a client's server), and who is let in: `allow-cn` and
//! its kind as the flags have them, repeatable, `allow-all`, `allow-token`, `disable-authentication` and `client-auth`; of a client,
//! which servers are accepted: `verify-cn` and its kind. What a route does not say is as the flags of that name say it; who is let in,
//! or accepted, is said whole: one rule of its own, and none of the flags' rules counts.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;

use crate::access::{Access, Rules, spki_pin};
use crate::args::{ClientAuth, StartTls};
use crate::keyed;
use crate::listen::Listen;
use crate::target::Target;

/// The keys that stand once, for error texts and for the nearest name.
const ONCE: [&str; 13] = [
    "listen",
    "mode",
    "target",
    "starttls",
    "cert",
    "key",
    "keystore",
    "storepass-file",
    "cacert",
    "crl",
    "alpn",
    "server-name",
    "client-auth",
];
/// Switches of access.
const SWITCHES: [&str; 3] = ["disable-authentication", "allow-all", "allow-token"];
/// Rules of access, repeatable.
const RULES: [&str; 6] = ["allow-cn", "allow-ou", "allow-dns", "allow-uri", "allow-ip", "allow-spki-pin"];
/// Rules about a client's server, repeatable.
const SERVER_RULES: [&str; 6] = ["verify-cn", "verify-ou", "verify-dns", "verify-uri", "verify-ip", "verify-spki-pin"];
const FORM: &str = "write NAME:listen=ADDR,target=ADDR[,key=value...]";

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
    /// The file with that one's password.
    pub storepass_file: Option<PathBuf>,
    /// Who signs the other side's certificates.
    pub cacert: Option<PathBuf>,
    /// Which of those are revoked.
    pub crl: Option<PathBuf>,
    /// Protocols to offer.
    pub alpn: Vec<String>,
    /// The server's name, instead of the target's.
    pub server_name: Option<String>,
    /// Who is let in, instead of whom the flags let in.
    pub access: Option<Access>,
    /// Whether clients are asked for a certificate.
    pub client_auth: Option<ClientAuth>,
    /// Which servers are accepted, instead of those that the flags accept.
    pub server_rules: Option<Rules>,
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(':').ok_or_else(|| format!("{text:?} is no route; {FORM}"))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(format!("{name:?} is no name for a route: letters, digits, - _ and . only; {FORM}"));
        }
        let of_route = |error: &dyn std::fmt::Display| format!("route {name}: {error}");
        let Values { once, access, server_rules } = values(name, rest)?;
        let [
            listen,
            mode,
            target,
            starttls,
            cert,
            key,
            keystore,
            storepass_file,
            cacert,
            crl,
            alpn,
            server_name,
            asked,
        ] = once;
        let needed =
            |key: &str, value: Option<String>| value.ok_or_else(|| format!("route {name} has no {key}; {FORM}"));
        let mut listen = needed("listen", listen)?;
        if let Some(mode) = mode {
            listen = format!("{listen},mode={mode}");
        }
        let starttls = starttls.map(|value| StartTls::from_str(&value, false)).transpose();
        let asked = asked.map(|value| ClientAuth::from_str(&value, false)).transpose();
        Ok(Self {
            name: name.to_owned(),
            listen: listen.parse().map_err(|error| of_route(&error))?,
            target: needed("target", target)?.parse().map_err(|error| of_route(&error))?,
            starttls: starttls.map_err(|_| of_route(&format!("starttls is none of {}", names::<StartTls>())))?,
            cert: cert.map(PathBuf::from),
            key: key.map(PathBuf::from),
            keystore: keystore.map(PathBuf::from),
            storepass_file: storepass_file.map(PathBuf::from),
            cacert: cacert.map(PathBuf::from),
            crl: crl.map(PathBuf::from),
            alpn: alpn.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            server_name,
            access,
            client_auth: asked.map_err(|_| of_route(&format!("client-auth is none of {}", names::<ClientAuth>())))?,
            server_rules,
        })
    }
}

/// What a route says, sorted.
#[derive(Default)]
struct Values {
    /// Single values in the order of [`ONCE`].
    once: [Option<String>; ONCE.len()],
    /// The rules of access, if there are any.
    access: Option<Access>,
    /// The rules about servers, if there are any.
    server_rules: Option<Rules>,
}

fn values(name: &str, text: &str) -> Result<Values, String> {
    let of_route = |error: String| format!("route {name}: {error}");
    let mut values = Values::default();
    for (key, value) in keyed::split(text).map_err(of_route)? {
        if SWITCHES.contains(&key.as_str()) {
            let access = values.access.get_or_insert_with(Access::default);
            switch(access, &key, value.as_deref()).map_err(of_route)?;
            continue;
        }
        let value = value.ok_or_else(|| of_route(no_value(&key)))?;
        if let Some(at) = ONCE.iter().position(|known| *known == key) {
            if values.once[at].replace(value).is_some() {
                return Err(format!("route {name} has two values for {key}"));
            }
        } else if let Some(kind) = RULES.iter().position(|known| *known == key) {
            let access = values.access.get_or_insert_with(Access::default);
            rule(&mut access.rules, (kind, &key), value).map_err(of_route)?;
        } else if let Some(kind) = SERVER_RULES.iter().position(|known| *known == key) {
            let rules = values.server_rules.get_or_insert_with(Rules::default);
            rule(rules, (kind, &key), value).map_err(of_route)?;
        } else {
            return Err(unknown(&key));
        }
    }
    Ok(values)
}

fn switch(access: &mut Access, key: &str, value: Option<&str>) -> Result<(), String> {
    let on = match value {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(format!("{key} is true or false and not {other:?}")),
    };
    match key {
        "disable-authentication" => access.everyone = on,
        "allow-all" => access.any_certificate = on,
        _ => access.token = on,
    }
    Ok(())
}

/// One more rule; `kind` is the key's place in [`RULES`] or [`SERVER_RULES`].
fn rule(rules: &mut Rules, (kind, key): (usize, &str), value: String) -> Result<(), String> {
    let Rules { cn, ou, dns, uri, ip, spki_pin: pins } = rules;
    match kind {
        _ if value.is_empty() => return Err(format!("{key} has no value")),
        0 => cn.push(value),
        1 => ou.push(value),
        2 => dns.push(value),
        3 => uri.push(value.parse()?),
        4 => ip.push(value.parse().map_err(|_| format!("{key}={value} is no IP address"))?),
        _ => pins.push(spki_pin(&value)?),
    }
    Ok(())
}

fn no_value(key: &str) -> String {
    format!("{key:?} is not key=value; a value with a comma stands in double quotes: cert=\"/a,b.crt\"")
}

fn unknown(key: &str) -> String {
    let keys = [&ONCE[..], &SWITCHES, &RULES, &SERVER_RULES].concat();
    let near = keys.iter().map(|known| (kit_run::edits(key.as_bytes(), known.as_bytes()), known)).min();
    match near {
        Some((distance, known)) if distance <= 2 => format!("a route has no {key}; did you mean {known}?"),
        _ => format!("a route has no {key}; there are {}", keys.join(", ")),
    }
}

fn names<V: ValueEnum>() -> String {
    let names = V::value_variants().iter().filter_map(|variant| variant.to_possible_value());
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
        let rule = |text: &str| refused(&format!("a:listen=:1,target=h:1,{text}"));
        assert_eq!(
            rule("cert=/a,b.crt"),
            "route a: \"b.crt\" is not key=value; a value with a comma stands in double quotes: cert=\"/a,b.crt\""
        );
        assert_eq!(rule("allow-all=yes"), "route a: allow-all is true or false and not \"yes\"");
        assert_eq!(rule("allow-cn="), "route a: allow-cn has no value");
        assert_eq!(rule("allow-ip=x"), "route a: allow-ip=x is no IP address");
        assert_eq!(rule("allow-uri=a*"), "route a: \"a*\": * must be a whole segment, and ** only the last one");
        assert_eq!(
            rule("allow-spki-pin=x"),
            "route a: \"x\" is no pin; write sha256:<64 hex digits> or sha256/<base64>"
        );
        assert_eq!(rule("client-auth=x"), "route a: client-auth is none of none, optional, required");
        assert_eq!(rule("allow-cm=x"), "a route has no allow-cm; did you mean allow-cn?");
    }

    #[test]
    fn a_route_says_whom_it_lets_in_and_takes_commas_in_quotes() {
        let text = "a:listen=:1,target=h:1,allow-cn=\"Ops, Inc\",allow-cn=b,allow-ip=::1,allow-token,client-auth=optional,cert=\"/a,b\"";
        let route: Route = text.parse().unwrap();
        let access = route.access.unwrap();
        assert_eq!((access.rules.cn, access.rules.ip.len()), (vec!["Ops, Inc".to_owned(), "b".to_owned()], 1));
        assert!(access.token && !access.everyone && !access.any_certificate);
        assert_eq!((route.client_auth, route.cert), (Some(ClientAuth::Optional), Some("/a,b".into())));
        let silent: Route = "a:listen=:1,target=h:1".parse().unwrap();
        assert_eq!((silent.access, silent.client_auth, silent.server_rules), (None, None, None));
    }

    #[test]
    fn a_route_says_which_servers_it_accepts() {
        let text = "a:listen=:1,target=h:1,verify-cn=db,verify-ip=::1,verify-dns=a,verify-dns=b,verify-uri=x://*/y";
        let route: Route = text.parse().unwrap();
        let rules = route.server_rules.unwrap();
        assert_eq!((rules.cn, rules.ip.len(), rules.dns.len(), rules.uri.len()), (vec!["db".to_owned()], 1, 2, 1));
        assert_eq!(route.access, None);
        let refused = |rule: &str| format!("a:listen=:1,target=h:1,{rule}").parse::<Route>().unwrap_err();
        assert_eq!(refused("verify-ip=x"), "route a: verify-ip=x is no IP address");
        assert_eq!(refused("verify-ou="), "route a: verify-ou has no value");
        assert_eq!(refused("verify-url=x"), "a route has no verify-url; did you mean verify-uri?");
    }
}
