//! What `check` prints: what a start would do with these flags and files.

use std::time::SystemTime;

use kit_run::Error;

use crate::args::StartTls;
use crate::config::DoorConfig;
use crate::lifecycle::Kept;

/// One line for each listener, then one for each certificate.
///
/// # Errors
/// A certificate that is out of date: a start would wait for a better one.
pub(crate) fn print(what: &str, door: &DoorConfig, stores: &[&dyn Kept]) -> Result<(), Error> {
    let now = SystemTime::now();
    let certificates: Vec<_> = stores.iter().flat_map(|store| store.certificates()).collect();
    for certificate in &certificates {
        if let Some(state) = certificate.out_of_date(now) {
            return Err(Error::request(format!("certificate {} is {state}", certificate.path.display()))
                .hint("a start would not become ready before a good one is there"));
        }
    }
    for pair in &door.pairs {
        let name = pair.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let greeting = match pair.starttls {
            StartTls::None => String::new(),
            protocol => format!(", starttls {}", word(protocol)),
        };
        kit_run::notice(format!("{what} {} -> {}{greeting}{name}", pair.listen, pair.target));
    }
    for certificate in &certificates {
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
