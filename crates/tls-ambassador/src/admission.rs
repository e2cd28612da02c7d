//! Who is let in at each of a server's listeners, and with which files that is checked.

use std::path::PathBuf;
use std::sync::Arc;

use kit_run::Error;
use kit_tls::server::{ClientAuth as Asked, Files};

use crate::access::{Access, Rules};
use crate::args::{ClientAuth, Switch};
use crate::pairs::{Identity, Pair};

/// What a server shows, trusts and lets in at those of its listeners that name it.
#[derive(Debug, Clone)]
pub struct ServerIdentity {
    /// Certificates and authorities.
    pub files: Files,
    /// Protocols to offer, best first.
    pub alpn: Vec<Vec<u8>>,
    /// Whether clients are asked.
    pub client_auth: Asked,
    /// Keys that are let in whatever the rest of their certificates says; empty: chains count.
    pub pins: Vec<[u8; 32]>,
    /// Who may in.
    pub access: Arc<Access>,
}

/// What the flags say for all listeners.
#[derive(Debug)]
pub(crate) struct Flags {
    /// What listeners have that say nothing themselves.
    pub(crate) default: Identity,
    pub(crate) cert_dir: Option<PathBuf>,
    pub(crate) ssl_cert_file: Option<PathBuf>,
    pub(crate) sni_strict: bool,
    pub(crate) session_tickets: Option<Switch>,
    /// There are issuers of tokens.
    pub(crate) tokens: bool,
    /// A pin decides alone, as ghostunnel has it.
    pub(crate) pins_alone: bool,
}

impl Flags {
    /// Checks all of `found`, which `pairs` name.
    ///
    /// # Errors
    /// Rules that contradict each other, let in nobody, or cannot be checked with the files there are.
    pub(crate) fn identities(self, found: Vec<Identity>, pairs: &[Pair]) -> Result<Vec<ServerIdentity>, Error> {
        let mut all = Vec::with_capacity(found.len());
        for (index, identity) in found.into_iter().enumerate() {
            let name = pairs.iter().find(|pair| pair.identity == index).and_then(|pair| pair.name.as_deref());
            // Of a listener without a name, the flags are meant.
            let of = name.map(|name| format!("route {name}: ")).unwrap_or_default();
            all.push(self.identity(identity, &of)?);
        }
        let asked = all.iter().any(|identity| identity.client_auth != Asked::None);
        if asked && self.session_tickets == Some(Switch::On) {
            return Err(Error::request(
                "--session-tickets on lets clients in whose certificate is revoked or allowed no more",
            )
            .hint("take it away: tickets are for servers that ask for no certificates"));
        }
        if self.default.revocations.is_some() && !asked {
            return Err(Error::request("--crl is about client certificates, and none are asked for")
                .hint("add an --allow rule, or take --crl away"));
        }
        Ok(all)
    }

    fn identity(&self, identity: Identity, of: &str) -> Result<ServerIdentity, Error> {
        let client_auth = checked_access(&identity.access, identity.client_auth, of)?;
        if identity.access.token && !self.tokens {
            return Err(Error::request(format!("{of}allow-token is there, and no issuer of tokens"))
                .hint("give --mode http with --jwt-issuer, --jwt-preset or --jwt"));
        }
        let asked = client_auth != Asked::None;
        let pins = if self.pins_alone { pins(&identity.access, of)? } else { Vec::new() };
        if !asked && identity.revocations != self.default.revocations {
            return Err(Error::request(format!("{of}crl= is about client certificates, and none are asked for"))
                .hint("add an allow- rule, or take crl= away"));
        }
        let own = identity.pair != self.default.pair;
        let signed = asked && pins.is_empty();
        let authorities = || identity.authorities.or_else(|| self.ssl_cert_file.clone());
        let files = Files {
            pair: identity.pair,
            password: identity.password,
            folder: self.cert_dir.clone().filter(|_| !own),
            client_authorities: signed.then(authorities).flatten(),
            revocations: identity.revocations.filter(|_| signed),
        };
        self.check_files(&files, signed, of)?;
        Ok(ServerIdentity { files, alpn: identity.alpn, client_auth, pins, access: Arc::new(identity.access) })
    }

    fn check_files(&self, files: &Files, signed: bool, of: &str) -> Result<(), Error> {
        match (&files.pair, &files.folder) {
            (None, None) => {
                return Err(Error::request(format!("{of}a server needs a certificate"))
                    .hint("give --cert and --key, or --cert-dir"));
            }
            (None, Some(_)) if !self.sni_strict => {
                return Err(Error::request(
                    "--cert-dir without --cert has no certificate for clients without a server name",
                )
                .hint("add --cert and --key as the default, or --sni-strict to refuse such clients"));
            }
            _ => {}
        }
        if signed && files.client_authorities.is_none() {
            return Err(Error::request(format!("{of}client certificates cannot be verified without --cacert")).hint(
                "give the authority that signs your clients' certificates; public authorities would let in the world",
            ));
        }
        Ok(())
    }
}

/// The pins that decide alone; `of` begins the error.
fn pins(access: &Access, of: &str) -> Result<Vec<[u8; 32]>, Error> {
    let others = Rules { spki_pin: Vec::new(), ..access.rules.clone() };
    if !access.rules.spki_pin.is_empty() && (access.any_certificate || access.token || !others.is_empty()) {
        return Err(Error::request(format!(
            "{of}--allow-spki-pin alone decides, so other --allow rules would not count"
        ))
        .hint("keep the pins, or the rules"));
    }
    Ok(access.rules.spki_pin.clone())
}

/// Whether clients are asked, by these rules; `of` begins the error.
///
/// # Errors
/// Rules that contradict each other or let in nobody.
pub(crate) fn checked_access(access: &Access, asked: Option<ClientAuth>, of: &str) -> Result<Asked, Error> {
    if access.is_silent() {
        return Err(Error::request(format!("{of}nobody would be let in: there is no access rule")).hint(
            "give --allow-cn, --allow-ou, --allow-dns, --allow-uri, --allow-ip, --allow-spki-pin or --allow-all, or --disable-authentication to let in everybody",
        ));
    }
    let certificates = access.any_certificate || !access.rules.is_empty();
    if access.everyone && (certificates || asked.is_some_and(|asked| asked != ClientAuth::None)) {
        return Err(Error::request(format!(
            "{of}--disable-authentication contradicts --allow rules and --client-auth"
        ))
        .hint("keep one: everybody without certificate, or rules"));
    }
    if access.everyone && access.token {
        return Err(Error::request(format!(
            "{of}--disable-authentication lets in everybody, so nobody would need a token"
        ))
        .hint("take it away, since tokens need no certificate; or take away what is about tokens"));
    }
    match asked {
        Some(ClientAuth::None) if certificates => {
            Err(Error::request(format!("{of}--client-auth none contradicts --allow rules"))
                .hint("rules need --client-auth required or optional"))
        }
        Some(ClientAuth::None) => Ok(Asked::None),
        Some(ClientAuth::Optional) => Ok(Asked::Optional),
        Some(ClientAuth::Required) => Ok(Asked::Required),
        None if certificates => Ok(Asked::Required),
        None => Ok(Asked::None),
    }
}
