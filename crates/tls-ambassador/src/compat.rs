//! Spellings of ghostunnel, cloud-sql-proxy and kube-rbac-proxy, turned into our own before parsing.

use std::ffi::{OsStr, OsString};

/// Their flag, ours.
const SPELLINGS: [(&str, &str); 13] = [
    ("--status", "--admin-listen"),
    ("--admin-address", "--admin-listen"),
    ("--allow-ip-san", "--allow-ip"),
    ("--verify-ip-san", "--verify-ip"),
    ("--enable-shutdown", "--quitquitquit"),
    ("--max-connections", "--max-concurrent-conns"),
    ("--connect-proxy", "--proxy"),
    ("--proxy-protocol", "--proxy-protocol-mode=conn"),
    ("--min-sigterm-delay", "--shutdown-delay"),
    ("--tls-cert-file", "--cert"),
    ("--tls-private-key-file", "--key"),
    ("--client-ca-file", "--cacert"),
    ("--tls-min-version", "--min-tls-version"),
];

/// As [`translate`] for a program of this name: one that begins with `ghostunnel` has ghostunnel's ways.
#[must_use]
pub fn translate_as(program: &OsStr, argv: Vec<OsString>) -> Vec<OsString> {
    let mut argv = translate(argv);
    let door = argv.iter().position(|argument| argument == "server" || argument == "client");
    if let Some(at) = door.filter(|_| program.as_encoded_bytes().starts_with(b"ghostunnel")) {
        argv.insert(at + 1, "--compat=ghostunnel".into());
    }
    argv
}

/// Each argument with our spelling of its flag; values are left alone, except version names as Go writes them.
#[must_use]
pub fn translate(argv: Vec<OsString>) -> Vec<OsString> {
    let mut all = Vec::new();
    for argument in argv {
        let theirs = argument.to_str().unwrap_or_default();
        // cloud-sql-proxy closes what is too many, where ghostunnel lets it wait.
        if theirs.split('=').next() == Some("--max-connections") {
            all.push("--max-conns-action=reject".into());
        }
        let ours = ours(theirs).map(OsString::from);
        all.push(ours.unwrap_or(argument));
    }
    all
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

    #[test]
    fn a_limit_of_cloud_sql_proxy_closes_what_is_too_many() {
        let ours = ["--max-conns-action=reject", "--max-concurrent-conns", "5"];
        assert_eq!(translate(["--max-connections", "5"].map(OsString::from).to_vec()), ours.map(OsString::from));
    }

    #[test]
    fn a_program_called_ghostunnel_has_its_ways() {
        let argv = || ["server", "--listen", ":1"].map(OsString::from).to_vec();
        let ghost = translate_as(OsStr::new("ghostunnel.cover"), argv());
        assert_eq!(ghost, ["server", "--compat=ghostunnel", "--listen", ":1"].map(OsString::from));
        assert_eq!(translate_as(OsStr::new("tls-ambassador"), argv()), argv());
    }
}
