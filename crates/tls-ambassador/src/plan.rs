//! What `check` prints: what a start would do with these flags and files.

use std::path::Path;
use std::time::SystemTime;

use kit_run::Error;
use kit_tls::rustls::pki_types::ServerName;
use kit_tls::server::ClientAuth;

use crate::access::Rules;
use crate::admission::ServerIdentity;
use crate::args::StartTls;
use crate::config::{ClientConfig, ClientIdentity, DoorConfig, ServerConfig};
use crate::jwt::JwtConfig;
use crate::lifecycle::Kept;

/// The plan of a server.
///
/// # Errors
/// As [`print`].
pub(crate) fn server(config: &ServerConfig, stores: &[&dyn Kept]) -> Result<(), Error> {
    let issuers = config.http.as_ref().map_or(&[][..], |http| &http.jwt);
    let let_in = |identity: &ServerIdentity| format!("let in: {}", let_in(identity, issuers));
    let lines = config.door.pairs.iter().map(|pair| let_in(&config.identities[pair.identity]));
    print("server", &config.door, &lines.collect::<Vec<_>>(), stores)
}

/// The plan of a client.
///
/// # Errors
/// As [`print`].
pub(crate) fn client(config: &ClientConfig, stores: &[&dyn Kept]) -> Result<(), Error> {
    let pairs = config.door.pairs.iter().zip(&config.server_names);
    let lines = pairs.map(|(pair, name)| format!("accepted: {}", accepted(&config.identities[pair.identity], name)));
    print("client", &config.door, &lines.collect::<Vec<_>>(), stores)
}

/// One line for each listener, each followed by the one in `people` of whom it deals with; then one for each certificate,
/// however many listeners show it.
///
/// # Errors
/// A certificate that is out of date: a start would wait for a better one.
fn print(what: &str, door: &DoorConfig, people: &[String], stores: &[&dyn Kept]) -> Result<(), Error> {
    let now = SystemTime::now();
    let certificates: Vec<_> = stores.iter().flat_map(|store| store.certificates()).collect();
    for certificate in &certificates {
        if let Some(state) = certificate.out_of_date(now) {
            return Err(Error::request(format!("certificate {} is {state}", certificate.path.display()))
                .hint("a start would not become ready before a good one is there"));
        }
    }
    for (pair, people) in door.pairs.iter().zip(people) {
        let name = pair.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let greeting = match pair.starttls {
            StartTls::None => String::new(),
            protocol => format!(", starttls {}", word(protocol)),
        };
        kit_run::notice(format!("{what} {} -> {}{greeting}{name}", pair.listen, pair.target));
        kit_run::notice(format!("  {people}"));
    }
    let mut told = std::collections::BTreeSet::new();
    for certificate in certificates.iter().filter(|certificate| told.insert(certificate.path.clone())) {
        let leaf = &certificate.leaf;
        let names: Vec<String> = leaf.dns.iter().cloned().chain(leaf.ip.iter().map(ToString::to_string)).collect();
        let (path, subject) = (certificate.path.display(), &leaf.subject);
        kit_run::notice(format!("certificate {path} {subject}, valid until {}", certificate.not_after()));
        if !names.is_empty() {
            kit_run::notice(format!("  for {}", names.join(", ")));
        }
    }
    kit_run::notice(format!("health and metrics on {}", door.admin_listen));
    Ok(())
}

fn word(protocol: StartTls) -> String {
    use clap::ValueEnum;
    protocol.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Everybody that a listener lets in, each kind named.
fn let_in(identity: &ServerIdentity, issuers: &[JwtConfig]) -> String {
    let ServerIdentity { access, files, client_auth, pins, .. } = identity;
    if access.everyone {
        return "anybody (disable-authentication)".to_owned();
    }
    let mut kinds = Vec::new();
    let wanted = if access.any_certificate { vec!["every certificate".to_owned()] } else { facts(&access.rules) };
    if !pins.is_empty() {
        kinds.push(format!("{}, whatever the rest of the certificate says", wanted.join(", ")));
    } else if !wanted.is_empty() {
        let signed = signed(files.client_authorities.as_deref(), files.revocations.as_deref());
        kinds.push(format!("{} {signed}", wanted.join(", ")));
    }
    if access.token {
        kinds.extend(issuers.iter().map(tokens));
        if issuers.iter().any(|issuer| issuer.allow_missing) {
            kinds.push("requests without any token".to_owned());
        }
        let paths: Vec<&str> = issuers.iter().flat_map(|issuer| &issuer.skip_paths).map(String::as_str).collect();
        if !paths.is_empty() {
            kinds.push(format!("anybody at {}", paths.join(", ")));
        }
    }
    match client_auth {
        ClientAuth::Optional => kinds.push("a certificate may be shown".to_owned()),
        // Where certificates alone let in, that is said already.
        ClientAuth::Required if access.token || wanted.is_empty() => {
            let signed = signed(files.client_authorities.as_deref(), files.revocations.as_deref());
            kinds.push(format!("a certificate must be shown in any case {signed}"));
        }
        _ => {}
    }
    kinds.join("; ")
}

/// What a token has to be.
fn tokens(issuer: &JwtConfig) -> String {
    let mut says = match issuer.rules.audiences.as_slice() {
        [] => vec!["any audience".to_owned()],
        audiences => audiences.iter().map(|name| format!("audience {name:?}")).collect(),
    };
    let required = &issuer.rules.required;
    says.extend(required.iter().map(|rule| format!("claim {}={}", rule.claim, rule.pattern)));
    format!("tokens of {} ({})", issuer.rules.issuers.join(" or "), says.join(", "))
}

/// Which servers a tunnel accepts.
fn accepted(identity: &ClientIdentity, name: &ServerName<'_>) -> String {
    let ClientIdentity { files, rules, .. } = identity;
    if !rules.spki_pin.is_empty() {
        return format!("{}, whatever the rest of the certificate says", facts(rules).join(", "));
    }
    let rules = match facts(rules).as_slice() {
        [] => String::new(),
        facts => format!(" with {}", facts.join(", ")),
    };
    let signed = signed(files.authorities.as_deref(), files.revocations.as_deref());
    format!("the server {:?}{rules} {signed}", name.to_str())
}

/// Facts of a certificate, as rules name them.
fn facts(rules: &Rules) -> Vec<String> {
    let Rules { cn, ou, dns, uri, ip, spki_pin } = rules;
    let mut facts = Vec::new();
    facts.extend(cn.iter().map(|name| format!("cn {name:?}")));
    facts.extend(ou.iter().map(|name| format!("ou {name:?}")));
    facts.extend(dns.iter().map(|name| format!("dns {name:?}")));
    facts.extend(uri.iter().map(|pattern| format!("uri \"{pattern}\"")));
    facts.extend(ip.iter().map(|address| format!("ip {address}")));
    let hex = |pin: &[u8; 32]| pin.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    facts.extend(spki_pin.iter().map(|pin| format!("key sha256:{}", hex(pin))));
    facts
}

/// By whom a certificate has to be signed.
fn signed(authorities: Option<&Path>, revocations: Option<&Path>) -> String {
    let by = match authorities {
        Some(file) => format!("signed by {}", file.display()),
        None => "signed by a public authority".to_owned(),
    };
    match revocations {
        Some(file) => format!("({by}, not revoked by {})", file.display()),
        None => format!("({by})"),
    }
}
