//! The accepting side: own certificates by server name, and which clients are trusted.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use crate::verify::{AdmittedClients, Trust};
use crate::{Admit, Certificate, Leaf, LoadError, Material, Password, Policy, pem};

/// Where a server's material is.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The default certificate (chain, leaf first) and its key.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// Of a pair that is one PKCS#12 file.
    pub password: Password,
    /// More pairs, chosen by the names in them: `NAME.crt` + `NAME.key`, `NAME.pem` with both, or folders with
    /// `tls.crt` + `tls.key`.
    pub folder: Option<PathBuf>,
    /// The authorities that sign client certificates.
    pub client_authorities: Option<PathBuf>,
    /// Revoked client certificates. A client whose issuer has no list in it is refused.
    pub revocations: Option<PathBuf>,
}

impl Files {
    /// Everything that a [`crate::Store`] has to watch.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let pair = self.pair.iter().flat_map(|(certificate, key)| [certificate, key]).chain(self.password.path());
        let rest = [&self.folder, &self.client_authorities, &self.revocations].into_iter().flatten();
        pair.chain(rest).cloned().collect()
    }
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They are asked, and may have none. One that does not verify ends the handshake.
    Optional,
    /// Without a verified one there is no connection.
    Required,
}

/// How a server behaves, whatever its files hold.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Versions and key exchanges.
    pub policy: Policy,
    /// Protocols offered to ALPN, best first; empty: the extension is ignored.
    pub alpn: Vec<Vec<u8>>,
    /// Whether clients are asked for a certificate.
    pub client_auth: ClientAuth,
    /// Public keys (SHA-256 of the key info) of which a client must have one. Then its chain and dates are not looked at, and
    /// there need be no authorities. Empty: chains count.
    pub client_pins: Vec<[u8; 32]>,
    /// Which verified clients may in; `None`: all of them.
    pub admit: Option<Admit>,
    /// A client that names a server whose certificate is not here is refused instead of getting the default.
    pub strict_names: bool,
    /// Session tickets, kept across reloads; `None`: every connection is a full handshake. Pass `None` where clients
    /// are checked: a ticket would outlive a revocation and a narrowed rule.
    pub tickets: Option<Tickets>,
}

impl Settings {
    /// Of a certificate that is shown to whoever comes: nobody is asked for one, and every handshake is a full one.
    #[must_use]
    pub fn for_everybody(policy: Policy, alpn: Vec<Vec<u8>>) -> Self {
        Self {
            policy,
            alpn,
            client_auth: ClientAuth::None,
            client_pins: Vec::new(),
            admit: None,
            strict_names: false,
            tickets: None,
        }
    }
}

/// Keys for session tickets, changed every six hours, never written anywhere.
#[derive(Debug, Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// Fresh keys.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> Result<Self, rustls::Error> {
        rustls::crypto::aws_lc_rs::Ticketer::new().map(Self)
    }
}

/// Reads all files and makes one configuration of them.
///
/// # Errors
/// The first file that cannot be used.
pub fn load(files: &Files, settings: &Settings) -> Result<Material<ServerConfig>, LoadError> {
    let provider = settings.policy.provider();
    let (names, certificates) = Names::load(files, settings.strict_names, &provider)?;
    let first = files.paths().into_iter().next().unwrap_or_default();
    let unusable = |reason: String| LoadError::Unusable { path: first.clone(), reason };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&settings.policy.versions());
    let builder = builder.map_err(|error| unusable(error.to_string()))?;
    let (builder, authorities) = match client_verifier(files, settings, &provider)? {
        Some((verifier, authorities)) => (builder.with_client_cert_verifier(verifier), authorities),
        None => (builder.with_no_client_auth(), 0),
    };
    let mut config = builder.with_cert_resolver(Arc::new(names));
    config.alpn_protocols.clone_from(&settings.alpn);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match &settings.tickets {
        Some(tickets) => {
            config.ticketer = Arc::clone(&tickets.0);
            config.send_tls13_tickets = 1;
        }
        None => config.send_tls13_tickets = 0,
    }
    Ok(Material { config: Arc::new(config), certificates, authorities })
}

/// Who judges clients, and how many authorities it trusts.
type Verifier = (Arc<dyn ClientCertVerifier>, usize);

fn client_verifier(
    files: &Files,
    settings: &Settings,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Verifier>, LoadError> {
    if settings.client_auth == ClientAuth::None {
        return Ok(None);
    }
    let mandatory = settings.client_auth == ClientAuth::Required;
    let admitted = |trust| {
        let admit = settings.admit.clone();
        Arc::new(AdmittedClients { trust, mandatory, admit, provider: Arc::clone(provider) })
    };
    if !settings.client_pins.is_empty() {
        return Ok(Some((admitted(Trust::Pins(settings.client_pins.clone())), 0)));
    }
    let Some(path) = files.client_authorities.as_ref() else { return Ok(None) };
    let roots = Arc::new(pem::authorities(path)?);
    let authorities = roots.len();
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    if !mandatory {
        builder = builder.allow_unauthenticated();
    }
    if let Some(path) = &files.revocations {
        builder = builder.with_crls(pem::revocations(path)?).only_check_end_entity_revocation();
    }
    let at_fault = files.revocations.as_ref().unwrap_or(path);
    let unusable = |error| LoadError::Unusable { path: at_fault.clone(), reason: format!("{error}") };
    let inner = builder.build().map_err(unusable)?;
    Ok(Some((admitted(Trust::Chain(inner)), authorities)))
}

thread_local! {
    static ASKED_FOR: std::cell::Cell<Option<String>> = const { std::cell::Cell::new(None) };
}

/// The server name in the ClientHello that this thread processed last, once. rustls' unbuffered connections do not
/// tell it themselves; the certificate is chosen inside the call that processes the hello, so nothing comes between.
#[must_use]
pub fn take_server_name() -> Option<String> {
    ASKED_FOR.take()
}

/// Certificates by the names in them.
#[derive(Debug, Default)]
struct Names {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// `*.example.com` under `example.com`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
    strict: bool,
}

impl Names {
    fn load(files: &Files, strict: bool, provider: &CryptoProvider) -> Result<(Self, Vec<Certificate>), LoadError> {
        let mut names = Self { strict, ..Self::default() };
        let mut certificates = Vec::new();
        let mut found = Vec::new();
        if let Some(pair) = &files.pair {
            let (certified, leaf) = pem::pair(&pair.0, &pair.1, &files.password, provider)?;
            names.default = Some(Arc::clone(&certified));
            found.push((pair.0.clone(), certified, leaf));
        }
        for (certificate, key) in files.folder.as_deref().map(pairs_in).transpose()?.unwrap_or_default() {
            let (certified, leaf) = pem::pair(&certificate, &key, &Password::Empty, provider)?;
            found.push((certificate, certified, leaf));
        }
        // Of two certificates for one name, the one that is valid longer is the renewed one.
        found.sort_by_key(|(_, _, leaf)| leaf.not_after);
        for (path, certified, leaf) in found {
            names.add(&leaf, &certified);
            certificates.push(Certificate { path, leaf });
        }
        Ok((names, certificates))
    }

    fn add(&mut self, leaf: &Leaf, certified: &Arc<CertifiedKey>) {
        for name in &leaf.dns {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(parent) => self.wildcard.insert(parent.to_owned(), Arc::clone(certified)),
                None => self.exact.insert(name, Arc::clone(certified)),
            };
        }
    }

    fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = name else { return self.default.clone() };
        let name = name.to_ascii_lowercase();
        let by_wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        let named = self.exact.get(&name).or_else(by_wildcard).cloned();
        named.or_else(|| if self.strict { None } else { self.default.clone() })
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        ASKED_FOR.set(name.map(str::to_owned));
        self.choose(name)
    }
}

/// The pairs in a folder in the order of their names.
fn pairs_in(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>, LoadError> {
    let refused = |source| LoadError::Read { what: "certificate folder", path: folder.to_owned(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(refused)? {
        entries.push(entry.map_err(refused)?.path());
    }
    entries.sort();
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let pair = |path: PathBuf| match path.extension().and_then(|extension| extension.to_str()) {
        _ if path.is_dir() => Some((path.join("tls.crt"), path.join("tls.key"))).filter(|(cert, _)| cert.exists()),
        Some("crt") => Some((path.clone(), path.with_extension("key"))),
        Some("pem") => Some((path.clone(), path)),
        _ => None,
    };
    let pairs: Vec<_> = entries.into_iter().filter(|path| !hidden(path)).filter_map(pair).collect();
    if pairs.is_empty() {
        return Err(LoadError::Empty { what: "certificate", path: folder.to_owned(), reason: None });
    }
    Ok(pairs)
}
