//! Bad input: at the start exit code 2 and one line that names it; while running, the last good files serve on.

use std::path::{Path, PathBuf};

use kit_test::{LinkOrder, Mount, Process, eventually};

use super::support::pki::text;
use super::support::{Door, Echo, PATIENCE, hello, run};
use super::{OK, Pki, pki};

/// What `server` says first with these flags besides the usual ones; its exit code must be 2.
#[track_caller]
fn refused(flags: &[&str], expected: &str) {
    let base = ["server", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1", "--admin-listen", "127.0.0.1:0"];
    let exit = run(&[&base, flags].concat());
    let first = exit.stderr.lines().next().unwrap_or_default();
    assert_eq!((exit.code, first), (Some(2), expected), "{flags:?}: {}", exit.stderr);
    let second = exit.stderr.lines().nth(1).unwrap_or_default();
    assert!(second.starts_with("hint: "), "{flags:?}: the repair is told: {}", exit.stderr);
}

fn written(pki: &Pki, name: &str, content: &[u8]) -> PathBuf {
    let path = pki.folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// The first half of a certificate, as a write that was interrupted leaves it.
fn half(pki: &Pki) -> Vec<u8> {
    let whole = pki.server.cert_bytes();
    whole[..whole.len() / 2].to_vec()
}

#[test]
fn files_that_are_missing_half_written_or_something_else_are_named() {
    let pki = pki();
    let (cert, key) = (text(&pki.server.cert), text(&pki.server.key));
    let start = "error: cannot start with these files:";
    let check = |cert: &Path, key: &Path, expected: &str| {
        refused(
            &["--disable-authentication", "--cert", text(cert), "--key", text(key)],
            &format!("{start} {expected}"),
        );
    };
    let nowhere = pki.folder.path().join("nowhere");
    let absent = format!("{}: No such file or directory (os error 2)", nowhere.display());
    check(&nowhere, Path::new(key), &format!("cannot read certificate {absent}"));
    check(Path::new(cert), &nowhere, &format!("cannot read key {absent}"));
    let torn = written(&pki, "torn.crt", &half(&pki));
    let reason = "the line -----END CERTIFICATE----- is missing";
    check(&torn, Path::new(key), &format!("no certificate in {}: {reason}", torn.display()));
    let text_file = written(&pki, "text.crt", b"hello\n");
    check(&text_file, Path::new(key), &format!("no certificate in {}", text_file.display()));
    check(Path::new(cert), Path::new(cert), &format!("no private key in {cert}"));
    for (name, form) in [("locked8.key", "-topk8"), ("locked.key", "-traditional")] {
        let locked = pki.folder.path().join(name);
        let command = if form == "-topk8" { vec!["pkcs8", form] } else { vec!["pkey", form, "-aes128"] };
        let files = ["-in", key, "-out", text(&locked), "-passout", "pass:x"];
        super::support::pki::openssl(&[&command[..], &files].concat());
        check(Path::new(cert), &locked, &format!("no private key in {}: it is under a password", locked.display()));
    }
    let other = text(&pki.client1.key);
    let pair = format!("{cert} and {other} are not a pair: the key belongs to another certificate");
    check(Path::new(cert), Path::new(other), &pair);
    let folder = written(&pki, "no-folder", b"");
    let not_a_folder =
        format!("{start} cannot read certificate folder {}: Not a directory (os error 20)", folder.display());
    refused(&["--disable-authentication", "--sni-strict", "--cert-dir", text(&folder)], &not_a_folder);
    let nowhere_ca = format!("{start} cannot read CA certificate {absent}");
    refused(&["--allow-all", "--cert", cert, "--key", key, "--cacert", text(&nowhere)], &nowhere_ca);
}

#[test]
fn flags_that_contradict_each_other_are_named() {
    let pki = pki();
    let pair = pki.certs();
    let everybody = [pair.as_slice(), &["--disable-authentication"]].concat();
    let check = |flags: &[&str], expected: &str| refused(&[&everybody, flags].concat(), expected);
    check(&["--nonsense"], "error: unexpected argument '--nonsense' found");
    check(
        &["--mode", "http", "--starttls", "mysql"],
        "error: --starttls is for databases, which --mode http does not speak",
    );
    check(
        &["--mode", "http", "--proxy-protocol-mode", "v1"],
        "error: --proxy-protocol-mode tells of one client, and --mode http mixes many on one connection",
    );
    check(&["--mode", "http", "--alpn", "h2,spdy/3"], "error: --alpn spdy/3 is not spoken by --mode http");
    check(&["--crl", pair[1]], "error: --crl is about client certificates, and none are asked for");
    check(&["--starttls", "postgres-direct"], "error: --starttls postgres-direct is for clients");
    check(
        &["--starttls", "mysql", "--proxy-protocol-mode", "tls"],
        "error: --proxy-protocol-mode tells of TLS before --starttls mysql has any",
    );
    check(&["--accept-proxy-protocol", "v2"], "error: --accept-proxy-protocol needs --trusted-proxy");
    check(
        &["--min-tls-version", "TLS1.3", "--max-tls-version", "TLS1.2"],
        "error: --min-tls-version is newer than --max-tls-version",
    );
    check(
        &["--require-pq", "--max-tls-version", "TLS1.2"],
        "error: --require-pq needs TLS 1.3, which --max-tls-version rules out",
    );
    check(&["--xfcc"], "error: --xfcc is about requests, and --mode tcp sees none");
    check(
        &["--mode", "http", "--header-timeout", "0s"],
        "error: --header-timeout is 0s: every request would be too slow",
    );
    check(&["--connect-timeout", "0s"], "error: --connect-timeout is 0s: every handshake would be too slow");
    check(
        &["--mode", "http", "--h2-max-streams", "0"],
        "error: invalid value '0' for '--h2-max-streams <N>': 0 is not in 1..=10000",
    );
    check(
        &["--mode", "http", "--jwt-issuer", "https://i.example", "--jwt-audience", "a"],
        "error: --disable-authentication lets in everybody, so nobody would need a token",
    );
    check(&["--allow-cn", "a"], "error: --disable-authentication contradicts --allow rules and --client-auth");
    refused(&pair, "error: nobody would be let in: there is no access rule");
    refused(
        &[pair.as_slice(), &["--cacert", pair[1], "--allow-cn="]].concat(),
        "error: invalid value '' for '--allow-cn <CN>': an empty name is no rule",
    );
    refused(
        &[pair.as_slice(), &["--allow-all", "--client-auth", "none", "--cacert", pair[1]]].concat(),
        "error: --client-auth none contradicts --allow rules",
    );
    let folder = ["--disable-authentication", "--cert-dir", text(pki.folder.path())];
    refused(&folder, "error: --cert-dir without --cert has no certificate for clients without a server name");
    let keys = ["--mode", "http", "--jwt-issuer", "i", "--jwt-audience", "a", "--jwt-jwks-file"];
    let nowhere = "error: cannot read the key set /nowhere/keys.json: No such file or directory (os error 2)";
    refused(&[pair.as_slice(), &keys, &["/nowhere/keys.json"]].concat(), nowhere);
    let not_a_set = format!("error: cannot use the key set {}: not a JSON object with a list called \"keys\"", pair[1]);
    refused(&[pair.as_slice(), &keys, &[pair[1]]].concat(), &not_a_set);
}

#[test]
fn an_address_that_the_pod_has_not_is_told_as_that() {
    let pki = pki();
    // TEST-NET-1 (RFC 5737) is nobody's.
    let base = ["server", "--listen", "192.0.2.1:9200", "--target", "127.0.0.1:1", "--admin-listen", "127.0.0.1:0"];
    let exit = run(&[&base[..], &pki.certs(), &["--disable-authentication"]].concat());
    let expected = "error: cannot listen on 192.0.2.1:9200: Cannot assign requested address (os error 99)\n\
                    hint: this pod has no such address; :PORT is all that it has\n";
    // The program that ships has other words of a C library.
    let said = exit.stderr.replace("Address not available", "Cannot assign requested address");
    assert_eq!((exit.code, said.as_str()), (Some(1), expected));
}

#[test]
fn flags_of_ghostunnel_for_what_is_not_there_are_refused_by_name() {
    let check =
        |flag: &str, why: &str| refused(&[flag, "x"], &format!("error: {}: {why}", flag.split('=').next().unwrap()));
    for flag in ["cert", "email", "agree-to-tos", "ca", "testca"] {
        check(&format!("--auto-acme-{flag}=x"), "certificates are not ordered from an ACME authority here");
    }
    for flag in ["--allow-policy", "--allow-query", "--verify-policy", "--verify-query"] {
        check(flag, "rules in OPA's language are not evaluated");
    }
    for flag in ["--pkcs11-module", "--pkcs11-token-label", "--pkcs11-pin=1234"] {
        check(flag, "keys in PKCS#11 tokens are not used");
    }
    for flag in ["--keychain-identity", "--keychain-issuer=x", "--keychain-require-token"] {
        check(flag, "keys in a keychain are not used");
    }
    for flag in ["--use-workload-api", "--use-workload-api-addr=unix:/x", "--use-workload-api-timeout=1m"] {
        check(flag, "the SPIFFE workload API is not asked");
    }
    for flag in ["--metrics-graphite=h:1", "--metrics-url", "--metrics-prefix", "--metrics-interval=1s"] {
        check(flag, "metrics are not sent anywhere");
    }
    check("--syslog", "the log goes to stderr and nowhere else");
    check("--eventlog", "the log goes to stderr and nowhere else");
    check("--allow-unsafe-cipher-suites", "suites without authenticated encryption are not spoken");
    for (listen, kind) in [("systemd:http", "systemd"), ("launchd:http", "launchd")] {
        let exit = run(&["server", "--listen", listen, "--target", "127.0.0.1:1", "--disable-authentication"]);
        let first = exit.stderr.lines().next().unwrap_or_default();
        assert!(exit.code == Some(2) && first.contains(kind) && first.contains("a pod has not"), "{first}");
    }
    let pki = pki();
    for (kind, start) in [("JCEKS", [0xce, 0xce, 0xce, 0xce]), ("JKS", [0xfe, 0xed, 0xfe, 0xed])] {
        let store = written(&pki, kind, &[&start[..], &[0, 0, 0, 2, 0, 0, 0, 0]].concat());
        let expected = format!(
            "error: cannot start with these files: cannot use keystore {}: it is a {kind} keystore, which only Java reads",
            store.display()
        );
        refused(&["--disable-authentication", "--keystore", text(&store)], &expected);
    }
}

#[test]
fn ghostunnels_variables_count_in_its_ways_and_nowhere_else() {
    let pki = pki();
    let ca = text(&pki.root.ca.cert);
    let files = [("CERT_PATH", pki.certs()[1]), ("KEY_PATH", pki.certs()[3]), ("CACERT_PATH", ca)];
    let check = |ways: &[&str], environment: &[(&str, &str)]| {
        let mut command = super::support::ambassador();
        command.args(["check", "server", "--listen", ":1", "--target", "127.0.0.1:1", "--allow-cn", "a"]).args(ways);
        let exit = Process::spawn(command.envs(environment.iter().copied())).wait_within(PATIENCE);
        (exit.code, exit.stderr)
    };
    let (code, said) = check(&[], &files);
    assert_eq!((code, said.lines().next()), (Some(2), Some("error: a server needs a certificate")));
    let (code, said) = check(&["--compat=ghostunnel"], &files);
    assert_eq!(
        (code, said.lines().nth(1)),
        (Some(0), Some(&*format!("  let in: cn \"a\" (signed by {ca})"))),
        "{said}"
    );
    let (code, said) = check(&[], &[&files[..], &[("TLS_AMBASSADOR_COMPAT", "ghostunnel")]].concat());
    assert_eq!(code, Some(0), "{said}");
    let socket = [("SPIFFE_ENDPOINT_SOCKET", "unix:/run/spire.sock")];
    let (code, said) = check(&["--compat=ghostunnel"], &[&files[..], &socket].concat());
    let expected = "error: the variable SPIFFE_ENDPOINT_SOCKET: the SPIFFE workload API is not asked";
    assert_eq!((code, said.lines().next()), (Some(2), Some(expected)));
    assert_eq!(check(&["--compat=ghostunnel"], &[&files[..1], &socket].concat()).0, Some(2));
    // A password in a variable is seen by nobody else, so nothing is said of it.
    let store = pki.folder.path().join("own.p12");
    let parts = ["-inkey", pki.certs()[3], "-in", pki.certs()[1], "-out", text(&store), "-passout", "pass:one"];
    super::support::pki::openssl(&[&["pkcs12", "-export"][..], &parts].concat());
    let archive = [("KEYSTORE_PATH", text(&store)), ("KEYSTORE_PASS", "one"), ("CACERT_PATH", ca)];
    let (code, said) = check(&["--compat=ghostunnel"], &archive);
    assert!(code == Some(0) && !said.contains("WARN"), "{said}");
}

#[test]
fn a_half_written_swap_is_told_and_counted_and_the_last_good_certificate_serves_on() {
    let pki = pki();
    let echo = Echo::start();
    let root = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 2] = [("tls.crt", &pki.server.cert_bytes()), ("tls.key", &pki.server.key_bytes())];
    let mut mount = Mount::new(root.path(), LinkOrder::AfterSwap, &files);
    let (cert, key) = (mount.path("tls.crt"), mount.path("tls.key"));
    let flags = ["--cert", text(&cert), "--key", text(&key), "--disable-authentication"];
    let door = Door::start("server", &echo.target(), &flags).ready();
    mount.publish(&[("tls.crt", &half(&pki)), ("tls.key", &pki.server.key_bytes())]);
    let line = door.process.wait_for_stderr("reload refused: the files before stay in use", PATIENCE);
    let named = format!("no certificate in {}: the line -----END CERTIFICATE----- is missing", cert.display());
    assert!(line.contains("ERROR") && line.contains(&named), "{line}");
    assert_eq!(door.metric("tls_ambassador_reload_total{result=\"invalid\""), 1.0);
    assert!(hello(&door, &pki.root, None).contains("\"cn\": \"server1\""));
    assert_eq!(door.status("/readyz"), 200);
    let second = pki.root.issue("second");
    mount.publish(&[("tls.crt", &second.cert_bytes()), ("tls.key", &second.key_bytes())]);
    eventually("a good one heals it", PATIENCE, || {
        let said = hello(&door, &pki.root, None);
        said.contains(OK) && said.contains("\"cn\": \"second\"")
    });
}
