//! Spellings of ghostunnel, cloud-sql-proxy and kube-rbac-proxy, turned into our own before parsing; and those of their flags that
//! mean something else than this program does, refused by name.

use std::ffi::{OsStr, OsString};

use kit_run::{Environment, Error};

/// Their flag, ours.
const SPELLINGS: [(&str, &str); 18] = [
    ("--admin-address", "--admin-listen"),
    ("--allow-dns-san", "--allow-dns"),
    ("--allow-ip-san", "--allow-ip"),
    ("--allow-uri-san", "--allow-uri"),
    ("--verify-dns-san", "--verify-dns"),
    ("--verify-ip-san", "--verify-ip"),
    ("--verify-uri-san", "--verify-uri"),
    ("--disable-landlock", "--disable-sandbox"),
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

/// ghostunnel's variables, and our flags without the dashes. Their names are anybody's, so they count in its ways only.
const VARIABLES: [(&str, &str); 5] = [
    ("CERT_PATH", "cert"),
    ("KEY_PATH", "key"),
    ("KEYSTORE_PATH", "keystore"),
    ("KEYSTORE_PASS", "storepass"),
    ("CACERT_PATH", "cacert"),
];

/// Its variables for what is not there, and the flag that each stands for.
const REFUSED_VARIABLES: [(&str, &str); 4] = [
    ("SPIFFE_ENDPOINT_SOCKET", "--use-workload-api-addr"),
    ("PKCS11_MODULE", "--pkcs11-module"),
    ("PKCS11_TOKEN_LABEL", "--pkcs11-token-label"),
    ("PKCS11_PIN", "--pkcs11-pin"),
];

/// How flags begin that ask for what is not there, what that is, and what to do instead.
const REFUSED: [(&str, &str, &str); 12] = [
    (
        "--auto-acme-",
        "certificates are not ordered from an ACME authority here",
        "let cert-manager or another ACME client write --cert and --key: they are followed",
    ),
    ("--allow-policy", NO_RULES_IN_REGO, "use the --allow- rules, or --mode http with tokens and --jwt-require"),
    ("--allow-query", NO_RULES_IN_REGO, "use the --allow- rules, or --mode http with tokens and --jwt-require"),
    ("--verify-policy", NO_RULES_IN_REGO, "use the --verify- rules"),
    ("--verify-query", NO_RULES_IN_REGO, "use the --verify- rules"),
    ("--pkcs11-", "keys in PKCS#11 tokens are not used", FROM_FILES),
    ("--keychain-", "keys in a keychain are not used", FROM_FILES),
    (
        "--use-workload-api",
        "the SPIFFE workload API is not asked",
        "let spiffe-helper write certificate, key and bundle to files, for --cert, --key and --cacert: they are followed",
    ),
    ("--metrics-", "metrics are not sent anywhere", "scrape /metrics on --admin-listen"),
    ("--syslog", NO_SYSLOG, "take it away: the container runtime collects stderr, --log-format json makes it JSON"),
    ("--eventlog", NO_SYSLOG, "take it away: the container runtime collects stderr, --log-format json makes it JSON"),
    (
        "--allow-unsafe-cipher-suites",
        "suites without authenticated encryption are not spoken",
        "take it away; --cipher-suites chooses among the others",
    ),
];
const NO_RULES_IN_REGO: &str = "rules in OPA's language are not evaluated";
const FROM_FILES: &str = "give files: --cert and --key, or --keystore";
const NO_SYSLOG: &str = "the log goes to stderr and nowhere else";

/// As [`translate`] for a program of this name: one that begins with `ghostunnel` has ghostunnel's ways.
///
/// # Errors
/// As [`translate`].
pub fn translate_as(program: &OsStr, argv: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    let door = argv.iter().position(|argument| argument == "server" || argument == "client");
    match door.filter(|_| program.as_encoded_bytes().starts_with(b"ghostunnel")) {
        Some(at) => translate(as_ghostunnel(argv, at)),
        None => translate(argv),
    }
}

/// The variables of ghostunnel that count for a translated command line.
///
/// # Errors
/// In its ways, a variable that asks for what is not there.
pub fn variables(
    argv: &[OsString],
    environment: &Environment,
) -> Result<&'static [(&'static str, &'static str)], Error> {
    let typed = argv.iter().enumerate().any(|(at, argument)| match argument.to_str() {
        Some("--compat") => argv.get(at + 1).is_some_and(|program| program == "ghostunnel"),
        argument => argument == Some("--compat=ghostunnel"),
    });
    if !typed && environment.get("TLS_AMBASSADOR_COMPAT").is_none_or(|program| program != "ghostunnel") {
        return Ok(&[]);
    }
    for (variable, flag) in REFUSED_VARIABLES {
        if environment.get(variable).is_some_and(|value| !value.is_empty()) {
            refuse(flag, &format!("the variable {variable}"))?;
        }
    }
    Ok(&VARIABLES)
}

/// Fails where `flag` asks for what is not there; `said` is how it was asked.
fn refuse(flag: &str, said: &str) -> Result<(), Error> {
    let refused = REFUSED.iter().find(|(start, _, _)| flag.starts_with(start));
    refused.map_or(Ok(()), |(_, why, hint)| Err(Error::request(format!("{said}: {why}")).hint(*hint)))
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

/// Each argument with our spelling of its flag; values are left alone, except version names as Go writes them, schemes of
/// `--status`, and cloud-sql-proxy's two halves of an address.
///
/// # Errors
/// A flag that asks for what is not there.
pub fn translate(mut argv: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    let mut all = Vec::new();
    let page = page(&mut argv);
    let mut argv = argv.into_iter();
    while let Some(argument) = argv.next() {
        let theirs = argument.to_str().unwrap_or_default();
        if let Some(name) = theirs.split('=').next().filter(|name| name.starts_with("--")) {
            refuse(name, name)?;
        }
        // It is what happens, unless --disable-sandbox says otherwise.
        if theirs == "--use-landlock" {
            continue;
        }
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
    all.extend(page);
    Ok(all)
}

/// cloud-sql-proxy's address of health and metrics, which it says in two flags and serves where one of these three asks for it;
/// taken out of `argv`.
fn page(argv: &mut Vec<OsString>) -> Option<OsString> {
    let (mut address, mut port, mut asked) = (None, None, false);
    let mut rest = Vec::with_capacity(argv.len());
    let mut all = std::mem::take(argv).into_iter();
    while let Some(argument) = all.next() {
        let text = argument.to_str().unwrap_or_default();
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
        let place = match name {
            "--http-address" => &mut address,
            "--http-port" => &mut port,
            "--health-check" => {
                asked |= value.as_deref() != Some("false");
                continue;
            }
            _ => {
                rest.push(argument);
                continue;
            }
        };
        *place = value.or_else(|| all.next().map(|value| value.to_string_lossy().into_owned()));
    }
    *argv = rest;
    if !asked && address.is_none() && port.is_none() {
        return None;
    }
    let address = address.filter(|address| address != "localhost").unwrap_or_else(|| "127.0.0.1".to_owned());
    let address = if address.contains(':') { format!("[{}]", address.trim_matches(['[', ']'])) } else { address };
    Some(format!("--admin-listen={address}:{}", port.as_deref().unwrap_or("9090")).into())
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
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
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
        assert_eq!(translate(theirs.map(OsString::from).to_vec()).unwrap(), ours.map(OsString::from));
    }

    #[test]
    fn a_limit_of_cloud_sql_proxy_closes_what_is_too_many() {
        let ours = ["--max-conns-action=reject", "--max-concurrent-conns", "5"];
        let theirs = ["--max-connections", "5"].map(OsString::from).to_vec();
        assert_eq!(translate(theirs).unwrap(), ours.map(OsString::from));
    }

    fn translated(program: &str, argv: &str) -> String {
        let argv = argv.split(' ').map(OsString::from).collect();
        let all = translate_as(OsStr::new(program), argv).unwrap();
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

    #[test]
    fn cloud_sql_proxys_address_of_health_is_put_together() {
        let ours = |argv| translated("tls-ambassador", argv);
        assert_eq!(ours("client --health-check --listen :1"), "client --listen :1 --admin-listen=127.0.0.1:9090");
        assert_eq!(ours("client --http-port=9801 --health-check=false"), "client --admin-listen=127.0.0.1:9801");
        assert_eq!(ours("client --http-address 0.0.0.0 --x"), "client --x --admin-listen=0.0.0.0:9090");
        assert_eq!(ours("wait --http-address=::1 --http-port 1"), "wait --admin-listen=[::1]:1");
        assert_eq!(ours("client --http-address localhost"), "client --admin-listen=127.0.0.1:9090");
        assert_eq!(ours("client --health-check=false"), "client");
    }

    #[test]
    fn variables_of_ghostunnel_count_in_its_ways_only() {
        let count = |argv: &[&str], own: &[(&str, &str)]| {
            let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
            variables(&argv, &own.iter().copied().collect()).map(<[_]>::len).map_err(|error| error.to_string())
        };
        assert_eq!(count(&["server"], &[("SPIFFE_ENDPOINT_SOCKET", "unix:/x")]), Ok(0));
        assert_eq!(count(&["server", "--compat", "ghostunnel"], &[]), Ok(5));
        assert_eq!(count(&["server", "--compat=ghostunnel"], &[("PKCS11_PIN", "")]), Ok(5));
        assert_eq!(count(&["server"], &[("TLS_AMBASSADOR_COMPAT", "ghostunnel")]), Ok(5));
        assert_eq!(
            count(&["server", "--compat=ghostunnel"], &[("PKCS11_MODULE", "/x.so")]),
            Err("the variable PKCS11_MODULE: keys in PKCS#11 tokens are not used".to_owned())
        );
    }
}
