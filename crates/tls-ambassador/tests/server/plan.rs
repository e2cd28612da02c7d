//! What `check server` says of who is let in.

use super::*;

/// The line about who is let in at the first listener and at each route.
fn let_in(pki: &Pki, flags: &[&str]) -> Vec<String> {
    let base = ["check", "server", "--listen", ":9200", "--target", "127.0.0.1:9201"];
    let exit = run(&[&base[..], &pki.certs(), flags].concat());
    assert_eq!(exit.code, Some(0), "{flags:?}: {}", exit.stderr);
    // Listeners share it, or have it for different clients.
    assert_eq!(exit.stderr.matches("\ncertificate ").count(), 1, "{}", exit.stderr);
    let lines = exit.stderr.lines().filter_map(|line| line.strip_prefix("  let in: "));
    lines.map(str::to_owned).collect()
}

#[test]
fn check_says_of_every_listener_who_is_let_in() {
    let pki = pki();
    let ca = text(&pki.root.ca.cert);
    let crl = pki.revoke(&pki.client2);
    let pin = pki.client1.pin();
    let signed = format!("(signed by {ca})");
    let routes = [
        "--route",
        "own:listen=:1,target=127.0.0.1:1,allow-ou=ops,allow-uri=spiffe://*/web,allow-ip=10.0.0.1",
        "--route",
        "open:listen=:2,target=127.0.0.1:2,disable-authentication",
        "--route",
        "silent:listen=:3,target=127.0.0.1:3",
        "--route",
        &format!("pinned:listen=:4,target=127.0.0.1:4,allow-spki-pin={pin},crl={}", crl.display()),
    ];
    let flags = [&["--cacert", ca, "--allow-cn", "a", "--allow-dns", "b, c"][..], &routes].concat();
    let own_of_flags = format!("cn \"a\", dns \"b, c\" {signed}");
    let expected = [
        own_of_flags.clone(),
        format!("ou \"ops\", uri \"spiffe://*/web\", ip 10.0.0.1 {signed}"),
        "anybody (disable-authentication)".to_owned(),
        own_of_flags,
        format!("key {pin} (signed by {ca}, not revoked by {})", crl.display()),
    ];
    assert_eq!(let_in(&pki, &flags), expected);
    assert_eq!(let_in(&pki, &["--cacert", ca, "--allow-all"]), [format!("every certificate {signed}")]);
}

#[test]
fn check_says_whose_tokens_let_in_and_what_is_open() {
    let pki = pki();
    let ca = text(&pki.root.ca.cert);
    let http = ["--mode", "http", "--jwt-issuer", "https://a.example", "--jwt-audience", "app", "--jwt-audience", "b"];
    let tokens = "tokens of https://a.example (audience \"app\", audience \"b\", claim groups=search-*)";
    let open = [&http[..], &["--jwt-require", "groups=search-*", "--jwt-skip-path", "/healthz"]].concat();
    assert_eq!(let_in(&pki, &open), [format!("{tokens}; anybody at /healthz")]);
    let second = ["--jwt", "issuer=https://b.example,any-audience"];
    let optional = ["--allow-cn", "x", "--cacert", ca, "--client-auth", "optional"];
    assert_eq!(
        let_in(&pki, &[&http[..], &second, &optional].concat()),
        [format!(
            "cn \"x\" (signed by {ca}); tokens of https://a.example (audience \"app\", audience \"b\"); \
             tokens of https://b.example (any audience); a certificate may be shown"
        )]
    );
    let both = [&http[..], &["--allow-cn", "x", "--cacert", ca]].concat();
    let said = let_in(&pki, &both).remove(0);
    assert!(said.ends_with(&format!("; a certificate must be shown in any case (signed by {ca})")), "{said}");
    let missing = [&http[..], &["--jwt-allow-missing"]].concat();
    assert!(let_in(&pki, &missing)[0].ends_with("; requests without any token"));
}
