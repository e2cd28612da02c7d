//! Routes that let in whom the flags do not, and files of their own.

use super::*;

/// A door whose second listener is a route.
struct Two {
    door: Door,
    /// The port of the flags.
    flags: u16,
    /// The port of the route.
    route: u16,
}

impl Two {
    fn start(pki: &Pki, echo: &Echo, route: &str, flags: &[&str]) -> Self {
        let second = free_port();
        let route = format!("own:listen=127.0.0.1:{second},target={},{route}", echo.target());
        let door = pki.mtls(&echo.target(), &[&["--route", &route], flags].concat());
        Self { flags: door.port, route: second, door }
    }

    /// What `client` gets to hear at `port`.
    fn hello(&mut self, pki: &Pki, port: u16, client: Option<&Pair>) -> String {
        self.door.port = port;
        hello(&self.door, &pki.root, client)
    }
}

#[test]
fn a_route_is_judged_by_its_own_rules_alone() {
    let pki = pki();
    let echo = Echo::start();
    let mut two = Two::start(&pki, &echo, "allow-cn=client2", &["--allow-cn", "client1"]);
    let (flags, route) = (two.flags, two.route);
    for (port, client, lets_in) in [
        (flags, &pki.client1, true),
        (flags, &pki.client2, false),
        (route, &pki.client2, true),
        (route, &pki.client1, false),
    ] {
        let said = two.hello(&pki, port, Some(client));
        assert_eq!(said.contains(OK), lets_in, "{port}: {said}");
        let denied = said.to_lowercase().replace('_', " ").contains("alert access denied");
        assert_eq!(denied, !lets_in, "{port}: {said}");
    }
    for port in [flags, route] {
        assert!(two.hello(&pki, port, None).contains("certificate required"), "{port}");
    }
    assert_eq!(echo.connections(), 2);
}

#[test]
fn a_ticket_of_an_open_route_opens_no_other() {
    let pki = pki();
    let echo = Echo::start();
    let two = Two::start(&pki, &echo, "disable-authentication", &["--allow-cn", "client1"]);
    let saved = pki.folder.path().join("session");
    let session = |port: u16, way: &str| {
        let address = format!("127.0.0.1:{port}");
        let arguments = ["s_client", "-tls1_2", "-connect", &address, way, text(&saved)];
        let output = std::process::Command::new("openssl").args(arguments).stdin(std::process::Stdio::null()).output();
        let output = output.expect("openssl is installed");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    assert!(session(two.route, "-sess_out").contains("New, TLSv1.2"));
    assert!(session(two.route, "-sess_in").contains("Reused, TLSv1.2"), "it is a good one");
    let said = session(two.flags, "-sess_in");
    assert!(said.contains("handshake failure") || said.contains("certificate required"), "{said}");
    assert!(!said.contains("Reused"), "{said}");
    assert_eq!(two.door.metric("tls_ambassador_connections_total{listener=\"own\",result=\"ok\""), 2.0);
}

#[test]
fn a_route_without_rules_has_those_of_the_flags_and_flags_are_not_needed_where_every_route_has_its_own() {
    let pki = pki();
    let echo = Echo::start();
    let mut two = Two::start(&pki, &echo, "client-auth=optional", &["--allow-cn", "client1"]);
    let route = two.route;
    assert!(two.hello(&pki, route, Some(&pki.client1)).contains(OK));
    assert!(!two.hello(&pki, route, Some(&pki.client2)).contains(OK));
    let said = two.hello(&pki, route, None);
    assert!(!said.contains(OK) && !said.contains("certificate required"), "asked and then refused: {said}");
    let alone = format!("one:listen=127.0.0.1:0,target={},allow-all", echo.target());
    let base = ["check", "server", "--cacert", text(&pki.root.ca.cert), "--route", &alone];
    let exit = run(&[&base[..], &pki.certs()].concat());
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
}

#[test]
fn a_routes_revocations_and_keystore_are_its_own_and_followed() {
    let pki = pki();
    let echo = Echo::start();
    let folder = pki.folder.path();
    let (store, password, crl) = (folder.join("a,b.p12"), folder.join("word"), folder.join("own.crl"));
    let own = pki.root.issue("own");
    support::pki::openssl(&[
        "pkcs12",
        "-export",
        "-inkey",
        text(&own.key),
        "-in",
        text(&own.cert),
        "-out",
        text(&store),
        "-passout",
        "pass:one",
    ]);
    std::fs::write(&password, "one\n").unwrap();
    std::fs::copy(pki.revoke(&pki.client2), &crl).unwrap();
    let route = format!(
        "keystore=\"{}\",storepass-file={},crl={},allow-cn=client1,allow-cn=client2",
        store.display(),
        password.display(),
        crl.display()
    );
    let mut two = Two::start(&pki, &echo, &route, &["--allow-all"]);
    let (flags, route) = (two.flags, two.route);
    assert!(two.hello(&pki, flags, Some(&pki.client2)).contains(OK));
    let said = two.hello(&pki, route, Some(&pki.client1));
    assert!(said.contains(OK) && said.contains("\"cn\": \"own\""), "{said}");
    assert!(two.hello(&pki, route, Some(&pki.client2)).contains("certificate revoked"));
    std::fs::copy(pki.revoke(&pki.client1), &crl).unwrap();
    eventually("the new list counts", PATIENCE, || {
        two.hello(&pki, route, Some(&pki.client1)).contains("certificate revoked")
    });
    assert!(two.hello(&pki, flags, Some(&pki.client1)).contains(OK));
}

#[test]
fn wrong_rules_of_routes_are_refused_by_their_names() {
    let pki = pki();
    let ca = text(&pki.root.ca.cert);
    let refused = |mode: &str, route: &str, flags: &[&str]| {
        let route = format!("db:listen=127.0.0.1:0,target=127.0.0.1:1,{route}");
        let exit = run(&[&["check", mode, "--route", &route, "--cacert", ca], flags, &pki.certs()[..]].concat());
        assert_eq!(exit.code, Some(2), "{route}: {}", exit.stderr);
        exit.stderr.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    };
    for (route, flags, expected) in [
        ("", &[][..], "route db: nobody would be let in: there is no access rule"),
        ("allow-all=false", &["--allow-all"], "route db: nobody would be let in: there is no access rule"),
        (
            "allow-cn=a,disable-authentication",
            &[],
            "route db: --disable-authentication contradicts --allow rules and --client-auth",
        ),
        ("allow-cn=a,client-auth=none", &[], "route db: --client-auth none contradicts --allow rules"),
        ("allow-token", &[], "route db: allow-token is there, and no issuer of tokens"),
        (
            "disable-authentication,crl=/x",
            &["--allow-all"],
            "route db: crl= is about client certificates, and none are asked for",
        ),
        ("allow-all,storepass-file=/x", &[], "route db has storepass-file= and no keystore="),
    ] {
        assert_eq!(refused("server", route, flags), expected, "{route}");
    }
    let client = refused("client", "allow-cn=a", &[]);
    assert_eq!(client, "route db says who is let in, which is for servers");
}
