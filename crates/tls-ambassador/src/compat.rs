//! Spellings of ghostunnel, cloud-sql-proxy and kube-rbac-proxy, turned into our own before parsing.

use std::ffi::OsString;

/// Their flag, ours.
const SPELLINGS: [(&str, &str); 11] = [
    ("--status", "--admin-listen"),
    ("--admin-address", "--admin-listen"),
    ("--allow-ip-san", "--allow-ip"),
    ("--verify-ip-san", "--verify-ip"),
    ("--enable-shutdown", "--quitquitquit"),
    ("--max-connections", "--max-concurrent-conns"),
    ("--min-sigterm-delay", "--shutdown-delay"),
    ("--tls-cert-file", "--cert"),
    ("--tls-private-key-file", "--key"),
    ("--client-ca-file", "--cacert"),
    ("--tls-min-version", "--min-tls-version"),
];

/// Each argument with our spelling of its flag; values are left alone, except version names as Go writes them.
#[must_use]
pub fn translate(argv: Vec<OsString>) -> Vec<OsString> {
    argv.into_iter().map(|argument| argument.to_str().and_then(ours).map_or(argument, OsString::from)).collect()
}

fn ours(argument: &str) -> Option<String> {
    match argument {
        "VersionTLS12" => return Some("TLS1.2".to_owned()),
        "VersionTLS13" => return Some("TLS1.3".to_owned()),
        _ => {}
    }
    let (name, value) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(ours(value).unwrap_or_else(|| value.to_owned()))),
        None => (argument, None),
    };
    let (_, our_name) = SPELLINGS.iter().find(|(theirs, _)| *theirs == name)?;
    Some(match value {
        Some(value) => format!("{our_name}={value}"),
        None => (*our_name).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_flags_are_renamed_and_values_are_not() {
        let theirs =
            ["server", "--status=:8081", "--tls-cert-file", "--status", "--tls-min-version=VersionTLS12", "--key=a=b"];
        let ours =
            ["server", "--admin-listen=:8081", "--cert", "--admin-listen", "--min-tls-version=TLS1.2", "--key=a=b"];
        assert_eq!(translate(theirs.map(OsString::from).to_vec()), ours.map(OsString::from));
    }
}
