//! Spellings of ghostunnel, cloud-sql-proxy and kube-rbac-proxy, turned into our own before parsing.

use std::ffi::{OsStr, OsString};

/// Their flag, ours.
const SPELLINGS: [(&str, &str); 13] = [
    ("--admin-address", "--admin-listen"),
    ("--allow-ip-san", "--allow-ip"),
    ("--verify-ip-san", "--verify-ip"),
    ("--enable-shutdown", "--quitquitquit"),
    ("--max-connections", "--max-concurrent-conns"),
    ("--status-tls", "--admin-tls"),
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
    let door = argv.iter().position(|argument| argument == "server" || argument == "client");
    match door.filter(|_| program.as_encoded_bytes().starts_with(b"ghostunnel")) {
        Some(at) => translate(as_ghostunnel(argv, at)),
        None => translate(argv),
    }
}

/// Its status page shows the own certificate unless the address says `http://`, and there is none unless it was asked for.
fn as_ghostunnel(mut argv: Vec<OsString>, at: usize) -> Vec<OsString> {
    // Their count of goroutines is always told here.
    argv.retain(|argument| argument != "--enable-pprof");
    let named = |names: &[&str]| {
        argv.iter().any(|argument| {
            argument.to_str().and_then(|text| text.split('=').next()).is_some_and(|name| names.contains(&name))
        })
    };
    let (certificate, page) = (named(&["--cert", "--keystore"]), named(&["--status"]));
    let plain = argv.iter().any(|argument| argument.to_str().is_some_and(|text| text.contains("http://")));
    let mut more: Vec<OsString> = vec!["--compat=ghostunnel".into()];
    if page && certificate && !plain {
        more.push("--admin-tls".into());
    }
    if !page {
        more.push("--admin-listen=127.0.0.1:0".into());
    }
    argv.splice(at + 1..at + 1, more);
    argv
}

/// Each argument with our spelling of its flag; values are left alone, except version names as Go writes them and schemes of
/// `--status`.
#[must_use]
pub fn translate(argv: Vec<OsString>) -> Vec<OsString> {
    let mut all = Vec::new();
    let mut argv = argv.into_iter();
    while let Some(argument) = argv.next() {
        let theirs = argument.to_str().unwrap_or_default();
        // cloud-sql-proxy closes what is too many, where ghostunnel lets it wait.
        if theirs.split('=').next() == Some("--max-connections") {
            all.push("--max-conns-action=reject".into());
        }
        if let Some(value) = theirs.strip_prefix("--status=") {
            all.extend(status(value));
            continue;
        }
        if theirs == "--status" {
            match argv.next() {
                Some(value) => all.extend(status(&value.to_string_lossy())),
                None => all.push("--admin-listen".into()),
            }
            continue;
        }
        let ours = ours(theirs).map(OsString::from);
        all.push(ours.unwrap_or(argument));
    }
    all
}

/// ghostunnel's address of its status page: with a scheme, or a unix socket, which is beside the TCP one here.
fn status(value: &str) -> Vec<OsString> {
    let tcp = |address: &str| OsString::from(format!("--admin-listen={address}"));
    match (value.strip_prefix("https://"), value.strip_prefix("http://"), value.strip_prefix("unix:")) {
        (Some(address), _, _) => vec!["--admin-tls".into(), tcp(address)],
        (_, Some(address), _) => vec![tcp(address)],
        (_, _, Some(path)) => vec![format!("--admin-socket={path}").into(), tcp("127.0.0.1:0")],
        _ => vec![tcp(value)],
    }
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
        let theirs = [
            "server",
            "--status=:8081",
            "--tls-cert-file",
            "x",
            "--tls-min-version=VersionTLS12",
            "--key=a=b",
            "--status",
        ];
        let ours = [
            "server",
            "--admin-listen=:8081",
            "--cert",
            "x",
            "--min-tls-version=TLS1.2",
            "--key=a=b",
            "--admin-listen",
        ];
        assert_eq!(translate(theirs.map(OsString::from).to_vec()), ours.map(OsString::from));
    }

    #[test]
    fn a_limit_of_cloud_sql_proxy_closes_what_is_too_many() {
        let ours = ["--max-conns-action=reject", "--max-concurrent-conns", "5"];
        assert_eq!(translate(["--max-connections", "5"].map(OsString::from).to_vec()), ours.map(OsString::from));
    }

    fn translated(program: &str, argv: &str) -> String {
        let argv = argv.split(' ').map(OsString::from).collect();
        let all = translate_as(OsStr::new(program), argv);
        all.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_status_page_may_have_a_scheme_or_be_a_socket() {
        let ours = |argv| translated("tls-ambassador", argv);
        assert_eq!(ours("server --status https://:1"), "server --admin-tls --admin-listen=:1");
        assert_eq!(ours("server --status=http://:1"), "server --admin-listen=:1");
        assert_eq!(ours("server --status=unix:/s"), "server --admin-socket=/s --admin-listen=127.0.0.1:0");
    }

    #[test]
    fn a_program_called_ghostunnel_has_its_ways() {
        let ours = |argv| translated("ghostunnel.cover", argv);
        let quiet = "server --compat=ghostunnel --admin-listen=127.0.0.1:0 --listen :1";
        assert_eq!(ours("server --listen :1"), quiet);
        let secure = "server --compat=ghostunnel --admin-tls --cert=c --admin-listen=:1";
        assert_eq!(ours("server --cert=c --enable-pprof --status=:1"), secure);
        assert_eq!(ours("server --cert=c --status=http://:1"), "server --compat=ghostunnel --cert=c --admin-listen=:1");
        assert_eq!(translated("tls-ambassador", "server --listen :1"), "server --listen :1");
    }
}
